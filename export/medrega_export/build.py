"""Checkpoint -> model package: the only composer. Runs the stages, measures each, writes the manifest last.

Everything happens in a folder of its own beside the target, which takes the target's name only when it is complete, has
passed its gates, and has been opened and verified as the runtime will open it.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medrega_edge.errors import UsageError
from medrega_edge.package import (
    MANIFEST,
    SCHEMA_VERSION,
    FileEntry,
    Manifest,
    Package,
    TokenSpec,
    VisionSpec,
    file_entry,
)
from medrega_edge.preprocess import IMAGENET_MEAN, IMAGENET_STD
from medrega_edge.prompts import Task
from medrega_export import calibration, decoder, gates, gptq, gptq_format, measure, text_model, vision
from medrega_export.card import write_card
from medrega_export.certificate import certificate, compare
from medrega_export.checkpoint import Checkpoint, load
from medrega_export.foreign_prompts import Samples
from medrega_export.questions import Question, choose, read_questions
from medrega_export.recipe import FULL, FULL_BITS, Recipe

MEASURED = 8  # images and sequences on which stages are measured
CONTEXT = 2048  # longest sequence a package is made for; its cache is allocated at once

SHUFFLE_NOTE = """# Before you load this

These weights were trained with pixel shuffle "v1" (`ps_version` in config.json). transformers' InternVL class knows "v2"
alone and does not look: transpose the grid of image tokens behind its projector, or images are seen mirrored.
"""

FILES = {
    "vision": "vision.onnx",
    "decoder": "decoder.onnx",
    "embeddings": "embeddings.npy",
    "tokenizer": "tokenizer.json",
    "prompts": "prompts.json",
    "certificate": "certificate.json",
    "card": "README.md",
}


@dataclass(frozen=True)
class ExportOptions:
    """What to export and where to. `certify` holds the certificate's questions; without, accuracy is unmeasured.

    `adapter` is a LoRA adapter's folder; `samples` are the published prompts of a checkpoint that brings none of its own;
    `gates` are held against the certificate.
    """

    checkpoint: Path
    out: Path
    calibration: Path | None = None
    calibration_items: int = 128
    certify: Path | None = None
    recipe: Recipe = Recipe()
    keep_checkpoint: Path | None = None
    force: bool = False
    context: int = CONTEXT
    thresholds: measure.Thresholds = field(default_factory=measure.Thresholds)
    adapter: Path | None = None
    samples: Samples | None = None
    gates: tuple[gates.Gate, ...] = ()


@dataclass(frozen=True)
class Report:
    """What came out: the folder, its precision and size, every stage's error, seconds per stage, the certificate."""

    folder: Path
    precision: str
    bytes: int
    errors: dict[str, float]
    seconds: dict[str, float]
    certificate: dict[str, Any]


@dataclass
class _Work:
    """What the stages hand to each other."""

    checkpoint: Checkpoint
    stage: vision.VisionStage
    material: calibration.Material
    shape: decoder.Shape
    tell: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        self.tell(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)


def export(options: ExportOptions, tell: Callable[[str], None] = lambda message: None) -> Report:
    """Export a checkpoint as a model package.

    `tell` hears the name of each stage. Raises UsageError for input that cannot be exported, GateError when a stage's
    error exceeds its threshold; the target is then as it was.
    """
    _check(options)
    checkpoint = load(options.checkpoint, options.adapter, options.samples)
    for warning in checkpoint.warnings:
        tell(f"warning: {warning}")
    shape = text_model.shape_of(checkpoint.model.config.text_config, options.context)
    stage = vision.VisionStage(checkpoint.model, checkpoint.pixel_shuffle)
    if options.calibration is None:
        material = calibration.from_noise(checkpoint, stage)
    else:
        chosen = choose(read_questions(options.calibration), options.calibration_items)
        material = calibration.from_questions(checkpoint, stage, chosen, shape.context)
    questions = read_questions(options.certify) if options.certify else []
    _check_questions(questions, checkpoint)
    work = _Work(checkpoint, stage, material, shape, tell)
    with _in_place(options.out, options.force) as folder, tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        errors = _assemble(work, folder, options.recipe, scratch)
        options.thresholds.check(errors)
        signed = _certify(work, folder, options, errors, questions, scratch)
        gates.check(options.gates, signed["accuracy"] or [])
        Package.open(folder).verify()
        if options.keep_checkpoint:
            with _in_place(options.keep_checkpoint, options.force) as kept:
                gptq.join_checkpoint(checkpoint.model, scratch / "gptq", options.checkpoint, kept)
                (kept / "prompts.json").write_text(checkpoint.prompts.to_json(), encoding="utf-8")
                if checkpoint.pixel_shuffle == "v1":
                    (kept / "README.md").write_text(SHUFFLE_NOTE, encoding="utf-8")
    package = Package.open(options.out)
    return Report(options.out, package.manifest.precision, package.bytes, errors, work.seconds, signed)


