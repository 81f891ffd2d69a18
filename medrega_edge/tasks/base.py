"""What every task shares: the type of a request, what answers it, and what comes back."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from medrega_edge.answer import Answer
from medrega_edge.boxes import Geometry, GridBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.confidence import raw_scores
from medrega_edge.inference.decoding import Grammar
from medrega_edge.inference.grammars import Choice, Prose, RegionGrammar
from medrega_edge.inference.language_model import Generation, ImageEmbeddings, LanguageModel
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import LABEL_SEPARATOR, Prompt, PromptBook
from medrega_edge.vocabulary.answers import asks_yes_or_no, closed_and_open, offered
from medrega_edge.vocabulary.terminology import BilingualName, Terminology

MAX_TOKENS = 256  # of one generation
MAX_HEAD_TOKENS = 2048  # where boxes come from a region head: a hundred of them, without a forward pass
MAX_QUESTION_LENGTH = 500  # characters
_UNDECODABLE = re.compile("[\ud800-\udfff]")  # lone surrogates: bytes of argv that the locale cannot decode

OnText = Callable[[str], None] | None


@dataclass(frozen=True)
class Detection:
    """A named box on the model's grid, with its raw score 0..1; None if there is no score.

    `doubt` is taken off the log-odds of the probability that it is right.
    """

    label: str
    box: GridBox
    score: float | None
    doubt: float = 0.0


@dataclass(frozen=True)
class TaskResult:
    """The outcome of a task: `text` for a person, detections, labels with probabilities, and every generation.

    `certifiable` is false where the package's certificate holds no figures for such a request. `score` is the raw
    probability of an answer in words among all that the weights have seen; None where these are unknown. `searched` are the
    names that were to be located, in the language of the answer. `confidence` is the probability that the answer is right,
    where it follows from boxes; `is_unsure` where they leave it open.
    """

    text: str
    detections: tuple[Detection, ...] = ()
    labels: tuple[tuple[str, float], ...] = ()
    warnings: tuple[Message, ...] = ()
    generations: tuple[Generation, ...] = ()
    certifiable: bool = True
    score: float | None = None
    searched: tuple[str, ...] = ()
    confidence: float | None = None
    is_unsure: bool = False


@dataclass(frozen=True)
class TaskContext:
    """One package and one image: all that a task needs to run.

    `image_modality` is what the file states, else what the weights recognise; None for no medical image. It may cost a
    forward pass. `certain_modalities` are what the file states and what the weights recognise for certain. `certain_part` is
    the body part, where it is recognised for certain. `confidence` calibrates the raw score of a box of an English name.
    `is_unfamiliar` tells that the image is unlike all of its kind that the weights were trained on: no answer is sure.
    `is_unfamiliar_name` tells that no such image had a box of an English name: no box of it is sure.
    `sides` are the sides of the patient at the edges of the image, as `MedicalImage.patient_orientation` has them.
    `doubt` is that of a box in which the weights, asked back, name something else; 0 where this was not fitted.
    `max_tokens` limits each generation, if it is not None. `on_text` receives free text while it is written.
    """

    language_model: LanguageModel
    prompts: PromptBook
    terminology: Terminology
    image: ImageEmbeddings
    geometry: Geometry
    image_modality: Callable[[], Modality | None]
    language: Language
    max_tokens: int | None = None
    on_text: OnText = None
    certain_modalities: Callable[[], Collection[Modality]] = frozenset
    certain_part: Callable[[], str | None] = lambda: None
    confidence: Callable[[str, float], float] = lambda _, score: score
    is_unfamiliar: Callable[[], bool] = lambda: False
    is_unfamiliar_name: Callable[[str], bool] = lambda _: False
    sides: Sequence[str] | None = None
    doubt: float = 0.0

    def clean(self, text: str) -> str:
        """Return a user's text without special tokens and outer white space."""
        return self.language_model.strip_special_tokens(text).strip()

    @property
    def max_region_tokens(self) -> int:
        """Maximum number of tokens of a text with regions."""
        return self.max_tokens or (MAX_HEAD_TOKENS if self.language_model.has_region_head else MAX_TOKENS)

    def generate(self, prompt: Prompt, grammar: Grammar) -> Generation:
        """Generate an answer under a grammar; raises UsageError for a prompt that is too long."""
        limit = self.max_region_tokens if isinstance(grammar, RegionGrammar) else self.max_tokens or MAX_TOKENS
        return self.language_model.generate(self.image, prompt, grammar, limit)

    def generate_prose(self, prompt: Prompt, opening: str = "") -> Generation:
        """Generate text without regions that begins with `opening`, and stream it; raises UsageError as `generate`."""
        model = self.language_model
        ids = model.encode_continuation(opening, prompt.question) if opening else []
        grammar = Prose(model.vocabulary, ids)
        return model.generate(self.image, prompt, grammar, self.max_tokens or MAX_TOKENS, self.on_text)

    def choose_answer(self, prompt: Prompt, question: str) -> tuple[Generation, float] | None:
        """Choose an answer among those that the weights have seen in the context's language; None where these are unknown.

        A question for yes or no gets one of those that say so, and one that offers a choice one of those that it offers, if
        there are any. Raises UsageError as `generate`. Beside the generation stands the answer's probability among them.
        """
        answers = self.prompts.answers.get(self.language)
        if answers:
            closed, others = closed_and_open(answers)  # "why?" gets no "yes"
            answers = closed if asks_yes_or_no(question) else tuple(offered(question, answers)) or others
        return self.language_model.choose_answer(self.image, prompt, answers) if answers else None

    def generate_regions(self, prompt: Prompt) -> TaskResult:
        """Generate text and regions in any order; the result's text keeps the names of the regions."""
        generation = self.generate(prompt, RegionGrammar(self.language_model.vocabulary))
        parsed = parse(generation.raw_text)
        has_scores = generation.box_scores or len(parsed.regions) == 1
        scores = box_scores(generation) if has_scores else []
        if len(scores) != sum(len(region.boxes) for region in parsed.regions):
            scores = []
        detections = []
        for region in parsed.regions:
            count = len(region.boxes)
            detections += scored(region.label, region.boxes, scores[:count])
            scores = scores[count:]
        warnings = generation_warnings(generation, parsed.problems)
        return TaskResult(parsed.prose, tuple(detections), warnings=warnings, generations=(generation,))

    def choose(
        self, prompt: Prompt, candidates: Sequence[str], multiple: bool = False
    ) -> tuple[Generation, list[int], float]:
        """Generate one of the candidates, or with `multiple` one or more of them.

        Returns the generation, the indices of the chosen candidates, and the product of the tokens' probabilities.
        """
        model = self.language_model
        following: Sequence[Sequence[int]] = ()
        if multiple:
            following = [model.encode_continuation(f"{LABEL_SEPARATOR}{candidate}", candidate) for candidate in candidates]
        grammar = Choice(self.encode_candidates(prompt, candidates), model.vocabulary.end, following)
        generation = self.generate(prompt, grammar)
        probabilities = (step.probability for step in generation.steps)
        return generation, list(grammar.chosen), math.prod(p for p in probabilities if p is not None)

    def encode_candidates(self, prompt: Prompt, candidates: Sequence[str]) -> list[list[int]]:
        """Return the ids of each candidate as it follows the prompt."""
        return [self.language_model.encode_continuation(candidate, prompt.question) for candidate in candidates]


