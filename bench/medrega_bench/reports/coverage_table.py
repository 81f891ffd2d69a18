"""How often intervals held the truth, as Markdown."""

from __future__ import annotations

from medrega_bench.evaluation.intervals import CoverageResult

_NAMES = {
    "outer": "outer box",
    "inner": "inner box",
    "width": "width of a box",
    "height": "height of a box",
    "mask_outer": "outer box, around a mask",
    "mask_inner": "inner box, around a mask",
    "mask_width": "width of the box around a mask",
    "mask_height": "height of the box around a mask",
    "longest": "longest diameter",
    "perpendicular": "diameter across it",
}


def table(result: CoverageResult) -> str:
    """Write the coverage of each measure over all kinds of images and all confidences."""
    of_all = {each.measure: each for each in result.coverage if not each.kind and not each.confidence}
    lines = ["| interval of | objects | held, % (95 %) | of all that got a box, % |", "|---|---|---|---|"]
    for measure, name in _NAMES.items():
        if (one := of_all.get(measure)) is not None:
            low, high = (f"{100 * end:.1f}" for end in one.overlapping.interval)
            held = f"{100 * one.overlapping.value:.1f} ({low} to {high})"
            lines.append(f"| {name} | {one.overlapping.n} | {held} | {100 * one.all.value:.1f} |")
    return "\n".join(lines)
