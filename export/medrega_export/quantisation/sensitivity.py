"""Sensitivity analysis: the loss that quantising each unit of a model causes, and the loss with more bits for it.

One unit is quantised at a time, as an export would quantise it, on the user's own images and questions; everything else is
exact. Layers are torch modules, one in memory at a time. Three figures are measured, each closer to the answers than the
last: the error of the unit's output; the error of its layer's hidden state; and, where the model is small enough to be run
to its end for each unit, the KL divergence of the next token's distribution.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medrega_edge.i18n.message import Message
from medrega_export.checkpoint.checkpoint import STAGE
from medrega_export.graphs import linear_layers, text_model, vision
from medrega_export.graphs.linear_layers import INT8_LARGEST
from medrega_export.quantisation import gptq
from medrega_export.quantisation.bit_allocation import HEAD, PrecisionOption, UnitSensitivity
from medrega_export.quantisation.gptq_format import dequantise
from medrega_export.quantisation.recipe import (
    BITS,
    FULL,
    FULL_BITS,
    LANGUAGE_UNITS,
    PROJECTOR_UNITS,
    TOWER_UNIT,
    TOWER_UNITS,
    Recipe,
    packed_bytes,
)

if TYPE_CHECKING:
    from medrega_export.checkpoint.checkpoint import Checkpoint
    from medrega_export.quantisation.calibration import CalibrationData

RAISED = BITS[-1]  # more bits for a unit of the language model; a unit of the tower gets float32
SEQUENCES = 32  # measured ones
STEPS = 8  # last positions of a sequence: the answer, whose distributions are compared
WHOLE = 100_000_000  # weights up to which a model is run to its end for each unit

Step = Callable[[list[Tensor]], list[Tensor]]  # states -> states, or logits `[STEPS, vocabulary]` of each
Notify = Callable[[Message], None]


@dataclass(frozen=True)
class QuantisedVariant:
    """A unit's weights at some precision, and whether its inputs are rounded as well."""

    bits: int
    group: int
    bytes: int
    weights: Mapping[str, Tensor]
    rounds_inputs: bool = False


def measure(
    checkpoint: Checkpoint, material: CalibrationData, recipe: Recipe, notify: Notify = lambda message: None
) -> list[UnitSensitivity]:
    """Measure every unit that the recipe quantises, in the order of computation."""
    model = _Model(checkpoint)
    units: list[UnitSensitivity] = []
    with torch.no_grad():
        if recipe.tower == "int8" and checkpoint.efficientnet:
            units.append(_whole_tower(model, material, recipe, notify))
        elif recipe.tower == "int8":
            units += _tower(model, material, recipe, notify)
        if recipe.is_quantised:
            units += _language(model, material, recipe, notify)
    return units


