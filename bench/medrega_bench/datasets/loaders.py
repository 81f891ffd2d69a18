"""Published and everyday layouts of annotated images -> questions with truth.

Each layout yields questions, and what gives none with the reason. Whatever cannot be read is a UsageError that names
the line, or the entry of a JSON list, counted from 1. An image has to be there before a question about it is written.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from medrega_bench.datasets.conversations import medreginstruct
from medrega_bench.datasets.entries import (
    Entry,
    Made,
    agreeing,
    classified,
    entries_of,
    four_numbers,
    json_of,
    listed,
    refuse_split,
)
from medrega_bench.datasets.questions import LeftOut, questions_of
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import LabelledBoxes, Question, Truth
from medrega_edge.evaluation.records import read_records
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import DETECT_QUESTION

DEFAULT_SPLIT = "val"  # of our own records: choose on val, report on test
SLAKE_MODALITIES = {"CT": Modality.CT, "MRI": Modality.MRI, "X-Ray": Modality.XRAY}
TABLE_COLUMNS = ("image", "question", "answer", "task", "language", "box", "labels")


def records(path: Path, images: Path | None, split: str | None) -> Made:
    """Our own data folder: records.jsonl and images/ in it."""
    yield from questions_of(read_records(path, split or DEFAULT_SPLIT, images))


def slake(path: Path, images: Path | None, split: str | None) -> Made:
    """SLAKE's train.json, validation.json or test.json, in both languages; images in imgs/ beside it."""
    refuse_split(split)
    for number, entry in enumerate(listed(path), 1):
        language = entry.choice("q_lang", {one.value: one for one in Language})
        modality = entry.choice("modality", SLAKE_MODALITIES)
        yield _asked(
            entry, f"slake/{path.stem}/{number}", entry.image(images or path.parent / "imgs", "img_name"), language, modality
        )


def vqa_rad(path: Path, images: Path | None, split: str | None) -> Made:
    """VQA-RAD's one public JSON file; its images in "VQA_RAD Image Folder" beside it. Splits: train and test."""
    if split not in (None, "train", "test"):
        raise UsageError("bench.vqa_rad_split", split=split)
    folder = images or path.parent / "VQA_RAD Image Folder"
    for number, entry in enumerate(listed(path), 1):
        part = "test" if entry.text("phrase_type").startswith("test") else "train"
        if split in (None, part):
            yield _asked(entry, f"vqa-rad/{number}", entry.image(folder, "image_name"), Language.EN)


def _asked(
    entry: Entry, identity: str, image: Path, language: Language, modality: Modality | None = None
) -> Question | LeftOut:
    question, answer = entry.text("question"), entry.text("answer")
    if not answer:
        return LeftOut(entry.place, Message("bench.empty_answer"))
    return Question(
        id=identity,
        image=image,
        question=question,
        task=Task.VQA,
        truth=Truth(answer),
        language=language,
        modality=modality,
    )


def coco(path: Path, images: Path | None, split: str | None) -> Made:
    """COCO's instances: where is each category that an image has? Images beside the file, or where --images says."""
    refuse_split(split)
    whole = json_of(path)
    if not isinstance(whole, dict) or any(key not in whole for key in ("images", "annotations", "categories")):
        raise UsageError("bench.not_coco", file=path.name)
    pictures = _by_id(entries_of(whole["images"], Message("bench.image"), path))
    names = {
        key: one.text("name")
        for key, one in _by_id(entries_of(whole["categories"], Message("bench.category"), path)).items()
    }
    found: dict[tuple[str, str], list[PixelBox]] = {}
    crowds = set()
    for entry in entries_of(whole["annotations"], Message("bench.annotation"), path):
        image, category = entry.text("image_id"), entry.text("category_id")
        if image not in pictures or category not in names:
            raise UsageError("bench.not_listed", place=entry.place)
        x, y, width, height = four_numbers(entry.data.get("bbox"), entry, "bbox")
        found.setdefault((image, category), []).append(PixelBox(x, y, x + width, y + height))
        if entry.data.get("iscrowd"):
            crowds.add((image, category))
    boxed = {image for image, _ in found}
    yield from (LeftOut(one.place, Message("bench.no_boxes")) for image, one in pictures.items() if image not in boxed)
    for (image, category), boxes in found.items():
        picture = pictures[image]
        if (image, category) in crowds:
            yield LeftOut(picture.place, Message("bench.crowd"))
            continue
        file = picture.image(images or path.parent, "file_name")
        language = language_of(names[category])
        one = LabelledBoxes(names[category], tuple(boxes))
        question = DETECT_QUESTION[language].format(x=one.label)
        yield _located(picture, f"{path.stem}/{image}/{category}", file, language, question, [one])


