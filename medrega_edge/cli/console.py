"""What reaches the terminal: results on standard output, status, errors and progress on standard error.

Messages are in the user's language. Control characters do not get through.
"""

from __future__ import annotations

import codecs
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.i18n.user_language import locale_language
from medrega_edge.io.safe_text import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console


_language: Language | None = None


def set_user_language(language: Language) -> None:
    """Set the language of what is printed."""
    global _language
    _language = language


def user_language() -> Language:
    """The language of the user; that of the locale if no command line was read."""
    return _language or locale_language()


def print_result(text: str | Message) -> None:
    """Print a line of plain text, or a message in the user's language, on standard output."""
    _print(text, to_stderr=False)


def print_json(value: Any) -> None:
    """Print a line of JSON on standard output: in UTF-8, or with every letter beyond ASCII escaped."""
    is_utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf-8")
    _print(json_text(value, ensure_ascii=not is_utf8), to_stderr=False)


def print_status(text: str | Message) -> None:
    """Print a line of plain text, or a message in the user's language, on standard error."""
    _print(text, to_stderr=True)


def problem_line(problem: Message) -> Message:
    """Return the line that tells a problem; the answer to a greeting or "what can you do?" is none."""
    return problem if problem.code == "task.help" else Message("cli.error", problem=problem)


def _print(text: str | Message, to_stderr: bool) -> None:
    shown = text.text(user_language()) if isinstance(text, Message) else text
    typer.echo(printable(shown), err=to_stderr)


def console(stderr: bool = False) -> Console:
    """A console that shows text as it is, without markup."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


SECONDS_BETWEEN_LINES = 30.0  # of progress, where no terminal shows a bar


@contextmanager
def progress(total: int, done: int) -> Iterator[Callable[[float], None]]:
    """Show how much of the work is done and how long the rest will take; yields a function of the number of items done."""
    stderr = console(stderr=True)
    if stderr.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=stderr, transient=True) as bar:
            task = bar.add_task("", total=total, completed=done)
            yield lambda items: bar.update(task, completed=items)
        return
    begun = last_line = time.monotonic()

    def print_line(items: float) -> None:
        nonlocal last_line
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES and items < total:
            last_line = now
            left = (now - begun) / (items - done) * (total - items)
            print_status(Message("cli.progress", done=int(items), total=total, minutes=left / 60))

    yield print_line
