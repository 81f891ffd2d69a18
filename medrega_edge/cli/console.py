"""What reaches the terminal: results on standard output, talk and progress on standard error, all of it printable.

Talk is in the language of who typed the command, errors among it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from medrega_edge.domain import Language
from medrega_edge.i18n.message import LEGACY, Message
from medrega_edge.i18n.translate import locale_language
from medrega_edge.io.safe_text import printable

if TYPE_CHECKING:
    from rich.console import Console


_language: Language | None = None


def set_user_language(language: Language) -> None:
    """Set the language of what is printed."""
    global _language
    _language = language


def user_language() -> Language:
    """The language of who typed the command; that of the locale if no command line was read."""
    return _language or locale_language()


def echo(text: str | Message, err: bool = False) -> None:
    """Print a line of plain text, or a message in the language of who typed the command."""
    shown = text.text(user_language()) if isinstance(text, Message) else text
    typer.echo(printable(shown), err=err)


def tell(message: str | Message) -> None:
    """Print a message on standard error."""
    if isinstance(message, str):  # TRANSITION: a sentence without a code yet
        message = Message(LEGACY, text=message)
    echo(message, err=True)


def console(stderr: bool = False) -> Console:
    """A console that shows text as it is, without markup."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


SECONDS_BETWEEN = 30.0  # lines of progress, where nobody watches a bar


@contextmanager
def progress(total: int, done: int) -> Iterator[Callable[[float], None]]:
    """Show how far the work is and how long it will take; gives what is to be called with the number of items done."""
    talk = console(stderr=True)
    if talk.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=talk, transient=True) as bar:
            shown = bar.add_task("", total=total, completed=done)
            yield lambda now: bar.update(shown, completed=now)
        return
    begun = told = time.monotonic()

    def note(now: float) -> None:
        nonlocal told
        seconds = time.monotonic()
        if seconds - told >= SECONDS_BETWEEN and now < total:
            told = seconds
            left = (seconds - begun) / (now - done) * (total - now)
            tell(Message("cli.progress", done=int(now), total=total, minutes=left / 60))

    yield note
