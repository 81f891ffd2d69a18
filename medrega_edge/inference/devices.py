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
from medrega_edge.i18n.message import Message
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


def choose_device(wanted: str) -> tuple[str, Message]:
    """Return the device to run on, and the reason; raises ResourceError if the wanted one is not available."""
    if wanted not in DEVICES:
        raise ResourceError("resource.unknown_device", name=wanted, devices=list(DEVICES))
    if wanted == "cpu":
        return "cpu", Message("resource.device_asked_for")
    problem = _cuda_problem()
    if wanted == "cuda" and problem:
        raise ResourceError("resource.no_cuda", problem=problem)
    if problem:
        return "cpu", problem
    return "cuda", Message("resource.device_asked_for") if wanted == "cuda" else Message("resource.cuda_available")


def _cuda_problem() -> Message | None:
    """Return the reason why nothing can run on a CUDA device; None if it can."""
    ort = load_onnxruntime()
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        if len(_distributions()) > 1:
            return Message("resource.two_onnxruntimes")
        return Message("resource.onnxruntime_without_cuda")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()  # CUDA and cuDNN out of wheels, where they were installed as such
        ort.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cuda", 0)
    except Exception as error:  # onnxruntime's exceptions share no base class
        return Message("resource.no_working_cuda_device", error=type(error).__name__)
    return None


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
        raise ResourceError("resource.memory_to_load", role=role) from None
    except Exception as error:  # onnxruntime's exceptions share no base class
        kind = type(error).__name__
        if "CUDA" in str(error).upper():
            raise ResourceError("resource.device_error", device=device, error=kind) from None
        raise PackageError("inference.graph_not_loaded", role=role, error=kind) from None
    if session.get_providers()[0] != provider:
        raise ResourceError("resource.device_not_started", device=device)
    if {i.name for i in session.get_inputs()} != inputs or {o.name for o in session.get_outputs()} != outputs:
        raise PackageError("inference.graph_not_as_in_manifest", role=role)
    return session
