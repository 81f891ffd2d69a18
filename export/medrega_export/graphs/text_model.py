"""A Qwen2 or Llama language model layer by layer: its weights for the graph, and the computation of a layer in torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_export.checkpoint.weights import StoredTensor, fill_module
from medrega_export.graphs import decoder, linear_layers
from medrega_export.quantisation.gptq_format import Format, dequantise, read_linear
from medrega_export.quantisation.recipe import FULL_BITS, Recipe, fitting_group

if TYPE_CHECKING:
    from torch import Tensor

    from medrega_export.checkpoint.checkpoint import Checkpoint

LayerTensors = Callable[[int], Mapping[str, npt.NDArray[Any]]]  # number of a layer -> its tensors, `layers.N..`

PACKED = 32  # a quantised layer's sides are multiples of it: words of 8 codes, and kernels that take 4 words
ROPE_TYPES = ("default", "linear", "dynamic")
FULL_ATTENTION = "full_attention"
HEAD_MULTIPLE = 16  # GroupQueryAttention's rotary embedding takes no other sizes of heads
CHUNK_SIZE = 8192  # rows of a large table that are in memory at a time
NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def shape_of(config: Any, context: int) -> decoder.DecoderShape:
    """Read the sizes from a text config; `context` is limited to the model's own."""
    rope = dict(getattr(config, "rope_parameters", None) or {})
    kind = rope.get("rope_type", "default")
    # "dynamic" does nothing up to the length that the model was made for, and `context` is cut to that.
    if kind not in ROPE_TYPES or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UsageError("export.rope_unsupported", type=str(kind), supported=ROPE_TYPES)
    is_full = all(layer == FULL_ATTENTION for layer in getattr(config, "layer_types", None) or ())
    if getattr(config, "use_sliding_window", False) or not is_full or getattr(config, "hidden_act", "silu") != "silu":
        raise UsageError("export.language_layers_unsupported")
    heads = int(config.num_attention_heads)
    head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    if head_dim % HEAD_MULTIPLE:
        raise UsageError("export.head_size_unsupported", size=head_dim, multiple=HEAD_MULTIPLE)
    return decoder.DecoderShape(
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(config.num_key_value_heads),
        head_dim=head_dim,
        hidden=int(config.hidden_size),
        vocabulary=int(config.vocab_size),
        context=min(context, int(config.max_position_embeddings)),
        epsilon=float(config.rms_norm_eps),
        theta=float(rope.get("rope_theta", 10000.0)),
        rope_factor=float(rope.get("factor", 1.0)) if kind == "linear" else 1.0,
    )


def auto_group_size(recipe: Recipe, config: Any) -> tuple[int, Message]:
    """Return the group size that fits a text config, and the reason; raises UsageError for a config not exported."""
    sizes = _sizes(config)
    weights = int(config.num_hidden_layers) * sum(out * width for out, width in sizes.values())
    return fitting_group(recipe.bits, weights, {name: width for name, (_, width) in sizes.items()})


def indivisible_layers(recipe: Recipe, config: Any) -> list[Message]:
    """Return a message for each layer that cannot have the bits of a recipe: rows have to be a whole number of groups."""
    group, problems = recipe.group_size, []
    if recipe.is_quantised:
        problems = [
            Message("export.layer_indivisible", layer=name, rows=out, width=width, group=group, bits=recipe.bits)
            for name, (out, width) in _sizes(config).items()
            if width % group or out % PACKED
        ]
    if recipe.head_bits != FULL_BITS and config.hidden_size % group:
        problems.append(Message("export.head_indivisible", width=int(config.hidden_size), group=group))
    return problems


def _sizes(config: Any) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of the linear layers of a layer."""
    shape, inner = shape_of(config, config.max_position_embeddings), int(config.intermediate_size)
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    rows = (queries, keys, keys, shape.hidden, inner, inner, shape.hidden)
    widths = (shape.hidden, shape.hidden, shape.hidden, queries, shape.hidden, shape.hidden, inner)
    return dict(zip(LINEARS, zip(rows, widths, strict=True), strict=True))


def plain_weights(weights: Mapping[str, StoredTensor], layers: int, head: tuple[int, int]) -> decoder.DecoderWeights:
    """Full precision out of a checkpoint, each layer read when it is written; the output head with its bits and group."""
    norm = np.asarray(weights["norm.weight"].read().numpy())
    return decoder.DecoderWeights(plain_layers(weights, layers), norm, _head(weights["lm_head.weight"], *head))


def plain_layers(weights: Mapping[str, StoredTensor], layers: int) -> Iterator[decoder.DecoderLayer]:
    """Yield the layers of a checkpoint in full precision, each read when it is asked for."""

    def read(name: str) -> linear_layers.Floats:
        return np.asarray(weights[name].read().numpy())

    def join(prefix: str, *names: str) -> linear_layers.PlainLinear:
        biases = [read(f"{prefix}{n}.bias") if f"{prefix}{n}.bias" in weights else None for n in names]
        return linear_layers.join_plain([read(f"{prefix}{n}.weight") for n in names], biases)

    return (_layer(f"layers.{i}.", read, join) for i in range(layers))


def quantised_weights(
    layer: LayerTensors, form: Format, weights: Mapping[str, StoredTensor], layers: int, head: tuple[int, int]
) -> decoder.DecoderWeights:
    """Quantised layers, each read when it is written, and a checkpoint's output head with its bits and group."""

    def read(i: int) -> decoder.DecoderLayer:
        tensors = layer(i)

        def join(prefix: str, *names: str) -> linear_layers.PackedLinear:
            return linear_layers.join_packed([read_linear(tensors, f"{prefix}{name}", form) for name in names])

        return _layer(f"layers.{i}.", tensors.__getitem__, join)

    norm = np.asarray(weights["norm.weight"].read().numpy())
    return decoder.DecoderWeights((read(i) for i in range(layers)), norm, _head(weights["lm_head.weight"], *head))


