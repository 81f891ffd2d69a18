"""A checkpoint in the original `internvl_chat` layout, random and tiny, and what it computes, in numpy.

Written from the layout's definition, over neither transformers nor the exporter, so that both can be held against it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

Array = np.ndarray
ADDED = [
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
]
TEXT = ["Where is the liver? It is here.", "What does this image show?", "[[112, 240, 377, 648]]", "a 0 1 2 3 4 5 6 7 8 9"]
TEXT += ["肝脏在哪里？", "右肺有病灶吗？请用词或短语回答问题。", "assistant user system"]
SIZES = {"side": 4, "patch": 14, "width": 64, "heads": 4, "depth": 3, "inner": 96, "hidden": 64, "layers": 2}


def write_tokenizer(folder: Path, rule: str = "identity", legacy: bool = True, begin: bool = True, **options: bool) -> int:
    """A SentencePiece model and added tokens; returns the number of ids."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name=rule,
        minloglevel=2,
        **{"remove_extra_whitespaces": rule != "identity"} | options,
    )
    (folder / "tokenizer.vocab").unlink()
    ids = {token: 420 + i for i, token in enumerate(ADDED)}
    (folder / "added_tokens.json").write_text(json.dumps(ids), encoding="utf-8")
    config = {"legacy": legacy, "add_bos_token": begin, "bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return 420 + len(ADDED)


def write_checkpoint(folder: Path, text: str = "LlamaForCausalLM", **changes: object) -> dict[str, Array]:
    """Write the folder; `changes` go into the config, those named `vision_..` or `llm_..` into that of a part."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    rows = write_tokenizer(folder) + 5  # rows to spare, as real checkpoints have
    s = SIZES
    vision = {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "hidden_size": s["width"],
        "num_attention_heads": s["heads"],
        "num_hidden_layers": s["depth"],
        "intermediate_size": s["inner"],
        "image_size": s["side"] * s["patch"],
        "patch_size": s["patch"],
        "qk_normalization": True,
        "qkv_bias": False,
        "norm_type": "rms_norm",
        "layer_norm_eps": 1e-6,
    }
    vision |= {k.removeprefix("vision_"): v for k, v in changes.items() if k.startswith("vision_")}
    config = {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "force_image_size": vision["image_size"],
        "ps_version": "v1",
        "select_layer": -1,
        "template": "Hermes-2",
        "vision_config": vision,
        "llm_config": {
            "architectures": [text],
            "vocab_size": rows,
            "hidden_size": s["hidden"],
            "intermediate_size": 2 * s["hidden"],
            "num_hidden_layers": s["layers"],
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_theta": 5e6,
            "rms_norm_eps": 1e-5,
            "max_position_embeddings": 512,
            "torch_dtype": "bfloat16",
            "pruned_heads": {},
        },
    }
    config["llm_config"] |= {k.removeprefix("llm_"): v for k, v in changes.items() if k.startswith("llm_")}
    config |= {k: v for k, v in changes.items() if not k.startswith(("vision_", "llm_"))}
    weights = random_weights(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return weights


def random_weights(config: dict) -> dict[str, Array]:
    """Weights by their original names; norms and scales away from 1 and 0, where an error would not show."""
    generator = np.random.default_rng(7)
    v, t = config["vision_config"], config["llm_config"]
    shapes: dict[str, tuple[int, ...]] = {}

    def affine(name: str, *shape: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    wide, places = v["hidden_size"], (v["image_size"] // v["patch_size"]) ** 2
    centred = v["norm_type"] == "layer_norm"
    shapes["vision_model.embeddings.class_embedding"] = (1, 1, wide)
    shapes["vision_model.embeddings.position_embedding"] = (1, places + 1, wide)
    shapes["vision_model.embeddings.patch_embedding.weight"] = (wide, 3, v["patch_size"], v["patch_size"])
    shapes["vision_model.embeddings.patch_embedding.bias"] = (wide,)
    for i in range(v["num_hidden_layers"]):
        name = f"vision_model.encoder.layers.{i}"
        affine(f"{name}.attn.qkv", 3 * wide, wide, bias=v["qkv_bias"])
        affine(f"{name}.attn.proj", wide, wide, bias=True)
        affine(f"{name}.mlp.fc1", v["intermediate_size"], wide, bias=True)
        affine(f"{name}.mlp.fc2", wide, v["intermediate_size"], bias=True)
        for part in ("norm1", "norm2"):
            affine(f"{name}.{part}", wide, bias=centred)
        if v["qk_normalization"]:
            affine(f"{name}.attn.q_norm", wide, bias=False)
            affine(f"{name}.attn.k_norm", wide, bias=False)
        shapes[f"{name}.ls1"] = shapes[f"{name}.ls2"] = (wide,)
    hidden, groups = t["hidden_size"], t["num_key_value_heads"]
    dim = hidden // t["num_attention_heads"]
    affine("mlp1.0", 4 * wide, bias=True)
    affine("mlp1.1", hidden, 4 * wide, bias=True)
    affine("mlp1.3", hidden, hidden, bias=True)
    biased = t["architectures"] == ["Qwen2ForCausalLM"]
    for i in range(t["num_hidden_layers"]):
        name = f"language_model.model.layers.{i}"
        affine(f"{name}.self_attn.q_proj", hidden, hidden, bias=biased)
        affine(f"{name}.self_attn.k_proj", groups * dim, hidden, bias=biased)
        affine(f"{name}.self_attn.v_proj", groups * dim, hidden, bias=biased)
        affine(f"{name}.self_attn.o_proj", hidden, hidden, bias=False)
        affine(f"{name}.mlp.gate_proj", t["intermediate_size"], hidden, bias=False)
        affine(f"{name}.mlp.up_proj", t["intermediate_size"], hidden, bias=False)
        affine(f"{name}.mlp.down_proj", hidden, t["intermediate_size"], bias=False)
        affine(f"{name}.input_layernorm", hidden, bias=False)
        affine(f"{name}.post_attention_layernorm", hidden, bias=False)
    affine("language_model.model.norm", hidden, bias=False)
    shapes["language_model.model.embed_tokens.weight"] = shapes["language_model.lm_head.weight"] = (t["vocab_size"], hidden)
    return {
        name: ((1.0 if len(shape) == 1 and not name.endswith("bias") else 0.0) + 0.2 * generator.standard_normal(shape))
        .astype(np.float32)
        for name, shape in shapes.items()
    }  # fmt: skip


class Reference:
    """The original model: `features(pixels)` [B, tokens, hidden], `logits(embeddings)` [S, vocabulary]."""

    def __init__(self, folder: Path, weights: dict[str, Array]) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.w = {name: value.astype(np.float64) for name, value in weights.items()}

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0.0)

    def _rms(self, name: str, x: Array, epsilon: float) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * self.w[f"{name}.weight"]

    def _layer_norm(self, name: str, x: Array, epsilon: float) -> Array:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def features(self, pixels: Array) -> Array:
        return np.stack([self._image(image.astype(np.float64)) for image in pixels])

    def _image(self, image: Array) -> Array:
        v = self.config["vision_config"]
        patch, wide, heads = v["patch_size"], v["hidden_size"], v["num_attention_heads"]
        side = v["image_size"] // patch
        eps = v["layer_norm_eps"]
        norm = self._layer_norm if v["norm_type"] == "layer_norm" else self._rms
        kernel = self.w["vision_model.embeddings.patch_embedding.weight"].reshape(wide, -1)
        patches = image.reshape(3, side, patch, side, patch).transpose(1, 3, 0, 2, 4).reshape(side * side, -1)
        x = patches @ kernel.T + self.w["vision_model.embeddings.patch_embedding.bias"]
        x = np.concatenate([self.w["vision_model.embeddings.class_embedding"][0], x])
        states = [x + self.w["vision_model.embeddings.position_embedding"][0]]
        for i in range(v["num_hidden_layers"]):
            name, x = f"vision_model.encoder.layers.{i}", states[-1]
            q, k, value = np.split(self._linear(f"{name}.attn.qkv", norm(f"{name}.norm1", x, eps)), 3, axis=-1)
            if v["qk_normalization"]:
                q, k = self._rms(f"{name}.attn.q_norm", q, eps), self._rms(f"{name}.attn.k_norm", k, eps)
            mixed = attend(*(split(part, heads) for part in (q, k, value)), causal=False)
            x = x + self._linear(f"{name}.attn.proj", mixed) * self.w[f"{name}.ls1"]
            inner = gelu(self._linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", x, eps)))
            states.append(x + self._linear(f"{name}.mlp.fc2", inner) * self.w[f"{name}.ls2"])
        grid = states[self.config["select_layer"]][1:].reshape(side, side, wide)
        # Squares of 2 x 2 patches become tokens. The first version took them column by column and never turned back.
        few = side // 2
        grid = grid.reshape(few, 2, few, 2, wide).transpose(0, 2, 1, 3, 4).reshape(few, few, 4 * wide)
        if self.config["ps_version"] == "v1":
            grid = grid.transpose(1, 0, 2)
        x = self._layer_norm("mlp1.0", grid.reshape(few * few, -1), 1e-5)
        return self._linear("mlp1.3", gelu(self._linear("mlp1.1", x)))

    def embed(self, ids: Array) -> Array:
        return self.w["language_model.model.embed_tokens.weight"][ids]

    def logits(self, x: Array) -> Array:
        t = self.config["llm_config"]
        heads, groups, eps = t["num_attention_heads"], t["num_key_value_heads"], t["rms_norm_eps"]
        for i in range(t["num_hidden_layers"]):
            name = f"language_model.model.layers.{i}"
            y = self._rms(f"{name}.input_layernorm", x, eps)
            q = rotate(split(self._linear(f"{name}.self_attn.q_proj", y), heads), t["rope_theta"])
            k = rotate(split(self._linear(f"{name}.self_attn.k_proj", y), groups), t["rope_theta"])
            value = split(self._linear(f"{name}.self_attn.v_proj", y), groups)
            k, value = (np.repeat(part, heads // groups, axis=0) for part in (k, value))
            x = x + self._linear(f"{name}.self_attn.o_proj", attend(q, k, value, causal=True))
            y = self._rms(f"{name}.post_attention_layernorm", x, eps)
            gate = self._linear(f"{name}.mlp.gate_proj", y)
            x = x + self._linear(
                f"{name}.mlp.down_proj", gate / (1 + np.exp(-gate)) * self._linear(f"{name}.mlp.up_proj", y)
            )
        return self._linear("language_model.lm_head", self._rms("language_model.model.norm", x, eps))


def split(x: Array, heads: int) -> Array:
    """[S, heads * dim] -> [heads, S, dim]."""
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def attend(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """Softmax attention of [heads, S, dim]; returns [S, heads * dim]."""
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)


def rotate(x: Array, theta: float) -> Array:
    """Rotary positions on [heads, S, dim], halves apart."""
    half = x.shape[-1] // 2
    angles = np.outer(np.arange(x.shape[1]), theta ** (-np.arange(half) / half))
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
