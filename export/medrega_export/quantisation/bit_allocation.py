"""Which units get more bits, so that a package stays below a size and loses least: the loss map, read, shown and used.

Knows losses and bytes; knows no weights. Units are raised one by one, by the loss that a further byte spares, until nothing
more fits. Losses of units are taken to add up, which the certificate of the package then puts to the test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import UsageError
from medrega_export.quantisation.recipe import GROUPS, Override, Recipe

if TYPE_CHECKING:
    from medrega_export.checkpoint.checkpoint import Checkpoint

HEAD = "head"  # the one unit whose bits are a setting of the whole recipe
MEGABYTE = 1_000_000
# What is neither weight nor tokenizer: nodes of the graphs, certificate, card; generous, for a size is promised.
OVERHEAD, OVERHEAD_UNIT = 200_000, 3_000


@dataclass(frozen=True)
class Option:
    """A unit at some precision: its bytes and its errors, relative but for `divergence`, in nats a token."""

    bits: int
    group: int
    bytes: int
    output: float
    state: float
    divergence: float | None

    @property
    def loss(self) -> float:
        """What counts: the divergence, or the squared error of the state, which it follows."""
        return self.state**2 if self.divergence is None else self.divergence


@dataclass(frozen=True)
class UnitSensitivity:
    """A unit as the recipe has it, and with more bits where there are more to give."""

    unit: str
    weights: int
    given: Option
    raised: Option | None

    @property
    def extra(self) -> int:
        """Bytes that the raised unit takes beyond what it has."""
        return self.raised.bytes - self.given.bytes if self.raised else 0

    @property
    def gain(self) -> float:
        """Loss spared by each of them."""
        return (self.given.loss - self.raised.loss) / self.extra if self.raised else 0.0


def size_of(checkpoint: Checkpoint, losses: Sequence[UnitSensitivity], recipe: Recipe, context: int) -> int:
    """Return about how many bytes a package of the recipe that `losses` were measured for takes; rather too many."""
    text, weights = checkpoint.config.text_config, checkpoint.weights
    embeddings = math.prod(weights["embed_tokens.weight"].shape)
    exact = 0
    for name, stored in weights.items():
        in_tower = name.startswith(("vision_tower.", "multi_modal_projector."))
        exact += (2 if in_tower and recipe.tower == "fp16" else 4) * math.prod(stored.shape)
    units = sum(loss.given.bytes - 4 * loss.weights for loss in losses)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    rotary = 4 * head_dim * min(context, text.max_position_embeddings)
    rest = len(checkpoint.tokenizer_json) + OVERHEAD + OVERHEAD_UNIT * len(losses)
    return int(exact - 2 * embeddings + units + rotary + rest)  # embeddings are stored in 2 bytes instead of 4


def choose(losses: Sequence[UnitSensitivity], recipe: Recipe, size: int, limit: int) -> Recipe:
    """Raise units of a package of `size` bytes up to `limit`; raises UsageError where it is too large as it is."""
    if size > limit:
        raise UsageError(
            f"A package of this recipe takes about {size / MEGABYTE:.1f} MB, more than {limit / MEGABYTE:.1f} MB; "
            "take --group-size 128, --head-bits 4 or a greater --max-size."
        )
    overrides = list(recipe.overrides)
    head_bits = recipe.head_bits
    for loss in sorted(losses, key=lambda loss: (-loss.gain, loss.unit)):
        if loss.raised is None or loss.gain <= 0 or size + loss.extra > limit:
            continue
        size += loss.extra
        if loss.unit == HEAD:
            head_bits = loss.raised.bits
        else:
            overrides = [one for one in overrides if one.unit != loss.unit]
            overrides.append(Override(loss.unit, loss.raised.bits, loss.raised.group or GROUPS[0]))
    return replace(recipe, overrides=tuple(sorted(overrides, key=lambda one: one.unit)), head_bits=head_bits)


def to_json(losses: Sequence[UnitSensitivity], recipe: Recipe) -> str:
    """Serialise a loss map and the recipe that it was measured for."""
    data = {"recipe": json.loads(recipe.to_json()), "losses": [asdict(loss) | {"gain": loss.gain} for loss in losses]}
    return json.dumps(data, indent=1) + "\n"


def read(path: Path, recipe: Recipe) -> list[UnitSensitivity]:
    """Read a loss map; raises UsageError for one of another recipe."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        measured = Recipe.from_json(json.dumps(data["recipe"]))
        losses = [_loss(entry) for entry in data["losses"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"'{path.name}' is no loss map; write one with --explain.") from None
    if measured != recipe:
        raise UsageError(f"'{path.name}' was measured for {measured.name}, not for {recipe.name}; write one with --explain.")
    return losses


def _loss(entry: dict[str, Any]) -> UnitSensitivity:
    raised = Option(**entry["raised"]) if entry["raised"] else None
    return UnitSensitivity(entry["unit"], entry["weights"], Option(**entry["given"]), raised)


def table(losses: Sequence[UnitSensitivity]) -> Iterator[str]:
    """Lay a loss map out, the costliest unit first."""
    yield f"{'unit':<20}{'bits':>5}{'kB':>9}{'output':>10}{'state':>10}{'KL':>10}   {'raised':>6}{'+kB':>9}{'KL':>10}"
    for loss in sorted(losses, key=lambda loss: -loss.given.loss):
        one, more = loss.given, loss.raised
        line = f"{loss.unit:<20}{one.bits:>5}{one.bytes / 1e3:>9.0f}{one.output:>10.2%}{one.state:>10.2%}{_kl(one):>10}"
        yield line + (f"   {more.bits:>6}{loss.extra / 1e3:>9.0f}{_kl(more):>10}" if more else "")
    yield "output, state: relative error of the unit's output and of the state behind its layer; KL: nats a token"


def _kl(option: Option) -> str:
    return "-" if option.divergence is None else f"{option.divergence:.2g}"
