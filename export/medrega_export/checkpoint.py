"""A full-precision InternVL checkpoint folder, read: weights, tokenizer, prompts, and what training says about itself.

Knows the Hugging Face layout and the three files that this project lays beside it. Knows nothing of quantisation or
ONNX. Weights come from safetensors only, and code that lies in a checkpoint is never run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.prompts import Language, Modality, PromptBook, Task
from medrega_edge.tokenizer import Tokenizer

PIXEL_SHUFFLES = ("v1", "v2")


@dataclass(frozen=True)
class Training:
    """What `training.json` says of a checkpoint; `card` is its model card in Markdown, empty where there is none."""

    name: str
    version: str
    source: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    modalities: tuple[str, ...]
    card: str
    data_sets: tuple[tuple[str, int, str], ...]  # name, images, terms of use

    @classmethod
    def from_json(cls, text: str) -> Training:
        """Read `training.json`; raises UsageError that names what is wrong. Further keys are the trainer's own."""
        try:
            data = json.loads(text)
            words: dict[str, Any] = {key: data[key] for key in ("name", "version", "source")} | {
                "card": data.get("card", "")
            }
            lists: dict[str, Any] = {key: tuple(data[key]) for key in ("tasks", "languages", "modalities")}
            sets = tuple((str(d["name"]), int(d["images"]), str(d["terms"])) for d in data.get("data_sets", ()))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"training.json of the checkpoint cannot be used ({error!r}); write it anew.") from None
        for key, kinds in (("tasks", Task), ("languages", Language), ("modalities", Modality)):
            unknown = [value for value in lists[key] if value not in set(kinds)]
            if unknown or not lists[key]:
                problem = f"holds the unknown value '{unknown[0]}'" if unknown else "is empty"
                raise UsageError(f"'{key}' in training.json {problem}; known: {', '.join(kinds)}.")
        if not all(isinstance(value, str) for value in words.values()):
            raise UsageError("name, version, source and card in training.json have to be text.")
        return cls(**words, **lists, data_sets=sets)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in memory, float32, ready to be measured and exported."""

    model: Any  # InternVLForConditionalGeneration; transformers' own types of its parts are too loose to help
    tokenizer: Tokenizer
    tokenizer_json: bytes
    prompts: PromptBook
    training: Training
    pixel_shuffle: str  # "v1" or "v2"

    @property
    def tied(self) -> bool:
        """Whether the output head and the token embeddings are one matrix."""
        return bool(self.model.lm_head.weight.data_ptr() == self.model.get_input_embeddings().weight.data_ptr())

    @property
    def image_token(self) -> int:
        """Id of the token whose embedding an image embedding replaces."""
        return int(self.model.config.image_token_id)

    @property
    def image_tokens(self) -> int:
        """Number of embeddings that one image becomes."""
        side = self.image_size // int(_single(self.model.config.vision_config.patch_size))
        return int(side * self.model.config.downsample_ratio) ** 2

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that the tower sees."""
        return int(_single(self.model.config.vision_config.image_size))

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Ids that end an answer."""
        for config in (self.model.generation_config, self.model.config.text_config):
            ids = getattr(config, "eos_token_id", None)
            if ids is not None:
                return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
        raise UsageError("The checkpoint names no eos_token_id; set it in its config.json.")


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint folder; raises UsageError when a file is missing or holds another architecture."""
    for name in ("config.json", "tokenizer.json", "prompts.json", "training.json"):
        if not (folder / name).is_file():
            raise UsageError(f"The checkpoint '{folder.name}' has no {name}; it has to lie beside config.json.")
    if not list(folder.glob("*.safetensors")):
        raise UsageError(f"The checkpoint '{folder.name}' has no *.safetensors; other weight files are not read.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"config.json of the checkpoint is not valid JSON ({error}).") from None
    _check_config(config)
    training = Training.from_json((folder / "training.json").read_text(encoding="utf-8"))
    try:
        prompts = PromptBook.from_json((folder / "prompts.json").read_text(encoding="utf-8"))
    except PackageError as error:
        raise UsageError(f"The checkpoint's prompts cannot be used: {error}") from None
    for task in training.tasks:
        missing = [language for language in training.languages if language not in prompts.templates.get(task, {})]
        if missing:
            raise UsageError(f"prompts.json has no template for '{task}' in '{missing[0]}', which training.json names.")

    tokenizer_json = (folder / "tokenizer.json").read_bytes()
    return Checkpoint(
        model=_read_weights(folder),
        tokenizer=Tokenizer(tokenizer_json.decode("utf-8")),
        tokenizer_json=tokenizer_json,
        prompts=prompts,
        training=training,
        pixel_shuffle=str(config.get("ps_version", "v2")),
    )


def _read_weights(folder: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import InternVLForConditionalGeneration

    try:
        read: Any = InternVLForConditionalGeneration.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"The weights of '{folder.name}' cannot be loaded ({reason}); write the checkpoint anew.") from None
    model, loaded = read
    # transformers fills gaps with random numbers and carries on; a package made of those would look like any other.
    for key in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if loaded.get(key):
            name = sorted(map(str, loaded[key]))[0]
            raise UsageError(f"The weights of '{folder.name}' do not fit its config.json: {key.split('_')[0]} '{name}'.")
    return model.eval()


def _check_config(config: dict[str, Any]) -> None:
    if config.get("model_type") != "internvl":
        raise UsageError(
            f"The checkpoint is of type '{config.get('model_type')}'; only 'internvl', in Hugging Face layout, goes."
        )
    text = config.get("text_config", {}).get("model_type")
    if text not in ("qwen2", "llama"):
        raise UsageError(f"The checkpoint's language model is '{text}'; qwen2 and llama are exported.")
    # The native class shuffles as "v2"; weights trained with "v1" say so, and are served by transposing the grid.
    if config.get("ps_version", "v2") not in PIXEL_SHUFFLES:
        raise UsageError(f"The checkpoint's ps_version is '{config['ps_version']}'; known: {', '.join(PIXEL_SHUFFLES)}.")


def _single(size: Any) -> int:
    """Return the side of a square given as `n` or `[n, n]`."""
    if isinstance(size, (list, tuple)):
        if len(set(size)) != 1:
            raise UsageError(f"The checkpoint's tower sees {size} pixels; only squares are exported.")
        return int(size[0])
    return int(size)
