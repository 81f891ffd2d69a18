"""The result of `medrega bench robust` as a page and as blocks of a document."""

from __future__ import annotations

from collections.abc import Iterator

from medrega_bench.evaluation.robustness_result import Measured, RobustResult
from medrega_bench.reports.model import Document, Drawn, Section, Table
from medrega_bench.reports.phrases import words
from medrega_bench.reports.robust_tables import Say, costs_table, curves, kinds_table, perturbations_table
from medrega_edge.domain import NOTICES, Language


def document(result: RobustResult, language: Language) -> Document:
    """Make the page in one language."""
    say = words(language)
    facts = (
        (say["package"], _model(result.package)),
        *(((say["reference"], _model(result.reference)),) if result.reference else ()),
        (say["measured"], result.date),
        (say["with"], result.command),
        (say["on"], f"{result.environment.processor}, {result.environment.threads} {say['threads']}"),
        (say["data"], f"{result.data.name}, {result.data.split}: {result.data.images} {say['images']}"),
    )
    return Document(language, say["robust"], NOTICES[language], facts, tuple(_sections(result, say, language)))


def _sections(result: RobustResult, say: Say, language: Language) -> Iterator[Section]:
    tables = (kinds_table(result, say, language),)
    yield Section("kinds", say["robust_kinds"], say["robust_kinds_note"], tables, curves(result, say, language))
    yield Section("perturbations", say["robust_perturbations"], say["robust_note"], (perturbations_table(result, say),))
    if result.costs:
        yield Section("costs", say["robust_costs"], say["robust_costs_note"], (costs_table(result.costs, say),))


def _model(measured: Measured) -> str:
    model = measured.model
    return f"{model.name} {model.version} ({model.precision}), {model.sha256[:12]}"


def chart(result: RobustResult) -> Drawn:
    """Draw the curves of a document."""
    return curves(result, words(Language.EN), Language.EN)


def kinds_block(result: RobustResult) -> str:
    """Write the table by kind of image, and what it was measured with."""
    return _markdown(kinds_table(result, words(Language.EN), Language.EN)) + _measured_with(result)


def perturbations_block(result: RobustResult) -> str:
    """Write the table by perturbation."""
    return _markdown(perturbations_table(result, words(Language.EN))) + _measured_with(result)


def costs_block(result: RobustResult) -> str:
    """Write what quantisation adds; an empty table without a reference."""
    return _markdown(costs_table(result.costs or (), words(Language.EN))) + _measured_with(result)


def _markdown(table: Table) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (table.heads, *table.rows)]
    lines.insert(1, "|" + "---|" * len(table.heads))
    return "\n".join(lines)


def _measured_with(result: RobustResult) -> str:
    machine, data, model = result.environment, result.data, result.package.model
    reference = f", beside {result.reference.model.precision}" if result.reference else ""
    return (
        f"\n\nMeasured {result.date} with `{result.command}` on {machine.processor}, {machine.threads} threads, "
        f"onnxruntime {machine.versions['onnxruntime']}; package {model.name} {model.version} ({model.precision}), manifest "
        f"{model.sha256[:12]}{reference}; {data.images} images of the {data.split} split, {result.seconds / 60:.0f} minutes."
    )
