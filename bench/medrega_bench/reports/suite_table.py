"""What `medrega bench suite` measures, and how long that took, as Markdown."""

from __future__ import annotations

from medrega_bench.evaluation.suite import SuiteResult

_WHAT = {
    "run": "the quick set, speed, energy",
    "tasks": "every task, with ablations of the image",
    "field": "what other publications report",
    "honesty": "no image, wrong options, other words",
    "robust": "22 perturbations at three severities",
    "masks": "masks against true ones",
    "coverage": "how often intervals hold the truth",
    "blind": "question text without images",
    "boxes": "box fidelity of our server",
    "speed": "every stage of an answer, memory",
}


def table(result: SuiteResult) -> str:
    """Write the steps in their order, each with its minutes, and the whole."""
    lines = ["| step | what | minutes |", "|---|---|---|"]
    lines += [f"| `{step.name}` | {_WHAT[step.name]} | {step.seconds / 60:.1f} |" for step in result.steps]
    lines.append(f"| all | | {result.seconds / 60:.0f} |")
    machine = result.environment
    measured = f"Measured {result.date} on {machine.processor}, {machine.threads} threads; manifest {result.package[:12]}."
    return "\n".join([*lines, "", measured])
