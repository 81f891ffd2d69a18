"""Random weights through the whole runtime write nothing that cannot be read."""

import pytest

from medrega_bench.evaluation.grammar_stress import is_whole

BOX = "<ref>liver</ref><box>[[1, 2, 3, 4]]</box>"


@pytest.mark.parametrize(
    ("text", "named", "free"),
    [
        (BOX, True, True),
        ("There is no liver", True, True),
        (f"{BOX}, {BOX}", False, True),
        (BOX.replace("liver", "spleen"), False, True),
        (BOX.replace("3, 4", "3, 2"), False, False),
        (BOX.replace("]]", "], [1, 2, 3, 4]]"), False, False),
        (BOX.replace("</box>", ""), False, False),
        (BOX.replace("1, ", "1000, "), False, False),
        ("<ref>liver</ref>", False, False),
    ],
)
def test_what_is_malformed(text, named, free):
    assert is_whole(text, "liver") is named
    assert is_whole(text, None) is free


@pytest.mark.slow
@pytest.mark.export
def test_random_weights_write_nothing_malformed(tmp_path):
    from medrega_bench.evaluation.grammar_stress import run

    for one in run(tmp_path, 200).values():
        assert one.generations == 100
        assert one.different > 10
        assert one.malformed == 0, one.examples
