"""What the small files of a checkpoint say: read as transformers reads it, or refused by name.

Image processors, added tokens, one matrix for head and embeddings, ends of an answer, kinds of numbers, quantised weights.
"""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "sentencepiece"):
    pytest.importorskip(name)

import chat_reference
from conftest import original_model

from medrega_edge.domain import Modality
from medrega_edge.errors import UsageError
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, preprocess
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_export import ExportOptions
from medrega_export.checkpoint import checkpoint, image_processor
from medrega_export.checkpoint.tokenizer_json import read_tokenizer
from medrega_export.preflight import inspect
from tests.codes import raises_code

SIDE = 64  # of the tower of `checkpoint_folder`
NATIVE, CHAT = {"model_type": "internvl"}, {"model_type": "internvl_chat"}
SIZE = {"size": {"height": SIDE, "width": SIDE}}
CLIP = {"image_processor_type": "CLIPImageProcessor", "size": SIDE, "crop_size": SIDE}


@pytest.fixture
def copied(checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copied"))


def write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def change(path: Path, **values: object) -> None:
    data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, data | values)


PROCESSORS = {
    "size alone": SIZE,  # mean and deviation are CLIP's then
    "size as a number": {"size": SIDE},
    "ImageNet": SIZE | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "halves": SIZE | {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    "one number for all channels": SIZE | {"image_mean": 0.4, "image_std": 0.3},
    "not normalised": SIZE | {"do_normalize": False},
    "factor in short": SIZE | {"rescale_factor": 0.00392156862745098},
    "bicubic": SIZE | {"resample": 3},
    "old name": SIZE | {"image_processor_type": "GotOcr2ImageProcessorFast"},
    "other name": SIZE | {"image_processor_type": "GotOcr2ImageProcessorPil"},
    "a crop that the class does not make": SIZE | {"do_center_crop": True, "crop_size": {"height": 8, "width": 8}},
    "padding that the class does not make": SIZE | {"do_pad": True, "pad_size": {"height": 99, "width": 99}},
    "grey made colour": SIZE | {"do_convert_rgb": None},
    "one tile": SIZE | {"crop_to_patches": False, "max_patches": 12},
    "keys of later libraries": SIZE | {"next": 3, "device": None, "data_format": "channels_first", "auto_map": {}},
}  # fmt: skip


def picture(width: int, height: int) -> MedicalImage:
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return MedicalImage(pixels, Modality.CT)


@pytest.mark.parametrize("nested", [False, True], ids=["file", "nested"])
@pytest.mark.parametrize("case", PROCESSORS)
def test_pixels_are_those_of_the_processor(case: str, nested: bool, tmp_path: Path) -> None:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    if nested:  # what transformers 5 writes; the older file beside it does not count
        write_json(tmp_path / "processor_config.json", {"image_processor": PROCESSORS[case]})
        write_json(tmp_path / "preprocessor_config.json", SIZE | {"image_mean": [0.1, 0.1, 0.1]})
    else:
        write_json(tmp_path / "preprocessor_config.json", PROCESSORS[case])
        write_json(tmp_path / "processor_config.json", {"image_seq_length": 4})
    settings, _ = image_processor.read(tmp_path, NATIVE, SIDE)
    reference = GotOcr2ImageProcessorPil.from_pretrained(tmp_path)
    for width, height in ((90, 60), (48, 80), (64, 64)):
        image = picture(width, height)
        expected = np.asarray(reference(image.pixels, crop_to_patches=False, return_tensors="np")["pixel_values"])
        given, _ = preprocess(image, settings)
        assert given.shape == expected.shape and np.abs(given - expected).max() < 1e-5


CLIPS = {
    "all silent but the sides": CLIP,
    "shortest edge": CLIP | {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}},
    "the older key": {"feature_extractor_type": "CLIPFeatureExtractor", "size": SIDE, "crop_size": SIDE},
    "ImageNet": CLIP | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "without a crop": CLIP | {"do_center_crop": False},
}


