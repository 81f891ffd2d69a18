"""What was asked, understood or refused: nothing in a `Request` is left to guess.

Knows tasks, languages, terms and label sets; knows no graph, no file and no words of a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from medrega_edge.boxes import Geometry, GridBox, PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import guess_task
from medrega_edge.vocabulary.label_sets import LABEL_SETS
from medrega_edge.vocabulary.terminology import Terms

LONGEST_QUESTION = 500  # characters
_UNREAD = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that the locale has no characters for
_OTHER_LETTERS = re.compile(r"[^\W\d_\x00-\x7f\u00b5\u0370-\u03ff\u3400-\u9fff\uff00-\uffef]")  # but for Greek ones
_WHAT_IS_IT = re.compile(r"^\s*$|what|which|name|identify|是什么|什么|识别|哪", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question as it came in; the box is in pixels of the original image, the labels a list or the name of a set."""

    question: str
    task: Task | str | None = None
    language: Language | str | None = None
    box: tuple[float, float, float, float] | None = None
    labels: Sequence[str] | str = ()
    several: bool = False
    regions_first: bool = False


@dataclass(frozen=True)
class Request:
    """One question, understood."""

    task: Task
    language: Language
    question: str
    box: GridBox | None = None
    labels: tuple[str, ...] = ()
    modalities: tuple[Modality, ...] = ()  # kinds of image that the labels are about; empty where nobody says
    several: bool = False
    regions_first: bool = False
    measured: bool = True  # whether a certificate's figures are about such requests
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Understanding:
    """Turns questions into requests that one package can answer: its tasks, its terms, and what frees a text of markers."""

    tasks: tuple[str, ...]
    terms: Terms
    strip_special_tokens: Callable[[str], str]

    def request(self, asked: Asked, geometry: Geometry) -> Request:
        """Understand a question about an image; raises UsageError for what makes no sense or was not trained."""
        question = asked.question
        language = member(Language, asked.language) if asked.language else language_of(question)
        task = member(Task, asked.task) if asked.task else self._guess(asked)
        grounded = task is Task.GROUNDED_REPORT and task.value not in self.tasks
        needed = Task.REPORT if grounded else task
        if needed.value not in self.tasks:
            raise UsageError(f"This model package was not trained for the task '{task}'; it knows: {', '.join(self.tasks)}.")
        if len(question) > LONGEST_QUESTION:
            raise UsageError(f"The question has {len(question)} characters; up to {LONGEST_QUESTION} are read.")
        if _UNREAD.search(question):
            raise UsageError("The question cannot be read in the encoding of this locale; set LANG to that of the terminal.")
        words = self.strip_special_tokens(question).strip()
        if task in (Task.DETECT, Task.VQA) and not re.search(r"\w", words):
            raise UsageError('The question is empty; ask for example "locate the liver".')
        if asked.regions_first and task not in (Task.VQA, Task.CLASSIFY):
            raise UsageError(f"Regions first (--cot) goes with the tasks 'vqa' and 'classify', not with '{task}'.")
        box, warnings = _box(asked, task, geometry)
        if task is Task.VQA and _OTHER_LETTERS.search(words):
            warnings.append(
                "the question seems to be neither English nor Chinese, which is all that these weights were taught"
            )
        request = Request(
            task,
            language,
            words,
            box,
            several=asked.several,
            regions_first=asked.regions_first,
            measured=not asked.regions_first,
            warnings=warnings,
        )
        return self._with_candidates(request, asked.labels)

    def _guess(self, asked: Asked) -> Task:
        if asked.box:
            return Task.IDENTIFY
        if asked.labels:
            return Task.CLASSIFY
        if Task.DETECT.value in self.tasks and self.terms.is_list(asked.question):
            return Task.DETECT
        return guess_task(asked.question, self.tasks)

    def _with_candidates(self, request: Request, labels: Sequence[str] | str) -> Request:
        """The request with the candidates of a classification: as they were given, or those of a label set."""
        if labels and request.task is not Task.CLASSIFY:
            raise UsageError(f"Labels go with the task 'classify', not with '{request.task}'.")
        if not labels:
            if request.task is Task.CLASSIFY:
                raise UsageError("A classification needs candidates: give --labels a,b,c or the name of a set with --set.")
            return request
        if not isinstance(labels, str):
            return self._with_own(request, tuple(self.strip_special_tokens(label).strip() for label in labels))
        known = LABEL_SETS.get(labels)
        if known is None:
            raise UsageError(f"There is no label set '{labels}'; choose one of: {', '.join(LABEL_SETS)}.")
        several = request.several or known.several
        return replace(request, labels=known.names(request.language), modalities=known.modalities, several=several)

    def _with_own(self, request: Request, labels: tuple[str, ...]) -> Request:
        """Candidates that were given one by one: those of a set that weights of ours learn, or others."""
        named = (one for one in LABEL_SETS.values() if set(labels) <= set(one.names(request.language)))
        known = next(named, None)
        if known is not None:
            return replace(request, labels=labels, modalities=known.modalities)
        if not self.terms.labels:  # weights from elsewhere: nobody knows their words
            return replace(request, labels=labels)
        request.warnings.append("these weights were not trained to tell these labels apart: the choice means little")
        return replace(request, labels=labels, measured=False)


def _box(asked: Asked, task: Task, geometry: Geometry) -> tuple[GridBox | None, list[str]]:
    """The box that is asked about, and what has to be said about that."""
    if task is not Task.IDENTIFY:
        if asked.box is not None:
            raise UsageError(f"A box goes with the task 'identify', not with '{task}'.")
        return None, []
    if asked.box is None:
        raise UsageError("The task 'identify' needs a box: which region is meant? Give --box x1,y1,x2,y2.")
    try:
        pixels = PixelBox(*asked.box)
        box = geometry.to_grid(pixels)
    except ValueError as error:
        raise UsageError(f"The box cannot be used: {error}.") from None
    if min(pixels.x2 - pixels.x1, pixels.y2 - pixels.y1) < 1:
        raise UsageError("The box is less than a pixel wide or high; give one in pixels of the original image.")
    warnings = []
    if min(pixels.x1, pixels.y1) < 0 or pixels.x2 > geometry.width or pixels.y2 > geometry.height:
        warnings.append("the box reaches beyond the image; what lies inside was asked about")
    if _WHAT_IS_IT.search(asked.question):
        return box, warnings
    return box, [*warnings, "only 'what is this?' was asked of the model about the box, not the words of the question"]


_Choice = TypeVar("_Choice", Task, Language)


def member(kind: type[_Choice], value: _Choice | str) -> _Choice:
    """The task or language of that name; raises UsageError, which lists them."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise UsageError(f"There is no {kind.__name__.lower()} '{value}'; choose one of: {known}.") from None
