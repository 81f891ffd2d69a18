"""Golden files of the help screens: every command, English and Chinese, 80 columns wide.

python -m tools.golden_help write    write tests/golden/help/*.txt
python -m tools.golden_help check    exit with 1 if a file is missing, stale or of no command
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import typer

from medrega_edge.cli import console
from medrega_edge.cli import main as cli
from medrega_edge.cli.help import screen
from medrega_edge.domain import Language
from tools.catalogues import compile_all
from tools.cli_reference import whole_context

FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "help"


def screens() -> dict[str, str]:
    """The help screen of every command in each language, by the name of its file."""
    found = {}
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}), mock.patch.object(console, "_language"):
        for language in Language:
            console.set_user_language(language)
            for context in _contexts():
                name = "-".join(context.command_path.split())
                found[f"{name}.{language}.txt"] = "\n".join(screen(context)) + "\n"
    return found


def _contexts() -> Iterator[Any]:
    """The context of every command; those of plug-ins too, whichever extras are installed."""
    top = typer.main.get_command(cli.app)
    yield top.context_class(top, info_name="medrega", **top.context_settings)
    yield from _below(whole_context())


def _below(context: Any) -> Iterator[Any]:
    for name, command in getattr(context.command, "commands", {}).items():
        below = command.context_class(command, info_name=name, parent=context)
        yield below
        yield from _below(below)


def differences() -> list[str]:
    """Names of the files that are missing, stale, or of no command."""
    held = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.txt")}
    shown = screens()
    return sorted(name for name in held.keys() | shown.keys() if held.get(name) != shown.get(name))


def write() -> None:
    """Write every file; delete those of no command."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    shown = screens()
    for path in FOLDER.glob("*.txt"):
        if path.name not in shown:
            path.unlink()
    for name, text in shown.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    compile_all()
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:] == ["check"]:
        sys.exit("\n".join(differences()))
    else:
        sys.exit(__doc__)