class _Model:
    """A checkpoint's parts; all of them in memory, and run to the end, where they are small."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.body = text_model.LayerwiseModel(checkpoint.config.text_config)
        self.layers = int(checkpoint.config.text_config.num_hidden_layers)
        self.parts = [] if checkpoint.efficientnet else vision.parts(checkpoint)
        names = [name for name in checkpoint.weights if name not in ("embed_tokens.weight", "lm_head.weight")]
        self.is_small = sum(torch.Size(checkpoint.weights[name].shape).numel() for name in names) <= WHOLE

    def layer(self, i: int) -> Any:
        return self.body.layer(text_model.layer_state(self.checkpoint.weights, self.body, i))

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
        logits = self.body.logits(states, weights["norm.weight"], weights["lm_head.weight"], STEPS)
        return [torch.from_numpy(of_sequence) for of_sequence in logits]

    def images(self, start: int, states: Sequence[Tensor]) -> list[Tensor]:
        """Run the tower from part `start` on."""
        for part, module in zip(self.parts[start:], self.all_parts[start:], strict=True):
            states = [part.run(module, state) for state in states]
        return list(states)


def _language(model: _Model, material: CalibrationData, recipe: Recipe, notify: Notify) -> Iterator[UnitSensitivity]:
    states = list(material.samples)
    for i in range(model.layers):
        notify(Message("export.sensitivity_of_layer", layer=i + 1, count=model.layers))
        module = model.layer(i)
        run = partial(model.pass_through, module)
        logits = partial(model.logits, i + 1) if model.is_small else None
        whole = _Layer(module.layers[0], run, states[:SEQUENCES], logits)
        for unit, names in LANGUAGE_UNITS.items():
            bits, group = recipe.unit(f"layers.{i}.{unit}")
            choices = [(bits, group)] if bits == RAISED else [(bits, group), (RAISED, group)]
            rounded = gptq.rounded(model.body, module, names, states, recipe, choices)
            variants = [
                QuantisedVariant(
                    *choice, _packed(sum(weight.numel() for weight in weights.values()), *choice, recipe), weights
                )
                for choice, weights in zip(choices, rounded, strict=True)
            ]
            yield whole.measure(f"layers.{i}.{unit}", names, variants)
        states = model.pass_through(module, states)
    if recipe.head_bits != FULL_BITS:
        yield _head(model, states[:SEQUENCES], recipe)


def _packed(count: int, bits: int, group: int, recipe: Recipe) -> int:
    return int(count * (packed_bytes(bits, group) + (0 if recipe.symmetric else bits / 8 / group)))


def _head(model: _Model, states: list[Tensor], recipe: Recipe) -> UnitSensitivity:
    """The output head, which alone turns states into logits: its error in the state is that of its output."""
    weights = model.checkpoint.weights
    stored = weights["lm_head.weight"]
    exact = model.body.logits(states, weights["norm.weight"], stored, STEPS)
    truth = [torch.from_numpy(of_sequence) for of_sequence in exact]

    def option(bits: int) -> PrecisionOption:
        group, pieces = recipe.group_size, text_model.row_chunks(stored)
        rounded = [torch.from_numpy(dequantise(linear_layers.round_in_blocks(rows.numpy(), bits, group))) for rows in pieces]
        last = model.body.last(states, weights["norm.weight"], STEPS)
        logits = list((last @ torch.cat(rounded, dim=1)).split(STEPS))
        error = relative(torch.cat(logits), torch.cat(truth))
        size = int(torch.Size(stored.shape).numel() * packed_bytes(bits, group))
        return PrecisionOption(bits, group, size, error, error, divergence(logits, truth) if model.is_small else None)

    raised = option(RAISED) if recipe.head_bits != RAISED else None
    return UnitSensitivity(HEAD, torch.Size(stored.shape).numel(), option(recipe.head_bits), raised)


def _tower(model: _Model, material: CalibrationData, recipe: Recipe, notify: Notify) -> Iterator[UnitSensitivity]:
    places = _places(material)
    states = [torch.from_numpy(image)[None] for image in material.pixels]
    for i, part in enumerate(model.parts):
        notify(Message("export.sensitivity_of_tower", part=i + 1, count=len(model.parts)))

        def logits(following: list[Tensor], i: int = i) -> list[Tensor]:
            images = model.images(i + 1, following)
            return model.logits(0, [_with_image(material.samples[s], at, images[n][0]) for s, n, at in places])

        module = part.read(model.checkpoint)
        whole = _Layer(module, partial(_run_part, part, module), states, logits if model.is_small else None)
        for unit, names in _units(part.name):
            yield whole.measure(unit, names, _tower_variants(module, names, unit in recipe.exact_units))
        states = whole.following


def _whole_tower(model: _Model, material: CalibrationData, recipe: Recipe, notify: Notify) -> UnitSensitivity:
    """An EfficientNet tower with its projector, which has one precision: its error is that of the image embeddings."""
    notify(Message("export.sensitivity_of_tower", part=1, count=1))
    weights = sum(torch.Size(w.shape).numel() for name, w in model.checkpoint.weights.items() if name.startswith(STAGE))
    exact = PrecisionOption(FULL_BITS, 0, 4 * weights, 0.0, 0.0, 0.0 if model.is_small else None)
    if not recipe.rounds_tower:
        return UnitSensitivity(TOWER_UNIT, weights, exact, None)
    with tempfile.TemporaryDirectory() as folder:
        rounded, full = Path(folder) / "rounded.onnx", Path(folder) / "full.onnx"
        vision.write(model.checkpoint, rounded, recipe, material.tower_pixels)
        vision.write(model.checkpoint, full, FULL)
        spared = full.stat().st_size - rounded.stat().st_size
        images = [torch.from_numpy(image) for image in vision.run_graph(rounded, material.pixels)]
    error = relative(torch.stack(images), torch.stack(material.images))
    moved = None
    if model.is_small:
        places = _places(material)

        def logits(images: Sequence[Tensor]) -> list[Tensor]:
            return model.logits(0, [_with_image(material.samples[s], at, images[n]) for s, n, at in places])

        moved = divergence(logits(images), logits(material.images))
    return UnitSensitivity(TOWER_UNIT, weights, PrecisionOption(8, 0, 4 * weights - spared, error, error, moved), exact)


def _run_part(part: vision.VisionPart, module: nn.Module, states: Sequence[Tensor]) -> list[Tensor]:
    return [part.run(module, state) for state in states]


def _units(part: str) -> list[tuple[str, tuple[str, ...]]]:
    if part == "projector":
        return [(f"{part}.{unit}", (unit,)) for unit in PROJECTOR_UNITS]
    if part.startswith("tower."):
        return [(f"{part}.{unit}", names) for unit, names in TOWER_UNITS.items()]
    return []


def _tower_variants(module: nn.Module, names: Sequence[str], is_exact: bool) -> list[QuantisedVariant]:
    linears = {name: module.get_submodule(name).weight.data for name in names}
    count, outputs = sum(w.numel() for w in linears.values()), sum(len(w) for w in linears.values())
    full = QuantisedVariant(FULL_BITS, 0, 4 * count, linears)
    if is_exact:
        return [full]
    rounded = {name: int8_weight(weight) for name, weight in linears.items()}
    size = count + 5 * outputs  # a scale and a zero point for each output
    return [QuantisedVariant(8, 0, size, rounded, rounds_inputs=True), full]


def _places(material: CalibrationData) -> list[tuple[int, int, int]]:
    """Find the sequences that hold a measured image: numbers of the sequence, the image, and the image's first position."""
    places = []
    for s, sample in enumerate(material.samples[:SEQUENCES]):
        for n, image in enumerate(material.images):
            starts = (sample == image[0]).all(dim=1).nonzero()
            if len(starts):
                places.append((s, n, int(starts[0])))
    return places


