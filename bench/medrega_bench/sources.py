"""Published and everyday layouts of annotated images -> questions with truth. Knows files; asks and scores nothing.

Each layout yields questions, and what gives none with the reason. Whatever cannot be read is a UsageError that names
the line, or the entry of a JSON list, counted from 1. An image has to be there before a question about it is written.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from medrega_bench.questions import (
    DETECT_WORDING,
    LeftOut,
    Objects,
    Question,
    classify_question,
    questions_of,
    read_records,
    setting_of,
)
from medrega_edge.batch import read_lines, read_object
from medrega_edge.errors import UsageError
from medrega_edge.prompts import REPORT_QUESTION, Language, Modality, Task, language_of
from medrega_edge.regions import Geometry, PixelBox, parse

T = TypeVar("T")
Made = Iterator[Question | LeftOut]

DEFAULT_SPLIT = "val"  # of our own records: choose on val, report on test
SLAKE_MODALITIES = {"CT": Modality.CT, "MRI": Modality.MRI, "X-Ray": Modality.XRAY}
TABLE_COLUMNS = ("image", "question", "answer", "task", "language", "box", "labels")

_IMAGE = "<image>"
_REGION = re.compile(r"<ref>.*?</ref>\s*<box>.*?</box>", re.DOTALL)
_CANDIDATES = re.compile(r"[Tt]he possible \w+ are(?::\s*\n(?P<lines>.*)| (?P<inline>[^.\n]+)\.)", re.DOTALL)
_REPORT = re.compile(r"report generation|诊断报告")


@dataclass(frozen=True)
class Entry:
    """One line or list entry: what it holds, and the words that name its place."""

    place: str
    data: dict[str, Any]

    def text(self, key: str, default: str | None = None) -> str:
        """Return text, or a number as text; raises UsageError when it is neither or is not there."""
        value = self.data.get(key, default)
        if type(value) not in (str, int, float):
            raise UsageError(f"{self.place} needs text as {key}.")
        return str(value).strip()

    def image(self, folder: Path, key: str = "image") -> Path:
        """Return the path of the image that the entry names; raises UsageError when it is not there."""
        path = folder / self.text(key)
        if not path.is_file():
            raise UsageError(f"{self.place} names an image that is not in '{folder.name}'; name its folder with --images.")
        return path

    def choice(self, key: str, known: dict[str, T]) -> T:
        """Return what a word stands for; raises UsageError naming the words that are known."""
        word = self.text(key)
        if word not in known:
            raise UsageError(f"{self.place} has '{word}' as {key}, which is none of: {', '.join(known)}.")
        return known[word]

    def geometry(self, image: Path) -> Geometry:
        """Return the size of the image: the entry's width and height, else those of the file."""
        width, height = self.data.get("width"), self.data.get("height")
        if type(width) is int and type(height) is int and width > 0 and height > 0:
            return Geometry(width, height)
        from medrega_edge.images import read_image

        read = read_image(image)
        return Geometry(read.width, read.height)

    def located(self, objects: Sequence[Objects], geometry: Geometry) -> str:
        """Write objects as a model does; raises UsageError for a box that is inverted or outside the image."""
        try:
            return ", ".join(one.text(geometry) for one in objects)
        except ValueError as error:
            raise UsageError(f"{self.place}: {error}.") from None


def records(path: Path, images: Path | None, split: str | None) -> Made:
    """Our own data folder: records.jsonl and images/ in it."""
    yield from questions_of(read_records(path, split or DEFAULT_SPLIT), images or path)


def slake(path: Path, images: Path | None, split: str | None) -> Made:
    """SLAKE's train.json, validation.json or test.json, in both languages; images in imgs/ beside it."""
    _refuse_split(split)
    for number, entry in enumerate(_listed(path), 1):
        language = entry.choice("q_lang", {one.value: one for one in Language})
        modality = entry.choice("modality", SLAKE_MODALITIES)
        yield _asked(
            entry, f"slake/{path.stem}/{number}", entry.image(images or path.parent / "imgs", "img_name"), language, modality
        )


def vqa_rad(path: Path, images: Path | None, split: str | None) -> Made:
    """VQA-RAD's one public JSON file; its images in "VQA_RAD Image Folder" beside it. Splits: train and test."""
    if split not in (None, "train", "test"):
        raise UsageError(f"VQA-RAD has no split '{split}'; choose train or test, or none for both.")
    folder = images or path.parent / "VQA_RAD Image Folder"
    for number, entry in enumerate(_listed(path), 1):
        part = "test" if entry.text("phrase_type").startswith("test") else "train"
        if split in (None, part):
            yield _asked(entry, f"vqa-rad/{number}", entry.image(folder, "image_name"), Language.EN)


