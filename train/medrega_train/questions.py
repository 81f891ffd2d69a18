"""Annotations -> questions and answers of every task in two languages.

Boxes enter as fractions of the view and leave as grid integers in the region grammar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medrega_edge.boxes import Geometry, GridBox, PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.evaluation.records import NOT_A_TARGET, Record
from medrega_edge.prompts.region_markup import BOX_OPEN, REF_CLOSE, REF_OPEN, RegionText, format_boxes, format_region
from medrega_edge.prompts.templates import (
    ABSENT_ANSWER,
    CLASSIFY_MULTIPLE_QUESTION,
    CLASSIFY_QUESTION,
    DEFAULT_PROMPTS,
    DETECT_QUESTION,
    IDENTIFY_QUESTION,
    LABEL_SEPARATOR,
    MODALITY_QUESTION,
    REPORT_QUESTION,
    WITH_REGIONS,
    PromptBook,
)
from medrega_edge.vocabulary.label_sets import LABEL_SETS, MODALITY_NAMES, NOT_MEDICAL, LabelSet
from medrega_train.augment import View, ViewRegion
from medrega_train.label_modalities import modalities_of_labels
from medrega_train.question_templates import DETECT, IDENTIFY
from medrega_train.records import Absence, implied
from medrega_train.reports import report

MAX_BOXES = 4  # of one object in one answer; a field of a hundred blood cells teaches nothing here
CHINESE_SHARE = 0.45
# The runtime resolves every name it knows to the program's own English wording, so that is asked most.
PLAIN_SHARE = 0.6
# How often each kind of question is asked, among those that an image allows.
SHARES = {
    "place": 0.45,
    "name": 0.25,
    "absent": 0.07,
    "unfinished": 0.15,
    "asked": 0.60,
    "class": 0.25,
    "report": 0.06,
    "modality": 0.05,
}
REGIONS_SHARE = 0.2  # of free questions and classes come with the regions of the image behind them
MOST_REGIONS = 3  # in such a question

Wordings = dict[Task, dict[Language, tuple[str, ...]]]
PLAIN: Wordings = {
    Task.DETECT: {language: (text,) for language, text in DETECT_QUESTION.items()},
    Task.IDENTIFY: {language: (text,) for language, text in IDENTIFY_QUESTION.items()},
}
WORDINGS: Wordings = {Task.DETECT: DETECT, Task.IDENTIFY: IDENTIFY}

_UNIT = Geometry(1, 1)

# Without regions, classes and questions of its own, an image only allows questions about absent things.
NOTHING_TO_ASK_WEIGHT = 0.1
VQA_WEIGHT = 12.0  # of an image with questions of its own: few images in many views, or they are learnt by heart
VQA_DRAW_WEIGHT, CLASS_DRAW_WEIGHT = 1.3, 1.3  # of a view of the pool
VQA_FACTOR = 3  # times as many questions for such an image: they are short, and their answers differ


def question_weight(record: Record) -> float:
    """Weight of a record in the draw, beside those of its data set's size and of its regions."""
    if record.qa:
        return VQA_WEIGHT
    regions = any(len(region.boxes) <= MAX_BOXES for region in record.targets)
    return 1.0 if regions or label_sets(record) else NOTHING_TO_ASK_WEIGHT


def draw_weight(record: Record) -> float:
    """How often a language stage draws a view of a record, relative to one with regions alone."""
    if record.qa:
        return VQA_DRAW_WEIGHT
    return CLASS_DRAW_WEIGHT if label_sets(record) else 1.0


def label_sets(record: Record) -> list[LabelSet]:
    """The label sets that an image's classes answer."""
    return [label_set for label_set in LABEL_SETS.values() if label_set.right(record.labels, record.modality)]


@dataclass(frozen=True)
class QuestionAnswer:
    """One question about a view with the answer that is right, as model text.

    An answer that is not `finished` stops where the boxes of one object would follow. They are `boxes`, for a region head;
    none where nobody drew them.
    """

    task: Task
    language: Language
    question: str
    answer: str
    finished: bool = True
    boxes: tuple[GridBox, ...] = ()


