"""Every task of a package on one split: figures per task, what the image is worth to them, and what is not there.

Knows questions, answers and which metric fits; knows no graph. Each figure stands with its bootstrap interval over
images. Free questions are asked three times: about their image, a blank one and another patient's, because models of
this kind are known to answer from the question alone; beside them stands what the questions alone are worth
(`QuestionOnly`).
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medrega_bench.figures import Pair
from medrega_bench.metrics_labels import calibration
from medrega_bench.questions import DETECT_WORDING, LeftOut, Objects, Question, questions_of, setting_of
from medrega_bench.score import SETTINGS
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.errors import UsageError
from medrega_edge.label_sets import LABEL_SETS
from medrega_edge.prompts import LABEL_SEPARATOR, Language, Modality, Task
from medrega_edge.regions import Geometry, PixelBox, iou
from medrega_edge.results import Answer

Row = dict[str, Any]

MOST_OBJECTS = 4  # in one question
# What certainly is not in an image of these kinds: no field of view holds both.
SURFACES = frozenset({"fundus", "oct", "dermoscopy", "endoscopy", "pathology"})
NOT_ON_SURFACES = ("liver", "left kidney", "heart")
NOT_IN_SCANS = ("polyp", "optic disc", "skin lesion")
_CONTAINS = re.compile(r"^(does|do) the (picture|image) contains? (?P<name>.+?)\s*\?$", re.IGNORECASE)
SAME_BOX = 0.9


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


def tables(rows: Sequence[Row]) -> dict[str, Any]:
    """Sum the rows up: figures with intervals per setting, language, modality and data set, and what has no setting."""
    settings: dict[str, Any] = {}
    for setting in SETTINGS:
        mine = [row for row in rows if row["setting"] == setting]
        if not mine:
            continue
        entry = {"all": _figures(setting, mine)}
        for key in ("language", "modality", "dataset", "kind"):
            groups = sorted({row[key] for row in mine if row.get(key) is not None})
            entry[key] = {name: _figures(setting, [row for row in mine if row.get(key) == name]) for name in groups}
        for version in ("cot", "blank", "other", "question_only"):
            changed = [row | {"answer": row[version]} for row in mine if version in row]
            if changed:
                entry[version] = {
                    name: _figures(setting, [row for row in changed if row["language"] == name])
                    for name in sorted({row["language"] for row in changed})
                }
        settings[setting] = entry
    return {
        "settings": settings,
        "absent": _absent(rows),
        "confidence": _confidence(rows),
        "languages_agree": _agreement(rows),
        "modality": _recognised(rows),
    }


def _figures(setting: str, rows: Sequence[Row]) -> dict[str, Any]:
    # Upstream's metrics part labels by commas, our models by semicolons.
    label = LABEL_SEPARATOR if rows[0]["classes"] else ", "
    pairs = [
        Pair(row["answer"].replace(label, ", "), row["truth"].replace(label, ", "), tuple(row["classes"])) for row in rows
    ]
    measured = SETTINGS[setting].measure(pairs)
    images = [row["image"] for row in rows]
    intervals = measured.intervals(images)
    return {
        "n": len(rows),
        "images": len(set(images)),
        "figures": {name: {"value": value, "interval": intervals.get(name)} for name, value in measured.values().items()},
    }


def _absent(rows: Sequence[Row]) -> dict[str, Any]:
    """Boxes for what is not there, and none for what is."""
    gone = [row for row in rows if row["absent"]]
    there = [row for row in rows if row["setting"].startswith("single_object") and not row["absent"]]
    return {
        "absent": len(gone),
        "false_boxes": _share([bool(row["boxes"]) for row in gone]),
        "present": len(there),
        "missed": _share([not row["boxes"] for row in there]),
    }


def _confidence(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Calibration error of box confidences at IoU 0.5, over questions about one region, and the bins of its plot."""
    mine = [row for row in rows if row["setting"] == "single_object_single_region" and row["boxes"]]
    mine = [row for row in mine if row["confidences"][0] is not None]
    if not mine:
        return None
    sure = np.array([row["confidences"][0] for row in mine])
    right = np.array([_overlap(row) >= 0.5 for row in mine])
    measured = calibration(list(sure), [bool(hit) for hit in right])
    bins = np.minimum((sure * 10).astype(int), 9)
    return {
        "n": len(mine),
        "figures": {
            name: {"value": value, "interval": measured.intervals([row["image"] for row in mine]).get(name)}
            for name, value in measured.values().items()
        },
        "bins": [
            {
                "n": int((bins == b).sum()),
                "confidence": float(sure[bins == b].mean()),
                "right": float(right[bins == b].mean()),
            }
            for b in range(10)
            if (bins == b).any()
        ],
    }


def _overlap(row: Row) -> float:
    return iou(PixelBox(*row["boxes"][0]), PixelBox(*row["true_boxes"][0]))


def _agreement(rows: Sequence[Row]) -> dict[str, Any]:
    """The same question in both languages: how often the same first box, or none in either."""
    by_question: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row["setting"] == "single_object_single_region":
            by_question.setdefault((row["image"], row["object"]), {})[row["language"]] = row
    same = []
    for pair in by_question.values():
        if len(pair) == 2:
            en, zh = (pair[language]["boxes"] for language in ("en", "zh"))
            same.append(bool(en) == bool(zh) and (not en or iou(PixelBox(*en[0]), PixelBox(*zh[0])) >= SAME_BOX))
    return {"n": len(same), "same": _share(same)}


def _recognised(rows: Sequence[Row]) -> dict[str, Any]:
    """Kind of image, recognised from pixels: once an image."""
    images = {row["image"]: row for row in rows if row["recognised"] is not None}.values()
    known = {modality.value for modality in Modality}
    by_kind = {
        kind: _share([row["recognised"] == kind for row in images if row["modality"] == kind])
        for kind in sorted({row["modality"] for row in images} & known)
    }
    right = _share([row["recognised"] == row["modality"] for row in images])
    return {"n": len(images), "right": right, "by_kind": by_kind}


def _share(hits: Sequence[bool]) -> float | None:
    return float(np.mean(hits)) if hits else None


def about_images(asked: Sequence[Asked]) -> list[Asked]:
    """The questions, those of one image together: an image is looked at once."""
    order = {image: place for place, image in enumerate(dict.fromkeys(one.question.image for one in asked))}
    return sorted(asked, key=lambda one: order[one.question.image])
