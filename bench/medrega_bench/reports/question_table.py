"""Whole questions beside other programs as Markdown: goals against the best of them, and a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medrega_bench.performance.peer_comparison import OURS
from medrega_bench.performance.question_comparison import (
    ONE_BY_ONE,
    PREFILL_8BIT,
    STAGES,
    QuestionComparison,
    QuestionFigures,
)
from medrega_bench.performance.results import QuestionsResult
from medrega_bench.performance.spread import Spread, quotients
from medrega_bench.reports.speed_goal import Goal

GOAL_SHAPE = "0.5b"  # of the language model; with the tower, the 1 B shape
OUR_ANSWER = "box by the grammar"
ANSWERS = {OURS: OUR_ANSWER, ONE_BY_ONE: "token by token", PREFILL_8BIT: f"{OUR_ANSWER}, 8-bit prefill"}
GOALS = {"first": 1.5, "second": 4.0, "batch": 1.5}
WHAT = {
    "cold": "first answer of a new process",
    "first": "first question about an image",
    "second": "second question about it",
    "batch": "questions about {images} images",
}


def goals(results: Sequence[QuestionsResult]) -> Iterator[Goal]:
    """Yield how many times as fast as the best other program ours is, and how much memory the smallest other takes."""
    for result in results:
        for compared in result.questions:
            by_name = {program.name: program for program in compared.programs}
            others = [program for name, program in by_name.items() if name not in ANSWERS]
            if compared.shape != GOAL_SHAPE or not others or not {OURS, ONE_BY_ONE} <= set(by_name):
                continue
            for name, answer in ANSWERS.items():
                if name not in by_name:  # results before 2026-12 have no such package
                    continue
                for stage, goal in GOALS.items():
                    best = min(others, key=lambda other: other.seconds[stage].median)
                    what = WHAT[stage].format(images=result.plan.images)
                    figure = Spread.of(quotients(best.stage(stage), by_name[name].stage(stage)))
                    yield Goal(f"{what}, 1 B shape, {answer}, against {best.name}", goal, True, figure)
            smallest = min(others, key=lambda other: other.cold_peak_mib)
            what = f"peak memory of a process with one answer, 1 B shape, {smallest.name} over ours"
            figure = Spread.of([smallest.cold_peak_mib / by_name[OURS].cold_peak_mib])
            yield Goal(what, 1.0, True, figure, of_time=False)


def lines(results: Sequence[QuestionsResult]) -> Iterator[str]:
    """Yield a table of all programs, what was not measured, and where the time of our first question goes."""
    for result in results:
        images = result.plan.images
        for compared in result.questions:
            heads = " | ".join(f"{WHAT[stage].format(images=images)}, s | we are" for stage in STAGES)
            yield f"| program | {heads} | memory, one question | memory, all |"
            yield "|---" * (2 * len(STAGES) + 3) + "|"
            yield from (_row(program) for program in compared.programs)
            for peer in compared.missing:
                yield f"| {peer.name} | not measured: {peer.reason} |" + " |" * (2 * len(STAGES) + 1)
            yield ""
            yield from _parts(compared)
            yield _how(result, compared)
            yield ""


def _row(program: QuestionFigures) -> str:
    cells = [f"{program.name} {program.version}, {program.precision}"]
    for stage in STAGES:
        ours = program.name == OURS
        cells += [
            f"{program.seconds[stage].median:.2f}",
            "" if ours else f"{program.ratios[stage].median:.2f} times as fast",
        ]
    cells += [f"{program.cold_peak_mib:.0f} MiB", f"{program.peak_mib:.0f} MiB"]
    return f"| {' | '.join(cells)} |"


def _parts(compared: QuestionComparison) -> Iterator[str]:
    for program in compared.programs:
        if program.parts is not None:
            whole = program.seconds["first"].median
            parts = ", ".join(
                f"{part} {seconds.median:.2f} s ({seconds.median / whole:.0%})" for part, seconds in program.parts.items()
            )
            yield f"- First question of {program.name}, answer of {program.tokens:.0f} tokens: {parts}."


def _how(result: QuestionsResult, compared: QuestionComparison) -> str:
    plan, tower = result.plan, compared.tower
    before, after, question = compared.prompt
    return (
        f"\n{plan.rounds} rounds in turn, {plan.cold_rounds} cold ones, {plan.threads} threads; a tower of "
        f"{tower.image_size} pixels and {tower.tokens} tokens, {before + after} tokens around the image, questions of "
        f"{question}, answers of {plan.tokens} tokens."
    )
