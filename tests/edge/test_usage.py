"""What the parser refuses: one sentence in the user's language, which never holds a value that was given."""

import pytest

from medrega_edge.cli.usage import usage_error
from tests.edge.stub import medrega as run


@pytest.mark.parametrize(
    ("arguments", "code", "params"),
    [
        (["aks"], "cli.no_command_similar", {"name": "aks", "similar": ("ask",)}),
        (["juggle"], "cli.no_command", {"name": "juggle", "command": "medrega"}),
        (["DOE^JANE.dcm"], "cli.no_command", {"name": "...", "command": "medrega"}),
        (["model", "juggle"], "cli.no_command", {"name": "juggle", "command": "medrega model"}),
        (["ask", "--nonsense"], "cli.no_option", {"name": "--nonsense", "command": "medrega ask"}),
        (["ask", "--DOE^JANE"], "cli.no_option", {"name": "...", "command": "medrega ask"}),
        (["ask", "--windows", "lung"], "cli.no_option_similar", {"name": "--windows", "similar": ("--window",)}),
        (["ask"], "cli.no_question", {}),
        (["ask", "--sample", "abdomen-mri"], "cli.no_question", {}),
        (["locate", "scan.png"], "cli.no_name", {}),
        (["locate", "--sample", "abdomen-mri"], "cli.no_name", {}),
        (["batch", "--out", "a.jsonl"], "cli.missing_parameter", {"name": "SOURCE", "command": "medrega batch"}),
        (["batch", "q.jsonl"], "cli.missing_parameter", {"name": "--out", "command": "medrega batch"}),
        (["ask", "a.png", "b", "--save"], "cli.no_value", {"name": "--save"}),
        (["ask", "a.png", "who is", "DOE^JANE"], "cli.too_many_arguments", {"command": "medrega ask"}),
    ],
)
def test_each_refusal_has_its_code(arguments, code, params):
    with pytest.raises(Exception) as raised:
        run(*arguments)
    assert (raised.value.code, raised.value.message.params) == (code, params)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--lang", "cli.expected_choice"),
        ("--device", "cli.expected_choice"),
        ("--frame", "cli.expected_number_from"),
    ],
)
def test_a_wrong_value_is_not_shown(option, expected):
    with pytest.raises(Exception) as raised:
        run("ask", "a.png", "locate the liver", option, "DOE^JANE")
    assert raised.value.message.params["name"] == option
    assert raised.value.message.params["expected"].code == expected
    assert "DOE" not in str(raised.value)


def test_an_error_of_another_kind_is_none_of_the_parsers():
    assert usage_error(ValueError("x")) is None


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ask a.png b --task de", ["detect"]),
        ("ask a.png b --device c", ["cpu", "cuda"]),
        ("ask a.png b --lang ", ["en", "zh"]),
        ("batch a --window l", ["lung", "liver"]),
        ("batch a --plane a", ["axial"]),
        ("cha", ["chat"]),
        ("bench swe", ["sweep"]),
    ],
)
def test_a_shell_completes_commands_and_choices(typed, offered, medrega, monkeypatch):
    words = f"medrega {typed}"
    for name, value in {
        "_MEDREGA_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }.items():
        monkeypatch.setenv(name, value)
    assert medrega().out.split() == offered


def test_the_windows_offered_are_those_that_are_there():
    from medrega_edge.cli.options import WINDOWS
    from medrega_edge.images.windowing import PRESETS

    assert set(WINDOWS) == set(PRESETS)


def test_a_command_alone_shows_its_help_as_a_mistake(medrega):
    for arguments in ([], ["model"]):
        ran = medrega(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Usage: medrega")
