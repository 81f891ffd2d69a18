"""What `model info --speed` foretells, held against packages of random weights; and MedRegA's 40 B model on paper.

Each shape is measured in a process of its own: the tower on random pixels, a prompt of an image and a question, an answer of
one pass a token, a second question. Its peak memory is that of a cold process of `medrega ask`.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medrega_bench.performance import cold_start, random_packages
from medrega_bench.performance.random_packages import PackageShape, TextShape, TowerShape
from medrega_bench.performance.spread import Spread
from medrega_edge.errors import MedregaError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.inference import foretelling
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.foretelling import (
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    Foretold,
    Work,
    decoder_group,
    layers_with_attention,
)
from medrega_edge.inference.machine_speed import MachineSpeed, machine_speed
from medrega_edge.inference.vision_encoder import VisionEncoder
from medrega_edge.package.manifest import FileEntry, Manifest
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder

ROUNDS, MOST_SECONDS = 3, 40.0  # of a large model one round is enough: it takes that long
GOALS = {"peak_bytes": 0.1, "tokens_per_second": 0.2, "first_answer_seconds": 0.2}  # errors that are allowed

MEDREGA_40B = PackageShape(  # InternVL 1.2 of 40 B: Yi-34B's language model, InternViT-6B at 448 pixels
    TextShape(layers=60, hidden=7168, heads=56, kv_heads=8, head_dim=128, mlp=20480, vocabulary=64000, bias=False),
    TowerShape(layers=48, hidden=3200, mlp=12800, image_size=448, patch=14, head_dim=128),
)


@dataclass(frozen=True)
class MeasuredAnswer:
    """Medians over rounds: seconds, and tokens a second. `peak_bytes` is of a cold process."""

    peak_bytes: int
    tower_seconds: Spread
    prompt_seconds: Spread
    tokens_per_second: Spread
    first_answer_seconds: Spread
    next_answer_seconds: Spread

    def figure(self, name: str) -> float:
        """The median of what a field of `Foretold` foretells."""
        value = getattr(self, name)
        return value.median if isinstance(value, Spread) else float(value)


@dataclass(frozen=True)
class ForetoldShape:
    """One shape: what it asks of a machine, the speed of the machine just before, and what came.

    So a result shows what `model info --speed` foretells today, whatever it foretold then.
    """

    shape: str
    package_mib: float
    work: Work
    speed: MachineSpeed
    measured: MeasuredAnswer

    @property
    def foretold(self) -> Foretold:
        """What is foretold from work and speed."""
        return foretelling.foretell(self.work, self.speed)

    def off(self, name: str) -> float:
        """Return by how much a figure was foretold too high, as a share of what came; below 0 it was too low."""
        expected, came = getattr(self.foretold, name), self.measured.figure(name)
        return float(expected / came - 1)


def measure(name: str, package: Package, threads: int) -> ForetoldShape:
    """Measure the machine, then a package on it; raises ResourceError when its process fails."""
    work = Work.of(package.manifest, layers_with_attention(package.read("vision")))
    speed = machine_speed(threads, threads, decoder_group(package.manifest))
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_worker, args=(sender, str(package.folder), threads))
    process.start()
    sender.close()
    try:
        measured: dict[str, list[float]] | MedregaError = receiver.recv()
    except EOFError:
        raise ResourceError("bench.measurement_failed", problem=Message("bench.worker_killed")) from None
    finally:
        process.join()
    if isinstance(measured, MedregaError):
        raise measured
    peak = cold_start.peak_bytes(package)
    spreads = {each: Spread.of(values) for each, values in measured.items()}
    return ForetoldShape(name, package.total_bytes / 2**20, work, speed, MeasuredAnswer(peak, **spreads))


def on_paper(shape: PackageShape) -> Work:
    """Return what a model that cannot be written here asks of a machine: bytes from its sizes, groups as export has them."""
    text, tower = shape.text, shape.tower
    head = text.hidden * text.vocabulary
    with_scales = 32 / shape.group  # bits of a scale for each weight
    decoder = (text.parameters - head) * (4 + with_scales) / 8 + head * (shape.head_bits + with_scales) / 8
    vision = tower.layers * (4 * tower.hidden**2 + 2 * tower.hidden * tower.mlp)
    shipped = Package.open(default_folder()).manifest
    bits = f"int4-g{shape.group}, head int{shape.head_bits}"
    sizes = {
        "decoder": (1, bits),
        "decoder_data": (round(decoder), bits),
        "vision": (1, "int8-dynamic"),
        "vision_data": (vision, "int8-dynamic"),
    }
    files = {role: FileEntry(role, "0" * 64, size, precision) for role, (size, precision) in sizes.items()}
    manifest: Manifest = replace(
        shipped,
        files=shipped.files | files,
        vision=replace(shipped.vision, image_size=tower.image_size, tokens=tower.tokens),
        decoder=replace(
            shipped.decoder,
            layers=text.layers,
            heads=text.heads,
            kv_heads=text.kv_heads,
            head_dim=text.head_dim,
            hidden=text.hidden,
            vocabulary=text.vocabulary,
            context=random_packages.CONTEXT,
        ),
        regions=None,
    )
    return Work.of(manifest, tower.layers)


def _worker(sender: Any, folder: str, threads: int) -> None:
    try:
        sender.send(_measured(Package.open(folder), threads))
    except MedregaError as error:
        sender.send(error)
    except Exception as error:  # the parent process shows it
        sender.send(ResourceError("bench.measurement_failed", problem=f"{type(error).__name__}: {error}"))


def _measured(package: Package, threads: int) -> dict[str, list[float]]:
    contents, vision = package.read_all(), package.manifest.vision
    tower, decoder = VisionEncoder(contents, threads, "cpu"), Decoder(contents, threads, "cpu")
    generator = np.random.default_rng(0)
    pixels = generator.standard_normal((1, 3, vision.image_size, vision.image_size), np.float32)
    image, question, token = (
        generator.standard_normal((count, decoder.spec.hidden), np.float32) for count in (vision.tokens, QUESTION_TOKENS, 1)
    )

    def answer() -> float:
        return sum(_seconds(lambda: decoder.extend(token)) for _ in range(ANSWER_TOKENS))

    tower.encode(pixels)  # warms up, as the prompt does
    decoder.extend(question)
    rounds: dict[str, list[float]] = {}
    begun = time.perf_counter()
    for number in range(ROUNDS):
        if number and time.perf_counter() - begun > MOST_SECONDS:
            break
        decoder.rewind(0)
        seen = _seconds(lambda: tower.encode(pixels))
        prompt = _seconds(lambda: decoder.extend(np.concatenate([image, question])))
        first = answer()
        decoder.rewind(vision.tokens)
        second = _seconds(lambda: decoder.extend(question)) + answer()
        measured = {
            "tower_seconds": seen,
            "prompt_seconds": prompt,
            "tokens_per_second": ANSWER_TOKENS / first,
            "first_answer_seconds": seen + prompt + first,
            "next_answer_seconds": second,
        }
        for name, value in measured.items():
            rounds.setdefault(name, []).append(value)
    return rounds


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