def _layer(prefix: str, read: Any, join: Any) -> decoder.DecoderLayer:
    return decoder.DecoderLayer(
        input_norm=read(f"{prefix}input_layernorm.weight"),
        qkv=join(f"{prefix}self_attn.", "q_proj", "k_proj", "v_proj"),
        output=join(f"{prefix}self_attn.", "o_proj"),
        post_norm=read(f"{prefix}post_attention_layernorm.weight"),
        gate_up=join(f"{prefix}mlp.", "gate_proj", "up_proj"),
        down=join(f"{prefix}mlp.", "down_proj"),
    )


def _head(weight: StoredTensor, bits: int, group: int) -> linear_layers.Linear:
    """Round an output head piece by piece: it may be the largest matrix of a model."""
    if bits == FULL_BITS:
        return linear_layers.PlainLinear(np.asarray(weight.read().numpy()))
    return linear_layers.round_head((np.asarray(rows.numpy()) for rows in row_chunks(weight)), bits, group)


def row_chunks(table: StoredTensor) -> Iterator[Tensor]:
    """Read a table some rows at a time."""
    for start in range(0, table.shape[0], CHUNK_SIZE):
        yield table.read(start, min(start + CHUNK_SIZE, table.shape[0]))


def dequantised_state(tensors: Mapping[str, npt.NDArray[Any]], prefix: str, form: Format) -> dict[str, Tensor]:
    """Return a quantised layer's parameters as the model's own class takes them."""
    import torch

    state = {name: torch.from_numpy(tensors[f"{prefix}{name}"]) for name in NORMS}
    for name in LINEARS:
        linear = read_linear(tensors, f"{prefix}{name}", form)
        state[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(dequantise(linear).T))
        if linear.bias is not None:
            state[f"{name}.bias"] = torch.from_numpy(linear.bias)
    return state


class LayerwiseModel:
    """A language model in torch with one layer in memory: transformers' class, cut down to a single layer."""

    def __init__(self, config: Any) -> None:
        """Lay the layer out without content; rotary frequencies are computed, not stored."""
        import torch
        from transformers import AutoModel

        single = type(config).from_dict(config.to_dict() | {"num_hidden_layers": 1, "layer_types": None})
        with torch.device("meta"):
            self._model: Any = AutoModel.from_config(single)
        self._model.rotary_emb = type(self._model.rotary_emb)(config=single)
        self._norm, self._model.norm = self._model.norm, torch.nn.Identity()
        self._model.embed_tokens = torch.nn.Identity()
        self.names = list(self._model.layers[0].state_dict())

    def layer(self, state: Mapping[str, Tensor]) -> Any:
        """Return a layer with these parameters, `[1, S, hidden]` -> the same, as attribute `layer` of the module."""
        module = copy.deepcopy(self._model).eval()
        module.layers[0].load_state_dict(state, assign=True)
        return module.requires_grad_(False)

    def run(self, module: Any, states: list[Tensor]) -> None:
        """Pass sequences `[S, hidden]` through a layer, in place."""
        for i, state in enumerate(states):
            states[i] = module(inputs_embeds=state[None], use_cache=False).last_hidden_state[0]

    def last(self, states: Sequence[Tensor], norm: StoredTensor, steps: int) -> Tensor:
        """Return the head's input: the last positions of sequences that have passed all layers, in one matrix."""
        import torch

        return cast("Tensor", fill_module(self._norm, {"weight": norm}, "")(torch.cat([state[-steps:] for state in states])))

    def logits(
        self, states: Sequence[Tensor], norm: StoredTensor, head: StoredTensor, steps: int
    ) -> list[linear_layers.Floats]:
        """Return logits `[steps, vocabulary]` of the last positions of sequences that have passed all layers."""
        import torch

        last = self.last(states, norm, steps)
        scores = torch.cat([last @ rows.T for rows in row_chunks(head)], dim=1)
        return [np.asarray(part.numpy()) for part in scores.split(steps)]


def layer_state(weights: Mapping[str, StoredTensor], body: LayerwiseModel, i: int) -> dict[str, Tensor]:
    """Read a layer's parameters in full precision."""
    return {name: weights[f"layers.{i}.{name}"].read() for name in body.names}


def logits(
    checkpoint: Checkpoint,
    samples: Sequence[Tensor],
    steps: int,
    state: Callable[[LayerwiseModel, int], Mapping[str, Tensor]],
) -> list[linear_layers.Floats]:
    """Return logits `[steps, vocabulary]` of the last positions; `state` gives the parameters of each layer in turn."""
    config = checkpoint.config.text_config
    body, states = LayerwiseModel(config), list(samples)
    for i in range(config.num_hidden_layers):
        body.run(body.layer(state(body, i)), states)
    return body.logits(states, checkpoint.weights["norm.weight"], checkpoint.weights["lm_head.weight"], steps)


def last_values(checkpoint: Checkpoint, samples: Sequence[Tensor]) -> list[linear_layers.Floats]:
    """Return the attention values `[S, kv_heads * head_dim]` of the last layer, in full precision."""
    config = checkpoint.config.text_config
    body, states = LayerwiseModel(config), list(samples)
    last = config.num_hidden_layers - 1
    for i in range(last):
        body.run(body.layer(layer_state(checkpoint.weights, body, i)), states)
    layer = body.layer(layer_state(checkpoint.weights, body, last)).layers[0]
    return [np.asarray(layer.self_attn.v_proj(layer.input_layernorm(state)).numpy()) for state in states]
