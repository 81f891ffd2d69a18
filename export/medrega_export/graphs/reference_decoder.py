"""The two graphs, run for measurement: plain onnxruntime sessions on the processor.

The runtime has a faster loop; this one checks a package before its manifest exists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_edge.inference.devices import DISABLE_PREPACKING, load_onnxruntime
from medrega_edge.package.manifest import DecoderSpec

LAST_ALONE = np.array([-1], np.int64)


def session(path: Path, threads: int = 0, mapped: bool = False) -> Any:
    """Open a graph on the processor; 0 threads leaves the number to onnxruntime, `mapped` the weights on the disk."""
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if mapped:
        options.add_session_config_entry(DISABLE_PREPACKING, "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class DecoderRun:
    """One sequence: feed embeddings piece by piece, get the logits of the last position."""

    def __init__(self, path: Path, spec: DecoderSpec, threads: int = 0, mapped: bool = False) -> None:
        """Open the graph and allocate the cache once."""
        self._session = session(path, threads, mapped)
        self._spec = spec
        shape = (1, spec.kv_heads, spec.context, spec.head_dim)
        # Filled with garbage, not zeros, so that a graph that reads beyond its length is noticed.
        # One array each: on the processor a value shares the memory of its array.
        arrays = [np.full(shape, 1e4, np.float32) for _ in range(2 * spec.layers)]
        self._cache = [load_onnxruntime().OrtValue.ortvalue_from_numpy(array) for array in arrays]
        self.length = 0

    def rewind(self, length: int = 0) -> None:
        """Forget all positions from `length` on."""
        self.length = length

    def feed(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Append embeddings `[S, hidden]`; returns logits `[vocabulary]`."""
        binding = self._bound(embeddings)
        if self._spec.wanted_positions:
            binding.bind_cpu_input(self._spec.wanted_positions, LAST_ALONE)
        binding.bind_output(self._spec.logits)
        self._session.run_with_iobinding(binding)
        return np.asarray(binding.get_outputs()[-1].numpy()[0])

    def fill(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Append embeddings in a graph without logits; returns the last layer's values `[length, kv_heads * head_dim]`."""
        self._session.run_with_iobinding(self._bound(embeddings))
        values = self._cache[-1].numpy()[0, :, : self.length]
        return np.array(values.transpose(1, 0, 2).reshape(self.length, -1))  # a copy: the next run writes into the cache

    def _bound(self, embeddings: npt.NDArray[np.float32]) -> Any:
        spec = self._spec
        self.length += len(embeddings)
        binding = self._session.io_binding()
        binding.bind_cpu_input(spec.embeds, np.ascontiguousarray(embeddings[None], np.float32))
        binding.bind_cpu_input(spec.last_position, np.array([self.length - 1], np.int32))
        binding.bind_cpu_input(spec.total_length, np.array(self.length, np.int32))
        for i in range(spec.layers):
            for past, present, memory in (
                (spec.past_key, spec.present_key, self._cache[2 * i]),
                (spec.past_value, spec.present_value, self._cache[2 * i + 1]),
            ):
                binding.bind_ortvalue_input(past.format(i), memory)
                binding.bind_ortvalue_output(present.format(i), memory)
        return binding
