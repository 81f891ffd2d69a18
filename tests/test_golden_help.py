"""Help screens are what tests/golden/help holds: `python -m tools.golden_help write` writes them anew."""

import re

import pytest

from medrega_edge.cli.help import display_width
from tools import golden_help

SCREENS = golden_help.screens()
ENGLISH = re.compile("[a-z]+ [a-z]+ [a-z]+ [a-z]+")


def test_help_screens_are_the_golden_ones():
    assert golden_help.differences() == []


@pytest.mark.parametrize("command", ["", "ask", "model info", "bench gate"])
def test_the_program_shows_them(command, medrega, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for language in ("en", "zh"):
        monkeypatch.setenv("LC_ALL", {"en": "C.UTF-8", "zh": "zh_CN.UTF-8"}[language])
        name = "-".join(["medrega", *command.split()])
        assert medrega(*command.split(), "--help").out == SCREENS[f"{name}.{language}.txt"]


def test_no_line_is_wider_than_80_columns_but_for_examples_which_are_whole():
    wide = {line for text in SCREENS.values() for line in text.splitlines() if display_width(line) > 80}
    assert all(line.startswith("  medrega ") for line in wide)


def test_nothing_is_cut():
    cut = [line for text in SCREENS.values() for line in text.splitlines() if line.endswith("...")]
    assert all(line.endswith(("COMMAND [ARGS]...", "RESULTS...")) for line in cut)


def test_chinese_help_is_whole():
    """Beside Chinese stand names, numbers and examples; four English words in a row are no translation."""
    for name, text in SCREENS.items():
        if name.endswith(".zh.txt"):
            for line in text.splitlines():
                assert line.startswith("  medrega ") or not ENGLISH.search(line), (name, line)


def test_every_screen_ends_with_the_notice():
    for name, text in SCREENS.items():
        notice = "仅供研究使用 - 非医疗器械。\n" if ".zh." in name else "Research use only - not a medical device.\n"
        assert text.endswith(f"\n\n{notice}"), name
