"""The whole way of a checkpoint with an EfficientNet-Lite tower and a region head: package, certificate, resume, sizes."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "gptqmodel", "onnx", "tokenizers"):
    pytest.importorskip(name)

import torch
from conftest import write_lite_checkpoint

from medrega_edge.engine import load
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.mask_head import MaskHead
from medrega_edge.package.package import Package
from medrega_export import ExportOptions, export
from medrega_export.checkpoint import checkpoint, mask_head
from medrega_export.graphs import reference_decoder, vision
from medrega_export.pipeline import explain
from medrega_export.preflight import inspect
from medrega_export.quantisation import bit_allocation
from medrega_export.quantisation.recipe import FULL, Override, Recipe
from tests.codes import raises_code

NO_LANGUAGE_BITS = Recipe(bits=32, head_bits=32)


class Stopped(Exception):
    """The power goes."""


@pytest.fixture(scope="module")
def options(lite_folder: Path, questions_file: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportOptions:
    root = tmp_path_factory.mktemp("lite")
    return ExportOptions(
        lite_folder, root / "package", questions_file, certify=questions_file, keep_checkpoint=root / "gptq"
    )


@pytest.fixture(scope="module")
def heard() -> list[Message]:
    return []


@pytest.fixture(scope="module")
def report(options: ExportOptions, heard: list[Message]):
    return export(options, heard.append)


def everything(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_manifest_says_what_the_tower_and_the_head_need(report) -> None:
    package = Package.open(report.folder)
    package.verify()
    manifest = package.manifest
    assert manifest.schema_version == 2
    assert (manifest.vision.fit, manifest.vision.image_size, manifest.vision.tokens) == ("pad", 64, 4)
    assert manifest.vision.mean == (127 / 255,) * 3 and manifest.vision.std == (128 / 255,) * 3
    assert manifest.decoder.hidden_state == "hidden_state"
    assert manifest.regions is not None
    assert (manifest.regions.bins, manifest.regions.several, manifest.regions.overlap) == (8, 0.3, 0.5)
    assert manifest.files["region_head"].precision == "fp32"
    assert manifest.files["vision"].precision == "int8-static"
    assert "region_head_data" not in manifest.files


def test_the_names_in_the_manifest_are_those_of_the_graphs(report) -> None:
    package = Package.open(report.folder)
    manifest, regions = package.manifest, package.manifest.regions
    names = {
        role: ({x.name for x in session.get_inputs()}, {x.name for x in session.get_outputs()})
        for role, session in ((role, reference_decoder.session(package.path(role))) for role in ("vision", "region_head"))
    }
    assert names["vision"] == (
        {manifest.vision.input},
        {manifest.vision.output, regions.places, regions.fine, regions.tokens},
    )
    inputs, outputs = names["region_head"]
    assert inputs == {regions.query, regions.places, regions.fine}
    assert outputs == {regions.edges, regions.presence, regions.centres, regions.distances}


def test_the_runtime_answers_and_the_certificate_is_measured(report, questions_file: Path) -> None:
    engine = load(report.folder)
    answer = engine.ask(engine.open(questions_file.parent / "a.png"), "Where is the liver?")
    assert answer.raw_text
    groups = {(e["task"], e["language"], e["modality"]): e["n"] for e in report.certificate["accuracy"]}
    assert groups["detect", "en", None] == 3
    files = Package.open(report.folder).manifest.files
    assert report.certificate["packages"]["package"]["region_head"] == files["region_head"].sha256
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    assert "EfficientNet-Lite0, 64 px, 4 image tokens" in card and "Region head: " in card


def test_the_errors_of_all_outputs_are_told(report) -> None:
    outputs = {"tower_int8", "regions_int8"}
    assert set(report.errors) == {*outputs, "decoder_layout", "decoder_rounded", "gptq", "embeddings"}
    assert all(1e-3 < report.errors[name] < 0.3 for name in outputs)


def test_the_kept_checkpoint_keeps_the_head(report, options: ExportOptions, lite_folder: Path) -> None:
    kept = options.keep_checkpoint
    assert (kept / "region_head.safetensors").read_bytes() == (lite_folder / "region_head.safetensors").read_bytes()
    assert json.loads((kept / "config.json").read_text(encoding="utf-8"))["vision_config"]["variant"] == "lite0"


def test_stopped_at_every_stage(report, options: ExportOptions, heard: list[Message], tmp_path: Path) -> None:
    moved = dataclasses.replace(options, out=tmp_path / "package", keep_checkpoint=tmp_path / "gptq")
    for stage in dict.fromkeys(heard):

        def notify(message: Message, stage: Message = stage) -> None:
            if message == stage:
                raise Stopped

        with pytest.raises(Stopped):
            export(moved, notify)
        assert not moved.out.exists()
    export(moved)
    assert everything(tmp_path) == everything(options.out.parent)


def test_the_hidden_state_is_what_the_output_head_reads(lite_folder: Path, tmp_path: Path) -> None:
    import torch

    report = export(ExportOptions(lite_folder, tmp_path / "fp32", recipe=FULL))
    assert set(report.errors) == {"decoder_fp32", "embeddings"}  # the float32 tower is the reference itself
    package, loaded = Package.open(tmp_path / "fp32"), checkpoint.load(lite_folder)
    assert package.manifest.precision == package.manifest.files["vision"].precision == "fp32"
    spec = package.manifest.decoder
    embeddings = np.random.default_rng(3).standard_normal((1, 5, spec.hidden)).astype(np.float32) * 0.1
    inputs = {spec.embeds: embeddings, spec.last_position: np.array([4], np.int32), spec.total_length: np.array(5, np.int32)}
    for i in range(spec.layers):
        shape = (1, spec.kv_heads, spec.context, spec.head_dim)
        inputs |= {name.format(i): np.zeros(shape, np.float32) for name in (spec.past_key, spec.past_value)}
    session = reference_decoder.session(package.path("decoder"))
    logits, state = session.run([spec.logits, spec.hidden_state], inputs)
    assert state.shape == (1, spec.hidden)
    head = loaded.weights["lm_head.weight"].read()
    assert np.allclose((torch.from_numpy(state) @ head.T).numpy(), logits, atol=1e-4 * np.abs(logits).max())


def test_a_checkpoint_without_a_head_gives_a_package_without_one(tmp_path: Path) -> None:
    folder = write_lite_checkpoint(tmp_path / "checkpoint", has_head=False)
    export(ExportOptions(folder, tmp_path / "package", recipe=dataclasses.replace(FULL, tower="fp16")))
    manifest = Package.open(tmp_path / "package").manifest
    assert manifest.schema_version == 1 and manifest.regions is None and manifest.decoder.hidden_state == ""
    assert manifest.vision.fit == "pad" and "region_head" not in manifest.files
    names = {x.name for x in reference_decoder.session(tmp_path / "package" / "vision.onnx").get_outputs()}
    assert names == {"image_embeds"}


def test_a_mask_head_in_the_checkpoint_goes_into_the_package(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = write_lite_checkpoint(tmp_path / "checkpoint", has_head=False)
    shapes, random = mask_head.weight_shapes(), np.random.default_rng(0)
    weights = {name: 0.05 * random.standard_normal(shape).astype(np.float16) for name, shape in shapes.items()}
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    save_file(tensors, folder / mask_head.FILE, {mask_head.WRONG: '["liver"]', mask_head.TRAINED_ON: "7"})
    found = inspect(ExportOptions(folder, tmp_path / "package"))
    assert "mask_head" in {name.code.removeprefix("export.fact_") for name, _ in found.facts}
    export(ExportOptions(folder, tmp_path / "package", recipe=dataclasses.replace(FULL, tower="fp16")))
    package = Package.open(tmp_path / "package")
    package.verify()
    assert package.manifest.masks is not None and package.manifest.masks.wrong == ("liver",)
    assert "true masks of 7 images" in package.text("card")
    MaskHead(package, 1, "cpu")


def test_an_int8_tower_needs_images(lite_folder: Path, tmp_path: Path) -> None:
    with raises_code(UsageError, "export.tower_needs_images"):
        export(ExportOptions(lite_folder, tmp_path / "package", recipe=NO_LANGUAGE_BITS))
    with raises_code(UsageError, "export.unit_of_another_tower", unit="tower.0.fc1"):
        recipe = dataclasses.replace(NO_LANGUAGE_BITS, overrides=(Override("tower.0.fc1", 32),))
        export(ExportOptions(lite_folder, tmp_path / "package", recipe=recipe))
    assert list(tmp_path.iterdir()) == []


def test_the_whole_tower_is_one_unit(
    lite_folder: Path, checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    """Its loss is that of the graph; with its float32 bytes granted, it is raised; and the package has the size foreseen."""
    options = ExportOptions(lite_folder, tmp_path / "p", questions_file, recipe=NO_LANGUAGE_BITS)
    recipe, (tower,) = explain(options)
    assert (tower.unit, tower.given.bits, tower.raised.bits, tower.raised.loss) == ("tower", 8, 32, 0.0)
    assert tower.given.divergence > 0 and tower.given.output == tower.given.state
    loaded = checkpoint.load(lite_folder)
    size = bit_allocation.package_size(loaded, [tower], recipe, options.context)
    raised = bit_allocation.raise_units([tower], recipe, size, size + tower.extra)
    assert raised.overrides == (Override("tower", 32),)
    vision.write(loaded, tmp_path / "raised.onnx", raised)
    vision.write(loaded, tmp_path / "full.onnx", FULL)
    assert (tmp_path / "raised.onnx").stat().st_size == pytest.approx((tmp_path / "full.onnx").stat().st_size, abs=100)
    report = export(options)
    assert 0.85 * size < report.total_bytes < size
    assert report.errors["tower_int8"] == pytest.approx(tower.given.state)
    with raises_code(UsageError, "export.unit_of_another_tower", unit="tower"):
        export(ExportOptions(checkpoint_folder, tmp_path / "q", recipe=raised))


def test_the_preflight_tells_of_tower_and_head(lite_folder: Path, tmp_path: Path) -> None:
    found = inspect(ExportOptions(lite_folder, tmp_path / "package"))
    facts = {name.code.removeprefix("export.fact_"): value for name, value in found.facts}
    assert found.problems == []
    assert facts["tower"] == Message("export.efficientnet_shape", variant="lite0", size=64, tokens=4)
    loaded = checkpoint.load(lite_folder)
    counted = sum(int(np.prod(w.shape)) for w in loaded.region_weights.values())
    assert facts["region_head"].params["billions"] == pytest.approx(counted / 1e9)
    broken = Path(shutil.copytree(lite_folder, tmp_path / "broken"))
    (broken / "region_head.safetensors").unlink()
    assert [problem.code for problem in inspect(ExportOptions(broken, tmp_path / "q")).problems] == [
        "export.region_head_half"
    ]
