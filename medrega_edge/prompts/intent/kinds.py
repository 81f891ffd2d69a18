"""The kinds of question, and how likely each is, by a linear classifier of character and word n-grams beside the phrases.

`python -m tools.kinds` trains it, and writes `kinds.npz`: int8 weights of shape (kinds, buckets), with a scale and a bias
for each kind. An n-gram falls into a bucket by its CRC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Kind(StrEnum):
    """What can be asked."""

    LOCATE = "locate"
    SEGMENT = "segment"
    PRESENCE = "presence"
    COUNT = "count"
    MEASURE = "measure"
    SIDE = "side"
    COMPARE = "compare"
    DISTANCE = "distance"
    MODALITY = "kind_of_image"
    BODY_PART = "body_part"
    ORGANS = "organs"
    CLASSIFY = "classify"
    IDENTIFY = "identify"
    REPORT = "report"
    GROUNDED_REPORT = "grounded_report"
    ANSWER = "answer"
    HELP = "help"
    IMPOSSIBLE = "impossible"


BUCKETS = 16384
_LONGEST = 5  # characters
_WORDS = 3
_NAME = " N "
_MARK = re.compile(r"\0")
_WORD = re.compile(r"[a-zN0-9]+|[\u3400-\u9fff]")


def buckets(said: str, whole: str, flags: Iterable[str]) -> list[int]:
    """Return the buckets of a question: of its text with names as marks, of its text, and of what else is known of it."""
    grams = {*_grams(_MARK.sub(_NAME, said), ""), *_grams(whole, "="), *(f"#{flag}" for flag in flags)}
    return sorted({crc32(gram.encode()) % BUCKETS for gram in grams})


def _grams(text: str, prefix: str) -> Iterator[str]:
    text = f" {' '.join(text.split())} "
    for length in range(1, _LONGEST + 1):
        for place in range(len(text) - length + 1):
            yield f"{prefix}{text[place : place + length]}"
    words = ["^", *_WORD.findall(text), "$"]
    for length in range(1, _WORDS + 1):
        for place in range(len(words) - length + 1):
            yield f"{prefix}_{' '.join(words[place : place + length])}"


@cache
def _weights() -> tuple[list[str], NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    import numpy as np

    with as_file(files("medrega_edge.prompts.intent").joinpath("kinds.npz")) as path, np.load(path) as arrays:
        return arrays["kinds"].tolist(), arrays["weights"], arrays["scale"], arrays["bias"]


def log_likelihoods(said: str, whole: str, flags: Iterable[str]) -> dict[str, float]:
    """Return the logarithm of each kind's probability, by its name."""
    kinds, weights, scale, bias = _weights()
    found = buckets(said, whole, flags)
    scores: Any = weights[:, found].sum(axis=1) * scale / math.sqrt(len(found)) + bias
    highest = float(scores.max())
    total = highest + math.log(sum(math.exp(float(score) - highest) for score in scores))
    return {kind: float(score) - total for kind, score in zip(kinds, scores, strict=True)}
