"""Commands that ask about one image: `ask`, `locate`, `identify`, `classify`, `report`, `chat`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_edge.cli.console import console, echo
from medrega_edge.cli.options import AnswerOptions, ImageOptions, TaskOption, load_engine, with_shared_options
from medrega_edge.domain import Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.i18n.translate import locale_language, said
from medrega_edge.io.safe_text import json_text, printable

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.boxes import PixelBox
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.tasks.base import TaskRequest

FREE_TEXT = (Task.VQA, Task.REPORT, Task.GROUNDED_REPORT)
IMAGE = "PNG, JPEG, TIFF, DICOM or NIfTI, a folder of DICOM files; or --sample."
ImageOrOther = Annotated[str, typer.Argument(metavar="IMAGE", help=IMAGE)]
OptionalImage = Annotated[str | None, typer.Argument(metavar="IMAGE", help=IMAGE)]


@with_shared_options
def ask(
    image_or_question: ImageOrOther,
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What to ask; English or Chinese.")] = None,
    task: TaskOption = None,
    box: Annotated[str | None, typer.Option(help="x1,y1,x2,y2 in pixels: ask what is in this box.")] = None,
    regional_chain_of_thought: Annotated[
        bool, typer.Option("--cot", help="Find the regions that matter first, then answer with them (Regional CoT).")
    ] = False,
    *,
    shared: AnswerOptions,
) -> None:
    """Answer one QUESTION about IMAGE.

    medrega ask scan.png "locate the liver"

    medrega ask --sample abdomen-mri "请定位肝脏" --save marked.png
    """
    from medrega_edge.tasks.intent import build_request

    if shared.sample is not None and question is None:
        image, text = None, image_or_question
    elif question is None:
        raise UsageError('Give an IMAGE and a QUESTION, for example: medrega ask scan.png "locate the liver".')
    else:
        image, text = image_or_question, question
    pixels = None if box is None else _parse_box(box)

    def request(engine: Engine) -> TaskRequest:
        named = task or engine.guess_task(text, pixels)
        return build_request(named, text, box=pixels, regional_chain_of_thought=regional_chain_of_thought)

    _answer_one(image, text, request, shared)


@with_shared_options
def locate(
    image_or_name: ImageOrOther,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="What to locate: one name or several.")] = None,
    *,
    shared: AnswerOptions,
) -> None:
    """Locate structures and lesions by name.

    medrega locate scan.png liver spleen "both kidneys" --save marked.png
    """
    from medrega_edge.tasks.detection import Detect

    names = list(names or ())
    if shared.sample is not None:
        names.insert(0, image_or_name)
    if not names:
        raise UsageError("Say what to locate, for example: medrega locate scan.png liver.")
    image = None if shared.sample is not None else image_or_name
    request = Detect(names)
    _answer_one(image, request.words, lambda _: request, shared)


@with_shared_options
def identify(
    image: OptionalImage = None,
    box: Annotated[str, typer.Option(help="x1,y1,x2,y2 in pixels of the image.")] = ...,  # type: ignore[assignment]
    *,
    shared: AnswerOptions,
) -> None:
    """Name what lies in a box.

    medrega identify scan.png --box 52,80,182,195 --lang zh
    """
    from medrega_edge.tasks.identification import Identify

    request = Identify(_parse_box(box))
    _answer_one(image, "", lambda _: request, shared)


@with_shared_options
def classify(
    image: OptionalImage = None,
    labels: Annotated[str | None, typer.Option(help="Candidates, separated by commas.")] = None,
    label_set: Annotated[str | None, typer.Option("--set", help="A named list of them; see `model info --labels`.")] = None,
    multiple: Annotated[bool, typer.Option("--several", help="More than one may be right.")] = False,
    regional_chain_of_thought: Annotated[
        bool, typer.Option("--cot", help="Find regions first, then decide with them.")
    ] = False,
    *,
    shared: AnswerOptions,
) -> None:
    """Choose among labels for the whole image.

    medrega classify skin.png --set skin

    medrega classify xray.png --labels "fracture,no fracture"
    """
    from medrega_edge.tasks.classification import Classify

    if (labels is None) == (label_set is None):
        raise UsageError("Give the candidates with --labels a,b,c or the name of a list with --set, one of the two.")
    words = labels or ""
    candidates = label_set if label_set is not None else [part.strip() for part in re.split("[,，;；]", words)]
    request = Classify(candidates, multiple, regional_chain_of_thought, words)
    _answer_one(image, words, lambda _: request, shared)


@with_shared_options
def report(
    image: OptionalImage = None,
    grounded: Annotated[bool, typer.Option("--grounded", help="Locate what the report names.")] = False,
    *,
    shared: AnswerOptions,
) -> None:
    """Describe an image: its kind, the part of the body, what is seen, what is abnormal.

    medrega report scan.png --grounded --save marked.png
    """
    from medrega_edge.tasks.reporting import Report

    _answer_one(image, "", lambda _: Report(grounded), shared)


@with_shared_options
def chat(
    image: OptionalImage = None,
    *,
    shared: ImageOptions,
) -> None:
    """Ask about one image many times: it is looked at once. One question a line; an empty line ends.

    medrega chat scan.png
    """
    from medrega_edge.tasks.intent import build_request

    engine = load_engine(shared.model, shared.threads, shared.device)
    encoded = engine.open(_place(image, shared.sample), shared.view())
    warned = False
    while question := _next_question():
        try:
            request = build_request(engine.guess_task(question), question)
            answer = _answer_and_show(engine, encoded, request, shared.language or language_of(question), shared)
        except UsageError as error:  # the next question may be a better one
            if shared.as_json:
                echo(json_text({"error": error.to_dict()}))
            else:
                echo(said(f"error: {error}", language_of(question)), err=True)
            continue
        warned = warned or bool(answer.warnings)
    if shared.strict and warned:
        raise typer.Exit(5)


def _next_question() -> str:
    """The next line of standard input; empty when there is none."""
    console(stderr=True).print("? ", end="")
    line = sys.stdin.readline()
    if not line:  # Ctrl-D leaves the cursor behind the question mark
        echo("", err=True)
    return line.strip()


def _place(image: str | None, sample: str | None) -> str:
    """The file to look at: the one named, or a sample's."""
    if (image is None) == (sample is None):
        raise UsageError("Give an IMAGE or --sample, one of the two.")
    if image is not None:
        return image
    from medrega_edge.images.samples import sample_path

    assert sample is not None
    return str(sample_path(sample))


