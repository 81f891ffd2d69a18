"""Commands of other packages: found through entry points, listed without importing them, loaded when asked for."""

import json
import subprocess
import sys
from importlib.metadata import PathDistribution

import pytest

from medrega_edge.cli import plugins
from medrega_edge.errors import ResourceError

METADATA = """Metadata-Version: 2.4
Name: toy
Version: 1
Provides-Extra: juggle
Requires-Dist: numpy
Requires-Dist: {needed}; extra == "juggle"
Requires-Dist: unicorns; extra == "other"
"""
COMMAND = """
import typer
def juggle(balls: int):
    '''Throw and catch.'''
    typer.echo(f"{balls} balls")
    if balls > 3:
        raise ValueError("dropped")
def mount(app):
    app.command("juggle")(juggle)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Install a distribution with the command `juggle`, whose extra requires `needed`."""

    def install(needed="numpy"):
        info = tmp_path / "toy-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA.format(needed=needed))
        (info / "entry_points.txt").write_text("[medrega.commands]\njuggle = toy_juggler.cli:mount\n")
        package = tmp_path / "toy_juggler"
        package.mkdir()
        (package / "__init__.py").write_text('"""Keep balls in the air."""\n')
        (package / "cli.py").write_text(COMMAND)
        monkeypatch.syspath_prepend(tmp_path)
        return PathDistribution(info)

    yield install
    for name in ("toy_juggler", "toy_juggler.cli"):
        sys.modules.pop(name, None)


def test_a_plugin_is_listed_without_being_loaded(toy, medrega):
    toy()
    shown = " ".join(medrega("--help").out.split())
    assert "juggle Keep balls in the air." in shown
    assert "toy_juggler.cli" not in sys.modules


def test_a_plugin_runs_and_shows_its_own_help(toy, medrega):
    toy()
    assert medrega("juggle", "3").out == "3 balls\n"
    assert "Throw and catch." in medrega("juggle", "--help").out


def test_who_develops_a_plugin_sees_where_it_failed(toy, medrega):
    toy()
    with pytest.raises(ValueError, match="dropped"):
        medrega("juggle", "4")


def test_a_plugin_whose_extra_is_missing_says_how_to_install_it(toy, medrega):
    toy("unicorns>=2")
    run = medrega("juggle", "3")
    assert run.code == ResourceError.exit_code
    assert "pip install 'toy[juggle]'" in run.err and "unicorns" in run.err
    assert "juggle" in medrega("--help").out


def test_only_the_extra_of_a_command_has_to_be_installed(toy):
    distribution = toy("unicorns")
    assert plugins.missing_requirements(distribution, "juggle") == ["unicorns"]
    assert plugins.missing_requirements(distribution, "none") == []


def test_a_command_of_the_runtime_imports_no_plugin():
    code = (
        "import sys, json; sys.argv = ['medrega', 'model', 'path']\n"
        "from medrega_edge.cli.main import main\n"
        "try: main()\n"
        "finally: sys.stderr.write(json.dumps([name for name in sys.modules if name.startswith('medrega_')]))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8")
    loaded = {name.partition(".")[0] for name in json.loads(run.stderr)}
    assert loaded == {"medrega_edge"}


def test_an_extra_needs_what_another_extra_that_it_takes_needs(tmp_path):
    info = tmp_path / "toy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(needed="Toy[other]"))
    assert plugins.missing_requirements(PathDistribution(info), "juggle") == ["unicorns"]
