"""Write docs/cli.md from the program's own commands: `python -m tools.cli_reference`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import typer

from medrega_edge.cli import main as cli
from medrega_edge.cli.help import App, parameter_groups, split_help
from medrega_edge.cli.plugins import GROUP

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """# Commands

`python -m tools.cli_reference` writes this page from the program. `train`, `export` and `bench` need their extras.
"""


def whole_command() -> Any:
    """The command `medrega` with the commands of all four packages, whichever extras are installed."""
    app = App()
    for kind in ("registered_commands", "registered_groups"):
        setattr(app, kind, list(getattr(cli.app, kind)))
    for entry in entry_points(group=GROUP):
        entry.load()(app)
    return typer.main.get_command(app)


def reference() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *_section(whole_context())])


def whole_context() -> Any:
    """The context of `medrega` with the commands of all four packages."""
    command = whole_command()
    return command.context_class(command, info_name="medrega", **command.context_settings)


def _section(context: Any) -> Iterator[str]:
    """One command, and below it its subcommands."""
    command = context.command
    commands = getattr(command, "commands", {})
    if context.parent is not None:
        yield f"{'#' * len(context.command_path.split())} {context.command_path}\n"
        yield from _described(command)
        if not commands:
            yield f"```\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```\n"
            yield from _parameters(context)
    for name, below in commands.items():
        if not below.hidden:
            yield from _section(below.context_class(below, info_name=name, parent=context))


def _described(command: Any) -> Iterator[str]:
    """The help of a command: sentences as paragraphs, example lines as one block."""
    texts, examples = split_help(command.help)
    yield from (_text(text) + "\n" for text in texts)
    if examples:
        yield "\n".join(["Examples:\n", "```", *examples, "```\n"])


def _parameters(context: Any) -> Iterator[str]:
    """A table of each group of parameters, in the order of the help."""
    for heading, rows in parameter_groups(context).items():
        shown = [f"| `{name.replace('|', chr(92) + '|')}` | {_text(text)} |" for name, text in rows if name != "-h, --help"]
        if shown:
            yield "\n".join([f"| {heading} | |", "|---|---|", *shown, ""])


def _text(text: str) -> str:
    """Plain text as Markdown: outside of code spans nothing is markup."""
    parts = text.replace("\n", " ").split("`")
    for at in range(0, len(parts), 2):
        for mark in ("\\", "*", "_", "<", "[", "|"):
            parts[at] = parts[at].replace(mark, f"\\{mark}")
    return "`".join(parts)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
