"""The figures of SECURITY.md are those of the newest committed result, and that result covers every point."""

import json

import pytest

from tools import clinic, walk


@pytest.fixture(scope="module")
def result():
    path = clinic.newest()
    if path is None:
        pytest.skip("no committed result")
    return json.loads(path.read_text("utf-8"))


def test_the_table_is_that_of_the_result(result):
    text = clinic.SECURITY.read_text("utf-8")
    assert clinic.renewed(text, result) == text, "run: python -m tools.clinic"


def test_every_point_was_run_and_none_failed(result):
    assert set(result["points"]) == {*map(str, clinic.POINTS), "walk"}
    assert result["failed"] == 0
    assert not any(point["failed"] for point in result["points"].values())


def test_the_numbers_that_were_asked_for(result):
    points = result["points"]
    figures = {number: point["figures"] for number, point in points.items()}
    runs = {number: point["runs"] for number, point in points.items()}
    assert figures["1"]["pictures held against values worked out by hand"] >= 60
    assert figures["2"]["objects that dciodvfy read"] >= 100
    assert runs["3"]["kills of a batch"]["kills"] >= 100
    assert figures["5"]["commands under strace"] >= 20
    assert figures["6"]["bombs"] >= 30
    assert figures["6"]["altered packages"] >= 120
    assert runs["6"]["mutated files, in-process"]["files"] >= 20_000
    through = runs["6"]["mutated files and odd lines, through the command"]
    assert min(through["files"]["cases"], through["lines"]["cases"]) >= 500
    assert runs["7"]["kills of an export"]["kills"] >= 100
    assert figures["8"]["injected faults"] >= 40
    assert figures["8"]["identifiers planted"] >= 18
    assert figures["9"]["forged questions"] >= 500
    assert next(iter(runs["walk"].values()))["seconds_on_the_workstation"] < 300


def test_a_failure_would_be_seen():
    assert clinic._failed({"a": {"failed": 2, "seconds": 9}, "different": 1, "files": 500}) == 3


def test_the_page_is_walked_in_three_blocks():
    """A line that is added to the page is a line that is typed."""
    packing, installing, asking = walk.blocks()
    assert [line.split()[0] for line in packing] == ["pip", "pip", "medrega"]
    assert len(installing) == 3
    assert any("--dicom" in line for line in asking)
