"""The only composer: load a package, look at an image once, ask it many things.

    engine = load()
    image = engine.open("scan.png")
    print(engine.ask(image, "locate the liver").text)

Everything else is a leaf; here an image becomes an embedding, a question becomes tokens behind the image's prefix, and
what the model writes becomes an Answer.
"""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.generate import Step, generate
from medrega_edge.grammar import RegionGrammar, Vocabulary
from medrega_edge.images import MedicalImage, View, read_image
from medrega_edge.package import Contents, Package, find
from medrega_edge.preprocess import Preprocessing, preprocess
from medrega_edge.prompts import (
    IDENTIFY_QUESTION,
    IMAGE_TOKEN,
    Language,
    PromptBook,
    Task,
    guess_task,
    language_of,
    sentence_of_regions,
)
from medrega_edge.regions import Geometry, PixelBox, format_boxes, parse
from medrega_edge.results import Answer, ImageFacts, ModelFacts, Region, Timings
from medrega_edge.sessions import Decoder, VisionEncoder, available_threads
from medrega_edge.tokenizer import StreamDecoder, Tokenizer

_WHAT_IS_IT = re.compile(r"^\s*$|what|which|name|identify|是什么|什么|识别|哪", re.IGNORECASE)

MAX_TOKENS = 256
LONGEST_QUESTION = 500  # characters


