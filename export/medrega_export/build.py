"""Checkpoint -> model package: the only composer. Runs the stages, measures each, writes the manifest last.

Everything happens in folders of its own beside the target, one of which takes the target's name only when it is complete,
has passed its gates, and has been opened and verified as the runtime will open it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medrega_edge.errors import GateError
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
from medrega_export import calibration, decoder, gates, gptq, gptq_checkpoint, measure, text_model, tower, vision
from medrega_export.card import write_card
from medrega_export.certificate import certificate, compare
from medrega_export.checkpoint import Checkpoint, load
from medrega_export.options import ExportOptions, check, check_questions, check_target
from medrega_export.questions import Question, choose, read_questions
from medrega_export.recipe import FULL, FULL_BITS, Recipe
from medrega_export.weights import Stored
from medrega_export.work import Work, fingerprint

LAYERS, REFERENCE = "layers", "reference"  # in the work folder: quantised layers, the package in full precision
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
class Report:
    """What came out: the folder, its precision and size, every stage's error, seconds per stage, the certificate."""

    folder: Path
    precision: str
    bytes: int
    errors: dict[str, float]
    seconds: dict[str, float]
    certificate: dict[str, Any]


@dataclass
class _Run:
    """What the stages hand to each other."""

    checkpoint: Checkpoint
    material: calibration.Material
    shape: decoder.Shape
    thresholds: measure.Thresholds
    work: Work
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
    error exceeds its threshold or a gate is missed; the target is then as it was. Killed, the same export goes on where it
    was; behind a missed gate, with another gate, it only has to move what it made.
    """
    check(options)
    chosen = choose(read_questions(options.calibration), options.calibration_items) if options.calibration else []
    questions = read_questions(options.certify) if options.certify else []
    others = [options.keep_checkpoint] if options.keep_checkpoint else []
    work = Work(options.out, others, _key(options, chosen, questions))
    if work.moving:
        work.publish()
        return _report(options, {})
    for target in (options.out, *others):
        check_target(target, options.force)
    seconds: dict[str, float] = {}
    with work.open():
        if not work.made:
            seconds = _make(options, chosen, questions, work, tell)
            work.complete()
        _let_through(options, work.results[options.out])
    return _report(options, seconds)


def _make(
    options: ExportOptions, chosen: list[Question], questions: list[Question], work: Work, tell: Callable[[str], None]
) -> dict[str, float]:
    """Make all results in their folders; returns seconds per stage."""
    checkpoint = load(options.checkpoint, options.adapter, options.samples)
    for warning in checkpoint.warnings:
        tell(f"warning: {warning}")
    check_questions(questions, checkpoint)
    shape = text_model.shape_of(checkpoint.config.text_config, options.context)
    run = _Run(checkpoint, calibration.Material((), (), ()), shape, options.thresholds, work, tell)
    with run.timed("images and questions"):
        if chosen:
            run.material = calibration.from_questions(checkpoint, chosen, shape.context)
        else:
            run.material = calibration.from_noise(checkpoint)
    folder = work.results[options.out]
    errors = _assemble(run, folder, options.recipe)
    _certify(run, folder, options, errors, questions)
    Package.open(folder).verify()
    if options.keep_checkpoint:
        kept = work.results[options.keep_checkpoint]
        shutil.rmtree(kept)
        kept.mkdir()
        gptq_checkpoint.write(checkpoint, gptq.QuantisedLayers(work.folder / LAYERS), kept)
    return run.seconds


def _let_through(options: ExportOptions, folder: Path) -> None:
    """Hold a finished package against its gates and the size it may have; raises GateError."""
    package = Package.open(folder)
    signed = json.loads(package.text("certificate"))
    missed = gates.missed(options.gates, signed["accuracy"] or [])
    if options.max_bytes is not None and package.bytes > options.max_bytes:
        missed = missed or f"The package takes {package.bytes / 1e6:.2f} MB, more than --max-size"
    if missed:
        raise GateError(
            f"{missed}; the package waits beside its place, in the folder '{folder.name}': the same command with another "
            "gate, or without, takes it from there; or delete that folder."
        )


def _report(options: ExportOptions, seconds: dict[str, float]) -> Report:
    package = Package.open(options.out)
    signed = json.loads(package.path("certificate").read_text(encoding="utf-8"))
    errors = {name: entry["error"] for name, entry in signed["stages"].items() if not name.startswith(REFERENCE)}
    return Report(options.out, package.manifest.precision, package.bytes, errors, seconds, signed)


def _key(options: ExportOptions, chosen: Sequence[Question], questions: Sequence[Question]) -> str:
    """What the result depends on, as a hash."""
    folders = [folder for folder in (options.checkpoint, options.adapter) if folder and folder.is_dir()]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    if options.samples is not None:
        files += [options.samples.conversations, options.samples.registry]
    files += sorted({question.image for question in (*chosen, *questions) if question.image.is_file()})
    values = {
        "recipe": options.recipe.to_json(),
        "context": options.context,
        "calibration": [question.sha256 for question in chosen],
        "certify": [question.sha256 for question in questions],
        "keep": options.keep_checkpoint and options.keep_checkpoint.absolute(),
    }
    return fingerprint(values, files)


def _assemble(run: _Run, folder: Path, recipe: Recipe) -> dict[str, float]:
    """Write every file but certificate, card and manifest; returns the stages' errors, all within their limits."""
    checkpoint, once = run.checkpoint, run.work.once
    errors = _vision(run, folder / FILES["vision"], recipe)
    run.thresholds.check(errors)  # at once: the next stage may take hours
    if recipe.bits == FULL_BITS:
        errors |= _full_decoder(run, folder / FILES["decoder"], recipe)
    else:
        errors |= _quantised_decoder(run, folder / FILES["decoder"], recipe)
    number = np.float32 if recipe.is_full else np.float16
    table = checkpoint.weights["embed_tokens.weight"]
    once(folder / FILES["embeddings"], lambda path: _write_table(table, path, number))
    errors["embeddings"] = _table_error(table, folder / FILES["embeddings"])
    once(folder / FILES["tokenizer"], lambda path: path.write_bytes(checkpoint.tokenizer_json))
    once(folder / FILES["prompts"], lambda path: path.write_text(checkpoint.prompts.to_json(), encoding="utf-8"))
    run.thresholds.check(errors)
    return errors