def grid_region(label: str, boxes: npt.NDArray[np.float32]) -> RegionText:
    """Name boxes `[n, 4]` (fractions of the image) in the grammar, top to bottom, then left to right."""
    ordered = sorted((tuple(map(float, box)) for box in boxes), key=lambda box: (box[1], box[0]))
    return RegionText(label, tuple(_UNIT.to_grid(PixelBox(*box)) for box in ordered))


def ask_modality(modality: Modality | None) -> QuestionAnswer:
    """Ask what kind of image it is; None is no medical image at all."""
    name = NOT_MEDICAL[0] if modality is None else MODALITY_NAMES[modality][0]
    return QuestionAnswer(Task.CLASSIFY, Language.EN, MODALITY_QUESTION, name)


class QuestionSampler:
    """Draws questions about a view, of every kind that the image allows."""

    def __init__(self, records: list[Record], unfinished: bool = False) -> None:
        """Collect the labels of training records, and the body areas where they cannot be.

        With `unfinished` some answers stop where boxes would follow: of objects with more than MAX_BOXES, and of objects
        that are certainly there but not annotated.
        """
        self._unfinished = unfinished
        self._asked = Counter(name for record in records for name in self._askable(record))
        self._absence = Absence(records, self._asked)
        self._chinese = {g.label_en: g.label_zh for r in records for g in r.regions}
        self._chinese |= {g.label_en: g.label_zh for r in records for g in r.targets}

    def _askable(self, record: Record) -> set[str]:
        """The labels that an image's questions ask for."""
        few = {region.label_en for region in record.targets if len(region.boxes) <= MAX_BOXES}
        if not self._unfinished:
            return few
        names = {region.label_en for region in record.targets}
        return names | implied(record, names)

    def absent(self, record: Record, count: int, rng: np.random.Generator) -> list[str]:
        """Draw up to `count` labels that are certainly not in an image; see `Absence.draw`."""
        return self._absence.draw(record, count, rng)

    def draw(self, record: Record, view: View, count: int, rng: np.random.Generator) -> list[QuestionAnswer]:
        """Draw `count` questions about a view, more where the data has questions of its own."""
        # A region that lost boxes at the view's edge would teach answers with too few boxes.
        usable = [r for r in view.regions if r.label_en != NOT_A_TARGET and r.whole and 1 <= len(r.boxes) <= MAX_BOXES]
        nameable = [r for r in view.regions if r.label_en != NOT_A_TARGET and len(r.boxes)]  # one box of many has a name too
        absent = self.absent(record, count, rng)
        unfinished = self._unfinished_places(record, view)
        sets = label_sets(record)
        possible = {
            "place": bool(usable),
            "name": bool(nameable),
            "absent": bool(absent),
            "unfinished": bool(unfinished),
            "asked": bool(record.qa) and view.upright,
            "class": bool(sets),
            "report": True,
            "modality": True,
        }
        kinds = [kind for kind, is_possible in possible.items() if is_possible]
        shares = np.array([SHARES[kind] for kind in kinds])
        questions: list[QuestionAnswer] = []
        places: list[int] = []
        names: list[int] = []
        own: list[int] = []
        for _ in range(VQA_FACTOR * count if possible["asked"] else count):
            kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
            plain = kind in ("place", "name", "absent", "unfinished") and rng.random() < PLAIN_SHARE
            language = Language.ZH if not plain and rng.random() < CHINESE_SHARE else Language.EN
            wording = PLAIN if plain else WORDINGS
            # Every region once before any region twice: a repeated answer teaches little.
            if kind == "place":
                places = places or [int(i) for i in rng.permutation(len(usable))]
                questions.append(_ask_place(wording, record.modality, usable[places.pop()], language, rng))
            elif kind == "name":
                names = names or [int(i) for i in rng.permutation(len(nameable))]
                questions.append(_ask_name(wording, record.modality, nameable[names.pop()], language, rng))
            elif kind == "absent":
                label = absent[int(rng.integers(len(absent)))]
                questions.append(self._ask_absent(wording, record.modality, label, language, rng))
            elif kind == "unfinished":
                names_and_boxes = unfinished[int(rng.integers(len(unfinished)))]
                questions.append(_ask_unfinished(wording, record.modality, *names_and_boxes, language, rng))
            elif kind == "asked":
                own = own or [int(i) for i in rng.permutation(len(record.qa))]
                pair = record.qa[own.pop()]
                question = _with_regions(_single_spaced(pair.question), usable, pair.lang, rng)
                questions.append(QuestionAnswer(Task.VQA, pair.lang, question, _single_spaced(pair.answer)))
            elif kind == "class":
                questions.append(_ask_class(record, sets[int(rng.integers(len(sets)))], usable, language, rng))
            elif kind == "report":
                answer = report(record, view, language)
                questions.append(QuestionAnswer(Task.REPORT, language, REPORT_QUESTION[language], answer))
            else:
                questions.append(ask_modality(record.modality))
        return questions

    def _unfinished_places(self, record: Record, view: View) -> list[tuple[str, str, tuple[GridBox, ...]]]:
        """Names in both languages of what answers of a region cannot hold, with its boxes."""
        if not self._unfinished:
            return []
        seen = {region.label_en: region for region in view.regions if len(region.boxes)}
        places = [
            (region.label_en, region.label_zh, grid_region("", region.boxes).boxes)
            for region in seen.values()
            if len(region.boxes) > MAX_BOXES and region.label_en != NOT_A_TARGET
        ]
        boxed = seen.keys() | {region.label_en for region in record.regions}
        hidden = sorted(name for name in implied(record, seen.keys()) - boxed if name in self._chinese)
        return places + [(name, self._chinese[name], ()) for name in hidden]

    def _ask_absent(
        self, wording: Wordings, modality: Modality, label: str, language: Language, rng: np.random.Generator
    ) -> QuestionAnswer:
        name = label if language is Language.EN else self._chinese[label]
        answer = ABSENT_ANSWER[language].format(name=name)
        return QuestionAnswer(Task.DETECT, language, _wording(wording[Task.DETECT], modality, language, rng, x=name), answer)