@dataclass(frozen=True)
class EngineOptions:
    """How a package is run; none of this changes an answer."""

    threads: int | None = None
    device: str = "cpu"


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
        self.device = options.device
        threads = options.threads or available_threads()
        manifest = package.manifest
        contents = package.read_all()  # every hash before any graph is loaded
        self._prompts = PromptBook.from_json(contents.text("prompts"))
        with ThreadPoolExecutor(max_workers=2) as pool:  # sessions are built outside the interpreter's lock
            decoder = pool.submit(Decoder, contents, threads, options.device)
            vision = pool.submit(VisionEncoder, contents, threads, options.device)
            self._tokenizer = Tokenizer(contents.text("tokenizer"))
            self._embeddings = self._load_embeddings(contents)
            self._decoder = decoder.result()
            self._vision = vision.result()
        self._vocabulary = Vocabulary.of(self._tokenizer, manifest.tokens.end)
        self._numbers = Preprocessing(manifest.vision.image_size, manifest.vision.mean, manifest.vision.std)
        before, after = self._prompts.before_and_after()
        self._before, self._after = self._tokenizer.encode(before), self._tokenizer.encode(after)
        if self._tokenizer.id_of(IMAGE_TOKEN) != manifest.tokens.image or self._tokenizer.size > len(self._embeddings):
            raise PackageError("The manifest and the tokenizer of the model package do not fit each other.")
        self._seen: EncodedImage | None = None  # whose prefix lies in the cache
        self._asked: WeakSet[EncodedImage] = WeakSet()  # images whose reading an answer has already been charged with
        self._prefix_length = 0
        self.load_ms = (time.perf_counter() - begun) * 1000

    def _load_embeddings(self, contents: Contents) -> npt.NDArray[np.floating]:
        spec = self.package.manifest.decoder
        try:
            table = np.load(io.BytesIO(contents["embeddings"]), allow_pickle=False)
        except (ValueError, OSError, EOFError):
            raise PackageError("The embeddings of the model package cannot be read; get the package again.") from None
        if table.shape != (spec.vocabulary, spec.hidden) or table.dtype not in (np.float16, np.float32):
            raise PackageError("The embeddings of the model package do not fit its manifest; get the package again.")
        return np.asarray(table)

    @property
    def passes(self) -> int:
        """Forward passes of the language model so far, for measurements."""
        return self._decoder.passes

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that these weights were trained for."""
        return self.package.manifest.tasks

    def open(self, source: str | Path | bytes, frame: int | None = None, view: View | None = None) -> EncodedImage:
        """Read an image, as `read_image` does, and run the vision tower over it; raises ImageError."""
        begun = time.perf_counter()
        image = read_image(source, frame, view)
        values, geometry = preprocess(image, self._numbers)
        read = time.perf_counter()
        embeds = self._vision.encode(values)
        done = time.perf_counter()
        return EncodedImage(image, geometry, embeds, (read - begun) * 1000, (done - read) * 1000)

    def ask(
        self,
        image: EncodedImage,
        question: str,
        task: Task | str | None = None,
        language: Language | str | None = None,
        box: tuple[float, float, float, float] | None = None,
        on_text: Callable[[str], None] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Answer:
        """Ask one question about an image that has been looked at.

        `task` and `language` are read off the question when not given; `box` is in pixels of the original image and asks
        what is in it. `on_text` receives the model's text as it comes. Raises UsageError for a request that makes no
        sense or that these weights were not trained for.
        """
        begun = time.perf_counter()
        chosen_language = _member(Language, language) if language else language_of(question)
        chosen_task = _member(Task, task) if task else (Task.IDENTIFY if box else guess_task(question, self.tasks))
        suffix = self._suffix(image, question, chosen_task, chosen_language, box)
        looked_ms = 0.0 if image in self._asked else image.image_ms + image.vision_ms
        self._asked.add(image)
        self._load_prefix(image)
        logits = self._extend(suffix)
        prefilled = time.perf_counter()
        limit = min(max_tokens, self._decoder.room)
        grammar = RegionGrammar(self._vocabulary)
        stream = StreamDecoder(self._tokenizer)
        steps: list[Step] = []
        places: list[tuple[int, int, int] | None] = []
        trail = _Trail(grammar)
        for step in generate(logits, self._extend, trail, self._vocabulary.end, limit):
            steps.append(step)
            places.append(trail.place)
            piece = stream.push(step.token)
            if on_text and piece:
                on_text(piece)
        rest = stream.finish()
        if on_text and rest:
            on_text(rest)
        decoded = time.perf_counter()
        finish = "length" if len(steps) >= limit else "stop"
        timings = Timings(
            load=self.load_ms,
            image=image.image_ms,
            vision=image.vision_ms,
            prefill=(prefilled - begun) * 1000,
            decode=(decoded - prefilled) * 1000,
            total=looked_ms + (decoded - begun) * 1000,
        )
        raw = self._tokenizer.decode([step.token for step in steps])
        prompt_tokens = self._prefix_length + len(suffix)
        told = _Told(steps, places)
        asked = (chosen_task, chosen_language)
        return self._answer(image, question, raw, asked, finish, prompt_tokens, told, timings)

    def _suffix(
        self,
        image: EncodedImage,
        question: str,
        task: Task,
        language: Language,
        box: tuple[float, float, float, float] | None,
    ) -> list[int]:
        if task.value not in self.tasks:
            raise UsageError(f"This model package was not trained for the task '{task}'; it knows: {', '.join(self.tasks)}.")
        if len(question) > LONGEST_QUESTION:
            raise UsageError(f"The question has {len(question)} characters; up to {LONGEST_QUESTION} are read.")
        words = self._tokenizer.without_markers(question).strip()
        if task is Task.IDENTIFY:
            if box is None:
                raise UsageError("The task 'identify' needs a box: which region is meant? Give --box x1,y1,x2,y2.")
            try:
                grid = image.geometry.to_grid(PixelBox(*box))
            except ValueError as error:
                raise UsageError(f"The box cannot be used: {error}.") from None
            words = IDENTIFY_QUESTION[language].format(box=format_boxes([grid]))
        elif box is not None:
            raise UsageError(f"A box goes with the task 'identify', not with '{task}'.")
        if not words:
            raise UsageError('The question is empty; ask for example "locate the liver".')
        suffix = self._tokenizer.encode(self._prompts.suffix(task, language, words))
        if len(suffix) + 1 >= self._decoder.spec.context - self.package.manifest.vision.tokens:
            raise UsageError("The question is too long for this model package; ask a shorter one.")
        return suffix

    def _load_prefix(self, image: EncodedImage) -> None:
        """Have the image's prefix, and nothing else, in the cache. Always a pass of its own, so warm equals cold."""
        if self._seen is image:
            self._decoder.rewind(self._prefix_length)
            return
        self._decoder.rewind(0)
        self._seen = None
        prefix = np.concatenate([self._embed(self._before), image.embeds, self._embed(self._after)])
        self._decoder.extend(prefix)
        self._seen, self._prefix_length = image, len(prefix)

    def _embed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        return self._embeddings[np.asarray(ids, np.int64)].astype(np.float32)

    def _extend(self, ids: list[int]) -> npt.NDArray[np.float32]:
        return self._decoder.extend(self._embed(ids))

    def _answer(
        self,
        image: EncodedImage,
        question: str,
        raw: str,
        asked: tuple[Task, Language],
        finish: str,
        prompt_tokens: int,
        told: _Told,
        timings: Timings,
    ) -> Answer:
        parsed = parse(raw)
        warnings = [*image.image.warnings, *parsed.problems]
        if finish == "length":
            warnings.append("the answer was cut off at its longest length")
        if asked[0] is Task.IDENTIFY and not _WHAT_IS_IT.search(question):
            warnings.append("only 'what is this?' was asked of the model about the box, not the words of the question")
        written = sum(len(found.boxes) for found in parsed.regions)
        scores = told.box_scores()
        if len(scores) != written:  # a box could not be read: no score may slip to another box
            scores = []
        regions = []
        for found in parsed.regions:
            for box in found.boxes:
                pixels = image.geometry.to_pixels(box)
                confidence = scores.pop(0) if scores else None
                regions.append(Region(found.label, (pixels.x1, pixels.y1, pixels.x2, pixels.y2), confidence))
        labels = list(dict.fromkeys(region.label for region in regions))
        bare = parsed.prose.strip(" ,，、.。") in ("", *labels, ", ".join(labels))
        text = sentence_of_regions(labels, asked[1]) if labels and bare else parsed.prose
        if not text:
            warnings.append("the model gave no answer")
        manifest = self.package.manifest
        source = image.image
        facts = ImageFacts(
            path=source.path,
            width=source.width,
            height=source.height,
            modality=source.modality.value if source.modality else None,
            frame=source.frame,
            window=source.window,
            sha256=source.sha256,
            spacing_mm=source.spacing,
            sides=source.sides,
        )
        return Answer(
            text=text,
            raw_text=raw,
            task=asked[0].value,
            language=asked[1].value,
            regions=tuple(regions),
            labels=(),
            image=facts,
            model=ModelFacts(manifest.name, manifest.version, self.package.sha256, manifest.precision),
            device=self.device,
            finish=finish,
            prompt_tokens=prompt_tokens,
            generated_tokens=len(told.steps),
            timings=timings,
            warnings=tuple(warnings),
        )


