"""Which set of classes a question means."""

from __future__ import annotations

import re

from medrega_edge.domain import language_of
from medrega_edge.errors import UsageError
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.classification import Classify, ClassifyByPart
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.body_parts import holds_any, shown_part
from medrega_edge.vocabulary.label_sets import (
    BENIGN_OR_NOT,
    LABEL_SETS,
    answers_whether_benign,
    candidate_sets,
    label_set_of,
    named_set,
)
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.wording import names_cancer

_TISSUE = re.compile(
    r"\btissues?\b|\bhistolog|\bpathological diagnosis|\btype of cancer\b|组织(?!液)|病理(?:类型|诊断)|什么癌"
)


def classification(text: str, scene: Scene) -> TaskRequest:
    """Return the request to choose a class of the set that a question means; raises UsageError where none fits."""
    if (label_set := label_set_of(text, scene.modality)) and answers_whether_benign(text, label_set):
        parts = LABEL_SETS[label_set].parts
        if parts and (part := scene.body_part()) and not holds_any(part, parts):
            raise UsageError("task.set_of_other_part", name=label_set, part=shown_part(part, language_of(text)))
        return Classify(label_set, question=text)

    if named := named_set(text, scene.modality):
        return Classify(named, question=text)

    def is_familiar(name: str) -> bool:  # no "lung tissue" of a blood smear
        return not all(scene.is_unfamiliar(english) for english, _ in LABEL_SETS[name].labels)

    candidates = tuple(filter(is_familiar, candidate_sets(text, scene.modality)))
    if len(candidates) == 1 and not LABEL_SETS[candidates[0]].parts:
        return Classify(candidates[0], question=text)
    if candidates:
        return ClassifyByPart(candidates, text)
    part = scene.body_part()
    fitting = [
        each.name
        for each in LABEL_SETS.values()
        if (scene.modality is None or scene.modality in each.modalities)
        and (not each.parts or not part or holds_any(part, each.parts))
        if is_familiar(each.name)
    ]
    is_of_tissue = (
        _TISSUE.search(simplified(text)) or names_cancer(text) or any(word in simplified(text) for word in BENIGN_OR_NOT)
    )
    if len(fitting) == 1 and is_of_tissue:  # the class itself tells whether it fits
        return Classify(fitting[0], question=text)
    raise UsageError("task.no_fitting_set", sets=fitting) if fitting else UsageError("task.no_set")
