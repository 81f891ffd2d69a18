"""`calibrate` and `coverage`: intervals of boxes and lengths, fitted on one split and measured on another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_bench.cli.options import (
    AnswersOption,
    BatchOption,
    DataOption,
    ModelOption,
    ResultOption,
    SplitOption,
    check_answers_folder,
)
from medrega_edge.cli.console import print_result
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_bench.evaluation.intervals import Case
    from medrega_edge.package.package import Package

MasksOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with masks.jsonl and its PNGs; without it, masks, their boxes and diameters have no interval."
    ),
]


def calibrate(
    data: DataOption,
    masks: MasksOption = None,
    split: SplitOption = "val",
    batch: BatchOption = None,
    model: ModelOption = None,
    answers: AnswersOption = None,
    into_package: Annotated[
        bool, typer.Option("--into-package", help="Add the intervals to the package instead of to your own files.")
    ] = False,
) -> None:
    """Fit intervals of boxes and lengths, on a site's own images for example.

    An interval holds the truth for 90 % of the objects whose box overlaps the true one. Kinds of images with fewer than 9
    patients of a confidence are fitted together. Answers of these weights show the intervals from now on.

    medrega bench calibrate --data DATA --split val --masks MASKS
    """
    from medrega_bench.evaluation.intervals import FEWEST_PATIENTS, fit
    from medrega_edge.io.atomic import make_folder, write_text
    from medrega_edge.package.intervals import ALL, site_file
    from medrega_edge.package.registry import find_package

    package = find_package(model)
    found = _cases(package, data, masks, split, batch, answers)
    overlapping = [case for case in found if case.overlaps and not case.of_mask]
    patients = len({case.patient for case in overlapping})
    if patients < FEWEST_PATIENTS:
        raise UsageError("bench.few_boxes", patients=patients, least=FEWEST_PATIENTS)
    intervals = fit(found, package.manifest.weights, f"{len(overlapping)} boxes of {patients} patients ({split})")
    if into_package:
        written = _add_to(package, intervals.to_json())
    else:
        own = site_file(package.manifest.weights)
        if own is None:
            raise UsageError("bench.no_place")
        make_folder(own.parent)
        write_text(own, intervals.to_json())
        written = own
    kinds = [kind for kind in intervals.kinds if kind != ALL]
    print_result(Message("bench.calibrated", count=len(overlapping), patients=patients, kinds=kinds or ["-"], file=written))


def coverage(
    data: DataOption,
    out: ResultOption,
    masks: MasksOption = None,
    split: SplitOption = "test",
    batch: BatchOption = None,
    model: ModelOption = None,
    answers: AnswersOption = None,
) -> None:
    """Measure how often the intervals of a package hold the truth.

    Each figure stands for the objects whose box overlaps the true one, and for all that got a box.

    medrega bench coverage --data DATA --split test --masks MASKS --out coverage.json
    """
    from medrega_bench import result_files
    from medrega_bench.evaluation.intervals import CoverageResult
    from medrega_bench.evaluation.intervals import coverage as measured
    from medrega_bench.performance.environment import command, environment
    from medrega_edge.io.atomic import check_output_path
    from medrega_edge.package.intervals import find
    from medrega_edge.package.registry import find_package

    check_output_path(out)
    package = find_package(model)
    intervals = find(package)
    if intervals is None:
        raise UsageError("bench.no_intervals")
    found = _cases(package, data, masks, split, batch, answers)
    result = CoverageResult(
        command=command(),
        split=split,
        environment=environment(),
        package=package.sha256,
        level=intervals.level,
        data=intervals.data,
        coverage=tuple(measured(found, intervals)),
    )
    result_files.write(out, result)
    for one in result.coverage:
        shown = Message(
            "bench.coverage",
            kind=" ".join(filter(None, (one.kind, one.confidence))) or "-",
            measure=one.measure,
            size=one.size,
            n=one.overlapping.n,
            held=one.overlapping.value,
            all=one.all.n,
            of_all=one.all.value,
        )
        print_result(shown)


def _cases(
    package: Package,
    data: Path,
    masks: Path | None,
    split: str,
    batch: int | None,
    answers: Path | None,
) -> list[Case]:
    from medrega_bench.cli.console import with_progress
    from medrega_bench.datasets.dataset_selection import empty_split
    from medrega_bench.datasets.evaluation_set import by_image
    from medrega_bench.evaluation import answer_cache
    from medrega_bench.evaluation.intervals import Masked, cases, items_of, patients_of
    from medrega_edge.engine import Engine, EngineOptions
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.evaluation.true_masks import read_mask_lines

    check_answers_folder(answers)
    records = [record for record in read_records(data, split) if batch in (None, record.batch or 1)]
    lines = read_mask_lines(masks) if masks else {}
    items = by_image(list(items_of(records)))
    if not items:
        raise empty_split(split)
    rows = answer_cache.answers(package, items, None, with_progress, folder=answers, plain=True)
    masked = None
    if masks is not None and package.manifest.masks is not None:
        masked = Masked(Engine(package, EngineOptions()), masks, lines, records)
    return list(cases(with_progress(iter(rows), len(rows)), patients_of(records), masked))


def _add_to(package: Package, text: str) -> Path:
    """Write the file into a package, and its entry into the manifest; returns the file."""
    from dataclasses import replace

    from medrega_edge.io.atomic import write_text
    from medrega_edge.package.manifest import INTERVALS, INTERVALS_FILE, MANIFEST, file_entry

    path = package.folder / INTERVALS_FILE
    write_text(path, text)
    files = {**package.manifest.files, INTERVALS: file_entry(path, "text")}
    write_text(package.folder / MANIFEST, replace(package.manifest, files=files).to_json())
    return path
