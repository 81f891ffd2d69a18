"""What the parser refuses: one sentence in the user's language, which never holds a value that was given."""

import pytest

from medrega_edge.cli.options import PictureOptions
from medrega_edge.cli.usage import usage_error
from medrega_edge.images.reader import read_image
from medrega_edge.images.samples import SAMPLES, sample_path
from tests.edge.stub import medrega as run


@pytest.mark.parametrize(
    ("arguments", "code", "params"),
    [
        (["aks"], "cli.no_command_similar", {"name": "aks", "similar": ("ask",)}),
        (["juggle"], "cli.no_command", {"name": "juggle", "command": "medrega"}),
        (["DOE^JANE.dcm"], "cli.no_command", {"name": "...", "command": "medrega"}),
        (["model", "juggle"], "cli.no_command", {"name": "juggle", "command": "medrega model"}),
        (["ask", "--juggle"], "cli.no_option", {"name": "--juggle", "command": "medrega ask"}),
        (["ask", "--DOE^JANE"], "cli.no_option", {"name": "...", "command": "medrega ask"}),
        (["ask", "--windows", "lung"], "cli.no_option_similar", {"name": "--windows", "similar": ("--window",)}),
        (["ask"], "cli.no_question", {}),
        (["ask", "--sample", "abdomen-mri"], "cli.only_no_question", {}),
        (["ask", "scan.png"], "cli.only_no_question", {}),
        (["ask", "--sample"], "cli.no_value_of", {"name": "--sample", "choices": SAMPLES}),
        (["ask", "locate the liver", __file__], "cli.image_first", {}),
        (["locate", "liver", __file__], "cli.image_first", {}),
        (["locate", "--sample", "abdomen-mri", __file__, "liver"], "cli.image_or_sample", {}),
        (["ask", "nowhere/*.dcm", "locate the liver"], "cli.no_such_file", {"path": "nowhere/*.dcm"}),
        (["batch", "nowhere", "--out", "a.jsonl"], "cli.no_such_file", {"path": "nowhere"}),
        (["locate", "scan.png"], "cli.no_name", {}),
        (["locate", "--sample", "abdomen-mri"], "cli.no_name", {}),
        (["batch", "--out", "a.jsonl"], "cli.missing_parameter", {"name": "SOURCE", "command": "medrega batch"}),
        (["batch", "q.jsonl"], "cli.missing_parameter", {"name": "--out", "command": "medrega batch"}),
        (["ask", "a.png", "b", "--save"], "cli.no_value", {"name": "--save"}),
        (["ask", "a.png", "who is", "DOE^JANE"], "cli.quote_question", {}),
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
        ("ask --sample s", ["spine-ct"]),
        ("classify a.png --set tub", ["tuberculosis"]),
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


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_there_and_is_one_picture(name):
    assert read_image(sample_path(name), PictureOptions(sample=name).view()).modality


def test_a_box_needs_no_question(medrega):
    asked, named = (
        medrega(*command, "--sample", "abdomen-mri", "--box", "54,72,182,194") for command in (["ask"], ["identify"])
    )
    assert asked.code == 0
    assert asked.out == named.out


def test_a_command_alone_shows_its_help_as_a_mistake(medrega):
    for arguments in ([], ["model"]):
        ran = medrega(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Usage: medrega")