class TaskRequest(ABC):
    """A task with its parameters. Each kind is a frozen dataclass that raises UsageError for values it cannot use."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """Kind of task."""

    @property
    def words(self) -> str:
        """The user's own words, which tell the language of the answer unless one is named; may be empty."""
        return ""

    @property
    def wants_masks(self) -> bool:
        """Whether the engine adds a mask to each box."""
        return False

    @abstractmethod
    def run(self, context: TaskContext) -> TaskResult:
        """Answer the request; raises UsageError where this package or this image does not allow it."""

    def answered(self, run: Callable[[TaskRequest], Answer]) -> Answer:
        """Answer by `run`, which runs one request; a text of several questions takes one for each."""
        return run(self)

    def finish(self, answer: Answer) -> Answer:
        """Return the answer with what follows from its boxes in pixels; raises UsageError where the image does not tell."""
        return answer


def combine(results: Sequence[TaskResult], text: str) -> TaskResult:
    """Return one result with this text, and the detections, warnings and generations of all."""
    return TaskResult(
        text,
        tuple(detection for result in results for detection in result.detections),
        warnings=tuple(warning for result in results for warning in result.warnings),
        generations=tuple(generation for result in results for generation in result.generations),
    )


class TextStream:
    """Passes text on while it is generated; the pieces join to the final text, which has no outer white space."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        """Start an empty stream; `on_text` gets each piece."""
        self._on_text = on_text
        self._sent = ""
        self._held = ""  # white space that is only passed on when more text follows

    def push(self, piece: str) -> None:
        """Pass on what is certain to stay."""
        text = self._held + piece
        text = text if self._sent else text.lstrip()
        certain = text.rstrip()
        self._held = text[len(certain) :]
        self._send(certain)

    def finish(self, text: str) -> None:
        """Pass on what the final text has beyond the pieces so far."""
        self._send(text[len(self._sent) :])

    def _send(self, text: str) -> None:
        if text:
            self._on_text(text)
            self._sent += text


def scored(label: str, boxes: Sequence[GridBox], scores: Sequence[float]) -> list[Detection]:
    """Pair boxes with their scores; without any where the counts differ, so that no box gets the score of another."""
    matching: Sequence[float | None] = scores if len(scores) == len(boxes) else [None] * len(boxes)
    return [Detection(label, box, score) for box, score in zip(boxes, matching, strict=True)]


def box_scores(generation: Generation, presence: float = 1.0) -> list[float]:
    """Return the raw scores of a generation's boxes, from its region head or its digits, times that of presence."""
    return [score * presence for score in generation.box_scores] or raw_scores(generation.steps, presence)


