"""Checkpoint -> model package: the only composer. Has the stages run, the package signed, its gates held, and moves it.

Knows the order of things and no file of a package; what is refused of the options stands in `options`. Everything
happens in folders of its own beside the target, one of which takes the target's name only when it is complete, has passed
its gates, and has been opened and verified as the runtime will open it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_edge.errors import GateError
from medrega_edge.package.package import Package
from medrega_export import gates
from medrega_export.certificate import certificate, compare
from medrega_export.checkpoint.checkpoint import load
from medrega_export.finalise import sign
from medrega_export.graphs import text_model
from medrega_export.options import ExportOptions, check, check_questions, check_recipe, check_target
from medrega_export.quantisation import calibration, gptq, gptq_checkpoint
from medrega_export.quantisation.recipe import FULL
from medrega_export.questions import Question, choose, read_questions
from medrega_export.stages import LAYERS, Run, assemble
from medrega_export.workspace import Work, fingerprint

REFERENCE = "reference"  # in the work folder: the package in full precision


@dataclass(frozen=True)
class Report:
    """What came out: the folder, its precision and size, every stage's error, the certificate."""

    folder: Path
    precision: str
    bytes: int
    errors: dict[str, float]
    certificate: dict[str, Any]


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
        return _report(options)
    for target in (options.out, *others):
        check_target(target, options.force)
    with work.open():
        if not work.made:
            _make(options, chosen, questions, work, tell)
            work.complete()
        enforce_gates(options, work.results[options.out])
    return _report(options)


def _make(
    options: ExportOptions, chosen: list[Question], questions: list[Question], work: Work, tell: Callable[[str], None]
) -> None:
    """Make all results in their folders."""
    checkpoint = load(options.checkpoint, options.adapter, options.samples)
    for warning in checkpoint.warnings:
        tell(f"warning: {warning}")
    check_recipe(options.recipe, checkpoint)
    check_questions(questions, checkpoint)
    shape = text_model.shape_of(checkpoint.config.text_config, options.context)
    tell("images and questions")
    if chosen:
        material = calibration.from_questions(checkpoint, chosen, shape.context)
    else:
        material = calibration.from_noise(checkpoint)
    run = Run(checkpoint, material, shape, options.thresholds, work, tell)
    folder = work.results[options.out]
    errors = assemble(run, folder, options.recipe)
    _certify(run, folder, options, errors, questions)
    Package.open(folder).verify()
    if options.keep_checkpoint:
        kept = work.results[options.keep_checkpoint]
        shutil.rmtree(kept)
        kept.mkdir()
        gptq_checkpoint.write(checkpoint, gptq.QuantisedLayers(work.folder / LAYERS), kept)


def enforce_gates(options: ExportOptions, folder: Path) -> None:
    """Hold a finished package against its gates and the size it may have; raises GateError."""
    package = Package.open(folder)
    signed = json.loads(package.text("certificate"))
    missed = gates.missed(options.gates, signed["accuracy"] or [])
    if options.max_bytes is not None and package.total_bytes > options.max_bytes:
        missed = missed or f"The package takes {package.total_bytes / 1e6:.2f} MB, more than --max-size"
    if missed:
        raise GateError(
            f"{missed}; the package waits beside its place, in the folder '{folder.name}': the same command with another "
            "gate, or without, takes it from there; or delete that folder."
        )


def _report(options: ExportOptions) -> Report:
    package = Package.open(options.out)
    signed = json.loads(package.path("certificate").read_text(encoding="utf-8"))
    errors = {name: entry["error"] for name, entry in signed["stages"].items() if not name.startswith(REFERENCE)}
    return Report(options.out, package.manifest.precision, package.total_bytes, errors, signed)


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


def _certify(run: Run, folder: Path, options: ExportOptions, errors: dict[str, float], questions: list[Question]) -> None:
    """Sign a package off: first with no accuracy, so that the runtime opens it, then with the accuracy it has."""
    stages = {name: (error, getattr(options.thresholds, name, None)) for name, error in errors.items()}
    reason = "no questions with truth were given (--certify)"
    if options.recipe.is_full:
        reason = "the package is in full precision itself"
    sign(run, folder, options.recipe, {"stages": {}, "accuracy": None, "reason": "not measured yet"})
    packages = {"package": folder}
    compared = None
    if questions:
        reference = run.work.folder / REFERENCE
        reference.mkdir(exist_ok=True)
        full = assemble(run, reference, FULL)
        stages |= {f"{REFERENCE} {name}": (error, getattr(options.thresholds, name)) for name, error in full.items()}
        sign(run, reference, FULL, {"stages": {}, "accuracy": None, "reason": "the reference of a certificate"})
        packages["reference"] = reference
        run.tell("certificate")
        compared = compare(reference, folder, questions, run.tell)
    folders = (options.checkpoint, *([options.adapter] if options.adapter else []))
    weights = [path for source in folders for path in sorted(source.glob("*.safetensors"))]
    asked = questions if compared else []
    signed = certificate(stages, compared, None if compared else reason, asked, packages, options.recipe, weights)
    sign(run, folder, options.recipe, signed, compared.calibration if compared else ())
