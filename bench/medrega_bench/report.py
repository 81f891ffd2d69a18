"""Results -> Markdown, and the blocks of the README that are made from them. Knows results; measures nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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
    return "\n".join([*lines, "", _measured_with(result)])


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
            _measured_with(result),
        ]
    )


def _names_line(names: dict[str, Any]) -> list[str]:
    if not names["n"]:
        return []
    full, package = names["reference"], names["package"]
    return [f"| right names, {names['n']} questions | {full:.3f} | {package:.3f} | {full - package:+.4f} | |"]


RENDERERS = {"accuracy": accuracy_table, "loss": loss_table}


def _with_interval(figure: dict[str, Any], key: str) -> str:
    low, high = figure[f"{key}_interval"]
    return f"{figure[key]:.3f} ({low:.3f} to {high:.3f})"


def _measured_with(result: dict[str, Any]) -> str:
    machine = result["environment"]
    model = result["model"]
    return (
        f"Measured {result['date']} with `{result['command']}` on {machine['processor']}, {machine['threads']} threads, "
        f"onnxruntime {machine['versions']['onnxruntime']}; package {model['name']} {model['version']} "
        f"({model['precision']}), manifest {model['sha256'][:12]}; {result['split']} split."
    )


def update_blocks(document: Path, check: bool) -> bool:
    """Write the blocks of a document anew from the results they name; with `check`, raise GateError when one is stale."""
    text = document.read_text(encoding="utf-8")

    def made(match: re.Match[str]) -> str:
        if match["name"] not in RENDERERS:
            raise UsageError(f"'{document.name}' names an unknown block '{match['name']}'.")
        path = document.parent / match["file"]
        if not path.is_file():
            raise UsageError(f"'{document.name}' names the result '{match['file']}', which is not there.")
        result = json.loads(path.read_text(encoding="utf-8"))
        return f"{match[1]}{RENDERERS[match['name']](result)}\n{match[4]}"

    fresh = BLOCK.sub(made, text)
    if fresh == text:
        return False
    if check:
        raise GateError(f"'{document.name}' is stale: run `medrega bench docs` and commit what it writes.")
    document.write_text(fresh, encoding="utf-8")
    return True
