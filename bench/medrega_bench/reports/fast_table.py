"""Speed and memory as Markdown: goals beside figures, peers, and the vision tower's precisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from medrega_bench.performance.peer_comparison import OURS, PeerFigures, ShapeComparison
from medrega_bench.performance.profiler import Profile
from medrega_bench.performance.quietness import told
from medrega_bench.performance.random_packages import named
from medrega_bench.performance.results import ForetellResult, PeersResult, PerformanceResult, SpeedResult, TowerResult
from medrega_bench.performance.spread import Spread, quotients
from medrega_edge.errors import UsageError

_Part = TypeVar("_Part")  # of a result, or the whole

LLAMA = "llama.cpp"
DISTURBED = ", disturbed"  # behind a figure that was measured while something else ran
EQUAL_HEAD, OWN_HEAD = 4, 8  # bits of the output head: as peers have it, and as export writes it

RANDOM = "random-"  # begins the names of packages of random weights


@dataclass(frozen=True)
class Goal:
    """One line of the table: a figure and the value that its median has to reach, or with `at_least` off not to exceed.

    A `disturbed` figure was measured on a machine that was not quiet; one that is not `of_time` cares little.
    """

    what: str
    goal: float
    at_least: bool
    figure: Spread
    form: str = "{:.2f}"
    of_time: bool = True
    disturbed: bool = False

    @property
    def line(self) -> str:
        """The row of the table; the range stands behind the median if there is one."""
        figure = self.form.format(self.figure.median)
        if self.figure.min != self.figure.max:
            figure += f" ({self.form.format(self.figure.min)} to {self.form.format(self.figure.max)})"
        figure += DISTURBED if self.disturbed else ""
        reached = self.figure.median >= self.goal if self.at_least else self.figure.median <= self.goal
        sign = ">=" if self.at_least else "<="
        return f"| {self.what} | {sign} {self.form.format(self.goal)} | {figure} | {'yes' if reached else '**no**'} |"


def table(*results: PerformanceResult) -> str:
    """Write goals beside figures. Results come in any order; of a shape measured twice the last counts."""
    shapes, speeds = _shapes(results), [result for result in results if isinstance(result, SpeedResult)]
    goals = [
        *_marked(shapes, _decoding_goals),
        *_marked([(one, one) for one in results if isinstance(one, TowerResult)], _tower_goals),
        *_marked([(one, one) for one in speeds], _answer_goals),
        *_marked(shapes, _jump_forward_goals),
        *_marked(shapes, _lookup_goals),
        *_memory_goals(speeds),  # bytes are the same on a busy machine
        *_marked([(one, one) for one in speeds], _cache_goals),
    ]
    lines = ["| | goal | median (smallest to largest) | held |", "|---|---|---|---|", *(goal.line for goal in goals)]
    return "\n".join([*lines, "", *map(measured_with, results)])


def summary(*results: PerformanceResult) -> str:
    """Write the times that a user waits for, and how decoding compares with llama.cpp."""
    lines = ["| | median (smallest to largest) |", "|---|---|"]
    for speed in (result for result in results if isinstance(result, SpeedResult)):
        warm, mark = max(speed.stages, key=lambda stage: stage.threads), _mark(speed)
        lines += [
            _summary_line("first answer of a new process, ms", speed.cold.wall_ms, "{:.0f}", mark),
            _summary_line("peak memory of that process, MiB", speed.cold.peak_mib, "{:.0f}"),
            _summary_line("first answer about an image, package loaded, ms", _given(warm.first_answer_ms), "{:.0f}", mark),
            _summary_line("next answer about the same image, ms", warm.with_jump_forward_ms, "{:.1f}", mark),
        ]
    for goal in _marked(_shapes(results), _decoding_goals):
        if "(default)" in goal.what and "llama.cpp" in goal.what:
            mark = DISTURBED if goal.disturbed else ""
            lines.append(_summary_line(f"{goal.what}: times as fast", goal.figure, "{:.2f}", mark))
    return "\n".join([*lines, "", *map(measured_with, results)])


def _summary_line(what: str, figure: Spread, form: str, mark: str = "") -> str:
    return f"| {what} | {form.format(figure.median)} ({form.format(figure.min)} to {form.format(figure.max)}){mark} |"


def _mark(result: PerformanceResult) -> str:
    return DISTURBED if told(result.quietness) else ""


def _marked(
    parts: Sequence[tuple[_Part, PerformanceResult]], goals: Callable[[Sequence[_Part]], Iterator[Goal]]
) -> Iterator[Goal]:
    """The goals of each part of a result, marked if that result is disturbed."""
    for part, result in parts:
        for goal in goals([part]):
            yield replace(goal, disturbed=goal.of_time and bool(_mark(result)))


def _given(figure: Spread | None) -> Spread:
    """A figure that results of earlier versions lack; raises UsageError for one of those."""
    if figure is None:
        raise UsageError("bench.result_outdated")
    return figure


def _shapes(results: Sequence[PerformanceResult]) -> list[tuple[ShapeComparison, PeersResult]]:
    """Each shape with the result that it is of; of one measured twice the last."""
    peers = [result for result in results if isinstance(result, PeersResult)]
    return list({(shape.shape, shape.head_bits): (shape, result) for result in peers for shape in result.shapes}.values())


def _decoding_goals(shapes: Sequence[ShapeComparison]) -> Iterator[Goal]:
    for shape in shapes:
        by_name = {peer.name: peer for peer in shape.peers}
        if shape.head_bits != EQUAL_HEAD or LLAMA not in by_name:
            continue
        theirs = by_name[LLAMA]
        for ours in (peer for name, peer in by_name.items() if name.startswith(OURS)):
            groups = _groups(shape.shape, ours)
            decode, prefill = _times_as_fast(theirs, ours)
            if shape.shape == "0.5b":
                what = f"0.5 B shape, {groups}"
                yield Goal(f"decode, {what}, against llama.cpp Q4_0", 1.3, True, decode)
                share = _given(ours.share_of_limit)
                yield Goal(f"decode, {what}, share of what the memory allows", 0.8, True, share, "{:.0%}")
                yield Goal(f"prefill, {what}, against llama.cpp Q4_0", 1.2, True, prefill)
            else:
                yield Goal(f"decode, tiny shape, {groups}, against llama.cpp Q4_0", 1.2, True, decode)


def _groups(shape: str, ours: PeerFigures) -> str:
    group = int(ours.precision.rpartition("g")[2])
    return f"groups of {group}{' (default)' if group == named(shape).group else ''}"


def _times_as_fast(theirs: PeerFigures, ours: PeerFigures) -> tuple[Spread, Spread]:
    """How many times as fast `ours` decodes, and prefills, round by round."""
    return (
        Spread.of(quotients([turn.decode_seconds for turn in theirs.rounds], [turn.decode_seconds for turn in ours.rounds])),
        Spread.of(
            quotients([turn.prefill_seconds for turn in theirs.rounds], [turn.prefill_seconds for turn in ours.rounds])
        ),
    )


def _jump_forward_goals(shapes: Sequence[ShapeComparison]) -> Iterator[Goal]:
    for shape in shapes:
        gain = (shape.one_box or {}).get(OURS)
        if gain is not None and (shape.shape, shape.head_bits) == ("0.5b", OWN_HEAD):
            what = "one-box question, 0.5 B shape, against the same loop without jump-forward"
            yield Goal(f"{what}: time of decoding", 1.6, True, gain.decode_gain)
            yield Goal(f"{what}: time with the question", 1.6, True, gain.whole_gain)


def _lookup_goals(shapes: Sequence[ShapeComparison]) -> Iterator[Goal]:
    """Our own gain times what decoding is ahead by: both are ratios within rounds, measured in one run."""
    for shape in shapes:
        by_name = {peer.name: peer for peer in shape.peers}
        if shape.head_bits != EQUAL_HEAD or not {LLAMA, OURS} <= by_name.keys():
            continue
        ahead, _ = _times_as_fast(by_name[LLAMA], by_name[OURS])
        for kind in shape.lookup:
            what = f"{kind.texts} in our own sentences, {shape.shape} shape, jump-forward and prompt lookup"
            yield Goal(
                f"{what}, against llama.cpp Q4_0 token by token", 1.6, True, Spread.of([ahead.median * kind.gain.median])
            )


def _tower_goals(results: Sequence[TowerResult]) -> Iterator[Goal]:
    for variant in (variant for result in results for variant in result.variants):
        if variant.shipped:
            yield Goal("vision tower INT8 against float32, 300 M shape", 3.0, True, variant.gain)


def _answer_goals(results: Sequence[SpeedResult]) -> Iterator[Goal]:
    for speed in results:
        warm, cold = max(speed.stages, key=lambda stage: stage.threads), speed.cold
        what = "one-box question, default package, against the same loop without jump-forward"
        yield Goal(f"{what}: time", 1.6, True, warm.ratios["jump_forward_gain"])
        yield Goal(f"{what}: passes", 1.6, True, warm.ratios["jump_forward_fewer_passes"], of_time=False)
        what = "second question on an image, to the first token, against the first"
        yield Goal(what, 0.1, False, _given(warm.next_start_share), "{:.0%}")
        yield Goal("vision tower of the default package, ms an image", 10, False, warm.vision_ms, "{:.1f}")
        yield Goal("cold process to answer, DICOM file, ms", 400, False, cold.wall_ms, "{:.0f}")
        if cold.png_ms is not None and cold.help_ms is not None:
            yield Goal("cold process to answer, PNG file, ms", 400, False, cold.png_ms, "{:.0f}")
            yield Goal("process that shows the help, ms", 150, False, cold.help_ms, "{:.0f}")
        if speed.batch is not None:
            yield Goal(f"images a second of a batch, {speed.batch.cores} cores against one", 1.9, True, speed.batch.ratio)
        yield Goal("cold process to answer, peak MiB", 300, False, cold.peak_mib, "{:.0f}", of_time=False)


def _memory_goals(results: Sequence[SpeedResult]) -> Iterator[Goal]:
    for memory in (memory for speed in results for memory in speed.memory):
        what = f"peak memory of a cold question over package size, {memory.shape} shape"
        yield Goal(what, 1.25, False, Spread.of([memory.over_package]))
        what = f"error of the peak memory predicted by `model info`, {memory.shape} shape"
        yield Goal(what, 0.1, False, Spread.of([memory.prediction_off]), "{:.0%}")
    for repeated in (speed.repeatability for speed in results if speed.repeatability):
        threads = " and ".join(map(str, sorted({run.threads for run in repeated.runs})))
        what = f"answers that differ in any byte ({repeated.questions} questions, {threads} threads, cold and warm)"
        yield Goal(what, 0, False, Spread.of([repeated.different]), "{:.0f}")


def _cache_goals(results: Sequence[SpeedResult]) -> Iterator[Goal]:
    """Goals at the shapes of larger models; with the default package there is nothing to gain."""
    for second in (second for speed in results for second in speed.second or ()):
        if second.package.startswith(RANDOM):
            shape = second.package.removeprefix(RANDOM)
            what = f"process with its image in the cache, {shape} shape, against one without a cache: time"
            yield Goal(what, 0.6, False, second.time, "{:.0%}")


def peers_table(*results: PeersResult) -> str:
    """Write a row for each program at each shape: tokens a second, and how many times as fast ours is."""
    lines = [
        "| shape | program | decode, tokens/s | we are | prefill, tokens/s | we are | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    profiles: list[str] = []
    for shape, result in _shapes(results):
        mark = _mark(result)
        name = f"{shape.shape}, head of {shape.head_bits} bits"
        for peer in shape.peers:
            compared = [f"{ratio.median:.2f} times as fast" for ratio in (peer.decode_ratio, peer.prefill_ratio)]
            if peer.share_of_limit is not None:
                compared = [f"at {peer.share_of_limit.median:.0%} of what the memory allows", ""]
            lines.append(
                f"| {name} | {peer.name} {peer.version}, {peer.precision} "
                f"| {peer.decode_tokens_per_second.median:.1f}{mark} | {compared[0]} "
                f"| {peer.prefill_tokens_per_second.median:.0f}{mark} | {compared[1]} | {peer.peak_mib:.0f} MiB |"
            )
        for ours, profile in shape.profiles.items():
            for stage, shares in (("prefill", profile.prefill), ("decode", profile.decode)):
                profiles.append(f"- {name}, {ours}, {stage}: {_shares(shares)}.")
        lines += [f"| {name} | {peer.name} | not measured: {peer.reason} | | | | |" for peer in shape.missing]
    lines.append("")
    for result in results:
        plan = result.plan
        how = f"{plan.rounds} rounds in turn, {plan.threads} threads, prompts of {plan.prompt} tokens."
        lines.append(f"{how} {measured_with(result)}")
    return "\n".join([*lines, "", "Profiles of ours:", "", *profiles])


def tower_table(result: TowerResult) -> str:
    """Write the variants of the vision tower: time, error, and where the time of two of them goes."""
    lines = ["| tower, 300 M shape | seconds | times as fast as float32 | error | MiB |", "|---|---|---|---|---|"]
    for variant in result.variants:
        name = f"**{variant.name}**, shipped" if variant.shipped else variant.name
        lines.append(
            f"| {name} | {variant.seconds.median:.2f}{_mark(result)} | {variant.gain.median:.2f} "
            f"| {variant.relative_error:.4f} | {variant.bytes / 2**20:.0f} |"
        )
    lines.append("")
    lines += [f"Profile of {name}: {_shares(profile)}." for name, profile in result.profiles.items()]
    flags = ", ".join(result.processor_flags)
    lines.append(f"{result.threads} threads, processor with {flags}. {measured_with(result)}")
    return "\n".join(lines)


def _shares(profile: Profile) -> str:
    return ", ".join(f"{group} {share:.0%}" for group, share in profile.groups.items())


def measured_with(result: PerformanceResult | ForetellResult) -> str:
    """Say when and how a result was measured, on what machine, and whether that was quiet."""
    machine = result.environment
    version = machine.versions["onnxruntime"]
    flags = f" ({', '.join(machine.int8_flags)})" if machine.int8_flags else ""
    measured = f"Measured {result.date} with `{result.command}` on {machine.processor}{flags}, onnxruntime {version}."
    disturbed = told(result.quietness)
    return f"{measured} **The machine was {disturbed}.**" if disturbed else measured