def _answer_one(image: str | None, words: str, request: Callable[[Engine], TaskRequest], shared: AnswerOptions) -> None:
    """Encode one image, answer one request, show the answer; `words` are the user's, and may be empty."""
    from medrega_edge.output import overlay

    path = _place(image, shared.sample)
    if shared.save is not None:
        overlay.check_png_path(shared.save, Path(path))
    objects = _object_places(shared, Path(path))
    engine = load_engine(shared.model, shared.threads, shared.device)
    encoded = engine.open(path, shared.view(words))
    language = shared.language or (language_of(words) if words else locale_language())
    answer = _answer_and_show(engine, encoded, request(engine), language, shared)
    if shared.save is not None:
        overlay.save_png(overlay.draw_regions(encoded.image, answer), shared.save)
    if objects:
        from medrega_edge.output.dicom.writer import write_objects

        scan = Path(encoded.image.path or path)  # of a folder, the file that was read
        write_objects(answer, scan, overlay.draw_regions(encoded.image, answer), objects)
    if shared.strict and answer.warnings:
        raise typer.Exit(5)


def _object_places(shared: AnswerOptions, image: Path) -> dict[str, Path]:
    """Where the DICOM objects about an image go that were asked for, checked before any work."""
    if (shared.dicom is None) != (shared.dicom_to is None):
        raise UsageError("--dicom and --dicom-to go together: which objects, and the folder for them.")
    if shared.dicom is None or shared.dicom_to is None:
        return {}
    from medrega_edge.output.dicom.writer import object_paths, parse_kinds

    return object_paths(shared.dicom_to, parse_kinds(shared.dicom), image)


def _answer_and_show(
    engine: Engine, image: EncodedImage, request: TaskRequest, language: str, shared: ImageOptions
) -> Answer:
    """Answer a request and print the answer; on a terminal, free text appears while it is generated."""
    streams = request.task in FREE_TEXT and not shared.as_json and sys.stdout.isatty()
    if not streams:
        answer = engine.run(image, request, language)
        _show(answer, shared)
        return answer
    answer = engine.run(image, request, language, on_text=lambda piece: typer.echo(printable(piece), nl=False))
    echo("")
    _show(answer, shared, with_text=False)
    return answer


def _show(answer: Answer, shared: ImageOptions, with_text: bool = True) -> None:
    """Print an answer: as JSON, or for a person, with a line on standard error about the task and the image."""
    from medrega_edge.output import terminal

    if shared.as_json:
        echo(terminal.to_json(answer, shared.include_identifiers))
        return
    kind = answer.image.modality or "?"
    if answer.image.modality_confidence is not None:
        kind += f" ({answer.image.modality_confidence:.2f})"
    asked = f"{answer.task} · {answer.language} · {kind} · {answer.model.name} · {answer.device}"
    console(stderr=True).print(printable(asked), style="dim")
    terminal.print_answer(answer, console(), with_text)


def _parse_box(text: str) -> PixelBox:
    from medrega_edge.boxes import PixelBox

    try:
        return PixelBox(*map(float, text.split(",")))
    except (ValueError, TypeError):  # no number, or not four of them
        raise UsageError("task.unreadable_box", text=text) from None


def mount(app: typer.Typer) -> None:
    """Register the commands that ask about one image."""
    for command in (ask, locate, identify, classify, report, chat):
        app.command()(command)
