"""Commands that ask about many images: `batch` and `watch`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medrega_edge.cli.console import print_result, print_status, progress, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import (
    ManyImagesOptions,
    ModelOptions,
    image_option,
    model_option,
    output_option,
    question_option,
    with_shared_options,
)
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_edge.batch.jobs import BatchQuestion, ImageFiles
    from medrega_edge.batch.journal import Position
    from medrega_edge.batch.questions import Questions
    from medrega_edge.batch.rows import RowOptions
    from medrega_edge.package.package import Package


@with_shared_options
def batch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Questions as JSONL, Parquet or shards (tar), a folder of images, or an archive: dicomweb://HOST:PORT/PATH.",
        ),
    ],
    question: Annotated[str | None, question_option(help="What to ask about every image of a folder.")] = None,
    *,
    shared: ManyImagesOptions,
    series: Annotated[int | None, image_option(min=0, help="Series in a folder of DICOM files, from 0.")] = None,
    token_file: Annotated[
        Path | None, image_option(metavar="FILE", help="File of the token that the archive wants.")
    ] = None,
    plain: Annotated[bool, image_option("--plain", help="Allow an archive elsewhere without encryption.")] = False,
    out: Annotated[Path, output_option(metavar="FILE.jsonl", help="JSONL file of answers, in the order of the questions.")],
    csv: Annotated[
        Path | None, output_option(metavar="FILE.csv", help="Write the answers as CSV as well, one line a region.")
    ] = None,
    parquet: Annotated[
        Path | None, output_option(metavar="FILE.parquet", help="Write the answers as Parquet as well, nested as in JSON.")
    ] = None,
    gallery: Annotated[
        Path | None, output_option(metavar="FILE.html", help="Write a page of all marked images and answers, in one file.")
    ] = None,
    force: Annotated[bool, output_option("--force", help="Replace files of earlier answers.")] = False,
    engine: Annotated[
        str | None,
        model_option(metavar="ray[:ADDRESS]", help="Answer on a Ray cluster; without an address, on one of this machine."),
    ] = None,
) -> None:
    """Answer questions from a file, or one question about a folder of images.

    medrega batch questions.jsonl --out answers.jsonl

    medrega batch FOLDER --question "locate the liver" --out answers.jsonl --csv answers.csv

    medrega batch FOLDER --question "locate the liver" --out answers.jsonl --gallery answers.html

    medrega batch shards --out answers.jsonl --parquet answers.parquet --engine ray

    medrega batch "dicomweb://localhost:8042/dicom-web?Modality=CT" --question "locate the liver" --out answers.jsonl

    A line of the file holds id, image and question, and may hold task, language, box and labels. Image paths are relative
    to the file. Parquet files have these as columns, shards as JSON beside each image; a folder of either is one job.

    A folder of images is read with its subfolders: DICOM files series by series in the order of their slices, a file of
    several frames or slices picture by picture. Files that are not images are counted and skipped.

    An archive is searched by QIDO-RS, with the filters after the question mark, and gives its images one by one.

    A question that fails gets an error in place of its answer, and the exit code is 1. After an interruption the same
    command resumes the work. Files of earlier answers are replaced only with --force.
    """
    from medrega_edge import __version__
    from medrega_edge.batch.extra import require
    from medrega_edge.batch.jobs import ImageFiles, check_outside, fingerprint
    from medrega_edge.batch.journal import Journal
    from medrega_edge.batch.rows import RowOptions
    from medrega_edge.io.atomic import check_output_path
    from medrega_edge.output.csv_table import write_csv
    from medrega_edge.output.gallery import write_gallery
    from medrega_edge.output.parquet_table import write_parquet
    from medrega_edge.output.pictures import PictureFolder
    from medrega_edge.package.registry import find_package

    address = _address(engine, shared.model)
    if parquet is not None:
        require("pyarrow")
    is_archive = source.startswith(("dicomweb://", "dicomwebs://"))
    if not is_archive and not os.path.exists(source):
        raise UsageError("cli.no_such_file", path=source)
    outputs = [one for one in (out, csv, parquet, gallery) if one is not None]
    if len({one.absolute() for one in outputs}) < len(outputs):
        raise UsageError("batch.one_output")
    for output in outputs:
        check_output_path(output, *([] if is_archive else [Path(source)]))
    pictures = None
    if shared.save_dir is not None or gallery is not None:
        pictures = PictureFolder((shared.save_dir or Path(f"{gallery}.part")).absolute())
    options = RowOptions(shared.de_identified, pictures, shared.min_confidence)
    job: ImageFiles | Questions
    if is_archive:
        job = _archive_images(source, token_file, plain, _batch_question(question, shared, series), options)
    elif token_file is not None or plain:
        raise UsageError("dicomweb.option_without_archive")
    else:
        if os.path.isdir(source):  # Path.is_dir raises for a name that is too long
            check_outside(Path(source), *outputs, *([pictures.folder] if pictures else ()))
        job = _job(Path(source), question, shared, series, options)
    for note in job.notes if isinstance(job, ImageFiles) else ():
        print_status(note)
    key = fingerprint(__version__, find_package(shared.model.model).sha256, shared.model.device, job.job_key())
    with Journal(out, key) as journal:
        if journal.position.item or journal.position.picture:
            print_status(Message("batch.resumed", done=journal.position.item, total=len(job)))
        elif not force and (existing := [path for path in outputs if path.exists()]):
            options_of = {out: "--out", csv: "--csv", parquet: "--parquet", gallery: "--gallery"}
            raise UsageError("batch.output_exists", options=[options_of[path] for path in existing])
        rows = _answers(job, journal.position, shared.model, address)
        with progress(len(job), journal.position.item) as advance, closing(rows):
            for position, row in rows:
                journal.add(position, row)
                advance(position.item + (position.picture + 1) / position.picture_count)
        journal.publish()
        if csv is not None:
            write_csv(journal.rows(), csv, user_language())
        if parquet is not None:
            write_parquet(journal.rows(), parquet)
        if gallery is not None and pictures is not None:
            named = ((job.name_of(row), row) for row in journal.rows())
            write_gallery(named, pictures.folder, gallery, question or "", user_language())
        if shared.save_dir is None and pictures is not None:
            pictures.remove(row["picture"] for row in journal.rows() if "picture" in row)
        answered, failed = _report_failures((job.name_of(row), row) for row in journal.rows())
        journal.remove()
    print_status(Message("batch.finished", answered=answered, failed=failed))
    for written in (*outputs, *([shared.save_dir] if shared.save_dir and answered else [])):
        print_status(Message("cli.written", path=written))
    if failed:
        raise typer.Exit(1)


def _job(
    source: Path, question: str | None, shared: ManyImagesOptions, series: int | None, options: RowOptions
) -> ImageFiles | Questions:
    """What a source asks; raises UsageError where a question goes with questions, or none with a folder of images."""
    from medrega_edge.batch.jobs import ImageFolder
    from medrega_edge.batch.sources import open_questions

    questions = open_questions(source, options)
    if questions is None:
        return ImageFolder(source, _batch_question(question, shared, series), options)
    if any(given is not None for given in (question, series, shared.task, shared.language, *astuple(shared.reading))):
        raise UsageError("batch.question_and_file")
    return questions


def _address(engine: str | None, options: ModelOptions) -> str | None:
    """The address of a Ray cluster, "" to start one, None for no Ray; raises UsageError, ResourceError without the extra."""
    from medrega_edge.batch.extra import require

    if engine is None:
        return None
    name, colon, address = engine.partition(":")
    if name != "ray" or (colon and not re.fullmatch(r"auto|[\w.\[\]:-]+:\d+", address)):
        raise UsageError("batch.engine")
    if options.device != "cpu":
        raise UsageError("batch.ray_cpu_only")
    require("ray", "pyarrow")
    return address


def _answers(
    job: ImageFiles | Questions, start: Position, options: ModelOptions, address: str | None
) -> Generator[tuple[Position, dict[str, Any]], None, None]:
    """Answer in this process, in several if that is faster, or on a cluster: the rows are the same."""
    from medrega_edge.batch import process_pool
    from medrega_edge.package.registry import find_package

    package = find_package(options.model)
    if address is not None:
        yield from _on_ray(job, start, options, package, address)
        return
    processes = process_pool.process_count(package, options.threads, options.device, len(job) - start.item)
    if processes == 1:
        yield from job.answers(options.load_engine(), start)
    else:
        cache = options.cache_folder, options.cache_bytes
        yield from process_pool.answers(job, start, processes, options.model, options.threads, *cache)


def _on_ray(
    job: ImageFiles | Questions, start: Position, options: ModelOptions, package: Package, address: str
) -> Iterator[tuple[Position, dict[str, Any]]]:
    from medrega_edge.batch import ray_engine
    from medrega_edge.engine import EngineOptions
    from medrega_edge.package.registry import MODEL_VARIABLE

    cache = None if options.cache_folder is None else options.cache_folder.absolute()
    engine = EngineOptions(cache=cache, cache_bytes=options.cache_bytes)
    cluster = ray_engine.RayOptions(
        address or None, options.threads, lambda shown: print_status(Message("batch.dashboard", address=shown))
    )
    return ray_engine.answers(job, start, package, options.model or os.environ.get(MODEL_VARIABLE), engine, cluster)


def _archive_images(
    address: str, token_file: Path | None, plain: bool, question: BatchQuestion, options: RowOptions
) -> ImageFiles:
    try:
        from medrega_edge.batch.dicomweb import Archive, ArchiveImages
    except ImportError:
        raise ResourceError("dicomweb.needs_pacs") from None
    archive = Archive.at(address, token_file, plain)
    print_status(Message("dicomweb.searching"))  # which takes minutes in a large one
    return ArchiveImages(archive, question, options)


def _batch_question(question: str | None, shared: ManyImagesOptions, series: int | None = None) -> BatchQuestion:
    from medrega_edge.batch.jobs import BatchQuestion
    from medrega_edge.images.medical_image import View
    from medrega_edge.images.windowing import parse_window
    from medrega_edge.tasks.window_words import window_preset_for

    if not (question or "").strip() and shared.task is None:
        raise UsageError("batch.no_question")
    reading = shared.reading
    if reading.window is not None:  # a wrong window is reported once, not for each image
        parse_window(reading.window)
    preset = window_preset_for(question or "")
    view = View(window=reading.window, plane=reading.plane, default_preset=preset, series=series)
    return BatchQuestion(question or "", shared.task, shared.language, view)


FAILURES_SHOWN = 20


def _report_failures(rows: Iterable[tuple[str | None, dict[str, Any]]]) -> tuple[int, int]:
    """List the first failed rows by name; return the numbers of answered and of failed rows."""
    answered = failed = 0
    for name, row in rows:
        if "error" not in row:
            answered += 1
            continue
        failed += 1
        if failed > FAILURES_SHOWN:
            continue
        _print_failure(name, row)
    if failed > FAILURES_SHOWN:
        print_status(Message("batch.failed_more", count=failed - FAILURES_SHOWN))
    return answered, failed


def _print_failure(name: str | None, row: dict[str, Any]) -> None:
    problem = Message.from_dict(row["error"])
    print_status(
        Message("batch.failed_row", name=name, problem=problem) if name else Message("batch.failed", problem=problem)
    )


@with_shared_options
def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where images arrive; they are read, never moved.")],
    question: Annotated[str, question_option(help="What to ask about each image.")],
    *,
    shared: ManyImagesOptions,
    settle: Annotated[
        float, image_option(min=0.1, metavar="SECONDS", help="A file has arrived after this time without a change.")
    ] = 2.0,
    out: Annotated[
        Path, output_option(metavar="FOLDER", help="Folder of answers: a JSONL file an image, named by its SHA-256.")
    ],
) -> None:
    """Ask about every image that arrives in a folder.

    medrega watch INBOX --question "locate the liver" --out ANSWERS

    It prints each answer. It ends when you interrupt it. Run again, it answers what came in the meantime, and nothing twice.
    Files that are not images are skipped.
    """
    from medrega_edge import __version__
    from medrega_edge.batch.jobs import check_outside, file_row_name, fingerprint
    from medrega_edge.batch.rows import RowOptions
    from medrega_edge.batch.watch import check_folder
    from medrega_edge.batch.watch import watch as watching
    from medrega_edge.output.pictures import PictureFolder
    from medrega_edge.output.row_text import row_lines
    from medrega_edge.package.registry import find_package

    batch_question, package = _batch_question(question, shared), find_package(shared.model.model)
    pictures = None if shared.save_dir is None else PictureFolder(shared.save_dir.absolute())
    options = RowOptions(shared.de_identified, pictures, shared.min_confidence)
    job = fingerprint(__version__, package.sha256, shared.model.device, repr(batch_question), repr(options))
    check_folder(folder, out)
    if pictures is not None:
        check_outside(folder, pictures.folder)
    engine = shared.model.load_engine()
    print_status(Message("batch.watching", folder=folder))
    for name, rows in watching(engine, folder, out, batch_question, job, settle, options):
        if not rows and not shared.de_identified:
            print_status(Message("batch.not_an_image", name=name))
        for row in rows:
            if "error" in row:
                _print_failure(file_row_name(row), row)
            else:
                for line in row_lines(file_row_name(row), row):
                    print_result(line)
        sys.stdout.flush()


def mount(app: App) -> None:
    """Register `batch` and `watch`."""
    for command in (batch, watch):
        app.command(rich_help_panel="Ask about many images")(command)
