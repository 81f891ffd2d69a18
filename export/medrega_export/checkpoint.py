"""A full-precision InternVL checkpoint folder: where its weights are, tokenizer, prompts, what training says of itself.

Knows the Hugging Face layout, the three files that this project lays beside it, and which reader serves a folder that
has another layout or lacks those files. Knows nothing of quantisation or ONNX. Weights come from safetensors only, stay
on the disk until somebody reads them, and code that lies in a checkpoint is never run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.prompts import IMAGE_TOKEN, Language, Modality, PromptBook, Task
from medrega_edge.tokenizer import Tokenizer
from medrega_export import chat_layout, foreign_prompts, lora, spm
from medrega_export.foreign_prompts import Samples
from medrega_export.weights import Stored, index

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
class Description:
    """A checkpoint folder as far as it can be read without its weights."""

    folder: Path
    config: dict[str, Any]  # as it lies on disk
    tokenizer: Tokenizer
    tokenizer_json: bytes
    prompts: PromptBook
    training: Training
    pixel_shuffle: str  # "v1" or "v2"
    warnings: tuple[str, ...]  # what a user of the package has to know, one sentence each

    @cached_property
    def native(self) -> Any:
        """The config as transformers' InternVL class takes it."""
        return native_config(self.config, self.tokenizer)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Ids that end an answer: those of generation_config.json or of the config; turns of a chat end in one known."""
        ids = spm.read_json(self.folder / "generation_config.json").get("eos_token_id")
        if ids is None and is_chat(self.config):
            ids = self.tokenizer.id_of(foreign_prompts.TURN_END)
        if ids is None:
            ids = getattr(self.native.text_config, "eos_token_id", None)
        if ids is None:
            raise UsageError("The checkpoint names no eos_token_id; set it in its config.json.")
        return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, ready to be measured and exported; `weights` are named as `lora.plain_name` does."""

    folder: Path
    config: Any  # InternVLConfig; transformers' own types of its parts are too loose to help
    weights: Mapping[str, Stored]
    tokenizer: Tokenizer
    tokenizer_json: bytes
    prompts: PromptBook
    training: Training
    pixel_shuffle: str  # "v1" or "v2"
    end_tokens: tuple[int, ...]
    warnings: tuple[str, ...] = ()

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
        side = self.image_size // single(self.config.vision_config.patch_size)
        return int(side * self.config.downsample_ratio) ** 2

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that the tower sees."""
        return single(self.config.vision_config.image_size)


def describe(folder: Path, samples: Samples | None = None) -> Description:
    """Read all of a checkpoint folder but its weights.

    `samples` are the files in which a foreign checkpoint's prompts were published. Raises UsageError when a file is
    missing or holds what is not exported.
    """
    config = read_config(folder)
    check_config(config)
    data = read_tokenizer(folder, config)
    tokenizer = Tokenizer(data.decode("utf-8"))
    prompts, training, warnings = read_words(folder, config, data, samples)
    shuffle = chat_layout.pixel_shuffle(config) if is_chat(config) else str(config.get("ps_version", "v2"))
    return Description(folder, config, tokenizer, data, prompts, training, shuffle, warnings)


def load(folder: Path, adapter: Path | None = None, samples: Samples | None = None) -> Checkpoint:
    """Find all of a checkpoint folder, with a LoRA adapter merged; raises UsageError for what cannot be exported."""
    described = describe(folder, samples)
    weights = find_weights(folder, described.config, described.native.tie_word_embeddings, adapter)
    for problem, names in misfits(hollow(described.native), weights):
        raise UsageError(f"The weights of '{folder.name}' do not fit its config.json: {problem} '{names[0]}'.")
    rows = weights["embed_tokens.weight"].shape[0]
    if described.tokenizer.size > rows:
        raise UsageError(f"The tokenizer has {described.tokenizer.size} tokens and the language model only {rows}.")
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


def find_weights(folder: Path, config: dict[str, Any], tied: bool, adapter: Path | None = None) -> dict[str, Stored]:
    """Return the weights of a folder by plain name, LoRA merged; raises UsageError. `tied`: the head is the embeddings."""
    weights = index(sorted(folder.glob("*.safetensors")))
    if is_chat(config):
        lora.merge_built_in(weights)
    if adapter is not None:
        lora.merge_adapter(weights, adapter)
    if is_chat(config):
        weights = dict(chat_layout.native_weights(weights.items(), chat_layout.tower_depth(config)))
    found = {lora.plain_name(name): value for name, value in weights.items()}
    if tied and "embed_tokens.weight" in found:
        found["lm_head.weight"] = found["embed_tokens.weight"]
    return found


def hollow(native: Any) -> Any:
    """Return the model of a config without content: on the device "meta" tensors have shapes and no values."""
    import torch
    from transformers import InternVLForConditionalGeneration

    with torch.device("meta"):
        return InternVLForConditionalGeneration(native)


def misfits(model: Any, weights: Mapping[str, Stored]) -> list[tuple[str, list[str]]]:
    """Return what is missing, unexpected or of another shape among weights; nothing where they fit the model."""
    wanted = {lora.plain_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    both = set(wanted) & set(weights)
    found = [
        ("missing", sorted(set(wanted) - both)),
        ("unexpected", sorted(set(weights) - both)),
        ("mismatched", sorted(name for name in both if weights[name].shape != wanted[name])),
    ]
    return [(problem, names) for problem, names in found if names]


def is_chat(config: dict[str, Any]) -> bool:
    """Whether a config is of the original layout and not of transformers' own."""
    return config.get("model_type") == chat_layout.MODEL_TYPE


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`; raises UsageError."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"The checkpoint '{folder.name}' has no config.json; name the folder that holds it.")
    if not list(folder.glob("*.safetensors")):
        raise UsageError(f"The checkpoint '{folder.name}' has no *.safetensors; other weight files are not read.")
    return spm.read_json(folder / "config.json")


def check_config(config: dict[str, Any]) -> None:
    """Raise UsageError for an architecture that is not exported."""
    if is_chat(config):
        shuffle = chat_layout.pixel_shuffle(config)
        chat_layout.native_config(config, 0)
    elif config.get("model_type") == "internvl":
        # The native class shuffles as "v2"; weights trained with "v1" say so, and are served by transposing the grid.
        shuffle = config.get("ps_version", "v2")
        text = (config.get("text_config") or {}).get("model_type")
        if text not in ("qwen2", "llama"):
            raise UsageError(f"The checkpoint's language model is '{text}'; qwen2 and llama are exported.")
    else:
        raise UsageError(f"The checkpoint is of type '{config.get('model_type')}'; internvl and internvl_chat are exported.")
    if shuffle not in PIXEL_SHUFFLES:
        raise UsageError(f"The checkpoint's ps_version is '{shuffle}'; known: {', '.join(PIXEL_SHUFFLES)}.")


def native_config(config: dict[str, Any], tokenizer: Tokenizer) -> Any:
    """Return a config as transformers' InternVL class takes it; raises UsageError."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import InternVLConfig

    image = tokenizer.id_of(IMAGE_TOKEN)
    if not is_chat(config) and config.get("image_token_id", image) != image:
        raise UsageError(f"config.json names another image token than the tokenizer's {IMAGE_TOKEN}; correct it.")
    try:
        return InternVLConfig.from_dict(chat_layout.native_config(config, image) if is_chat(config) else config)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"config.json of the checkpoint cannot be used ({reason}); get the checkpoint again.") from None


def read_tokenizer(folder: Path, config: dict[str, Any]) -> bytes:
    """Read `tokenizer.json`, or make it out of the files of a slow tokenizer; raises UsageError.

    Weights of the original layout saw the slow tokenizer alone, and a tokenizer.json beside it may differ: Yi's own puts
    a space behind every special token.
    """
    slow = (folder / "tokenizer.model").is_file()
    if (folder / "tokenizer.json").is_file() and not (slow and is_chat(config)):
        return (folder / "tokenizer.json").read_bytes()
    if slow:
        return spm.to_tokenizer_json(folder).encode("utf-8")
    kind = str(spm.read_json(folder / "tokenizer_config.json").get("tokenizer_class")).removesuffix("Fast")
    if kind == "Qwen2Tokenizer" and all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        return _byte_level(folder)
    raise UsageError(f"The checkpoint '{folder.name}' has no tokenizer.json and no tokenizer.model; get it again.")


def _byte_level(folder: Path) -> bytes:
    """Put Qwen2's vocabulary, merges and added tokens together; other byte-level tokenizers cut a text otherwise."""
    from transformers import Qwen2Tokenizer

    slow: Any = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    for number, token in spm.read_json(folder / "tokenizer_config.json").get("added_tokens_decoder", {}).items():
        if slow.convert_tokens_to_ids(token["content"]) != int(number):
            raise UsageError(f"The added token '{token['content']}' does not get its id {number}; add a tokenizer.json.")
    return str(slow.backend_tokenizer.to_str()).encode("utf-8")


def read_words(
    folder: Path, config: dict[str, Any], tokenizer_json: bytes, samples: Samples | None
) -> tuple[PromptBook, Training, tuple[str, ...]]:
    """Read what a checkpoint says of its prompts and its training, or, where it is foreign, what is known of them."""
    own = [name for name in ("prompts.json", "training.json") if (folder / name).is_file()]
    if not own:
        prompts, warnings = foreign_prompts.read(config, tokenizer_json, samples)
        return prompts, _foreign(folder, prompts), (*warnings, *_tiles(config))
    if len(own) == 1:
        missing = "training.json" if own == ["prompts.json"] else "prompts.json"
        raise UsageError(f"The checkpoint '{folder.name}' has no {missing}; it has to lie beside {own[0]}.")
    if samples is not None:
        raise UsageError(f"The checkpoint '{folder.name}' brings its prompts.json; leave --prompts out.")
    training = Training.from_json((folder / "training.json").read_text(encoding="utf-8"))
    try:
        prompts = PromptBook.from_json((folder / "prompts.json").read_text(encoding="utf-8"))
    except PackageError as error:
        raise UsageError(f"The checkpoint's prompts cannot be used: {error}") from None
    for task in training.tasks:
        absent = [language for language in training.languages if language not in prompts.templates.get(task, {})]
        if absent:
            raise UsageError(f"prompts.json has no template for '{task}' in '{absent[0]}', which training.json names.")
    return prompts, training, ()


def _foreign(folder: Path, prompts: PromptBook) -> Training:
    """What can be said of a checkpoint that says nothing of itself."""
    name = folder.resolve().name
    languages = [one.value for one in Language if any(one in known for known in prompts.templates.values())]
    return Training(
        name=name,
        version="0",
        source=f"the checkpoint '{name}', trained elsewhere",
        tasks=tuple(task.value for task in Task if task in prompts.templates),
        languages=tuple(languages),
        modalities=tuple(Modality),
        card="",
        data_sets=(),
    )


def _tiles(config: dict[str, Any]) -> tuple[str, ...]:
    if not config.get("dynamic_image_size"):
        return ()
    return ("The checkpoint was trained on several tiles of an image; the runtime shows it one, and loses detail",)


def single(size: Any) -> int:
    """Return the side of a square given as `n` or `[n, n]`."""
    if isinstance(size, (list, tuple)):
        if len(set(size)) != 1:
            raise UsageError(f"The checkpoint's tower sees {size} pixels; only squares are exported.")
        return int(size[0])
    return int(size)
