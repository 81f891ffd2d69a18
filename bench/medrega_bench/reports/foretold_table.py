"""What was foretold beside what was measured, and MedRegA's 40 B model on paper, as Markdown."""

from __future__ import annotations

from dataclasses import replace

from medrega_bench.performance.foretold import GOALS, MEDREGA_40B, on_paper
from medrega_bench.performance.quietness import told
from medrega_bench.performance.results import ForetellResult
from medrega_bench.reports.fast_table import DISTURBED, measured_with
from medrega_edge.inference.foretelling import ANSWER_TOKENS, foretell

_FORMS = {
    "peak_bytes": ("peak memory, MiB", "{:.0f}", 2**20),
    "tower_seconds": ("tower, s", "{:.2f}", 1),
    "prompt_seconds": ("prompt, s", "{:.2f}", 1),
    "tokens_per_second": ("tokens/s", "{:.1f}", 1),
    "first_answer_seconds": ("first answer, s", "{:.2f}", 1),
    "next_answer_seconds": ("next answer, s", "{:.2f}", 1),
}
_BANDWIDTHS = (100, 200, 400)  # GB/s: a desktop with two channels of DDR5, workstations with four and with eight


def table(*results: ForetellResult) -> str:
    """Write each figure of each shape: foretold, measured, error, and whether the error is within its goal."""
    lines = ["| shape | | foretold | measured | error | goal | held |", "|---|---|---|---|---|---|---|"]
    for one, mark in ((one, DISTURBED if told(result.quietness) else "") for result in results for one in result.foretold):
        for name, (what, form, unit) in _FORMS.items():
            expected, came, off = getattr(one.foretold, name), one.measured.figure(name), one.off(name)
            figure = form.format(came / unit) + (mark if name != "peak_bytes" else "")
            goal, held = "", ""
            if name in GOALS:
                goal, held = f" <= {GOALS[name]:.0%}", " yes" if abs(off) <= GOALS[name] else " **no**"
            lines.append(
                f"| {one.shape} | {what} | {form.format(expected / unit)} | {figure} | {off:+.0%} |{goal} |{held} |"
            )
    return "\n".join([*lines, "", *(f"{result.threads} threads. {measured_with(result)}" for result in results)])


def paper_table(*results: ForetellResult) -> str:
    """Write what is foretold of MedRegA's 40 B model: on the machine of the result, and on ones with faster memory."""
    shapes = [one for result in results for one in result.foretold]
    work, speed = on_paper(MEDREGA_40B), shapes[-1].speed
    here = foretell(work, speed)
    errors = {name: max(abs(one.off(name)) for one in shapes) for name in GOALS}
    lines = [
        "| MedRegA, 40 B, 4 bits | foretold | largest error at the shapes above |",
        "|---|---|---|",
        f"| peak memory, GiB | {here.peak_bytes / 2**30:.1f} | {errors['peak_bytes']:.0%} |",
        f"| peak memory with mapped weights, GiB, beside {work.token_bytes / 2**30:.1f} of cached pages "
        f"| {work.mapped_peak_bytes / 2**30:.1f} | not measured |",
        f"| first answer on that machine, if it had the memory, s | {here.first_answer_seconds:.0f} "
        f"| {errors['first_answer_seconds']:.0%} |",
        f"| tokens/s on that machine, read at {speed.read_bytes / 1e9:.0f} GB/s | {here.tokens_per_second:.2f} "
        f"| {errors['tokens_per_second']:.0%} |",
    ]
    for bandwidth in _BANDWIDTHS:
        faster = foretell(work, replace(speed, read_bytes=1e9 * bandwidth, row_bytes=1e9 * bandwidth))
        lines.append(
            f"| tokens/s where weights are read at {bandwidth} GB/s | {faster.tokens_per_second:.1f} | not measured |"
        )
    names = ", ".join(one.shape for one in shapes)
    how = f"An answer of {ANSWER_TOKENS} tokens, one pass each, from the speed of the machine above; errors are of {names}."
    return "\n".join([*lines, "", how])