@pytest.mark.parametrize("case", CLIPS)
def test_squares_are_those_of_the_original_layout(case: str, tmp_path: Path) -> None:
    """Its code stretches an image to the square before CLIP's processor gets it."""
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    write_json(tmp_path / "preprocessor_config.json", CLIPS[case])
    settings, warnings = image_processor.read(tmp_path, CHAT, SIDE)
    assert warnings == ()
    image = picture(90, 60)
    square = Image.fromarray(image.pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    expected = np.asarray(CLIPImageProcessorPil.from_pretrained(tmp_path)(square, return_tensors="np")["pixel_values"])
    assert np.abs(preprocess(image, settings)[0] - expected).max() < 1e-5


KEY, UNKNOWN = "export.image_processor", "export.image_processor_unknown"
REFUSED_PROCESSORS = {
    "another side": (NATIVE, {"size": {"height": 32, "width": 32}}, KEY, "size"),
    "no side": (NATIVE, {"image_mean": [0.5, 0.5, 0.5]}, KEY, "size"),  # transformers takes 384
    "no square": (NATIVE, {"size": {"height": SIDE, "width": 32}}, KEY, "size"),
    "the shortest edge": (NATIVE, {"size": {"shortest_edge": SIDE}}, KEY, "size"),
    "the longest edge": (NATIVE, {"size": {"longest_edge": SIDE}}, KEY, "size"),
    "a list": (NATIVE, {"size": [SIDE, SIDE]}, KEY, "size"),
    "unresized": (NATIVE, SIZE | {"do_resize": False}, KEY, "do_resize"),
    "bilinear": (NATIVE, SIZE | {"resample": 2}, KEY, "resample"),
    "nearest": (NATIVE, SIZE | {"resample": 0}, KEY, "resample"),
    "unscaled": (NATIVE, SIZE | {"do_rescale": False}, KEY, "do_rescale"),
    "another factor": (NATIVE, SIZE | {"rescale_factor": 1 / 127.5}, KEY, "rescale_factor"),
    "no factor": (NATIVE, SIZE | {"rescale_factor": "1/255"}, KEY, "rescale_factor"),
    "two channels": (NATIVE, SIZE | {"image_mean": [0.5, 0.5]}, KEY, "image_mean"),
    "mean in words": (NATIVE, SIZE | {"image_mean": ["a", "b", "c"]}, KEY, "image_mean"),
    "deviation of nought": (NATIVE, SIZE | {"image_std": [0.5, 0.0, 0.5]}, KEY, "image_std"),
    "deviation below nought": (NATIVE, SIZE | {"image_std": -1}, KEY, "image_std"),
    "another processor": (NATIVE, SIZE | {"image_processor_type": "CLIPImageProcessor"}, UNKNOWN, None),
    "a processor of its own": (NATIVE, SIZE | {"image_processor_type": "MyProcessor"}, UNKNOWN, None),
    "chat, another side": (CHAT, CLIP | {"size": 32}, KEY, "size"),
    "chat, a smaller crop": (CHAT, CLIP | {"crop_size": 32}, KEY, "crop_size"),
    "chat, no side": (CHAT, {"image_processor_type": "CLIPImageProcessor"}, KEY, "size"),  # transformers takes 224
    "chat, another processor": (CHAT, CLIP | {"image_processor_type": "SiglipImageProcessor"}, UNKNOWN, None),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_PROCESSORS)
def test_other_processors_are_refused(case: str, tmp_path: Path) -> None:
    config, given, code, key = REFUSED_PROCESSORS[case]
    write_json(tmp_path / "preprocessor_config.json", given)
    with raises_code(UsageError, code, file="preprocessor_config.json") as refused:
        image_processor.read(tmp_path, config, SIDE)
    assert key is None or refused.value.message.params["key"] == key


def test_without_a_processor_the_numbers_are_those_of_imagenet(tmp_path: Path) -> None:
    settings, warnings = image_processor.read(tmp_path, NATIVE, SIDE)
    assert (settings.mean, settings.std, settings.image_size, warnings) == (IMAGENET_MEAN, IMAGENET_STD, SIDE, ())


@pytest.mark.parametrize(
    ("given", "many"),
    [
        (SIZE, False),
        (SIZE | {"crop_to_patches": True}, True),
        (SIZE | {"crop_to_patches": True, "max_patches": 1}, False),
        (SIZE | {"processor_class": "InternVLProcessor"}, True),  # which cuts tiles whatever the file says
        (SIZE | {"processor_class": "InternVLProcessor", "crop_to_patches": False}, True),
        (SIZE | {"processor_class": "InternVLProcessor", "max_patches": 1}, False),
    ],
    ids=str,
)
def test_tiles_are_told(given: dict, many: bool, copied: Path) -> None:
    write_json(copied / "preprocessor_config.json", given)
    assert [warning.code for warning in checkpoint.load(copied).warnings] == ["export.trained_on_tiles"] * many


def test_the_package_normalises_with_the_numbers_of_the_checkpoint(copied: Path) -> None:
    write_json(copied / "preprocessor_config.json", SIZE | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]})
    settings = checkpoint.load(copied).preprocessing
    assert (settings.mean, settings.std, settings.fit) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "stretch")


