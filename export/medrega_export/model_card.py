"""The model card, README.md of a package: the facts of training, and the errors and accuracy that export measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medrega_edge.domain import NOTICE
from medrega_edge.i18n.message import Message
from medrega_export.checkpoint.training_metadata import TrainingFacts
from medrega_export.quantisation.recipe import Recipe


def write_card(
    training: TrainingFacts,
    recipe: Recipe,
    certificate: Mapping[str, Any],
    groups: str,
    warnings: Sequence[Message] = (),
    parts: Sequence[str] = (),
) -> str:
    """Return the card as Markdown. Figures come from the certificate.

    `groups` is the reason for the group size. `parts` are sentences about tower and region head.
    """
    head = training.card.strip() or _facts(training)
    lines = [
        head,
        "",
        "## This package",
        "",
        f"Precision: {recipe.name}. {NOTICE}.",
        "",
        *(line for part in parts for line in (part, "")),
        *([f"Groups of {recipe.group_size} weights: {groups}.", ""] if groups else []),
        *_overrides(recipe),
        *(line for warning in warnings for line in (f"**Warning**: {warning}.", "")),
        "Error of each stage against full precision:",
        "",
    ]
    lines += ["| stage | error | limit |", "|---|---|---|"]
    for name, entry in certificate["stages"].items():
        limit = "-" if entry["limit"] is None else f"{entry['limit']:g}"
        lines.append(f"| {name} | {entry['error']:.2g} | {limit} |")
    lines.append("")
    accuracy = certificate["accuracy"]
    if accuracy is None:
        lines.append(f"Accuracy beside full precision: not measured, {certificate['reason']}.")
    else:
        lines += [
            f"Accuracy beside full precision, {certificate['items']['count']} questions "
            "(mean IoU, and loss with its 95% interval):",
            "",
            "| questions | n | full precision | this package | loss | changed answers |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_row(group) for group in accuracy]
    return "\n".join(lines) + "\n"


def _facts(training: TrainingFacts) -> str:
    lines = [f"# {training.name} {training.version}", "", f"{training.source}.", ""]
    lines.append(f"Tasks: {', '.join(training.tasks)}. Languages: {', '.join(training.languages)}.")
    lines.append(f"Modalities: {', '.join(training.modalities)}.")
    if training.data_sets:
        lines += ["", "| data set | images | terms |", "|---|---|---|"]
        lines += [f"| {name} | {images} | {terms} |" for name, images, terms in training.data_sets]
    return "\n".join(lines)


def _overrides(recipe: Recipe) -> list[str]:
    """The units with a precision of their own; the name of the package only counts them."""
    if not recipe.overrides:
        return []
    raised = {override.unit: f"{override.bits} bits" for override in recipe.overrides}
    return ["Kept more exact than the rest:", "", *(f"- `{unit}`: {bits}" for unit, bits in raised.items()), ""]


def _row(group: Mapping[str, Any]) -> str:
    name = " ".join(group[key] for key in ("task", "language", "modality") if group.get(key))
    iou = group["mean_iou"]
    changed = f"{group['changed']:.1%}"
    if iou is None:
        return f"| {name} | {group['n']} | - | - | - | {changed} |"
    low, high = iou["interval"]
    return (
        f"| {name} | {group['n']} | {iou['reference']:.3f} | {iou['package']:.3f} "
        f"| {iou['loss']:.3f} ({low:.3f} to {high:.3f}) | {changed} |"
    )
