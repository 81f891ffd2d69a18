"""Every command that the documents and the help texts show is one that the program has, with options that it has."""

import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer

from medrega_edge.cli import main as cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/results/*.md"))
    if path.name != "CHANGELOG.md"  # which tells of commands that once were
)
SHOWN = re.compile(r"`(medrega [^`]+)`|^(?:.*&& )?(?:\.venv\S*/bin/)?(medrega [^`|].*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def whole():
    """The command with all rooms, whichever extras are installed."""
    app = typer.Typer()
    rooms = {name: module for name, module, _, _ in cli._ROOMS}
    for kind in ("registered_commands", "registered_groups"):
        setattr(app, kind, [one for one in getattr(cli.app, kind) if one.name not in rooms])
    for module in rooms.values():
        import_module(module).mount(app)
    return typer.main.get_command(app)


def wrong(line, command):
    """What of a command line is not there."""
    words = shlex.split(line.replace("...", ""), comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return words[:1] if hasattr(command, "commands") and not words[:1] < ["-"] else unknown


def helps(command):
    yield inspect.cleandoc(command.help or "")
    for other in getattr(command, "commands", {}).values():
        yield from helps(other)


def lines(text):
    return ["".join(found) for found in SHOWN.findall(text.replace("\\\n", ""))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_of_the_documents_are_there(whole, name):
    shown = lines((ROOT / name).read_text("utf-8"))
    assert [(line, bad) for line in shown if (bad := wrong(line, whole))] == []


def test_commands_of_the_help_are_there(whole):
    shown = [line for text in helps(whole) for line in lines(text)]
    assert len(shown) > 20
    assert [(line, bad) for line in shown if (bad := wrong(line, whole))] == []


def test_a_command_that_is_not_there_would_be_seen(whole):
    assert wrong('medrega ask scan.png "locate the liver" --windows liver --json', whole) == ["--windows"]
    assert wrong("medrega bench measure", whole) == ["measure"]
    assert wrong("medrega juggle --json", whole) == ["juggle"]
