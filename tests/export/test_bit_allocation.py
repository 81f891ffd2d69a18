"""Which units are raised under a budget, and a loss map that is written, read and shown. Runs without torch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medrega_edge.errors import UsageError
from medrega_export.quantisation import bit_allocation
from medrega_export.quantisation.bit_allocation import PrecisionOption, UnitSensitivity
from medrega_export.quantisation.recipe import Override, Recipe
from tests.codes import raises_code


def loss(unit: str, before: float, after: float | None, size: int = 100, more: int = 100) -> UnitSensitivity:
    raised = None if after is None else PrecisionOption(8, 32, size + more, 0.0, 0.0, after)
    return UnitSensitivity(unit, 200, PrecisionOption(4, 32, size, 0.1, 0.1, before), raised)


LOSSES = [
    loss("layers.0.qkv", 0.5, 0.0),
    loss("layers.0.down", 0.9, 0.0, more=300),
    loss("layers.1.down", 0.8, 0.0),
    loss("tower.0.fc2", 0.1, None),
    loss("head", 0.4, 0.1),
    loss("layers.1.qkv", 0.0, 0.1),  # eight bits were worse, which chance can do
]


@pytest.mark.parametrize(
    ("limit", "units", "head"),
    [
        (1000, set(), 4),
        (1100, {"layers.1.down"}, 4),
        (1250, {"layers.1.down", "layers.0.qkv"}, 4),
        (1300, {"layers.1.down", "layers.0.qkv"}, 8),
        (1500, {"layers.1.down", "layers.0.qkv"}, 8),  # 200 left: too little for layers.0.down
        (9999, {"layers.1.down", "layers.0.qkv", "layers.0.down"}, 8),
    ],
)
def test_the_most_gain_a_byte_comes_first(limit: int, units: set[str], head: int) -> None:
    chosen = bit_allocation.raise_units(LOSSES, Recipe(head_bits=4), 1000, limit)
    assert {override.unit for override in chosen.overrides} == units and chosen.head_bits == head
    assert all((override.bits, override.group) == (8, 32) for override in chosen.overrides)


def test_random_maps_stay_below_the_limit_and_leave_nothing_that_fits() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        losses = [
            loss(f"layers.{i}.qkv", *sorted(generator.random(2), reverse=True), more=int(generator.integers(1, 400)))
            for i in range(12)
        ]
        limit = 1000 + int(generator.integers(0, 3000))
        raised = {override.unit for override in bit_allocation.raise_units(losses, Recipe(), 1000, limit).overrides}
        used = sum(one.extra for one in losses if one.unit in raised)
        assert 1000 + used <= limit
        assert all(1000 + used + one.extra > limit for one in losses if one.unit not in raised)


def test_what_is_set_by_hand_is_replaced_and_not_named_twice() -> None:
    recipe = Recipe(group_size=64, overrides=(Override("layers.1.down", 4, 32), Override("layers.5.down", 8)))
    chosen = bit_allocation.raise_units(LOSSES[2:3], recipe, 0, 1000)
    assert chosen.overrides == (Override("layers.1.down", 8, 32), Override("layers.5.down", 8))


def test_too_small_a_budget_is_refused() -> None:
    with raises_code(UsageError, "export.max_size_too_small", size=2.0, limit=1.5):
        bit_allocation.raise_units(LOSSES, Recipe(), 2_000_000, 1_500_000)


def test_without_a_divergence_the_state_counts() -> None:
    assert PrecisionOption(4, 32, 1, 0.3, 0.2, None).loss == pytest.approx(0.04)
    assert PrecisionOption(4, 32, 1, 0.3, 0.2, 0.7).loss == 0.7


def test_a_map_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "losses.json"
    path.write_text(bit_allocation.to_json(LOSSES, Recipe(head_bits=4)), encoding="utf-8")
    assert bit_allocation.read_sensitivities(path, Recipe(head_bits=4)) == LOSSES
    measured, wanted = Recipe(head_bits=4).name, Recipe().name
    with raises_code(
        UsageError, "export.sensitivities_of_another_recipe", file="losses.json", measured=measured, recipe=wanted
    ):
        bit_allocation.read_sensitivities(path, Recipe())
    path.write_text("{}", encoding="utf-8")
    with raises_code(UsageError, "export.not_sensitivities", file="losses.json"):
        bit_allocation.read_sensitivities(path, Recipe())


def test_the_table_begins_with_the_costliest() -> None:
    lines = list(bit_allocation.sensitivity_table(LOSSES))
    assert [line.split()[0] for line in lines[1:4]] == ["layers.0.down", "layers.1.down", "layers.0.qkv"]
    assert len({len(line) for line in lines[:4]}) == 1


def test_size() -> None:
    """Counted by hand: units at their bytes, embeddings at two bytes, the rest at four."""
    shapes: dict[str, tuple[int, ...]] = {
        "vision_tower.x": (6,),
        "embed_tokens.weight": (10, 4),
        "lm_head.weight": (10, 4),
        "norm.weight": (4,),
        "layers.0.x": (5, 10),
    }
    checkpoint = SimpleNamespace(
        weights={name: SimpleNamespace(shape=shape) for name, shape in shapes.items()},
        config=SimpleNamespace(
            text_config=SimpleNamespace(head_dim=2, hidden_size=4, num_attention_heads=2, max_position_embeddings=100)
        ),
        tokenizer_json=b"123",
        region_weights={},
        mask_weights={},
    )
    losses = [
        UnitSensitivity("layers.0.qkv", 50, PrecisionOption(4, 32, 31, 0, 0, 0), None),
        UnitSensitivity("head", 40, PrecisionOption(8, 32, 45, 0, 0, 0), None),
    ]
    expected = 31 + 45 + 2 * 40 + 4 * 4 + 4 * 6 + 4 * 2 * 64 + 3 + bit_allocation.OVERHEAD + 2 * bit_allocation.OVERHEAD_UNIT
    assert bit_allocation.package_size(checkpoint, losses, Recipe(), 64) == expected
    assert bit_allocation.package_size(checkpoint, losses, Recipe(tower="fp16"), 64) == expected - 2 * 6
