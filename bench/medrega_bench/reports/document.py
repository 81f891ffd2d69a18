"""A result -> what a report shows: sections of tables, charts and pictures in one language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Protocol

from medrega_bench.evaluation.results import (
    VERSIONS,
    BesideFigure,
    Figure,
    FigureSet,
    PackageResult,
    RowComparison,
    RunResult,
)
from medrega_bench.performance.environment import Environment
from medrega_bench.performance.latency import StageTimes
from medrega_bench.performance.quietness import Quietness, told
from medrega_bench.performance.spread import Spread
from medrega_bench.reports import headlines
from medrega_bench.reports.charts import FrontierPoint, frontier, reliability
from medrega_bench.reports.model import Document, Drawn, Section, Table
from medrega_bench.reports.percentages import percent, share
from medrega_bench.reports.phrases import words
from medrega_bench.reports.worst_cases import worst
from medrega_bench.result_files import DataIdentity
from medrega_edge.domain import NOTICES, Language
from medrega_edge.evaluation.bootstrap import FEWEST_IMAGES
from medrega_edge.evaluation.comparison import whole_tasks

FLIPS = 40

# What stands in a report for each setting; the CSV holds every figure.
SHOWN = {
    "single_object_single_region": ("iou", "acc50"),
    "single_object_multi_region": ("f1", "iou"),
    "multi_object_single_region": ("box.box_acc", "object-box.object_box_acc"),
    "multi_object_multi_region": ("box.box_f1", "object-box.object_box_f1"),
    "vqa_en": ("closedQuestionsAccuracy", "openQuestionsRecall"),
    "vqa_zh": ("openQuestionsAccuracy", "openQuestionsRecall"),
    "region_to_text": ("accuracy",),
    "classification_single": ("Accuracy", "F1-macro"),
    "classification_multi": ("Accuracy", "F1-macro"),
    "report_en": ("bleu1", "bleu4", "rougeL"),
    "report_zh": ("bleu1", "bleu4", "rougeL"),
}


def document(result: RunResult, language: Language, pictures: Mapping[str, Path] | None = None) -> Document:
    """Make a report; `pictures` finds images by their hash, and without it no picture is shown."""
    say = words(language)
    parts = (
        _packages(result, say),
        *_frontier(result, say),
        *_losses(result, say),
        *_accuracy(result, say),
        *_beside(result, say),
        *_reliance(result, say),
        *_reliability(result, say),
        *_speed(result, say),
        *worst(result, say, pictures or {}),
    )
    headline = (say["headline"], headlines.line(result.package, result.data, say))
    return Document(language, say["title"], NOTICES[language], (headline, *facts(result, language)), parts)


def comparison(compared: RowComparison, language: Language, names: tuple[str, str]) -> Document:
    """Make a report of two results."""
    say = words(language)
    facts = ((say["before"], names[0]), (say["after"], names[1]), (say["questions"], str(compared.n)))
    sections = tuple(_compared(compared, say, "compared", say["before_after"]))
    return Document(language, say["before_after"], NOTICES[language], facts, sections)


class MeasuredResult(Protocol):
    """What a run and a sweep have in common."""

    @property
    def data(self) -> DataIdentity:
        """The questions."""

    @property
    def environment(self) -> Environment:
        """The machine."""

    @property
    def measured(self) -> str:
        """Date and time, UTC."""

    @property
    def commit(self) -> str | None:
        """That of medrega-edge."""

    @property
    def command(self) -> str:
        """The command line."""

    @property
    def read_bandwidth_gb_per_second(self) -> float | None:
        """That of the memory, None where no speed was measured."""

    @property
    def quietness(self) -> Quietness | None:
        """Whether the machine was quiet meanwhile; None in older results, too."""


def facts(result: MeasuredResult, language: Language) -> Iterator[tuple[str, str]]:
    """What was measured when, with what, on what."""
    data, machine, say = result.data, result.environment, words(language)
    where = f"{data.name}, {data.split}" if data.split else say["quick"]
    yield say["data"], f"{where} ({data.questions} {say['questions']}, {data.images} {say['images']})"
    yield say["measured"], f"{result.measured}, {say['commit']} {result.commit or '-'}"
    yield say["with"], result.command
    memory = f", {machine.memory_gib} {say['memory']}" if machine.memory_gib else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    yield say["on"], f"{machine.processor}, {machine.threads} {say['threads']}{memory}; {versions}"
    if result.read_bandwidth_gb_per_second is not None:
        yield say["bandwidth"], f"{result.read_bandwidth_gb_per_second:.1f}"
    if result.quietness is not None:
        disturbed = told(result.quietness)
        yield say["machine_state"], disturbed.text(language) if disturbed else say["quiet"]


def _packages(result: RunResult, say: Mapping[str, str]) -> Section:
    heads = ("role", "name", "version", "precision", "size", "overall", "questions", "left_out", "manifest")
    rows = tuple(
        (
            say[package.role],
            package.model.name,
            package.model.version,
            package.model.precision,
            f"{package.mib:.1f}",
            percent(package.overall, say["to"], say["none"]),
            str(len(package.rows)),
            str(package.left_out),
            package.model.sha256[:12],
        )
        for package in result.packages
    )
    return Section("packages", say["packages"], tables=(Table(tuple(say[head] for head in heads), rows),))


def _frontier(result: RunResult, say: Mapping[str, str]) -> Iterator[Section]:
    """Each precision and device a point."""
    has_reference = any(package.role == "reference" for package in result.packages)
    points = [
        FrontierPoint(
            x=stage.questions_per_second.median,
            x_range=(stage.questions_per_second.min, stage.questions_per_second.max),
            y=height.value or 0.0,
            y_range=height.interval or (0.0, 0.0),
            text=f"{package.title}, {stage.device}, {stage.threads} {say['threads']}",
            is_reference=package.role == "reference",
        )
        for package in result.packages
        if (height := _height(package, has_reference)) is not None
        for stage in package.speed
    ]
    kind = "loss" if has_reference else "value"
    heads = ("", say["package"], say["x_speed"], say[f"y_{kind}"])
    rows = tuple(
        (str(number), point.text, f"{point.x:.2f}", percent(Figure(point.y, point.y_range), say["to"]))
        for number, point in enumerate(points, 1)
    )
    chart = frontier(points)
    if chart is not None:
        drawn = Drawn(chart, say["x_speed"], say[f"y_{kind}"])
        yield Section("frontier", say["frontier"], say[f"frontier_{kind}"], (Table(heads, rows),), drawn)


def _height(package: PackageResult, has_reference: bool) -> Figure | None:
    """A package's loss over all places asked for, or without a reference its overall figure."""
    if package.overall is None:
        return None
    if not has_reference:
        return Figure(package.overall.value, package.overall.interval)
    if package.loss is None:
        return Figure(0.0, (0.0, 0.0))
    return Figure(package.loss.overall.value, package.loss.overall.interval)


