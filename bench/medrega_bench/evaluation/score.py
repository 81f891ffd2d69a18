"""Answers made by any system, one JSON object a line, scored by the name of a setting.

An item has upstream's layout: `answer` and `gt` where regions are asked for, else `pred_answer` and `gt_answer`, and
for classification its list of `classes`. It may have `image`, so that intervals resample images, and `confidence` of
the answer or `confidences` of its boxes; other keys are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medrega_bench.evaluation.figures import Measured, Pair
from medrega_bench.evaluation.settings import Setting, setting_named
from medrega_bench.metrics import average_precision as metrics_ap
from medrega_bench.metrics import labels as metrics_labels
from medrega_bench.metrics import regions as metrics_regions
from medrega_bench.metrics import text as metrics_text
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import LEVEL, RESAMPLES, Interval
from medrega_edge.evaluation.grading import is_exact
from medrega_edge.evaluation.questions import Question
from medrega_edge.i18n.message import Message
from medrega_edge.io.jsonl import read_lines, read_object
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import LABEL_SEPARATOR

FAILED = "error"  # the key of what `medrega batch` writes for a question that it could not answer

Values = Mapping[str, float | None]
Intervals = Mapping[str, Interval | None]


@dataclass(frozen=True)
class Item:
    """One line of a file: its number and its JSON object."""

    line: int
    content: Mapping[str, Any]

    def text(self, key: str) -> str:
        """Return the text under a key; raises UsageError naming the line."""
        if key not in self.content:
            if "raw_text" in self.content:
                raise UsageError("bench.questions_missing")
            raise UsageError("bench.item_lacks_key", line=self.line, key=key)
        if not isinstance(self.content[key], str):
            raise UsageError("bench.item_needs_text", line=self.line, key=key)
        return str(self.content[key])

    @property
    def confidence(self) -> float | None:
        """The confidence of the answer, None where the item has none; raises UsageError naming the line."""
        value = self.content.get("confidence")
        return None if value is None else self._share(value)

    @property
    def confidences(self) -> tuple[float, ...] | None:
        """Those of the boxes, None where the item has none; raises UsageError naming the line."""
        values = self.content.get("confidences")
        if values is None:
            return None
        if not isinstance(values, list):
            raise UsageError("bench.item_needs_confidences", line=self.line)
        return tuple(map(self._share, values))

    def _share(self, value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
            raise UsageError("bench.confidence_no_share", line=self.line)
        return float(value)

    def classes(self, given: Sequence[str] | None) -> tuple[str, ...]:
        """The candidates, in the order of the question, which decides upstream's ties; raises UsageError."""
        classes = given or self.content.get("classes")
        if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
            raise UsageError("bench.item_needs_classes", line=self.line)
        if not classes or len(set(classes)) != len(classes) or any("," in name or not name for name in classes):
            raise UsageError("bench.classes_unusable", line=self.line)
        return tuple(classes)


@dataclass(frozen=True)
class IntervalMethod:
    """How intervals are made."""

    level: float = LEVEL
    over: str = "images"
    resamples: int = RESAMPLES


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """Figures of a setting: upstream's under upstream's names, those with a point in groups, and `standard` ones."""

    schema_version: int = 1
    setting: str
    items: int
    images: int
    figures: Mapping[str, Any]
    intervals: Mapping[str, Any]
    standard: Values
    standard_intervals: Intervals
    interval: IntervalMethod = IntervalMethod()
    warnings: tuple[Message, ...]


class Scored(Protocol):
    """Figures with intervals."""

    def values(self) -> dict[str, float | None]:
        """Return the figures over all items."""

    def intervals(self, images: Sequence[str]) -> dict[str, Interval | None]:
        """Return their intervals; `images` names the image of each item."""


def read_items(path: Path) -> list[Item]:
    """Read items; raises UsageError naming the first bad line."""
    return [Item(number, read_object(line, number)) for number, line in read_lines(path, Message("bench.answers"))]


def score(
    name: str, items: Sequence[Item], classes: Sequence[str] | None = None, bert_model: Path | None = None
) -> ScoreResult:
    """Score items, every figure with its interval.

    `bert_model` is a folder with a language model, for BERTScore of reports. Raises UsageError naming the line that cannot
    be scored.
    """
    setting = setting_named(name)
    if not items:
        raise UsageError("bench.nothing_to_score")
    pairs = [_pair(item, setting, classes) for item in items]
    images = [item.text("image") if "image" in item.content else f"line {item.line}" for item in items]
    upstream = setting.measure(pairs)
    standard, warnings = _standard(setting, pairs, images)
    if bert_model is not None:
        measured, cut = _bert_score(name, pairs, bert_model)
        standard.append((measured, images))
        if cut:
            warnings.append(Message("bench.texts_cut", count=cut))
    warnings += [Message("bench.item_is_error", line=item.line) for item in items if FAILED in item.content]
    for pair in pairs if setting.has_regions else ():
        warnings += _unreadable(pair)
    return ScoreResult(
        setting=name,
        items=len(items),
        images=len(set(images)),
        figures=_nested(upstream.values()),
        intervals=_nested(upstream.intervals(images)),
        standard={key: value for scored, _ in standard for key, value in scored.values().items()},
        standard_intervals={key: value for scored, of in standard for key, value in scored.intervals(of).items()},
        warnings=tuple(warnings),
    )


