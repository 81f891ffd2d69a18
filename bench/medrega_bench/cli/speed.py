"""`speed`: every stage of an answer on this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from medrega_bench.cli.console import show
from medrega_bench.cli.options import ModelOption, ResultOption
from medrega_edge.errors import ResourceError, UsageError


def speed(
    out: ResultOption,
    model: ModelOption = None,
    threads: Annotated[str | None, typer.Option(help="Numbers of threads, parted by commas; default: 1 and all.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds, after a warm-up.")] = 7,
    repeatability: Annotated[
        int, typer.Option(min=0, help="Ask so many questions with each number of threads, cold and warm, and compare bytes.")
    ] = 0,
    memory: Annotated[
        list[str] | None,
        typer.Option(help="Measure peak memory at this shape, 0.5b or 1b, too; may repeat; needs [export]."),
    ] = None,
) -> None:
    """Measure every stage of an answer on the sample scan, warm and cold, beside this machine's memory bandwidth.

    medrega bench speed --threads 1,2 --repeatability 200 --memory 0.5b --memory 1b --out speed.json
    """
    from medrega_bench.performance import determinism as repeated
    from medrega_bench.performance import latency as stages
    from medrega_bench.performance import memory as peak_memory
    from medrega_bench.performance.environment import header
    from medrega_edge.inference.devices import available_threads
    from medrega_edge.io.atomic import check_output_path, write_text
    from medrega_edge.package.registry import find_package

    check_output_path(out)
    try:
        counts = [int(part) for part in threads.split(",")] if threads else sorted({1, available_threads()})
        if min(counts) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(f"'{threads}' is no list of thread numbers; write for example 1,2.") from None
    package = find_package(model)
    package.verify()
    result = header(package, None)
    try:
        result["stages"] = [stages.measure(package, count, device, repeats) for count in counts]
        result["cold"] = stages.cold(package, repeats)
        result["memory"] = peak_memory.measure(memory or ())
    except RuntimeError as error:
        raise ResourceError(f"The measurement failed ({error}); repeat it with nothing else running.") from None
    result["read_bandwidth_gb_per_second"] = stages.bandwidth()
    result["repeatability"] = repeated.measure(package, counts, repeatability) if repeatability else None
    result["package_mib"] = package.total_bytes / 2**20
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    for row in result["stages"]:
        middle = {name: value["median"] for name, value in row.items() if isinstance(value, dict) and "median" in value}
        show(
            f"{row['threads']} threads: vision {middle['vision_ms']:.1f} ms, "
            f"first token {middle['first_prefill_ms']:.1f} ms after the first question, {middle['next_prefill_ms']:.1f} ms "
            "after the next, "
            f"{middle['decode_tokens_per_second']:.0f} tokens/s, {middle['questions_per_second']:.1f} questions/s"
        )
    whole = result["cold"]
    show(f"cold: {whole['wall_ms']['median']:.0f} ms, {whole['peak_mib']['median']:.0f} MiB")
    for row in result["memory"]:
        show(f"{row['shape']}: {row['over_package']:.2f} times the package at its peak")
    if result["repeatability"]:
        show(f"{result['repeatability']['different']} answers of other bytes")