def _losses(result: RunResult, say: Mapping[str, str]) -> Iterator[Section]:
    for number, package in enumerate(result.packages):
        if package.loss:
            yield from _compared(package.loss, say, f"loss-{number}", f"{say['loss']}: {package.title}")


def _compared(compared: RowComparison, say: Mapping[str, str], key: str, title: str) -> Iterator[Section]:
    heads = ("task", "language", "figure", "questions", "before", "after", "loss_95", "significant", "flipped", "changed")
    rows = tuple(
        (
            entry.task,
            say.get(entry.language, entry.language),
            name,
            str(entry.n),
            share(figure.reference),
            share(figure.package),
            percent(Figure(figure.loss, figure.interval), say["to"]),
            say["yes" if figure.significant else "no"],
            share(entry.flipped, say["none"]),
            share(entry.changed),
        )
        for entry in whole_tasks(compared.accuracy)
        for name, figure in entry.means.items()
    )
    yield Section(key, title, say["loss_note"], (Table(tuple(say[head] for head in heads), rows),))
    if compared.flips:
        names = ("question", "truth", "before", "after", "worth")
        flips = tuple(
            (flip.question, flip.truth, flip.before or say["nothing"], flip.after or say["nothing"], f"{flip.gain:+.2f}")
            for flip in compared.flips[:FLIPS]
        )
        total = len(compared.flips)
        shown = f" ({len(flips)} / {total})" if total > FLIPS else f" ({total})"
        yield Section(f"{key}-flips", say["flips"] + shown, tables=(Table(tuple(say[name] for name in names), flips),))


def _accuracy(result: RunResult, say: Mapping[str, str]) -> Iterator[Section]:
    for number, package in enumerate(result.packages):
        tables = []
        for setting, table in package.tables.settings.items():
            names = SHOWN[setting]
            rows = []
            for kind, group, figures in table.groups():
                label = say["all"] if kind == "all" else say.get(group, group)
                shown = tuple(percent(_where_enough(figures, name), say["to"], say["none"]) for name in names)
                rows.append((label, str(figures.n), str(figures.images), *shown))
            heads = (say["group"], say["questions"], say["images"], *names)
            tables.append(Table(heads, tuple(rows), setting))
        yield Section(f"accuracy-{number}", f"{say['accuracy']}: {package.title}", say["accuracy_note"], tuple(tables))


def _where_enough(figures: FigureSet, name: str) -> Figure:
    """A figure, without its interval where images are too few for one."""
    figure, images = figures.figures[name], figures.images
    return figure if images is None or images >= FEWEST_IMAGES else Figure(figure.value, None)