def _with_image(sample: Tensor, at: int, image: Tensor) -> Tensor:
    return torch.cat([sample[:at], image, sample[at + len(image) :]])


class _Layer:
    """A layer with its states and logits in full precision."""

    def __init__(self, module: nn.Module, run: Step, states: list[Tensor], logits: Step | None) -> None:
        self.module, self._run, self._states, self._logits = module, run, states, logits
        self.following = run(states)
        self._truth = logits(self.following) if logits else []

    def measure(self, unit: str, names: Sequence[str], variants: Sequence[QuantisedVariant]) -> UnitSensitivity:
        """Measure a unit; the first variant is that of the recipe."""
        outputs = self._outputs(names)
        options = [self._option(names, variant, outputs) for variant in variants]
        weights = sum(self.module.get_submodule(name).weight.numel() for name in names)
        return UnitSensitivity(unit, weights, options[0], options[1] if len(options) > 1 else None)

    def _option(self, names: Sequence[str], variant: QuantisedVariant, truth: Tensor) -> PrecisionOption:
        exact = {name: self.module.get_submodule(name).weight.data for name in names}
        try:
            for name in names:
                self.module.get_submodule(name).weight.data = variant.weights[name]
            outputs = self._outputs(names, variant.rounds_inputs)
            following = self._following
        finally:
            for name in names:
                self.module.get_submodule(name).weight.data = exact[name]
        moved = divergence(self._logits(following), self._truth) if self._logits else None
        state = relative(torch.cat(following, dim=-2), torch.cat(self.following, dim=-2))
        return PrecisionOption(variant.bits, variant.group, variant.bytes, relative(outputs, truth), state, moved)

    def _outputs(self, names: Sequence[str], rounds_inputs: bool = False) -> Tensor:
        """Run the layer; returns the outputs of the named linear layers, in one row."""
        outputs: list[Tensor] = []
        with ExitStack() as stack:
            for name in names:
                linear = self.module.get_submodule(name)
                if rounds_inputs:
                    stack.callback(linear.register_forward_pre_hook(lambda _, inputs: (uint8(inputs[0]),)).remove)
                stack.callback(linear.register_forward_hook(lambda _, __, output: outputs.append(output.flatten())).remove)
            self._following = self._run(self._states)
        return torch.cat(outputs)


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
    """Round activations as the int8 kernel does: 256 steps between a tensor's least and greatest value."""
    low, high = value.min().clamp(max=0), value.max().clamp(min=0)
    scale = (high - low).clamp(min=1e-12) / 255
    zero = torch.round(-low / scale)
    return (torch.clamp(torch.round(value / scale) + zero, 0, 255) - zero) * scale
