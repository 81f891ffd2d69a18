"""Results -> Markdown, and the blocks of the README that are made from them. Knows results; measures nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medrega_bench.evaluation.measure import results_in
from medrega_bench.performance import results as performance
from medrega_bench.reports import fast_table, render
from medrega_bench.reports.charts import reliability
from medrega_bench.reports.history import history_table
from medrega_bench.reports.markdown import measured_with
from medrega_bench.reports.model import Drawn
from medrega_bench.reports.phrases import words
from medrega_bench.reports.task_tables import (
    goals_table,
    modality_table,
    reliability_words,
    reliance_table,
    report_table,
    summary_table,
)
from medrega_bench.sweep import sweep_report
from medrega_edge.domain import Language
from medrega_edge.errors import GateError, UsageError

BLOCK = re.compile(r"(<!-- bench:(?P<name>[\w-]+) (?P<file>[^ ]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def accuracy_table(result: dict[str, Any]) -> str:
    """The accuracy of one run as Markdown: overall, per language, per modality and for the commonest objects."""
    lines = [
        "| detection of one object | questions | mean IoU (95 %) | accuracy at IoU 0.5 (95 %) | without a box |",
        "|---|---|---|---|---|",
    ]
    for group, heading in (("overall", ""), ("language", "language: "), ("modality", "modality: "), ("object", "")):
        for name, figure in result["tables"][group].items():
            label = "**all**" if group == "overall" else f"{heading}{name}"
            lines.append(
                f"| {label} | {figure['n']} | {_with_interval(figure, 'mean_iou')} | {_with_interval(figure, 'acc50')} "
                f"| {figure['no_box']:.3f} |"
            )
    lines += ["", "| identification: the name of what is in a box | questions | accuracy (95 %) |", "|---|---|---|"]
    for name, figure in result["tables"]["identify"].items():
        lines.append(f"| language: {name} | {figure['n']} | {_with_interval(figure, 'accuracy')} |")
    return "\n".join([*lines, "", measured_with(result)])


def loss_table(result: dict[str, Any]) -> str:
    """What quantisation costs, as Markdown."""
    loss = result["loss"]
    low, high = loss["mean_iou_loss_interval"]
    return "\n".join(
        [
            "| | full precision | package | loss (95 %) | answers that differ by 0.1 IoU or more |",
            "|---|---|---|---|---|",
            f"| mean IoU, {loss['n']} questions | {loss['reference_mean_iou']:.3f} | {loss['package_mean_iou']:.3f} "
            f"| {loss['mean_iou_loss']:+.4f} ({low:+.4f} to {high:+.4f}) | {loss['iou_differs_by_a_tenth']:.3f} |",
            *_names_line(loss["names"]),
            "",
            measured_with(result),
        ]
    )


def _names_line(names: dict[str, Any]) -> list[str]:
    if not names["n"]:
        return []
    low, high = names["loss_interval"]
    loss = f"{names['loss']:+.4f} ({low:+.4f} to {high:+.4f})"
    return [f"| right names, {names['n']} questions | {names['reference']:.3f} | {names['package']:.3f} | {loss} | |"]


def _with_interval(figure: dict[str, Any], key: str) -> str:
    low, high = figure[f"{key}_interval"]
    return f"{figure[key]:.3f} ({low:.3f} to {high:.3f})"


def reliability_picture(result: dict[str, Any]) -> str:
    """The reliability of box confidences as a picture of its own."""
    confidence, say = result["tables"]["confidence"], words(Language.EN)
    chart = reliability(confidence["bins"] if confidence else [])
    if chart is None:
        raise UsageError("The result has no box with a confidence to draw; name another result in the block.")
    return render.picture(Drawn(chart, say["x_sure"], say["y_right"]))


def sweep_picture(result: dict[str, Any]) -> str:
    """The frontier of a sweep, loss against speed, as a picture of its own."""
    return render.picture(sweep_report.of_speed(result["points"], words(Language.EN)))


def size_picture(result: dict[str, Any]) -> str:
    """The same, loss against size."""
    return render.picture(sweep_report.of_size(result["points"], words(Language.EN)))


TASK_TABLES = {
    "summary": summary_table,
    "goals": goals_table,
    "reliance": reliance_table,
    "modalities": modality_table,
    "reports": report_table,
    "reliability": reliability_words,
}
# Each takes the results that its block names, parted by commas; a folder stands for all results of runs in it.
RENDERERS: dict[str, Callable[..., str]] = {
    "accuracy": accuracy_table,
    "loss": loss_table,
    "fast": fast_table.table,
    "fast-summary": fast_table.summary,
    "peers": fast_table.peers_table,
    "tower": fast_table.tower_table,
    **TASK_TABLES,
    "sweep": sweep_report.block,
    "sweep-size": lambda _: "The same points, loss against size.",
    "history": history_table,
}
# Blocks that begin with a picture, drawn beside the result.
PICTURES = {"reliability": reliability_picture, "sweep": sweep_picture, "sweep-size": size_picture}


# Blocks whose results become dataclasses.
READERS: dict[str, Callable[[dict[str, Any], str], Any]] = dict.fromkeys(
    ("fast", "fast-summary", "peers", "tower"), performance.read
)


def _results(path: Path, block: str) -> list[Any]:
    if path.is_dir():
        return results_in(path)
    result = json.loads(path.read_text(encoding="utf-8"))
    return [READERS[block](result, path.name) if block in READERS else result]


def update_blocks(document: Path, check: bool) -> bool:
    """Write the blocks of a document, and their pictures, anew from the results they name.

    With `check`, raises GateError when one is stale. Raises UsageError for a document that is not there or cannot be made.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"There is no text '{document.name}' here; name Markdown files, or run in the repository."
        ) from None
    files: dict[Path, str] = {}
    told: set[str] = set()  # with what a result was measured: once in a document

    def made(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in RENDERERS:
            raise UsageError(f"'{document.name}' names an unknown block '{name}'; choose one of: {', '.join(RENDERERS)}.")
        paths = [document.parent / file for file in match["file"].split(",")]
        for path in paths:
            if not path.exists():
                raise UsageError(
                    f"'{document.name}' names the result '{path.name}', which is not there; commit or correct it."
                )
        results = [one for path in paths for one in _results(path, name)]
        shown = ""
        if name in PICTURES:
            picture = paths[0].with_name(f"{paths[0].stem}-{name}.svg")
            files[picture] = PICTURES[name](*results)
            shown = f"![{name}]({picture.relative_to(document.parent).as_posix()})\n\n"
        body, gap, last = RENDERERS[name](*results).rpartition("\n\n")
        if not gap or last not in told:
            body += gap + last
            told.add(last)
        return f"{match[1]}{shown}{body}\n{match[4]}"

    files[document] = BLOCK.sub(made, text)
    stale = [path for path, fresh in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != fresh]
    if stale and check:
        raise GateError(f"'{stale[0].name}' is stale: run `medrega bench docs` and commit what it writes.")
    for path in stale:
        path.write_text(files[path], encoding="utf-8")
    return bool(stale)
