"""`medrega labels`: the names that a package can locate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from medrega_edge.cli.ask import kind_of_image
from medrega_edge.cli.console import print_json, print_result, print_status, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import ModelOption, OwnLanguageOption
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import printable

if TYPE_CHECKING:
    from medrega_edge.vocabulary.terminology import Terminology


def labels(
    word: Annotated[str | None, typer.Argument(metavar="WORD", help="A name or a part of one; English or Chinese.")] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="List what such images usually show, the most used first.")
    ] = None,
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    language: OwnLanguageOption = None,
) -> None:
    """List the names that the model can locate, with their SNOMED CT codes.

    medrega labels kidney

    medrega labels --image scan.png
    """
    from medrega_edge.tasks.label_list import find_labels, label_data

    terminology, modality, part = _terminology(model, image)
    rows = [label_data(label, terminology) for label in find_labels(terminology, word, modality, part)]
    if as_json:
        print_json({"labels": rows})
        return
    if image is not None:
        print_status(Message("cli.labels_of_kind", kind=kind_of_image(modality, user_language())))
    for row in rows:
        kinds = [kind_of_image(Modality(kind), user_language()) for kind in row["kinds"]]
        code = f"  SCT {row['snomed']}" if row["snomed"] else ""
        print_result(
            printable(f"{row['en']}  {row['zh']}{code}" + (f"  ({', '.join(kinds)})" if kinds and not image else ""))
        )


def _terminology(model: str | None, image: str | None) -> tuple[Terminology, Modality | None, str | None]:
    """Return the names of a package, and the kind and the body part of an image if they are known."""
    from medrega_edge.package.registry import find_package
    from medrega_edge.prompts.templates import PromptBook
    from medrega_edge.vocabulary.terminology import Terminology

    if image is None:
        book = PromptBook.from_json(find_package(model).text("prompts"))
        return Terminology(book.labels, book.label_modalities), None, None
    import os

    from medrega_edge.engine import load

    if not os.path.exists(image):
        raise ImageError("cli.no_such_file", path=image)
    engine = load(model)
    encoded = engine.open(image)
    return engine.terminology, engine.modality(encoded), engine.context(encoded, Language.EN).certain_part()


def mount(app: App) -> None:
    """Register `labels`."""
    app.command(rich_help_panel="Model packages")(labels)
