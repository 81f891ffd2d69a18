"""Time of every stage of an answer on the sample scan, the package loaded: encode the image, prefill, decode.

Each number of threads is measured in a process of its own, so that its peak memory is its own too. Times are those of the
engine's clock. Ratios are taken round by round, because machines are noisy and shared.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from medrega_bench.performance import energy, throughput
from medrega_bench.performance.spread import Spread, quotients
from medrega_bench.performance.throughput import Throughput
from medrega_bench.result_files import optional
from medrega_edge.engine import EncodedImage, Engine, EngineOptions
from medrega_edge.errors import MedregaError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.samples import sample_path
from medrega_edge.package.package import Package

SAMPLE = "abdomen-mri"
# Asked by name, because the words of a question cost the recognition of the modality before the first timed pass.
NAMES = ("liver", "spleen", "left kidney", "right kidney")
QUESTIONS = tuple(f"locate the {name}" for name in NAMES)
WARM_UP_ROUNDS = 2
PAIRS = 7  # questions with and without jump-forward in a round


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Stages of an answer with one number of threads. "First" is a question about a new image, "next" one about the same.

    A prefill is all that comes before the first token: of an image's first question the recognition of its modality, too.
    `ratios` are those that the gate compares; `seconds` is the time of all rounds, `card` the model of the graphics card.
    Results of earlier versions lack the stages that are None.
    """

    threads: int
    device: str
    load_ms: Spread
    image_ms: Spread
    vision_ms: Spread
    first_prefill_ms: Spread
    first_start_ms: Spread | None = None  # to the first token
    first_answer_ms: Spread | None = None
    next_prefill_ms: Spread
    next_start_share: Spread | None = None  # of the time to the first token of the first question
    decode_ms: Spread
    decode_tokens_per_second: Spread
    questions_per_second: Spread
    passes_of_first_question: Spread
    passes_of_next_question: Spread | None = None
    passes_without_jump_forward: Spread | None = None
    with_jump_forward_ms: Spread
    without_jump_forward_ms: Spread
    ratios: Mapping[str, Spread]
    peak_mib: float
    seconds: float
    throughput: Throughput | None = optional()
    card: str | None = optional()


def measure(package: Package, threads: int, device: str, repeats: int) -> StageTimes:
    """Measure `repeats` rounds in a new process; raises ResourceError without the device, or when the process fails."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_worker, args=(sender, str(package.folder), threads, device, repeats))
    process.start()
    sender.close()
    try:
        result: StageTimes | MedregaError = receiver.recv()
    except EOFError:
        raise ResourceError("bench.measurement_failed", problem=Message("bench.worker_killed")) from None
    finally:
        process.join()
    if isinstance(result, MedregaError):
        raise result
    return result


def _worker(sender: Any, folder: str, threads: int, device: str, repeats: int) -> None:
    try:
        sender.send(_measured(Package.open(folder), threads, device, repeats))
    except MedregaError as error:
        sender.send(error)
    except Exception as error:  # the parent process shows it
        sender.send(ResourceError("bench.measurement_failed", problem=f"{type(error).__name__}: {error}"))


def _measured(package: Package, threads: int, device: str, repeats: int) -> StageTimes:
    options = EngineOptions(threads, device, image_cache=0)  # every image is encoded anew
    loads = [Engine(package, options).load_ms for _ in range(repeats)]
    engine = Engine(package, options)
    begun = time.perf_counter()
    rounds = [_round(engine) for _ in range(WARM_UP_ROUNDS + repeats)][WARM_UP_ROUNDS:]
    seconds = time.perf_counter() - begun
    values = {name: [measured[name] for measured in rounds] for name in rounds[0]}
    values["next_start_share"] = quotients(values["next_prefill_ms"], values["first_start_ms"])
    ratios = {
        "tokens_per_pass": values.pop("tokens_per_pass"),  # a count: the same on every machine
        "jump_forward_fewer_passes": quotients(values["passes_without_jump_forward"], values["passes_of_next_question"]),
        "jump_forward_gain": quotients(values["without_jump_forward_ms"], values["with_jump_forward_ms"]),
        "kept_image_gain": quotients(values["first_prefill_ms"], values["next_prefill_ms"]),
    }
    return StageTimes(
        threads=threads,
        device=device,
        load_ms=Spread.of(loads),
        ratios={name: Spread.of(measured) for name, measured in ratios.items()},
        **{name: Spread.of(measured) for name, measured in values.items()},
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        seconds=seconds,
        throughput=throughput.measure(lambda: _questions_about_a_new_image(engine), device),
        card=energy.card_name() if device == "cuda" else None,
    )


def _round(engine: Engine) -> Mapping[str, float]:
    """Ask about a new image, then four questions about the same, then with and without jump-forward."""
    image = engine.open(sample_path(SAMPLE))
    before = engine.language_model.forward_passes
    first = engine.detect(image, NAMES[:1])
    passes = engine.language_model.forward_passes - before
    begun = time.perf_counter()
    others = [engine.detect(image, [name]) for name in NAMES]
    seconds = time.perf_counter() - begun
    jumping, plain = _with_and_without_jump_forward(engine, image)
    encoding = image.image_ms + image.vision_ms
    first_prefill = first.timings.total - encoding - first.timings.decode  # the recognition of the modality included
    first_start = encoding + first_prefill
    return {
        "image_ms": image.image_ms,
        "vision_ms": image.vision_ms,
        "first_prefill_ms": first_prefill,
        "first_start_ms": first_start,
        "first_answer_ms": first_start + first.timings.decode,
        "next_prefill_ms": others[0].timings.total - others[0].timings.decode,
        "decode_ms": others[0].timings.decode,
        "decode_tokens_per_second": others[0].generated_tokens / max(others[0].timings.decode, 1e-6) * 1000,
        "questions_per_second": len(NAMES) / seconds,
        "passes_of_first_question": passes,
        "tokens_per_pass": first.generated_tokens / passes,
        "passes_of_next_question": jumping.passes,
        "with_jump_forward_ms": jumping.milliseconds,
        "without_jump_forward_ms": plain.milliseconds,
        "passes_without_jump_forward": plain.passes,
    }


class _Cost(NamedTuple):
    milliseconds: float
    passes: int


def _with_and_without_jump_forward(engine: Engine, image: EncodedImage) -> Iterator[_Cost]:
    """The cost of a question with jump-forward and without, asked in turn; medians, as one question takes a few ms."""
    milliseconds: dict[bool, list[float]] = {True: [], False: []}
    passes = {True: 0, False: 0}
    model = engine.language_model
    for _ in range(PAIRS):
        for enabled in passes:
            model.jump_forward, before = enabled, model.forward_passes
            answer = engine.detect(image, NAMES[:1])
            passes[enabled] = model.forward_passes - before
            milliseconds[enabled].append(answer.timings.prefill + answer.timings.decode)
    model.jump_forward = True
    return (_Cost(float(np.median(milliseconds[enabled])), passes[enabled]) for enabled in passes)


def _questions_about_a_new_image(engine: Engine) -> int:
    """Encode the sample scan anew and ask every question about it."""
    image = engine.open(sample_path(SAMPLE))
    for name in NAMES:
        engine.detect(image, [name])
    return len(NAMES)
