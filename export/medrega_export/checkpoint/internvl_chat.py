"""The original `internvl_chat` layout (InternVL-Chat-V1-2, and so MedRegA) -> that of transformers' own InternVL class.

Configs and names of weights are translated. What the native class cannot express is refused, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from medrega_edge.errors import UsageError

MODEL_TYPE = "internvl_chat"
TEXT_CLASSES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}
# Of a text config, what says how to compute. The rest of such a file is notes of an old library.
TEXT_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",  # what transformers 5 writes for the two
    "max_position_embeddings",
    "attention_bias",
    "mlp_bias",
    "use_sliding_window",
    "layer_types",
    "tie_word_embeddings",
)
QK_NORM_EPSILON = 1e-6  # the native class has it built in
RENAMED = (
    (r"^vision_model\.embeddings\.class_embedding$", "model.vision_tower.embeddings.cls_token"),
    (r"^vision_model\.embeddings\.position_embedding$", "model.vision_tower.embeddings.position_embeddings"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "model.vision_tower.embeddings.patch_embeddings.projection."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.", r"model.vision_tower.encoder.layer.\1."),
    (r"\.attn\.proj\.", ".attention.projection_layer."),
    (r"\.attn\.([qk])_norm\.", r".attention.\1_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.ls([12])$", r".lambda_\1"),
    (r"^mlp1\.0\.", "model.multi_modal_projector.layer_norm."),
    (r"^mlp1\.1\.", "model.multi_modal_projector.linear_1."),
    (r"^mlp1\.3\.", "model.multi_modal_projector.linear_2."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head\.", "lm_head."),
)
_LAYER = re.compile(r"^vision_model\.encoder\.layers\.(\d+)\.")


def pixel_shuffle(config: dict[str, Any]) -> str:
    """The pixel shuffle that the weights were trained with; the layout's default is "v1"."""
    return str(config.get("ps_version", "v1"))


def tower_depth(config: dict[str, Any]) -> int:
    """The number of tower layers in use: `select_layer` counts states from the end, and -1 is that of the last layer."""
    layers, selected = int(config["vision_config"]["num_hidden_layers"]), int(config.get("select_layer", -1))
    depth = layers + selected + 1 if selected < 0 else selected
    if not 0 < depth <= layers:
        raise UsageError("export.select_layer", selected=selected, layers=layers)
    return depth


def native_config(config: dict[str, Any], image_token: int) -> dict[str, Any]:
    """Translate a config; raises UsageError for what is not exported."""
    try:
        vision, text = config["vision_config"], config["llm_config"]
        return {
            "model_type": "internvl",
            "vision_config": _vision(config, vision),
            "text_config": _text(text),
            "image_token_id": image_token,
            "image_seq_length": _tokens(config, vision),
            "downsample_ratio": config["downsample_ratio"],
            "vision_feature_layer": -1,  # layers past the selected one are left out
            "vision_feature_select_strategy": "default",
            "projector_hidden_act": "gelu",
            "tie_word_embeddings": bool(text.get("tie_word_embeddings", False)),
            "ps_version": pixel_shuffle(config),
        }
    except KeyError as error:
        raise UsageError("export.config_key_missing", key=str(error.args[0])) from None


def _vision(config: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    size = config.get("force_image_size") or vision["image_size"]
    if size != vision["image_size"]:
        raise UsageError("export.tower_resized", size=vision["image_size"], used=size)
    if config.get("pad2square"):
        raise UsageError("export.padded_images")
    has_qk_norm = bool(vision.get("qk_normalization", True))  # as in the original's own class
    if has_qk_norm and vision["layer_norm_eps"] != QK_NORM_EPSILON:
        raise UsageError("export.qk_norm_epsilon", value=vision["layer_norm_eps"])
    return {
        "hidden_size": vision["hidden_size"],
        "num_hidden_layers": tower_depth(config),
        "num_attention_heads": vision["num_attention_heads"],
        "intermediate_size": vision["intermediate_size"],
        "image_size": size,
        "patch_size": vision["patch_size"],
        "num_channels": vision.get("num_channels", 3),
        "hidden_act": vision.get("hidden_act", "gelu"),
        "layer_norm_eps": vision["layer_norm_eps"],
        "norm_type": vision.get("norm_type", "rms_norm"),
        "use_qk_norm": has_qk_norm,
        "attention_bias": bool(vision.get("qkv_bias")),
        "use_mean_pooling": True,  # or a norm would follow the last layer
    }


def _text(text: dict[str, Any]) -> dict[str, Any]:
    name = (text.get("architectures") or [""])[0]
    if name not in TEXT_CLASSES:
        raise UsageError("export.language_model_unsupported", type=name, supported=list(TEXT_CLASSES))
    return {"model_type": TEXT_CLASSES[name], **{key: text[key] for key in TEXT_KEYS if text.get(key) is not None}}


def _tokens(config: dict[str, Any], vision: dict[str, Any]) -> int:
    return int(vision["image_size"] // vision["patch_size"] * config["downsample_ratio"]) ** 2


def native_weights(weights: Iterable[tuple[str, Any]], depth: int) -> Iterator[tuple[str, Any]]:
    """Rename weights one by one; a tower's `qkv` becomes three, and layers past `depth` are left out."""
    for name, value in weights:
        layer = _LAYER.match(name)
        if (layer and int(layer[1]) >= depth) or name.endswith("rotary_emb.inv_freq"):  # the latter is computed anew
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".attn.qkv." in name:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                yield name.replace(".attn.qkv.", f".attention.{part}_proj."), piece
        else:
            yield name, value
