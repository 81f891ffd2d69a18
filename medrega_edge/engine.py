"""The only composer: load a package, look at an image once, ask it many things.

    engine = load()
    image = engine.open("scan.png")
    print(engine.ask(image, "locate the liver").text)

Everything else is a leaf; here an image becomes an embedding, a request a reply, and the reply an Answer.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import numpy.typing as npt

from medrega_edge.answer import Answer, ImageFacts, Label, ModelFacts, Region, Timings
from medrega_edge.boxes import Geometry, GridBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.images.medical_image import MedicalImage, View
from medrega_edge.images.preprocess import Preprocessing, preprocess
from medrega_edge.images.reader import read_image
from medrega_edge.inference import memory
from medrega_edge.inference.confidence import calibrated
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.devices import available_threads, choose_device, decoder_threads
from medrega_edge.inference.language_model import LanguageModel
from medrega_edge.inference.vision_encoder import VisionEncoder
from medrega_edge.package import certificate
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.region_markup import RegionText
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.request import Asked, Request, Understanding
from medrega_edge.tasks.tasks import MAX_TOKENS, OnText, Reply, Tasks

IMAGE_CACHE_SIZE = 8  # embeddings of images that were looked at, by their pixels
SURE_MODALITY = 0.9  # from here on the program contradicts a file


@dataclass(frozen=True)
class EngineOptions:
    """How a package is run; none of this changes an answer, but for the order of sums where weights are mapped.

    `mapped` leaves weights on the disk that lie in a file of their own: for float32 that is larger than the memory.
    """

    threads: int | None = None
    device: str = "cpu"
    mapped: bool = False


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image that has been looked at: keep it and ask again. `embeds` is `[tokens, hidden]`."""

    image: MedicalImage
    geometry: Geometry
    embeds: npt.NDArray[np.float32]
    image_ms: float
    vision_ms: float