def _check(options: ExportOptions) -> None:
    quantised = options.recipe.bits != FULL_BITS
    if quantised and options.calibration is None:
        raise UsageError("Quantisation needs questions to calibrate on; name a JSONL file with --calibration.")
    if options.recipe.is_full and options.certify is not None:
        raise UsageError("A package in full precision is what a certificate compares with; leave --certify out.")
    if not quantised and options.keep_checkpoint is not None:
        raise UsageError("At 32 bits there is no quantised checkpoint to keep; leave --keep-checkpoint out.")
    if options.gates and options.certify is None:
        raise UsageError("A gate is held against the certificate; name its questions with --certify.")
    if options.calibration_items < 1:
        raise UsageError("--calibration-items has to be 1 or more.")
    if not options.checkpoint.is_dir():
        raise UsageError(f"There is no checkpoint folder '{options.checkpoint}'; check the path.")
    for target in (options.out, options.keep_checkpoint):
        if target is not None:
            _check_target(target, options.force)


def _check_questions(questions: list[Question], checkpoint: Checkpoint) -> None:
    """Refuse in the first second what would fail after minutes."""
    for question in questions:
        if question.task.value not in checkpoint.training.tasks:
            raise UsageError(f"Question '{question.id}' asks for '{question.task}', which the checkpoint does not know.")
        if question.task is Task.IDENTIFY and question.box is None:
            raise UsageError(f"Question '{question.id}' asks what is in a box and names none; give it a 'box'.")
        if question.task is Task.CLASSIFY and not question.labels:
            raise UsageError(f"Question '{question.id}' asks for one of several labels and names none; give it 'labels'.")
        if not question.image.is_file():
            raise UsageError(f"The image '{question.image.name}' of question '{question.id}' is not there.")


def _check_target(target: Path, force: bool) -> None:
    if not target.exists():
        return
    # --force replaces what an export has written, and nothing else a path may happen to name.
    if not any((target / name).is_file() for name in (MANIFEST, "quantize_config.json")):
        raise UsageError(f"'{target.name}' exists and is no earlier export; choose another path.")
    if not force:
        raise UsageError(f"'{target.name}' exists; choose another path, or replace it with --force.")


@contextmanager
def _in_place(target: Path, force: bool) -> Iterator[Path]:
    """Hand out a fresh folder beside `target`; give it that name when the block ends well, remove it when not."""
    _check_target(target, force)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp closes it to others; a package is for all who may read the parent
        if target.exists():
            old = target.with_name(f"{temporary.name}.old")
            target.rename(old)
            try:
                temporary.rename(target)
            except OSError:
                old.rename(target)
                raise
            shutil.rmtree(old)
        else:
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _assemble(work: _Work, folder: Path, recipe: Recipe, scratch: Path) -> dict[str, float]:
    """Write every file but certificate, card and manifest; returns the stages' errors."""
    checkpoint = work.checkpoint
    errors = _vision(work, folder / FILES["vision"], recipe)
    if recipe.bits == FULL_BITS:
        errors |= _full_decoder(work, folder, recipe)
    else:
        errors |= _quantised_decoder(work, folder, recipe, scratch)
    table = checkpoint.model.get_input_embeddings().weight.detach().numpy()
    stored = table if recipe.is_full else table.astype(np.float16)
    np.save(folder / FILES["embeddings"], stored)
    errors["embeddings"] = vision.relative_error(stored.astype(np.float32), table)
    (folder / FILES["tokenizer"]).write_bytes(checkpoint.tokenizer_json)
    (folder / FILES["prompts"]).write_text(checkpoint.prompts.to_json(), encoding="utf-8")
    return errors


def _vision(work: _Work, path: Path, recipe: Recipe) -> dict[str, float]:
    with work.timed(f"vision {recipe.tower_name}"):
        vision.write(work.stage, path, recipe)
        pixels = work.material.pixels[:MEASURED]
        error = vision.relative_error(vision.run_graph(path, pixels), vision.run_torch(work.stage, pixels))
    return {f"vision_{recipe.tower}": error}


def _full_decoder(work: _Work, folder: Path, recipe: Recipe) -> dict[str, float]:
    model, head = work.checkpoint.model.model.language_model, work.checkpoint.model.lm_head
    with work.timed("decoder fp32"):
        state = {**model.state_dict(), "lm_head.weight": head.weight}
        weights = text_model.plain_weights(state, work.shape.layers, recipe.head_bits)
        path = folder / FILES["decoder"]
        spec = decoder.write(work.shape, weights, path)
        samples = work.material.samples[:MEASURED]
        truth = [measure.torch_logits(model, head, sample) for sample in samples]
        stage = "decoder_fp32" if recipe.head_bits == FULL_BITS else "decoder_rounded"
        return {stage: measure.logit_error(measure.graph_logits(path, spec, samples), truth)}