def _write_table(table: Stored, path: Path, number: npt.DTypeLike) -> None:
    """Write a table in numpy's own format, some rows at a time."""
    kind = np.lib.format.dtype_to_descr(np.dtype(number))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": table.shape})
        for rows in text_model.pieces(table):
            file.write(rows.numpy().astype(number).data)


def _table_error(table: Stored, path: Path) -> float:
    """Relative Euclidean error of a table on disk."""
    stored, start, lost, length = np.load(path, mmap_mode="r"), 0, 0.0, 0.0
    for rows in text_model.pieces(table):
        truth = rows.numpy()
        lost += float(np.square(stored[start : start + len(truth)].astype(np.float32) - truth).sum(dtype=np.float64))
        length += float(np.square(truth).sum(dtype=np.float64))
        start += len(truth)
    return float(np.sqrt(lost / length))


def _vision(run: _Run, path: Path, recipe: Recipe) -> dict[str, float]:
    with run.timed(f"vision {recipe.tower_name}"):
        run.work.once(path, lambda part: vision.write(run.checkpoint, part, recipe))
        seen = vision.run_graph(path, run.material.pixels, mapped=recipe.is_full)
        return {f"vision_{recipe.tower}": vision.relative_error(np.stack(seen), torch.stack(run.material.images))}


def _full_decoder(run: _Run, path: Path, recipe: Recipe) -> dict[str, float]:
    weights, samples = run.checkpoint.weights, run.material.measured
    with run.timed("decoder fp32"):
        plain = text_model.plain_weights
        run.work.once(path, lambda part: decoder.write(run.shape, plain(weights, run.shape.layers, recipe.head), part))
        truth = text_model.logits(
            run.checkpoint, samples, measure.STEPS, lambda body, i: text_model.original(weights, body, i)
        )
        given = measure.graph_logits(path, decoder.specification(run.shape), samples, mapped=recipe.is_full)
        return {recipe.decoder_stage: measure.logit_error(given, truth)}


