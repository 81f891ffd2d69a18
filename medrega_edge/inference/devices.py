"""Devices, thread counts and onnxruntime sessions."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from medrega_edge.errors import PackageError, ResourceError
from medrega_edge.inference.graph_validation import check_graph
from medrega_edge.package.manifest import Manifest
from medrega_edge.package.package import PackageContents

DEVICES = ("cpu", "cuda", "auto")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# onnxruntime arranges a copy of all weights for its fastest routines. Without it, what lies in a file of its own is mapped
# and takes no memory that the system could not take back. For float32 that costs a tenth of a prefill and nothing else.
DISABLE_PREPACKING = "session.disable_prepacking"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# Of weights that a token reads. Two threads against one, token by token, 2026-11-23: 1.1 times as fast at 9 MB, 1.4 at 13,
# 1.6 at 28, 1.7 at 58; at 2.6 MB nothing on two cores that are free, and slower on one that is not.
BYTES_WORTH_A_THREAD = 4_000_000


@cache
def load_onnxruntime() -> ModuleType:
    """Import onnxruntime with its telemetry off: the one way to it."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors only; warnings would name files
    return cast(ModuleType, onnxruntime)


def available_threads() -> int:
    """Processors that this process may run on, and its container pays for."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = CPU_QUOTA.read_text(encoding="ascii").split()
        return max(1, min(count, round(int(share) / int(period))))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return count


def decoder_threads(manifest: Manifest, available: int) -> int:
    """How many of the `available` threads a decoder is run with, by the bytes of weights that a token reads.

    No answer depends on it. The vision tower takes them all: it sees hundreds of positions at once.
    """
    weights = sum(entry.bytes for role, entry in manifest.files.items() if role in ("decoder", "decoder_data"))
    return max(1, min(available, weights // BYTES_WORTH_A_THREAD))


def choose_device(wanted: str) -> tuple[str, str]:
    """Which device to run on, and why; raises ResourceError when the one that is wanted is not there."""
    if wanted not in DEVICES:
        raise ResourceError(f"There is no device '{wanted}'; choose one of: {', '.join(DEVICES)}.")
    if wanted == "cpu":
        return "cpu", "asked for"
    problem = _cuda_problem()
    if wanted == "cuda" and problem:
        raise ResourceError(f"The device 'cuda' is not there: {problem}; use --device cpu.")
    return ("cpu", problem) if problem else ("cuda", "asked for" if wanted == "cuda" else "a CUDA device is there")


def _cuda_problem() -> str:
    """Why nothing can run on a CUDA device here; empty when it can."""
    ort = load_onnxruntime()
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        if len(_distributions()) > 1:
            return (
                "onnxruntime and onnxruntime-gpu are both installed and share one folder; uninstall both, "
                "then install onnxruntime-gpu alone"
            )
        return "this onnxruntime was built without CUDA (docs/gpu.md says how to install one with it)"
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()  # CUDA and cuDNN out of wheels, where they were installed as such
        ort.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cuda", 0)
    except Exception as error:  # onnxruntime's exceptions share no base class
        return f"onnxruntime finds no CUDA device that works ({type(error).__name__}; driver, CUDA, cuDNN?)"
    return ""


def _distributions() -> list[str]:
    """Names of the installed packages that own the folder `onnxruntime`."""
    from importlib.metadata import distributions  # heavy, and only for a message

    return [name for name in ("onnxruntime", "onnxruntime-gpu") if any(True for _ in distributions(name=name))]


def open_session(
    contents: PackageContents, role: str, threads: int, device: str, inputs: set[str], outputs: set[str], mapped: bool
) -> Any:
    """Open one graph of a package, its weights mapped from the disk where `mapped`; raises PackageError or ResourceError."""
    ort = load_onnxruntime()
    provider = PROVIDERS[device]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if mapped:
        options.add_session_config_entry(DISABLE_PREPACKING, "1")
    # The bytes that were hashed are the bytes that run; external data alone is opened by the runtime itself.
    package = contents.package
    outside = package.manifest.files.get(f"{role}_data")
    check_graph(contents[role], role, (outside.path, outside.bytes) if outside else None)
    options.add_session_config_entry("session.load_model_format", "ONNX")
    model: str | bytes = str(package.path(role)) if outside else contents[role]
    try:
        # Without a fallback: it would go on, on the processor, and say so on standard output only.
        session = ort.InferenceSession(model, options, providers=[provider], enable_fallback=0)
    except MemoryError:
        raise ResourceError(f"There is not enough memory to load '{role}' of the model package.") from None
    except Exception as error:  # onnxruntime's exceptions share no base class
        kind = type(error).__name__
        if "CUDA" in str(error).upper():
            raise ResourceError(
                f"The device '{device}' could not be started by onnxruntime ({kind}); use --device cpu."
            ) from None
        raise PackageError(f"The graph '{role}' of the model package cannot be loaded ({kind}); get it again.") from None
    if session.get_providers()[0] != provider:
        raise ResourceError(f"The device '{device}' could not be started by onnxruntime; use --device cpu.")
    if {i.name for i in session.get_inputs()} != inputs or {o.name for o in session.get_outputs()} != outputs:
        raise PackageError(f"The graph '{role}' of the model package does not fit its manifest; get the package again.")
    return session
