"""A full-precision InternVL checkpoint folder: its config, tokenizer, prompts and training facts, and where its weights are.

Weights come from safetensors only and stay on the disk until they are read. Code that lies in a checkpoint is never run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.preprocess import Preprocessing
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.prompts.templates import PromptBook
from medrega_export.checkpoint import (
    efficientnet_lite,
    image_processor,
    internvl_chat,
    lora,
    mask_head,
    published_prompts,
    region_head,
)
from medrega_export.checkpoint.config import (
    check_config,
    is_chat,
    native_config,
    pixel_shuffle,
    read_config,
    read_json,
    square_side,
)
from medrega_export.checkpoint.efficientnet_lite import EfficientNetLite
from medrega_export.checkpoint.mask_head import MaskFacts
from medrega_export.checkpoint.published_prompts import PublishedSamples
from medrega_export.checkpoint.region_head import RegionHead
from medrega_export.checkpoint.tokenizer_json import SPECIAL, missing_tokens, open_tokenizer, read_tokenizer
from medrega_export.checkpoint.training_metadata import TrainingFacts, read_metadata
from medrega_export.checkpoint.weight_files import index_weights
from medrega_export.checkpoint.weights import FLOATS, StoredTensor, index_tensors

HEAD_AND_TABLE = ("lm_head.weight", "embed_tokens.weight")
TOWER, PROJECTOR = "vision_tower.", "multi_modal_projector."
GENERATION = "generation_config.json"
# Settings that change which token comes next, with the value at which they do not. The runtime takes the likeliest token.
GENERATION_OFF = {
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "force_words_ids": None,
    "forced_bos_token_id": None,
    "guidance_scale": 1.0,
    "length_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": None,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "penalty_alpha": None,
    "repetition_penalty": 1.0,
    "sequence_bias": None,
    "suppress_tokens": None,
    "do_sample": False,
}
STAGE = (TOWER, PROJECTOR)  # beginnings of the names of the vision stage's weights


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
        """Ids that end an answer: those of generation_config.json, else of the config.

        The original layout's own code ends every answer with the end of a turn, whatever its files say.
        """
        turn = (self.tokenizer.id_of(published_prompts.TURN_END),) if is_chat(self.config) else ()
        ids = read_json(self.folder / GENERATION).get("eos_token_id")
        if ids is None and not turn:
            ids = getattr(self.native.text_config, "eos_token_id", None)
        if ids is None and not turn:
            raise UsageError("export.no_end_token")
        given = list(turn) if ids is None else ids if isinstance(ids, (list, tuple)) else [ids]
        rows = range(int(self.native.text_config.vocab_size))
        if not given or not all(isinstance(one, int) and not isinstance(one, bool) and one in rows for one in given):
            raise UsageError("export.end_token_invalid", value=repr(ids))
        return tuple(dict.fromkeys((*turn, *given)))


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, ready to be measured and exported.

    `weights` are named as `lora.plain_name` does. `region_weights` and `mask_weights` are those of a region head and
    of a mask head, empty where there is none.
    """

    folder: Path
    config: Any  # InternVLConfig; transformers' own types of its parts are too loose to help
    weights: Mapping[str, StoredTensor]
    tokenizer: Tokenizer
    tokenizer_json: bytes
    prompts: PromptBook
    training: TrainingFacts
    pixel_shuffle: str  # "v1" or "v2"
    end_tokens: tuple[int, ...]
    preprocessing: Preprocessing  # how the tower wants its images
    warnings: tuple[Message, ...] = ()
    region_weights: Mapping[str, StoredTensor] = field(default_factory=dict)
    mask_weights: Mapping[str, StoredTensor] = field(default_factory=dict)

    @property
    def efficientnet(self) -> EfficientNetLite | None:
        """The tower, where it is no InternViT."""
        return tower_of(self.config)

    @property
    def region_head(self) -> RegionHead | None:
        """Sizes of the region head, where there is one."""
        tower = self.efficientnet
        if tower is None or not self.region_weights:
            return None
        return region_head.read_sizes(self.region_weights, tower.widths, int(self.config.text_config.hidden_size))

    @property
    def mask_facts(self) -> MaskFacts:
        """What was measured of the mask head, which the checkpoint has to have."""
        return mask_head.read_facts(self.folder / mask_head.FILE)

    @property
    def weight_files(self) -> dict[str, Path]:
        """The files that the weights are read from, by their names from the folder on; an adapter's by its own name."""
        stored = (*self.weights.values(), *self.region_weights.values(), *self.mask_weights.values())
        paths = sorted({path for one in stored for path in one.files})
        inside = {path: path.is_relative_to(self.folder) for path in paths}
        return {(path.relative_to(self.folder).as_posix() if inside[path] else path.name): path for path in paths}

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
        return image_tokens(self.config)

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


