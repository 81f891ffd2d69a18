"""Export random checkpoints of random configurations, and hold each against transformers.

    python -m tools.random_checkpoints 500                # numbers 0 to 499
    python -m tools.random_checkpoints 1 --first 37       # one of them again

Every checkpoint has the smallest sizes, in transformers' own layout or the original one, in one file or several, in one of
three kinds of numbers. Its features of an image and its logits are those of transformers' InternVL, or it is refused: only
for a value that was drawn from the list of those that are not exported, and with a code.
"""

# ruff: noqa: T201 - a tool prints
from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medrega_edge.errors import UsageError
from medrega_edge.package.package import Package
from medrega_edge.prompts.templates import DEFAULT_PROMPTS
from tests.export.conftest import write_tokenizer

CLOSE = 2e-4  # of the largest value
UNSUPPORTED = 0.03  # chance of each value that is not exported, so that about a third of the checkpoints has one
TRAINING = {
    "name": "random",
    "version": "0",
    "source": "random weights",
    "tasks": ["detect"],
    "languages": ["en"],
    "modalities": ["ct"],
}


@dataclass
class Drawn:
    """A configuration, and which of its values are not exported."""

    vision: dict[str, Any]
    text: dict[str, Any]
    top: dict[str, Any]
    is_chat: bool
    shuffle: str  # "v1" or "v2"
    dtype: str
    files: int
    unsupported: list[str] = field(default_factory=list)


