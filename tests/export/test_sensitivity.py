"""The loss map against what it predicts: the real int8 graph, the whole model, and a package under a size budget."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "gptqmodel", "onnx", "tokenizers"):
    pytest.importorskip(name)

import torch
import typer
from typer.testing import CliRunner

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import read_questions
from medrega_edge.package.package import Package
from medrega_export import ExportOptions, pipeline
from medrega_export.checkpoint.checkpoint import load
from medrega_export.cli import mount
from medrega_export.graphs import (
    text_model,
    vision,
)
from medrega_export.quantisation import bit_allocation, gptq, sensitivity
from medrega_export.quantisation.calibration import from_questions
from medrega_export.quantisation.recipe import Override, Recipe


def run(*arguments: object):
    app = typer.Typer()
    app.callback()(lambda: None)  # with one command alone it would have no name
    mount(app)
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


RECIPE = Recipe(head_bits=4, overrides=(Override("layers.1.qkv", 8), Override("tower.1.fc1", 32)))


@pytest.fixture(scope="module")
def parts(checkpoint_folder: Path, questions_file: Path):
    checkpoint = load(checkpoint_folder)
    return checkpoint, from_questions(checkpoint, read_questions(questions_file), 256)


@pytest.fixture(scope="module")
def losses(parts):
    return {loss.unit: loss for loss in sensitivity.measure(*parts, RECIPE)}


def test_every_unit_is_there_in_order(losses, parts) -> None:
    config = parts[0].config
    layers, tower = config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers
    expected = [f"tower.{i}.{unit}" for i in range(tower) for unit in ("qkv", "output", "fc1", "fc2")]
    expected += ["projector.linear_1", "projector.linear_2"]
    expected += [f"layers.{i}.{unit}" for i in range(layers) for unit in ("qkv", "output", "gate_up", "down")]
    assert list(losses) == [*expected, "head"]


def test_more_bits_cost_less_and_take_more(losses) -> None:
    for loss in losses.values():
        if loss.raised is None:
            assert loss.given.bits in (8, 32), loss.unit
            continue
        assert loss.raised.output < loss.given.output / 2 and loss.raised.state < loss.given.state / 2, loss.unit
        assert loss.extra > 0 and loss.given.divergence >= 0
    assert losses["layers.1.qkv"].raised is None and losses["layers.1.qkv"].given.bits == 8


def test_what_is_kept_costs_nothing(losses) -> None:
    kept = losses["tower.1.fc1"].given
    assert (kept.bits, kept.output, kept.state) == (32, 0.0, 0.0) and abs(kept.divergence) < 1e-9


@pytest.mark.parametrize("unit", ["projector.linear_1", "projector.linear_2"])
def test_the_tower_is_rounded_as_its_graph_is(losses, parts, tmp_path: Path, unit: str) -> None:
    """All but one unit kept in float32: what is left of the real graph's error is that unit's."""
    checkpoint, material = parts
    others = tuple(Override(name, 32) for name in losses if name.startswith(("tower.", "projector.")) and name != unit)
    vision.write(checkpoint, tmp_path / "vision.onnx", Recipe(overrides=others))
    given = np.stack(vision.run_graph(tmp_path / "vision.onnx", material.pixels))
    assert losses[unit].given.state == pytest.approx(vision.relative_error(given, torch.stack(material.images)), rel=0.05)


def test_a_layers_divergence_is_that_of_the_whole_model(losses, parts) -> None:
    checkpoint, material = parts
    names, weights = ("mlp.down_proj",), checkpoint.weights
    body, states = text_model.LayerwiseModel(checkpoint.config.text_config), list(material.samples)
    body.run(body.layer(text_model.layer_state(weights, body, 0)), states)
    module = body.layer(text_model.layer_state(weights, body, 1))
    (rounded,) = gptq.rounded(body, module, names, states, RECIPE, [(4, 32)])

    def one_rounded(body: text_model.LayerwiseModel, i: int):
        state = text_model.layer_state(weights, body, i)
        return state | {f"{name}.weight": rounded[name].clone() for name in names} if i == 1 else state

    truth, given = (
        [torch.from_numpy(x) for x in text_model.logits(checkpoint, material.samples, sensitivity.STEPS, state)]
        for state in (lambda body, i: text_model.layer_state(weights, body, i), one_rounded)
    )
    assert losses["layers.1.down"].given.divergence == pytest.approx(sensitivity.divergence(given, truth), rel=1e-3)


def test_divergence_by_hand() -> None:
    truth, given = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, np.log(3.0)]])  # (1/2, 1/2) and (1/4, 3/4)
    assert sensitivity.divergence([given], [truth]) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


def test_activations_are_rounded_to_256_steps() -> None:
    value = torch.tensor([-1.0, 0.0, 0.4, 4.1])
    step = 5.1 / 255
    assert torch.equal(sensitivity.uint8(value)[1], torch.tensor(0.0))
    assert (sensitivity.uint8(value) - value).abs().max() <= step / 2 + 1e-6


def test_a_budget_is_kept_and_said(checkpoint_folder: Path, questions_file: Path, tmp_path: Path) -> None:
    """--explain, then --max-size on what it wrote: the package is below the size, and says which units were raised."""
    common = [checkpoint_folder, "--calibration", questions_file, "--head-bits", 4]
    path = tmp_path / "losses.json"
    shown = run(*common, "--explain", "--out", path)
    assert shown.exit_code == 0, shown.output
    losses = bit_allocation.read_sensitivities(path, Recipe(head_bits=4))
    assert shown.stdout.count("\n") == len(losses) + 2  # a head and a legend
    context = ExportOptions(checkpoint_folder, tmp_path).context
    size = bit_allocation.package_size(load(checkpoint_folder), losses, Recipe(head_bits=4), context)
    limit = size + 20_000
    made = run(*common, "--losses", path, "--max-size", limit / 1e6, "--out", tmp_path / "p")
    assert made.exit_code == 0, made.output
    package = Package.open(tmp_path / "p")
    assert size / 2 < package.total_bytes <= limit and "mixed" in package.manifest.precision
    recipe = Recipe.from_json(json.dumps(json.loads(package.text("certificate"))["recipe"]))
    assert recipe.overrides and recipe.name == package.manifest.precision
    card = package.text("card")
    assert all(f"`{override.unit}`" in card for override in recipe.overrides)
    small = run(*common, "--losses", path, "--max-size", 0.1, "--out", tmp_path / "q")
    assert isinstance(small.exception, UsageError) and not (tmp_path / "q").exists()


def test_one_command_opens_the_checkpoint_once(
    checkpoint_folder: Path, questions_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Group size, sensitivities and export share it, and the material; without a certificate one manifest is written."""
    calls = Counter()

    def count(name: str) -> None:
        original = getattr(pipeline, name)
        monkeypatch.setattr(pipeline, name, lambda *given: (calls.update([name]), original(*given))[1])

    for name in ("load", "finalise"):
        count(name)
    made = run(checkpoint_folder, "--calibration", questions_file, "--max-size", 100, "--out", tmp_path / "p")
    assert made.exit_code == 0, made.output
    assert calls == {"load": 1, "finalise": 1}
    assert made.stderr.splitlines().count("images and questions") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--explain", "--max-size", 3],
        ["--explain"],  # without questions
        ["--losses", __file__, "--out", "x"],
        ["--precision", "fp32", "--out", "x", "--prompts", "no.jsonl", "no.json"],
    ],
)
def test_options_that_would_be_ignored_are_refused(checkpoint_folder: Path, arguments: list[object]) -> None:
    assert isinstance(run(checkpoint_folder, *arguments).exception, UsageError)


@pytest.mark.parametrize("option", ["--precision", "--tower", "--bits", "--group-size"])
def test_a_value_that_is_no_choice_is_refused(checkpoint_folder: Path, option: str) -> None:
    assert run(checkpoint_folder, option, "int4", "--out", "x").exit_code == UsageError.exit_code


def test_full_precision_has_nothing_to_explain(checkpoint_folder: Path, questions_file: Path) -> None:
    refused = run(checkpoint_folder, "--explain", "--calibration", questions_file, "--precision", "fp32").exception
    assert isinstance(refused, UsageError) and refused.code == "export.nothing_is_quantised"
