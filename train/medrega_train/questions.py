"""Annotations -> questions and answers in two languages, in our own wording. Knows text; knows no tokens and no pixels.

Boxes enter as fractions of the view and leave as grid integers in the region grammar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medrega_edge.prompts import ABSENT_ANSWER, Language, Modality, Task
from medrega_edge.regions import Geometry, PixelBox, RegionText, format_boxes, format_region
from medrega_train.augment import View, ViewRegion
from medrega_train.records import VESSELS, Absence, Record

MAX_BOXES = 4  # of one object in one answer; a field of a hundred blood cells teaches nothing here
ABSENT_SHARE = 0.08
IDENTIFY_SHARE = 0.12
CHINESE_SHARE = 0.45

DETECT = {
    Language.EN: (
        "locate the {x}",
        "Locate the {x}.",
        "Where is the {x}?",
        "where is {x}",
        "Find the {x}.",
        "Please find the {x} in this image.",
        "Detect the {x} in this {m}.",
        "Show me where the {x} is.",
        "Mark the {x}.",
        "Please mark the {x} in the {m}.",
        "Give the bounding box of the {x}.",
        "Can you point out the {x}?",
        "Which part of the {m} shows the {x}?",
        "Draw a box around the {x}.",
        "Outline the position of the {x} with a box.",
        "In this {m}, where can the {x} be seen?",
        "I am looking for the {x}. Where is it?",
        "Is there a {x}? Show its position.",
        "Highlight the {x}.",
        "Please give the location of the {x}.",
        "{x}",
    ),
    Language.ZH: (
        "请定位{x}",
        "定位{x}",
        "请定位{x}。",
        "{x}在哪里？",
        "{x}在哪",
        "请标出{x}。",
        "标出图中的{x}",
        "找出图中的{x}。",
        "请在这张{m}中找到{x}。",
        "请框出{x}。",
        "请给出{x}的边界框。",
        "图中{x}的位置在哪里？",
        "这张{m}里的{x}位于何处？",
        "帮我指出{x}的位置。",
        "检测图像中的{x}。",
        "我想看{x}，它在什么位置？",
        "有{x}吗？请标出位置。",
        "用方框圈出{x}。",
        "{x}",
    ),
}

IDENTIFY = {
    Language.EN: (
        "What is <ref>this</ref>{box}?",
        "What is <ref>this</ref>{box} in this {m}?",
        "Name <ref>this</ref>{box}.",
        "Which structure is <ref>this</ref>{box}?",
        "Identify <ref>this</ref>{box} in the image.",
        "What can be seen in <ref>this</ref>{box}?",
        "Please tell me what <ref>this</ref>{box} shows.",
    ),
    Language.ZH: (
        "<ref>这里</ref>{box}是什么？",
        "这张{m}中<ref>这里</ref>{box}是什么？",
        "请识别<ref>这里</ref>{box}。",
        "<ref>这里</ref>{box}是哪个结构？",
        "请说出<ref>这里</ref>{box}的名称。",
        "<ref>这里</ref>{box}显示的是什么？",
    ),
}

MODALITY_NAMES = {
    Modality.CT: ("CT scan", "CT图像"),
    Modality.MRI: ("MRI", "磁共振图像"),
    Modality.XRAY: ("X-ray", "X光片"),
    Modality.ULTRASOUND: ("ultrasound image", "超声图像"),
    Modality.FUNDUS: ("fundus photograph", "眼底照片"),
    Modality.OCT: ("OCT scan", "OCT图像"),
    Modality.DERMOSCOPY: ("dermoscopy image", "皮肤镜图像"),
    Modality.ENDOSCOPY: ("endoscopy image", "内镜图像"),
    Modality.PATHOLOGY: ("microscopy image", "显微镜图像"),
    Modality.MAMMOGRAPHY: ("mammogram", "乳腺X线片"),
}

_UNIT = Geometry(1, 1)


# An image without regions can only be asked about what is not there. Drawn as often as the others, such images would make
# two questions in five absence questions, and they are learnt first.
WITHOUT_REGIONS_WEIGHT = 0.1


def question_weight(record: Record) -> float:
    """How often a record is drawn to be asked about, relative to one with regions that can be located."""
    return 1.0 if any(len(region.boxes) <= MAX_BOXES for region in record.detectable) else WITHOUT_REGIONS_WEIGHT


@dataclass(frozen=True)
class Question:
    """One question about a view with the answer that is right, as model text."""

    task: Task
    language: Language
    question: str
    answer: str


def grid_region(label: str, boxes: np.ndarray) -> RegionText:
    """Name boxes `[n, 4]` (fractions of the image) in the grammar, top to bottom, then left to right."""
    ordered = sorted((tuple(map(float, box)) for box in boxes), key=lambda box: (box[1], box[0]))
    return RegionText(label, tuple(_UNIT.to_grid(PixelBox(*box)) for box in ordered))


class Questions:
    """Draws questions about a view: where is it, what is it, and what is certainly not there."""

    def __init__(self, records: list[Record]) -> None:
        """Learn from training records which labels there are and where they cannot be."""
        self._absence = Absence(records)
        self._chinese = {g.label_en: g.label_zh for r in records for g in r.regions}
        self._chinese |= {g.label_en: g.label_zh for r in records for g in r.detectable}

    def draw(self, record: Record, view: View, count: int, rng: np.random.Generator) -> list[Question]:
        """Draw `count` questions about a view; fewer only when nothing can be asked."""
        # A region that lost boxes to the view's edge would teach to answer with too few.
        usable = [r for r in view.regions if r.label_en != VESSELS and r.whole and 1 <= len(r.boxes) <= MAX_BOXES]
        absent = self._absence.other_area(record)
        questions: list[Question] = []
        order: list[int] = []
        for _ in range(count):
            language = Language.ZH if rng.random() < CHINESE_SHARE else Language.EN
            if absent and (not usable or rng.random() < ABSENT_SHARE):
                label = absent[int(rng.integers(len(absent)))]
                questions.append(self._ask_absent(record.modality, label, language, rng))
            elif usable:
                # Every region once before any region twice: the same answer again teaches little.
                order = order or [int(i) for i in rng.permutation(len(usable))]
                region = usable[order.pop()]
                ask = _ask_name if rng.random() < IDENTIFY_SHARE else _ask_place
                questions.append(ask(record.modality, region, language, rng))
        return questions

    def _ask_absent(self, modality: Modality, label: str, language: Language, rng: np.random.Generator) -> Question:
        name = label if language is Language.EN else self._chinese[label]
        answer = ABSENT_ANSWER[language].format(name=name)
        return Question(Task.DETECT, language, _wording(DETECT, modality, language, rng, x=name), answer)


def _ask_place(modality: Modality, region: ViewRegion, language: Language, rng: np.random.Generator) -> Question:
    name = region.label_en if language is Language.EN else region.label_zh
    answer = format_region(grid_region(name, region.boxes))
    return Question(Task.DETECT, language, _wording(DETECT, modality, language, rng, x=name), answer)


def _ask_name(modality: Modality, region: ViewRegion, language: Language, rng: np.random.Generator) -> Question:
    name = region.label_en if language is Language.EN else region.label_zh
    one = region.boxes[int(rng.integers(len(region.boxes)))][None]
    box = format_boxes(grid_region(name, one).boxes)
    return Question(Task.IDENTIFY, language, _wording(IDENTIFY, modality, language, rng, box=box), name)


def _wording(
    table: dict[Language, tuple[str, ...]],
    modality: Modality,
    language: Language,
    rng: np.random.Generator,
    **slots: str,
) -> str:
    template = table[language][int(rng.integers(len(table[language])))]
    return template.format(m=MODALITY_NAMES[modality][language is Language.ZH], **slots)


def all_texts(records: list[Record]) -> Iterator[str]:
    """Every label in every wording, for the tokenizer: what it has never seen it spells in bytes."""
    names = sorted({(g.label_en, g.label_zh) for r in records for g in r.regions})
    box = format_boxes(grid_region("", np.array([[0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5]])).boxes)
    for en, zh in names:
        for language, name in ((Language.EN, en), (Language.ZH, zh)):
            yield from (template.format(x=name, m="") for template in DETECT[language])
            yield f"<ref>{name}</ref>{box}"
            yield ABSENT_ANSWER[language].format(name=name)
    for names_of in MODALITY_NAMES.values():
        for language, name in zip(Language, names_of, strict=True):
            yield from (template.format(x="", m=name) for template in DETECT[language])
            yield from (template.format(box=box, m=name) for template in IDENTIFY[language])
