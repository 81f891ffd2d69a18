"""Weights of a language model on their way into a graph: from a torch model in full precision, or from GPTQ on disk.

Knows the parameter names of Qwen2 and Llama. Knows nothing of calibration or of how a graph is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medrega_edge.errors import UsageError
from medrega_export import decoder
from medrega_export.gptq_format import GptqCheckpoint, QuantisedLinear, dequantise

LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def shape_of(config: Any, context: int) -> decoder.Shape:
    """Read the sizes out of a text config; `context` is cut to what the model was made for."""
    rope = dict(getattr(config, "rope_parameters", None) or {})
    kind = rope.get("rope_type", "default")
    # "dynamic" does nothing up to the length that the model was made for, and `context` is cut to that.
    if kind not in ("default", "linear", "dynamic"):
        raise UsageError(
            f"The language model's rotary embedding is scaled by '{kind}'; default, linear, dynamic are exported."
        )
    if getattr(config, "use_sliding_window", False) or getattr(config, "hidden_act", "silu") != "silu":
        raise UsageError("The language model uses sliding windows or another activation than SiLU; neither is exported.")
    heads = int(config.num_attention_heads)
    return decoder.Shape(
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(config.num_key_value_heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        hidden=int(config.hidden_size),
        vocabulary=int(config.vocab_size),
        context=min(context, int(config.max_position_embeddings)),
        epsilon=float(config.rms_norm_eps),
        theta=float(rope.get("rope_theta", 10000.0)),
        rope_factor=float(rope.get("factor", 1.0)) if kind == "linear" else 1.0,
    )


def plain_weights(state: dict[str, Any], layers: int, head_bits: int) -> decoder.Weights:
    """Full precision out of a state dict with names `layers.N..`, `norm.weight`, `lm_head.weight`."""

    def read(name: str) -> decoder.Floats:
        return np.asarray(state[name].detach().float().numpy())

    def join(prefix: str, *names: str) -> decoder.PlainLinear:
        biases = [read(f"{prefix}{n}.bias") if f"{prefix}{n}.bias" in state else None for n in names]
        return decoder.plain([read(f"{prefix}{n}.weight") for n in names], biases)

    return decoder.Weights(
        tuple(_layer(f"layers.{i}.", read, join) for i in range(layers)),
        read("norm.weight"),
        decoder.head(read("lm_head.weight"), head_bits),
    )


def quantised_weights(checkpoint: GptqCheckpoint, layers: int, tied: bool, head_bits: int) -> decoder.Weights:
    """Layers out of a GPTQ checkpoint, the output head rounded to `head_bits`."""

    def join(prefix: str, *names: str) -> decoder.PackedLinear:
        return decoder.packed([checkpoint.linear(f"{prefix}{name}") for name in names])

    head = checkpoint.plain("model.embed_tokens.weight" if tied else "lm_head.weight")
    return decoder.Weights(
        tuple(_layer(f"model.layers.{i}.", checkpoint.plain, join) for i in range(layers)),
        checkpoint.plain("model.norm.weight"),
        decoder.head(head, head_bits),
    )


def _layer(prefix: str, read: Any, join: Any) -> decoder.Layer:
    return decoder.Layer(
        input_norm=read(f"{prefix}input_layernorm.weight"),
        qkv=join(f"{prefix}self_attn.", "q_proj", "k_proj", "v_proj"),
        output=join(f"{prefix}self_attn.", "o_proj"),
        post_norm=read(f"{prefix}post_attention_layernorm.weight"),
        gate_up=join(f"{prefix}mlp.", "gate_proj", "up_proj"),
        down=join(f"{prefix}mlp.", "down_proj"),
    )


def put_dequantised(model: Any, checkpoint: GptqCheckpoint) -> None:
    """Replace the linear weights of a torch language model by the quantised ones, for a reference in full precision."""
    import torch

    with torch.no_grad():
        for i, layer in enumerate(model.layers):
            for name in LINEARS:
                linear: QuantisedLinear = checkpoint.linear(f"model.layers.{i}.{name}")
                target = layer.get_submodule(name)
                target.weight.copy_(torch.from_numpy(dequantise(linear).T.copy()))
                if linear.bias is not None:
                    target.bias.copy_(torch.from_numpy(linear.bias))