def _ask_place(
    wording: Wordings, modality: Modality, region: ViewRegion, language: Language, rng: np.random.Generator
) -> QuestionAnswer:
    name = region.label_en if language is Language.EN else region.label_zh
    answer = format_region(grid_region(name, region.boxes))
    return QuestionAnswer(Task.DETECT, language, _wording(wording[Task.DETECT], modality, language, rng, x=name), answer)


def _ask_unfinished(
    wording: Wordings,
    modality: Modality,
    label_en: str,
    label_zh: str,
    boxes: tuple[GridBox, ...],
    language: Language,
    rng: np.random.Generator,
) -> QuestionAnswer:
    name = label_en if language is Language.EN else label_zh
    answer = f"{REF_OPEN}{name}{REF_CLOSE}{BOX_OPEN}[["
    question = _wording(wording[Task.DETECT], modality, language, rng, x=name)
    return QuestionAnswer(Task.DETECT, language, question, answer, finished=False, boxes=boxes)


def _ask_name(
    wording: Wordings, modality: Modality, region: ViewRegion, language: Language, rng: np.random.Generator
) -> QuestionAnswer:
    name = region.label_en if language is Language.EN else region.label_zh
    chosen = region.boxes[int(rng.integers(len(region.boxes)))][None]
    box = format_boxes(grid_region(name, chosen).boxes)
    return QuestionAnswer(Task.IDENTIFY, language, _wording(wording[Task.IDENTIFY], modality, language, rng, box=box), name)


