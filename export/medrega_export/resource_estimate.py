"""The memory and disk that an export needs, in bytes, estimated from numbers of weights; rather too much than too little."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from medrega_edge.inference.memory import TIMES
from medrega_export.quantisation.recipe import Recipe

PROCESS_BYTES = 1_500_000_000  # torch, transformers, gptqmodel and onnxruntime, loaded
# Of a layer's weight while GPTQ works on its layer: the layer itself, the unit in hand six times, its Hessian four times.
LAYER_BYTES = 22
CERTIFY, KEEP = "--certify", "--keep-checkpoint"  # optional outputs, by the options that ask for them


@dataclass(frozen=True)
class WeightCounts:
    """Numbers of weights by the part of the model."""

    vision: int  # tower and projector
    layers: int  # of the language model
    embeddings: int
    head: int
    depth: int  # layers of the language model
    regions: int = 0  # region head, which stays in float32

    @property
    def total(self) -> int:
        """Number of weights."""
        return self.vision + self.layers + self.embeddings + self.head + self.regions


def memory(counts: WeightCounts, recipe: Recipe, optional_outputs: Collection[str] = ()) -> dict[str, int]:
    """Return the peak of a process in each step; calibration questions and their images come on top."""
    layer, decoder = counts.layers // counts.depth, recipe.bytes_of(0, counts.layers, counts.head, 0)
    # What is in full precision stays on the disk, but for the layer and the head that it is held against.
    peaks, checks = {}, 4 * (layer + counts.head)
    if recipe.is_quantised:
        peaks["gptq"] = LAYER_BYTES * layer
        exact = _quantised(counts, recipe) + 4 * counts.head
        checks = max(checks, round(TIMES["decoder_data"] * exact))
    elif not recipe.is_full:
        checks = max(checks, round(TIMES["decoder_data"] * decoder))
    peaks["checks"] = checks
    if CERTIFY in optional_outputs:
        # The package answers as users run it; the reference answers from the disk.
        vision = recipe.bytes_of(counts.vision, 0, 0, 0) + 4 * counts.regions
        peaks["certificate"] = round(TIMES["decoder_data"] * decoder + TIMES["vision_data"] * vision)
    return {step: PROCESS_BYTES + size for step, size in peaks.items()}


def disk(counts: WeightCounts, recipe: Recipe, optional_outputs: Collection[str] = ()) -> dict[str, int]:
    """Return the bytes that an export writes. Only the package and a kept checkpoint remain."""
    package = recipe.bytes_of(counts.vision, counts.layers, counts.head, counts.embeddings) + 4 * counts.regions
    if recipe.prefill_int8:
        package += counts.layers
    sizes = {"package": package}
    if recipe.is_quantised:
        # Quantised layers, and the decoder once more with its head in float32.
        sizes["work"] = 2 * _quantised(counts, recipe) + 4 * counts.head
    more = {
        CERTIFY: 4 * counts.total,
        KEEP: _quantised(counts, recipe) + 4 * (counts.total - counts.layers),
    }
    return sizes | {option: more[option] for option in optional_outputs}


def _quantised(counts: WeightCounts, recipe: Recipe) -> int:
    return recipe.bytes_of(0, counts.layers, 0, 0)
