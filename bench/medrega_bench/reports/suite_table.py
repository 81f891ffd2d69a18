"""What `medrega bench suite` measures, and how long that took, as Markdown."""

from __future__ import annotations

from medrega_bench.evaluation.suite import StepTaken, SuiteResult

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


_FACTS = ("measured", "processor", "threads", "commit")


def table(result: SuiteResult) -> str:
    """Write the steps in the order of the plan, each with its minutes, and the whole.

    Date, processor, threads and commit have columns where they differ from step to step, else they stand below.
    """
    facts = {step.name: _facts(step, result) for step in result.ordered}
    known = {name: {each[name] for each in facts.values()} for name in _FACTS}
    own = [name for name in _FACTS if len(known[name]) > 1]
    lines = [_row("step", "what", "minutes", *own), "|" + "---|" * (3 + len(own))]
    for step in result.ordered:
        minutes = f"{step.seconds / 60:.1f}" + (" (last part)" if step.is_last_part else "")
        lines.append(_row(f"`{step.name}`", _WHAT[step.name], minutes, *(facts[step.name][name] for name in own)))
    has_parts = any(step.is_last_part for step in result.steps)
    lines.append(_row("all", "", f"{'at least ' if has_parts else ''}{result.seconds / 60:.0f}", *([""] * len(own))))
    shared = [f"{name} {value}" for name in _FACTS if name not in own for value in known[name] if value]
    parts = " A last part began with answers that an earlier try had left." if has_parts else ""
    return "\n".join([*lines, "", f"For all steps: {'; '.join([*shared, f'manifest {result.package[:12]}'])}.{parts}"])


def _facts(step: StepTaken, result: SuiteResult) -> dict[str, str]:
    """When, on what and with what a step was measured; an older file tells it once for all."""
    machine = result.environment
    return {
        "measured": step.date or result.date,
        "processor": step.processor or machine.processor,
        "threads": str(step.threads or machine.threads),
        "commit": step.commit or "",
    }


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