def _ask_class(
    record: Record, label_set: LabelSet, usable: list[ViewRegion], language: Language, rng: np.random.Generator
) -> QuestionAnswer:
    """Ask for one or several labels of a set, in random order; the answer keeps that order."""
    shuffled = [label_set.labels[int(i)] for i in rng.permutation(len(label_set.labels))]
    chinese = language is Language.ZH
    right = [label[chinese] for label in shuffled if label[0] in record.labels]
    wording = (CLASSIFY_MULTIPLE_QUESTION if label_set.multiple else CLASSIFY_QUESTION)[language]
    question = wording.format(labels=LABEL_SEPARATOR.join(label[chinese] for label in shuffled))
    return QuestionAnswer(
        Task.CLASSIFY, language, _with_regions(question, usable, language, rng), LABEL_SEPARATOR.join(right)
    )


def _with_regions(question: str, usable: list[ViewRegion], language: Language, rng: np.random.Generator) -> str:
    """Append regions to a share of questions, as the runtime does after a round of detection."""
    if not usable or rng.random() >= REGIONS_SHARE:
        return question
    chosen = [usable[int(i)] for i in rng.permutation(len(usable))[:MOST_REGIONS]]
    named = [grid_region(r.label_en if language is Language.EN else r.label_zh, r.boxes) for r in chosen]
    return WITH_REGIONS[language].format(question=question, regions=", ".join(map(format_region, named)))


def _single_spaced(text: str) -> str:
    return " ".join(text.split())


def _wording(
    table: dict[Language, tuple[str, ...]],
    modality: Modality,
    language: Language,
    rng: np.random.Generator,
    **slots: str,
) -> str:
    template = table[language][int(rng.integers(len(table[language])))]
    return template.format(m=MODALITY_NAMES[modality][language is Language.ZH], **slots)


def prompt_book(records: list[Record]) -> PromptBook:
    """The prompts, labels and modalities of weights trained on these records."""
    labels = sorted({(g.label_en, g.label_zh) for r in records for g in r.targets})
    modalities = {MODALITY_NAMES[m][0]: m.value for m in Modality if any(r.modality is m for r in records)}
    modalities[NOT_MEDICAL[0]] = ""
    possible = {label: tuple(found) for label, found in modalities_of_labels(records).items()}
    return PromptBook(
        DEFAULT_PROMPTS.prefix,
        DEFAULT_PROMPTS.templates,
        tuple(labels),
        modalities,
        label_modalities=possible,
        answers=known_answers(records),
    )


def known_answers(records: list[Record]) -> dict[str, tuple[str, ...]]:
    """Return the answers to the data's own questions by language, each spelling once, the most frequent first."""
    counts = Counter((pair.lang, _single_spaced(pair.answer)) for record in records for pair in record.qa)
    ordered = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return {language: found for language in Language if (found := tuple(a for lang, a in ordered if lang == language and a))}


def all_texts(records: list[Record]) -> Iterator[str]:
    """Every label in every wording, to train the tokenizer on: unseen text would be spelt in bytes."""
    names = sorted({(g.label_en, g.label_zh) for r in records for g in r.regions})
    box = format_boxes(grid_region("", np.array([[0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5]])).boxes)
    for en, zh in names:
        for language, name in ((Language.EN, en), (Language.ZH, zh)):
            yield from (template.format(x=name, m="") for template in DETECT[language])
            yield f"<ref>{name}</ref>{box}"
            yield ABSENT_ANSWER[language].format(name=name)
    for record in records:
        for pair in record.qa:
            yield from (_single_spaced(pair.question), _single_spaced(pair.answer))
    for label_set in LABEL_SETS.values():
        yield from (name for names in label_set.labels for name in names)
    for names_of in (*MODALITY_NAMES.values(), NOT_MEDICAL):
        for language, name in zip(Language, names_of, strict=True):
            yield from (template.format(x="", m=name) for template in DETECT[language])
            yield from (template.format(box=box, m=name) for template in IDENTIFY[language])
