"""Annotations of an image -> the report that they would make: text, and the regions of each sentence.

What nobody annotated is in no reference, so a report that tells more than the reference is not wrong for it; it is
scored as if it were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medrega_bench.datasets.questions import MOST_BOXES
from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language
from medrega_edge.evaluation.questions import LabelledBoxes, regions_text, spread
from medrega_edge.evaluation.records import AnnotatedRegion, Record
from medrega_edge.tasks.report_sentences import Sentence, write
from medrega_edge.vocabulary.label_sets import BODY_PARTS, FINDINGS

MOST_SEEN = 6  # the largest, as training tells them
REPORTS_EACH = 8  # images of a data set that are reported on; the figures need no more, and a report takes many tokens

_PART_OF_DATASET = {
    **dict.fromkeys(("busi", "cdd_cesm", "ddsm_tissue_mammo", "bus_bra", "breast_lesions_usg"), "breast"),
    **dict.fromkeys(("isic2017", "ph2"), "skin"),
    **dict.fromkeys(("drishti_gs", "chase_db1", "unam_fundus", "unam_oct"), "eye"),
    **dict.fromkeys(("smdg_glaucoma", "codras_fundus", "fives", "drive", "duke_dme_oct"), "eye"),
    **dict.fromkeys(("kvasir_seg", "cvc_colon", "etis_larib", "edd2020"), "gastrointestinal tract"),
    **dict.fromkeys(("ufba425_dental", "dc1000_caries"), "teeth"),
    "ccaus": "neck",
    "hc18": "fetus",
}


@dataclass(frozen=True)
class Reference:
    """A report and the objects that each of its sentences places."""

    text: str
    placed: dict[Sentence, tuple[LabelledBoxes, ...]]


def reference(record: Record, language: Language) -> Reference:
    """Write the report that a record's annotations make."""
    chinese = language is Language.ZH
    regions = sorted(record.targets, key=lambda region: region.area, reverse=True)
    lesions = [region for region in regions if region.is_lesion]
    seen = [region for region in regions if not region.is_lesion][:MOST_SEEN]
    abnormal = [region.name(language) for region in lesions]
    abnormal += [(label, FINDINGS[label])[chinese] for label in record.labels if label in FINDINGS]
    names = (
        (Sentence.SEEN, [region.name(language) for region in seen]),
        (Sentence.ABNORMAL, list(dict.fromkeys(abnormal))),
    )
    part = next((label for label in record.labels if label in BODY_PARTS), _PART_OF_DATASET.get(record.dataset))
    text = write(record.modality, part and (part, BODY_PARTS[part])[chinese], names, language)
    placed = {Sentence.SEEN: _labelled(seen, language), Sentence.ABNORMAL: _labelled(lesions, language)}
    return Reference(text, placed)


def _labelled(regions: Sequence[AnnotatedRegion], language: Language) -> tuple[LabelledBoxes, ...]:
    return tuple(LabelledBoxes(region.name(language), region.boxes) for region in regions)


def placed_text(reference: Reference, geometry: Geometry) -> dict[str, str]:
    """Return the regions of each sentence as a model writes them."""
    return {sentence.value: regions_text(group, geometry) for sentence, group in reference.placed.items()}


def reported(records: Sequence[Record]) -> Iterator[Record]:
    """Pick the records that are reported on: so many of each data set, spread evenly, none with a field of cells."""
    by_dataset: dict[str, list[Record]] = {}
    for record in records:
        if not record.dup_of_eval and all(len(region.boxes) <= MOST_BOXES for region in record.regions):
            by_dataset.setdefault(record.dataset, []).append(record)
    for mine in by_dataset.values():
        yield from spread(mine, REPORTS_EACH)