def _by_id(entries: Iterator[Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if found.setdefault(entry.text("id"), entry) is not entry:
            raise UsageError("bench.same_id", place=entry.place)
    return found


def _located(
    entry: Entry, identity: str, image: Path, language: Language, question: str, objects: Sequence[LabelledBoxes]
) -> Question:
    return Question(
        id=identity,
        image=image,
        question=question,
        task=Task.DETECT,
        truth=Truth(entry.located(objects, entry.geometry(image)), tuple(objects)),
        language=language,
    )


def table(path: Path, images: Path | None, split: str | None) -> Made:
    """A CSV with a header: image, question, answer, and where wanted task, language, box, labels; images beside it.

    `box` is x1,y1,x2,y2 in pixels. With the task detect the answer is the object's name and `box` its boxes, parted by
    semicolons; with identify `box` is what is asked about; with classify `labels` are the candidates, parted by
    semicolons like the answer's labels. Without a task it is vqa.
    """
    refuse_split(split)
    yield from agreeing([_row(entry, f"{path.stem}/{number}", images or path.parent) for number, entry in _rows(path)])


def _row(entry: Entry, identity: str, folder: Path) -> Question | LeftOut:
    image, question, answer = entry.image(folder), entry.text("question"), entry.text("answer")
    if not answer:
        return LeftOut(entry.place, Message("bench.empty_answer"))
    task = entry.choice("task", {one.value: one for one in Task}) if entry.text("task", "") else Task.VQA
    language = language_of(question)
    if entry.text("language", ""):
        language = entry.choice("language", {one.value: one for one in Language})
    if task is Task.DETECT:
        return _located(entry, identity, image, language, question, [LabelledBoxes(answer, _cells(entry))])
    if task is Task.CLASSIFY:
        return classified(entry, identity, image, language, _parts(entry.text("labels", "")), _parts(answer))
    if task is Task.GROUNDED_REPORT:
        raise UsageError("bench.grounded_report_in_table", place=entry.place)
    box = _cells(entry)[0] if task is Task.IDENTIFY else None
    if box is not None:
        entry.geometry(image)  # refuses a box whose frame is unclear
    return Question(id=identity, image=image, question=question, task=task, truth=Truth(answer), language=language, box=box)


def _rows(path: Path) -> Iterator[tuple[int, Entry]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            if not {"image", "question", "answer"} <= set(columns) <= set(TABLE_COLUMNS):
                raise UsageError("bench.columns", file=path.name, more=TABLE_COLUMNS[3:])
            for row in reader:
                entry = Entry(Message("bench.line_of", number=reader.line_num, file=path.name), row)
                if None in row or None in row.values():
                    raise UsageError("bench.cells", place=entry.place)
                yield reader.line_num, entry
    except OSError as error:
        raise UsageError("bench.data_unreadable", file=path.name, reason=error.strerror or "") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError("bench.not_csv", file=path.name, problem=str(error)) from None


def _cells(entry: Entry) -> tuple[PixelBox, ...]:
    try:
        boxes = [[float(cell) for cell in part.split(",")] for part in _parts(entry.text("box", ""))]
        return tuple(PixelBox(*four_numbers(box, entry, "box")) for box in boxes or [[]])
    except ValueError:
        raise UsageError("bench.pixel_box", place=entry.place) from None


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


LAYOUTS = {
    "records": records,
    "medreginstruct": medreginstruct,
    "slake": slake,
    "vqa-rad": vqa_rad,
    "coco": coco,
    "csv": table,
}


def read_source(
    layout: str, path: Path, images: Path | None = None, split: str | None = None
) -> tuple[list[Question], list[LeftOut]]:
    """Read a layout by its name: its questions, and what gave none. Raises UsageError."""
    if layout not in LAYOUTS:
        raise UsageError("bench.no_layout", layout=layout, layouts=list(LAYOUTS))
    questions: dict[str, Question] = {}
    left_out = []
    for made in LAYOUTS[layout](path, images, split):
        if isinstance(made, LeftOut):
            left_out.append(made)
        elif made.id in questions:
            raise UsageError("bench.same_question_id", id=made.id)
        elif not made.question.strip():
            left_out.append(LeftOut(made.id, Message("bench.empty_question")))
        else:
            questions[made.id] = made
    return list(questions.values()), left_out
