"""GPTQ quantisation of a language model, layer by layer, conditioned on images.

The GPTQ class of gptqmodel 7.6.0, exactly this version, quantises a linear layer; its packer writes the standard format.
One layer is in memory at a time. Its linear layers see the samples as the layers before them, already quantised, pass them
on. It is written before the next one is read, so a run that was stopped goes on. Samples stay in memory.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import atomic_write, write_text
from medrega_export.graphs.text_model import NORMS, LayerwiseModel, dequantised_state, layer_state
from medrega_export.quantisation.gptq_format import Format, dequantise, exceptions_of, read_format, read_linear
from medrega_export.quantisation.recipe import LANGUAGE_UNITS, Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from medrega_export.checkpoint.checkpoint import Checkpoint

GPTQMODEL_VERSION = "7.6.0"
CONFIG = "quantize_config.json"
ENVIRONMENT = {
    "GPTQMODEL_CPU_WORKERS": "2",  # its own default fails on machines with two cores
    "GPTQMODEL_DISABLE_PACK_EXT": "1",  # spares a C++ build of 40 s; the output is identical bit for bit
}


@dataclass(frozen=True)
class QuantisedLayers:
    """A folder of quantised layers, one file each, named as in the checkpoint: `layers.N.mlp.down_proj.qweight`."""

    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """The `quantize_config.json` of the standard checkpoint."""
        return dict(json.loads((self.folder / CONFIG).read_text(encoding="utf-8")))

    @property
    def form(self) -> Format:
        """The format of the codes."""
        return read_format(self.config)

    def path(self, i: int) -> Path:
        """The file of layer `i`."""
        return self.folder / f"{i:04}.safetensors"

    def tensors(self, i: int) -> dict[str, npt.NDArray[Any]]:
        """Read layer `i`."""
        from safetensors.numpy import load_file

        tensors: dict[str, npt.NDArray[Any]] = load_file(self.path(i))
        return tensors

    def state(self, i: int) -> dict[str, Tensor]:
        """Read layer `i`, dequantised, as the model's own class takes it."""
        return dequantised_state(self.tensors(i), f"layers.{i}.", self.form)


def quantise(
    checkpoint: Checkpoint,
    samples: Sequence[Tensor],
    recipe: Recipe,
    folder: Path,
    notify: Callable[[Message], None] = lambda message: None,
) -> QuantisedLayers:
    """Quantise the language model on sequences of embeddings `[S, hidden]`; layers that are in `folder` already stay."""
    import torch
    from safetensors.torch import save

    if not samples:
        raise UsageError("export.no_calibration")
    folder.mkdir(exist_ok=True)
    result = QuantisedLayers(folder)
    count = checkpoint.config.text_config.num_hidden_layers
    done = sum(result.path(i).exists() for i in range(count))
    if done:
        notify(Message("export.quantising_resumed", done=done, count=count))
    if done == count:
        return result
    body, states = LayerwiseModel(checkpoint.config.text_config), list(samples)
    with _gptqmodel() as library, torch.no_grad():
        write_text(result.folder / CONFIG, _config(library, recipe))
        for i in range(count):
            if not result.path(i).exists():
                notify(Message("export.quantising_layer", layer=i + 1, count=count))
                module = body.layer(layer_state(checkpoint.weights, body, i))
                tensors = _layer(library, body, module, states, recipe, i, result.form)
                with atomic_write(result.path(i)) as file:
                    file.write(save({name: value.contiguous() for name, value in tensors.items()}, {"format": "pt"}))
                del module
            if i + 1 < count:
                body.run(body.layer(result.state(i)), states)
    return result


def _layer(
    library: Any, body: LayerwiseModel, module: Any, states: list[Tensor], recipe: Recipe, i: int, form: Format
) -> dict[str, Tensor]:
    """Quantise a layer's linear layers in the order of computation; each sees those before it as they will be stored."""
    import torch

    layer, prefix = module.layers[0], f"layers.{i}."
    tensors = {f"{prefix}{name}": value.clone() for name, value in layer.state_dict().items() if name in NORMS}
    for unit, names in LANGUAGE_UNITS.items():
        linears = [layer.get_submodule(name) for name in names]
        bits, group = recipe.unit(f"{prefix}{unit}")
        ((rounded, scales, zeros, groups),) = _unit(library, body, module, linears, states, recipe, [(bits, group)])
        start = 0
        for name, linear in zip(names, linears, strict=True):
            rows = slice(start, start + linear.out_features)
            start = rows.stop
            linear.weight.data = rounded[rows]
            packed = library.pack(linear, scales[rows], zeros[rows], groups.clone(), bits, group, recipe.symmetric)
            tensors |= {f"{prefix}{name}.{part}": value for part, value in packed.items()}
            stored = read_linear(_numpy(packed, f"{prefix}{name}."), f"{prefix}{name}", form)
            linear.weight.data = torch.from_numpy(np.ascontiguousarray(dequantise(stored).T))
            if stored.bias is not None:
                linear.bias.data = torch.from_numpy(stored.bias)
    return tensors


