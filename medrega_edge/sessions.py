"""The only importer of onnxruntime: session options, the vision encoder, and the decoder with its key/value cache.

Knows tensors and graphs as the manifest names them; knows no text, no image file and no sampling. Nothing runs on another
device than the one asked for. onnxruntime's own telemetry is switched off before the library loads.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import PackageError, ResourceError
from medrega_edge.graph_guard import check_graph
from medrega_edge.package import Contents, DecoderSpec, VisionSpec

Floats = npt.NDArray[np.float32]


@cache
def load_onnxruntime() -> ModuleType:
    """Import onnxruntime with its telemetry off: the one way to it."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors only; warnings would name files
    return cast(ModuleType, onnxruntime)


def available_threads() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session(contents: Contents, role: str, threads: int, device: str, inputs: set[str], outputs: set[str]) -> Any:
    ort = load_onnxruntime()
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device)
    if provider is None or provider not in ort.get_available_providers():
        raise ResourceError(
            f"The device '{device}' is not there: this onnxruntime offers no {provider or 'such'} provider; "
            "use --device cpu."
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
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
        raise PackageError(f"The graph '{role}' of the model package cannot be loaded ({kind}); get it again.") from None
    if session.get_providers()[0] != provider:
        raise ResourceError(f"The device '{device}' could not be started by onnxruntime; use --device cpu.")
    if {i.name for i in session.get_inputs()} != inputs or {o.name for o in session.get_outputs()} != outputs:
        raise PackageError(f"The graph '{role}' of the model package does not fit its manifest; get the package again.")
    return session


class VisionEncoder:
    """Pixel values -> image embeddings."""

    def __init__(self, contents: Contents, threads: int, device: str) -> None:
        """Load the graph; raises PackageError or ResourceError."""
        self.spec: VisionSpec = contents.package.manifest.vision
        self._session = _session(contents, "vision", threads, device, {self.spec.input}, {self.spec.output})

    def encode(self, pixel_values: Floats) -> Floats:
        """Map `[1, 3, image_size, image_size]` to `[tokens, hidden]`."""
        (embeds,) = self._session.run([self.spec.output], {self.spec.input: pixel_values})
        return cast(Floats, embeds[0])


class Decoder:
    """The language model with one preallocated cache: `extend` appends to it in place, `rewind` forgets its tail.

    Nothing is copied from token to token: past and present of the graph are the same memory.
    """

    def __init__(self, contents: Contents, threads: int, device: str) -> None:
        """Load the graph and allocate the cache; raises PackageError or ResourceError."""
        self.spec: DecoderSpec = contents.package.manifest.decoder
        spec, layers = self.spec, range(self.spec.layers)
        pasts = {name.format(i) for i in layers for name in (spec.past_key, spec.past_value)}
        presents = {name.format(i) for i in layers for name in (spec.present_key, spec.present_value)}
        inputs = {spec.embeds, spec.last_position, spec.total_length} | pasts
        self.length = 0  # positions in the cache that count
        self.passes = 0  # forward passes run, for measurements
        self._session = _session(contents, "decoder", threads, device, inputs, {spec.logits} | presents)
        self._binding = self._session.io_binding()
        shape = (1, self.spec.kv_heads, self.spec.context, self.spec.head_dim)
        self._memory = []  # keeps the cache alive: the binding holds no reference
        for layer in range(self.spec.layers):
            for past, present in (
                (self.spec.past_key, self.spec.present_key),
                (self.spec.past_value, self.spec.present_value),
            ):
                value = load_onnxruntime().OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32), device, 0)
                self._memory.append(value)
                self._binding.bind_ortvalue_input(past.format(layer), value)
                self._binding.bind_ortvalue_output(present.format(layer), value)
        self._binding.bind_output(self.spec.logits, "cpu")

    @property
    def room(self) -> int:
        """Positions that are left in the cache."""
        return self.spec.context - self.length

    def extend(self, embeds: Floats) -> Floats:
        """Append `[S, hidden]` to the cache and return the logits `[vocabulary]` behind the last position.

        Raises ResourceError when the context is full.
        """
        if len(embeds) > self.room:
            raise ResourceError(
                f"The question and its answer need more than the {self.spec.context} positions of this model package; "
                "ask for less at once."
            )
        total = self.length + len(embeds)
        binding = self._binding
        binding.bind_cpu_input(self.spec.embeds, np.ascontiguousarray(embeds[None], dtype=np.float32))
        binding.bind_cpu_input(self.spec.last_position, np.array([total - 1], np.int32))
        binding.bind_cpu_input(self.spec.total_length, np.array(total, np.int32))
        self._session.run_with_iobinding(binding)
        self.length = total
        self.passes += 1
        logits = binding.get_outputs()[-1].numpy()
        return cast(Floats, logits.reshape(-1, self.spec.vocabulary)[-1])

    def rewind(self, length: int) -> None:
        """Forget everything behind the first `length` positions."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} of {self.length} positions")
        self.length = length