def generation_warnings(folder: Path) -> tuple[Message, ...]:
    """Return a warning about settings of generation_config.json that the runtime does not follow."""
    given = read_json(folder / GENERATION)
    keys = [key for key, off in GENERATION_OFF.items() if given.get(key) is not None and given[key] != off]
    return (Message("export.generation_not_followed", keys=sorted(keys)),) if keys else ()


def load(folder: Path, adapter: Path | None = None, samples: PublishedSamples | None = None) -> Checkpoint:
    """Open a checkpoint folder, with a LoRA adapter merged; raises UsageError for what cannot be exported."""
    described = describe(folder, samples)
    weights = find_weights(folder, described.config, described.native.tie_word_embeddings, adapter)
    for mismatch in mismatches(weight_shapes(described.native), weights):
        raise UsageError("export.weights_do_not_fit", mismatch=mismatch)
    region_weights = find_region_head(folder, described.native, described.training)
    preprocessing, warnings = read_preprocessing(folder, described.config, described.native)
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
        preprocessing,
        (*described.warnings, *warnings, *generation_warnings(folder)),
        region_weights,
        find_mask_head(folder),
    )


def read_preprocessing(folder: Path, config: dict[str, Any], native: Any) -> tuple[Preprocessing, tuple[Message, ...]]:
    """Return how the tower wants its images, and warnings; raises UsageError for what the runtime does not do."""
    if tower := tower_of(native):  # of our own: no processor of transformers makes its images
        return Preprocessing(tower.size, efficientnet_lite.PIXEL_MEAN, efficientnet_lite.PIXEL_STD, fit="pad"), ()
    return image_processor.read(folder, config, square_side(native.vision_config.image_size))


def tower_of(native: Any) -> EfficientNetLite | None:
    """The EfficientNet-Lite tower of a config; None where it is an InternViT."""
    vision = native.vision_config
    return efficientnet_lite.read_tower(vision.to_dict()) if vision.model_type == efficientnet_lite.MODEL_TYPE else None


def image_tokens(native: Any) -> int:
    """Number of embeddings that one image becomes; raises UsageError where the grid does not divide."""
    vision, tower = native.vision_config, tower_of(native)
    side = tower.token_grid if tower else square_side(vision.image_size) // square_side(vision.patch_size)
    few = side * native.downsample_ratio
    if few != int(few):
        raise UsageError("export.grid_indivisible", side=side)
    return int(few) ** 2


def find_weights(folder: Path, config: dict[str, Any], tied: bool, adapter: Path | None = None) -> dict[str, StoredTensor]:
    """Return the weights of a folder by plain name, LoRA merged; raises UsageError.

    With `tied`, the folder may hold one matrix for output head and token embeddings.
    """
    weights = index_weights(folder, config)
    if is_chat(config):
        lora.merge_built_in(weights, config)
    if adapter is not None:
        single = tied and not set(HEAD_AND_TABLE) <= {lora.plain_name(name) for name in weights}
        lora.merge_adapter(weights, adapter, HEAD_AND_TABLE if single else ())
    if is_chat(config):
        weights = dict(internvl_chat.native_weights(weights.items(), internvl_chat.tower_depth(config)))
    plain: dict[str, StoredTensor] = {}
    for name, value in weights.items():
        other = plain.setdefault(lora.plain_name(name), value)
        if other is not value:
            raise UsageError("export.weight_named_twice", first=other.name, second=value.name)
    if tied:  # a head of its own stays, whatever the config says: transformers reads it so
        for missing, present in (HEAD_AND_TABLE, HEAD_AND_TABLE[::-1]):
            if present in plain:
                plain.setdefault(missing, plain[present])
    return plain