def _quantised_decoder(work: _Work, folder: Path, recipe: Recipe, scratch: Path) -> dict[str, float]:
    checkpoint = work.checkpoint
    with work.timed("gptq"):
        gptq.split_text_model(checkpoint.model, scratch / "text", checkpoint.tied)
        (scratch / "text" / "tokenizer.json").write_bytes(checkpoint.tokenizer_json)
        gptq.quantise(scratch / "text", work.material.samples, scratch / "gptq", recipe)
    with work.timed(f"decoder {recipe.language_name}"):
        stored = gptq_format.open_checkpoint(scratch / "gptq")
        head = checkpoint.model.lm_head
        original = checkpoint.model.model.language_model
        weights = text_model.quantised_weights(stored, work.shape.layers, checkpoint.tied, recipe.head_bits)
        path = folder / FILES["decoder"]
        spec = decoder.write(work.shape, weights, path)
        reference = copy.deepcopy(original)
        text_model.put_dequantised(reference, stored)
        samples = work.material.samples[:MEASURED]
        truth = [measure.torch_logits(reference, head, sample) for sample in samples]
        full = [measure.torch_logits(original, head, sample) for sample in samples]
        # Once more without any rounding beyond the codes: what is left is the writer's own doing.
        exact = replace(weights, head=decoder.PlainLinear(head.weight.detach().numpy()))
        exact_path = scratch / "exact.onnx"
        decoder.write(work.shape, exact, exact_path, decoder.EXACT_LEVEL)
        return {
            "decoder_layout": measure.logit_error(measure.graph_logits(exact_path, spec, samples), truth),
            "decoder_rounded": measure.logit_error(measure.graph_logits(path, spec, samples), truth),
            "gptq": measure.logit_error(truth, full),
        }


def _certify(
    work: _Work,
    folder: Path,
    options: ExportOptions,
    errors: dict[str, float],
    questions: list[Question],
    scratch: Path,
) -> dict[str, Any]:
    """Sign a package off: first with no accuracy, so that the runtime opens it, then with the accuracy it has."""
    stages = {name: (error, getattr(options.thresholds, name, None)) for name, error in errors.items()}
    reason = "no questions with truth were given (--certify)"
    if options.recipe.is_full:
        reason = "the package is in full precision itself"
    _sign(work, folder, options.recipe, {"stages": {}, "accuracy": None, "reason": "not measured yet"})
    packages = {"package": folder}
    compared = None
    if questions:
        reference = scratch / "reference"
        reference.mkdir()
        full = _assemble(work, reference, FULL, scratch)
        options.thresholds.check(full)
        stages |= {f"reference {name}": (error, getattr(options.thresholds, name)) for name, error in full.items()}
        _sign(work, reference, FULL, {"stages": {}, "accuracy": None, "reason": "the reference of a certificate"})
        packages["reference"] = reference
        with work.timed("certificate"):
            compared = compare(reference, folder, questions, work.tell)
    folders = (options.checkpoint, *([options.adapter] if options.adapter else []))
    weights = [path for source in folders for path in sorted(source.glob("*.safetensors"))]
    asked = questions if compared else []
    signed = certificate(stages, compared, None if compared else reason, asked, packages, options.recipe, weights)
    _sign(work, folder, options.recipe, signed, compared.calibration if compared else ())
    return signed


def _sign(work: _Work, folder: Path, recipe: Recipe, signed: dict[str, Any], scale: tuple[float, ...] = ()) -> None:
    """Write certificate, card, and last the manifest; `scale` calibrates the scores of boxes."""
    checkpoint = work.checkpoint
    training = checkpoint.training
    text = json.dumps(signed, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    (folder / FILES["certificate"]).write_text(text, encoding="utf-8")
    (folder / FILES["card"]).write_text(write_card(training, recipe, signed, checkpoint.warnings), encoding="utf-8")
    files: dict[str, FileEntry] = {}
    for role, name in FILES.items():
        files[role] = file_entry(folder / name, recipe.files.get(role, "text"))
        data = folder / f"{name}.data"
        if data.is_file():
            files[f"{role}_data"] = file_entry(data, recipe.files[role])
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=training.name,
        version=training.version,
        source=". ".join([training.source, *checkpoint.warnings]),
        precision=recipe.name,
        files=files,
        vision=VisionSpec(
            input=vision.INPUT,
            output=vision.OUTPUT,
            image_size=checkpoint.image_size,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            tokens=checkpoint.image_tokens,
        ),
        decoder=decoder.specification(work.shape),
        tokens=TokenSpec(image=checkpoint.image_token, end=checkpoint.end_tokens),
        tasks=training.tasks,
        languages=training.languages,
        modalities=training.modalities,
        calibration=scale,
    )
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    temporary.write_text(manifest.to_json(), encoding="utf-8")
    temporary.replace(folder / MANIFEST)
