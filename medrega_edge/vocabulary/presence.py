"""From which confidence of its box on a name is said to be in an image, and from which on a class.

`python -m tools.presence --fit` writes the numbers.

Weights that were shown a finding only where somebody drew one may be as sure of its box in healthy images: then a high score
tells where it would be, not whether it is there.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any

from medrega_edge.answer import LIKELY
from medrega_edge.domain import Modality
from medrega_edge.vocabulary.label_kinds import is_device, is_finding


def floor() -> float:
    """Confidence of the best box below which a name counts as not found."""
    return float(_table()["floor"])


def certain_from(modality: Modality | None, english: str) -> float:
    """Return the confidence from which on a name is said to be in such an image; infinite where no score proves that.

    That is so for findings and devices that validation images could not test, too: most films show no tube.
    """
    may_be_absent = is_finding(english) or is_device(english)
    least = _table()["certain_from"].get(modality, {}).get(english, None if may_be_absent else LIKELY)
    return math.inf if least is None else float(least)


def class_from(modality: Modality | None, english: str) -> float:
    """Return the probability from which on a class of such an image is stated; infinite where val does not prove any."""
    least = _table()["classes"].get(modality, {}).get(english)
    return math.inf if least is None else float(least)


def is_known(modality: Modality, english: str) -> bool:
    """Whether images of this kind with boxes of this name were in the training data."""
    return english in _table()["known"].get(modality, ())


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(
        files("medrega_edge.vocabulary").joinpath("presence.json").read_text(encoding="utf-8")
    )
    return table
