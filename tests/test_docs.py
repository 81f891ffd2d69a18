"""Documents agree with the program: commands, options, links, the CLI reference, the picture of the README."""

import inspect
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medrega_edge.errors import MedregaError
from medrega_edge.output.csv_table import COLUMNS
from medrega_edge.output.overlay import draw_answer
from tools import cli_reference

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("*/results/*.md"))
)
TODAY = [name for name in DOCUMENTS if name != "CHANGELOG.md"]  # which names commands of older versions
SHOWN = re.compile(r"`(medrega [^`]+)`|^(?:.*&& )?(?:\.venv\S*/bin/)?(medrega [^`|].*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
UNCLEAR = re.compile(r"\b(?:is|are|was|were) (?:told|kept|said|looked at)\b|\bof which\b|\bas it lies\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def whole():
    return cli_reference.whole_command()


def wrong(line, command):
    """What of a command line is not there."""
    words = shlex.split(line.replace("...", ""), comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return words[:1] if hasattr(command, "commands") and not "".join(words[:1]).startswith("-") else unknown


def helps(command):
    yield inspect.cleandoc(command.help or "")
    for other in getattr(command, "commands", {}).values():
        yield from helps(other)


def lines(text):
    return ["".join(found) for found in SHOWN.findall(text.replace("\\\n", ""))]


@pytest.mark.parametrize("name", TODAY)
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


def test_the_cli_reference_is_the_programs():
    assert cli_reference.PAGE.read_text("utf-8") == cli_reference.reference(), "run: python -m tools.cli_reference"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files(name):
    text = re.sub(r"```.*?```|`[^`]*`", "", (ROOT / name).read_text("utf-8"), flags=re.DOTALL)
    assert [link for link in LINK.findall(text) if not (ROOT / name).parent.joinpath(link).exists()] == []


def test_the_picture_of_the_readme_is_what_the_package_answers(engine, scan):
    fresh = np.asarray(
        draw_answer(scan.image, engine.ask(scan, "locate the liver, the spleen and both kidneys")).convert("RGB"), int
    )
    shown = np.asarray(Image.open(ROOT / "docs" / "images" / "sample.png").convert("RGB"), int)
    assert fresh.shape == shown.shape
    assert (abs(fresh - shown).max(axis=2) > 8).mean() < 0.002  # but for the edges of letters


def keys(value):
    """All keys of nested JSON, but for those of `params`, which each message has of its own."""
    if isinstance(value, dict):
        return set(value).union(*(keys(inner) for key, inner in value.items() if key != "params"))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_every_key_of_an_answer_and_every_column_is_described(engine, scan):
    text = (ROOT / "docs" / "answer.md").read_text("utf-8")
    answers = [engine.ask(scan, "locate the liver"), engine.classify(scan, "skin")]
    described = set(re.findall(r"`(\w+)`", text))
    assert keys([answer.to_dict() for answer in answers]) - described == set()
    assert ", ".join(COLUMNS) in " ".join(text.split())


def test_every_exit_code_is_described():
    text = (ROOT / "docs" / "answer.md").read_text("utf-8")
    codes = {kind.exit_code for kind in MedregaError.__subclasses__()}
    assert codes <= set(map(int, re.findall(r"^\| (\d+)", text, re.MULTILINE)))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_say_who_does_what(name):
    text = re.sub(r"<!-- .*?<!-- [^>]* -->", "", (ROOT / name).read_text("utf-8"), flags=re.DOTALL)
    if name not in ("CONTRIBUTING.md", "docs/cli.md"):  # which names these words; which is made of help texts
        assert UNCLEAR.findall(text) == []


def test_the_chinese_quickstart_has_the_same_commands():
    def commands(name):
        text = (ROOT / "docs" / name).read_text("utf-8")
        lines = [line.partition(" #")[0].strip() for line in text.splitlines()]
        return [line for line in lines if re.match(r"(?:medrega|pip|python3\S*|\.) ", line)]

    assert commands("zh/quickstart.md") == commands("quickstart.md") != []
