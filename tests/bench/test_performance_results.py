"""Result files of speed: what is written can be read again, and so can what the repository holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medrega_bench import result_files
from medrega_bench.performance import results
from medrega_bench.performance.results import PeersResult, SpeedResult, TowerResult
from medrega_edge.errors import UsageError

from .handmade import without_none
from .test_fast_table import results as made

COMMITTED = Path(__file__).parents[2] / "bench" / "results"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("peers-2026-11-23", PeersResult),
        ("peers-tiny-2026-11-23", PeersResult),  # from before jump-forward was measured at other sizes
        ("speed-2026-11-29", SpeedResult),
        ("speed-vnni-2026-11-29", SpeedResult),
        ("tower-2026-11-23", TowerResult),
    ],
)
def test_committed_results_keep_every_value(name, kind, tmp_path):
    content = json.loads((COMMITTED / f"{name}.json").read_text("utf-8"))
    result = results.read(content, name)
    assert isinstance(result, kind)
    result_files.write(tmp_path / "again.json", result)
    again = json.loads((tmp_path / "again.json").read_text("utf-8"))
    content.pop("split", None)  # speed is measured on the sample scan, so its results have none any more
    assert without_none(again) == without_none(content)


@pytest.mark.parametrize("index", range(3))
def test_what_is_written_is_read_again(index, tmp_path):
    result = made()[index]
    result_files.write(tmp_path / "result.json", result)
    assert results.read(json.loads((tmp_path / "result.json").read_text("utf-8")), "result.json") == result


def test_a_file_that_is_no_result_is_refused_with_the_field(tmp_path):
    result_files.write(tmp_path / "result.json", made()[2])
    content = json.loads((tmp_path / "result.json").read_text("utf-8"))
    content["cold"]["wall_ms"]["median"] = "fast"
    with pytest.raises(UsageError) as error:
        results.read(content, "result.json")
    assert error.value.code == "bench.result_unreadable"
    assert error.value.message.params == {"file": "result.json", "field": "cold.wall_ms.median"}
