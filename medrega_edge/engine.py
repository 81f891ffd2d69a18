"""Load a model package, encode an image once, answer requests about it.

    engine = load()
    image = engine.open("scan.png")
    print(engine.ask(image, "locate the liver").text)
    print(engine.run(image, Detect(["liver", "spleen"])).regions)

`ask` reads the task off the words of a question; `detect`, `segment`, `identify`, `classify`, `answer` and `report`
name it.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import numpy.typing as npt

from medrega_edge.answer import Answer, Certified, ImageFacts, Label, ModelFacts, Region, Timings
from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import MedicalImage, View
from medrega_edge.images.preprocess import Pixels, Preprocessing, fit_image, normalise
from medrega_edge.images.reader import read_image
from medrega_edge.inference import memory
from medrega_edge.inference.confidence import calibrated
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.devices import available_threads, choose_device, decoder_threads
from medrega_edge.inference.familiar_images import ASKED, FamiliarImages
from medrega_edge.inference.language_model import LanguageModel
from medrega_edge.inference.region_head import RegionHead, RegionMaps
from medrega_edge.inference.vision_encoder import VisionEncoder, VisualFeatures
from medrega_edge.package import certificate
from medrega_edge.package.manifest import FAMILIAR_QUESTIONS
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.intent import understand
from medrega_edge.prompts.intent.back_references import enumerated
from medrega_edge.prompts.intent.parts import parts
from medrega_edge.prompts.templates import UNSURE_ANSWER, PromptBook
from medrega_edge.regions import RegionMaker
from medrega_edge.tasks.abstention import finished
from medrega_edge.tasks.base import OnText, TaskContext, TaskRequest, TextStream, parse_language
from medrega_edge.tasks.body_part import certain_part
from medrega_edge.tasks.classification import Classify, RecognisedModality, recognise_modality
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.intent import build_request, guess_task, parse_intent, with_regions_first
from medrega_edge.tasks.of_intent import is_trained
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.sizes import impossible_size
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.answers import is_yes_or_no
from medrega_edge.vocabulary.familiar_questions import FamiliarQuestions
from medrega_edge.vocabulary.label_sets import modality_name
from medrega_edge.vocabulary.terminology import BilingualName, Terminology

if TYPE_CHECKING:
    from medrega_edge.inference.prefix_cache import PrefixCache
    from medrega_edge.tasks.memory import Memory

CACHE_BYTES = 2 << 30  # of all entries of a folder, if nothing else is said
CERTAIN_MODALITY = 0.9  # from this confidence on, a recognised modality counts: beside another one, and against names

UNSURE = 0.5  # below this confidence words are more likely wrong than right: where a package has no threshold of its own


@dataclass(frozen=True)
class EngineOptions:
    """How a package is run. No answer depends on it, except that `mapped` changes the order of float sums.

    `threads`: None for all that pay off. `device`: cpu, cuda or auto. `mapped` leaves weights with a file of their own on
    the disk: for float32 they are larger than the memory. `image_cache`: number of encoded images in the memory.

    `cache` is a folder of the user's own that keeps what the package makes of an image for other processes, on the CPU only;
    `cache_bytes` is the size that it may reach. Features may reveal the image. Without a folder nothing is written.
    """

    threads: int | None = None
    device: str = "cpu"
    mapped: bool = False
    image_cache: int = 8
    cache: Path | None = None
    cache_bytes: int = CACHE_BYTES


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An encoded image: keep it to ask again. `embeds` is float32 `[tokens, hidden]`; times are in milliseconds.

    `maps` are what the package's region head reads, if it has one.
    """

    image: MedicalImage
    geometry: Geometry
    embeds: npt.NDArray[np.float32]
    image_ms: float
    vision_ms: float
    maps: RegionMaps | None = None