class Engine:
    """A loaded package. Not thread-safe: it has one key/value cache."""

    def __init__(self, package: Package, options: EngineOptions) -> None:
        """Check and load every file; raises PackageError or ResourceError."""
        begun = time.perf_counter()
        self.package = package
        self.device, self.device_reason = choose_device(options.device)
        manifest = package.manifest
        self.threads = options.threads or decoder_threads(manifest, available_threads())  # of the language model
        memory.check(package, options.mapped)
        contents = package.read_all()  # every hash before any graph is loaded
        prompts = PromptBook.from_json(contents.text("prompts"))
        self._certificate = certificate.read(contents.text("certificate"))
        with ThreadPoolExecutor(max_workers=2) as pool:  # sessions are built outside the interpreter's lock
            decoder = pool.submit(Decoder, contents, self.threads, self.device, options.mapped)
            every = options.threads or available_threads()
            vision = pool.submit(VisionEncoder, contents, every, self.device, options.mapped)
            self._language_model = LanguageModel(contents, decoder.result())
            self._vision = vision.result()
        self._tasks = Tasks(self._language_model, prompts)
        strip_special_tokens = self._language_model.tokenizer.strip_special_tokens
        self._understanding = Understanding(manifest.tasks, self._tasks.terms, strip_special_tokens)
        self._numbers = Preprocessing(manifest.vision.image_size, manifest.vision.mean, manifest.vision.std)
        self._embedding_cache: OrderedDict[bytes, npt.NDArray[np.float32]] = OrderedDict()
        self._modalities: WeakKeyDictionary[EncodedImage, tuple[str, float] | None] = WeakKeyDictionary()
        self._asked: WeakSet[EncodedImage] = WeakSet()  # images whose reading an answer has already been charged with
        self.load_ms = (time.perf_counter() - begun) * 1000

    @property
    def passes(self) -> int:
        """Forward passes of the language model so far, for measurements."""
        return self._language_model.passes

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that these weights were trained for."""
        return self.package.manifest.tasks

    def open(self, source: str | Path | bytes, view: View = View()) -> EncodedImage:
        """Read an image and run the vision tower over it; raises ImageError. `source` and `view` as in `read_image`.

        The same pixels are not looked at twice: the embeddings of the last few images are kept.
        """
        begun = time.perf_counter()
        image = read_image(source, view)
        values, geometry = preprocess(image, self._numbers)
        read = time.perf_counter()
        key = hashlib.sha256(values.tobytes()).digest()
        embeds = self._embedding_cache.pop(key, None)
        if embeds is None:
            embeds = self._vision.encode(values)
        self._embedding_cache[key] = embeds
        while len(self._embedding_cache) > IMAGE_CACHE_SIZE:
            self._embedding_cache.popitem(last=False)
        done = time.perf_counter()
        return EncodedImage(image, geometry, embeds, (read - begun) * 1000, (done - read) * 1000)

    def clear_cache(self) -> None:
        """Forget the embeddings of images that were looked at; for measurements."""
        self._embedding_cache.clear()

    def jump_forward(self, on: bool) -> None:
        """Feed tokens that leave no choice together, or one by one; for measuring what it saves."""
        self._language_model.jump_forward = on

    def ask(
        self,
        image: EncodedImage,
        question: str,
        task: Task | str | None = None,
        language: Language | str | None = None,
        box: tuple[float, float, float, float] | None = None,
        on_text: Callable[[str], None] | None = None,
        max_tokens: int = MAX_TOKENS,
        labels: Sequence[str] | str = (),
        several: bool = False,
        regions_first: bool = False,
    ) -> Answer:
        """Ask one question about an image that has been looked at.

        `task` and `language` are read off the question when not given; `box` is in pixels of the original image and asks
        what is in it; `labels` are the candidates of a classification, or the name of a label set, of which `several` may
        be right. `regions_first` detects the regions that matter and answers with them in the prompt (Regional CoT).
        `on_text` receives the model's text as it comes. Raises UsageError for a request that makes no sense or that these
        weights were not trained for.
        """
        begun = time.perf_counter()
        asked = Asked(question, task, language, box, labels, several, regions_first)
        request = self._understanding.request(asked, image.geometry)
        looked_ms = 0.0 if image in self._asked else image.image_ms + image.vision_ms
        self._asked.add(image)
        reply = self._reply(image, request, max_tokens, on_text)
        reply.warnings[:0] = [*image.image.warnings, *request.warnings]
        modality = self._modality(image, reply)
        if request.modalities and modality[0] and modality[0] not in request.modalities:
            reply.warnings.append(f"these labels are for {' or '.join(request.modalities)}, and this image is {modality[0]}")
        total_ms = looked_ms + (time.perf_counter() - begun) * 1000
        return self._answer(image, request, reply, modality, total_ms)

    def weigh(self, image: EncodedImage, labels: Sequence[str], language: Language) -> list[float]:
        """Log-probability of each candidate of a classification as the weights have it; for measurements."""
        return self._tasks.weigh(image, labels, language)

    def _reply(self, image: EncodedImage, request: Request, limit: int, on_text: OnText) -> Reply:
        tasks, language = self._tasks, request.language
        kind = None
        if request.regions_first or request.task in (Task.REPORT, Task.GROUNDED_REPORT):
            kind = self._kind(image)
        first = tasks.look_first(image, request.question, limit, kind) if request.regions_first else None
        regions = _grouped(first) if first else ()
        if request.task is Task.DETECT:
            reply = tasks.detect(image, request.question, language, limit, on_text)
        elif request.task is Task.IDENTIFY:
            assert request.box is not None
            reply = tasks.identify(image, request.box, language, limit, on_text)
        elif request.task is Task.CLASSIFY:
            reply = tasks.classify(image, request.labels, language, request.several, limit, regions)
        elif request.task is Task.VQA:
            reply = tasks.answer(image, request.question, language, limit, on_text, regions)
        elif request.task is Task.REPORT:
            reply = tasks.report(image, language, limit, on_text, kind)
        else:
            reply = tasks.grounded_report(image, language, limit, kind)
        if first:
            reply.regions += first.regions
            reply.said[:0] = first.said
        return reply

    def _recognised(self, image: EncodedImage) -> tuple[str, float] | None:
        """What the weights take the image for, asked once an image; None where they were not trained to tell."""
        if image not in self._modalities:
            self._modalities[image] = self._tasks.modality(image)
        return self._modalities[image]

    def _kind(self, image: EncodedImage) -> Modality | None:
        """The kind of image that the answer will show, so that a report names no other; None for no medical image."""
        told, recognised = image.image.modality, self._recognised(image)
        return told or (Modality(recognised[0]) if recognised and recognised[0] else None)

    def _modality(self, image: EncodedImage, reply: Reply) -> tuple[str | None, float | None]:
        """What the image is: as its file says, else as recognised, with how sure. Warns where something does not fit."""
        told = image.image.modality.value if image.image.modality else None
        recognised = self._recognised(image)
        if recognised is None:
            return told, None
        kind, sure = recognised
        if not kind and sure >= 0.5:
            reply.warnings.append("this does not look like a medical image; the answer means nothing then")
        elif told and kind and kind != told and sure >= SURE_MODALITY:
            reply.warnings.append(f"the file says {told}, the image looks like {kind}")
        if told:
            return told, None
        sure = round(sure, 4)
        if kind and kind not in self.package.manifest.modalities:
            reply.warnings.append(f"the weights were not trained to locate anything in images like this one ({kind})")
        return kind or None, sure

    def _answer(
        self,
        image: EncodedImage,
        request: Request,
        reply: Reply,
        modality: tuple[str | None, float | None],
        total_ms: float,
    ) -> Answer:
        calibration = self.package.manifest.calibration
        regions = []
        for found in reply.regions:
            pixels = image.geometry.to_pixels(found.box)
            sure = None if found.score is None else calibrated(found.score, calibration)
            regions.append(Region(found.label, (pixels.x1, pixels.y1, pixels.x2, pixels.y2), sure))
        manifest, source = self.package.manifest, image.image
        task, language = request.task.value, request.language.value
        boxed = regions or request.task is not Task.DETECT  # certified are boxes of what is there
        strange = modality[0] is None and modality[1] is not None  # no medical image
        measured = boxed and request.measured and not strange
        known = certificate.certified(self._certificate, task, language, modality[0]) if measured else None
        return Answer(
            text=reply.text,
            raw_text="\n".join(said.raw for said in reply.said),
            task=task,
            language=language,
            regions=tuple(regions),
            labels=tuple(Label(name, sure) for name, sure in reply.labels),
            image=ImageFacts(
                path=source.path,
                width=source.width,
                height=source.height,
                modality=modality[0],
                modality_confidence=modality[1],
                frame=source.frame,
                window=source.window,
                sha256=source.sha256,
                spacing_mm=source.spacing_mm,
                sides=source.patient_orientation,
                series=source.series,
                slice=source.slice,
                spacing_areas=source.spacing_areas,
            ),
            model=ModelFacts(manifest.name, manifest.version, self.package.sha256, manifest.precision, known),
            device=self.device,
            finish="length" if any(said.finish == "length" for said in reply.said) else "stop",
            prompt_tokens=sum(said.prompt_tokens for said in reply.said),
            generated_tokens=sum(len(said.steps) for said in reply.said),
            timings=Timings(
                load=self.load_ms,
                image=image.image_ms,
                vision=image.vision_ms,
                prefill=sum(said.prefill_ms for said in reply.said),
                decode=sum(said.decode_ms for said in reply.said),
                total=total_ms,
            ),
            warnings=tuple(dict.fromkeys(reply.warnings)),
        )


def _grouped(reply: Reply) -> tuple[RegionText, ...]:
    """Boxes by name, as the grammar writes them."""
    boxes: dict[str, list[GridBox]] = {}
    for found in reply.regions:
        boxes.setdefault(found.label, []).append(found.box)
    return tuple(RegionText(label, tuple(group)) for label, group in boxes.items())


def load(model: str | Path | None = None, *, threads: int | None = None, device: str = "cpu") -> Engine:
    """Load a model package: a folder, the name of an installed one, or the one that ships with this program."""
    return Engine(find_package(model), EngineOptions(threads, device))
