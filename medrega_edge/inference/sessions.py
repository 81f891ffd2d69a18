"""The only importer of onnxruntime: session options, the vision encoder, and the decoder with its key/value cache.

Knows tensors and graphs as the manifest names them; knows no text, no image file and no sampling. Nothing runs on another
device than the one asked for (`auto` says which it took, and why). onnxruntime's own telemetry is switched off before the
library loads.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import PackageError, ResourceError
from medrega_edge.inference.graph_validation import check_graph
from medrega_edge.package.package import Contents, DecoderSpec, Manifest, VisionSpec

Floats = npt.NDArray[np.float32]
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


def _session(
    contents: Contents, role: str, threads: int, device: str, inputs: set[str], outputs: set[str], mapped: bool
) -> Any:
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


class VisionEncoder:
    """Pixel values -> image embeddings."""

    def __init__(self, contents: Contents, threads: int, device: str, mapped: bool = False) -> None:
        """Load the graph, its weights read where they lie if `mapped`; raises PackageError or ResourceError."""
        self.spec: VisionSpec = contents.package.manifest.vision
        self._session = _session(contents, "vision", threads, device, {self.spec.input}, {self.spec.output}, mapped)

    def encode(self, pixel_values: Floats) -> Floats:
        """Map `[1, 3, image_size, image_size]` to `[tokens, hidden]`."""
        (embeds,) = self._session.run([self.spec.output], {self.spec.input: pixel_values})
        return cast(Floats, embeds[0])


class Decoder:
    """The language model with one preallocated cache: `extend` appends to it in place, `rewind` forgets its tail.

    Nothing is copied from token to token: past and present of the graph are the same memory, and on the processor what goes
    in and comes out of a pass of one token lies in memory that is bound once.
    """

    def __init__(self, contents: Contents, threads: int, device: str, mapped: bool = False) -> None:
        """Load the graph, its weights read where they lie if `mapped`, and allocate the cache.

        Raises PackageError or ResourceError.
        """
        self.spec: DecoderSpec = contents.package.manifest.decoder
        spec, layers = self.spec, range(self.spec.layers)
        pasts = {name.format(i) for i in layers for name in (spec.past_key, spec.past_value)}
        presents = {name.format(i) for i in layers for name in (spec.present_key, spec.present_value)}
        inputs = {spec.embeds, spec.last_position, spec.total_length} | pasts
        self.length = 0  # positions in the cache that count
        self.passes = 0  # forward passes run, for measurements
        self._session = _session(contents, "decoder", threads, device, inputs, {spec.logits} | presents, mapped)
        self._binding = self._session.io_binding()
        self._value = load_onnxruntime().OrtValue.ortvalue_from_numpy
        self._bound_values = []  # keeps what is bound alive: the binding holds no reference
        shape = (1, spec.kv_heads, spec.context, spec.head_dim)
        for layer in layers:
            for past, present in ((spec.past_key, spec.present_key), (spec.past_value, spec.present_value)):
                value = self._value(np.zeros(shape, np.float32), device, 0)
                self._bound_values.append(value)
                self._binding.bind_ortvalue_input(past.format(layer), value)
                self._binding.bind_ortvalue_output(present.format(layer), value)
        self._last = np.zeros(1, np.int32)
        self._total = np.zeros((), np.int32)
        self._one = np.zeros((1, 1, spec.hidden), np.float32)
        self._logits: Floats = np.zeros((1, spec.vocabulary), np.float32)
        self._one_value = self._value(self._one)
        self._embeds: Any = None  # what is bound as input now
        logits = self._value(self._logits)
        self._bound_values.append(logits)
        self._binding.bind_ortvalue_output(spec.logits, logits)
        self._in_place = device == "cpu"  # elsewhere what is bound is copied there, each time it is bound
        self._bind_lengths()

    def _bind_lengths(self) -> None:
        self._binding.bind_cpu_input(self.spec.last_position, self._last)
        self._binding.bind_cpu_input(self.spec.total_length, self._total)

    @property
    def remaining_context(self) -> int:
        """Positions that are left in the cache."""
        return self.spec.context - self.length

    def extend(self, embeds: Floats) -> Floats:
        """Append `[S, hidden]` to the cache and return the logits `[vocabulary]` behind the last position.

        The next pass overwrites them. Raises ResourceError when the context is full.
        """
        if len(embeds) > self.remaining_context:
            raise ResourceError(
                f"The question and its answer need more than the {self.spec.context} positions of this model package; "
                "ask for less at once."
            )
        total = self.length + len(embeds)
        self._last[0] = total - 1
        self._total[()] = total
        if len(embeds) == 1 and self._in_place:
            self._one[0] = embeds
            value = self._one_value
        else:
            value = self._value(np.ascontiguousarray(embeds[None], dtype=np.float32))
        if value is not self._embeds:
            self._binding.bind_ortvalue_input(self.spec.embeds, value)
            self._embeds = value
        if not self._in_place:
            self._bind_lengths()
        self._session.run_with_iobinding(self._binding)
        self.length = total
        self.passes += 1
        return cast(Floats, self._logits[0])

    def rewind(self, length: int) -> None:
        """Forget everything behind the first `length` positions."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} of {self.length} positions")
        self.length = length
