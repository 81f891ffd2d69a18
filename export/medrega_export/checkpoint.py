"""A full-precision InternVL checkpoint folder, read: weights, tokenizer, prompts, and what training says about itself.

Knows the Hugging Face layout, the three files that this project lays beside it, and which reader serves a folder that
has another layout or lacks those files. Knows nothing of quantisation or ONNX. Weights come from safetensors only, and
code that lies in a checkpoint is never run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.prompts import IMAGE_TOKEN, Language, Modality, PromptBook, Task
from medrega_edge.tokenizer import Tokenizer
from medrega_export import chat_layout, foreign_prompts, lora, spm
from medrega_export.foreign_prompts import Samples

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

    @property
    def native(self) -> Any:
        """The config as transformers' InternVL class takes it."""
        return native_config(self.config, self.tokenizer)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in memory, float32, ready to be measured and exported."""

    model: Any  # InternVLForConditionalGeneration; transformers' own types of its parts are too loose to help
    tokenizer: Tokenizer
    tokenizer_json: bytes
    prompts: PromptBook
    training: Training
    pixel_shuffle: str  # "v1" or "v2"
    warnings: tuple[str, ...] = ()

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
    """Read a checkpoint folder, and merge a LoRA adapter into it; raises UsageError for what cannot be exported."""
    described = describe(folder, samples)
    model = _read_chat(described, adapter) if is_chat(described.config) else _read_native(folder, adapter)
    rows = model.get_input_embeddings().weight.shape[0]
    if described.tokenizer.size > rows:
        raise UsageError(f"The tokenizer has {described.tokenizer.size} tokens and the language model only {rows}.")
    training = described.training
    if adapter is not None:
        training = replace(training, source=f"{training.source}, with the adapter '{adapter.name}' merged")
    return Checkpoint(
        model,
        described.tokenizer,
        described.tokenizer_json,
        described.prompts,
        training,
        described.pixel_shuffle,
        described.warnings,
    )


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


def _read_native(folder: Path, adapter: Path | None) -> Any:
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
        raise _unreadable(folder, error) from None
    model, loaded = read
    # transformers fills gaps with random numbers and carries on; a package made of those would look like any other.
    _complete(folder, {key: loaded.get(key) for key in ("missing_keys", "mismatched_keys", "unexpected_keys")})
    if adapter is not None:
        weights = dict(model.state_dict())
        lora.merge_adapter(weights, adapter)
        model.load_state_dict(weights)
    return model.eval()


def _read_chat(described: Description, adapter: Path | None) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import InternVLForConditionalGeneration
    from transformers.initialization import no_init_weights

    folder, config = described.folder, described.config
    weights: dict[str, Any] = {}
    try:
        for path in sorted(folder.glob("*.safetensors")):
            weights |= {name: value.to(torch.float32) for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise _unreadable(folder, error) from None
    lora.merge_built_in(weights)
    if adapter is not None:
        lora.merge_adapter(weights, adapter)
    with no_init_weights():
        model = InternVLForConditionalGeneration(described.native)
    native = dict(chat_layout.native_weights(weights.items(), chat_layout.tower_depth(config)))
    if model.config.tie_word_embeddings:
        native.setdefault("lm_head.weight", native["model.language_model.embed_tokens.weight"])
    try:
        missing, unexpected = model.load_state_dict(native, strict=False, assign=True)
    except RuntimeError as error:
        raise _unreadable(folder, error) from None
    _complete(folder, {"missing_keys": missing, "unexpected_keys": unexpected})
    model.tie_weights()
    model.generation_config.eos_token_id = _end_tokens(described)
    return model.eval()


def _end_tokens(described: Description) -> list[int]:
    """Ids that end an answer: those of generation_config.json, or the one that ends every turn of these templates."""
    ids = spm.read_json(described.folder / "generation_config.json").get("eos_token_id")
    if ids is None:
        return [described.tokenizer.id_of(foreign_prompts.TURN_END)]
    return list(ids) if isinstance(ids, list) else [int(ids)]


def _unreadable(folder: Path, error: Exception) -> UsageError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UsageError(f"The weights of '{folder.name}' cannot be loaded ({reason}); write the checkpoint anew.")


def _complete(folder: Path, found: dict[str, Any]) -> None:
    for key, names in found.items():
        if names:
            name = sorted(map(str, names))[0]
            raise UsageError(f"The weights of '{folder.name}' do not fit its config.json: {key.split('_')[0]} '{name}'.")


def _single(size: Any) -> int:
    """Return the side of a square given as `n` or `[n, n]`."""
    if isinstance(size, (list, tuple)):
        if len(set(size)) != 1:
            raise UsageError(f"The checkpoint's tower sees {size} pixels; only squares are exported.")
        return int(size[0])
    return int(size)
