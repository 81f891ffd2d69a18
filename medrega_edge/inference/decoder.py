"""The language model's graph and its key/value cache."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import ResourceError
from medrega_edge.inference.devices import check_shape, load_onnxruntime, open_session
from medrega_edge.package.manifest import PREFILL, DecoderSpec
from medrega_edge.package.package import PackageContents

Floats = npt.NDArray[np.float32]


class _Rows(NamedTuple):
    """Buffers for so many positions of a pass: the positions from its end, and its outputs by name."""

    positions: npt.NDArray[np.int64]
    arrays: dict[str, Floats]
    values: dict[str, Any]


class Decoder:
    """The language model's graph with one preallocated cache: `extend` appends to it in place, `rewind` shortens it.

    `length` counts the positions in the cache, `forward_passes` the passes so far. Nothing is copied from token to token:
    past and present of the graph share memory, and on the CPU the buffers of a pass of one token are bound once.
    `hidden_state` `[1, hidden]` is that of the last position of the last pass, if the package's graph gives it.
    `gives_rows` tells whether the graph gives the logits of several positions of a pass. On the CPU, a package's graph for
    prefixes fills the same cache; its weights stay on the disk, where they have a file of their own.
    """

    def __init__(self, contents: PackageContents, threads: int, device: str, mapped: bool = False) -> None:
        """Load the graph and allocate the cache; `mapped` leaves weights with a file of their own on the disk.

        Raises PackageError or ResourceError.
        """
        self.spec: DecoderSpec = contents.package.manifest.decoder
        spec, layers = self.spec, range(self.spec.layers)
        pasts = {name.format(i) for i in layers for name in (spec.past_key, spec.past_value)}
        presents = {name.format(i) for i in layers for name in (spec.present_key, spec.present_value)}
        self.gives_rows = bool(spec.wanted_positions)
        fed = {spec.embeds, spec.last_position, spec.total_length} | pasts
        inputs = set(fed)
        if self.gives_rows:
            inputs.add(spec.wanted_positions)
        states = {spec.hidden_state} if spec.hidden_state else set()
        self.length = 0
        self.forward_passes = 0
        outputs = {spec.logits} | presents | states
        self._session = open_session(contents, "decoder", threads, device, inputs, outputs, mapped)
        rows = 2 if self.gives_rows else 1  # which a graph with room for any number may have, too
        self._prefill: tuple[Any, Any] | None = None  # a session and its binding
        if device == "cpu" and PREFILL in contents.package.manifest.files:
            session = open_session(contents, PREFILL, threads, device, fed, presents, mapped=True)
            self._prefill = session, session.io_binding()
        for name in states:
            check_shape(self._session, "decoder", name, (rows, spec.hidden))
        if self.gives_rows:
            check_shape(self._session, "decoder", spec.logits, (rows, spec.vocabulary))
        self._binding = self._session.io_binding()
        self._value = load_onnxruntime().OrtValue.ortvalue_from_numpy
        self._bound_values = []  # the binding holds no reference to its buffers
        self._cache: list[Floats] = []  # keys and values, layer by layer; on the CPU they are the buffers themselves
        shape = (1, spec.kv_heads, spec.context, spec.head_dim)
        for layer in layers:
            for past, present in ((spec.past_key, spec.present_key), (spec.past_value, spec.present_value)):
                buffer = np.zeros(shape, np.float32)
                value = self._value(buffer, device, 0)
                if device == "cpu":
                    self._cache.append(buffer)
                self._bound_values.append(value)
                for binding in (self._binding, *(self._prefill[1:] if self._prefill else ())):
                    binding.bind_ortvalue_input(past.format(layer), value)
                    binding.bind_ortvalue_output(present.format(layer), value)
        self._last = np.zeros(1, np.int32)
        self._total = np.zeros((), np.int32)
        self._single = np.zeros((1, 1, spec.hidden), np.float32)
        self._single_value = self._value(self._single)
        self._bound_embeds: Any = None
        self._rows: dict[int, _Rows] = {}  # by their number
        self._bound_rows = 0
        self._bind_rows(1)
        self._in_place = device == "cpu"  # other devices copy a buffer each time it is bound
        self._bind_lengths()

    def _bind_lengths(self) -> None:
        self._binding.bind_cpu_input(self.spec.last_position, self._last)
        self._binding.bind_cpu_input(self.spec.total_length, self._total)

    def _bind_rows(self, count: int) -> _Rows:
        """Bind buffers for the logits of the last `count` positions."""
        spec = self.spec
        if count not in self._rows:
            arrays = {spec.logits: np.zeros((count, spec.vocabulary), np.float32)}
            if spec.hidden_state:
                arrays[spec.hidden_state] = np.zeros((count, spec.hidden), np.float32)
            values = {name: self._value(array) for name, array in arrays.items()}
            self._rows[count] = _Rows(np.arange(-count, 0), arrays, values)
        rows = self._rows[count]
        if self._bound_rows != count:
            self._bound_rows = 0  # until all are bound: a user may interrupt
            for name, value in rows.values.items():
                self._binding.bind_ortvalue_output(name, value)
            if self.gives_rows:
                self._binding.bind_cpu_input(spec.wanted_positions, rows.positions)
            self._bound_rows = count
        return rows

    @property
    def hidden_state(self) -> Floats:
        """What the output head read at the last position of the last pass, `[1, hidden]`."""
        return self._rows[self._bound_rows].arrays[self.spec.hidden_state][-1:]

    @property
    def remaining_context(self) -> int:
        """Number of free positions in the cache."""
        return self.spec.context - self.length

    def extend(self, embeds: Floats) -> Floats:
        """Append float32 `[S, hidden]` to the cache and return the logits `[vocabulary]` of the last position.

        The next pass overwrites the logits and the hidden state. Raises ResourceError when the context is full.
        """
        return cast(Floats, self.extend_rows(embeds, 1)[0])

    def extend_rows(self, embeds: Floats, count: int) -> Floats:
        """Append float32 `[S, hidden]`, and return the logits `[count, vocabulary]` of the last positions.

        More than one need a graph that `gives_rows`. The next pass with this `count` overwrites them. Raises as `extend`.
        """
        total = self._total_with(embeds)
        if len(embeds) == 1 and self._in_place:
            self._single[0] = embeds
            value = self._single_value
        else:
            value = self._value(np.ascontiguousarray(embeds[None], dtype=np.float32))
        if value is not self._bound_embeds:
            self._bound_embeds = None  # until the new one is bound: a user may interrupt
            self._binding.bind_ortvalue_input(self.spec.embeds, value)
            self._bound_embeds = value
        if not self._in_place:
            self._bind_lengths()
        rows = self._bind_rows(count)
        self._session.run_with_iobinding(self._binding)
        self.length = total
        self.forward_passes += 1
        return rows.arrays[self.spec.logits]

    def read_prefix(self, embeds: Floats) -> None:
        """Append float32 `[S, hidden]` to the cache, as quick as the package allows; logits and hidden state are undefined.

        Raises as `extend`.
        """
        if self._prefill is None:
            self.extend(embeds)
            return
        session, binding = self._prefill
        total = self._total_with(embeds)
        binding.bind_cpu_input(self.spec.embeds, np.ascontiguousarray(embeds[None], dtype=np.float32))
        binding.bind_cpu_input(self.spec.last_position, self._last)
        binding.bind_cpu_input(self.spec.total_length, self._total)
        session.run_with_iobinding(binding)
        self.length = total
        self.forward_passes += 1

    def _total_with(self, embeds: Floats) -> int:
        """Return the length of the cache with `embeds`, and tell it to the graphs; raises ResourceError where it is full."""
        if len(embeds) > self.remaining_context:
            raise ResourceError("resource.context_full", positions=self.spec.context)
        total = self.length + len(embeds)
        self._last[0] = total - 1
        self._total[()] = total
        return total

    def gives_equal_rows(self, embeds: Floats) -> bool:
        """Whether logits are the same to the bit in a pass of all of `embeds` (an even number) and in two shorter ones.

        The cache is as long as before. Raises ResourceError when it has no room for them.
        """
        length = self.length
        passes = []
        for parts in ((embeds,), (embeds[:2], embeds[2:])):
            passes.append(np.concatenate([self.extend_rows(part, len(part)).copy() for part in parts]))
            self.rewind(length)
        whole, pieces = passes
        return np.array_equal(whole, pieces)

    def rewind(self, length: int) -> None:
        """Keep the first `length` positions of the cache; raises ValueError for more than there are."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} of {self.length} positions")
        self.length = length

    def prefix_shape(self, length: int) -> tuple[int, int, int, int]:
        """Return the shape of `length` positions of the cache: `[2 * layers, kv_heads, length, head_dim]`."""
        return 2 * self.spec.layers, self.spec.kv_heads, length, self.spec.head_dim

    def prefix(self) -> Floats:
        """Return a copy of keys and values in the cache, of the shape `prefix_shape(self.length)`; on the CPU only."""
        return np.concatenate([buffer[:, :, : self.length] for buffer in self._cache])

    def restore(self, prefix: Floats) -> None:
        """Put keys and values that `prefix` returned in place of the cache, with as many positions; on the CPU only."""
        length = prefix.shape[2]
        for buffer, values in zip(self._cache, prefix, strict=True):
            buffer[0, :, :length] = values
        self.length = length
