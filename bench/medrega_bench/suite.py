"""Every task of a package on one split: what is asked, what the image is worth to it, and what is not there.

Knows questions and answers; knows no graph, and no metric: see `tables`. Free questions are asked three times: about their
image, a blank one and another patient's, because models of this kind are known to answer from the question alone; beside
them stands what the questions alone are worth (`QuestionOnly`).
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from medrega_bench.questions import DETECT_WORDING, LeftOut, Objects, Question, questions_of, setting_of
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.errors import UsageError
from medrega_edge.label_sets import LABEL_SETS
from medrega_edge.prompts import Language, Task
from medrega_edge.regions import Geometry, PixelBox
from medrega_edge.results import Answer

Row = dict[str, Any]

MOST_OBJECTS = 4  # in one question
# What certainly is not in an image of these kinds: no field of view holds both.
SURFACES = frozenset({"fundus", "oct", "dermoscopy", "endoscopy", "pathology"})
NOT_ON_SURFACES = ("liver", "left kidney", "heart")
NOT_IN_SCANS = ("polyp", "optic disc", "skin lesion")
_CONTAINS = re.compile(r"^(does|do) the (picture|image) contains? (?P<name>.+?)\s*\?$", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question with what the suite has to know of its image. `kind` is that of the object: "lesion" or "structure"."""

    question: Question
    dataset: str
    size: tuple[int, int]
    absent: bool = False
    kind: str | None = None


def asked_of(records: Sequence[Row], data: Path) -> Iterator[Asked]:
    """Everything that is asked about a split."""
    about = {record["id"]: record for record in records}
    classes: dict[str, set[str]] = defaultdict(set)
    for record in records:
        classes[record["dataset"]] |= set(record["labels"])
    for one in questions_of(records, data):
        if isinstance(one, LeftOut):
            continue
        record = about[next(key for key in _keys(one.id) if key in about)]
        # Where a data set knows a single one of the candidates, there is nothing to tell apart.
        if one.candidates and _known(one.candidates, classes[record["dataset"]]) < 2:
            continue
        yield _asked(one, record)
    for record in records:
        if not record["dup_of_eval"]:
            yield from _several_objects(record, data)
            yield from _not_there(record, data)


def _known(candidates: Sequence[str], classes: set[str]) -> int:
    """How many of the candidates, in either language, a data set's classes hold."""
    english = {name: en for one in LABEL_SETS.values() for en, zh in one.labels for name in (en, zh)}
    return sum(english.get(candidate, candidate) in classes for candidate in candidates)


def _keys(identity: str) -> Iterator[str]:
    """Beginnings of a question's id, longest first: a record's id may hold slashes itself."""
    parts = identity.split("/")
    return ("/".join(parts[:n]) for n in range(len(parts), 0, -1))


def _asked(question: Question, record: Row, absent: bool = False) -> Asked:
    kinds = {region["label_en"]: "lesion" if region["kind"] == "lesion" else "structure" for region in record["regions"]}
    return Asked(question, record["dataset"], (record["width"], record["height"]), absent, kinds.get(question.object or ""))


def _several_objects(record: Row, data: Path) -> Iterator[Asked]:
    """One question about up to four objects of an image, the largest."""
    usable = [r for r in record["regions"] if 1 <= len(r["boxes"]) <= 4 and r["label_en"] != "retinal blood vessels"]
    if len(usable) < 2:
        return
    usable.sort(key=lambda r: -sum((b[2] - b[0]) * (b[3] - b[1]) for b in r["boxes"]))
    chosen = usable[:MOST_OBJECTS]
    geometry = Geometry(record["width"], record["height"])
    for language in Language:
        objects = [
            Objects(r["label_en"] if language is Language.EN else r["label_zh"], tuple(PixelBox(*b) for b in r["boxes"]))
            for r in chosen
        ]
        names = ("、" if language is Language.ZH else ", the ").join(one.label for one in objects)
        yield _asked(
            Question(
                f"{record['id']}/several/{language}", data / record["image"], Task.DETECT, language,
                DETECT_WORDING[language].format(name=names), setting_of(Task.DETECT, language, objects),
                ", ".join(one.text(geometry) for one in objects), tuple(objects), modality=record["modality"],
            ),
            record,
        )  # fmt: skip


def _not_there(record: Row, data: Path) -> Iterator[Asked]:
    """What certainly is not in an image: things of another field of view, and what SLAKE's own answers deny."""
    names = list(NOT_ON_SURFACES if record["modality"] in SURFACES else NOT_IN_SCANS)
    here = {region["label_en"] for region in record["regions"]}
    for one in record["qa"]:
        contains = _CONTAINS.match(one["question"])
        if contains and one["lang"] == "en" and one["answer"].strip().casefold() == "no":
            names.append(contains["name"].casefold())
    for name in dict.fromkeys(names):
        if name not in here:
            yield _asked(
                Question(
                    f"{record['id']}/{name}/absent", data / record["image"], Task.DETECT, Language.EN,
                    DETECT_WORDING[Language.EN].format(name=name), "absent", "", modality=record["modality"], object=name,
                ),
                record,
                absent=True,
            )  # fmt: skip