class _Trail:
    """A grammar that remembers which coordinate the last token spelt."""

    def __init__(self, grammar: RegionGrammar) -> None:
        self._grammar = grammar
        self.place: tuple[int, int, int] | None = None

    @property
    def banned(self) -> tuple[int, ...]:
        return self._grammar.banned

    def allowed(self) -> tuple[int, ...] | None:
        return self._grammar.allowed()

    def push(self, token: int) -> None:
        self.place = self._grammar.coordinate if self._grammar.in_number else None
        self._grammar.push(token)


@dataclass(frozen=True)
class _Told:
    """The steps of an answer, and for each which (box, coordinate, digit) it spelt."""

    steps: list[Step]
    places: list[tuple[int, int, int] | None]

    def box_scores(self) -> list[float]:
        """How sure the model was of each box: geometric mean of the probabilities of its leading digits.

        The last digits are noise by nature (a thousandth of the image), so only the first digit of each of the four
        coordinates counts. Not calibrated.
        """
        scores: list[float] = []
        firsts: list[float] = []
        for step, place in zip(self.steps, self.places, strict=True):
            if place is None or place[2] != 0:
                continue
            firsts.append(1.0 if step.probability is None else step.probability)
            if place[1] == 3:
                scores.append(math.prod(firsts) ** (1 / len(firsts)))
                firsts = []
        return scores


_Choice = TypeVar("_Choice", Task, Language)


def _member(kind: type[_Choice], value: _Choice | str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise UsageError(f"There is no {kind.__name__.lower()} '{value}'; choose one of: {known}.") from None


def load(model: str | Path | None = None, *, threads: int | None = None, device: str = "cpu") -> Engine:
    """Load a model package: a folder, the name of an installed one, or the one that ships with this program."""
    return Engine(find(model), EngineOptions(threads, device))
