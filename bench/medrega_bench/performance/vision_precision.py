"""The vision tower in several precisions: time, error against float32, and a profile.

All variants are made from one float32 graph of random weights, so they differ in precision only. They run in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_bench.performance import profiler, random_packages
from medrega_bench.performance.profiler import Profile
from medrega_bench.performance.quietness import Watch
from medrega_bench.performance.spread import Spread, quotients
from medrega_edge.evaluation.bootstrap import SEED
from medrega_edge.i18n.message import Message
from medrega_edge.inference.devices import load_onnxruntime

FULL, SHIPPED = "float32", "int8, weights of 7 bits"
INPUT, OUTPUT = "pixel_values", "image_embeds"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Variant:
    """One precision. `gain` is how many times as fast as float32 it is, `relative_error` that of its embeddings."""

    name: str
    shipped: bool
    bytes: int
    seconds: Spread
    gain: Spread
    relative_error: float


@dataclass(frozen=True)
class VariantComparison:
    """All variants, and profiles of float32 and of the one that export writes."""

    variants: tuple[Variant, ...]
    profiles: Mapping[str, Profile]


def measure(
    tower: random_packages.TowerShape,
    hidden: int,
    threads: int,
    rounds: int,
    announce: Callable[[Message], None],
    watch: Watch,
) -> VariantComparison:
    """Measure all variants of a tower that ends in embeddings of width `hidden`. Needs the extra [export].

    Each round is a stretch of `watch`.
    """
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        announce(Message("bench.writing_variants"))
        paths = dict(write_variants(tower, hidden, scratch))
        sessions = {name: profiler.open_session(path, threads) for name, path in paths.items()}
        pixels = np.random.default_rng(SEED).standard_normal(
            (1, random_packages.CHANNELS, tower.image_size, tower.image_size), np.float32
        )
        embeddings = {name: _run(session, pixels) for name, session in sessions.items()}  # warms up, too
        announce(Message("bench.measuring"))
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        names = list(sessions)
        for number in range(rounds):
            first = number % len(names)
            with watch.stretch():
                for name in names[first:] + names[:first]:
                    seconds[name].append(_seconds(sessions[name], pixels))
        announce(Message("bench.profiling"))
        return VariantComparison(
            tuple(
                Variant(
                    name=name,
                    shipped=name == SHIPPED,
                    bytes=sum(file.stat().st_size for file in scratch.glob(f"{path.name}*")),
                    seconds=Spread.of(seconds[name]),
                    gain=Spread.of(quotients(seconds[FULL], seconds[name])),
                    relative_error=relative_error(embeddings[name], embeddings[FULL]),
                )
                for name, path in paths.items()
            ),
            {name: _profile(paths[name], threads, pixels, scratch) for name in (FULL, SHIPPED)},
        )


def write_variants(tower: random_packages.TowerShape, hidden: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write a graph for each variant; yields its name and its file."""
    full = folder / "full.onnx"
    random_packages.write_tower(tower, hidden, full, "fp32")
    yield FULL, full
    shipped = folder / "shipped.onnx"
    random_packages.write_tower(tower, hidden, shipped, "int8")
    yield SHIPPED, shipped
    load_onnxruntime()  # without telemetry, which the quantiser's own import would leave on
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name, kind in (("int8, weights of 8 bits", QuantType.QInt8), ("uint8, weights of 8 bits", QuantType.QUInt8)):
        path = folder / f"{kind.name}.onnx"
        quantize_dynamic(
            str(full),
            str(path),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=kind,
            use_external_data_format=True,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        yield name, path
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    blocks = DefaultWeightOnlyQuantConfig(block_size=128, is_symmetric=True, accuracy_level=4, bits=8)
    quantiser = MatMulNBitsQuantizer(onnx.load(str(full)), algo_config=blocks)
    quantiser.process()
    path = folder / "blocks.onnx"
    quantiser.model.save_model_to_file(str(path), use_external_data_format=True)
    yield "int8 in blocks of 128", path


def relative_error(values: Floats, expected: Floats) -> float:
    """Return the norm of the difference, divided by the norm of what is expected."""
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


def _run(session: Any, pixels: Floats) -> Floats:
    return np.asarray(session.run([OUTPUT], {INPUT: pixels})[0])


def _seconds(session: Any, pixels: Floats) -> float:
    begun = time.perf_counter()
    _run(session, pixels)
    return time.perf_counter() - begun


def _profile(path: Path, threads: int, pixels: Floats, folder: Path) -> Profile:
    """Profile the second run of a session; the first warms up."""
    session = profiler.open_session(path, threads, folder / "profile")
    for _ in range(2):
        _run(session, pixels)
    return profiler.summarise(profiler.finish(session, 2)[1:])
