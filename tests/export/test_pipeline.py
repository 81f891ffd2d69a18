"""The whole way, on a random checkpoint of the smallest shape: package, gates, certificate, command line."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "gptqmodel", "onnx", "tokenizers", "sentencepiece"):
    pytest.importorskip(name)

import chat_reference
from conftest import original_model

from medrega_edge.engine import load
from medrega_edge.errors import GateError, ImageError, UsageError
from medrega_edge.evaluation.gates import read_gates
from medrega_edge.i18n.message import Message
from medrega_edge.package.package import Package
from medrega_export import ExportOptions, export
from medrega_export.graphs.numerical_error import Thresholds
from medrega_export.graphs.reference_decoder import DecoderRun
from medrega_export.quantisation.recipe import FULL, Override, Recipe
from tests.codes import raises_code

MIXED = (Override("layers.0.qkv", 8), Override("layers.1.down", 8, 64), Override("tower.0.fc2", 32))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_package_is_complete(exported) -> None:
    root, report = exported
    assert sorted(path.name for path in root.iterdir()) == ["gptq", "package"]  # nothing half-written is left over
    package = Package.open(root / "package")
    package.verify()
    manifest = package.manifest
    assert manifest.precision == report.precision == "gptq-int4-g32 + vision-int8"
    assert manifest.tasks == ("detect", "identify") and manifest.languages == ("en", "zh")
    assert (manifest.vision.image_size, manifest.vision.tokens) == (64, 4)
    assert manifest.tokens.image == 5 and manifest.tokens.end == (2,)
    table = np.load(root / "package" / "embeddings.npy")
    assert table.dtype == np.float16 and table.shape == (manifest.decoder.vocabulary, manifest.decoder.hidden)


def test_errors_are_small_and_none_is_missing(exported) -> None:
    _, report = exported
    assert set(report.errors) == {"vision_int8", "decoder_layout", "decoder_rounded", "gptq", "embeddings"}
    assert report.errors["decoder_layout"] < 1e-4
    assert 1e-5 < report.errors["decoder_rounded"] < 0.05
    assert 1e-5 < report.errors["vision_int8"] < 0.05
    assert 1e-3 < report.errors["gptq"] < 0.3


def test_the_certificate_holds_both_packages(exported) -> None:
    root, report = exported
    stored = json.loads((root / "package" / "certificate.json").read_text(encoding="utf-8"))
    assert stored == report.certificate
    groups = {(e["task"], e["language"], e["modality"]): e for e in stored["accuracy"]}
    assert set(groups) == {("detect", x, m) for x in ("en", "zh") for m in (None, "ct", "mri")}
    assert groups["detect", "en", None]["n"] == 3
    assert stored["packages"]["package"]["decoder"] == Package.open(root / "package").manifest.files["decoder"].sha256
    assert stored["packages"]["reference"]["decoder"] != stored["packages"]["package"]["decoder"]
    assert stored["items"]["count"] == 6
    card = (root / "package" / "README.md").read_text(encoding="utf-8")
    assert "mean IoU" in card and "Groups of 32 weights: " in card


def test_no_text_of_the_questions_is_kept(exported) -> None:
    root, _ = exported
    for path in [*(root / "package").iterdir(), *(root / "gptq").iterdir()]:
        if path.name != "tokenizer.json":  # its vocabulary was trained on these very words
            data = path.read_bytes()
            for secret in ("肝脏在哪里", "Where is the liver", "112, 240", "a.png"):
                assert secret.encode() not in data and json.dumps(secret)[1:-1].encode() not in data, path.name


def test_the_runtime_sees_what_torch_sees(checkpoint_folder: Path, questions_file: Path, tmp_path: Path) -> None:
    """From image file and question to logits: the full-precision package equals the checkpoint in transformers."""
    import torch

    from medrega_edge.engine import load as load_engine
    from medrega_edge.evaluation.questions import read_questions
    from medrega_edge.images.preprocess import Preprocessing, preprocess
    from medrega_edge.images.reader import read_image
    from medrega_edge.tasks.intent import build_request
    from medrega_export import questions
    from medrega_export.checkpoint import checkpoint

    export(ExportOptions(checkpoint_folder, tmp_path / "fp32", recipe=FULL))
    engine = load_engine(tmp_path / "fp32")
    asked = read_questions(questions_file)[1]
    image = engine.open(asked.image)
    answer = engine.run(image, build_request(asked.task, asked.question), asked.language, max_tokens=3)

    original, model = checkpoint.load(checkpoint_folder), original_model(checkpoint_folder)
    values, geometry = preprocess(read_image(asked.image), Preprocessing(64))
    spelt = questions.spell(asked, geometry, original.prompts, original.tokenizer, [5] * 4)
    prompt = spelt[: len(spelt) - len(original.tokenizer.encode(asked.truth.text))]
    assert answer.prompt_tokens == len(prompt)
    package = Package.open(tmp_path / "fp32")
    embeddings = np.load(package.path("embeddings"))[prompt]
    embeddings[np.array(prompt) == package.manifest.tokens.image] = image.embeds
    logits = DecoderRun(package.path("decoder"), package.manifest.decoder).feed(embeddings)
    with torch.no_grad():
        truth = model(input_ids=torch.tensor([prompt]), pixel_values=torch.from_numpy(values)).logits[0, -1]
    assert np.abs(logits - truth.numpy()).max() < 1e-4 * float(truth.abs().max())


def test_full_precision(checkpoint_folder: Path, tmp_path: Path) -> None:
    report = export(ExportOptions(checkpoint_folder, tmp_path / "fp32", recipe=FULL))
    assert report.precision == "fp32"
    assert report.errors["decoder_fp32"] < 1e-5 and report.errors["vision_fp32"] < 1e-5 and report.errors["embeddings"] == 0
    assert np.load(tmp_path / "fp32" / "embeddings.npy").dtype == np.float32
    assert report.certificate["accuracy"] is None and report.certificate["reason"]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(bits=8, group_size=64, symmetric=False, tower="fp16"),
        Recipe(symmetric=False, head_bits=4, tower="fp32"),
        Recipe(overrides=MIXED),
        Recipe(prefill_int8=True),
        Recipe(bits=32, head_bits=8),
    ],
    ids=lambda recipe: recipe.name,
)
def test_every_recipe_runs_and_says_what_it_is(
    recipe: Recipe, checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    """The graph agrees with the quantised checkpoint, and the runtime opens the package and answers."""
    report = export(ExportOptions(checkpoint_folder, tmp_path / "p", questions_file, calibration_items=3, recipe=recipe))
    assert report.precision == recipe.name
    assert recipe.bits == 32 or report.errors["decoder_layout"] < 1e-4
    assert ("prefill_int8" in report.errors) == recipe.prefill_int8
    assert 1e-4 < report.errors.get("prefill_int8", 0.01) < 0.05
    engine = load(tmp_path / "p")
    assert engine.package.manifest.files["decoder"].precision == recipe.files["decoder"]
    assert ("prefill" in engine.package.manifest.files) == recipe.prefill_int8
    assert engine.ask(engine.open(questions_file.parent / "a.png"), "Where is the liver?").raw_text
    card = (tmp_path / "p" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{override.unit}`" in card for override in recipe.overrides)


@pytest.mark.parametrize(("text", "tied"), [("llama", False), ("qwen2", True)])
def test_other_language_models(make_checkpoint, text: str, tied: bool, questions_file: Path, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", text, tied)
    report = export(ExportOptions(folder, tmp_path / "package", questions_file, calibration_items=3))
    assert report.errors["decoder_layout"] < 1e-4


def test_the_original_layout_in_4_bits(questions_file: Path, tmp_path: Path) -> None:
    """From an InternVL-Chat-V1-2 folder to answers: package, certificate, and a kept checkpoint that says its shuffle."""
    chat_reference.write_checkpoint(tmp_path / "chat")
    questions = questions_file
    report = export(
        ExportOptions(tmp_path / "chat", tmp_path / "p", questions, certify=questions, keep_checkpoint=tmp_path / "gptq")
    )
    assert report.errors["decoder_layout"] < 1e-4 and report.certificate["accuracy"]
    assert json.loads((tmp_path / "gptq" / "config.json").read_text(encoding="utf-8"))["ps_version"] == "v1"
    assert "ps_version" in (tmp_path / "gptq" / "README.md").read_text(encoding="utf-8")


def test_a_missed_gate_leaves_nothing(checkpoint_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError) as missed:
        export(ExportOptions(checkpoint_folder, tmp_path / "fp32", recipe=FULL, thresholds=Thresholds(decoder_fp32=1e-12)))
    assert missed.value.code == "export.stage_error"
    assert (missed.value.message.params["stage"], missed.value.message.params["limit"]) == ("decoder_fp32", 1e-12)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"recipe": FULL, "certify": True}, "export.certify_full_precision"),
        ({"recipe": FULL, "keep_checkpoint": True}, "export.keep_unquantised"),
        ({"gates": read_gates("flips<=0")}, "export.gate_without_certificate"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    change: dict, code: str, checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    named = {"certify": questions_file, "keep_checkpoint": tmp_path / "gptq"}
    options = change | {name: path for name, path in named.items() if change.get(name)}
    with raises_code(UsageError, code):
        export(ExportOptions(checkpoint_folder, tmp_path / "p", calibration=questions_file, **options))


@pytest.mark.parametrize(
    ("out", "keep", "code"),
    [
        (".", None, "export.target_is_here"),
        ("/", None, "export.target_is_here"),
        ("package", "package", "export.targets_overlap"),
        ("package", "package/gptq", "export.targets_overlap"),
        ("gptq/package", "gptq", "export.targets_overlap"),
    ],
)
def test_targets_that_are_no_places_of_their_own(
    out: str,
    keep: str | None,
    code: str,
    checkpoint_folder: Path,
    questions_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with raises_code(UsageError, code):
        export(ExportOptions(checkpoint_folder, Path(out), questions_file, keep_checkpoint=keep and Path(keep)))
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_no_groups_are_refused_before_any_work(
    checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    heard: list[Message] = []
    misfit = {"layer": "self_attn.q_proj", "rows": 64, "width": 64, "group": 128, "bits": 4}
    with raises_code(UsageError, "export.layer_indivisible", **misfit):
        export(ExportOptions(checkpoint_folder, tmp_path / "p", questions_file, recipe=Recipe(group_size=128)), heard.append)
    assert heard == [] and list(tmp_path.iterdir()) == []


def test_weights_that_are_no_numbers_are_said_to_be_so() -> None:
    with raises_code(GateError, "export.stage_not_a_number", stage="decoder_layout"):
        Thresholds().check({"decoder_layout": float("nan")})


def test_an_earlier_export_is_replaced_only_by_force(checkpoint_folder: Path, tmp_path: Path) -> None:
    options = {"checkpoint": checkpoint_folder, "out": tmp_path / "fp32", "recipe": FULL}
    export(ExportOptions(**options))
    before = hashes(tmp_path / "fp32")
    with raises_code(UsageError, "export.target_exists", target="fp32"):
        export(ExportOptions(**options))
    export(ExportOptions(**options, force=True))
    assert hashes(tmp_path / "fp32") == before  # and the same again, bit for bit
    (tmp_path / "mine").mkdir()
    with raises_code(UsageError, "export.target_is_no_export", target="mine"):
        export(ExportOptions(**options | {"out": tmp_path / "mine"}, force=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp32", "mine"]


def test_the_command_line(checkpoint_folder: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medrega_edge", "export", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = run(checkpoint_folder, "--out", tmp_path / "p", "--precision", "fp32")
    assert good.returncode == 0 and "decoder_fp32" in good.stdout
    stages = ["images and questions", "vision fp32", "decoder fp32"]  # and nothing from the libraries
    assert good.stderr.splitlines() == stages
    again = run(checkpoint_folder, "--out", tmp_path / "p", "--precision", "fp32")
    assert again.returncode == 2 and "--force" in again.stderr and again.stdout == ""
    without = run(checkpoint_folder, "--out", tmp_path / "q")
    assert without.returncode == 2 and "--calibration" in without.stderr
    absent = run(tmp_path / "no", "--out", tmp_path / "q", "--precision", "fp32")
    assert absent.returncode == 2 and not (tmp_path / "q").exists()


def test_questions_that_cannot_be_certified_are_refused_at_once(
    checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    line = json.loads(questions_file.read_text(encoding="utf-8").splitlines()[0])
    line["image"] = str(questions_file.parent / line["image"])
    for change, code in (
        ({"task": "report"}, "export.question_task_unknown"),
        ({"task": "identify"}, "export.question_without_box"),
        ({"image": "x.png"}, "export.question_image"),
        ({"image": str(questions_file)}, "export.question_image"),
    ):
        path = tmp_path / "certify.jsonl"
        path.write_text(json.dumps(line | change), encoding="utf-8")
        with pytest.raises((UsageError, ImageError)) as refused:
            export(ExportOptions(checkpoint_folder, tmp_path / "package", questions_file, certify=path))
        assert refused.value.code == code and refused.value.message.params["question"] == "q0"
        assert not (tmp_path / "package").exists()
