"""Checkpoint -> model package: decide the recipe, run the stages, certify, hold the gates, publish.

Everything is written into folders beside the target. One of them takes the target's name only when it is complete, has
passed its gates, and has been opened and verified as the runtime will open it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import GateError, UsageError
from medrega_edge.evaluation import gates
from medrega_edge.evaluation.comparison import read_comparisons
from medrega_edge.evaluation.questions import Question, read_questions, spread
from medrega_edge.i18n.message import Message
from medrega_edge.package.package import Package
from medrega_export.certificate import certificate, compare
from medrega_export.checkpoint.checkpoint import Checkpoint, load
from medrega_export.finalise import describe_files, finalise
from medrega_export.graphs import text_model
from medrega_export.options import ExportOptions
from medrega_export.preflight import (
    check_files,
    check_names,
    check_options,
    check_questions,
    check_recipe,
    check_target,
)
from medrega_export.quantisation import bit_allocation, calibration, gptq, gptq_checkpoint, sensitivity
from medrega_export.quantisation.bit_allocation import UnitSensitivity
from medrega_export.quantisation.recipe import FULL, Recipe
from medrega_export.stages import LAYERS, Run, assemble
from medrega_export.workspace import Workspace, fingerprint

if TYPE_CHECKING:
    from medrega_export.graphs.decoder import DecoderShape

REFERENCE = "reference"  # in the work folder: the package in full precision

Notify = Callable[[Message], None]


@dataclass(frozen=True)
class ExportReport:
    """The result of an export: the package's folder, precision and size, the error of each stage, and its certificate."""

    folder: Path
    precision: str
    total_bytes: int
    errors: dict[str, float]
    certificate: dict[str, Any]


def export(options: ExportOptions, notify: Notify = lambda message: None) -> ExportReport:
    """Export a checkpoint as a model package.

    `notify` is called with the name of each stage. Raises UsageError for input that cannot be exported, GateError when the
    error of a stage exceeds its threshold or a gate is missed; the target is then as it was. An export that was killed goes
    on where it was; after a missed gate the same export with another gate only has to move the package.
    """
    check_options(options)
    job = _job(options, notify)
    recipe = _recipe(job)
    workspace = Workspace(options.targets, _key(job, recipe))
    if workspace.is_publishing:
        workspace.publish()
        return _report(options)
    for target in options.targets:
        check_target(target, options.force)
    with workspace.open():
        if not workspace.is_complete:
            _make(job, recipe, workspace)
            workspace.mark_complete()
        enforce_gates(options, workspace.results[options.out])
    return _report(options)


def explain(options: ExportOptions, notify: Notify = lambda message: None) -> tuple[Recipe, list[UnitSensitivity]]:
    """Measure what the quantisation of each unit costs, and write nothing; returns the recipe too, its group size decided.

    Raises UsageError for what cannot be exported, and where there are no questions to measure on.
    """
    check_names(options)
    check_files(options)
    job = _job(options, notify)
    recipe = _with_group_size(job)
    return recipe, _measure(job, recipe)


@dataclass(frozen=True)
class _Job:
    """An export with its questions read. The checkpoint is opened once, when it is first needed."""

    options: ExportOptions
    calibration_questions: list[Question]
    certificate_questions: list[Question]
    notify: Notify

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return load(self.options.checkpoint, self.options.adapter, self.options.samples)

    @cached_property
    def shape(self) -> DecoderShape:
        shape = text_model.shape_of(self.checkpoint.config.text_config, self.options.context)
        has_regions = self.checkpoint.region_head is not None
        # Boxes of a region head leave little text, and the decoder of such a model fits into the processor's cache.
        return replace(shape, gives_hidden=has_regions, several_logits=not has_regions)

    @cached_property
    def material(self) -> calibration.CalibrationData:
        self.notify(Message("export.reading"))
        if self.calibration_questions:
            return calibration.from_questions(self.checkpoint, self.calibration_questions, self.shape.context)
        return calibration.from_noise(self.checkpoint)


def _job(options: ExportOptions, notify: Notify) -> _Job:
    to_calibrate = spread(read_questions(options.calibration), options.calibration_items) if options.calibration else []
    return _Job(options, to_calibrate, read_questions(options.certify) if options.certify else [], notify)


def _recipe(job: _Job) -> Recipe:
    """The recipe of the options, with whatever they leave to the export."""
    options, recipe = job.options, _with_group_size(job)
    if options.max_bytes is None:
        return recipe
    if options.sensitivities is None:
        units = _measure(job, recipe)
    else:
        units = bit_allocation.read_sensitivities(options.sensitivities, recipe)
    size = bit_allocation.package_size(job.checkpoint, units, recipe, options.context)
    recipe = bit_allocation.raise_units(units, recipe, size, options.max_bytes)
    if recipe.overrides:
        raised = [override.unit for override in recipe.overrides]
        job.notify(Message("export.units_raised", recipe=recipe.name, units=raised))
    else:
        job.notify(Message("export.no_unit_raised", recipe=recipe.name))
    return recipe


