"""Commands that ask one question about one image: `ask`, `locate`, `segment`, `identify`, `classify`, `report`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_edge.cli.console import console, print_json, print_result, print_status, progress, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import (
    AnswerOptions,
    FileOptions,
    GuessOption,
    ImageOptions,
    MinConfidenceOption,
    ModelOptions,
    TaskOption,
    image_option,
    question_option,
    with_shared_options,
)
from medrega_edge.cli.settings import in_folder
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import printable

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.boxes import PixelBox
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.tasks.base import TaskRequest
    from medrega_edge.volumes.locate import Keep, Row

ONE_IMAGE = "Ask about one image"  # group of the help
FREE_TEXT = (Task.VQA, Task.REPORT, Task.GROUNDED_REPORT)
ImageArgument = Annotated[
    str | None, typer.Argument(metavar="IMAGE", help="PNG, JPEG, TIFF, DICOM or NIfTI file, or a folder of DICOM files.")
]
BoxText = Annotated[str, question_option(metavar="X1,Y1,X2,Y2", help="The box, in pixels of the image.")]
ChainOfThought = Annotated[
    bool, question_option("--cot", help="Locate the relevant regions first, then answer with them (Regional CoT).")
]


WholeVolume = Annotated[
    bool,
    image_option("--volume", help="Ask all slices of a series or volume, and link the boxes to one object for each name."),
]


def _label_sets() -> list[str]:
    from medrega_edge.vocabulary.label_sets import LABEL_SETS

    return list(LABEL_SETS)


@with_shared_options
def ask(
    image_or_question: ImageArgument = None,
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What to ask; English or Chinese.")] = None,
    task: TaskOption = None,
    box: Annotated[
        str | None, question_option(metavar="X1,Y1,X2,Y2", help="Ask what lies in this box, in pixels of the image.")
    ] = None,
    regional_chain_of_thought: ChainOfThought = False,
    guess: GuessOption = False,
    min_confidence: MinConfidenceOption = 0.0,
    volume: WholeVolume = False,
    *,
    shared: AnswerOptions,
) -> None:
    """Answer one QUESTION about IMAGE.

    medrega ask scan.png "locate the liver"

    medrega ask --sample abdomen-mri "请定位肝脏" --save marked.png
    """
    image, text = image_or_question, question
    sample = shared.picture.sample
    if sample is not None and question is None:
        image, text = None, image_or_question
    if text is None and box is None:
        given = image is not None or sample is not None
        raise UsageError("cli.only_no_question") if given else UsageError("cli.no_question")
    pixels, text = None if box is None else parse_box(box), text or ""

    def request(engine: Engine, encoded: EncodedImage) -> TaskRequest:
        return engine.request(encoded, text, task=task, box=pixels, regional_chain_of_thought=regional_chain_of_thought)

    if volume:
        named = (("--box", box is not None), ("--cot", regional_chain_of_thought), ("--guess", guess))
        refused = [*(option for option, given in named if given), *_unless_none(min_confidence)]
        _answer_volume(image, text, request, shared, refused)
        return
    _answer_one(image, text, request, shared, (text,), guess, min_confidence)


@with_shared_options
def locate(
    image_or_name: ImageArgument = None,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="What to locate: one name or several.")] = None,
    min_confidence: MinConfidenceOption = 0.0,
    volume: WholeVolume = False,
    *,
    shared: AnswerOptions,
) -> None:
    """Locate structures and lesions by name.

    medrega locate scan.png liver spleen "both kidneys" --save marked.png
    """
    from medrega_edge.tasks.detection import Detect

    image, given = _image_and_names(image_or_name, names, shared)
    if not given:
        raise UsageError("cli.no_name")
    request = Detect(given)
    if volume:
        _answer_volume(image, request.words, lambda *_: request, shared, _unless_none(min_confidence))
        return
    _answer_one(image, request.words, lambda *_: request, shared, given, least=min_confidence)


@with_shared_options
def segment(
    image_or_name: ImageArgument = None,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="What to segment: one name or several.")] = None,
    box: Annotated[
        str | None,
        question_option(metavar="X1,Y1,X2,Y2", help="Instead of names: segment what lies in this box, in pixels."),
    ] = None,
    min_confidence: MinConfidenceOption = 0.0,
    volume: WholeVolume = False,
    *,
    shared: AnswerOptions,
) -> None:
    """Outline structures and lesions by name, or what lies in a box: masks with area and centre.

    medrega segment scan.png liver spleen --save marked.png --mask masks.png

    medrega segment scan.png --box 52,80,182,195 --json

    medrega segment series/ liver --volume --mask masks.nii.gz
    """
    from medrega_edge.tasks.segmentation import Segment

    image, given = _image_and_names(image_or_name, names, shared)
    if not given and box is None:
        raise UsageError("cli.no_name")
    request = Segment(given, None if box is None else parse_box(box))
    if volume:
        refused = [*([] if box is None else ["--box"]), *_unless_none(min_confidence)]
        _answer_volume(image, request.words, lambda *_: request, shared, refused)
        return
    _answer_one(image, request.words, lambda *_: request, shared, given, least=min_confidence)


@with_shared_options
def identify(
    image: ImageArgument = None,
    box: BoxText = ...,  # type: ignore[assignment]
    *,
    shared: AnswerOptions,
) -> None:
    """Name the structure or lesion in a box.

    medrega identify scan.png --box 52,80,182,195 --lang zh
    """
    from medrega_edge.tasks.identification import Identify

    request = Identify(parse_box(box))
    _answer_one(image, "", lambda *_: request, shared)


@with_shared_options
def classify(
    image: ImageArgument = None,
    labels: Annotated[str | None, question_option(metavar="A,B,...", help="Labels to choose from.")] = None,
    label_set: Annotated[
        str | None,
        question_option(
            "--set",
            metavar="NAME",
            help="A label set; `medrega model info --labels` lists them.",
            autocompletion=_label_sets,
        ),
    ] = None,
    multiple: Annotated[bool, question_option("--several", help="More than one label may apply.")] = False,
    regional_chain_of_thought: ChainOfThought = False,
    guess: GuessOption = False,
    min_confidence: MinConfidenceOption = 0.0,
    *,
    shared: AnswerOptions,
) -> None:
    """Choose among labels for the whole image.

    medrega classify skin.png --set skin

    medrega classify xray.png --labels "fracture,no fracture"
    """
    from medrega_edge.tasks.classification import Classify

    if (labels is None) == (label_set is None):
        raise UsageError("cli.labels_or_set")
    words = labels or ""
    candidates = label_set if label_set is not None else [part.strip() for part in re.split("[,，;；]", words)]
    request = Classify(candidates, multiple, regional_chain_of_thought, words)
    _answer_one(image, words, lambda *_: request, shared, guess=guess, least=min_confidence)


@with_shared_options
def report(
    image: ImageArgument = None,
    grounded: Annotated[bool, question_option("--grounded", help="Locate what the report names.")] = False,
    *,
    shared: AnswerOptions,
) -> None:
    """Write a report about an image.

    medrega report scan.png --grounded --save marked.png
    """
    from medrega_edge.tasks.reporting import Report

    _answer_one(image, "", lambda *_: Report(grounded), shared)


def _image_and_names(first: str | None, names: list[str] | None, shared: AnswerOptions) -> tuple[str | None, list[str]]:
    """Tell the image and the names apart: with a sample, the first word is a name unless a file has that name."""
    given = [word for word in (first, *(names or ())) if word is not None]
    image = given.pop(0) if given and (shared.picture.sample is None or os.path.isfile(given[0])) else None
    return image, given


def image_path(image: str | None, sample: str | None, asked: Sequence[str] = ()) -> str:
    """The path of the image: the one given, or a sample's. `asked` are the arguments behind it.

    Raises UsageError for arguments in another order, ImageError for a path that is not there.
    """
    if (image is None) == (sample is None):
        raise UsageError("cli.image_or_sample")
    if image is not None:
        if os.path.exists(image):
            return image
        if any(map(os.path.isfile, asked)):
            raise UsageError("cli.image_first")
        raise ImageError("cli.no_such_file", path=image)
    from medrega_edge.images.samples import sample_path

    assert sample is not None
    return str(sample_path(sample))


def _unless_none(min_confidence: float) -> list[str]:
    """The option that a volume does not take, if it was given."""
    return ["--min-confidence"] if min_confidence else []


def _answer_one(
    image: str | None,
    words: str,
    request: Callable[[Engine, EncodedImage], TaskRequest],
    shared: AnswerOptions,
    asked: Sequence[str] = (),
    guess: bool = False,
    least: float = 0.0,
) -> None:
    """Encode one image, answer one request, show the answer; `words` are the user's, and may be empty.

    `asked` are the arguments behind the image. `guess` is that of `Engine.run`, `least` its `min_confidence`.
    """
    path = image_path(image, shared.picture.sample, asked)
    files = shared.output
    save = None if files.save is None else in_folder(files.save)
    if save is not None:
        from medrega_edge.output.overlay import check_png_path

        check_png_path(save, Path(path))
    masks = None if files.mask is None else in_folder(files.mask)
    if masks is not None:
        from medrega_edge.output.mask_file import check_mask_path

        check_mask_path(masks, Path(path))
    objects = _object_paths(files, Path(path))
    engine, encoded = shared.model.open_image(path, shared.picture.view(words))
    language = shared.language or (language_of(words) if words else user_language())
    asked_for = request(engine, encoded)
    if (masks is not None or "seg" in objects) and not asked_for.wants_masks:
        raise UsageError("cli.mask_of_boxes")

    def write(answer: Answer) -> None:
        if save is not None:
            save_picture(encoded, answer, save, quiet=files.as_json)
        if masks is not None:
            from medrega_edge.output.mask_file import write_masks

            write_masks(answer, masks)
            if not files.as_json:
                print_status(Message("cli.written", path=masks))
        if "seg" in objects and not any(region.mask for region in answer.regions):
            del objects["seg"]
            print_status(Message("cli.no_mask_for_seg"))
        if objects:
            from medrega_edge.output.dicom.writer import write_objects
            from medrega_edge.output.overlay import draw_answer

            scan = Path(encoded.image.path or path)  # of a folder, the file that was read
            write_objects(answer, scan, draw_answer(encoded.image, answer), objects, words, engine.terminology.english)
            for path_written in () if files.as_json else objects.values():
                print_status(Message("cli.written", path=path_written))

    answer = answer_and_show(engine, encoded, asked_for, language, shared, guess, write, least)
    if shared.output.strict and (answer.warnings or answer.best_guesses):
        raise typer.Exit(5)


def _answer_volume(
    path: str | None,
    words: str,
    request: Callable[[Engine, EncodedImage], TaskRequest],
    shared: AnswerOptions,
    options: Sequence[str] = (),
) -> None:
    """Ask every slice of a volume, show the linked answer; `options` are those given that a volume does not take."""
    from medrega_edge.output import overlay
    from medrega_edge.output.dicom.writer import VOLUME_KINDS, write_volume_objects
    from medrega_edge.output.volume import montage, print_volume_answer
    from medrega_edge.output.volume_masks import check_volume_mask_path, write_volume_masks
    from medrega_edge.volumes.locate import ROWS, locate_in_volume, slices_of_objects
    from medrega_edge.volumes.reader import open_volume

    files, picture = shared.output, shared.picture
    of_one_image = (("--slice", picture.slice_ is not None), ("--sample", picture.sample is not None))
    if refused := [*options, *(option for option, given in of_one_image if given)]:
        raise UsageError("volume.one_option", options=refused)
    path = image_path(path, None, ())
    save = None if files.save is None else in_folder(files.save)
    if save is not None:
        overlay.check_png_path(save, Path(path))
    masks = None if files.mask is None else in_folder(files.mask)
    if masks is not None:
        check_volume_mask_path(masks, Path(path))
    objects = _object_paths(files, Path(path))
    if wrong := [kind for kind in objects if kind not in VOLUME_KINDS]:
        raise UsageError("volume.objects", name=wrong[0], names=list(VOLUME_KINDS))
    volume = open_volume(path, picture.view(words))
    grid = None if masks is None else volume.grid()  # before any slice is asked
    if "seg" in objects and any(frame is not None for _, frame in volume.files):
        raise UsageError("output.seg_of_frames")  # before any slice is asked
    engine = shared.model.load_engine()
    language = shared.language or (language_of(words) if words else user_language())
    asked = request(engine, engine.encode(volume.read(volume.count // 2)))
    if (masks is not None or "seg" in objects) and not asked.wants_masks:
        raise UsageError("cli.mask_of_boxes")
    key = (ROWS, *volume.key, astuple(picture.view(words)), asked.words, asked.wants_masks, language)
    with _kept(save, shared.model, key, volume.count) as (keep, done):
        with progress(volume.count, done) as advance:
            answer = locate_in_volume(engine, volume, asked, language, advance, keep)
        if save is not None:
            overlay.save_png(montage(slices_of_objects(volume, answer), answer), save)
    if masks is not None and grid is not None:
        write_volume_masks(answer, grid, masks)
    if "seg" in objects and not any(any(region.masks) for region in answer.regions):
        del objects["seg"]
        print_status(Message("cli.no_mask_for_seg"))
    if objects:
        write_volume_objects(answer, volume.files, objects, words, engine.terminology.english)
    if files.as_json:
        print_json(answer.to_dict(files.include_identifiers))
    else:
        print_volume_answer(answer, console())
        for written in filter(None, (save, masks, *objects.values())):
            print_status(Message("cli.written", path=written))
    if files.strict and answer.warnings:
        raise typer.Exit(5)


@contextmanager
def _kept(save: Path | None, model: ModelOptions, key: Sequence[object], total: int) -> Iterator[tuple[Keep, int]]:
    """Write the rows of a volume into a work file beside the picture, where `save` names one.

    Yields what `locate_in_volume` calls, and how many slices an interrupted run has done. The file is removed at the end.
    """
    from medrega_edge.volumes.locate import keep_nothing

    if save is None:
        yield keep_nothing, 0
        return
    from medrega_edge import __version__
    from medrega_edge.batch.jobs import fingerprint
    from medrega_edge.batch.journal import Journal
    from medrega_edge.package.registry import find_package

    job = fingerprint(__version__, find_package(model.model).sha256, model.device, key)
    with Journal(save, job) as journal:
        earlier = iter(list(journal.rows()))
        if done := min(journal.position.item, total):
            print_status(Message("batch.resumed", done=done, total=total))

        def keep(make: Callable[[], Row]) -> Row:
            row = next(earlier, None)
            if row is None:
                row = make()
                journal.add(journal.position, row)
            return row

        yield keep, done
        journal.remove()


def save_picture(image: EncodedImage, answer: Answer, path: Path, quiet: bool = False) -> None:
    """Write the image with the regions of an answer, and say so; raises UsageError or ResourceError."""
    from medrega_edge.output import overlay

    overlay.save_png(overlay.draw_answer(image.image, answer), path)
    if not quiet:
        print_status(Message("cli.written", path=path))
        if not answer.regions:
            print_status(Message("cli.nothing_marked"))


def _object_paths(files: FileOptions, image: Path) -> dict[str, Path]:
    """Path of each DICOM object to write, by its kind; raises UsageError."""
    if (files.dicom is None) != (files.dicom_to is None):
        raise UsageError("cli.dicom_and_folder")
    if files.dicom is None or files.dicom_to is None:
        return {}
    from medrega_edge.output.dicom.writer import object_paths, parse_kinds

    return object_paths(files.dicom_to, parse_kinds(files.dicom), image)


def answer_and_show(
    engine: Engine,
    image: EncodedImage,
    request: TaskRequest,
    language: str,
    shared: ImageOptions,
    guess: bool = False,
    write: Callable[[Answer], None] = lambda _: None,
    least: float = 0.0,
) -> Answer:
    """Answer a request and print the answer; on a terminal, free text appears while it is generated.

    `guess` is that of `Engine.run`, `least` its `min_confidence`. `write` writes the files of the answer: before it is
    printed into a pipe, whose reader may close it at the first line.
    """
    streams = request.task in FREE_TEXT and not shared.output.as_json and sys.stdout.isatty()
    if not streams:
        answer = engine.run(image, request, language, guess=guess, min_confidence=least)
        show = partial(_show, shared=shared)
        is_piped = not sys.stdout.isatty()
        for step in (write, show) if is_piped else (show, write):
            step(answer)
        return answer

    def stream(text: str) -> None:
        typer.echo(printable(text), nl=False)

    answer = engine.run(image, request, language, on_text=stream, guess=guess, min_confidence=least)
    print_result("")
    _show(answer, shared, with_text=False)
    write(answer)
    return answer


def _show(answer: Answer, shared: ImageOptions, with_text: bool = True) -> None:
    """Print an answer: as JSON, or for a person, with a line on standard error about the task and the image."""
    if shared.output.as_json:
        print_json(answer.to_dict(shared.output.include_identifiers))
        return
    from medrega_edge.output import terminal
    from medrega_edge.vocabulary.kind_names import KIND_NAMES

    kind = kind_of_image(answer.image.modality, answer.language)
    if answer.image.modality_confidence is not None:
        kind += f" ({answer.image.modality_confidence:.2f})"
    reading = answer.reading or KIND_NAMES[answer.task].text(answer.language)
    asked = f"{reading} · {answer.language} · {kind} · {answer.model.name} · {answer.device}"
    console(stderr=True).print(printable(asked), style="dim", soft_wrap=True)
    terminal.print_answer(answer, console(), with_text)


def kind_of_image(modality: Modality | None, language: Language) -> str:
    """The kind of an image, for a person."""
    from medrega_edge.vocabulary.label_sets import modality_name

    if modality is None:
        return Message("cli.unknown_kind").text(language)
    return modality_name(modality, language)


def parse_box(text: str) -> PixelBox:
    """The box that a user wrote as X1,Y1,X2,Y2; raises UsageError."""
    from medrega_edge.boxes import PixelBox

    try:
        return PixelBox(*map(float, text.split(",")))
    except (ValueError, TypeError):  # no number, or not four of them
        raise UsageError("task.unreadable_box", text=text) from None


def mount(app: App) -> None:
    """Register the commands that ask one question about one image."""
    for command in (ask, locate, segment, identify, classify, report):
        app.command(rich_help_panel=ONE_IMAGE)(command)
