"""`medrega inspect`: how a picture is read, without asking a model about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from medrega_edge.cli.ask import ONE_IMAGE, ImageArgument, image_path, kind_of_image
from medrega_edge.cli.console import print_json, print_result, print_status, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import OwnLanguageOption, PictureOptions, output_option, with_shared_options
from medrega_edge.cli.settings import in_folder
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medrega_edge.images.medical_image import MedicalImage


@with_shared_options
def inspect(
    image: ImageArgument = None,
    as_json: Annotated[bool, output_option("--json", help="Print one line of JSON.")] = False,
    save_png: Annotated[
        Path | None, output_option("--save-png", metavar="FILE.png", help="Write the picture as it was read, as PNG.")
    ] = None,
    language: OwnLanguageOption = None,
    *,
    picture: PictureOptions,
) -> None:
    """Show how an image is read: pixels, window, directions, and what was assumed or not applied.

    medrega inspect ct.dcm

    medrega inspect series-folder --slice 40 --save-png slice.png
    """
    from medrega_edge.images.reader import read_image

    path = image_path(image, picture.sample)
    save = None if save_png is None else in_folder(save_png)
    if save is not None:
        from medrega_edge.output.overlay import check_png_path

        check_png_path(save, Path(path))
    read = read_image(path, picture.view())
    if save is not None:
        from PIL import Image

        from medrega_edge.output.overlay import save_png as write

        write(Image.fromarray(read.pixels), save)
    if as_json:
        print_json(_document(read))
        return
    for line in _lines(read):
        print_result(line)
    for warning in read.warnings:
        print_result(Message("output.warning", warning=warning))
    if save is not None:
        print_status(Message("cli.written", path=save))


def _lines(image: MedicalImage) -> Iterator[str | Message]:
    yield kind_of_image(image.modality, user_language())
    yield Message("reading.size", width=image.width, height=image.height)
    yield from image.reading
    if image.spacing_mm:
        yield Message("reading.spacing", across=image.spacing_mm[0], down=image.spacing_mm[1])
    if image.patient_orientation:
        left, top, right, bottom = image.patient_orientation
        yield Message("reading.sides", left=left, top=top, right=right, bottom=bottom)
    for what in image.not_applied:
        yield Message("reading.not_applied", what=what)


def _document(image: MedicalImage) -> dict[str, Any]:
    """The facts of an image under the keys that they have in an answer, and the steps of its reading; no path."""
    return {
        "image": {
            "sha256": image.sha256,
            "width": image.width,
            "height": image.height,
            "modality": image.modality,
            "frame": image.frame,
            "series": image.series,
            "slice": image.slice,
            "window": image.window,
            "window_function": image.window_function,
            "spacing_mm": image.spacing_mm,
            "spacing_areas": [list(area) for area in image.spacing_areas],
            "sides": image.patient_orientation,
        },
        "reading": [step.to_dict() for step in image.reading],
        "not_applied": [what.to_dict() for what in image.not_applied],
        "warnings": [warning.to_dict() for warning in image.warnings],
    }


def mount(app: App) -> None:
    """Register `inspect`."""
    app.command(rich_help_panel=ONE_IMAGE)(inspect)