def _unit(
    library: Any,
    body: LayerwiseModel,
    module: Any,
    linears: Sequence[Any],
    states: list[Tensor],
    recipe: Recipe,
    choices: Sequence[tuple[int, int]],
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Quantise linear layers that read the same input, for each choice of bits and group size.

    Returns weights, scales, zero points and groups. GPTQ works on each output by itself, so the layers are taken as one.
    """
    import torch

    tasks = []
    for bits, group in choices:
        joined = torch.nn.Linear(linears[0].in_features, sum(linear.out_features for linear in linears), bias=False)
        joined.weight = torch.nn.Parameter(torch.cat([linear.weight for linear in linears]), requires_grad=False)
        task = library.GPTQ(joined, library.config(recipe, bits, group))
        task.quantizer.configure(perchannel=True)
        tasks.append(task)
    _watch(body, module, linears[0], states, lambda inputs: [task.add_batch(inputs, None) for task in tasks])
    results = []
    for task in tasks:
        rounded, scales, zeros, groups, *_ = task.quantize()
        results.append((rounded, scales, zeros, groups))
        task.free()
    return results


def rounded(
    body: LayerwiseModel,
    module: Any,
    names: Sequence[str],
    states: list[Tensor],
    recipe: Recipe,
    choices: Sequence[tuple[int, int]],
) -> list[dict[str, Tensor]]:
    """Return the rounded weights of a layer's linear layers for each choice of bits and group size."""
    linears = [module.layers[0].get_submodule(name) for name in names]
    sizes = [linear.out_features for linear in linears]
    with _gptqmodel() as library:
        results = _unit(library, body, module, linears, states, recipe, choices)
    return [dict(zip(names, weights.split(sizes), strict=True)) for weights, *_ in results]


class _InputSeen(Exception):
    """Ends a pass once the input of a linear layer is known: the rest of the layer need not be computed."""


def _watch(body: LayerwiseModel, module: Any, linear: Any, states: list[Tensor], see: Callable[[Tensor], object]) -> None:
    """Call `see` with the input of a linear layer for every sequence."""

    def hook(_: Any, inputs: tuple[Tensor, ...]) -> None:
        see(inputs[0])
        raise _InputSeen

    handle = linear.register_forward_pre_hook(hook)
    for state in states:
        with contextlib.suppress(_InputSeen):
            body.run(module, [state])
    handle.remove()


def _numpy(packed: Mapping[str, Tensor], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}{part}": value.numpy() for part, value in packed.items()}


def _config(library: Any, recipe: Recipe) -> str:
    """The `quantize_config.json` of the standard checkpoint; it holds no text of the calibration."""
    config = library.config(recipe, recipe.bits, recipe.group_size, exceptions_of(recipe) or None).to_dict()
    return json.dumps(config, indent=1, ensure_ascii=False, default=str) + "\n"


@contextlib.contextmanager
def _gptqmodel() -> Iterator[Any]:
    """Give the parts of gptqmodel that are used here, with its environment set and its banner kept off stdout."""
    version = importlib.metadata.version("gptqmodel")
    if version != GPTQMODEL_VERSION:
        raise ResourceError("export.gptqmodel_version", needed=GPTQMODEL_VERSION, installed=version)
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import torch
            from gptqmodel import QuantizeConfig
            from gptqmodel.nn_modules.qlinear.torch import TorchLinear
            from gptqmodel.quantization import GPTQ
            from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

            def config(recipe: Recipe, bits: int, group: int, dynamic: dict[str, Any] | None = None) -> Any:
                return QuantizeConfig(
                    bits=bits,
                    group_size=group,
                    sym=recipe.symmetric,
                    dynamic=dynamic,
                    desc_act=False,
                    device="cpu",
                    offload_to_disk=False,
                )

            def pack(linear: Any, scales: Any, zeros: Any, groups: Any, bits: int, group: int, symmetric: bool) -> Any:
                packed = TorchLinear(
                    bits=bits,
                    group_size=group,
                    sym=symmetric,
                    desc_act=False,
                    in_features=linear.in_features,
                    out_features=linear.out_features,
                    bias=linear.bias is not None,
                    pack_dtype=torch.int32,
                    register_buffers=True,
                )
                packed.pack_block(linear, scales, zeros, groups)
                convert_gptq_v2_to_v1_format_module(packed, SimpleNamespace(bits=bits, pack_dtype=torch.int32))
                return packed.state_dict()

            yield SimpleNamespace(GPTQ=GPTQ, config=config, pack=pack)
    finally:
        for name in added:
            os.environ.pop(name, None)
