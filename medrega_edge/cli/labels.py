"""`medrega labels`: the names that a package can locate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from medrega_edge.cli.ask import kind_of_image
from medrega_edge.cli.console import print_json, print_result, print_status, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import ModelOption, OwnLanguageOption
from medrega_edge.domain import Language, Modality, language_of
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import printable

if TYPE_CHECKING:
    from medrega_edge.vocabulary.terminology import BilingualName, Terminology


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
    from medrega_edge.vocabulary.usual_labels import usual

    terminology, modality, part = _terminology(model, image)
    if word is None:
        found = usual(terminology.labels, modality, part)
    else:
        possible = [label for label in terminology.labels if terminology.can_show(modality, label[0])]
        found = _matching(word, possible, terminology, modality)
    if as_json:
        print_json({"labels": [_row(label, terminology) for label in found]})
        return
    if image is not None:
        print_status(Message("cli.labels_of_kind", kind=kind_of_image(modality, user_language())))
    for label in found:
        row = _row(label, terminology)
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


def _matching(
    word: str, labels: list[BilingualName], terminology: Terminology, modality: Modality | None
) -> list[BilingualName]:
    """Return the labels that a word names or stands for, or whose names hold it; raises UsageError where there is none."""
    from medrega_edge.prompts.intent import understand
    from medrega_edge.vocabulary.wording import corrected, nearest, simplified

    named = understand(word, terminology, modality).names
    plain, _ = corrected(simplified(word).strip(), terminology.words)
    found = [label for label in labels if label in named or any(plain in name.casefold() for name in label)]
    if not found:
        column = language_of(word) is Language.ZH
        near = nearest(plain, [label[column] for label in labels])
        raise (
            UsageError("task.unknown_name", word=word, near=near)
            if near
            else UsageError("task.unknown_name_only", word=word)
        )
    return found


def _row(label: BilingualName, terminology: Terminology) -> dict[str, Any]:
    from medrega_edge.vocabulary.terminology import term_of

    term = term_of(label[0])
    kinds = terminology.modalities_of(label[0])
    return {"en": label[0], "zh": label[1], "snomed": term.snomed if term else None, "kinds": list(kinds)}


def mount(app: App) -> None:
    """Register `labels`."""
    app.command(rich_help_panel="Model packages")(labels)