TEXTS = (
    "Where is the liver? <ref>liver</ref><box>[[1, 2, 3, 4]]</box>",
    "<|im_start|>user<new> 肝脏<late>",
    "<new><new>",
    "",
)


def without_tokens(folder: Path, *contents: str) -> dict[str, int]:
    """Take added tokens out of tokenizer.json, as it was before they were added; returns their numbers."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    numbers = {token["content"]: token["id"] for token in data["added_tokens"] if token["content"] in contents}
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] not in contents]
    write_json(path, data)
    return numbers


def size_of(folder: Path) -> int:
    return Tokenizer((folder / "tokenizer.json").read_text(encoding="utf-8")).size


def nothing_added(folder: Path) -> None:
    pass


def tokens_that_are_there(folder: Path) -> None:
    write_json(folder / "added_tokens.json", {"<box>": 8, "</box>": 9})


def a_later_token(folder: Path) -> None:
    write_json(folder / "added_tokens.json", {"<new>": size_of(folder)})


def later_tokens_in_any_order(folder: Path) -> None:
    first = size_of(folder)
    write_json(folder / "added_tokens.json", {"<late>": first + 1, "<new>": first})


def a_token_of_the_config(folder: Path) -> None:
    token = {"content": "<new>", "lstrip": True, "normalized": False, "special": True}
    write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": {str(size_of(folder)): token}})


def the_config_over_the_older_file(folder: Path) -> None:
    a_token_of_the_config(folder)
    write_json(folder / "added_tokens.json", {"<late>": 9999})


def markers_beside_a_stale_tokenizer(folder: Path) -> None:
    """Case 28: the tokens lie in tokenizer.json's vocabulary and are no added tokens of it."""
    numbers = without_tokens(folder, "<box>", "</box>", "<ref>", "</ref>")
    write_json(folder / "added_tokens.json", numbers)


ADDED = [
    nothing_added,
    tokens_that_are_there,
    a_later_token,
    later_tokens_in_any_order,
    a_token_of_the_config,
    the_config_over_the_older_file,
    markers_beside_a_stale_tokenizer,
]


