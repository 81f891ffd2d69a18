"""What "fast" means here, as Markdown: every goal with its figure, from the results of `peers`, `tower` and `speed`.

Knows results and goals; measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medrega_bench.performance.latency import spread
from medrega_bench.performance.random_packages import named

Row = Mapping[str, Any]
LLAMA, OURS = "llama.cpp", "medrega"  # ours begin so, each with groups of its own
EQUAL_HEAD, OWN_HEAD = 4, 8  # bits of the output head: as peers have it, and as export writes it


@dataclass(frozen=True)
class Goal:
    """One line: what, its goal, which way is better, and the figure with its spread (median, min, max)."""

    what: str
    goal: float
    at_least: bool
    figure: Row
    form: str = "{:.2f}"

    @property
    def line(self) -> str:
        """A row of the table; the spread stands behind the median where there is one."""
        shown = self.form.format(self.figure["median"])
        if self.figure["min"] != self.figure["max"]:
            shown += f" ({self.form.format(self.figure['min'])} to {self.form.format(self.figure['max'])})"
        held = self.figure["median"] >= self.goal if self.at_least else self.figure["median"] <= self.goal
        sign = ">=" if self.at_least else "<="
        return f"| {self.what} | {sign} {self.form.format(self.goal)} | {shown} | {'yes' if held else '**no**'} |"


def table(*results: Row) -> str:
    """Goals beside figures, and how they were measured; results in any order, of a shape measured twice the last counts."""
    lines = ["| | goal | median (smallest to largest) | held |", "|---|---|---|---|"]
    for key, goals in (
        ("shapes", _decoding),
        ("variants", _tower),
        ("stages", _answers),
        ("shapes", _jumping),
        ("memory", _memory),
    ):
        lines += [goal.line for goal in goals([result for result in results if key in result])]
    return "\n".join([*lines, "", *map(_measured_with, results)])


def summary(*results: Row) -> str:
    """What a user waits for, and how the loop compares with llama.cpp; a few rows, from the same results as `table`."""
    lines = ["| | median (smallest to largest) |", "|---|---|"]
    for speed in (result for result in results if "stages" in result):
        most, cold = max(speed["stages"], key=lambda stage: stage["threads"]), speed["cold"]
        lines += [
            _summary_line("first answer of a new process, ms", cold["wall_ms"], "{:.0f}"),
            _summary_line("peak memory of that process, MiB", cold["peak_mib"], "{:.0f}"),
            _summary_line("first answer about an image, package loaded, ms", most["first_answer_ms"], "{:.0f}"),
            _summary_line("next answer about the same image, ms", most["with_jump_forward_ms"], "{:.1f}"),
        ]
    for goal in _decoding([result for result in results if "shapes" in result]):
        if "(default)" in goal.what and "llama.cpp" in goal.what:
            lines.append(_summary_line(f"{goal.what}: times as fast", goal.figure, "{:.2f}"))
    return "\n".join([*lines, "", *map(_measured_with, results)])


def _summary_line(what: str, figure: Row, form: str) -> str:
    return f"| {what} | {form.format(figure['median'])} ({form.format(figure['min'])} to {form.format(figure['max'])}) |"


def _measured_shapes(results: Sequence[Row]) -> list[Row]:
    return list({(one["shape"], one["head_bits"]): one for result in results for one in result["shapes"]}.values())


def _decoding(results: Sequence[Row]) -> Iterator[Goal]:
    for one in _measured_shapes(results):
        by_name = {row["name"]: row for row in one["peers"]}
        if one["head_bits"] != EQUAL_HEAD or LLAMA not in by_name:
            continue
        theirs = by_name[LLAMA]
        for ours in (row for name, row in by_name.items() if name.startswith(OURS)):
            groups = _groups(one["shape"], ours)
            if one["shape"] == "0.5b":
                what = f"0.5 B shape, {groups}"
                yield Goal(f"decode, {what}, against llama.cpp Q4_0", 1.3, True, _times(theirs, ours, "decode"))
                yield Goal(f"decode, {what}, share of what the memory allows", 0.8, True, ours["share_of_limit"], "{:.0%}")
                yield Goal(f"prefill, {what}, against llama.cpp Q4_0", 1.2, True, _times(theirs, ours, "prefill"))
            else:
                what = f"decode, tiny shape, {groups}, against llama.cpp Q4_0"
                yield Goal(what, 1.2, True, _times(theirs, ours, "decode"))


def _groups(shape: str, ours: Row) -> str:
    group = int(ours["precision"].rpartition("g")[2])
    return f"groups of {group}{' (default)' if group == named(shape).group else ''}"


def _jumping(results: Sequence[Row]) -> Iterator[Goal]:
    for one in _measured_shapes(results):
        if (one["shape"], one["head_bits"]) != ("0.5b", OWN_HEAD):
            continue
        measured = one.get("one_box", {}).get(OURS)
        if measured is not None:
            what = "one-box question, 0.5 B shape, against the same loop without jump-forward"
            yield Goal(f"{what}: time of decoding", 1.6, True, measured["decode_gain"])
            yield Goal(f"{what}: time with the question", 1.6, True, measured["whole_gain"])


def _times(theirs: Row, ours: Row, stage: str) -> Row:
    """How many times as fast `ours` is, round by round."""
    key = f"{stage}_seconds"
    return spread([a[key] / b[key] for a, b in zip(theirs["rounds"], ours["rounds"], strict=True)])


def _tower(results: Sequence[Row]) -> Iterator[Goal]:
    for row in (variant for tower in results for variant in tower["variants"]):
        if row["shipped"]:
            yield Goal("vision tower INT8 against float32, 300 M shape", 1.6, True, row["gain"])


def _answers(results: Sequence[Row]) -> Iterator[Goal]:
    for speed in results:
        most, cold = max(speed["stages"], key=lambda stage: stage["threads"]), speed["cold"]
        what = "one-box question, default package, against the same loop without jump-forward"
        yield Goal(f"{what}: time", 1.6, True, most["ratios"]["jump_forward_gain"])
        yield Goal(f"{what}: passes", 1.6, True, most["ratios"]["jump_forward_fewer_passes"])
        what = "second question on an image, to the first token, against the first"
        yield Goal(what, 0.1, False, most["next_start_share"], "{:.0%}")
        yield Goal("cold process to answer, ms", 800, False, cold["wall_ms"], "{:.0f}")
        yield Goal("cold process to answer, peak MiB", 300, False, cold["peak_mib"], "{:.0f}")


def _memory(results: Sequence[Row]) -> Iterator[Goal]:
    for row in (row for speed in results for row in speed["memory"]):
        what = f"peak memory of a cold question over package size, {row['shape']} shape"
        yield Goal(what, 1.25, False, spread([row["over_package"]]))
        what = f"error of the peak memory predicted by `model info`, {row['shape']} shape"
        yield Goal(what, 0.1, False, spread([row["prediction_off"]]), "{:.0%}")
    for same in (speed["repeatability"] for speed in results if speed["repeatability"]):
        counts = " and ".join(map(str, sorted({run["threads"] for run in same["runs"]})))
        what = f"answers that differ in any byte ({same['questions']} questions, {counts} threads, cold and warm)"
        yield Goal(what, 0, False, spread([same["different"]]), "{:.0f}")


def peers_table(*results: Row) -> str:
    """Every peer at every shape: tokens a second, and how many times as fast we are."""
    lines = [
        "| shape | program | decode, tokens/s | we are | prefill, tokens/s | we are | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    said: list[str] = []
    for one in _measured_shapes(results):
        name = f"{one['shape']}, head of {one['head_bits']} bits"
        for row in one["peers"]:
            decode, prefill = (row[f"{what}_tokens_per_second"]["median"] for what in ("decode", "prefill"))
            slower = [f"{row[f'{what}_ratio']['median']:.2f} times as fast" for what in ("decode", "prefill")]
            if "share_of_limit" in row:
                slower = [f"at {row['share_of_limit']['median']:.0%} of what the memory allows", ""]
            lines.append(
                f"| {name} | {row['name']} {row['version']}, {row['precision']} | {decode:.1f} | {slower[0]} "
                f"| {prefill:.0f} | {slower[1]} | {row['peak_mib']:.0f} MiB |"
            )
        for own, stages in one["profiles"].items():
            said += [f"{name}, {own}, {stage}: {_shares(profile)}." for stage, profile in stages.items()]
        lines += [f"| {name} | {row['name']} | not measured: {row['reason']} | | | | |" for row in one["missing"]]
    lines.append("")
    for result in results:
        plan = result["plan"]
        how = f"{plan['rounds']} rounds in turn, {plan['threads']} threads, prompts of {plan['prompt']} tokens."
        lines.append(f"{how} {_measured_with(result)}")
    return "\n".join([*lines, "", "Profiles of ours:", "", *(f"- {one}" for one in said)])


def tower_table(result: Row) -> str:
    """The variants of the tower: time, error, and where the time of the shipped one goes."""
    lines = ["| tower, 300 M shape | seconds | times as fast as float32 | error | MiB |", "|---|---|---|---|---|"]
    for row in result["variants"]:
        name = f"**{row['name']}**, shipped" if row["shipped"] else row["name"]
        lines.append(
            f"| {name} | {row['seconds']['median']:.2f} | {row['gain']['median']:.2f} | {row['relative_error']:.4f} "
            f"| {row['bytes'] / 2**20:.0f} |"
        )
    lines.append("")
    for name, profile in result["profiles"].items():
        lines.append(f"Profile of {name}: {_shares(profile)}.")
    flags = ", ".join(result["processor_flags"])
    lines.append(f"{result['threads']} threads, processor with {flags}. {_measured_with(result)}")
    return "\n".join(lines)


def _shares(profile: Row) -> str:
    return ", ".join(f"{group} {share:.0%}" for group, share in profile["groups"].items())


def _measured_with(result: Row) -> str:
    machine = result["environment"]
    return (
        f"Measured {result['date']} with `{result['command']}` on {machine['processor']}, onnxruntime "
        f"{machine['versions']['onnxruntime']}."
    )
