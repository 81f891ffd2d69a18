"""Which units get more bits, so that a package stays below a size and loses least; sensitivities as a file and a table.

Units are raised one by one, in the order of loss spared for each further byte, until no other fits. The losses of units are
assumed to add up; the certificate of the package shows the real loss.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import UsageError
from medrega_export.checkpoint.checkpoint import STAGE
from medrega_export.quantisation.recipe import GROUPS, Override, Recipe

if TYPE_CHECKING:
    from medrega_export.checkpoint.checkpoint import Checkpoint

HEAD = "head"  # the one unit whose bits are a setting of the whole recipe
MEGABYTE = 1_000_000
# Nodes of the graphs, certificate and card; generous, because --max-size is a promise.
OVERHEAD, OVERHEAD_UNIT = 200_000, 3_000


@dataclass(frozen=True)
class PrecisionOption:
    """A unit at one precision: its bytes, relative errors of output and state, and KL divergence in nats a token."""

    bits: int
    group: int
    bytes: int
    output: float
    state: float
    divergence: float | None

    @property
    def loss(self) -> float:
        """The divergence, or where it was not measured the squared error of the state, which predicts it."""
        return self.state**2 if self.divergence is None else self.divergence


@dataclass(frozen=True)
class UnitSensitivity:
    """A unit at the precision of the recipe, and with more bits where there are more to give."""

    unit: str
    weights: int
    given: PrecisionOption
    raised: PrecisionOption | None

    @property
    def extra(self) -> int:
        """Further bytes that the raised unit takes."""
        return self.raised.bytes - self.given.bytes if self.raised else 0

    @property
    def gain(self) -> float:
        """Loss spared by each further byte."""
        return (self.given.loss - self.raised.loss) / self.extra if self.raised else 0.0


def package_size(checkpoint: Checkpoint, sensitivities: Sequence[UnitSensitivity], recipe: Recipe, context: int) -> int:
    """Estimate the bytes of a package of the recipe that was measured; rather too many."""
    text, weights = checkpoint.config.text_config, checkpoint.weights
    embeddings = math.prod(weights["embed_tokens.weight"].shape)
    exact = 0
    for name, stored in weights.items():
        in_tower = name.startswith(STAGE)
        exact += (2 if in_tower and recipe.tower == "fp16" else 4) * math.prod(stored.shape)
    exact += sum(4 * math.prod(stored.shape) for stored in checkpoint.region_weights.values())
    exact += sum((2 if recipe.is_full else 1) * math.prod(stored.shape) for stored in checkpoint.mask_weights.values())
    units = sum(unit.given.bytes - 4 * unit.weights for unit in sensitivities)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    rotary = 4 * head_dim * min(context, text.max_position_embeddings)
    rest = len(checkpoint.tokenizer_json) + OVERHEAD + OVERHEAD_UNIT * len(sensitivities)
    if recipe.prefill_int8:
        layers = [stored.shape for name, stored in weights.items() if name.startswith("layers.")]
        rest += rotary + sum(math.prod(shape) + 4 * shape[0] + OVERHEAD_UNIT for shape in layers)
    return int(exact - 2 * embeddings + units + rotary + rest)  # embeddings are stored in 2 bytes instead of 4


def raise_units(units: Sequence[UnitSensitivity], recipe: Recipe, size: int, limit: int) -> Recipe:
    """Raise units of a package of `size` bytes up to `limit`; raises UsageError where it is too large as it is."""
    if size > limit:
        raise UsageError("export.max_size_too_small", size=size / MEGABYTE, limit=limit / MEGABYTE)
    overrides = {override.unit: override for override in recipe.overrides}
    head_bits = recipe.head_bits
    for unit in sorted(units, key=lambda unit: (-unit.gain, unit.unit)):
        if unit.raised is None or unit.gain <= 0 or size + unit.extra > limit:
            continue
        size += unit.extra
        if unit.unit == HEAD:
            head_bits = unit.raised.bits
        else:
            overrides[unit.unit] = Override(unit.unit, unit.raised.bits, unit.raised.group or GROUPS[0])
    return replace(recipe, overrides=tuple(overrides[name] for name in sorted(overrides)), head_bits=head_bits)


def to_json(units: Sequence[UnitSensitivity], recipe: Recipe) -> str:
    """Serialise sensitivities and the recipe that they were measured for."""
    data = {"recipe": json.loads(recipe.to_json()), "losses": [asdict(unit) | {"gain": unit.gain} for unit in units]}
    return json.dumps(data, indent=1) + "\n"


def read_sensitivities(path: Path, recipe: Recipe) -> list[UnitSensitivity]:
    """Read sensitivities; raises UsageError for those of another recipe."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        measured = Recipe.from_json(json.dumps(data["recipe"]))
        units = [_unit(entry) for entry in data["losses"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError("export.not_sensitivities", file=path.name) from None
    if measured != recipe:
        raise UsageError(
            "export.sensitivities_of_another_recipe", file=path.name, measured=measured.name, recipe=recipe.name
        )
    return units


def _unit(entry: dict[str, Any]) -> UnitSensitivity:
    raised = PrecisionOption(**entry["raised"]) if entry["raised"] else None
    return UnitSensitivity(entry["unit"], entry["weights"], PrecisionOption(**entry["given"]), raised)


def sensitivity_table(units: Sequence[UnitSensitivity]) -> Iterator[str]:
    """Lay sensitivities out as lines, the costliest unit first."""
    yield f"{'unit':<20}{'bits':>5}{'kB':>9}{'output':>10}{'state':>10}{'KL':>10}   {'raised':>6}{'+kB':>9}{'KL':>10}"
    for unit in sorted(units, key=lambda unit: -unit.given.loss):
        given, raised = unit.given, unit.raised
        line = f"{unit.unit:<20}{given.bits:>5}{given.bytes / 1e3:>9.0f}{given.output:>10.2%}{given.state:>10.2%}"
        line += f"{_kl(given):>10}"
        yield line + (f"   {raised.bits:>6}{unit.extra / 1e3:>9.0f}{_kl(raised):>10}" if raised else "")


def _kl(option: PrecisionOption) -> str:
    return "-" if option.divergence is None else f"{option.divergence:.2g}"
