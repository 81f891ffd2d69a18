"""What an answer of a package will cost on a machine, foretold from the manifest and from how fast the machine is.

A pass of one token reads every weight and the cache once: from memory, or through the product of one row where that is
slower, or from the disk where weights do not fit into memory. The layers of a prompt are products with 4-bit weights, those
of the tower products with 8-bit weights; in both, attention and the work on each value (norms, activation, sums) run in
float32. `medrega bench foretell` holds all of it against measurements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import Self

from medrega_edge.inference import memory
from medrega_edge.inference.machine_speed import MachineSpeed
from medrega_edge.package.manifest import DecoderSpec, Manifest

QUESTION_TOKENS = 44  # of a question about one object, the chat template around it included
ANSWER_TOKENS = 25  # of an answer with one box
PATCHES = 4  # positions of the tower for each embedding of the image: pixel shuffle puts four into one
MOST_ROUNDED_BITS = 8  # of a tower's weights; wider ones are multiplied in float32
ATTENTION = b"\x22\x12MultiHeadAttention"  # in a graph's bytes: field 4 of a node, `op_type`, of 18 letters
LAYER_SQUARES = 12  # weights of a tower's layer in squares of its width: four of attention, eight of a network of 4 widths

# How much of the speed of memory and fixed products a model reaches, and what has no product.
OF_READING, OF_INT4 = 1.0, 1.0  # not fitted yet
# The profile of the 300 M tower in INT8 with AMX, 2026-11-30: 0.62 T operations with weights of 8 bits took 367 ms, 1.7 T a
# second, beside 2.8 T of the fixed product at its best.
OF_INT8 = 0.6
# The same profile: 103 G operations of attention, softmax included, took 476 ms, 217 G a second, beside 275 to 315 G of
# products in float32.
OF_FLOAT = 0.73
# The same profile: norms, Gelu, sums and rounding took 136 ms for 25 M values (1025 positions x 1024 x 24 layers), 5.4 ns
# each, in which attention does 1170 operations. In a prompt of the 0.5 B shape, 8 % of it, 4.5 ns.
OPERATIONS_PER_VALUE = 1150
# A token of the 0.5 B shape took 7.7 ms, 0.9 more than reading its weights (`bench peers` of 2026-11-28), in 24 layers.
SECONDS_PER_LAYER = 40e-6  # of a pass: threads meet after each operator


@dataclass(frozen=True)
class Work:
    """What a package asks of a machine. `weights` are those of the layers of the language model, each for every token.

    `token_bytes` are read for each token, the output head's included, and `cache_bytes` for each position before it. Of
    these, `narrow_bytes` are weights as wide as the layers', 4 bits in most packages; a head of 8 bits is not. At one
    position, `values` are layers times width, `attended_values` layers times the width of attention. The operations of the
    tower, with weights of 8 bits and in float32, are those of one image, an addition counting as one; None for a tower of
    convolutions, whose manifest does not tell them.
    """

    layers: int
    weights: int
    token_bytes: int
    narrow_bytes: int
    cache_bytes: int
    values: int
    attended_values: int
    image_tokens: int
    tower_bytes: int
    tower_operations: float | None
    tower_float_operations: float | None
    peak_bytes: int
    mapped_peak_bytes: int

    @classmethod
    def of(cls, manifest: Manifest, tower_layers: int) -> Self:
        """Read it from a manifest; `tower_layers` have attention, and do not count where convolutions feed a region head."""
        spec, files = manifest.decoder, manifest.files
        tower_layers = 0 if manifest.regions else tower_layers
        stored = {
            role: sum(files[each].bytes for each in (role, f"{role}_data") if each in files)
            for role in ("decoder", "vision")
        }
        bits, head_bits, _ = _bits(files["decoder"].precision)
        layers_bytes = stored["decoder"] - spec.hidden * spec.vocabulary * head_bits / 8
        positions = PATCHES * manifest.vision.tokens + 1
        tower_bits = _bits(files["vision"].precision)[0]
        tower_weights = stored["vision"] * 8 / tower_bits
        products = 2 * positions * tower_weights
        is_rounded = tower_bits <= MOST_ROUNDED_BITS
        tower_values = (tower_layers * tower_weights / LAYER_SQUARES) ** 0.5
        return cls(
            layers=spec.layers,
            weights=round(layers_bytes * 8 / bits),
            token_bytes=stored["decoder"],
            narrow_bytes=stored["decoder"] if head_bits == bits else round(layers_bytes),
            cache_bytes=_cache_bytes(spec),
            values=spec.layers * spec.hidden,
            attended_values=spec.layers * spec.heads * spec.head_dim,
            image_tokens=manifest.vision.tokens,
            tower_bytes=stored["vision"],
            tower_operations=products * is_rounded if tower_layers else None,
            tower_float_operations=(
                products * (not is_rounded) + _float_operations(tower_values, tower_values, positions, positions)
                if tower_layers
                else None
            ),
            peak_bytes=memory.peak(manifest),
            mapped_peak_bytes=memory.peak(manifest, mapped=True),
        )


@dataclass(frozen=True)
class Foretold:
    """Seconds, and tokens a second. The first answer about an image waits for the tower; None where that cannot be told.

    With `mapped`, the package fits into memory only if its weights stay in their files. With `from_disk`, they do not fit
    even then, and every token waits for them.
    """

    peak_bytes: int
    mapped: bool
    from_disk: bool
    tower_seconds: float | None
    prompt_seconds: float
    tokens_per_second: float
    first_answer_seconds: float | None
    next_answer_seconds: float


def foretell(
    work: Work,
    speed: MachineSpeed,
    free: int | None = None,
    disk_bytes: float | None = None,
    question_tokens: int = QUESTION_TOKENS,
    answer_tokens: int = ANSWER_TOKENS,
) -> Foretold:
    """Foretell a package on a machine with `free` bytes of memory, None if unknown, and a disk of `disk_bytes` a second.

    Times are of a package that is loaded; the answer has one pass a token.
    """
    mapped = free is not None and work.peak_bytes > free
    from_disk = mapped and disk_bytes is not None and larger_than(work, free)
    asked = work.image_tokens + question_tokens
    # What is read round and round, and does not fit, is never in memory when it is wanted.
    second_bytes = disk_bytes if from_disk and disk_bytes else inf
    token_read, tower_read = work.token_bytes / second_bytes, work.tower_bytes / second_bytes
    read = work.token_bytes + work.cache_bytes * (asked + answer_tokens / 2)
    overhead = work.layers * SECONDS_PER_LAYER
    narrow = work.narrow_bytes / min(speed.read_bytes, speed.row_bytes)
    one = max(token_read, overhead + (narrow + (read - work.narrow_bytes) / speed.read_bytes) / OF_READING)

    def many(tokens: int) -> float:
        floats = _float_operations(work.values, work.attended_values, tokens, asked) / (OF_FLOAT * speed.float_operations)
        return max(one, overhead + 2 * work.weights * tokens / (OF_INT4 * speed.int4_operations) + floats)

    tower = None
    if work.tower_operations is not None and work.tower_float_operations is not None:
        products = work.tower_operations / (OF_INT8 * speed.int8_operations)
        tower = max(tower_read, products + work.tower_float_operations / (OF_FLOAT * speed.float_operations))
    prompt, answer = many(asked), answer_tokens * one
    return Foretold(
        peak_bytes=work.mapped_peak_bytes if mapped else work.peak_bytes,
        mapped=mapped,
        from_disk=from_disk,
        tower_seconds=tower,
        prompt_seconds=prompt,
        tokens_per_second=1 / one,
        first_answer_seconds=None if tower is None else tower + prompt + answer,
        next_answer_seconds=many(question_tokens) + answer,
    )


def larger_than(work: Work, free: int | None) -> bool:
    """Whether weights do not fit into `free` bytes of memory even if they are mapped."""
    return free is not None and work.mapped_peak_bytes + work.token_bytes + work.tower_bytes > free


def decoder_group(manifest: Manifest) -> int:
    """Return how many weights of the language model share a scale; 0 for weights without."""
    return _bits(manifest.files["decoder"].precision)[2]


def layers_with_attention(graph: bytes) -> int:
    """Count a tower's layers in the bytes of its graph: each has one operator MultiHeadAttention."""
    return graph.count(ATTENTION)


def _float_operations(values: float, attended: float, positions: int, keys: int) -> float:
    """Operations in float32 of a pass: scores and mixing of all keys for each position, and the work on each value."""
    return positions * (4 * keys * attended + OPERATIONS_PER_VALUE * values)


def _cache_bytes(spec: DecoderSpec) -> int:
    """Bytes of keys and values in float32 at one position."""
    return 8 * spec.layers * spec.kv_heads * spec.head_dim


def _bits(precision: str) -> tuple[float, float, int]:
    """Bits of a weight and of one of the output head, shares of scales of 32 bits included, and the group of a scale."""
    group = int(found[1]) if (found := re.search(r"-g(\d+)", precision)) else 0
    widths = [int(width) for width in re.findall(r"(?:int|fp)(\d+)", precision)] or [32]
    shared = 32 / group if group else 0.0
    return widths[0] + shared, widths[-1] + shared, group