def _asked(
    entry: Entry, identity: str, image: Path, language: Language, modality: Modality | None = None
) -> Question | LeftOut:
    question, answer = entry.text("question"), entry.text("answer")
    if not answer:
        return LeftOut(entry.place, "an empty answer")
    return Question(
        identity, image, Task.VQA, language, question, setting_of(Task.VQA, language), answer,
        modality=modality.value if modality else None,
    )  # fmt: skip


def coco(path: Path, images: Path | None, split: str | None) -> Made:
    """COCO's instances: where is each category that an image has? Images beside the file, or where --images says."""
    _refuse_split(split)
    whole = _json(path)
    if not isinstance(whole, dict) or any(key not in whole for key in ("images", "annotations", "categories")):
        raise UsageError(f"'{path.name}' is no COCO file: it needs images, annotations and categories.")
    pictures = _by_id(_entries(whole["images"], "Image", path))
    names = {key: one.text("name") for key, one in _by_id(_entries(whole["categories"], "Category", path)).items()}
    found: dict[tuple[str, str], list[PixelBox]] = {}
    crowds = set()
    for entry in _entries(whole["annotations"], "Annotation", path):
        image, category = entry.text("image_id"), entry.text("category_id")
        if image not in pictures or category not in names:
            raise UsageError(f"{entry.place} names an image or a category that the file does not list.")
        x, y, width, height = _four(entry.data.get("bbox"), entry, "bbox")
        found.setdefault((image, category), []).append(PixelBox(x, y, x + width, y + height))
        if entry.data.get("iscrowd"):
            crowds.add((image, category))
    boxed = {image for image, _ in found}
    yield from (LeftOut(one.place, "an image without boxes") for image, one in pictures.items() if image not in boxed)
    for (image, category), boxes in found.items():
        picture = pictures[image]
        if (image, category) in crowds:
            yield LeftOut(picture.place, "a box around a crowd, which is not one object")
            continue
        file = picture.image(images or path.parent, "file_name")
        language = language_of(names[category])
        one = Objects(names[category], tuple(boxes))
        question = DETECT_WORDING[language].format(name=one.label)
        yield _located(picture, f"{path.stem}/{image}/{category}", file, language, question, [one])


