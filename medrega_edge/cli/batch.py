"""Commands that ask about many images: `batch` and `watch`."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medrega_edge.cli.console import progress, tell
from medrega_edge.cli.options import (
    DeviceOption,
    IdentifiersOption,
    LanguageOption,
    ModelOption,
    PlaneOption,
    SeriesOption,
    TaskOption,
    ThreadsOption,
    WindowOption,
    load_engine,
)
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_edge.batch.jobs import BatchQuestion, ImageFolder, QuestionFile
    from medrega_edge.batch.journal import Position


def batch(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="JSONL of questions, or a folder of images.")],
    out: Annotated[Path, typer.Option(help="JSONL of answers, in the same order.")],
    question: Annotated[str | None, typer.Option(help="What to ask about every image of a folder.")] = None,
    csv: Annotated[Path | None, typer.Option(help="The answers as CSV besides, one line a region.")] = None,
    task: TaskOption = None,
    language: LanguageOption = None,
    window: WindowOption = None,
    plane: PlaneOption = None,
    series: SeriesOption = None,
    include_identifiers: IdentifiersOption = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Answer every line of a JSONL file, or one question about every image of a folder.

    medrega batch questions.jsonl --out answers.jsonl

    medrega batch FOLDER --question "locate the liver" --out answers.jsonl --csv answers.csv

    A line of questions holds id, image, question; task, language, box, labels may follow. Image paths are relative to the
    file. A folder is gone through with all folders in it, DICOM files series by series in the order of their slices, a file
    of several frames or slices picture by picture.

    What fails gives an error in its place, and exit code 1. Interrupted, the same command goes on where it stopped.
    """
    from medrega_edge import __version__
    from medrega_edge.batch.jobs import ImageFolder, QuestionFile, check_outside, fingerprint
    from medrega_edge.batch.journal import Journal
    from medrega_edge.io.atomic import check_output_path
    from medrega_edge.output.csv_table import write_csv
    from medrega_edge.package.registry import find_package

    outputs = [out] if csv is None else [out, csv]
    if csv is not None and csv.absolute() == out.absolute():
        raise UsageError("batch.one_output")
    job: ImageFolder | QuestionFile
    if os.path.isdir(source):  # Path.is_dir raises for a name that is too long
        check_outside(source, *outputs)
        job = ImageFolder(source, _batch_question(question, task, language, window, plane, series), include_identifiers)
        for note in job.notes:
            tell(note)
    elif any(given is not None for given in (question, task, language, window, plane, series)):
        raise UsageError("batch.question_and_file")
    else:
        job = QuestionFile(source, include_identifiers)
    for output in outputs:
        check_output_path(output, source)
    key = fingerprint(__version__, find_package(model).sha256, device, job.job_key())
    with Journal(out, key) as journal:
        if journal.position.item or journal.position.picture:
            tell(Message("batch.resumed", done=journal.position.item, total=len(job)))
        rows = _answers(job, journal.position, model, threads, device)
        with progress(len(job), journal.position.item) as advance, closing(rows):
            for position, row in rows:
                journal.add(position, row)
                advance(position.item + (position.picture + 1) / position.picture_count)
        journal.publish()
        if csv is not None:
            write_csv(journal.rows(), csv)
        answered, failed = _report_failures(journal.rows())
        journal.remove()
    tell(Message("batch.finished", answered=answered, failed=failed))
    if failed:
        raise typer.Exit(1)


def _answers(
    job: ImageFolder | QuestionFile, start: Position, model: str | None, threads: int | None, device: str
) -> Generator[tuple[Position, dict[str, Any]], None, None]:
    """Answer in this process, or in several if that is faster: the rows are the same."""
    from medrega_edge.batch import process_pool
    from medrega_edge.package.registry import find_package

    processes = process_pool.process_count(find_package(model), threads, device, len(job) - start.item)
    if processes == 1:
        yield from job.answers(load_engine(model, threads, device), start)
    else:
        yield from process_pool.answers(job, start, processes, model, threads)


def _batch_question(
    question: str | None,
    task: str | None,
    language: str | None,
    window: str | None,
    plane: str | None,
    series: int | None = None,
) -> BatchQuestion:
    from medrega_edge.batch.jobs import BatchQuestion
    from medrega_edge.images.medical_image import View
    from medrega_edge.images.windowing import parse_window
    from medrega_edge.tasks.base import parse_language, parse_task
    from medrega_edge.tasks.intent import window_preset_for

    if not (question or "").strip() and task is None:
        raise UsageError("batch.no_question")
    if window is not None:
        parse_window(window)
    if task is not None:  # a wrong name is reported once, not for each image
        parse_task(task)
    if language is not None:
        parse_language(language)
    view = View(window=window, plane=plane, default_preset=window_preset_for(question or ""), series=series)
    return BatchQuestion(question or "", task, language, view)


FAILURES_SHOWN = 20


def _report_failures(rows: Iterator[dict[str, Any]]) -> tuple[int, int]:
    """List the first failed rows by id; return the numbers of answered and of failed rows."""
    answered = failed = 0
    for row in rows:
        if "error" not in row:
            answered += 1
            continue
        failed += 1
        if failed > FAILURES_SHOWN:
            continue
        problem = Message.from_dict(row["error"])
        if row["id"] is None:
            tell(Message("batch.failed", problem=problem))
        else:
            tell(Message("batch.failed_row", id=str(row["id"]), problem=problem))
    if failed > FAILURES_SHOWN:
        tell(Message("batch.failed_more", count=failed - FAILURES_SHOWN))
    return answered, failed


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where images arrive; they are read, never moved.")],
    question: Annotated[str, typer.Option(help="What to ask about each of them.")],
    out: Annotated[Path, typer.Option(help="Folder of answers: one JSONL a file, named after its SHA-256.")],
    task: TaskOption = None,
    language: LanguageOption = None,
    window: WindowOption = None,
    plane: PlaneOption = None,
    settle: Annotated[float, typer.Option(min=0.1, help="Seconds without a change after which a file has arrived.")] = 2.0,
    include_identifiers: IdentifiersOption = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Ask about every image that arrives in a folder, until interrupted.

    medrega watch INBOX --question "locate the liver" --out ANSWERS

    Run again, it answers what came in the meantime, and nothing twice.
    """
    from medrega_edge import __version__
    from medrega_edge.batch.jobs import fingerprint
    from medrega_edge.batch.watch import check_folder
    from medrega_edge.batch.watch import watch as watching
    from medrega_edge.package.registry import find_package

    batch_question = _batch_question(question, task, language, window, plane)
    job = fingerprint(__version__, find_package(model).sha256, device, repr(batch_question), include_identifiers)
    check_folder(folder, out)
    engine = load_engine(model, threads, device)
    tell(Message("batch.watching"))
    for rows in watching(engine, folder, out, batch_question, job, settle, include_identifiers):
        for row in rows:
            if "error" in row:
                tell(Message("batch.failed_row", id=str(row["id"]), problem=Message.from_dict(row["error"])))
            else:
                tell(Message("batch.answered_row", id=str(row["id"])))


def mount(app: typer.Typer) -> None:
    """Register `batch` and `watch`."""
    for command in (batch, watch):
        app.command()(command)