def generation_warnings(generation: Generation, problems: Sequence[Message] = ()) -> tuple[Message, ...]:
    """Return what a reader has to know of a generation; `problems` are those of reading its regions."""
    warnings = list(problems)
    if generation.finish == "length":
        warnings.append(Message("task.cut_off"))
    if not generation.raw_text.strip():
        warnings.append(Message("task.no_answer"))
    return tuple(warnings)


def check_text(text: str) -> None:
    """Refuse text that is too long or cannot be decoded; raises UsageError."""
    if len(text) > MAX_QUESTION_LENGTH:
        raise UsageError("task.question_too_long", length=len(text), limit=MAX_QUESTION_LENGTH)
    if _UNDECODABLE.search(text):
        raise UsageError("task.undecodable_question")


def check_words(text: str) -> None:
    """Refuse text without a letter or digit; raises UsageError."""
    if not re.search(r"\w", text):
        raise UsageError("task.empty_question")


def not_found(names: Sequence[BilingualName], language: Language, warnings: Sequence[Message] = ()) -> str:
    """Say which names have no box, and that this does not rule them out; empty without names.

    Of a name that such an image cannot show, as `warnings` say, it does not add that.
    """
    column = language is Language.ZH
    impossible = {warning.params.get("label") for warning in warnings if warning.code in _CANNOT_SHOW}
    shown = [name[column] for name in names]
    absent, missed = ([label for label in shown if (label in impossible) is is_absent] for is_absent in (True, False))
    said = [Message("answer.not_found", names=absent)] if absent else []
    said += [Message("answer.finding_not_found", names=missed)] if missed else []
    return ("" if column else " ").join(message.text(language) for message in said)


_CANNOT_SHOW = ("task.impossible_name", "task.impossible_in_part")  # warnings that such an image cannot show a name


def parse_task(name: str) -> Task:
    """Return the task of that name; raises UsageError, which lists them."""
    try:
        return Task(name)
    except ValueError:
        raise UsageError("task.unknown_task", name=name, tasks=[task.value for task in Task]) from None


def parse_language(name: str) -> Language:
    """Return the language of that name; raises UsageError, which lists them."""
    try:
        return Language(name)
    except ValueError:
        raise UsageError("task.unknown_language", name=name, languages=[each.value for each in Language]) from None
