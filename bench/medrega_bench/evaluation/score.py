"""Answers made by any system, one JSON object a line, scored by the name of a setting. Knows files and which metric fits.

An item has upstream's layout: `answer` and `gt` where regions are asked for, else `pred_answer` and `gt_answer`, and
for classification its list of `classes`. It may have `image`, so that intervals resample images, and `confidence` of
the answer or `confidences` of its boxes; other keys are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medrega_bench.evaluation.figures import Measured, Pair
from medrega_bench.metrics import average_precision as metrics_ap
from medrega_bench.metrics import labels as metrics_labels
from medrega_bench.metrics import regions as metrics_regions
from medrega_bench.metrics import text as metrics_text
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import LEVEL, RESAMPLES, Interval
from medrega_edge.evaluation.grading import is_exact
from medrega_edge.i18n.message import Message
from medrega_edge.io.jsonl import read_lines, read_object
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import LABEL_SEPARATOR

FAILED = "error"  # the key of what `medrega batch` writes for a question that it could not answer

Numbered = list[tuple[int, dict[str, Any]]]


class Scored(Protocol):
    """Figures with intervals."""

    def values(self) -> dict[str, float | None]:
        """Return the figures over all items."""

    def intervals(self, images: Sequence[str]) -> dict[str, Interval | None]:
        """Return their intervals; `images` names the image of each item."""


@dataclass(frozen=True)
class Setting:
    """What is asked: the keys of an item, MedRegA's metric for it, and whether candidates are `listed`."""

    answer: str
    truth: str
    measure: Callable[[Sequence[Pair]], Measured]
    listed: bool = False

    @property
    def placed(self) -> bool:
        """Whether regions are asked for."""
        return self.truth == "gt"


def _of_regions(measure: Callable[[Sequence[Pair]], Measured]) -> Setting:
    return Setting("answer", "gt", measure)


def _of_text(measure: Callable[[Sequence[Pair]], Measured], listed: bool = False) -> Setting:
    return Setting("pred_answer", "gt_answer", measure, listed)


SETTINGS = {
    "single_object_single_region": _of_regions(metrics_regions.single_object_single_region),
    "single_object_multi_region": _of_regions(metrics_regions.single_object_multi_region),
    "multi_object_single_region": _of_regions(metrics_regions.multi_object_single_region),
    "multi_object_multi_region": _of_regions(metrics_regions.multi_object_multi_region),
    "vqa_en": _of_text(metrics_text.vqa_en),
    "vqa_zh": _of_text(metrics_text.vqa_zh),
    "region_to_text": _of_text(metrics_text.region_to_text),
    "classification_single": _of_text(metrics_labels.classification_single, listed=True),
    "classification_multi": _of_text(metrics_labels.classification_multi, listed=True),
    "report_en": _of_text(lambda pairs: metrics_text.report(pairs, Language.EN)),
    "report_zh": _of_text(lambda pairs: metrics_text.report(pairs, Language.ZH)),
}


def setting_named(name: str) -> Setting:
    """Find a setting; raises UsageError naming those that there are."""
    if name not in SETTINGS:
        raise UsageError(f"There is no setting '{name}'; choose one of: {', '.join(SETTINGS)}.")
    return SETTINGS[name]


def read_items(path: Path) -> Numbered:
    """Read items with the numbers of their lines; raises UsageError naming the first bad line."""
    return [(number, read_object(line, number)) for number, line in read_lines(path, Message("bench.answers"))]


def score(
    name: str, items: Numbered, classes: Sequence[str] | None = None, bert_model: Path | None = None
) -> dict[str, Any]:
    """Score items: upstream's figures under upstream's names, standard ones beside them, each with its interval.

    `bert_model` is a folder with a language model, for BERTScore of reports. Raises UsageError naming the line that cannot
    be scored.
    """
    setting = setting_named(name)
    if not items:
        raise UsageError("There is no item to score; give at least one.")
    pairs = [_pair(number, item, setting, classes) for number, item in items]
    images = [_text(number, item, "image") if "image" in item else f"line {number}" for number, item in items]
    upstream = setting.measure(pairs)
    standard, warnings = _standard(setting, pairs, images)
    if bert_model is not None:
        measured, cut = _bert_score(name, pairs, bert_model)
        standard.append((measured, images))
        if cut:
            warnings.append(f"{cut} texts are too long for the model of BERTScore and were cut.")
    for number, item in items:
        if FAILED in item:
            warnings.append(f"Line {number} is an error, not an answer; it is scored as saying nothing.")
    for pair in pairs if setting.placed else ():
        warnings += _unreadable(pair)
    return {
        "schema_version": 1,
        "setting": name,
        "items": len(items),
        "images": len(set(images)),
        "figures": _nested(upstream.values()),
        "intervals": _nested(upstream.intervals(images)),
        "standard": {key: value for scored, _ in standard for key, value in scored.values().items()},
        "standard_intervals": {key: value for scored, of in standard for key, value in scored.intervals(of).items()},
        "interval": {"level": LEVEL, "over": "images", "resamples": RESAMPLES},
        "warnings": warnings,
    }