def _beside(result: RunResult, say: Mapping[str, str]) -> Iterator[Section]:
    def shown(figure: BesideFigure) -> str:
        interval = figure.interval if figure.images is None or figure.images >= FEWEST_IMAGES else None
        return percent(Figure(figure.value, interval), say["to"], say["none"])

    heads = (say["package"], say["figure"], say["questions"], say["value"])
    rows = tuple(
        (package.title, say[name], str(figure.n), shown(figure))
        for package in result.packages
        for name, figure in package.tables.beside.items()
    )
    yield Section("beside", say["beside"], tables=(Table(heads, rows),))


def _reliance(result: RunResult, say: Mapping[str, str]) -> Iterator[Section]:
    rows = []
    for package in result.packages:
        for setting, table in package.tables.settings.items():
            for language, figures in table.language.items() if table.cot else ():
                versions = [getattr(table, version).get(language) for version in VERSIONS]
                for name in SHOWN[setting]:
                    shown = ["" if made is None else share(made.figures[name].value, say["none"]) for made in versions]
                    with_image = percent(figures.figures[name], say["to"], say["none"])
                    figure = f"{setting}, {say.get(language, language)}: {name}"
                    rows.append((package.title, figure, str(figures.n), with_image, *shown))
    if rows:
        heads = (say["package"], say["figure"], say["questions"], say["with_image"], *(say[name] for name in VERSIONS))
        yield Section("reliance", say["reliance"], say["reliance_note"], (Table(heads, tuple(rows)),))


def _reliability(result: RunResult, say: Mapping[str, str]) -> Iterator[Section]:
    for number, package in enumerate(result.packages):
        confidence = package.tables.confidence
        chart = reliability(confidence.bins) if confidence else None
        if confidence is not None and chart is not None:
            ece = percent(confidence.figures["ece"], say["to"], say["none"])
            table = Table((say["figure"], say["questions"], say["value"]), ((say["ece"], str(confidence.n), ece),))
            drawn = Drawn(chart, say["x_sure"], say["y_right"])
            title = f"{say['reliability']}: {package.title}"
            yield Section(f"reliability-{number}", title, say["reliability_note"], (table,), drawn)


def _speed(result: RunResult, say: Mapping[str, str]) -> Iterator[Section]:
    heads = tuple(say[key] for key in ("stage", "median", "p90", "min", "max"))
    tables = tuple(
        Table(
            heads,
            tuple(
                (say.get(name, name), *(f"{value:.4g}" for value in (spread.median, spread.p90, spread.min, spread.max)))
                for name, spread in stages(stage)
            ),
            title=f"{package.title}, {stage.device}, {stage.threads} {say['threads']}",
        )
        for package in result.packages
        for stage in package.speed
    )
    if tables:
        yield Section("speed", say["speed"], say["speed_note"], tables)


def stages(times: StageTimes) -> Iterator[tuple[str, Spread]]:
    """The stages and ratios of one measurement of speed, each with its spread, and what was measured once."""
    for each in fields(times):
        value = getattr(times, each.name)
        if isinstance(value, Spread):
            yield each.name, value
    yield from times.ratios.items()
    once: dict[str, float | None] = {"peak_mib": times.peak_mib}
    if times.throughput:
        once |= {
            name: getattr(times.throughput, name) for name in ("questions_per_minute", "joules_per_question", "idle_watts")
        }
    for name, value in once.items():
        if value is not None:
            yield name, Spread(value, value, value, value, 1)


def figures_of(result: RunResult) -> Iterator[Sequence[object]]:
    """Every figure of a result as a row of the CSV, its heads first."""
    yield ("package", "precision", "role", "section", "name", "parted_by", "group", "n", "value", "low", "high")
    for package in result.packages:
        who = (package.model.name, package.model.precision, package.role)
        for setting, table in package.tables.settings.items():
            for kind, group, figures in table.groups():
                for name, figure in figures.figures.items():
                    yield *who, setting, name, kind, group, figures.n, figure.value, *(figure.interval or ("", ""))
        for name, beside in package.tables.beside.items():
            yield *who, "beside", name, "all", "", beside.n, beside.value, *(beside.interval or ("", ""))
        for entry in package.loss.accuracy if package.loss else ():
            for name, loss in entry.means.items():
                task = f"{entry.task}, {entry.language}"
                yield *who, "loss", name, task, entry.modality or "", entry.n, loss.loss, *loss.interval
        for stage in package.speed:
            where = f"{stage.device}, {stage.threads} threads"
            for name, spread in stages(stage):
                yield *who, "speed", name, "device", where, spread.n, spread.median, spread.min, spread.max
