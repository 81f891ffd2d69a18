"""An InternVL of a preset's shape, in transformers' own class, with fresh weights or those of another checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders
from torch import Tensor, nn
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, Qwen2Config
from transformers.models.internvl.modeling_internvl import InternVLVisionModel

from medrega_edge.errors import UsageError
from medrega_train.lite_vision import EfficientNetLiteConfig, lite_config
from medrega_train.presets import EfficientNet, Preset
from medrega_train.tokens import token_id


def vision_config(preset: Preset) -> InternVLVisionConfig | EfficientNetLiteConfig:
    """Shape of the tower."""
    tower = preset.tower
    if isinstance(tower, EfficientNet):
        return lite_config(tower.variant, preset.image_size, tower.token_grid)
    return InternVLVisionConfig(
        hidden_size=tower.width,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.width // preset.head_width,
        intermediate_size=4 * tower.width,
        attention_bias=True,
        image_size=[preset.image_size] * 2,
        patch_size=[tower.patch_size] * 2,
        use_absolute_position_embeddings=True,
    )


def build_tower(preset: Preset) -> InternVLVisionModel:
    """A tower with fresh weights.

    Position embeddings start random instead of zero, and layer scale at 0.3 instead of 0.1: a shallow tower trained from
    scratch needs less braking.
    """
    torch.manual_seed(preset.seed)
    config = vision_config(preset)
    # The plain attention is faster than the fused one on processors at these short lengths; a GPU prefers the fused.
    config._attn_implementation = "sdpa" if torch.cuda.is_available() else "eager"
    tower = InternVLVisionModel(config)
    nn.init.trunc_normal_(tower.embeddings.position_embeddings, std=0.02)
    for layer in tower.encoder.layer:
        nn.init.constant_(layer.lambda_1, 0.3)
        nn.init.constant_(layer.lambda_2, 0.3)
    return tower


def load_checkpoint(folder: Path) -> InternVLForConditionalGeneration:
    """Load a checkpoint to start from; raises UsageError when the folder holds none."""
    if not (folder / "config.json").is_file() or not (folder / "tokenizer.json").is_file():
        raise UsageError("train.no_checkpoint", folder=folder)
    return InternVLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def take_weights(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Give `module` the weights of another one's `state`; raises UsageError when they differ in shape."""
    try:
        module.load_state_dict(state)
    except RuntimeError:
        raise UsageError("train.other_shape") from None


def graft(
    model: InternVLForConditionalGeneration, tokenizer: Tokenizer, other: InternVLForConditionalGeneration, spoken: Tokenizer
) -> None:
    """Give `model`, which speaks `tokenizer`, the weights of `other`, which speaks `spoken`.

    A token that both know keeps its rows; another one starts as the mean of the pieces that `spoken` cuts it into, so that
    a better tokenizer need not cost what has been learnt. Another kind of tower keeps its own weights, and its projector.
    Raises UsageError when they differ in more.
    """
    tables = {"model.language_model.embed_tokens.weight", "lm_head.weight"}
    state, mine = other.state_dict(), model.state_dict()
    if type(other.model.vision_tower) is not type(model.model.vision_tower):
        state = {name: state[name] if "language_model." in name or name in tables else mine[name] for name in mine}
    pieces = [_pieces(token, spoken) for token in _tokens(tokenizer)]
    for name in tables:
        rows = [state[name][ids].mean(dim=0) for ids in pieces]
        grafted = mine[name].clone()
        grafted[: len(rows)] = torch.stack(rows)
        state[name] = grafted
    take_weights(model, state)


def _tokens(tokenizer: Tokenizer) -> list[str]:
    return [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])]


def _pieces(token: str, spoken: Tokenizer) -> list[int]:
    """Ids of `spoken` for a token; the byte-level alphabet has one character a byte, so single bytes are always known."""
    known = spoken.token_to_id(token)
    if known is not None:
        return [known]
    text = decoders.ByteLevel().decode([token])
    if "\ufffd" not in text:
        return list(spoken.encode(text, add_special_tokens=False).ids)
    return [token_id(spoken, byte) for byte in token]


def build_model(preset: Preset, token_ids: dict[str, int], vocabulary: int) -> InternVLForConditionalGeneration:
    """The whole model with fresh weights; `token_ids` needs `image`, `end` and `pad`, `vocabulary` is a multiple of 32."""
    torch.manual_seed(preset.seed + 1)
    text = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=preset.text_width,
        intermediate_size=preset.text_mlp,
        num_hidden_layers=preset.text_layers,
        num_attention_heads=preset.text_width // preset.head_width,
        num_key_value_heads=max(1, preset.text_width // preset.head_width // 2),
        max_position_embeddings=preset.context,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=token_ids["end"],
        pad_token_id=token_ids["pad"],
    )
    config = InternVLConfig(
        vision_config=vision_config(preset),
        text_config=text,
        image_token_id=token_ids["image"],
        image_seq_length=preset.image_tokens,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full"
        if isinstance(preset.tower, EfficientNet)
        else "default",  # without a class token
        tie_word_embeddings=False,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token_ids["end"]
    model.generation_config.pad_token_id = token_ids["pad"]
    return model
