"""What an image shows, in the fixed sentences of `medrega_edge.tasks.report_sentences` from its annotations.

Kind of image, part of the body, what is seen, what is abnormal. A sentence is left out where the annotations do not say.
That nothing is abnormal is never written: annotations look for one thing, and say nothing of all others.
"""

from __future__ import annotations

from medrega_edge.domain import Language
from medrega_edge.evaluation.records import NOT_A_TARGET, Record
from medrega_edge.tasks.report_sentences import Sentence, write
from medrega_edge.vocabulary.label_sets import BODY_PARTS, FINDINGS
from medrega_train.augment import View
from medrega_train.records import area_of

MOST_SEEN = 6  # the largest; a list of twenty teaches to make lists

_PART_OF_AREA = {
    "breast": "breast",
    "skin": "skin",
    "eye": "eye",
    "gut": "gastrointestinal tract",
    "carotid": "neck",
    "fetus": "fetus",
    "teeth": "teeth",
}


def report(record: Record, view: View, language: Language) -> str:
    """Describe a view of an image."""
    chinese = language is Language.ZH
    part = next((label for label in record.labels if label in BODY_PARTS), _PART_OF_AREA.get(area_of(record) or ""))
    visible = sorted(
        (r for r in view.regions if r.label_en != NOT_A_TARGET),
        key=lambda r: -float(((r.boxes[:, 2:] - r.boxes[:, :2]).prod(axis=1)).sum()),
    )
    kinds = {region.label_en: region.kind for region in record.regions}
    names = [((r.label_en, r.label_zh)[chinese], kinds.get(r.label_en) == "lesion") for r in visible]
    seen = [name for name, lesion in names if not lesion][:MOST_SEEN]
    abnormal = [name for name, lesion in names if lesion]
    abnormal += [(label, FINDINGS[label])[chinese] for label in record.labels if label in FINDINGS]
    sentences = ((Sentence.SEEN, seen), (Sentence.ABNORMAL, list(dict.fromkeys(abnormal))))
    return write(record.modality, part and (part, BODY_PARTS[part])[chinese], sentences, language)