class QuestionOnly:
    """What a question is worth without its image: the commonest training answer to the most similar question."""

    def __init__(self, records: Iterable[Row]) -> None:
        """Learn the answers of training records."""
        self._answers: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        for record in records:
            for one in record["qa"] if not record["dup_of_eval"] else ():
                self._answers[one["lang"]][_plain(one["question"])][one["answer"]] += 1
        self._words = {
            language: [(frozenset(_units(question)), question) for question in questions]
            for language, questions in self._answers.items()
        }

    def answer(self, question: str, language: Language) -> str:
        """Answer without looking."""
        known = self._answers.get(language, {})
        if not known:
            return ""
        plain = _plain(question)
        if plain not in known:
            words = frozenset(_units(plain))
            plain = max(self._words[language], key=lambda entry: len(words & entry[0]) / len(words | entry[0]))[1]
        return known[plain].most_common(1)[0][0]


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.casefold()).split())


def _units(text: str) -> list[str]:
    return text.split() if text.isascii() else list(text)


@dataclass
class Looking:
    """Opens images for one engine, the last one kept; `blank` and `other` stand in for an image."""

    engine: Engine
    _last: tuple[Any, EncodedImage] | None = field(default=None)

    def at(self, source: Path | bytes) -> EncodedImage:
        """Look at a file or at bytes."""
        if self._last is None or self._last[0] != source:
            self._last = (source, self.engine.open(source))
        return self._last[1]


def blank(size: tuple[int, int]) -> bytes:
    """A grey picture of a size, as PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (128, 128, 128)).save(buffer, format="PNG")
    return buffer.getvalue()


def run(engine: Engine, asked: Sequence[Asked], question_only: QuestionOnly | None = None) -> Iterator[Row]:
    """Answer everything, in the order given; one row for each question, with what the metrics need.

    What the package was not trained for is left out: its table says so by its absence.
    """
    looking = Looking(engine)
    others = _other_images(asked)
    for one in asked:
        question = one.question
        if question.task.value not in engine.tasks:
            continue
        answer = _ask(engine, looking.at(question.image), question)
        if answer is None and one.absent:
            continue  # a name that the package does not know: it says so, and there is nothing to measure
        row: Row = {
            "id": question.id,
            "image": str(question.image),
            "dataset": one.dataset,
            "kind": one.kind,
            "modality": question.modality,
            "object": question.object,
            "language": question.language.value,
            "setting": question.setting,
            "truth": question.text,
            "absent": one.absent,
            "classes": list(question.candidates),
            "answer": "",
            "confidence": None,
            "confidences": [],
            "boxes": [],
            "true_boxes": [box.as_list() for region in question.regions for box in region.boxes],
            "recognised": None,
        }
        if answer is not None:
            row |= {
                "answer": _as_text(answer, Geometry(*one.size)),
                "confidence": answer.labels[0].confidence if answer.labels else None,
                "confidences": [region.confidence for region in answer.regions],
                "boxes": [list(region.box) for region in answer.regions],
                "recognised": answer.image.modality,
            }
        if question.task in (Task.VQA, Task.CLASSIFY):
            row["cot"] = _words(_ask(engine, looking.at(question.image), question, regions_first=True))
        if question.task is Task.VQA:
            row["other"] = _words(_ask(engine, looking.at(others[question.image]), question))
            row["blank"] = _words(_ask(engine, looking.at(blank(one.size)), question))
            if question_only is not None:
                row["question_only"] = question_only.answer(question.question, question.language)
        yield row


def _ask(engine: Engine, image: EncodedImage, question: Question, regions_first: bool = False) -> Answer | None:
    """Ask; None where the package refuses, because it was not trained on a name."""
    box = question.box
    try:
        return engine.ask(
            image,
            question.question,
            question.task,
            question.language,
            (box.x1, box.y1, box.x2, box.y2) if box else None,
            labels=question.candidates,
            several=question.setting == "classification_multi",
            regions_first=regions_first,
        )
    except UsageError:
        return None


def _words(answer: Answer | None) -> str:
    return answer.text if answer else ""


def _as_text(answer: Answer, geometry: Geometry) -> str:
    """Regions as a model writes them, under the names told; words where no region was asked for."""
    if answer.task != Task.DETECT.value:
        return answer.text
    boxes: dict[str, list[PixelBox]] = {}
    for region in answer.regions:
        boxes.setdefault(region.label, []).append(PixelBox(*region.box))
    return ", ".join(Objects(label, tuple(group)).text(geometry) for label, group in boxes.items())


def _other_images(asked: Sequence[Asked]) -> dict[Path, Path]:
    """For each image another one of the same data set; the next, so that it is always the same."""
    by_dataset: dict[str, list[Path]] = {}
    for one in asked:
        images = by_dataset.setdefault(one.dataset, [])
        if one.question.image not in images[-1:] and one.question.image not in images:
            images.append(one.question.image)
    return {image: images[(place + 1) % len(images)] for images in by_dataset.values() for place, image in enumerate(images)}


def about_images(asked: Sequence[Asked]) -> list[Asked]:
    """The questions, those of one image together: an image is looked at once."""
    order = {image: place for place, image in enumerate(dict.fromkeys(one.question.image for one in asked))}
    return sorted(asked, key=lambda one: order[one.question.image])
