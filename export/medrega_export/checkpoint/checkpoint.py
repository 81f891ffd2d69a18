"""A full-precision InternVL checkpoint folder: its config, tokenizer, prompts and training facts, and where its weights are.

Weights come from safetensors only and stay on the disk until they are read. Code that lies in a checkpoint is never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.prompts.templates import PromptBook
from medrega_export.checkpoint import internvl_chat, lora, published_prompts
from medrega_export.checkpoint.config import (
    check_config,
    is_chat,
    native_config,
    pixel_shuffle,
    read_config,
    read_json,
    square_side,
)
from medrega_export.checkpoint.published_prompts import PublishedSamples
from medrega_export.checkpoint.tokenizer_json import SPECIAL, missing_tokens, open_tokenizer, read_tokenizer
from medrega_export.checkpoint.training_metadata import TrainingFacts, read_metadata
from medrega_export.checkpoint.weights import StoredTensor, index_tensors

HEAD_AND_TABLE = ("lm_head.weight", "embed_tokens.weight")
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class CheckpointDescription:
    """A checkpoint folder without its weights."""

    folder: Path
    config: dict[str, Any]  # config.json
    tokenizer: Tokenizer
    tokenizer_json: bytes
    prompts: PromptBook
    training: TrainingFacts
    pixel_shuffle: str  # "v1" or "v2"
    warnings: tuple[Message, ...]  # for the user of the package

    @cached_property
    def native(self) -> Any:
        """The config as transformers' InternVL class takes it."""
        return native_config(self.config, self.tokenizer)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Ids that end an answer: from generation_config.json, else the end of a turn in a chat, else from the config."""
        ids = read_json(self.folder / "generation_config.json").get("eos_token_id")
        if ids is None and is_chat(self.config):
            ids = self.tokenizer.id_of(published_prompts.TURN_END)
        if ids is None:
            ids = getattr(self.native.text_config, "eos_token_id", None)
        if ids is None:
            raise UsageError("export.no_end_token")
        tokens = tuple(ids) if isinstance(ids, (list, tuple)) else (ids,)
        if not all(isinstance(token, int) for token in tokens):
            raise UsageError("export.end_token_invalid", value=repr(ids))
        return tokens


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, ready to be measured and exported; `weights` are named as `lora.plain_name` does."""

    folder: Path
    config: Any  # InternVLConfig; transformers' own types of its parts are too loose to help
    weights: Mapping[str, StoredTensor]
    tokenizer: Tokenizer
    tokenizer_json: bytes
    prompts: PromptBook
    training: TrainingFacts
    pixel_shuffle: str  # "v1" or "v2"
    end_tokens: tuple[int, ...]
    warnings: tuple[Message, ...] = ()

    @property
    def tied(self) -> bool:
        """Whether the output head and the token embeddings are one matrix."""
        return self.weights["lm_head.weight"] is self.weights["embed_tokens.weight"]

    @property
    def image_token(self) -> int:
        """Id of the token whose embedding an image embedding replaces."""
        return int(self.config.image_token_id)

    @property
    def image_tokens(self) -> int:
        """Number of embeddings that one image becomes."""
        side = self.image_size // square_side(self.config.vision_config.patch_size)
        return int(side * self.config.downsample_ratio) ** 2

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that the tower sees."""
        return square_side(self.config.vision_config.image_size)


def describe(folder: Path, samples: PublishedSamples | None = None) -> CheckpointDescription:
    """Read a checkpoint folder without its weights.

    `samples` are the files in which a foreign checkpoint's prompts were published. Raises UsageError when a file is
    missing or holds what is not exported.
    """
    config = read_config(folder)
    check_config(config)
    data = read_tokenizer(folder, config)
    tokenizer = open_tokenizer(data)
    for missing in missing_tokens(tokenizer, SPECIAL):
        raise UsageError.of(missing)
    prompts, training, warnings = read_metadata(folder, config, data, samples)
    return CheckpointDescription(folder, config, tokenizer, data, prompts, training, pixel_shuffle(config), warnings)


def load(folder: Path, adapter: Path | None = None, samples: PublishedSamples | None = None) -> Checkpoint:
    """Open a checkpoint folder, with a LoRA adapter merged; raises UsageError for what cannot be exported."""
    described = describe(folder, samples)
    weights = find_weights(folder, described.config, described.native.tie_word_embeddings, adapter)
    for mismatch in state_dict_mismatches(meta_model(described.native), weights):
        raise UsageError("export.weights_do_not_fit", mismatch=mismatch)
    rows = weights["embed_tokens.weight"].shape[0]
    if described.tokenizer.size > rows:
        raise UsageError("export.tokenizer_too_large", tokens=described.tokenizer.size, rows=rows)
    training = described.training
    if adapter is not None:
        training = replace(training, source=f"{training.source}, with the adapter '{adapter.name}' merged")
    return Checkpoint(
        folder,
        described.native,
        weights,
        described.tokenizer,
        described.tokenizer_json,
        described.prompts,
        training,
        described.pixel_shuffle,
        described.end_tokens,
        described.warnings,
    )


def weight_files(folder: Path) -> list[Path]:
    """Find the weight files of a folder; raises UsageError where one is missing that the index names."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UsageError("export.no_weights", checkpoint=folder.name)
    named = read_json(folder / INDEX).get("weight_map")
    wanted = {str(name) for name in named.values()} if isinstance(named, dict) else set()
    missing = sorted(wanted - {path.name for path in files})
    if missing:
        raise UsageError("export.weight_files_missing", checkpoint=folder.name, count=len(missing), first=missing[0])
    return files


def find_weights(folder: Path, config: dict[str, Any], tied: bool, adapter: Path | None = None) -> dict[str, StoredTensor]:
    """Return the weights of a folder by plain name, LoRA merged; raises UsageError.

    With `tied`, the folder may hold one matrix for output head and token embeddings.
    """
    weights = index_tensors(weight_files(folder))
    if is_chat(config):
        lora.merge_built_in(weights)
    if adapter is not None:
        lora.merge_adapter(weights, adapter)
    if is_chat(config):
        weights = dict(internvl_chat.native_weights(weights.items(), internvl_chat.tower_depth(config)))
    plain = {lora.plain_name(name): value for name, value in weights.items()}
    if tied:  # a head of its own stays, whatever the config says: transformers reads it so
        for missing, present in (HEAD_AND_TABLE, HEAD_AND_TABLE[::-1]):
            if present in plain:
                plain.setdefault(missing, plain[present])
    return plain


def meta_model(native: Any) -> Any:
    """Return the model of a config without content: on the device "meta" tensors have shapes and no values."""
    import torch
    from transformers import InternVLForConditionalGeneration

    with torch.device("meta"):
        return InternVLForConditionalGeneration(native)


def state_dict_mismatches(model: Any, weights: Mapping[str, StoredTensor]) -> list[Message]:
    """Return what is missing, unknown or of another shape among weights; nothing where they fit the model."""
    wanted = {lora.plain_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    mismatches = []
    if missing := sorted(wanted.keys() - weights.keys()):
        mismatches.append(Message("export.weights_missing", count=len(missing), first=missing[0]))
    if unknown := sorted(weights.keys() - wanted.keys()):
        mismatches.append(Message("export.weights_unknown", count=len(unknown), first=unknown[0]))
    if reshaped := sorted(name for name in wanted.keys() & weights.keys() if weights[name].shape != wanted[name]):
        mismatches.append(Message("export.weights_reshaped", count=len(reshaped), first=reshaped[0]))
    return mismatches