def _by_id(entries: Iterator[Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if found.setdefault(entry.text("id"), entry) is not entry:
            raise UsageError(f"{entry.place} has the id of another one.")
    return found


def _located(
    entry: Entry, identity: str, image: Path, language: Language, question: str, objects: Sequence[Objects]
) -> Question:
    return Question(
        identity, image, Task.DETECT, language, question, setting_of(Task.DETECT, language, objects),
        entry.located(objects, entry.geometry(image)), tuple(objects),
    )  # fmt: skip


def table(path: Path, images: Path | None, split: str | None) -> Made:
    """A CSV with a header: image, question, answer, and where wanted task, language, box, labels; images beside it.

    `box` is x1,y1,x2,y2 in pixels. With the task detect the answer is the object's name and `box` its boxes, parted by
    semicolons; with identify `box` is what is asked about; with classify `labels` are the candidates, parted by
    semicolons like the answer's labels. Without a task it is vqa.
    """
    _refuse_split(split)
    yield from _agreeing([_row(entry, f"{path.stem}/{number}", images or path.parent) for number, entry in _rows(path)])


def _row(entry: Entry, identity: str, folder: Path) -> Question | LeftOut:
    image, question, answer = entry.image(folder), entry.text("question"), entry.text("answer")
    if not answer:
        return LeftOut(entry.place, "an empty answer")
    task = entry.choice("task", {one.value: one for one in Task}) if entry.text("task", "") else Task.VQA
    language = language_of(question)
    if entry.text("language", ""):
        language = entry.choice("language", {one.value: one for one in Language})
    if task is Task.DETECT:
        return _located(entry, identity, image, language, question, [Objects(answer, _cells(entry))])
    if task is Task.CLASSIFY:
        return _classified(entry, identity, image, language, _parts(entry.text("labels", "")), _parts(answer))
    if task is Task.GROUNDED_REPORT:
        raise UsageError(
            f"{entry.place} asks for a grounded report, which a table cannot hold; use MedRegInstruct's layout."
        )
    box = _cells(entry)[0] if task is Task.IDENTIFY else None
    return Question(identity, image, task, language, question, setting_of(task, language), answer, box=box)


def _rows(path: Path) -> Iterator[tuple[int, Entry]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            if not {"image", "question", "answer"} <= set(columns) <= set(TABLE_COLUMNS):
                more = ", ".join(TABLE_COLUMNS[3:])
                raise UsageError(f"'{path.name}' needs the columns image, question and answer, and may have {more}.")
            for row in reader:
                entry = Entry(f"Line {reader.line_num} of '{path.name}'", row)
                if None in row or None in row.values():
                    raise UsageError(f"{entry.place} has not as many cells as the header.")
                yield reader.line_num, entry
    except OSError as error:
        raise UsageError(f"'{path.name}' cannot be read ({error.strerror}); name the file with --data.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{path.name}' cannot be read as a CSV in UTF-8 ({error}).") from None


def _cells(entry: Entry) -> tuple[PixelBox, ...]:
    try:
        boxes = [[float(cell) for cell in part.split(",")] for part in _parts(entry.text("box", ""))]
        return tuple(PixelBox(*_four(box, entry, "box")) for box in boxes or [[]])
    except ValueError:
        raise UsageError(f"{entry.place} needs x1,y1,x2,y2 in pixels as box.") from None


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def medreginstruct(path: Path, images: Path | None, split: str | None) -> Made:
    """MedRegInstruct's conversations: one JSONL file, or a meta_file.json that lists several and their prompts.

    What is asked for is read off the truth, the question and the prompt: regions in the truth, a region in the question,
    candidate labels, a report; anything else is a question about the image. Prompts themselves are not asked: a package
    has its own. Files and roots of a meta file are relative to it, or to --images.
    """
    _refuse_split(split)
    if path.suffix != ".json":
        yield from _conversations(path, images or path.parent, "")
        return
    listed = _json(path)
    if not isinstance(listed, dict):
        raise UsageError(f"'{path.name}' is no meta file: it needs one entry a data set.")
    base = images or path.parent
    for name, data in listed.items():
        if not isinstance(data, dict):
            raise UsageError(f"The entry '{name}' of '{path.name}' is no JSON object.")
        entry = Entry(f"The entry '{name}' of '{path.name}'", data)
        annotation, root = base / entry.text("annotation"), base / entry.text("root")
        for made in _conversations(annotation, root, entry.text("base_prompt", "")):
            yield replace(made, id=f"{name}/{made.id}") if isinstance(made, Question) else made


def _conversations(path: Path, folder: Path, prompt: str) -> Made:
    yield from _agreeing(
        [one for entry, number in _lines(path) for one in _turns(entry, f"{path.stem}/{number}", folder, prompt)]
    )


def _agreeing(made: list[Question | LeftOut]) -> Made:
    """Whether a data set's questions may have several labels shows only in all of them together."""
    several = any(isinstance(one, Question) and len(one.labels) > 1 for one in made)
    for one in made:
        if several and isinstance(one, Question) and one.task is Task.CLASSIFY:
            one = classify_question(one.id, one.image, one.language, one.candidates, one.labels, several=True)
        yield one


def _lines(path: Path) -> Iterator[tuple[Entry, int]]:
    for number, line in read_lines(path, of="sample"):
        try:
            yield Entry(f"Line {number} of '{path.name}'", read_object(line, number)), number
        except UsageError as error:
            raise UsageError(f"'{path.name}': {error}") from None


def _turns(entry: Entry, identity: str, folder: Path, prompt: str) -> Made:
    turns = entry.data.get("conversations")
    turns = turns if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns) else []
    speakers = [turn.get("from") for turn in turns]
    if not speakers or speakers != ["human", "gpt"] * (len(speakers) // 2):
        raise UsageError(f"{entry.place} needs conversations in which human and gpt take turns.")
    said = [Entry(f"{entry.place}, turn {number},", turn).text("value") for number, turn in enumerate(turns, 1)]
    image = entry.image(folder)
    for number, (question, answer) in enumerate(zip(said[0::2], said[1::2], strict=True)):
        before, _, question = question.rpartition(_IMAGE)
        prompt = f"{prompt}\n{before}" if before else prompt
        yield _turn(entry, f"{identity}/{number}", image, prompt, question.strip(), answer)


def _turn(entry: Entry, identity: str, image: Path, prompt: str, question: str, answer: str) -> Question | LeftOut:
    truth, asked = parse(answer), parse(question)
    problems = truth.problems or tuple(problem for problem in asked.problems if "marker" not in problem)
    if problems:
        return LeftOut(entry.place, problems[0])
    if not answer:
        return LeftOut(entry.place, "an empty answer")
    language = language_of(prompt + question)
    if truth.regions:
        geometry = entry.geometry(image)
        objects = tuple(Objects(one.label, tuple(map(geometry.to_pixels, one.boxes))) for one in truth.regions)
        alone = not _REGION.sub("", answer).strip(" ,，、.。")
        task = Task.DETECT if alone else Task.GROUNDED_REPORT
        return Question(identity, image, task, language, asked.prose, setting_of(task, language, objects), answer, objects)
    if len(asked.regions) == 1 and len(asked.regions[0].boxes) == 1:
        box = entry.geometry(image).to_pixels(asked.regions[0].boxes[0])
        setting = setting_of(Task.IDENTIFY, language)
        return Question(identity, image, Task.IDENTIFY, language, asked.prose, setting, answer, box=box)
    candidates = _candidates(prompt)
    if candidates:
        right = [label.strip() for label in answer.rstrip(".。").split(",")]
        return _classified(entry, identity, image, language, candidates, right)
    if _REPORT.search(prompt):
        question = question or REPORT_QUESTION[language]
        return Question(identity, image, Task.REPORT, language, question, setting_of(Task.REPORT, language), answer)
    return Question(identity, image, Task.VQA, language, question, setting_of(Task.VQA, language), answer)


def _candidates(prompt: str) -> list[str]:
    """The labels that a prompt lists, one a line up to an empty line or a remark in quotes, or in one sentence."""
    match = _CANDIDATES.search(prompt)
    if match is None:
        return []
    if match["inline"]:
        return re.split(r", | and ", match["inline"])
    labels = []
    for line in match["lines"].split("\n"):
        if not line.strip() or line.startswith('"'):
            break
        labels.append(line.strip())
    return labels


def _classified(
    entry: Entry, identity: str, image: Path, language: Language, candidates: Sequence[str], right: Sequence[str]
) -> Question:
    known = {name.lower(): name for name in candidates}
    unknown = [label for label in right if label.lower() not in known]
    if unknown:
        raise UsageError(f"{entry.place} has the label '{unknown[0]}', which is none of its candidates.")
    labels = [known[label.lower()] for label in right]
    return classify_question(identity, image, language, candidates, labels, several=len(labels) > 1)


def _refuse_split(split: str | None) -> None:
    if split is not None:
        raise UsageError("This layout has a file a split; leave out --split and name the split's file with --data.")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"'{path.name}' cannot be read ({error.strerror}); name the file with --data.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"'{path.name}' cannot be read as JSON ({error}).") from None


def _listed(path: Path) -> Iterator[Entry]:
    yield from _entries(_json(path), "Entry", path)


def _entries(listed: object, noun: str, path: Path) -> Iterator[Entry]:
    if not isinstance(listed, list):
        raise UsageError(f"'{path.name}' needs a list where its {noun.lower()} entries stand.")
    for number, data in enumerate(listed, 1):
        if not isinstance(data, dict):
            raise UsageError(f"{noun} {number} of '{path.name}' is no JSON object.")
        yield Entry(f"{noun} {number} of '{path.name}'", data)


def _four(value: object, entry: Entry, key: str) -> list[float]:
    if not isinstance(value, list) or len(value) != 4 or any(type(one) not in (int, float) for one in value):
        raise UsageError(f"{entry.place} needs four numbers as {key}.")
    return value


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
        raise UsageError(f"There is no layout '{layout}'; choose one of: {', '.join(LAYOUTS)}.")
    questions: dict[str, Question] = {}
    left_out = []
    for made in LAYOUTS[layout](path, images, split):
        if isinstance(made, LeftOut):
            left_out.append(made)
        elif made.id in questions:
            raise UsageError(f"Two questions have the id '{made.id}'; ids of images have to differ.")
        elif not made.question.strip():
            left_out.append(LeftOut(made.id, "an empty question"))
        else:
            questions[made.id] = made
    return list(questions.values()), left_out