def _with_group_size(job: _Job) -> Recipe:
    recipe = job.options.recipe
    if not (job.options.auto_group_size and recipe.is_quantised):
        return recipe
    group, reason = text_model.auto_group_size(recipe, job.checkpoint.config.text_config)
    job.notify(Message("export.group_size_chosen", group=group, reason=reason))
    return replace(recipe, group_size=group)


def _measure(job: _Job, recipe: Recipe) -> list[UnitSensitivity]:
    if not job.calibration_questions:
        raise UsageError("export.sensitivity_needs_questions")
    if recipe.is_full:
        raise UsageError("export.nothing_is_quantised")
    check_recipe(recipe, job.checkpoint, has_images=True)
    return sensitivity.measure(job.checkpoint, job.material, recipe, job.notify)


def _key(job: _Job, recipe: Recipe) -> str:
    """What the result depends on, as a hash."""
    options, questions = job.options, (*job.calibration_questions, *job.certificate_questions)
    folders = [folder for folder in (options.checkpoint, options.adapter) if folder and folder.is_dir()]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    files += sorted(set(job.checkpoint.weight_files.values()) - set(files))  # an index may name subfolders
    if options.samples is not None:
        files += [options.samples.conversations, options.samples.registry]
    files += sorted({question.image for question in questions if question.image.is_file()})
    values = {
        "recipe": recipe.to_json(),
        "context": options.context,
        "calibration": [question.sha256 for question in job.calibration_questions],
        "certify": [question.sha256 for question in job.certificate_questions],
        "keep": options.keep_checkpoint and options.keep_checkpoint.absolute(),
    }
    return fingerprint(values, files)


def _make(job: _Job, recipe: Recipe, workspace: Workspace) -> None:
    """Make all results in their folders."""
    options, checkpoint = job.options, job.checkpoint
    for warning in checkpoint.warnings:
        job.notify(Message("export.warning", warning=warning))
    check_recipe(recipe, checkpoint, bool(job.calibration_questions))
    check_questions(job.certificate_questions, checkpoint)
    run = Run(checkpoint, job.material, job.shape, options.thresholds, workspace, job.notify)
    folder = workspace.results[options.out]
    errors = assemble(run, folder, recipe)
    _certify(run, folder, job, recipe, errors)
    Package.open(folder).verify()
    if options.keep_checkpoint:
        copy = workspace.results[options.keep_checkpoint]
        shutil.rmtree(copy)
        copy.mkdir()
        gptq_checkpoint.write(checkpoint, gptq.QuantisedLayers(workspace.folder / LAYERS), copy)


def _certify(run: Run, folder: Path, job: _Job, recipe: Recipe, errors: dict[str, float]) -> None:
    """Finalise a package with its certificate. Where accuracy is measured, the runtime opens it first without one."""
    options, questions = job.options, job.certificate_questions
    stages = {name: (error, getattr(options.thresholds, name, None)) for name, error in errors.items()}
    reason: str | None = "no questions with truth were given (--certify)"
    if recipe.is_full:
        reason = "the package is in full precision itself"
    files = describe_files(folder, recipe, run.checkpoint)
    packages = {"package": files}
    compared = None
    if questions:
        finalise(run, folder, recipe, files, _without_accuracy("not measured yet"))
        reference = run.workspace.folder / REFERENCE
        reference.mkdir(exist_ok=True)
        full = assemble(run, reference, FULL)
        stages |= {f"{REFERENCE} {name}": (error, getattr(options.thresholds, name)) for name, error in full.items()}
        packages["reference"] = describe_files(reference, FULL, run.checkpoint)
        finalise(run, reference, FULL, packages["reference"], _without_accuracy("the reference of a certificate"))
        run.notify(Message("export.certificate_begins"))
        compared, reason = compare(reference, folder, questions, run.notify), None
    content = certificate(stages, compared, reason, questions, packages, recipe, run.checkpoint.weight_files)
    finalise(run, folder, recipe, files, content, *([compared.fitted] if compared else []))


def _without_accuracy(reason: str) -> dict[str, Any]:
    return {"stages": {}, "accuracy": None, "reason": reason}


def enforce_gates(options: ExportOptions, folder: Path) -> None:
    """Hold a finished package against its gates and the size it may have; raises GateError."""
    package = Package.open(folder)
    accuracy = json.loads(package.text("certificate"))["accuracy"]
    missed = gates.missed(options.gates, read_comparisons(accuracy or ()))
    if options.max_bytes is not None and package.total_bytes > options.max_bytes:
        missed.append(Message("export.too_large", megabytes=package.total_bytes / 1e6))
    if missed:
        raise GateError("export.gate_missed", missed=missed, folder=folder.name)


def _report(options: ExportOptions) -> ExportReport:
    package = Package.open(options.out)
    content = json.loads(package.path("certificate").read_text(encoding="utf-8"))
    errors = {name: entry["error"] for name, entry in content["stages"].items() if not name.startswith(REFERENCE)}
    return ExportReport(options.out, package.manifest.precision, package.total_bytes, errors, content)
