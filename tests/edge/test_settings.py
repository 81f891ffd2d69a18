"""A user's own defaults: what they change, and what is refused."""

import os
from pathlib import Path

import pytest

from medrega_edge.cli import settings as home
from medrega_edge.cli.settings import Settings, in_folder, settings
from medrega_edge.domain import Language
from medrega_edge.errors import PackageError, UsageError


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the file; `settings()` reads it anew."""
    path = tmp_path / "config.toml"
    monkeypatch.setattr(home, "settings_path", lambda: path)
    settings.cache_clear()
    yield lambda text: path.write_text(text, "utf-8")
    settings.cache_clear()


def test_each_key_is_read(write, tmp_path):
    assert settings() == Settings()
    settings.cache_clear()
    write(f"model = 'mine'\nlanguage = 'zh'\nfolder = '{tmp_path}'\n")
    assert settings() == Settings("mine", Language.ZH, tmp_path)
    assert in_folder(Path("a.png")) == tmp_path / "a.png"
    assert in_folder(Path("sub/a.png")) == Path("sub/a.png")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("model = ", "settings.unreadable"),
        ("modle = 'x'", "settings.unknown_key"),
        ("model = 3", "settings.not_a_text"),
        ("model = ''", "settings.not_a_text"),
        ("language = 'de'", "settings.unknown_language"),
        ("folder = 'relative'", "settings.no_folder"),
        ("folder = '/nowhere/at/all'", "settings.no_folder"),
    ],
)
def test_what_cannot_be_used_is_refused(write, text, code):
    write(text)
    with pytest.raises(UsageError) as error:
        settings()
    assert error.value.code == code


def test_language_and_folder_reach_the_commands(medrega, write, monkeypatch, tmp_path):
    monkeypatch.setattr(home, "settings_path", lambda: tmp_path / "config.toml")  # the fixture of the command replaced it
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    write(f"language = 'zh'\nfolder = '{tmp_path / 'pictures'}'\n")
    settings.cache_clear()
    ran = medrega("identify", "--sample", "abdomen-mri", "--box", "54,72,182,194", "--save", "a.png")
    assert ran.code == 0, ran.err
    assert "肝脏" in ran.out
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a.png"]


def test_the_model_is_a_default_below_the_environment(medrega, write, monkeypatch, tmp_path):
    monkeypatch.setattr(home, "settings_path", lambda: tmp_path / "config.toml")
    monkeypatch.setenv("MEDREGA_MODEL", "x")
    monkeypatch.delenv("MEDREGA_MODEL")  # what the command sets is gone after the test, too
    write("model = 'not-there'")
    settings.cache_clear()
    assert medrega("model", "verify").code == PackageError.exit_code
    monkeypatch.setenv("MEDREGA_MODEL", "")
    assert medrega("model", "verify").code == 0
    assert os.environ["MEDREGA_MODEL"] == ""


def test_a_doctor_finds_a_whole_installation_well_and_names_a_fault(medrega, monkeypatch):
    ran = medrega("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) >= 7
    ran = medrega("doctor", "--model", "not-there")
    assert ran.code == PackageError.exit_code
    assert "FAULT" in ran.out
