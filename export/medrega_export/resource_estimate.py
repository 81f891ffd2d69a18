"""What an export needs: bytes of memory and of disk by what takes them, worked out from numbers of weights.

Knows sizes and recipes; knows no checkpoint, and nothing of this machine. Estimates, rather too much than too little: where
each factor comes from stands beside it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from medrega_edge.inference.memory import TIMES
from medrega_export.quantisation.recipe import FULL_BITS, Recipe

PROCESS_BYTES = 1_500_000_000  # torch, transformers, gptqmodel and onnxruntime, loaded
# Of a layer's weight while GPTQ works on its layer: the layer itself, the unit in hand six times, its Hessian four times.
LAYER_BYTES = 22
OPTIONS = CERTIFY, KEEP = "--certify", "--keep-checkpoint"  # they make more than the package


@dataclass(frozen=True)
class Weights:
    """Numbers of weights by what becomes of them."""

    vision: int  # tower and projector
    layers: int  # of the language model
    embeddings: int
    head: int
    depth: int  # layers of the language model

    @property
    def all(self) -> int:
        """Number of weights."""
        return self.vision + self.layers + self.embeddings + self.head


def memory(weights: Weights, recipe: Recipe, besides: Collection[str] = ()) -> dict[str, int]:
    """Return the peak of a process in each step; calibration questions and their images come on top."""
    layer, decoder = weights.layers // weights.depth, recipe.bytes_of(0, weights.layers, weights.head, 0)
    # What is in full precision stays on the disk, but for the layer and the head that it is held against.
    found, checks = {}, 4 * (layer + weights.head)
    if recipe.bits != FULL_BITS:
        found["GPTQ"] = LAYER_BYTES * layer
        exact = _quantised(weights, recipe) + 4 * weights.head
        checks = max(checks, round(TIMES["decoder_data"] * exact))
    elif not recipe.is_full:
        checks = max(checks, round(TIMES["decoder_data"] * decoder))
    found["checks"] = checks
    if CERTIFY in besides:
        # The package answers as users run it; the reference answers from the disk.
        vision = recipe.bytes_of(weights.vision, 0, 0, 0)
        found["certificate"] = round(TIMES["decoder_data"] * decoder + TIMES["vision_data"] * vision)
    return {step: PROCESS_BYTES + taken for step, taken in found.items()}


def disk(weights: Weights, recipe: Recipe, besides: Collection[str] = ()) -> dict[str, int]:
    """Return the bytes that an export writes; but for the package and what is kept, they are deleted in the end."""
    found = {"package": recipe.bytes_of(weights.vision, weights.layers, weights.head, weights.embeddings)}
    if recipe.bits != FULL_BITS:
        # Quantised layers, and the decoder once more with its head in float32.
        found["work"] = 2 * _quantised(weights, recipe) + 4 * weights.head
    more = {
        CERTIFY: 4 * weights.all,
        KEEP: _quantised(weights, recipe) + 4 * (weights.all - weights.layers),
    }
    return found | {option: more[option] for option in besides}


def _quantised(weights: Weights, recipe: Recipe) -> int:
    return recipe.bytes_of(0, weights.layers, 0, 0)
