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
    low, high = names["loss_interval"]
    loss = f"{names['loss']:+.4f} ({low:+.4f} to {high:+.4f})"
    return [f"| right names, {names['n']} questions | {names['reference']:.3f} | {names['package']:.3f} | {loss} | |"]


# Rows of the README's table: what, where its figure stands in the tables, goal, and MedRegA's own figure in percent.
_Where = tuple[str, ...]
GOALS: tuple[tuple[str, _Where, str, str, str], ...] = (
    ("SLAKE English, closed accuracy", ("vqa_en", "dataset", "slake"), "closedQuestionsAccuracy", "80", "85.4"),
    ("SLAKE English, open recall", ("vqa_en", "dataset", "slake"), "openQuestionsRecall", "75", "80.5"),
    ("SLAKE Chinese, accuracy by recall >= 0.75", ("vqa_zh", "dataset", "slake"), "openQuestionsAccuracy", "70", "58.6"),
    ("VQA-RAD, closed accuracy", ("vqa_en", "dataset", "vqa_rad"), "closedQuestionsAccuracy", "65", "75.3"),
    ("detection, one object, one region: accuracy at 0.5", ("single_object_single_region", "all"), "acc50", "60", "45.1"),
    ("detection, one object, one region: IoU", ("single_object_single_region", "all"), "iou", "55", "42.7"),
    (
        "detection, several objects, one region each: alignment",
        ("multi_object_single_region", "all"),
        "object-box.object_box_acc",
        "50",
        "44.9",
    ),
    (
        "detection, several objects, several regions: alignment F1",
        ("multi_object_multi_region", "all"),
        "object-box.object_box_f1",
        "30",
        "28.1",
    ),
    ("region to text, structures", ("region_to_text", "kind", "structure"), "accuracy", "80", "73.1"),
    ("region to text, lesions", ("region_to_text", "kind", "lesion"), "accuracy", "75", "59.4"),
)


# The same for what no setting measures, under its name in the tables.
GOALS_BESIDE: tuple[tuple[str, str, str, str], ...] = (
    ("single-label classification, macro F1, mean over data sets", "mean_f1", "70", "48.0"),
    ("kind of image recognised", "kind_of_image", "99", ""),
    ("absent: false boxes", "false_boxes", "<= 5", ""),
    ("present: missed", "missed", "<= 10", ""),
    ("calibration error of box confidence at IoU 0.5", "ece", "<= 8", ""),
    ("same box in English and Chinese (IoU >= 0.9)", "same_box", "90", ""),
)


def goals_table(result: dict[str, Any]) -> str:
    """The package beside full precision, what it loses against it, its goals and MedRegA's own figures, in percent."""
    package, full, loss = result["tables"], result.get("reference"), result.get("loss")
    lines = [
        "| task | questions | package (95 %) | full precision | loss (95 %) | goal | MedRegA, other data |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, where, figure, goal, theirs in GOALS:
        entry, other = _entry(package, where), _entry(full, where)
        if entry:
            whole = _percent(other["figures"][figure], False) if other else ""
            fallen = _loss((_entry(loss, where) or {}).get(figure))
            value = _percent(entry["figures"][figure])
            lines.append(f"| {name} | {entry['n']} | {value} | {whole} | {fallen} | {goal} | {theirs} |")
    for name, figure, goal, theirs in GOALS_BESIDE:
        entry = package["beside"].get(figure)
        if entry:
            whole = _percent(full["beside"].get(figure), False) if full else ""
            fallen = _loss(loss["beside"].get(figure) if loss else None)
            lines.append(f"| {name} | {entry['n']} | {_percent(entry)} | {whole} | {fallen} | {goal} | {theirs} |")
    return "\n".join([*lines, "", _measured_with(result)])


def _loss(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return ""
    low, high = figure["interval"]
    text = f"{100 * figure['loss']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"**{text}**" if figure["significant"] else text


def _entry(tables: dict[str, Any] | None, where: _Where) -> dict[str, Any] | None:
    node: Any = (tables or {}).get("settings", {})
    for key in where:
        node = node.get(key, {}) if node else {}
    return node or None


VERSIONS = ("blank", "other", "question_only", "cot")
TELLING = ("closedQuestionsAccuracy", "openQuestionsRecall", "openQuestionsAccuracy", "F1-macro")


def reliance_table(result: dict[str, Any]) -> str:
    """What the image is worth: the same questions with their image, a blank one, another one, none, and regions first."""
    package = result["tables"]
    lines = [
        "| the same questions | with the image (95 %) | blank image | another patient's | question alone | regions first |",
        "|---|---|---|---|---|---|",
    ]
    for setting, entry in package["settings"].items():
        if "cot" not in entry:
            continue
        for language in entry["language"]:
            for name, figure in entry["language"][language]["figures"].items():
                if name in TELLING and figure["value"] is not None:
                    versions = " | ".join(_of_version(entry, version, language, name) for version in VERSIONS)
                    lines.append(f"| {setting}, {language}: {name} | {_percent(figure)} | {versions} |")
    return "\n".join([*lines, "", _measured_with(result)])


def _of_version(entry: dict[str, Any], version: str, language: str, name: str) -> str:
    if version not in entry:
        return ""
    return _percent(entry[version][language]["figures"][name], False)


def _percent(figure: dict[str, Any] | None, with_interval: bool = True) -> str:
    if figure is None or figure["value"] is None:
        return ""
    text = f"{100 * figure['value']:.1f}"
    if with_interval and figure["interval"]:
        low, high = figure["interval"]
        text += f" ({100 * low:.1f} to {100 * high:.1f})"
    return text


RENDERERS = {"accuracy": accuracy_table, "loss": loss_table, "goals": goals_table, "reliance": reliance_table}


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
