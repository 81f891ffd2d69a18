"""The history of results: newest first, each beside the one before it."""

from dataclasses import replace

from medrega_bench.reports.history import history_table

from .handmade import HALF, many, package, result


def dated(made, day):
    return replace(made, measured=f"2026-11-{day}T10:00:00+00:00", commit=f"c{day}")


def test_each_result_stands_beside_the_one_before_it():
    results = [
        dated(result(package(many(HALF), rate=3.0)), 21),
        dated(result(package(many(), rate=4.0)), 22),
        dated(result(package(many()), name="other"), 23),
    ]
    _, _, other, new, old = history_table(*results).splitlines()
    assert "| c23 | other, 20 questions |" in other
    assert "| c22 | quick, 20 questions |" in new
    assert "| 100.0 (100.0 to 100.0) | **+50.0 (+50.0 to +50.0)** | 4.0 (cpu, 2 threads) | 10.0 |" in new
    assert "| 50.0 (50.0 to 50.0) |  | 3.0 (cpu, 2 threads) |" in old


def test_no_change_is_not_called_one():
    same = [dated(result(package(many())), day) for day in (21, 22)]
    assert "| +0.0 (+0.0 to +0.0) |" in history_table(*same)


def test_results_without_a_question_in_common_are_not_compared():
    others = [replace(row, id=f"other {row.id}") for row in many()]
    table = history_table(*(dated(result(package(rows)), 21 + n) for n, rows in enumerate((many(), others))))
    assert table.count("|  |") == 2