def _quantised_decoder(run: _Run, path: Path, recipe: Recipe) -> dict[str, float]:
    checkpoint, weights, samples = run.checkpoint, run.checkpoint.weights, run.material.measured
    with run.timed("gptq"):
        layers = gptq.quantise(checkpoint, run.material.samples, recipe, run.work.folder / LAYERS, run.tell)
    with run.timed(f"decoder {recipe.language_name}"):
        form, spec = layers.form, decoder.specification(run.shape)

        def write(part: Path, head: tuple[int, int], level: int) -> None:
            read = text_model.quantised_weights(layers.tensors, form, weights, run.shape.layers, head)
            decoder.write(run.shape, read, part, level)

        run.work.once(path, lambda part: write(part, recipe.head, decoder.ACCURACY_LEVEL))
        # Once more without any rounding beyond the codes: what is left is the writer's own doing.
        exact = run.work.fresh("exact") / FILES["decoder"]
        write(exact, FULL.head, decoder.EXACT_LEVEL)
        truth = text_model.logits(checkpoint, samples, measure.STEPS, lambda _, i: layers.state(i))
        full = text_model.logits(checkpoint, samples, measure.STEPS, lambda body, i: text_model.original(weights, body, i))
        errors = {
            "decoder_layout": measure.logit_error(measure.graph_logits(exact, spec, samples), truth),
            recipe.decoder_stage: measure.logit_error(measure.graph_logits(path, spec, samples), truth),
            "gptq": measure.logit_error(truth, full),
        }
        shutil.rmtree(exact.parent)
        return errors


def _certify(run: _Run, folder: Path, options: ExportOptions, errors: dict[str, float], questions: list[Question]) -> None:
    """Sign a package off: first with no accuracy, so that the runtime opens it, then with the accuracy it has."""
    stages = {name: (error, getattr(options.thresholds, name, None)) for name, error in errors.items()}
    reason = "no questions with truth were given (--certify)"
    if options.recipe.is_full:
        reason = "the package is in full precision itself"
    _sign(run, folder, options.recipe, {"stages": {}, "accuracy": None, "reason": "not measured yet"})
    packages = {"package": folder}
    compared = None
    if questions:
        reference = run.work.folder / REFERENCE
        reference.mkdir(exist_ok=True)
        full = _assemble(run, reference, FULL)
        stages |= {f"{REFERENCE} {name}": (error, getattr(options.thresholds, name)) for name, error in full.items()}
        _sign(run, reference, FULL, {"stages": {}, "accuracy": None, "reason": "the reference of a certificate"})
        packages["reference"] = reference
        with run.timed("certificate"):
            compared = compare(reference, folder, questions, run.tell)
    folders = (options.checkpoint, *([options.adapter] if options.adapter else []))
    weights = [path for source in folders for path in sorted(source.glob("*.safetensors"))]
    asked = questions if compared else []
    signed = certificate(stages, compared, None if compared else reason, asked, packages, options.recipe, weights)
    _sign(run, folder, options.recipe, signed, compared.calibration if compared else ())


def _groups(recipe: Recipe, checkpoint: Checkpoint) -> str:
    """Why groups have their size; "" where nothing is grouped."""
    if recipe.bits == FULL_BITS:
        return ""
    fitted, why = text_model.fitted(recipe, checkpoint.config.text_config)
    return why if fitted == recipe else f"asked for; {fitted.group_size} would fit, for {why}"


def _sign(run: _Run, folder: Path, recipe: Recipe, signed: dict[str, Any], scale: tuple[float, ...] = ()) -> None:
    """Write certificate, card, and last the manifest; `scale` calibrates the scores of boxes."""
    checkpoint = run.checkpoint
    training = checkpoint.training
    text = json.dumps(signed, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    (folder / FILES["certificate"]).write_text(text, encoding="utf-8")
    (folder / FILES["card"]).write_text(
        write_card(training, recipe, signed, _groups(recipe, checkpoint), checkpoint.warnings), encoding="utf-8"
    )
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
            input=tower.INPUT,
            output=tower.OUTPUT,
            image_size=checkpoint.image_size,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            tokens=checkpoint.image_tokens,
        ),
        decoder=decoder.specification(run.shape),
        tokens=TokenSpec(image=checkpoint.image_token, end=checkpoint.end_tokens),
        tasks=training.tasks,
        languages=training.languages,
        modalities=training.modalities,
        calibration=scale,
    )
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    temporary.write_text(manifest.to_json(), encoding="utf-8")
    temporary.replace(folder / MANIFEST)