def _standard(
    setting: Setting, pairs: list[Pair], images: list[str]
) -> tuple[list[tuple[Scored, list[str]]], list[Message]]:
    """The metrics that everyone knows, each with the images of its items, and a sentence about those left out."""
    warnings: list[Message] = []
    if setting.has_regions:
        found: list[tuple[Scored, list[str]]] = [(metrics_regions.detection(pairs), images)]
        known = [pair for pair in pairs if pair.confidences is not None]
        if len(known) == len(pairs):
            items, confidences, right = metrics_regions.box_confidences(pairs)
            found.append((metrics_ap.AveragePrecision(pairs), images))
            if confidences:
                found.append((metrics_labels.calibration(confidences, right), [images[item] for item in items]))
        else:
            warnings.append(Message("bench.no_average_precision", lacking=len(pairs) - len(known), count=len(pairs)))
        return found, warnings
    found = [(metrics_text.exact_match(pairs), images)]
    if setting.has_classes:
        found.append((metrics_labels.classification(pairs), images))
    sure = [pair.confidence for pair in pairs if pair.confidence is not None]
    if len(sure) == len(pairs):
        hits = [is_exact(pair.answer, pair.truth) for pair in pairs]
        found.append((metrics_labels.calibration(sure, hits), images))
    else:
        warnings.append(Message("bench.no_calibration_error", lacking=len(pairs) - len(sure), count=len(pairs)))
    return found, warnings


def _bert_score(name: str, pairs: list[Pair], folder: Path) -> tuple[Measured, int]:
    """BERTScore, and how many texts were cut for it."""
    from medrega_bench.metrics.bertscore import Embedder, bert_score

    if not name.startswith("report_"):
        raise UsageError("bench.bertscore_for_reports", setting=name)
    embed = Embedder(folder)
    return bert_score(pairs, embed), embed.cut


def _pair(item: Item, setting: Setting, classes: Sequence[str] | None) -> Pair:
    confidence, confidences = item.confidence, item.confidences
    answer, truth = item.text(setting.answer), item.text(setting.truth)
    if not truth.strip():
        raise UsageError("bench.item_without_truth", line=item.line, key=setting.truth)
    candidates = item.classes(classes) if setting.has_classes else ()
    return Pair(answer, truth, candidates, confidence, confidences, Message("bench.line", line=item.line))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Names with a point become upstream's groups."""
    made: dict[str, Any] = {}
    for name, value in flat.items():
        group, _, inner = name.rpartition(".")
        (made.setdefault(group, {}) if group else made)[inner] = value
    return made


def _unreadable(pair: Pair) -> list[Message]:
    """What of an answer's or a truth's regions could not be read: it is scored as if it were not there."""
    answer, truth = parse(pair.answer).problems, parse(pair.truth).problems
    warnings = [Message("bench.answer_unreadable", place=pair.place, problem=problem) for problem in answer]
    return warnings + [Message("bench.truth_unreadable", place=pair.place, problem=problem) for problem in truth]


def answered_items(questions: Sequence[Question], answers: Sequence[Item], name: str) -> tuple[list[Item], int]:
    """Join questions with truth and answers of `medrega batch` by id into items of one setting, in the questions' order.

    Returns the items, numbered as the answers are, and how many questions belong to other settings. Raises UsageError
    when a question has no answer. A question that could not be answered counts as an answer without a word.
    """
    setting = setting_named(name)
    by_id = {str(answer.content.get("id")): answer for answer in answers}
    fitting = [question for question in questions if question.setting == name]
    if not fitting:
        raise UsageError("bench.no_question_of_setting", count=len(questions), setting=name)
    for question in fitting:
        if question.id not in by_id:
            raise UsageError("bench.question_unanswered", line=question.line)
    return [_item(question, by_id[question.id], setting) for question in fitting], len(questions) - len(fitting)


def _item(question: Question, answered: Item, setting: Setting) -> Item:
    truth, answer = question.truth, answered.content
    item = {
        "image": str(question.image),
        setting.truth: ", ".join(truth.labels) if setting.has_classes else truth.text,
        "classes": question.labels,
    }
    try:
        if FAILED in answer:
            return Item(answered.line, item | {FAILED: answer[FAILED], setting.answer: "", "confidences": []})
        if setting.has_regions:
            confidences = [region["confidence"] for region in answer["regions"]]
            known = {"confidences": confidences} if None not in confidences else {}
            return Item(answered.line, item | {setting.answer: answer["raw_text"]} | known)
        labels = answer["labels"] if setting.has_classes else []
        text = answer.get("guess") or answer["text"]
        text = text.replace(LABEL_SEPARATOR, ", ") if setting.has_classes else text
        known = {"confidence": labels[0]["confidence"]} if len(labels) == 1 else {}
        written = ", ".join(label["label"] for label in labels) or text
        return Item(answered.line, item | {setting.answer: written} | known)
    except (KeyError, TypeError):
        raise UsageError("bench.not_from_batch", line=answered.line) from None
