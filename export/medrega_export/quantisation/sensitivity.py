"""The loss map: what each unit of a model costs at the bits it gets, and what more bits for it would buy.

Knows the layers of the language model and of the tower as torch modules, one in memory at a time; knows no graph and no
package. A unit is quantised alone, everything else being exact, on the user's own images and questions, and just as an
export would quantise it. Three figures, each nearer to the answers than the last: the error of the unit's own output;
that of the state behind its layer; and, where the model is small enough to be run to its end once more for each unit, how
far the next token's distribution moves (KL divergence).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medrega_export.graphs import linear_layers, text_model, vision
from medrega_export.graphs.vision_graph import INT8_LARGEST
from medrega_export.quantisation import gptq
from medrega_export.quantisation.bit_allocation import HEAD, Option, UnitSensitivity
from medrega_export.quantisation.gptq_format import dequantise
from medrega_export.quantisation.recipe import (
    BITS,
    FULL_BITS,
    LANGUAGE_UNITS,
    PROJECTOR_UNITS,
    TOWER_UNITS,
    Recipe,
    packed_bytes,
)

if TYPE_CHECKING:
    from medrega_export.checkpoint.checkpoint import Checkpoint
    from medrega_export.quantisation.calibration import Material

RAISED = BITS[-1]  # bits that a unit of the language model may be raised to; one of the tower goes to float32
SEQUENCES = 32  # that losses are measured on
STEPS = 8  # last positions of a sequence: the answer, whose distributions are compared
WHOLE = 100_000_000  # weights up to which a model is run to its end for each unit

Step = Callable[[list[Tensor]], list[Tensor]]  # states -> states, or logits `[STEPS, vocabulary]` of each
Tell = Callable[[str], None]


@dataclass(frozen=True)
class QuantisedVariant:
    """A unit's weights at some precision, and whether its inputs are rounded as well."""

    bits: int
    group: int
    bytes: int
    weights: Mapping[str, Tensor]
    rounds_inputs: bool = False


def measure(
    checkpoint: Checkpoint, material: Material, recipe: Recipe, tell: Tell = lambda message: None
) -> list[UnitSensitivity]:
    """Measure every unit that the recipe quantises, in the order of computation."""
    model = _Model(checkpoint)
    losses: list[UnitSensitivity] = []
    with torch.no_grad():
        if recipe.tower == "int8":
            losses += _tower(model, material, recipe, tell)
        if recipe.is_quantised:
            losses += _language(model, material, recipe, tell)
    return losses