def _standard(setting: Setting, pairs: list[Pair], images: list[str]) -> tuple[list[tuple[Scored, list[str]]], list[str]]:
    """The metrics that everyone knows, each with the images of its items, and a sentence about those left out."""
    warnings: list[str] = []
    if setting.placed:
        found: list[tuple[Scored, list[str]]] = [(metrics_regions.detection(pairs), images)]
        known = [pair for pair in pairs if pair.confidences is not None]
        if len(known) == len(pairs):
            items, confidences, right = metrics_regions.box_confidences(pairs)
            found.append((metrics_ap.AveragePrecision(pairs), images))
            if confidences:
                found.append((metrics_labels.calibration(confidences, right), [images[item] for item in items]))
        else:
            lacking = len(pairs) - len(known)
            warnings.append(f"AP and ECE are left out: {lacking} of {len(pairs)} items lack 'confidences'.")
        return found, warnings
    found = [(metrics_text.exact_match(pairs), images)]
    if setting.listed:
        found.append((metrics_labels.classification(pairs), images))
    sure = [pair.confidence for pair in pairs if pair.confidence is not None]
    if len(sure) == len(pairs):
        found.append((metrics_labels.calibration(sure, [is_exact(pair.answer, pair.truth) for pair in pairs]), images))
    else:
        warnings.append(f"ECE is left out: {len(pairs) - len(sure)} of {len(pairs)} items lack 'confidence'.")
    return found, warnings


def _bert_score(name: str, pairs: list[Pair], folder: Path) -> tuple[Measured, int]:
    """BERTScore, and how many texts were cut for it."""
    from medrega_bench.metrics.bertscore import Embedder, bert_score

    if not name.startswith("report_"):
        raise UsageError(f"BERTScore is for reports, not for '{name}'; leave --bertscore-model out.")
    embed = Embedder(folder)
    return bert_score(pairs, embed), embed.cut


def _pair(number: int, item: dict[str, Any], setting: Setting, classes: Sequence[str] | None) -> Pair:
    confidence, confidences = item.get("confidence"), item.get("confidences")
    if confidence is not None:
        _share(number, confidence)
    if confidences is not None:
        if not isinstance(confidences, list):
            raise UsageError(f"Line {number} needs a list of numbers as confidences.")
        confidences = tuple(_share(number, value) for value in confidences)
    answer, truth = _text(number, item, setting.answer), _text(number, item, setting.truth)
    if not truth.strip():
        raise UsageError(f"Line {number} has nothing as {setting.truth}.")
    listed = _classes(number, classes or item.get("classes")) if setting.listed else ()
    return Pair(answer, truth, listed, confidence, confidences, f"Line {number}")


def _text(number: int, item: dict[str, Any], key: str) -> str:
    if key not in item:
        if "raw_text" in item:
            raise UsageError("This is a file of answers of `medrega batch`: name the questions with --questions.")
        raise UsageError(f"Line {number} lacks the key '{key}'.")
    if not isinstance(item[key], str):
        raise UsageError(f"Line {number} needs text as {key}.")
    return str(item[key])


def _share(number: int, value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise UsageError(f"Line {number} has a confidence that is no number from 0 to 1.")
    return float(value)  # type: ignore[arg-type]


def _classes(number: int, classes: object) -> tuple[str, ...]:
    """The candidates of an item, in the order of its question, which decides upstream's ties."""
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise UsageError(f"Line {number} has no list of classes; name them in the order of the question with --classes.")
    if not classes or len(set(classes)) != len(classes) or any("," in name or not name for name in classes):
        raise UsageError(
            f"Line {number} needs classes that are different names without commas, which part the labels of an answer."
        )
    return tuple(classes)


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Names with a point become upstream's groups."""
    made: dict[str, Any] = {}
    for name, value in flat.items():
        group, _, inner = name.rpartition(".")
        (made.setdefault(group, {}) if group else made)[inner] = value
    return made


def _unreadable(pair: Pair) -> list[str]:
    """What of an answer's or a truth's regions could not be read: it is scored as if it were not there, and said."""
    warnings = [f"{pair.place}: {problem}." for problem in parse(pair.answer).problems]
    warnings += [f"{pair.place}, truth: {problem}; standard metrics leave it out." for problem in parse(pair.truth).problems]
    return warnings


def answered_items(questions: Numbered, answers: Numbered, name: str) -> tuple[Numbered, int]:
    """Join questions with truth and answers of `medrega batch` by id into items of one setting, in the questions' order.

    Returns the items, numbered as the answers are, and how many questions belong to other settings. Raises UsageError
    when a question has no answer. A question that could not be answered counts as an answer without a word.
    """
    by_id = {row.get("id"): (number, row) for number, row in answers}
    items: Numbered = []
    for number, question in questions:
        if question.get("setting") != name:
            continue
        if question.get("id") not in by_id:
            raise UsageError(f"The question on line {number} has no answer with its id; answer it with `medrega batch`.")
        place, answer = by_id[question["id"]]
        items.append((place, _item(number, question, place, answer, SETTINGS[name])))
    if not items:
        raise UsageError(f"None of the {len(questions)} questions belongs to '{name}'; name another setting with --setting.")
    return items, len(questions) - len(items)


def _item(number: int, question: dict[str, Any], place: int, answer: dict[str, Any], setting: Setting) -> dict[str, Any]:
    try:
        truth = ", ".join(question["truth"]["labels"]) if setting.listed else question["truth"]["text"]
        item = {"image": question["image"], setting.truth: truth, "classes": question.get("labels")}
        if FAILED in answer:
            return item | {FAILED: answer[FAILED], setting.answer: "", "confidences": []}
        if setting.placed:
            item |= {setting.answer: answer["raw_text"]}
            sure = [region["confidence"] for region in answer["regions"]]
            return item | ({"confidences": sure} if None not in sure else {})
        labels = answer["labels"] if setting.listed else []
        text = answer["text"].replace(LABEL_SEPARATOR, ", ") if setting.listed else answer["text"]
        item |= {setting.answer: ", ".join(label["label"] for label in labels) or text}
        return item | ({"confidence": labels[0]["confidence"]} if len(labels) == 1 else {})
    except (KeyError, TypeError):
        raise UsageError(
            f"The question on line {number} or the answer on line {place} is not as `medrega bench questions` and "
            "`medrega batch` write it; write both anew."
        ) from None
