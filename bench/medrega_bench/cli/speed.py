"""`speed`, `tower`, `peers` and `shape`: times and memory on this machine, and packages to measure them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medrega_bench.cli.console import show_quietness
from medrega_bench.cli.options import (
    WAIT_MINUTES,
    Device,
    ModelOption,
    PeerName,
    PeerShape,
    ResultOption,
    ShapeName,
    ThreadsOption,
    WaitOption,
)
from medrega_edge.cli.console import print_result, print_status
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_bench.performance.cold_start import SecondProcess
    from medrega_edge.package.package import Package

TOKENS = {"tiny": 128, "0.5b": 32}  # so that a turn lasts long enough to be timed, and not much longer
HEADS = {"tiny": (4,), "0.5b": (4, 8)}  # shape: bits of the output head; 4 is what peers have, 8 what export writes


def speed(
    out: ResultOption,
    model: ModelOption = None,
    threads: Annotated[str | None, typer.Option(help="Numbers of threads, such as 1,2; default: 1 and all.")] = None,
    device: Annotated[Device, typer.Option(help="Where the package runs.")] = Device.CPU,
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds, after a warm-up.")] = 7,
    repeatability: Annotated[
        int, typer.Option(min=0, help="Ask this many questions on each number of threads, cold and warm; compare bytes.")
    ] = 0,
    memory: Annotated[
        list[ShapeName] | None, typer.Option(help="Measure peak memory at this shape too; may repeat; needs [export].")
    ] = None,
    cached: Annotated[
        list[ShapeName] | None,
        typer.Option(
            help="Measure a second process, with the image in the cache, at this shape too; may repeat; needs [export]."
        ),
    ] = None,
    wait: WaitOption = WAIT_MINUTES,
) -> None:
    """Time every stage of an answer; measure its memory.

    The sample scan is asked about, cold and warm. The machine's memory bandwidth is measured in the same run. If other
    programs ran meanwhile, the result says that it was disturbed.

    medrega bench speed --threads 1,2 --repeatability 200 --memory 0.5b --memory 1b --out speed.json
    """
    from medrega_bench import result_files
    from medrega_bench.extras import require_export
    from medrega_bench.performance import batch_scale, cold_start, determinism, latency
    from medrega_bench.performance.environment import ModelIdentity, command, environment
    from medrega_bench.performance.quietness import Watch
    from medrega_bench.performance.results import SpeedResult
    from medrega_edge.inference.devices import available_threads
    from medrega_edge.inference.machine_speed import MemoryReader
    from medrega_edge.io.atomic import check_output_path
    from medrega_edge.package.registry import find_package

    check_output_path(out)
    counts = _thread_counts(threads) if threads else sorted({1, available_threads()})
    if memory or cached:
        require_export("write_decoder")
    package = find_package(model)
    package.verify()
    watch = Watch(60 * wait, print_status)
    stages = []
    for count in counts:
        with watch.stretch():
            stages.append(latency.measure(package, count, str(device), repeats))
    with watch.stretch():
        cold = cold_start.measure(package, repeats)
    with watch.stretch():
        batch = batch_scale.measure(package)
    in_cache = None
    if cached:
        with watch.stretch():
            in_cache = _second_processes(package, cached, repeats)
    result = SpeedResult(
        date=date.today().isoformat(),
        command=command(),
        environment=environment(),
        model=ModelIdentity.of(package),
        package_mib=package.total_bytes / 2**20,
        stages=tuple(stages),
        cold=cold,
        memory=tuple(map(cold_start.measure_shape, memory or ())),
        read_bandwidth_gb_per_second=MemoryReader(1).gigabytes_per_second(),
        repeatability=determinism.measure(package, counts, repeatability) if repeatability else None,
        second=in_cache,
        batch=batch,
        quietness=watch.quietness(),
    )
    result_files.write(out, result)
    for stage in result.stages:
        print_result(
            Message(
                "bench.stage_times",
                threads=stage.threads,
                vision=stage.vision_ms.median,
                first=stage.first_prefill_ms.median,
                next=stage.next_prefill_ms.median,
                tokens=stage.decode_tokens_per_second.median,
                questions=stage.questions_per_second.median,
            )
        )
    print_result(Message("bench.cold_start", time=result.cold.wall_ms.median, peak=result.cold.peak_mib.median))
    for peak in result.memory:
        print_result(Message("bench.peak_memory", shape=peak.shape, times=peak.over_package))
    if result.repeatability:
        print_result(Message("bench.different_answers", count=result.repeatability.different))
    for second in result.second or ():
        print_result(
            Message(
                "bench.second_process",
                package=second.package,
                without=second.without_ms.median,
                filling=second.filling_ms.median,
                cached=second.cached_ms.median,
                size=second.cache_mib,
            )
        )
    show_quietness(result.quietness)


def _second_processes(package: Package, shapes: Sequence[ShapeName], repeats: int) -> tuple[SecondProcess, ...]:
    from medrega_bench.performance import cold_start

    of_package = cold_start.measure_second(package, repeats)
    return (of_package, *(cold_start.measure_second_at(shape, repeats) for shape in shapes))


def _thread_counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise UsageError("bench.threads_unreadable", threads=text)
    return counts


def tower(
    out: ResultOption,
    shape: Annotated[ShapeName, typer.Option(help="Shape of the model whose tower is measured.")] = ShapeName.HALF_BILLION,
    threads: ThreadsOption = None,
    rounds: Annotated[int, typer.Option(min=5, help="Measured rounds; every precision has a turn in each.")] = 5,
    wait: WaitOption = WAIT_MINUTES,
) -> None:
    """Time the vision tower in several precisions.

    The weights are random. The result also has the error against float32, and a profile. Needs the extra [export].

    medrega bench tower --out tower.json
    """
    from medrega_bench import result_files
    from medrega_bench.extras import require_export
    from medrega_bench.performance import random_packages, vision_precision
    from medrega_bench.performance.environment import command, environment, int8_flags
    from medrega_bench.performance.quietness import Watch
    from medrega_bench.performance.results import TowerResult
    from medrega_edge.inference.devices import available_threads
    from medrega_edge.io.atomic import check_output_path

    check_output_path(out)
    require_export("write_vision_graph")
    sizes, count = random_packages.named(shape), threads or available_threads()
    watch = Watch(60 * wait, print_status, count)
    compared = vision_precision.measure(sizes.tower, sizes.text.hidden, count, rounds, print_status, watch)
    result = TowerResult(
        date=date.today().isoformat(),
        command=command(),
        environment=environment(),
        shape=shape.value,
        sizes=sizes.tower,
        threads=count,
        processor_flags=int8_flags(),
        variants=compared.variants,
        profiles=compared.profiles,
        quietness=watch.quietness(),
    )
    result_files.write(out, result)
    for variant in result.variants:
        seconds, gain = variant.seconds.median, variant.gain.median
        print_result(Message("bench.variant", name=variant.name, seconds=seconds, gain=gain, error=variant.relative_error))
    for name, profile in result.profiles.items():
        print_result(f"{name}: " + ", ".join(f"{group} {share:.0%}" for group, share in profile.groups.items()))
    show_quietness(result.quietness)


def peers(
    out: ResultOption,
    shape: Annotated[list[PeerShape] | None, typer.Option(help="Shape of the models; may repeat; default: both.")] = None,
    threads: ThreadsOption = None,
    rounds: Annotated[int, typer.Option(min=5, help="Measured rounds; every program has a turn in each.")] = 7,
    environments: Annotated[
        Path | None, typer.Option(help="Folder that keeps the programs' environments; default: deleted after the run.")
    ] = None,
    peer: Annotated[list[PeerName] | None, typer.Option(help="Measure this program only; may repeat.")] = None,
    wait: WaitOption = WAIT_MINUTES,
) -> None:
    """Compare decoding with other runtimes.

    All of them run random weights of one shape, in turn. Needs the extra [export]. Each program is installed with pip,
    from its registry, into an environment of its own; llama.cpp is built from source, which takes minutes.

    medrega bench peers --out peers.json
    """
    from medrega_bench import result_files
    from medrega_bench.extras import require_export
    from medrega_bench.performance import peer_comparison
    from medrega_bench.performance import peers as programs
    from medrega_bench.performance.environment import command, environment
    from medrega_bench.performance.quietness import Watch
    from medrega_bench.performance.results import PeersPlan, PeersResult
    from medrega_edge.inference.devices import available_threads
    from medrega_edge.io.atomic import check_output_path

    check_output_path(out)
    require_export("write_decoder")
    chosen = [program for program in programs.PEERS if not peer or program.name in peer]
    plan = peer_comparison.Plan(threads or available_threads(), rounds)
    watch = Watch(60 * wait, print_status, plan.threads)
    with programs.environments_in(environments) as folder:
        compared = tuple(
            peer_comparison.measure(name, bits, replace(plan, tokens=TOKENS[name]), folder, print_status, watch, chosen)
            for name in map(str, shape or PeerShape)
            for bits in HEADS[name]
        )
    result = PeersResult(
        date=date.today().isoformat(),
        command=command(),
        environment=environment(),
        plan=PeersPlan(plan.threads, plan.rounds, plan.prompt),
        shapes=compared,
        quietness=watch.quietness(),
    )
    result_files.write(out, result)
    for at_shape in result.shapes:
        bandwidth = at_shape.read_gigabytes_per_second.median
        print_result(Message("bench.peers_at_shape", shape=at_shape.shape, bits=at_shape.head_bits, bandwidth=bandwidth))
        for figures in at_shape.peers:
            print_result(
                Message(
                    "bench.peer",
                    name=figures.name,
                    decode=figures.decode_tokens_per_second.median,
                    decode_ratio=figures.decode_ratio.median,
                    prefill=figures.prefill_tokens_per_second.median,
                    prefill_ratio=figures.prefill_ratio.median,
                )
            )
    show_quietness(result.quietness)


def shape(
    name: Annotated[ShapeName, typer.Argument(help="Shape of the model.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    head_bits: Annotated[Literal["8", "4"], typer.Option(help="Bits of the output head.")] = "8",
) -> None:
    """Write a package of random weights.

    It has the speed and the memory of a model of this shape; its answers mean nothing. Needs the extra [export].

    medrega bench shape 0.5b --out half-a-billion
    """
    from medrega_bench.extras import require_export
    from medrega_bench.performance import random_packages

    require_export("write_decoder")
    sizes = replace(random_packages.named(name), head_bits=int(head_bits))
    package = random_packages.write_package(sizes, out, f"random-{name}")
    print_result(Message("bench.package_written", size=package.total_bytes / 2**20, folder=out.name))
