"""The vision tower in several precisions side by side: seconds, error against float32, and where its time goes.

The variants are made from one float32 graph, so they differ in nothing but their numbers; weights are random. Runs plain
onnxruntime sessions, interleaved in rounds; knows no package.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_bench.performance import profiler, random_packages
from medrega_bench.performance.latency import spread
from medrega_edge.inference.devices import load_onnxruntime

Row = dict[str, Any]
FULL, SHIPPED = "float32", "int8, weights of 7 bits"
INPUT, OUTPUT = "pixel_values", "image_embeds"
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")  # of the processor, that products of int8 depend on


def measure(tower: random_packages.TowerShape, hidden: int, threads: int, rounds: int, tell: Callable[[str], None]) -> Row:
    """Measure all variants of a tower of this shape in front of embeddings of width `hidden`."""
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        tell("writing the variants")
        paths = dict(_variants(tower, hidden, scratch))
        sessions = {name: profiler.open_session(path, threads) for name, path in paths.items()}
        pixels = np.random.default_rng(random_packages.SEED).standard_normal(
            (1, random_packages.CHANNELS, *[tower.image_size] * 2), np.float32
        )
        answers = {name: _run(session, pixels) for name, session in sessions.items()}  # warms up, too
        tell("measuring")
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        names = list(sessions)
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds[name].append(_timed(sessions[name], pixels))
        tell("profiling")
        return {
            "sizes": asdict(tower),
            "threads": threads,
            "processor_flags": processor_flags(),
            "variants": [
                {
                    "name": name,
                    "shipped": name == SHIPPED,
                    "bytes": sum(file.stat().st_size for file in scratch.glob(f"{paths[name].name}*")),
                    "seconds": spread(seconds[name]),
                    "gain": spread([full / mine for full, mine in zip(seconds[FULL], seconds[name], strict=True)]),
                    "relative_error": _error(answers[name], answers[FULL]),
                }
                for name in names
            ],
            "profiles": {name: _profile(paths[name], threads, pixels, scratch) for name in (FULL, SHIPPED)},
        }


def _variants(tower: random_packages.TowerShape, hidden: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write one file for each variant."""
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


def _run(session: Any, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(session.run([OUTPUT], {INPUT: pixels})[0])


def _timed(session: Any, pixels: npt.NDArray[np.float32]) -> float:
    begun = time.perf_counter()
    _run(session, pixels)
    return time.perf_counter() - begun


def _error(values: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> float:
    return float(np.linalg.norm(values - truth) / np.linalg.norm(truth))


def _profile(path: Path, threads: int, pixels: npt.NDArray[np.float32], folder: Path) -> Row:
    """Shares of time of the second run of a session."""
    session = profiler.open_session(path, threads, folder / "profile")
    for _ in range(2):
        _run(session, pixels)
    return profiler.shares(profiler.finish(session, 2)[1:])


def processor_flags() -> list[str]:
    """Those of `FLAGS` that this processor has; empty where the system does not say."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return []
    lines = path.read_text(errors="replace").splitlines()
    present = next((line for line in lines if line.startswith("flags")), "").split()
    return [flag for flag in FLAGS if flag in present]
