"""The numerical error of each stage against torch, and its thresholds. The certificate measures the effect on answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import GateError
from medrega_edge.package.manifest import DecoderSpec
from medrega_export.graphs.reference_decoder import DecoderRun

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 8  # last positions of a sequence that are fed one by one, as an answer is written


@dataclass(frozen=True)
class Thresholds:
    """Largest error that a package may have.

    Vision: relative Euclidean error of the image embeddings. Tower, regions: the same of an EfficientNet tower, and the
    larger one of its two region maps. Decoder: largest logit difference over largest logit, mean over positions.
    `vision_int8`, `vision_fp16`, `decoder_rounded` (int8 activations and the head's bits) and `embeddings` cover rounding
    (measured on random weights: 0.006 to 0.024, 0.001, 0.015 to 0.026, 0.0002). So do tower and regions (measured on
    trained weights: 0.003 in fp16; 0.18 in int8, which costs 0.2 points of IoU). Prefill: relative Euclidean error of the
    last layer's values, which all other layers lead to (measured: 0.02 to 0.03). The others cover nothing but the order of
    additions (measured: 1e-6), so that a wrong code, layout or mask shows.
    """

    vision_fp32: float = 1e-3
    vision_fp16: float = 0.01
    vision_int8: float = 0.05
    tower_fp16: float = 0.02
    tower_int8: float = 0.3
    regions_fp16: float = 0.02
    regions_int8: float = 0.3
    decoder_fp32: float = 1e-4
    decoder_layout: float = 1e-3
    decoder_rounded: float = 0.1
    prefill_int8: float = 0.1
    embeddings: float = 1e-3

    def check(self, errors: dict[str, float]) -> None:
        """Raise GateError for the first error that exceeds its threshold or is no number."""
        for field in fields(self):
            error, limit = errors.get(field.name), getattr(self, field.name)
            if error is not None and math.isnan(error):
                raise GateError("export.stage_not_a_number", stage=field.name)
            if error is not None and error > limit:
                raise GateError("export.stage_error", stage=field.name, error=error, limit=limit)


def graph_logits(
    path: Path, spec: DecoderSpec, samples: Sequence[Tensor], mapped: bool = False
) -> list[npt.NDArray[np.float32]]:
    """Return logits `[STEPS, vocabulary]` of the last positions: the start of a sequence at once, then one by one.

    `mapped` leaves the weights on the disk: in full precision they may be larger than the memory.
    """
    run = DecoderRun(path, spec, mapped=mapped)
    results = []
    for sample in samples:
        embeddings = sample.numpy()
        run.rewind()
        run.feed(embeddings[:-STEPS])
        results.append(np.stack([run.feed(embeddings[i : i + 1]) for i in range(len(embeddings) - STEPS, len(embeddings))]))
    return results


def logit_error(values: Sequence[npt.NDArray[np.float32]], truth: Sequence[npt.NDArray[np.float32]]) -> float:
    """Mean over positions of the largest difference over the largest logit."""
    pairs = zip(values, truth, strict=True)
    return float(np.mean(np.concatenate([np.abs(a - b).max(axis=1) / np.abs(b).max(axis=1) for a, b in pairs])))


def prefill_error(
    path: Path, spec: DecoderSpec, samples: Sequence[Tensor], truth: Sequence[npt.NDArray[np.float32]]
) -> float:
    """Relative Euclidean error of the last layer's values in the cache that a graph for prefixes has filled."""
    run = DecoderRun(path, spec, mapped=True)
    values = []
    for sample in samples:
        run.rewind()
        values.append(run.fill(sample.numpy()))
    given, wanted = np.concatenate(values), np.concatenate(list(truth))
    return float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))
