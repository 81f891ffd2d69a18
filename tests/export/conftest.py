"""A random InternVL checkpoint of the smallest shape, with tokenizer, prompts and two pictures, made once a session."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SPECIAL = [
    "<pad>",
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
]
VOCABULARY = 512
WORDS = {
    "en": "Where is the liver? <ref>liver</ref><box>[[112, 240, 377, 648]]</box> [detect] user assistant",
    "zh": "肝脏在哪里？ <ref>肝脏</ref><box>[[112, 240, 377, 648]]</box> [定位]",
}


def write_tokenizer(path: Path):
    """A byte-level BPE tokenizer with the special tokens of this project."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*WORDS.values()] * 4, trainer)
    tokenizer.save(str(path))
    return tokenizer


def write_questions(folder: Path, count: int = 6) -> Path:
    """Two pictures and questions about them, in both languages, one identify among them."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(5)
    for name, size in (("a.png", (90, 60)), ("b.png", (48, 80))):
        Image.fromarray(generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)
    lines = []
    for i in range(count):
        language = ("en", "zh")[i % 2]
        label = {"en": "liver", "zh": "肝脏"}[language]
        line = {
            "id": f"q{i}",
            "image": ("a.png", "b.png")[i // 2 % 2],
            "question": {"en": "Where is the liver?", "zh": "肝脏在哪里？"}[language],
            "task": "detect",
            "language": language,
            "modality": ("ct", "mri")[i // 2 % 2],
            "truth": {
                "text": f"<ref>{label}</ref><box>[[112, 240, 377, 648]]</box>",
                "regions": [{"label": label, "boxes": [[5.0, 10.0, 30.0, 40.0]]}],
            },
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    path = folder / "questions.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_checkpoint(folder: Path, text: str = "qwen2", tied: bool = False) -> Path:
    """A checkpoint folder with random weights; `text` picks the language model's class."""
    import torch

    from medrega_edge.prompts.templates import DEFAULT_PROMPTS
    from medrega_train.model import build_model
    from medrega_train.presets import PRESETS

    folder.mkdir(parents=True)
    tokenizer = write_tokenizer(folder / "tokenizer.json")
    ids = {"image": "<IMG_CONTEXT>", "end": "<|im_end|>", "pad": "<pad>"}
    model = build_model(PRESETS["smoke"], {k: tokenizer.token_to_id(v) for k, v in ids.items()}, VOCABULARY)
    if text == "llama" or tied:
        from transformers import InternVLConfig, InternVLForConditionalGeneration, LlamaConfig, Qwen2Config

        old = model.config.text_config.to_dict()
        old = {k: v for k, v in old.items() if k not in ("model_type", "architectures", "layer_types")}
        old["tie_word_embeddings"] = tied
        config = model.config.to_dict() | {
            "text_config": (LlamaConfig if text == "llama" else Qwen2Config)(**old),
            "tie_word_embeddings": tied,
        }
        torch.manual_seed(3)
        model = InternVLForConditionalGeneration(InternVLConfig.from_dict(config))
        model.generation_config.eos_token_id = tokenizer.token_to_id("<|im_end|>")
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():  # biases and norms start at 0 and 1, where a graph without them would look right
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
            elif "language_model" in name or "lm_head" in name:
                parameter *= 4.0  # weights of std 0.02 make a model that says nothing
    model.save_pretrained(folder)
    (folder / "prompts.json").write_text(DEFAULT_PROMPTS.to_json(), encoding="utf-8")
    training = {
        "name": "smoke",
        "version": "0.0.1",
        "source": "random weights",
        "tasks": ["detect", "identify"],
        "languages": ["en", "zh"],
        "modalities": ["ct", "mri"],
        "card": "# smoke\n\nRandom weights, for tests.\n",
    }
    (folder / "training.json").write_text(json.dumps(training), encoding="utf-8")
    return folder


def write_lite_checkpoint(folder: Path, has_head: bool = True) -> Path:
    """A checkpoint with the smallest EfficientNet-Lite tower and random weights, with a region head if asked for."""
    import torch
    from safetensors.torch import save_file
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    from medrega_train.efficientnet_lite import EfficientNetLite
    from medrega_train.lite_vision import lite_config
    from medrega_train.region_head import RegionHead

    write_checkpoint(folder)
    config = original_model(folder).config.to_dict()
    config |= {"vision_config": lite_config("lite0", 64, 4), "vision_feature_select_strategy": "full"}
    torch.manual_seed(4)
    model = InternVLForConditionalGeneration(InternVLConfig.from_dict(config))
    head = RegionHead(EfficientNetLite("lite0").widths, model.config.text_config.hidden_size, width=32, fine_width=16)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in (*model.named_parameters(), *head.named_parameters()):
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
            elif "language_model" in name or "lm_head" in name:
                parameter *= 4.0
        for name, statistic in model.named_buffers():
            if name.endswith(("mean", "variance")):
                statistic += 0.1 * torch.rand(statistic.shape, generator=generator)
    model.save_pretrained(folder)
    if has_head:
        pooled = torch.nn.Linear(32, model.config.text_config.hidden_size).state_dict(prefix="pooled_region.")
        state = {name: value.contiguous() for name, value in (head.state_dict() | pooled).items()}
        save_file(state, folder / "region_head.safetensors", metadata={"format": "pt"})
        training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        training["region_head"] = {"several": 0.3, "overlap": 0.5}
        (folder / "training.json").write_text(json.dumps(training), encoding="utf-8")
    return folder


def original_model(folder: Path):
    """A native checkpoint as transformers itself loads it: what the exporter is held against."""
    import torch
    from transformers import InternVLForConditionalGeneration

    return InternVLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Path]:
    """Write a checkpoint of another kind: `make_checkpoint(folder, text, tied)`."""
    return write_checkpoint


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of most tests: Qwen2 with biases, head of its own."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "smoke")


@pytest.fixture(scope="session")
def lite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with an EfficientNet-Lite tower and a region head."""
    return write_lite_checkpoint(tmp_path_factory.mktemp("checkpoint") / "lite")


@pytest.fixture(scope="session")
def questions_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six questions about two pictures."""
    return write_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="session")
def exported(checkpoint_folder: Path, questions_file: Path, tmp_path_factory: pytest.TempPathFactory):
    """An int4 package with certificate and its GPTQ checkpoint."""
    from medrega_export import ExportOptions, export

    root = tmp_path_factory.mktemp("exported")
    options = ExportOptions(
        checkpoint_folder, root / "package", questions_file, certify=questions_file, keep_checkpoint=root / "gptq"
    )
    return root, export(options)