@pytest.mark.parametrize("write", ADDED, ids=lambda write: write.__name__)
def test_added_tokens_are_those_of_transformers(write, copied: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    write(copied)
    given = Tokenizer(read_tokenizer(copied, NATIVE).decode("utf-8"))
    reference = PreTrainedTokenizerFast.from_pretrained(copied)
    assert given.size == len(reference)
    for text in TEXTS:
        assert given.encode(text) == reference(text, add_special_tokens=False)["input_ids"]
    marks = [mark for mark in ("<new>", "<box>") if mark in reference.get_vocab()]
    assert [given.strip_special_tokens(mark) for mark in marks] == [""] * len(marks)  # no question can forge one


def test_a_tokenizer_that_is_complete_keeps_its_bytes(copied: Path) -> None:
    tokens_that_are_there(copied)
    assert read_tokenizer(copied, NATIVE) == (copied / "tokenizer.json").read_bytes()


CONTRADICTED, UNREADABLE = "export.added_token_contradicted", "export.added_tokens_unreadable"
REFUSED_TOKENS = {
    "another number": ("added_tokens.json", {"<box>": 3}, CONTRADICTED),
    "a gap before it": ("added_tokens.json", {"<new>": 5000}, CONTRADICTED),
    "a number in use": ("added_tokens.json", {"<new>": 3}, CONTRADICTED),
    "the config's gap": ("tokenizer_config.json", {"added_tokens_decoder": {"5000": {"content": "<new>"}}}, CONTRADICTED),
    "a number in words": ("added_tokens.json", {"<new>": "many"}, UNREADABLE),
    "no number": ("added_tokens.json", {"<new>": None}, UNREADABLE),
    "no properties": ("tokenizer_config.json", {"added_tokens_decoder": {"320": "<new>"}}, UNREADABLE),
    "no content": ("tokenizer_config.json", {"added_tokens_decoder": {"320": {"special": True}}}, UNREADABLE),
    "content of a number": ("tokenizer_config.json", {"added_tokens_decoder": {"320": {"content": 7}}}, UNREADABLE),
    "a list": ("tokenizer_config.json", {"added_tokens_decoder": ["<new>"]}, UNREADABLE),
}


@pytest.mark.parametrize("case", REFUSED_TOKENS)
def test_added_tokens_that_are_refused(case: str, copied: Path) -> None:
    file, content, code = REFUSED_TOKENS[case]
    write_json(copied / file, content)
    with raises_code(UsageError, code):
        read_tokenizer(copied, NATIVE)


@pytest.mark.parametrize("tie", [True, False, None], ids=["tied", "not tied", "unsaid"])
@pytest.mark.parametrize("inner", [True, False, None], ids=["inner tied", "inner not", "inner unsaid"])
@pytest.mark.parametrize("present", ["both", "both alike", "table", "head"])
def test_head_and_embeddings_are_those_of_transformers(tie, inner, present: str, copied: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    for part, value in ((config, tie), (config["text_config"], inner)):
        part.pop("tie_word_embeddings", None)
        if value is not None:
            part["tie_word_embeddings"] = value
    write_json(copied / "config.json", config)
    stored = load_file(copied / "model.safetensors")
    head = next(name for name in stored if name.endswith("lm_head.weight"))
    table = next(name for name in stored if name.endswith("embed_tokens.weight"))
    if present == "both alike":
        stored[head] = stored[table].clone()
    for name, kind in ((head, "table"), (table, "head")):
        if present == kind:
            del stored[name]
    save_file(stored, copied / "model.safetensors", metadata={"format": "pt"})
    try:
        weights = checkpoint.load(copied).weights
    except UsageError as refused:
        assert refused.code == "export.weights_do_not_fit" and tie is False and present in ("table", "head")
        return
    model = original_model(copied)
    assert torch.equal(weights["lm_head.weight"].read(), model.lm_head.weight)
    assert torch.equal(weights["embed_tokens.weight"].read(), model.get_input_embeddings().weight)


END = 2  # of the tokenizer in `checkpoint_folder`
ENDS = {
    "one": ({"eos_token_id": 2}, (2,)),
    "several": ({"eos_token_id": [2, 5]}, (2, 5)),
    "unsaid, so the config's": ({}, (2,)),
    "null, so the config's": ({"eos_token_id": None}, (2,)),
}  # fmt: skip
REFUSED_ENDS = {
    "text": "<|im_end|>", "a list of text": ["2"], "none": [], "below nought": -1, "past the last": 512, "true": True,
    "a fraction": 2.5,
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_answers_end_where_transformers_ends_them(case: str, copied: Path) -> None:
    given, expected = ENDS[case]
    (copied / "generation_config.json").unlink()
    write_json(copied / "generation_config.json", given)
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    change(copied / "config.json", text_config=config["text_config"] | {"eos_token_id": END})
    assert checkpoint.load(copied).end_tokens == expected


@pytest.mark.parametrize(("given", "expected"), [({}, (421,)), ({"eos_token_id": [2, 421]}, (421, 2))])
def test_the_original_layout_ends_with_the_turn(given: dict, expected: tuple[int, ...], tmp_path: Path) -> None:
    """Its code sets the end of a turn as the end of an answer, whatever generation_config.json says."""
    chat_reference.write_checkpoint(tmp_path / "chat")
    write_json(tmp_path / "chat" / "generation_config.json", given)
    assert checkpoint.load(tmp_path / "chat").end_tokens == expected


@pytest.mark.parametrize("case", REFUSED_ENDS)
def test_ends_that_are_no_tokens(case: str, copied: Path) -> None:
    change(copied / "generation_config.json", eos_token_id=REFUSED_ENDS[case])
    with raises_code(UsageError, "export.end_token_invalid"):
        checkpoint.load(copied)


def test_settings_that_the_runtime_does_not_follow_are_told(copied: Path) -> None:
    free = {"temperature": 0.1, "top_p": 0.001, "top_k": 1, "max_new_tokens": 64, "repetition_penalty": 1.0}
    change(copied / "generation_config.json", **free)
    assert checkpoint.load(copied).warnings == ()
    change(copied / "generation_config.json", repetition_penalty=1.05, do_sample=True, suppress_tokens=[3])
    (warning,) = checkpoint.load(copied).warnings
    assert warning.code == "export.generation_not_followed"
    assert warning.params["keys"] == ("do_sample", "repetition_penalty", "suppress_tokens")


KINDS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "uint8", "int32")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", ["float32", "bfloat16"])
def test_numbers_are_read_as_they_are_stored(kind: str, said: str, copied: Path) -> None:
    """`dtype` in a config is how a loader should compute; what is read is what is stored."""
    import torch
    from safetensors.torch import load_file, save_file

    change(copied / "config.json", dtype=said, torch_dtype=said)
    stored = load_file(copied / "model.safetensors")
    name = next(name for name in stored if name.endswith("layers.1.mlp.up_proj.weight"))
    stored[name] = stored[name].to(getattr(torch, kind))
    save_file(stored, copied / "model.safetensors", metadata={"format": "pt"})
    if not kind.startswith(("float64", "float32", "float16", "bfloat16")):
        with raises_code(UsageError, "export.weights_do_not_fit") as refused:
            checkpoint.load(copied)
        assert refused.value.message.params["mismatch"].code == "export.weights_coded"
        return
    read = checkpoint.load(copied).weights["layers.1.mlp.up_proj.weight"].read()
    assert torch.equal(read, original_model(copied).model.language_model.layers[1].mlp.up_proj.weight)


@pytest.mark.parametrize("part", ["", "text_config", "vision_config"])
@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "torchao"])
def test_quantised_weights_are_refused(part: str, key: str, method: str, copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    (config[part] if part else config)[key] = {"quant_method": method}
    write_json(copied / "config.json", config)
    with raises_code(UsageError, "export.already_quantised"):
        checkpoint.load(copied)


UNUSABLE = "export.config_unusable"
REFUSED_CONFIGS = {
    "several layers of the tower": ({"vision_feature_layer": [-1, -2]}, "export.feature_layer"),
    "a layer that is not there": ({"vision_feature_layer": -9}, "export.feature_layer"),
    "a ratio of no whole number": ({"downsample_ratio": 0.4}, "export.grid_indivisible"),
    "a ratio that enlarges": ({"downsample_ratio": 2.0}, "export.downsample_ratio"),
    "another activation of the projector": ({"projector_hidden_act": "relu"}, "export.projector_activation_unsupported"),
    "an unknown activation": ({"projector_hidden_act": "magic"}, UNUSABLE),
    "the class token": ({"vision_feature_select_strategy": "full"}, "export.class_token_unsupported"),
    "one channel": ({"vision_config": {"num_channels": 1}}, "export.channels_unsupported"),
    "an unknown norm": ({"vision_config": {"norm_type": "batch_norm"}}, UNUSABLE),
    "heads that do not divide the tower": ({"vision_config": {"num_attention_heads": 5}}, UNUSABLE),
    "another activation of the tower": ({"vision_config": {"hidden_act": "relu"}}, "export.tower_activation_unsupported"),
    "no positions": ({"vision_config": {"use_absolute_position_embeddings": False}}, "export.tower_positions_missing"),
    "no square": ({"vision_config": {"image_size": [64, 32]}}, "export.not_square"),
    "a sliding window": ({"text_config": {"use_sliding_window": True}}, "export.language_layers_unsupported"),
    "sliding layers": ({"text_config": {"layer_types": ["sliding_attention"] * 2}}, "export.language_layers_unsupported"),
    "another activation": ({"text_config": {"hidden_act": "gelu"}}, "export.language_layers_unsupported"),
    "yarn": ({"text_config": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}}, "export.rope_unsupported"),
    "rotary halves": (
        {"text_config": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}}},
        "export.rope_unsupported",
    ),
    "small heads": ({"text_config": {"head_dim": 8}}, "export.head_size_unsupported"),
    "another language model": ({"text_config": {"model_type": "qwen3"}}, "export.language_model_unsupported"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED_CONFIGS)
def test_configs_that_are_not_exported(case: str, copied: Path, tmp_path: Path) -> None:
    changes, code = REFUSED_CONFIGS[case]
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    merged = {key: config[key] | value if isinstance(value, dict) else value for key, value in changes.items()}
    write_json(copied / "config.json", config | merged)
    problems = inspect(ExportOptions(copied, tmp_path / "package")).problems
    assert code in [problem.code for problem in problems]


def test_the_document_counts_the_cells() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    read = 2 * len(PROCESSORS) + len(CLIPS) + 7  # and six of tiles, and one without a file
    for kind, cells, refused in (
        ("image processor", read, REFUSED_PROCESSORS),
        ("added tokens", len(ADDED), REFUSED_TOKENS),
    ):
        assert re.search(rf"{kind}.*\| {cells} \| {len(refused)} \|", text)
    assert re.search(rf"end tokens.*\| {len(ENDS) + 2} \| {len(REFUSED_ENDS)} \|", text)
    assert re.search(rf"kinds of layers.*\| {len(REFUSED_CONFIGS)} \|", text)
    assert re.search(rf"kinds of numbers.*\| 8 \| {2 * len(KINDS) - 8} \|", text)
