"""Annotations of an image -> the report that they would make: text, and the regions of each sentence.

What nobody annotated is in no reference, so a report that tells more than the reference is not wrong for it; it is
scored as if it were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medrega_bench.datasets.questions import MOST_BOXES, SKIPPED_LABELS, Objects
from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Modality
from medrega_edge.tasks.report_sentences import Sentence, write
from medrega_edge.vocabulary.label_sets import BODY_PARTS, FINDINGS

Row = dict[str, Any]

MOST_SEEN = 6  # the largest, as training tells them
REPORTS_EACH = 8  # images of a data set that are reported on; the figures need no more, and a report takes many tokens

_PART_OF_DATASET = {
    "busi": "breast",
    "cdd_cesm": "breast",
    "isic2017": "skin",
    "ph2": "skin",
    "drishti_gs": "eye",
    "chase_db1": "eye",
    "unam_fundus": "eye",
    "unam_oct": "eye",
    "kvasir_seg": "gastrointestinal tract",
    "ccaus": "neck",
    "hc18": "fetus",
}


@dataclass(frozen=True)
class Reference:
    """A report and the objects that each of its sentences places."""

    text: str
    placed: dict[Sentence, tuple[Objects, ...]]


def reference(record: Row, language: Language) -> Reference:
    """Tell what a record's annotations say."""
    chinese = language is Language.ZH
    regions = [region for region in record["regions"] if region["label_en"] not in SKIPPED_LABELS and region["boxes"]]
    regions.sort(key=lambda region: -sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in region["boxes"]))
    lesions = [region for region in regions if region["kind"] == "lesion"]
    seen = [region for region in regions if region["kind"] != "lesion"][:MOST_SEEN]

    def name(region: Row) -> str:
        return str(region["label_zh" if chinese else "label_en"])

    abnormal = [name(region) for region in lesions]
    abnormal += [(label, FINDINGS[label])[chinese] for label in record["labels"] if label in FINDINGS]
    told = ((Sentence.SEEN, [name(region) for region in seen]), (Sentence.ABNORMAL, list(dict.fromkeys(abnormal))))
    part = next((label for label in record["labels"] if label in BODY_PARTS), _PART_OF_DATASET.get(record["dataset"]))
    text = write(Modality(record["modality"]), part and (part, BODY_PARTS[part])[chinese], told, language)
    placed = {
        what: tuple(Objects(name(region), tuple(PixelBox(*box) for box in region["boxes"])) for region in group)
        for what, group in ((Sentence.SEEN, seen), (Sentence.ABNORMAL, lesions))
    }
    return Reference(text, placed)


def placed_text(reference: Reference, geometry: Geometry) -> dict[str, str]:
    """The regions of each sentence as a model writes them."""
    return {what.value: ", ".join(one.text(geometry) for one in group) for what, group in reference.placed.items()}


def reported(records: Sequence[Row]) -> Iterator[Row]:
    """The records that are reported on: so many of each data set, spread evenly, none with a field of cells."""
    by_dataset: dict[str, list[Row]] = {}
    for record in records:
        if not record["dup_of_eval"] and all(len(region["boxes"]) <= MOST_BOXES for region in record["regions"]):
            by_dataset.setdefault(record["dataset"], []).append(record)
    for mine in by_dataset.values():
        count = min(REPORTS_EACH, len(mine))
        yield from (mine[i * len(mine) // count] for i in range(count))
