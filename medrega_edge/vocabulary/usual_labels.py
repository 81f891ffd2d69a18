"""The names that images of a kind usually show, for lists of what can be asked: the most used first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

from medrega_edge.domain import Modality
from medrega_edge.vocabulary.body_parts import can_hold
from medrega_edge.vocabulary.terminology import BilingualName


def usual(labels: Iterable[BilingualName], modality: Modality | None, part: str | None = None) -> list[BilingualName]:
    """Return those of a package's labels that images of a modality, and of a body part, usually show.

    All labels, in their order, where no such image of the training data shows one of them.
    """
    labels = list(labels)
    known = {label[0]: label for label in labels}
    names = _table().get(modality or "", ())
    shown = [known[name] for name in names if name in known and (part is None or can_hold(part, name))]
    return shown or labels


@cache
def _table() -> Mapping[str, Sequence[str]]:
    """English names by modality, those with the most boxes in the training data first (`tools/usual_labels.py`)."""
    text = files("medrega_edge.vocabulary").joinpath("usual_labels.json").read_text(encoding="utf-8")
    table: dict[str, list[str]] = json.loads(text)
    return table
