"""Results -> Markdown, and the blocks of the README that are made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from medrega_bench.box_fidelity import report as box_report
from medrega_bench.box_fidelity.result import BoxesResult
from medrega_bench.evaluation.field_result import FieldResult
from medrega_bench.evaluation.honesty import HonestyResult
from medrega_bench.evaluation.intervals import CoverageResult
from medrega_bench.evaluation.measure import results_in
from medrega_bench.evaluation.results import TasksResult, read_tasks
from medrega_bench.evaluation.robustness_result import RobustResult
from medrega_bench.evaluation.submission import Machines
from medrega_bench.evaluation.suite import SuiteResult
from medrega_bench.performance import results as performance
from medrega_bench.reports import (
    coverage_table,
    drawing,
    fast_table,
    field_tables,
    headlines,
    honesty_tables,
    load_table,
    ray_table,
    robust_report,
    suite_table,
)
from medrega_bench.reports.charts import reliability
from medrega_bench.reports.history import history_table
from medrega_bench.reports.model import Drawn
from medrega_bench.reports.phrases import words
from medrega_bench.reports.task_tables import (
    boxes_table,
    goals_table,
    modality_table,
    reliability_words,
    reliance_table,
    report_table,
    summary_table,
)
from medrega_bench.result_files import parse
from medrega_bench.sweep import result as sweep_result
from medrega_bench.sweep import sweep_report
from medrega_edge.domain import Language
from medrega_edge.errors import GateError, UsageError

BLOCK = re.compile(r"(<!-- bench:(?P<name>[\w-]+) (?P<file>[^ ]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def reliability_chart(result: TasksResult) -> Drawn:
    """The reliability of box confidences; raises UsageError for a result without any."""
    confidence, say = result.tables.confidence, words(Language.EN)
    chart = reliability(confidence.bins if confidence else ())
    if chart is None:
        raise UsageError("bench.no_confidence")
    return Drawn(chart, say["x_sure"], say["y_right"])


TASK_TABLES = {
    "accuracy": boxes_table,
    "summary": summary_table,
    "goals": goals_table,
    "reliance": reliance_table,
    "modalities": modality_table,
    "reports": report_table,
    "reliability": reliability_words,
}
FIELD_TABLES: dict[str, Callable[..., str]] = {
    "field-boxes": field_tables.boxes_table,
    "field-questions": field_tables.questions_table,
    "field-images": field_tables.images_sentence,
    "field-sides": field_tables.sides_table,
    "selective": field_tables.selective_table,
}
HONESTY_TABLES: dict[str, Callable[..., str]] = {
    "honesty-mirage": honesty_tables.mirage_table,
    "honesty-clean": honesty_tables.clean_table,
    "honesty-no-image": honesty_tables.no_image_table,
    "honesty-hidden": honesty_tables.hidden_table,
    "honesty-rewordings": honesty_tables.consistency_table,
    "honesty-cycle": honesty_tables.cycle_table,
}
ROBUST_TABLES: dict[str, Callable[..., str]] = {
    "robust": robust_report.kinds_block,
    "robust-perturbations": robust_report.perturbations_block,
    "robust-costs": robust_report.costs_block,
}
# Each takes the results that its block names, parted by commas; a folder stands for all results of runs in it.
RENDERERS: dict[str, Callable[..., str]] = {
    "fast": fast_table.table,
    "fast-summary": fast_table.summary,
    "peers": fast_table.peers_table,
    "peers-questions": fast_table.questions_table,
    "tower": fast_table.tower_table,
    **TASK_TABLES,
    **FIELD_TABLES,
    **HONESTY_TABLES,
    **ROBUST_TABLES,
    "coverage": coverage_table.table,
    "load": load_table.table,
    "ray": ray_table.table,
    "ray-archive": ray_table.archive,
    "suite": suite_table.table,
    "boxes": box_report.table,
    "machines": headlines.block,
    "sweep": sweep_report.block,
    "sweep-size": lambda _: "The same points, loss against size.",
    "history": history_table,
}
# Blocks that begin with a picture, drawn beside the result.
PICTURES: dict[str, Callable[..., Drawn]] = {
    "reliability": reliability_chart,
    "selective": field_tables.selective_chart,
    "machines": headlines.block_chart,
    "robust": robust_report.chart,
    "sweep": partial(sweep_report.speed_chart, say=words(Language.EN)),
    "sweep-size": partial(sweep_report.size_chart, say=words(Language.EN)),
}


# What turns the JSON of a block's result into a dataclass.
READERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    **dict.fromkeys(("fast", "fast-summary", "peers", "peers-questions", "tower"), performance.read),
    **dict.fromkeys(("sweep", "sweep-size"), sweep_result.read),
    **dict.fromkeys(TASK_TABLES, read_tasks),
    **dict.fromkeys(FIELD_TABLES, partial(parse, FieldResult)),
    **dict.fromkeys(HONESTY_TABLES, partial(parse, HonestyResult)),
    **dict.fromkeys(ROBUST_TABLES, partial(parse, RobustResult)),
    "coverage": partial(parse, CoverageResult),
    "load": partial(parse, load_table.LoadResult),
    **dict.fromkeys(("ray", "ray-archive"), partial(parse, ray_table.RayResult)),
    "suite": partial(parse, SuiteResult),
    "boxes": partial(parse, BoxesResult),
    "machines": partial(parse, Machines),
}


def _results(path: Path, block: str) -> list[Any]:
    if path.is_dir():
        return results_in(path)
    result = json.loads(path.read_text(encoding="utf-8"))
    return [READERS[block](result, path.name)]


def update_blocks(document: Path, check: bool) -> bool:
    """Write the blocks of a document, and their pictures, anew from the results they name.

    With `check`, raises GateError when one is stale. Raises UsageError for a document that is not there or cannot be made.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError("bench.no_document", file=document.name) from None
    pictures: dict[Path, Drawn] = {}
    measured: set[str] = set()  # with what a result was measured stands once in a document

    def made(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in RENDERERS:
            raise UsageError("bench.unknown_block", file=document.name, block=name, blocks=list(RENDERERS))
        paths = [document.parent / file for file in match["file"].split(",")]
        for path in paths:
            if not path.exists():
                raise UsageError("bench.no_result_of_block", file=document.name, result=path.name)
        results = [one for path in paths for one in _results(path, name)]
        shown = ""
        if name in PICTURES:
            picture = paths[0].with_name(f"{paths[0].stem}-{name}.svg")
            pictures[picture] = PICTURES[name](*results)
            shown = f"![{name}]({picture.relative_to(document.parent).as_posix()})\n\n"
        body, gap, last = RENDERERS[name](*results).rpartition("\n\n")
        if not gap or last not in measured:
            body += gap + last
            measured.add(last)
        return f"{match[1]}{shown}{body}\n{match[4]}"

    fresh = BLOCK.sub(made, text)
    stale = {path: drawing.svg(drawn, alone=True) for path, drawn in pictures.items() if not _shows(path, drawn)}
    stale |= {document: fresh} if fresh != text else {}
    if stale and check:
        raise GateError("bench.stale", file=next(iter(stale)).name)
    for path, content in stale.items():
        path.write_text(content, encoding="utf-8")
    return bool(stale)


def _shows(path: Path, drawn: Drawn) -> bool:
    """Whether a picture shows this chart; its bytes depend on the version of matplotlib that drew it."""
    return path.is_file() and drawing.fingerprint_in(path.read_text(encoding="utf-8")) == drawing.fingerprint(drawn)
