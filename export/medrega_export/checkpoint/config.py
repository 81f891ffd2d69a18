"""A checkpoint's config.json, of either layout: read it, refuse an architecture that cannot be exported, convert it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.prompts.templates import IMAGE_TOKEN
from medrega_export.checkpoint import efficientnet_lite, internvl_chat, lora

PIXEL_SHUFFLES = ("v1", "v2")
LANGUAGE_MODELS = ("qwen2", "llama")
NATIVE = "internvl"  # the type of transformers' own class
QUANTISED = ("quantization_config", "compression_config")
PARTS = {NATIVE: ("vision_config", "text_config"), internvl_chat.MODEL_TYPE: ("vision_config", "llm_config")}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint, empty where there is no such file; raises UsageError."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise UsageError("export.file_not_json", file=path.name, problem=str(error)) from None


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`; raises UsageError."""
    if not (folder / "config.json").is_file():
        if (folder / lora.CONFIG).is_file():
            raise UsageError("export.adapter_without_base", folder=folder.name)
        raise UsageError("export.no_config", checkpoint=folder.name)
    config = read_json(folder / "config.json")
    for key in PARTS.get(str(config.get("model_type")), ()):
        if not isinstance(config.get(key), dict):
            raise UsageError("export.config_key_missing", key=key)
    return config


def is_chat(config: dict[str, Any]) -> bool:
    """Whether a config is of the original layout and not of transformers' own."""
    return config.get("model_type") == internvl_chat.MODEL_TYPE


def pixel_shuffle(config: dict[str, Any]) -> str:
    """The pixel shuffle that the weights were trained with; transformers' own class has only "v2".

    A native checkpoint that was trained with "v1" says so, and is served by transposing the grid.
    """
    return internvl_chat.pixel_shuffle(config) if is_chat(config) else str(config.get("ps_version", "v2"))


def check_config(config: dict[str, Any]) -> None:
    """Raise UsageError for an architecture that is not exported."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    if any(part.get(key) for part in parts for key in QUANTISED):
        raise UsageError("export.already_quantised")
    if is_chat(config):
        internvl_chat.native_config(config, 0)
    elif config.get("model_type") == NATIVE:
        text = config["text_config"].get("model_type")
        if text not in LANGUAGE_MODELS:
            raise UsageError("export.language_model_unsupported", type=str(text), supported=LANGUAGE_MODELS)
        if efficientnet_lite.is_kind(config["vision_config"]):
            efficientnet_lite.check_config(config)
    else:
        raise UsageError("export.type_unsupported", type=str(config.get("model_type")), supported=list(PARTS))
    if pixel_shuffle(config) not in PIXEL_SHUFFLES:
        raise UsageError("export.pixel_shuffle_unknown", version=pixel_shuffle(config), known=PIXEL_SHUFFLES)


def native_config(config: dict[str, Any], tokenizer: Tokenizer | None) -> Any:
    """Return a config as transformers' InternVL class takes it; raises UsageError.

    Without a tokenizer to ask, the image token is what the config says.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import InternVLConfig

    image = config.get("image_token_id", 0)
    with contextlib.suppress(PackageError):  # a missing token has an error of its own
        image = tokenizer.id_of(IMAGE_TOKEN) if tokenizer else image
    if not is_chat(config) and config.get("image_token_id", image) != image:
        raise UsageError("export.image_token_differs", token=IMAGE_TOKEN)
    try:
        return InternVLConfig.from_dict(_native(config, image))
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise UsageError("export.config_unusable", problem=str(error).splitlines()[0]) from None


def _native(config: dict[str, Any], image_token: int) -> dict[str, Any]:
    if is_chat(config):
        return internvl_chat.native_config(config, image_token)
    vision = config["vision_config"]
    if efficientnet_lite.is_kind(vision):
        return config | {"vision_config": efficientnet_lite.vision_config(vision)}
    return config


def square_side(size: Any) -> int:
    """Return the side of a square given as `n` or `[n, n]`."""
    if isinstance(size, (list, tuple)):
        if len(set(size)) != 1:
            raise UsageError("export.not_square", size=list(size))
        return int(size[0])
    return int(size)