class _Model:
    """A checkpoint's parts; all of them in memory, and run to the end, where they are small."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.body = text_model.Body(checkpoint.config.text_config)
        self.layers = int(checkpoint.config.text_config.num_hidden_layers)
        self.parts = vision.parts(checkpoint)
        names = [name for name in checkpoint.weights if name not in ("embed_tokens.weight", "lm_head.weight")]
        self.is_small = sum(torch.Size(checkpoint.weights[name].shape).numel() for name in names) <= WHOLE

    def layer(self, i: int) -> Any:
        return self.body.layer(text_model.original(self.checkpoint.weights, self.body, i))

    @cached_property
    def all_layers(self) -> list[Any]:
        return [self.layer(i) for i in range(self.layers)]

    @cached_property
    def all_parts(self) -> list[nn.Module]:
        return [part.read(self.checkpoint) for part in self.parts]

    def pass_through(self, module: Any, states: Sequence[Tensor]) -> list[Tensor]:
        following = list(states)
        self.body.run(module, following)
        return following

    def logits(self, start: int, states: Sequence[Tensor]) -> list[Tensor]:
        """Run the language model from layer `start` on."""
        for module in self.all_layers[start:]:
            states = self.pass_through(module, states)
        weights = self.checkpoint.weights
        found = self.body.logits(states, weights["norm.weight"], weights["lm_head.weight"], STEPS)
        return [torch.from_numpy(one) for one in found]

    def images(self, start: int, states: Sequence[Tensor]) -> list[Tensor]:
        """Run the tower from part `start` on."""
        for part, module in zip(self.parts[start:], self.all_parts[start:], strict=True):
            states = [part.run(module, state) for state in states]
        return list(states)


def _language(model: _Model, material: Material, recipe: Recipe, tell: Tell) -> Iterator[UnitSensitivity]:
    states = list(material.samples)
    for i in range(model.layers):
        tell(f"losses: layer {i + 1} of {model.layers}")
        module = model.layer(i)
        whole = _Layer(
            module.layers[0],
            lambda given, module=module: model.pass_through(module, given),
            states[:SEQUENCES],
            (lambda following, i=i: model.logits(i + 1, following)) if model.is_small else None,
        )
        for unit, names in LANGUAGE_UNITS.items():
            bits, group = recipe.unit(f"layers.{i}.{unit}")
            choices = [(bits, group)] if bits == RAISED else [(bits, group), (RAISED, group)]
            rounded = gptq.rounded(model.body, module, names, states, recipe, choices)
            ways = [
                QuantisedVariant(
                    *choice, _packed(sum(weight.numel() for weight in weights.values()), *choice, recipe), weights
                )
                for choice, weights in zip(choices, rounded, strict=True)
            ]
            yield whole.loss(f"layers.{i}.{unit}", names, ways)
        states = model.pass_through(module, states)
    if recipe.head_bits != FULL_BITS:
        yield _head(model, states[:SEQUENCES], recipe)


def _packed(count: int, bits: int, group: int, recipe: Recipe) -> int:
    return int(count * (packed_bytes(bits, group) + (0 if recipe.symmetric else bits / 8 / group)))


def _head(model: _Model, states: list[Tensor], recipe: Recipe) -> UnitSensitivity:
    """The output head, which alone turns states into logits: its error in the state is that of its output."""
    weights = model.checkpoint.weights
    stored = weights["lm_head.weight"]
    truth = [torch.from_numpy(one) for one in model.body.logits(states, weights["norm.weight"], stored, STEPS)]

    def option(bits: int) -> Option:
        group, pieces = recipe.group_size, text_model.pieces(stored)
        found = [torch.from_numpy(dequantise(linear_layers.rounded(rows.numpy(), bits, group))) for rows in pieces]
        last = model.body.last(states, weights["norm.weight"], STEPS)
        logits = list((last @ torch.cat(found, dim=1)).split(STEPS))
        error = relative(torch.cat(logits), torch.cat(truth))
        size = int(torch.Size(stored.shape).numel() * packed_bytes(bits, group))
        return Option(bits, group, size, error, error, divergence(logits, truth) if model.is_small else None)

    raised = option(RAISED) if recipe.head_bits != RAISED else None
    return UnitSensitivity(HEAD, torch.Size(stored.shape).numel(), option(recipe.head_bits), raised)


def _tower(model: _Model, material: Material, recipe: Recipe, tell: Tell) -> Iterator[UnitSensitivity]:
    places = _places(material)
    states = [torch.from_numpy(image)[None] for image in material.pixels]
    for i, part in enumerate(model.parts):
        tell(f"losses: part {i + 1} of {len(model.parts)} of the tower")

        def logits(following: list[Tensor], i: int = i) -> list[Tensor]:
            images = model.images(i + 1, following)
            return model.logits(0, [_with_image(material.samples[s], at, images[n][0]) for s, n, at in places])

        module = part.read(model.checkpoint)
        run: Step = lambda given, part=part, module=module: [part.run(module, state) for state in given]  # noqa: E731
        whole = _Layer(module, run, states, logits if model.is_small else None)
        for unit, names in _units(part.name):
            yield whole.loss(unit, names, _tower_ways(module, names, unit in recipe.kept))
        states = whole.following


def _units(part: str) -> list[tuple[str, tuple[str, ...]]]:
    if part == "projector":
        return [(f"{part}.{unit}", (unit,)) for unit in PROJECTOR_UNITS]
    if part.startswith("tower."):
        return [(f"{part}.{unit}", names) for unit, names in TOWER_UNITS.items()]
    return []


def _tower_ways(module: nn.Module, names: Sequence[str], kept: bool) -> list[QuantisedVariant]:
    linears = {name: module.get_submodule(name).weight.data for name in names}
    count, outputs = sum(w.numel() for w in linears.values()), sum(len(w) for w in linears.values())
    full = QuantisedVariant(FULL_BITS, 0, 4 * count, linears)
    if kept:
        return [full]
    rounded = {name: int8_weight(weight) for name, weight in linears.items()}
    return [
        QuantisedVariant(8, 0, count + 5 * outputs, rounded, rounds_inputs=True),
        full,
    ]  # a scale, a zero point an output


def _places(material: Material) -> list[tuple[int, int, int]]:
    """Find the sequences about an image that is at hand: number of the sequence, of the image, and where that begins."""
    found = []
    for s, sample in enumerate(material.samples[:SEQUENCES]):
        for n, image in enumerate(material.images):
            starts = (sample == image[0]).all(dim=1).nonzero()
            if len(starts):
                found.append((s, n, int(starts[0])))
    return found


def _with_image(sample: Tensor, at: int, image: Tensor) -> Tensor:
    return torch.cat([sample[:at], image, sample[at + len(image) :]])


class _Layer:
    """A layer, what its linear layers give in full precision, and what follows from that."""

    def __init__(self, module: nn.Module, run: Step, states: list[Tensor], logits: Step | None) -> None:
        self.module, self._run, self._states, self._logits = module, run, states, logits
        self.following = run(states)
        self._truth = logits(self.following) if logits else []

    def loss(self, unit: str, names: Sequence[str], ways: Sequence[QuantisedVariant]) -> UnitSensitivity:
        """Measure a unit, the first of the ways being that of the recipe."""
        outputs = self._outputs(names)
        options = [self._option(names, way, outputs) for way in ways]
        weights = sum(self.module.get_submodule(name).weight.numel() for name in names)
        return UnitSensitivity(unit, weights, options[0], options[1] if len(options) > 1 else None)

    def _option(self, names: Sequence[str], way: QuantisedVariant, truth: Tensor) -> Option:
        kept = {name: self.module.get_submodule(name).weight.data for name in names}
        try:
            for name in names:
                self.module.get_submodule(name).weight.data = way.weights[name]
            outputs = self._outputs(names, way.rounds_inputs)
            following = self._following
        finally:
            for name in names:
                self.module.get_submodule(name).weight.data = kept[name]
        moved = divergence(self._logits(following), self._truth) if self._logits else None
        state = relative(torch.cat(following, dim=-2), torch.cat(self.following, dim=-2))
        return Option(way.bits, way.group, way.bytes, relative(outputs, truth), state, moved)

    def _outputs(self, names: Sequence[str], rounds_inputs: bool = False) -> Tensor:
        """Run the layer; returns what the named linear layers gave, in one row."""
        given: list[Tensor] = []
        with ExitStack() as stack:
            for name in names:
                linear = self.module.get_submodule(name)
                if rounds_inputs:
                    stack.callback(linear.register_forward_pre_hook(lambda _, seen: (uint8(seen[0]),)).remove)
                stack.callback(linear.register_forward_hook(lambda _, __, out: given.append(out.flatten())).remove)
            self._following = self._run(self._states)
        return torch.cat(given)


def relative(values: Tensor, truth: Tensor) -> float:
    """Euclidean length of the difference over that of the truth."""
    return float((values - truth).norm() / truth.norm())


def divergence(values: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Mean KL divergence of next-token distributions from the true ones, in nats; logits `[steps, vocabulary]` each."""
    right, given = (torch.cat(list(logits)).double().log_softmax(-1) for logits in (truth, values))
    return float((right.exp() * (right - given)).sum(-1).mean())


def int8_weight(weight: Tensor) -> Tensor:
    """Round `[out, in]` with a scale for each output, as the tower's graph holds it."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / INT8_LARGEST
    return torch.clamp(torch.round(weight / scale), -INT8_LARGEST, INT8_LARGEST) * scale


def uint8(value: Tensor) -> Tensor:
    """Round activations as the int8 kernel sees them: 256 steps between a tensor's least and greatest value."""
    low, high = value.min().clamp(max=0), value.max().clamp(min=0)
    scale = (high - low).clamp(min=1e-12) / 255
    zero = torch.round(-low / scale)
    return (torch.clamp(torch.round(value / scale) + zero, 0, 255) - zero) * scale