def meta_model(native: Any) -> Any:
    """Return the model of a config without content: on the device "meta" tensors have shapes and no values."""
    import torch
    from transformers import InternVLForConditionalGeneration

    try:
        with torch.device("meta"):
            return InternVLForConditionalGeneration(native)
    except (KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UsageError("export.config_unusable", problem=str(error).partition("\n")[0]) from None


def weight_shapes(native: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights that a model of this config has, named as `lora.plain_name` does."""
    tower = tower_of(native)
    if tower is None:
        return _state_shapes(meta_model(native))
    from transformers import InternVLVisionConfig

    stand_in = copy.copy(native)  # transformers has no such tower, and the rest of the model needs its width alone
    stand_in.vision_config = InternVLVisionConfig(hidden_size=tower.width, num_hidden_layers=0, num_attention_heads=1)
    shapes = _state_shapes(meta_model(stand_in))
    rest = {name: shape for name, shape in shapes.items() if not name.startswith(TOWER)}
    return {f"{TOWER}{name}": shape for name, shape in tower.weight_shapes.items()} | rest


def _state_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {lora.plain_name(name): tuple(value.shape) for name, value in model.state_dict().items()}


def mismatches(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, StoredTensor]) -> list[Message]:
    """Return what is missing, unknown or of another shape among weights; nothing where they have the `shapes` wanted."""
    found = []
    if missing := sorted(shapes.keys() - weights.keys()):
        found.append(Message("export.weights_missing", count=len(missing), first=missing[0]))
    if unknown := sorted(weights.keys() - shapes.keys()):
        found.append(Message("export.weights_unknown", count=len(unknown), first=unknown[0]))
    if reshaped := sorted(name for name in shapes.keys() & weights.keys() if weights[name].shape != shapes[name]):
        found.append(Message("export.weights_reshaped", count=len(reshaped), first=reshaped[0]))
    if coded := sorted(name for name in shapes.keys() & weights.keys() if weights[name].dtype not in FLOATS):
        kind = weights[coded[0]].dtype
        found.append(Message("export.weights_coded", count=len(coded), first=coded[0], type=kind))
    return found


def find_region_head(folder: Path, native: Any, training: TrainingFacts) -> dict[str, StoredTensor]:
    """Return the weights of a folder's region head by name, none where it has no head; raises UsageError."""
    path, tower = folder / region_head.FILE, tower_of(native)
    if path.is_file() != (training.region_head is not None):
        parts = (region_head.FILE, "region_head of training.json")
        present, missing = parts if path.is_file() else parts[::-1]
        raise UsageError("export.region_head_half", checkpoint=folder.name, present=present, missing=missing)
    if not path.is_file():
        return {}
    if tower is None:
        raise UsageError("export.region_head_without_maps", type=str(native.vision_config.model_type))
    weights = index_tensors([path])
    sizes = region_head.read_sizes(weights, tower.widths, int(native.text_config.hidden_size))
    for mismatch in mismatches(sizes.weight_shapes, weights):
        raise UsageError("export.region_head_does_not_fit", mismatch=mismatch)
    return weights


def find_mask_head(folder: Path) -> dict[str, StoredTensor]:
    """Return the weights of a folder's mask head by name, none where it has no head; raises UsageError."""
    path = folder / mask_head.FILE
    if not path.is_file():
        return {}
    weights = index_tensors([path])
    for mismatch in mismatches(mask_head.weight_shapes(), weights):
        raise UsageError("export.mask_head_does_not_fit", file=path.name, mismatch=mismatch)
    return weights
