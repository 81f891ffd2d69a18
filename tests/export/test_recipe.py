"""What a recipe accepts, how it names itself, and that it survives JSON. Runs without torch."""

from __future__ import annotations

import pytest

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_export.cli import ExportFlags
from medrega_export.quantisation.recipe import CACHED_BYTES, FULL, Override, Recipe, fitting_group
from tests.codes import raises_code

UNIT = {"unit": "layers.0.qkv"}
QKV = UNIT | {"group": 32}
MIXED = Recipe(
    group_size=128,
    symmetric=False,
    overrides=(Override("layers.3.down", 8, 64), Override("layers.0.qkv", 4, 32), Override("tower.1.fc2", 32)),
)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe(), "gptq-int4-g32 + vision-int8"),
        (Recipe(bits=8, group_size=128, symmetric=False), "gptq-int8-g128-asym + vision-int8"),
        (Recipe(head_bits=4, tower="fp16"), "gptq-int4-g32 + head-int4 + vision-fp16"),
        (Recipe(head_bits=4, prefill_int8=True), "gptq-int4-g32 + head-int4 + prefill-int8 + vision-int8"),
        (MIXED, "gptq-int4-g128-asym-mixed2 + vision-int8-mixed1"),
        (FULL, "fp32"),
    ],
)
def test_names(recipe: Recipe, name: str) -> None:
    assert recipe.name == name


def test_the_command_line_asks_for_the_same_recipe_by_default() -> None:
    assert ExportFlags().recipe() == Recipe()
    assert ExportFlags(precision="fp32").recipe() == FULL
    wide = ExportFlags(bits="8", group_size="128", asymmetric=True, head_bits="32", tower="fp16").recipe()
    assert wide == Recipe(8, 128, False, 32, "fp16")
    assert ExportFlags(prefill_8bit=True).recipe() == Recipe(prefill_int8=True)
    with raises_code(UsageError, "export.prefill_unquantised"):
        ExportFlags(prefill_8bit=True, precision="fp32").recipe()


def test_files_are_named() -> None:
    assert Recipe().files == {"vision": "int8-dynamic", "decoder": "gptq-int4-g32, head int8", "embeddings": "fp16"}
    assert Recipe(prefill_int8=True).files == Recipe().files | {"prefill": "int8"}
    assert set(FULL.files.values()) == {"fp32"}


def test_overrides_reach_their_linear_layers() -> None:
    assert MIXED.linear(3, "mlp.down_proj") == (8, 64)
    assert MIXED.linear(2, "mlp.down_proj") == (4, 128)
    assert {MIXED.linear(0, f"self_attn.{x}_proj") for x in "qkv"} == {(4, 32)}
    assert MIXED.exact_units == {"tower.1.fc2"}


def test_the_decoders_error_is_held_against_the_limit_that_fits() -> None:
    stages = {recipe: recipe.decoder_stage for recipe in (Recipe(), FULL, Recipe(bits=32), Recipe(head_bits=4))}
    assert list(stages.values()) == ["decoder_rounded", "decoder_fp32", "decoder_rounded", "decoder_head4"]


def test_groups_fit_the_size_of_the_model() -> None:
    even = {"mlp.down_proj": 4864, "self_attn.q_proj": 896}
    cached = Message("export.group_in_cache", codes=Message("export.codes_in_megabytes", size=64.0))
    assert fitting_group(4, 2 * CACHED_BYTES, even) == (32, cached)
    assert str(cached) == "64 MB of codes stay in a processor's cache, and the smallest groups lose least"
    assert fitting_group(8, 2 * CACHED_BYTES, even)[0] == 128  # twice the bytes
    group, reason = fitting_group(4, 2 * CACHED_BYTES + 2, even)
    assert (group, reason.code) == (128, "export.group_from_memory")
    group, reason = fitting_group(4, 10 * CACHED_BYTES, even | {"mlp.down_proj": 4832})
    assert (group, reason.code) == (32, "export.group_indivisible")
    assert (reason.params["layer"], reason.params["width"]) == ("mlp.down_proj", 4832)


def test_json() -> None:
    assert Recipe.from_json(MIXED.to_json()) == MIXED
    assert Recipe.from_json(FULL.to_json()) == FULL
    for text in (
        "",
        "[]",
        "{}",
        '{"bits": 3, "overrides": []}',
        '{"overrides": [{"unit": 1}]}',
        '{"a": 1, "overrides": []}',
    ):
        with pytest.raises(UsageError):
            Recipe.from_json(text)


@pytest.mark.parametrize(
    ("settings", "code", "params"),
    [
        ({"bits": 32, "prefill_int8": True}, "export.prefill_unquantised", {}),
        ({"bits": 3}, "export.bits_unsupported", {"option": "--bits", "bits": 3}),
        ({"head_bits": 16}, "export.bits_unsupported", {"option": "--head-bits", "bits": 16}),
        ({"group_size": 48}, "export.group_size_unsupported", {"value": 48}),
        ({"tower": "int4"}, "export.tower_unsupported", {"tower": "int4"}),
        ({"overrides": (Override("layers.0.q_proj", 8),)}, "export.unit_unknown", {"unit": "layers.0.q_proj"}),
        ({"overrides": (Override("layers.0.qkv", 32),)}, "export.unit_bits", QKV | {"bits": 32}),
        ({"overrides": (Override("layers.0.qkv", 8), Override("layers.0.qkv", 4))}, "export.unit_twice", UNIT),
        ({"overrides": (Override("tower.0.qkv", 8),)}, "export.unit_of_tower", {"unit": "tower.0.qkv"}),
        (
            {"tower": "fp16", "overrides": (Override("tower.0.qkv", 32),)},
            "export.unit_of_tower",
            {"unit": "tower.0.qkv"},
        ),
        ({"bits": 32, "overrides": (Override("layers.0.qkv", 8),)}, "export.unit_bits", QKV | {"bits": 8}),
    ],
)
def test_refusals(settings: dict[str, object], code: str, params: dict[str, object]) -> None:
    with raises_code(UsageError, code, **params):
        Recipe(**settings)