class Engine:
    """A loaded package. It has one key/value cache, so it is not thread-safe."""

    def __init__(self, package: Package, options: EngineOptions) -> None:
        """Check and load every file; raises PackageError or ResourceError, and UsageError for a `cache` that cannot be used.

        `terminology` holds the names that the package can locate.
        """
        begun = time.perf_counter()
        self.package = package
        self.device, self.device_reason = choose_device(options.device)
        manifest = package.manifest
        self.threads = options.threads or decoder_threads(manifest, available_threads())  # of decoder and head
        self._disk_cache = self._opened_cache(options)
        memory.check(package, options.mapped)
        contents = package.read_all()  # every hash before any graph is loaded
        with ThreadPoolExecutor(max_workers=3) as pool:  # sessions are built outside the interpreter's lock
            vision_threads = options.threads or available_threads()
            vision = pool.submit(VisionEncoder, contents, vision_threads, self.device, options.mapped)
            decoder = pool.submit(Decoder, contents, self.threads, self.device, options.mapped)
            head = pool.submit(RegionHead, contents, self.threads, self.device) if manifest.regions else None
            self._prompts = PromptBook.from_json(contents.text("prompts"))
            self._certificate = certificate.read(contents.text("certificate"))
            self._familiar_images = FamiliarImages.read(contents)
            self._asked = contents.text(FAMILIAR_QUESTIONS) if manifest.familiarity else ""  # indexed when it is needed
            self.terminology = Terminology(self._prompts.labels, self._prompts.label_modalities)
            self._region_maker = RegionMaker(package, self._prompts.labels, vision_threads, self.device)
            understand("", self.terminology)  # the tables of phrases, for which the first question would wait
            head_or_none = head.result() if head else None
            self.language_model = LanguageModel(contents, decoder.result(), head_or_none, self._disk_cache)
            self._vision = vision.result()
        vision_spec = manifest.vision
        self._preprocessing = Preprocessing(vision_spec.image_size, vision_spec.mean, vision_spec.std, vision_spec.fit)
        self._image_cache_size = options.image_cache
        self._feature_cache: OrderedDict[bytes, VisualFeatures] = OrderedDict()  # by the hash of the pixels
        self._modalities: WeakKeyDictionary[EncodedImage, RecognisedModality | None] = WeakKeyDictionary()
        self._parts: WeakKeyDictionary[EncodedImage, str | None] = WeakKeyDictionary()
        self._answered: WeakSet[EncodedImage] = WeakSet()  # whose time of reading and encoding an answer has counted
        self.load_ms = (time.perf_counter() - begun) * 1000

    def _opened_cache(self, options: EngineOptions) -> PrefixCache | None:
        if options.cache is None:
            return None
        if self.device != "cpu":  # nobody has shown that another device computes the same bytes twice
            raise UsageError("cache.cpu_only", device=self.device)
        from medrega_edge.inference.prefix_cache import PrefixCache  # only who asks for a cache needs it

        return PrefixCache(options.cache, options.cache_bytes, self.package, options.mapped)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that these weights were trained for."""
        return self.package.manifest.tasks

    @property
    def has_masks(self) -> bool:
        """Whether the package can make masks."""
        return self.package.manifest.masks is not None

    def open(self, source: str | Path | bytes, view: View = View()) -> EncodedImage:
        """Read and encode an image; raises ImageError. `source` and `view` are those of `read_image`.

        The features of the last few images are cached by their pixels.
        """
        begun = time.perf_counter()
        image = read_image(source, view)
        return self.encode(image, (time.perf_counter() - begun) * 1000)

    def encode(self, image: MedicalImage, read_ms: float = 0.0) -> EncodedImage:
        """Encode an image that has been read, in `read_ms` milliseconds; `open` reads and encodes one."""
        begun = time.perf_counter()
        pixels, geometry = fit_image(image, self._preprocessing)
        read = time.perf_counter()
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        features = self._feature_cache.pop(key, None)
        if features is None:
            encode = partial(self._features, pixels)
            features = self._disk_cache.features(key, encode) if self._disk_cache else encode()
        self._feature_cache[key] = features
        while len(self._feature_cache) > self._image_cache_size:
            self._feature_cache.popitem(last=False)
        done = time.perf_counter()
        times = (read_ms + (read - begun) * 1000, (done - read) * 1000)
        return EncodedImage(image, geometry, features.embeds, *times, features.maps)

    def _features(self, pixels: Pixels) -> VisualFeatures:
        return self._vision.encode(normalise(pixels, self._preprocessing)[None])

    def run(
        self,
        image: EncodedImage,
        task: TaskRequest,
        language: Language | str | None = None,
        *,
        max_tokens: int | None = None,
        on_text: OnText = None,
        guess: bool = False,
        min_confidence: float = 0.0,
    ) -> Answer:
        """Answer a request about an image.

        `language` is that of the answer; default: that of the request's words. `max_tokens` limits each generation; default:
        256, or 2048 for boxes that come from a region head. `on_text` receives the answer's text in pieces, free text while
        it is generated. With `guess` the text holds the best guess where it would say "Not sure." Boxes, classes and words
        below `min_confidence`, 0..1, are not stated, also with `guess`. Raises UsageError for a request that this package or
        this image does not allow.
        """
        language = parse_language(language) if language else language_of(task.words)
        stream = TextStream(on_text) if on_text else None
        on_piece = stream.push if stream else None
        answer = task.answered(
            lambda request: self._run(image, request, language, max_tokens, on_piece, guess, min_confidence)
        )
        if stream:
            stream.finish(answer.text)
        return answer

    def _run(
        self,
        image: EncodedImage,
        task: TaskRequest,
        language: Language,
        max_tokens: int | None,
        on_text: OnText,
        guess: bool,
        least: float,
    ) -> Answer:
        begun = time.perf_counter()
        if not is_trained(task.task, self.tasks):
            raise UsageError("prompt.untrained_task", task=task.task.value, tasks=list(self.tasks))
        if task.wants_masks and not self.has_masks:
            raise UsageError("task.no_masks")
        if max_tokens is not None and max_tokens < 1:
            raise UsageError("task.no_tokens", max_tokens=max_tokens)
        result = task.run(self.context(image, language, max_tokens, on_text))
        modality, confidence, modality_warnings = self._modality(image, language)
        is_medical = modality is not None or confidence is None
        certifiable = result.certifiable
        right, is_from_words = result.confidence, result.confidence is None
        if is_from_words and result.score is not None:
            right = calibrated(result.score, self.package.manifest.answer_calibration)
        is_known = is_medical and not self._is_unfamiliar(image)
        unsure = []
        is_asked_in_words = task.task is Task.VQA and is_from_words
        if is_asked_in_words and modality and not certificate.was_measured(self._certificate, Task.VQA, modality):
            kind = modality_name(modality, language)
            unsure, certifiable, is_known = [Message("task.untrained_question", modality=kind)], False, False
        elif is_asked_in_words and self._is_unfamiliar_name(image, ASKED):
            unsure, certifiable, is_known = [Message("task.unasked_image")], False, False
        elif is_asked_in_words and self._is_rarely_asked(task.words):
            unsure, certifiable, is_known = [Message("task.unfamiliar_question")], False, False
        is_below = right is not None and right < least
        is_guess = right is not None and (
            result.is_unsure or not is_known or is_below or (is_from_words and right < self._least_sure(result.text))
        )
        is_withheld = is_guess and (is_below or not guess)
        if is_guess:
            unsure.append(Message("task.unsure_answer") if is_withheld else Message("task.guessed"))
        made, without = self._region_maker.regions(result.detections, image.geometry, modality), list[str]()
        if task.wants_masks:
            made, without = self.with_masks(image, made)
        regions = self._region_maker.with_intervals(made, modality, image.image, image.geometry)
        facts = _image_facts(image.image, modality, confidence)
        sizes = [impossible_size(region, self._region_maker.english(region.label), facts) for region in regions]
        notes = [*image.image.warnings, *result.warnings, *unsure, *modality_warnings, *filter(None, sizes)]
        notes += [Message("task.wrong_mask", name=label) for label in without]
        notes += [Message("task.unfamiliar_image")] if self._is_unfamiliar(image) else []
        notes += self._disk_cache.take_problems() if self._disk_cache else []
        first_ms = 0.0 if image in self._answered else image.image_ms + image.vision_ms
        self._answered.add(image)
        manifest, generations = self.package.manifest, result.generations
        answer = Answer(
            text=UNSURE_ANSWER[language] if is_withheld else result.text,
            raw_text="\n".join(generation.raw_text for generation in generations),
            task=task.task,
            language=language,
            regions=regions,
            labels=tuple(Label(name, probability) for name, probability in result.labels),
            image=facts,
            model=ModelFacts(manifest.name, manifest.version, self.package.sha256, manifest.precision),
            device=self.device,
            finish="length" if any(generation.finish == "length" for generation in generations) else "stop",
            prompt_tokens=sum(generation.prompt_tokens for generation in generations),
            generated_tokens=sum(len(generation.steps) for generation in generations),
            timings=Timings(
                load=self.load_ms,
                image=image.image_ms,
                vision=image.vision_ms,
                prefill=sum(generation.prefill_ms for generation in generations),
                decode=sum(generation.decode_ms for generation in generations),
                total=first_ms + (time.perf_counter() - begun) * 1000,
            ),
            warnings=tuple(dict.fromkeys(notes)),
            confidence=right,
            guess=result.text if is_guess else None,
            searched=result.searched,
        )
        if certifiable and not is_guess and is_known and not answer.best_guesses:
            answer = replace(answer, model=replace(answer.model, certified=self._certified(answer)))
        answer = finished(task, answer, least)
        of_label = answer.model.certified is not None and answer.model.certified.label is not None
        is_shown = answer.regions or not of_label  # a box on the other side than asked for is left out
        return answer if is_shown else replace(answer, model=replace(answer.model, certified=None))

    def ask(
        self,
        image: EncodedImage,
        text: str,
        language: Language | str | None = None,
        *,
        max_tokens: int | None = None,
        on_text: OnText = None,
        guess: bool = False,
        min_confidence: float = 0.0,
    ) -> Answer:
        """Answer a free question, whose words tell the task; the rest as in `run`. Raises UsageError as `run`."""
        request = self.request(image, text)
        language = language or language_of(text)
        return self.run(
            image, request, language, max_tokens=max_tokens, on_text=on_text, guess=guess, min_confidence=min_confidence
        )

    def detect(self, image: EncodedImage, names: Sequence[str], language: Language | str | None = None) -> Answer:
        """Locate structures and lesions by name; raises UsageError as `run`."""
        return self.run(image, Detect(names), language)

    def segment(
        self, image: EncodedImage, target: Sequence[str] | str | PixelBox, language: Language | str | None = None
    ) -> Answer:
        """Make masks of structures and lesions by name, or of what lies in a box, in pixels of the original image.

        Each region of the answer has its `mask`, or None where no pixel is inside. Raises UsageError as `run`, and where the
        package has no mask head.
        """
        request = Segment(box=target) if isinstance(target, PixelBox) else Segment(target)
        return self.run(image, request, language)

    def identify(self, image: EncodedImage, box: PixelBox, language: Language | str | None = None) -> Answer:
        """Name what lies in a box, in pixels of the original image; raises UsageError as `run`."""
        return self.run(image, Identify(box), language)

    def classify(
        self,
        image: EncodedImage,
        labels: Sequence[str] | str,
        language: Language | str | None = None,
        *,
        multiple: bool = False,
    ) -> Answer:
        """Choose one of the labels, or of those of a named set; with `multiple` one or more. Raises UsageError as `run`."""
        return self.run(image, Classify(labels, multiple), language)

    def answer(
        self, image: EncodedImage, question: str, language: Language | str | None = None, *, guess: bool = False
    ) -> Answer:
        """Answer a free question in words; `guess` as in `run`. Raises UsageError as `run`."""
        return self.run(image, AnswerQuestion(question), language, guess=guess)

    def report(self, image: EncodedImage, language: Language | str | None = None, *, grounded: bool = False) -> Answer:
        """Describe an image, with `grounded` locate what the report names; raises UsageError as `run`."""
        return self.run(image, Report(grounded), language)

    def request(
        self,
        image: EncodedImage,
        text: str,
        *,
        task: Task | str | None = None,
        box: PixelBox | None = None,
        labels: Sequence[str] | str = (),
        multiple: bool = False,
        regional_chain_of_thought: bool = False,
    ) -> TaskRequest:
        """Return the request that a question makes, whose words tell the task where none is named.

        Raises UsageError for what an image cannot tell, for unknown names, and as `build_request`.
        """
        if task is None and box is None and not labels:
            request = parse_intent(text, self._scene(image))
            return with_regions_first(request) if regional_chain_of_thought else request
        return build_request(
            task or self.guess_task(text, box, labels),
            text,
            box=box,
            labels=labels,
            multiple=multiple,
            regional_chain_of_thought=regional_chain_of_thought,
        )

    def guess_task(self, text: str, box: PixelBox | None = None, labels: Sequence[str] | str = ()) -> Task:
        """Tell which task is meant where none is named; raises UsageError where this package has none that fits."""
        return guess_task(text, self.tasks, self.terminology, box, labels)

    def next_request(self, image: EncodedImage, text: str, memory: Memory) -> TaskRequest:
        """Return the request of a question in a conversation about an image; raises UsageError as `request`."""
        from medrega_edge.tasks.conversation import going_back, with_left_out
        from medrega_edge.tasks.spoken import with_heads
        from medrega_edge.tasks.unsaid import corrected

        text = with_heads(corrected(text), memory, self.terminology)
        back = going_back(text, memory, self.terminology, self.modality(image), self.has_masks)
        if back is not None:
            return with_left_out(back, memory, self.terminology)
        if memory.last:
            from medrega_edge.tasks.memory import names_in
            from medrega_edge.tasks.unsaid import names_before

            found = names_in(memory.answer, self.terminology) if memory.answer else ()
            before = enumerated(names_before(memory.last, self.terminology, found))
            if len(parts(text, self.terminology, self.modality(image), before)) > 1:
                return parse_intent(text, self._scene(image, before))
        following = memory.last and self.follow_up(
            text, memory.last, memory.answer, image=image, earlier=memory.earlier, listed=memory.listed
        )
        return with_left_out(following, memory, self.terminology) if following else self.request(image, text)

    def _scene(self, image: EncodedImage, before: BilingualName = ("", "")) -> Scene:
        return Scene(
            self.tasks,
            self.terminology,
            self.modality(image),
            self._prompts,
            self.has_masks,
            partial(self._certain_part, image),
            partial(self._is_unfamiliar_name, image),
            before,
        )

    def follow_up(
        self,
        text: str,
        last: TaskRequest,
        answer: Answer | None = None,
        *,
        image: EncodedImage | None = None,
        earlier: TaskRequest | None = None,
        listed: Sequence[str] = (),
    ) -> TaskRequest | None:
        """Return the request of a question that goes on from the `last` one and its answer; None for one of its own.

        "Which is larger?" compares what the last two questions were about, where `earlier` is the one before the last.
        "The second one" is one of the labels that an answer `listed`.

        Of an `image`, "any lesion in it?" asks for the lesions of what was found; then raises UsageError as `request`.
        """
        from medrega_edge.tasks.follow_up import follow_up, pointing_back  # only a conversation needs them
        from medrega_edge.tasks.memory import names_in
        from medrega_edge.tasks.unsaid import completed

        found = names_in(answer, self.terminology) if answer else ()
        whole = completed(text, last, self.terminology, listed)
        filled = pointing_back(whole, last, self.terminology, found)
        if image is not None and filled != whole:
            return self.request(image, filled)
        modality = self.modality(image) if image else None
        order = (answer.facts.get("order") if answer else None) or ()
        request = follow_up(whole, last, self.terminology, found, earlier, modality, self.has_masks, order)
        return self.request(image, whole) if request is None and image is not None and whole != text else request

    def modality(self, image: EncodedImage) -> Modality | None:
        """Return the modality that the file states, else the recognised one; None for no medical image."""
        recognised = self._recognised(image)
        return image.image.modality or (recognised.modality if recognised else None)

    def context(
        self, image: EncodedImage, language: Language, max_tokens: int | None = None, on_text: OnText = None
    ) -> TaskContext:
        """Return what a task needs to run on an image; `run` makes it itself."""
        modality = partial(self.modality, image)
        return TaskContext(
            self.language_model,
            self._prompts,
            self.terminology,
            image,
            image.geometry,
            modality,
            language,
            max_tokens,
            on_text,
            partial(self._certain_modalities, image),
            partial(self._certain_part, image),
            lambda english, score: self._region_maker.confidence(self.modality(image), english, score),
            partial(self._is_unfamiliar, image),
            partial(self._is_unfamiliar_name, image),
            image.image.patient_orientation,
            regions.doubt if (regions := self.package.manifest.regions) and self.package.manifest.calibration else 0.0,
        )

    def _least_sure(self, answer: str) -> float:
        """Return the confidence from which on such an answer to a free question is given."""
        thresholds = self.package.manifest.answer_thresholds
        if thresholds is None:
            return UNSURE
        return thresholds.closed if is_yes_or_no(answer) else thresholds.open

    def _recognised(self, image: EncodedImage) -> RecognisedModality | None:
        """Recognise the modality from the pixels, once an image; None where the weights were not trained to."""
        if image not in self._modalities:
            self._modalities[image] = recognise_modality(self.context(image, Language.EN))
        return self._modalities[image]

    def _certain_modalities(self, image: EncodedImage) -> tuple[Modality, ...]:
        """Return the modality that the file states and the one that is recognised for certain, if they are known."""
        recognised = self._recognised(image)
        certain = recognised.modality if recognised and recognised.confidence >= CERTAIN_MODALITY else None
        return tuple(dict.fromkeys(each for each in (image.image.modality, certain) if each))

    def _is_unfamiliar(self, image: EncodedImage) -> bool:
        """Whether an image is unlike all of its kind that the weights were trained on."""
        modality = self.modality(image)
        known = self._familiar_images
        return known is not None and modality is not None and known.is_unfamiliar(image.embeds, modality)

    def _is_unfamiliar_name(self, image: EncodedImage, english: str) -> bool:
        """Whether no image like this one had a box of a name in the training data."""
        modality = self.modality(image)
        known = self._familiar_images
        return known is not None and modality is not None and known.is_unfamiliar_name(image.embeds, modality, english)

    @cached_property
    def _familiar_questions(self) -> FamiliarQuestions:
        return FamiliarQuestions.from_json(self._asked, self.package.manifest.files[FAMILIAR_QUESTIONS].path)

    def _is_rarely_asked(self, question: str) -> bool:
        """Whether hardly any image of the training data had a question like this one."""
        known = self.package.manifest.familiarity
        return known is not None and self._familiar_questions.support(question, known.similarity) < known.support

    def _certain_part(self, image: EncodedImage) -> str | None:
        """Return the body part that is recognised for certain, once an image."""
        if image not in self._parts:
            is_known = not self._is_unfamiliar(image)
            self._parts[image] = certain_part(self.context(image, Language.EN)) if is_known else None
        return self._parts[image]

    def _modality(self, image: EncodedImage, language: Language) -> tuple[Modality | None, float | None, list[Message]]:
        """Return the modality of an image, the confidence if it was recognised, and warnings about it."""
        declared, recognised = image.image.modality, self._recognised(image)
        if recognised is None:
            return declared, None, []
        modality, confidence = recognised.modality, recognised.confidence
        warnings = []
        if modality is None and confidence >= 0.5:
            warnings.append(Message("task.not_medical"))
        elif declared and modality and modality != declared and confidence >= CERTAIN_MODALITY:
            stated, seen = modality_name(declared, language), modality_name(modality, language)
            warnings.append(Message("task.other_modality", declared=stated, recognised=seen))
        if declared:
            return declared, None, warnings
        if modality and modality not in self.package.manifest.modalities:
            warnings.append(Message("task.untrained_modality", modality=modality_name(modality, language)))
        return modality, round(confidence, 4), warnings

    def _certified(self, answer: Answer) -> Certified | None:
        """Return the accuracy that was measured for such answers; for boxes only where all have one label."""
        labels = {region.label for region in answer.regions} if answer.task is Task.DETECT else set()
        label = self._region_maker.english(labels.pop()) if len(labels) == 1 else None
        return certificate.certified(self._certificate, answer.task, answer.language, answer.image.modality, label)

    def with_masks(self, image: EncodedImage, regions: Sequence[Region]) -> tuple[tuple[Region, ...], list[str]]:
        """Add a mask to each region, and take the box around it; also returns the labels whose masks are wrong.

        Raises UsageError for a package without a mask head, ResourceError where too little memory is free for it.
        """
        return self._region_maker.with_masks(image.image, regions)


def _image_facts(image: MedicalImage, modality: Modality | None, confidence: float | None) -> ImageFacts:
    return ImageFacts(
        path=image.path,
        width=image.width,
        height=image.height,
        modality=modality,
        modality_confidence=confidence,
        frame=image.frame,
        window=image.window,
        window_function=image.window_function,
        sha256=image.sha256,
        spacing_mm=image.spacing_mm,
        sides=image.patient_orientation,
        series=image.series,
        slice=image.slice,
        spacing_areas=image.spacing_areas,
    )


def load(
    model: str | Path | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
    cache: str | Path | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Engine:
    """Load a model package: a folder, the name of an installed one, or the one that ships with this program.

    `cache` and `cache_bytes` are those of `EngineOptions`. Raises PackageError or ResourceError, and UsageError for a
    `cache` that cannot be used.
    """
    folder = None if cache is None else Path(cache)
    return Engine(find_package(model), EngineOptions(threads, device, cache=folder, cache_bytes=cache_bytes))
