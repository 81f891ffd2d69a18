"""A run of the tower's training anneals, stops between two steps, goes on, and ends with its weights."""

import json
import math
from dataclasses import replace

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from medrega_train.efficientnet_lite import EfficientNetLite  # noqa: E402
from medrega_train.tower_targets import Lessons, TowerVocabulary  # noqa: E402
from medrega_train.tower_training import Draws, Evaluation, Plan, Run, TowerWithHead  # noqa: E402
from tests.train.test_tower_views import picture, record  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore:Initializing zero-element")]

PLAN = Plan(steps=3, batch=2, tower_from=0.0, sides=((0.0, 32), (0.5, 64)))
BOX = (20, 10, 60, 40)


def test_views_grow_and_rates_fall_with_the_steps():
    plan = Plan()
    assert [plan.side(progress) for progress in (0.0, 0.5, 1.0)] == [256, 320, 384]
    assert plan.tower_factor(plan.tower_from - 0.01) == 0.0
    factors = [plan.head_factor(progress) for progress in (plan.warm_up, 0.3, 0.6, 1.0)]
    assert factors == sorted(factors, reverse=True) and factors[-1] == pytest.approx(0.01)
    assert plan.head_factor(0.0) < 0.1


def test_a_tower_that_stands_still_gets_no_gradient():
    vocabulary = TowerVocabulary.of([record(BOX)])
    model = TowerWithHead(EfficientNetLite("lite0"), vocabulary)
    model.let_tower_learn(None)
    assert not any(p.requires_grad for p in model.tower.parameters())
    model.let_tower_learn(6)
    learned = {name.split(".")[1] for name, p in model.tower.named_parameters() if p.requires_grad}
    assert min(map(int, learned)) == 6 and "stem" not in learned


@pytest.fixture
def start(tmp_path):
    """A function that begins, or goes on with, one and the same small run."""
    records = []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        Image.fromarray(picture(BOX)).save(path)
        records.append(replace(record(BOX), image=path, batch=2))
    vocabulary = TowerVocabulary.of(records)
    lessons = Lessons(records, vocabulary)
    draws, evaluation = Draws(records, lessons, PLAN), Evaluation(records, lessons, 64)

    (tmp_path / "run").mkdir()
    return lambda: Run(tmp_path / "run", PLAN, TowerWithHead(EfficientNetLite("lite0"), vocabulary), draws, evaluation)


@pytest.mark.slow
def test_a_run_goes_on_where_its_slice_ended(start, tmp_path):
    first = start()
    assert not first.go(deadline=0.0)
    second = start()
    assert second.step == first.step == 1
    for ours, theirs in zip(second.model.parameters(), first.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert second.go(deadline=math.inf)
    written = load_file(tmp_path / "run" / "tower_and_head.safetensors")
    assert written.keys() == second.model.state_dict().keys()
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    lines = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    assert [line["single"]["batch 2"]["n"] for line in lines] == [4] * len(lines) and lines
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
