"""`peers`: our loop beside other programs on models of the same shape, and `shape`: such a model to keep."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.console import show
from medrega_bench.cli.options import ResultOption, ThreadsOption
from medrega_edge.cli.console import tell
from medrega_edge.errors import ResourceError, UsageError

TOKENS = {"tiny": 128, "0.5b": 32}  # so that a turn lasts long enough to be timed, and not much longer
HEADS = {"tiny": (4,), "0.5b": (4, 8)}  # shape: bits of the output head; 4 is what peers have, 8 what export writes


def peers(
    out: ResultOption,
    shape: Annotated[list[str] | None, typer.Option(help="tiny or 0.5b; may repeat; default: both.")] = None,
    threads: ThreadsOption = None,
    rounds: Annotated[int, typer.Option(min=5, help="Measured rounds; everyone has a turn in each.")] = 7,
    environments: Annotated[
        Path | None, typer.Option(help="Folder that keeps the peers' environments; default: thrown away after the run.")
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="Measure this one only; may repeat.")] = None,
) -> None:
    """Measure decoding beside llama.cpp, onnxruntime-genai, OpenVINO and torch, on random weights of one shape.

    medrega bench peers --out peers.json

    Needs the extra [export]. Each peer is installed with pip, from its registry, into an environment of its own;
    llama.cpp is built from source, which takes minutes.
    """
    from medrega_bench.extras import need
    from medrega_bench.performance import peers as side
    from medrega_bench.performance.environment import command, environment
    from medrega_edge.inference.devices import available_threads
    from medrega_edge.io.atomic import check_output_path, write_text

    check_output_path(out)
    known = [one.name for one in side.PEERS]
    for name in peer or ():
        if name not in known:
            raise UsageError(f"There is no peer '{name}'; choose one of: {', '.join(known)}.")
    for name in shape or ():
        if name not in HEADS:
            raise UsageError(f"Peers are not measured at the shape '{name}'; choose one of: {', '.join(HEADS)}.")
    need("medrega_export.graphs.decoder", "export")
    chosen = [one for one in side.PEERS if not peer or one.name in peer]
    plan = side.Plan(threads or available_threads(), rounds)

    with side.environments_in(environments) as folder:
        try:
            measured = [
                side.measure(name, bits, replace(plan, tokens=TOKENS[name]), folder, tell, chosen)
                for name in shape or HEADS
                for bits in HEADS[name]
            ]
        except RuntimeError as error:
            raise ResourceError(f"The measurement failed ({error}); repeat it with nothing else running.") from None
    result = {
        "schema_version": 1,
        "date": date.today().isoformat(),
        "command": command(),
        "environment": environment(),
        "plan": {"threads": plan.threads, "rounds": plan.rounds, "prompt": plan.prompt},
        "shapes": measured,
    }
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    for one in measured:
        read = one["read_gigabytes_per_second"]["median"]
        show(f"{one['shape']}, head of {one['head_bits']} bits, memory read at {read:.0f} GB/s")
        for row in one["peers"]:
            decode, prefill = (row[f"{what}_tokens_per_second"]["median"] for what in ("decode", "prefill"))
            decode_ratio, prefill_ratio = (row[f"{what}_ratio"]["median"] for what in ("decode", "prefill"))
            show(
                f"  {row['name']:<22}decode {decode:7.1f} tokens/s (we are {decode_ratio:.2f} times as fast), "
                f"prefill {prefill:7.0f} ({prefill_ratio:.2f})"
            )
        for row in one["missing"]:
            tell(f"{row['name']}: {row['reason']}")


def shape(
    name: Annotated[str, typer.Argument(help="tiny, 0.5b or 1b.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    head_bits: Annotated[int, typer.Option(help="Bits of the output head: 8, or 4.")] = 8,
) -> None:
    """Write a model package of this shape with random weights, to measure speed and memory with. Needs [export].

    medrega bench shape 0.5b --out half-a-billion
    """
    from medrega_bench.extras import need
    from medrega_bench.performance import random_packages

    if head_bits not in (4, 8):
        raise UsageError(f"A head of {head_bits} bits is not possible; 8 or 4.")
    need("medrega_export.graphs.decoder", "export")
    package = random_packages.write_package(replace(random_packages.named(name), head_bits=head_bits), out, f"random-{name}")
    show(f"{package.total_bytes / 2**20:.0f} MiB in {out.name}")