def draw(number: int) -> Drawn:
    """Draw a configuration; the same number gives the same one."""
    dice = random.Random(number)
    unsupported: list[str] = []

    def pick(name: str, supported: list[Any], others: tuple[Any, ...] = ()) -> Any:
        if others and dice.random() < UNSUPPORTED:
            unsupported.append(name)
            return dice.choice(others)
        return dice.choice(supported)

    is_chat = dice.random() < 0.4
    patch = dice.choice([4, 7, 8])
    ratio = pick("downsample_ratio", [0.5, 0.5, 0.25, 1.0])
    grid = dice.choice([1, 2]) * round(1 / ratio) * dice.choice([1, 2])
    qk_norm = dice.random() < 0.4
    vision = {
        "hidden_size": dice.choice([32, 48]),
        "num_attention_heads": dice.choice([1, 2, 4]),
        "num_hidden_layers": dice.choice([1, 2, 3]),
        "intermediate_size": dice.choice([24, 64]),
        "image_size": [grid * patch] * 2,
        "patch_size": [patch] * 2,
        "use_qk_norm": qk_norm,
        "norm_type": dice.choice(["layer_norm", "rms_norm"]),
        "attention_bias": dice.random() < 0.5,
        "layer_norm_eps": 1e-6 if is_chat and qk_norm else dice.choice([1e-6, 1e-5, 1e-2]),
        "hidden_act": pick("tower activation", ["gelu", "gelu_new", "gelu_pytorch_tanh"], ("relu", "silu", "quick_gelu")),
        "use_mean_pooling": is_chat or dice.random() < 0.5,
        "use_absolute_position_embeddings": True if is_chat else pick("positions", [True], (False,)),
        "num_channels": 3 if is_chat else pick("channels", [3], (1, 4)),
        "layer_scale_init_value": dice.choice([0.1, 1.0]),
        "hidden_dropout_prob": dice.choice([0.0, 0.3]),
        "attention_dropout": dice.choice([0.0, 0.3]),
        "projection_dropout": dice.choice([0.0, 0.3]),
    }
    kind = dice.choice(["qwen2", "llama"])
    heads = dice.choice([2, 4])
    head_dim = pick("head size", [16, 32], (8, 24))
    standard = {"rope_type": "default"}
    rope = pick(
        "rope",
        [
            standard,
            standard,
            {"rope_type": "linear", "factor": 2.5},
            {"rope_type": "dynamic", "factor": 2.0},
            {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 8},
        ],
        (
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
    )
    text = {
        "model_type": kind,
        "vocab_size": 512,
        "hidden_size": heads * head_dim if kind == "qwen2" and dice.random() < 0.5 else dice.choice([32, 64]),
        "intermediate_size": dice.choice([32, 96]),
        "num_hidden_layers": dice.choice([1, 2, 3]),
        "num_attention_heads": heads,
        "num_key_value_heads": dice.choice([1, 2, heads]),
        "head_dim": head_dim,
        "hidden_act": pick("language activation", ["silu"], ("gelu", "relu")),
        "rms_norm_eps": dice.choice([1e-6, 1e-5, 1e-3]),
        "rope_parameters": {"rope_theta": dice.choice([1e4, 1e6, 5e6]), **rope},
        "max_position_embeddings": dice.choice([64, 512]),
        "attention_dropout": dice.choice([0.0, 0.3]),
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if kind == "llama":
        text |= {"attention_bias": dice.random() < 0.4, "mlp_bias": dice.random() < 0.4}
    elif (dice.random() < UNSUPPORTED) and not unsupported:
        unsupported.append("sliding window")
        text |= {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    layers = vision["num_hidden_layers"]
    layer = -1 if is_chat else dice.choice([-1, -1, layers, *range(-layers, 0)])
    top = {
        "downsample_ratio": ratio,
        "projector_hidden_act": "gelu" if is_chat else pick("projector activation", ["gelu"], ("relu", "silu")),
        "vision_feature_layer": layer,
        "vision_feature_select_strategy": "default" if is_chat else pick("class token", ["default"], ("full",)),
        "tie_word_embeddings": dice.random() < 0.4,
        "image_seq_length": 1,  # a note for processors
    }
    shuffle = dice.choice(["v1", "v2"])
    dtype = dice.choice(["float32", "bfloat16", "float16"])
    return Drawn(vision, text, top, is_chat, shuffle, dtype, dice.choice([1, 1, 2, 3]), unsupported)


def write(drawn: Drawn, folder: Path, seed: int) -> Any:
    """Write the checkpoint; returns transformers' model of it, its numbers rounded as they are stored."""
    import torch
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    folder.mkdir()
    tokens = write_tokenizer(folder / "tokenizer.json")
    config = {"vision_config": drawn.vision, "text_config": drawn.text, **drawn.top}
    config["image_token_id"] = tokens.token_to_id("<IMG_CONTEXT>")
    torch.manual_seed(seed)
    model: Any = InternVLForConditionalGeneration(InternVLConfig(**config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # norms, biases and scales of layers, away from 1 and 0
                parameter += 0.1 * torch.randn(parameter.shape)
            else:
                parameter.copy_(
                    torch.randn(parameter.shape) * (0.6 if "embed" in name else 1.5 / parameter.shape[-1] ** 0.5)
                )
            parameter.copy_(parameter.to(getattr(torch, drawn.dtype)).float())
    (folder / "prompts.json").write_text(DEFAULT_PROMPTS.to_json(), encoding="utf-8")
    (folder / "training.json").write_text(json.dumps(TRAINING), encoding="utf-8")
    if drawn.is_chat:
        _write_chat(drawn, model, folder, random.Random(-seed))
        return model
    stored: Any = InternVLForConditionalGeneration(model.config)
    stored.load_state_dict(model.state_dict())
    stored.to(getattr(torch, drawn.dtype)).save_pretrained(folder, max_shard_size=_share(model, drawn))
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(saved | {"ps_version": drawn.shuffle}), encoding="utf-8")
    return model


def _share(model: Any, drawn: Drawn) -> int:
    """Bytes of a file, so that there are about as many as were drawn."""
    size = {"float32": 4}.get(drawn.dtype, 2)
    return sum(parameter.numel() for parameter in model.parameters()) * size // drawn.files + 1000


TO_CHAT = (
    ("model.vision_tower.embeddings.cls_token", "vision_model.embeddings.class_embedding"),
    ("model.vision_tower.embeddings.position_embeddings", "vision_model.embeddings.position_embedding"),
    ("model.vision_tower.embeddings.patch_embeddings.projection", "vision_model.embeddings.patch_embedding"),
    ("model.vision_tower.encoder.layer.", "vision_model.encoder.layers."),
    (".attention.projection_layer.", ".attn.proj."),
    (".attention.q_norm.", ".attn.q_norm."),
    (".attention.k_norm.", ".attn.k_norm."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".lambda_", ".ls"),
    ("model.multi_modal_projector.layer_norm.", "mlp1.0."),
    ("model.multi_modal_projector.linear_1.", "mlp1.1."),
    ("model.multi_modal_projector.linear_2.", "mlp1.3."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)


def _write_chat(drawn: Drawn, model: Any, folder: Path, dice: random.Random) -> None:
    """Write the model in the original layout: other names, one matrix for q, k and v, and one tower layer too many.

    The rotary embedding is spelled as one of three generations of transformers spell it.
    """
    import torch
    from safetensors.torch import save_file

    state: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        if drawn.top["tie_word_embeddings"] and name == "lm_head.weight":
            continue
        if ".vision_tower." in name and ".attention.q_proj." in name:
            value = torch.cat([model.state_dict()[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            name = name.replace(".attention.q_proj.", ".attn.qkv.")
        elif ".vision_tower." in name and (".k_proj." in name or ".v_proj." in name):
            continue
        for native, original in TO_CHAT:
            name = name.replace(native, original) if native in name else name
        state[name] = value.to(getattr(torch, drawn.dtype)).contiguous().clone()
    depth = drawn.vision["num_hidden_layers"]
    for name in [name for name in state if f"encoder.layers.{depth - 1}." in name]:
        state[name.replace(f"layers.{depth - 1}.", f"layers.{depth}.")] = torch.full_like(state[name], 9.0)
    names = sorted(state)
    files = {f"model-{i:05}.safetensors": names[i :: drawn.files] for i in range(drawn.files)}
    if drawn.files == 1:
        files = {"model.safetensors": names}
    for file, some in files.items():
        save_file({name: state[name] for name in some}, folder / file, metadata={"format": "pt"})
    if drawn.files > 1:
        index = {"metadata": {}, "weight_map": {name: file for file, some in files.items() for name in some}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    text = {key: value for key, value in drawn.text.items() if key not in ("model_type", "rope_parameters")}
    rope = dict(drawn.text["rope_parameters"])
    text |= {"architectures": [{"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}[drawn.text["model_type"]]]}
    text |= {"tie_word_embeddings": drawn.top["tie_word_embeddings"]}
    spelling = dice.choice(["type", "rope_type", "rope_parameters"])
    if spelling == "rope_parameters":
        text["rope_parameters"] = rope
    else:
        text["rope_theta"] = rope.pop("rope_theta")
        rope[spelling] = rope.pop("rope_type")
        text["rope_scaling"] = None if rope[spelling] == "default" else rope
    vision = {key: drawn.vision[key] for key in ("hidden_size", "num_attention_heads", "intermediate_size", "norm_type")}
    vision |= {"num_hidden_layers": depth + 1, "layer_norm_eps": drawn.vision["layer_norm_eps"]}
    vision |= {"image_size": drawn.vision["image_size"][0], "patch_size": drawn.vision["patch_size"][0]}
    vision |= {"qkv_bias": drawn.vision["attention_bias"]}
    if not drawn.vision["use_qk_norm"] or dice.random() < 0.5:  # on where nothing is said
        vision["qk_normalization"] = drawn.vision["use_qk_norm"]
    vision |= {"hidden_act": drawn.vision["hidden_act"]}
    config = {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        "downsample_ratio": drawn.top["downsample_ratio"],
        "force_image_size": vision["image_size"],
        "ps_version": drawn.shuffle,
        "select_layer": -2,
        "template": "Hermes-2",
        "vision_config": vision,
        "llm_config": text,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def compare(drawn: Drawn, model: Any, package: Package, seed: int) -> list[str]:
    """Return what differs between a package and transformers' model."""
    import torch

    from medrega_export.graphs.reference_decoder import DecoderRun, session

    generator = np.random.default_rng(seed)
    side = drawn.vision["image_size"][0]
    pixels = generator.standard_normal((1, 3, side, side)).astype(np.float32)
    slot = package.manifest.tokens.image
    with torch.no_grad():
        image = model.model.get_image_features(torch.from_numpy(pixels), return_dict=True).pooler_output[0]
        if drawn.shuffle == "v1":  # the grid of tokens transposed
            few = round(image.shape[0] ** 0.5)
            image = image.reshape(few, few, -1).transpose(0, 1).reshape(few * few, -1)
        ids = np.array([1, 3, *[slot] * len(image), 4, *generator.integers(10, 300, 9)])
        rows = model.get_input_embeddings()(torch.from_numpy(ids))
        rows[torch.from_numpy(ids == slot)] = image
        expected = model.lm_head(model.model.language_model(inputs_embeds=rows[None]).last_hidden_state)[0].numpy()
    (seen,) = session(package.path("vision")).run(["image_embeds"], {"pixel_values": pixels})
    table = np.load(package.path("embeddings"))[ids]
    table[ids == slot] = seen[0]
    run = DecoderRun(package.path("decoder"), package.manifest.decoder)
    given = np.stack([run.feed(table[i : i + 1]) for i in range(len(table))])
    found = []
    for name, one, other in (("image features", seen[0], image.numpy()), ("logits", given, expected)):
        error = np.abs(one - other).max() / np.abs(other).max() if one.shape == other.shape else np.inf
        if not error < CLOSE:
            found.append(f"{name} {error:.2g}")
    return found


def check(number: int, folder: Path) -> str:
    """Export one checkpoint; returns "equal" or the code of its refusal, raises AssertionError that says what is wrong."""
    from medrega_export import ExportOptions, export
    from medrega_export.quantisation.recipe import FULL

    drawn = draw(number)
    model = write(drawn, folder / "checkpoint", number)
    try:
        export(ExportOptions(folder / "checkpoint", folder / "package", recipe=FULL))
    except UsageError as refused:
        assert drawn.unsupported, f"{number}: refused with {refused.code}, and everything in it is exported: {drawn}"
        return refused.code
    differing = compare(drawn, model, Package.open(folder / "package"), number)
    assert not differing, f"{number}: {differing}: {drawn}"
    return "equal"


def main() -> None:
    """Check a range of numbers, and count."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    outcomes: Counter[str] = Counter()
    for number in range(given.first, given.first + given.count):
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes[check(number, Path(folder))] += 1
            except Exception as error:
                outcomes["WRONG"] += 1
                print(f"{number}: {type(error).__name__}: {error}", flush=True)
    print(json.dumps(dict(outcomes.most_common())))
    sys.exit(outcomes["WRONG"] > 0)


if __name__ == "__main__":
    main()
