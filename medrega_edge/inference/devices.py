"""Devices, thread counts and onnxruntime sessions."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from medrega_edge.errors import PackageError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.graph_validation import check_graph
from medrega_edge.package.manifest import DATA, Manifest
from medrega_edge.package.package import PackageContents

DEVICES = ("cpu", "cuda", "auto")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# onnxruntime copies all weights into the layout of its fastest routines. Without this prepacking, weights in a file of
# their own stay mapped, and the system can reclaim their memory. For float32 that costs a tenth of a prefill.
DISABLE_PREPACKING = "session.disable_prepacking"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# Weights read per token for each thread. Two threads against one, 2026-11-23: 1.1 times as fast at 9 MB, 1.4 at 13,
# 1.6 at 28, 1.7 at 58. At 2.6 MB there is no gain on two idle cores, and a loss on busy ones.
BYTES_WORTH_A_THREAD = 4_000_000


@cache
def load_onnxruntime() -> ModuleType:
    """Import onnxruntime with its telemetry off. Nothing else imports it."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, at the import
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors only; warnings would name files
    return cast(ModuleType, onnxruntime)


def available_threads() -> int:
    """Return the number of processors that this process may use, within its container's limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = CPU_QUOTA.read_text(encoding="ascii").split()
        return max(1, min(count, round(int(share) / int(period))))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return count


def decoder_threads(manifest: Manifest, available: int) -> int:
    """Return how many of the `available` threads the decoder uses, by the bytes of weights that it reads per token.

    No answer depends on it. The vision tower uses all threads, because it processes hundreds of positions at once.
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
        with contextlib.redirect_stdout(sys.stderr):  # it prints the libraries that it does not find
            ort.preload_dlls()  # CUDA and cuDNN from wheels, if installed
        ort.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cuda", 0)
    except Exception as error:  # onnxruntime's exceptions share no base class
        return Message("resource.no_working_cuda_device", error=type(error).__name__)
    return None


def _distributions() -> list[str]:
    """Return the names of the installed distributions that own the folder `onnxruntime`."""
    from importlib.metadata import distributions  # heavy, and only for a message

    return [name for name in ("onnxruntime", "onnxruntime-gpu") if any(True for _ in distributions(name=name))]


def open_session(
    contents: PackageContents, role: str, threads: int, device: str, inputs: set[str], outputs: set[str], mapped: bool
) -> Any:
    """Open one graph of a package; `mapped` leaves weights with a file of their own on the disk.

    Raises PackageError for a graph that is refused or differs from the manifest, ResourceError for lack of memory or of the
    device.
    """
    ort = load_onnxruntime()
    provider = PROVIDERS[device]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # A package has several sessions: threads of one that wait for work would keep a core from the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if mapped:
        options.add_session_config_entry(DISABLE_PREPACKING, "1")
    # The hashed bytes are the bytes that run. Only external data is opened by onnxruntime itself.
    package = contents.package
    external = package.manifest.files.get(role + DATA)
    check_graph(contents[role], role, (external.path, external.bytes) if external else None)
    options.add_session_config_entry("session.load_model_format", "ONNX")
    model: str | bytes = str(package.path(role)) if external else contents[role]
    try:
        # No fallback: it would run on the CPU, and only print that on standard output.
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


def check_shape(session: Any, role: str, name: str, shape: Sequence[int | None]) -> None:
    """Raise PackageError unless a tensor of a graph is float32 and may have this shape; None stands for any size."""
    (tensor,) = (t for t in (*session.get_inputs(), *session.get_outputs()) if t.name == name)
    fits = len(tensor.shape) == len(shape)
    sizes = zip(tensor.shape, shape, strict=False)
    fits = fits and all(size == wanted for size, wanted in sizes if isinstance(size, int) and wanted is not None)
    if tensor.type != "tensor(float)" or not fits:
        raise PackageError("inference.graph_not_as_in_manifest", role=role)
