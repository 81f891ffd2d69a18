"""The report of a sweep: its frontiers of speed and size, the loss of each task, and which precisions are dominated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from medrega_bench.reports.charts import FrontierPoint, frontier
from medrega_bench.reports.document import facts
from medrega_bench.reports.model import Document, Drawn, Section, Table
from medrega_bench.reports.percentages import percent, signed
from medrega_bench.reports.phrases import words
from medrega_bench.sweep.result import Point, Rate, SweepResult
from medrega_edge.domain import NOTICES, Language
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.comparison import Difference

HEADS = ("number", "precision", "size", "overall", "loss_95", "answers_per_second", "dominated_by")


def report(result: SweepResult, language: Language) -> Document:
    """Make the report in one language."""
    say = words(language)
    sections = tuple(_sections(result, say))
    return Document(language, say["sweep"], NOTICES[language], tuple(facts(result, language)), sections)


def _sections(result: SweepResult, say: Mapping[str, str]) -> Iterator[Section]:
    rows = tuple(_cells(number, point, say) for number, point in enumerate(result.points, 1))
    tables = (Table(tuple(say[head] for head in HEADS), rows),)
    yield Section("speed", say["sweep_speed"], say["sweep_note"], tables, speed_chart(result, say))
    yield Section("size", say["sweep_size"], drawn=size_chart(result, say))
    losses = tuple(_task_rows(result.points, say))
    if losses:
        names = (point.precision for point in result.points[1:])
        heads = (say["task"], say["language"], say["figure"], say["questions"], *names)
        yield Section("tasks", say["sweep_tasks"], say["sweep_tasks_note"], (Table(heads, losses),))
    if result.refused:
        refused = tuple((refusal.precision, refusal.reason) for refusal in result.refused)
        yield Section("refused", say["refused"], tables=(Table((say["precision"], say["reason"]), refused),))


def _cells(number: int, point: Point, say: Mapping[str, str]) -> tuple[str, ...]:
    rate = point.answers_per_second
    return (
        str(number),
        point.precision,
        f"{point.mib:.1f}",
        percent(point.overall, say["to"], say["none"]),
        signed(point.loss.overall.value, point.loss.overall.interval, say["to"]) if point.loss else "",
        f"{rate.median:.1f} ({rate.min:.1f} {say['to']} {rate.max:.1f})",
        ", ".join(map(str, point.dominated_by)),
    )


def speed_chart(result: SweepResult, say: Mapping[str, str]) -> Drawn:
    """Draw loss against answers a second; raises UsageError for a sweep without a point."""
    return _chart(result, [point.answers_per_second for point in result.points], say["x_answers"], say)


def size_chart(result: SweepResult, say: Mapping[str, str]) -> Drawn:
    """Draw loss against MiB; raises UsageError for a sweep without a point."""
    return _chart(result, [Rate(point.mib, point.mib, point.mib, 1) for point in result.points], say["size"], say)


def _chart(result: SweepResult, across: Sequence[Rate], name: str, say: Mapping[str, str]) -> Drawn:
    marks = []
    for point, x in zip(result.points, across, strict=True):
        loss = point.loss.overall if point.loss else None
        y, y_range = (loss.value, loss.interval) if loss else (0.0, (0.0, 0.0))
        marks.append(FrontierPoint(x.median, (x.min, x.max), y, y_range, point.precision, is_reference=loss is None))
    chart = frontier(marks)
    if chart is None:
        raise UsageError("bench.sweep_empty")
    return Drawn(chart, name, say["y_loss"])


def _task_rows(points: Sequence[Point], say: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """A row for each figure of a task: the loss of each point but the first, which is full precision."""
    rest = [point.loss.accuracy for point in points[1:] if point.loss]
    for place, entry in enumerate(rest[0] if rest else ()):
        for name in entry.means:
            losses = [_loss(accuracy[place].means[name], say["to"]) for accuracy in rest]
            yield entry.task, say.get(entry.language, entry.language), name, str(entry.n), *losses


def _loss(figure: Difference, to: str) -> str:
    return signed(figure.loss, figure.interval, to) + (" *" if figure.significant else "")


def block(result: SweepResult) -> str:
    """Write the sweep as a table of a document, in English."""
    lines = [
        "| | precision | MiB | mean IoU (95 %) | loss (95 %) | answers/s about a new image | dominated by |",
        "|---|---|---|---|---|---|---|",
    ]
    say = words(Language.EN)
    lines += [f"| {' | '.join(_cells(number, point, say))} |" for number, point in enumerate(result.points, 1)]
    machine, data = result.environment, result.data
    where = f"{data.questions} questions of {data.name}" + (f", {data.split}" if data.split else "")
    measured = (
        f"Measured {result.measured[:10]} with `{result.command}` on {machine.processor}, {machine.threads} threads, "
        f"onnxruntime {machine.versions['onnxruntime']}; checkpoint {result.checkpoint}, {where}."
    )
    return "\n".join([*lines, "", measured])
