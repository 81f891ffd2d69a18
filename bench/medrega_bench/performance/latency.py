"""How fast a package answers on this machine: every stage, warm and cold, beside the machine's own limit.

Each number of threads is measured in a process of its own, so that its peak memory is its own too. Times are those of the
engine's own clock; the median, the 90th percentile and the spread stand side by side, and the machine's read bandwidth is
measured in the same run, because machines are noisy and shared.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medrega_bench.performance.bandwidth import Reader
from medrega_edge.engine import EncodedImage, Engine, EngineOptions
from medrega_edge.errors import ResourceError
from medrega_edge.images.samples import sample_path
from medrega_edge.package.package import Package

SAMPLE = "abdomen-mri"
QUESTIONS = ("locate the liver", "locate the spleen", "locate the left kidney", "locate the right kidney")
WARM_UP = 2
PAIRS = 7  # questions with and without jump-forward in a round
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")

Row = dict[str, Any]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile, smallest and largest of repeated measurements."""
    return {
        "median": float(np.median(values)),
        "p90": float(np.percentile(values, 90)),
        "min": float(min(values)),
        "max": float(max(values)),
        "n": len(values),
    }


def measure(package: Package, threads: int, device: str, repeats: int) -> Row:
    """Measure in a fresh process; raises ResourceError without the device, RuntimeError with the reason of a failure."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_worker, args=(sender, str(package.folder), threads, device, repeats))
    process.start()
    sender.close()
    try:
        kind, result = receiver.recv()
    except EOFError:
        raise RuntimeError("the measuring process ended without a word, most likely for want of memory") from None
    finally:
        process.join()
    if kind == "refused":
        raise ResourceError(str(result))
    if kind == "error":
        raise RuntimeError(str(result))
    return dict(result)


def _worker(sender: Any, folder: str, threads: int, device: str, repeats: int) -> None:
    try:
        sender.send(("result", _measured(Package.open(folder), threads, device, repeats)))
    except ResourceError as error:
        sender.send(("refused", str(error)))
    except Exception as error:  # goes to the parent as a sentence
        sender.send(("error", f"{type(error).__name__}: {error}"))


def _measured(package: Package, threads: int, device: str, repeats: int) -> Row:
    options = EngineOptions(threads, device, image_cache=0)  # every image is encoded anew
    loads = [Engine(package, options).load_ms for _ in range(repeats)]
    engine = Engine(package, options)
    rows: dict[str, list[float]] = {}

    def note(**values: float) -> None:
        for name, value in values.items():
            rows.setdefault(name, []).append(value)

    energy = _energy()
    begun = time.perf_counter()
    for number in range(repeats + WARM_UP):
        warm = number >= WARM_UP
        image = engine.open(sample_path(SAMPLE))
        before = engine.language_model.forward_passes
        first = engine.ask(image, QUESTIONS[0])
        passes = engine.language_model.forward_passes - before
        seconds = time.perf_counter()
        others = [engine.ask(image, question) for question in QUESTIONS]
        seconds = time.perf_counter() - seconds
        jumping, plain = _with_and_without(engine, image)
        if warm:
            note(
                image_ms=image.image_ms,
                vision_ms=image.vision_ms,
                first_prefill_ms=first.timings.prefill,
                first_answer_ms=image.image_ms + image.vision_ms + first.timings.prefill + first.timings.decode,
                next_prefill_ms=others[0].timings.prefill,
                first_start_ms=image.image_ms + image.vision_ms + first.timings.prefill,
                decode_ms=others[0].timings.decode,
                decode_tokens_per_second=others[0].generated_tokens / max(others[0].timings.decode, 1e-6) * 1000,
                questions_per_second=len(QUESTIONS) / seconds,
                passes_of_first_question=passes,
                tokens_per_pass=first.generated_tokens / passes,
                passes_of_next_question=jumping[1],
                with_jump_forward_ms=jumping[0],
                without_jump_forward_ms=plain[0],
                passes_without_jump_forward=plain[1],
            )
    used = _energy()
    rows["next_start_share"] = over(rows["next_prefill_ms"], rows["first_start_ms"])  # a share: less is better
    ratios = {
        "tokens_per_pass": rows.pop("tokens_per_pass"),  # a count: the same on every machine
        "jump_forward_fewer_passes": over(rows["passes_without_jump_forward"], rows["passes_of_next_question"]),
        "jump_forward_gain": over(rows["without_jump_forward_ms"], rows["with_jump_forward_ms"]),
        "kept_image_gain": over(rows["first_prefill_ms"], rows["next_prefill_ms"]),
    }
    return {
        "threads": threads,
        "device": device,
        "load_ms": spread(loads),
        "ratios": {name: spread(values) for name, values in ratios.items()},
        **{name: spread(values) for name, values in rows.items()},
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "joules": None if energy is None or used is None else (used - energy) / 1e6,
        "seconds": time.perf_counter() - begun,
    }


def _with_and_without(engine: Engine, image: EncodedImage) -> tuple[tuple[float, int], tuple[float, int]]:
    """Milliseconds and passes of a question with jump-forward and without, in turn; medians, as one takes a few ms."""
    times: dict[bool, list[float]] = {True: [], False: []}
    passes = {True: 0, False: 0}
    model = engine.language_model
    for _ in range(PAIRS):
        for on in times:
            model.jump_forward, before = on, model.forward_passes
            answer = engine.ask(image, QUESTIONS[0])
            passes[on] = model.forward_passes - before
            times[on].append(answer.timings.prefill + answer.timings.decode)
    model.jump_forward = True
    return (float(np.median(times[True])), passes[True]), (float(np.median(times[False])), passes[False])


def over(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times as fast, round by round: both halves of a round share whatever else the machine does."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


# The peak of a process begins at that of the one that started it, whose memory it shares until its own program begins. So
# a small one stands in between.
_BETWEEN = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
milliseconds = (time.perf_counter() - begun) * 1000
print(json.dumps([milliseconds, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)]))
"""


def cold(package: Package, repeats: int) -> Row:
    """Whole processes, from nothing to an answer: wall time and peak memory."""
    command = [sys.executable, "-m", "medrega_edge", "ask", "--sample", SAMPLE, QUESTIONS[0]]
    command += ["--model", str(package.folder), "--json"]
    walls, peaks = [], []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", _BETWEEN, *command], check=True, capture_output=True, text=True)
        wall, peak, code = json.loads(done.stdout)
        if code:
            raise RuntimeError(f"the cold question ended with code {code}")
        walls.append(wall)
        peaks.append(peak)
    return {"wall_ms": spread(walls), "peak_mib": spread(peaks)}


def bandwidth() -> float:
    """Gigabytes a second that this process can read from memory with one thread."""
    return Reader(1).gigabytes_per_second()


def _energy() -> int | None:
    try:
        return int(RAPL.read_text())
    except (OSError, ValueError):
        return None
