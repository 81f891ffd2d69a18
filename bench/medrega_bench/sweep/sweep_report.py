"""A sweep -> what a report shows of it: the frontiers of speed and size, each task's loss, and what is dominated.

Knows the summary of a sweep; measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medrega_bench.evaluation import paired
from medrega_bench.reports.charts import frontier
from medrega_bench.reports.document import facts, percent
from medrega_bench.reports.markdown import signed
from medrega_bench.reports.model import NOTICES, Document, Drawn, Section, Table
from medrega_bench.reports.phrases import words
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError

Row = dict[str, Any]


def report(made: Row, language: Language) -> Document:
    """Make a report of a sweep."""
    say = words(language)
    return Document(language, say["sweep"], NOTICES[language], tuple(facts(made, say)), tuple(_sections(made, say)))


def _sections(made: Row, say: Mapping[str, str]) -> Iterator[Section]:
    points = made["points"]
    tables = (Table(tuple(say[head] for head in HEADS), tuple(_cells(n, point, say) for n, point in enumerate(points, 1))),)
    yield Section("speed", say["sweep_speed"], say["sweep_note"], tables, of_speed(points, say))
    yield Section("size", say["sweep_size"], drawn=of_size(points, say))
    rows = tuple(_task_rows(points, say))
    if rows:
        heads = (
            say["task"],
            say["language"],
            say["figure"],
            say["questions"],
            *(point["precision"] for point in points[1:]),
        )
        yield Section("tasks", say["sweep_tasks"], say["sweep_tasks_note"], (Table(heads, rows),))
    if made["refused"]:
        refused = tuple((one["precision"], one["reason"]) for one in made["refused"])
        yield Section("refused", say["refused"], tables=(Table((say["precision"], say["reason"]), refused),))


HEADS = ("number", "precision", "size", "overall", "loss_95", "answers_per_second", "dominated_by")


def _cells(number: int, point: Row, say: Mapping[str, str]) -> tuple[str, ...]:
    rate = point["answers_per_second"]
    whole = point["loss"] and point["loss"]["overall"]
    loss = signed(whole["value"], whole["interval"]) if whole else ""
    speed = f"{rate['median']:.1f} ({rate['min']:.1f} {say['to']} {rate['max']:.1f})"
    by = ", ".join(map(str, point["dominated_by"]))
    return str(number), point["precision"], f"{point['mib']:.1f}", percent(point["overall"], say), loss, speed, by


def of_speed(points: Sequence[Row], say: Mapping[str, str]) -> Drawn:
    """Loss against answers a second."""
    return _drawn([_mark(point, point["answers_per_second"]) for point in points], say["x_answers"], say)


def of_size(points: Sequence[Row], say: Mapping[str, str]) -> Drawn:
    """Loss against MiB."""
    sizes: list[dict[str, float]] = [{"median": p["mib"], "min": p["mib"], "max": p["mib"]} for p in points]
    return _drawn([_mark(point, size) for point, size in zip(points, sizes, strict=True)], say["size"], say)


def _drawn(marks: Sequence[Row], across: str, say: Mapping[str, str]) -> Drawn:
    chart = frontier(marks)
    if chart is None:
        raise UsageError("The sweep has no point to draw; make it again with `medrega bench sweep`.")
    return Drawn(chart, across, say["y_loss"])


def _mark(point: Row, across: Mapping[str, float]) -> Row:
    loss = point["loss"]["overall"] if point["loss"] else {"value": 0.0, "interval": [0.0, 0.0]}
    return {
        "x": across["median"],
        "x_range": [across["min"], across["max"]],
        "y": loss["value"],
        "y_range": loss["interval"],
        "text": point["precision"],
        "reference": point["loss"] is None,
    }


def _task_rows(points: Sequence[Row], say: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """One row a figure of a task: the loss of each point but full precision."""
    rest = [point["loss"]["accuracy"] for point in points[1:]]
    for place, entry in enumerate(rest[0] if rest else ()):
        for name in paired.MEANS:
            if entry[name] is not None:
                losses = [_loss(accuracy[place][name]) for accuracy in rest]
                yield entry["task"], entry["language"], name, str(entry["n"]), *losses


def _loss(figure: Row) -> str:
    return signed(figure["loss"], figure["interval"]) + (" *" if figure["significant"] else "")


def block(made: Row) -> str:
    """The sweep as a table of a document."""
    lines = [
        "| | precision | MiB | mean IoU (95 %) | loss (95 %) | answers/s about a new image | dominated by |",
        "|---|---|---|---|---|---|---|",
    ]
    say = words(Language.EN)
    lines += [f"| {' | '.join(_cells(number, point, say))} |" for number, point in enumerate(made["points"], 1)]
    machine, data = made["environment"], made["data"]
    where = f"{data['questions']} questions of {data['name']}" + (f", {data['split']}" if data["split"] else "")
    return "\n".join(
        [
            *lines,
            "",
            f"Measured {made['measured'][:10]} with `{made['command']}` on {machine['processor']}, "
            f"{machine['threads']} threads, onnxruntime {machine['versions']['onnxruntime']}; "
            f"checkpoint {made['checkpoint']}, {where}.",
        ]
    )
