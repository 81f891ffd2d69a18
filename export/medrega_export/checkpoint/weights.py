"""Tensors of a checkpoint, which stay on the disk until they are read, and modules filled with them one by one.

A tensor is named without the wrappers that tell one layout from another (`lora.plain_name`). The correction of an adapter
is added when the tensor is read.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from medrega_edge.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn


FLOATS = ("F64", "F32", "F16", "BF16")  # as safetensors names the numbers that weights can be


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, or some of its rows; `corrections` are `scale`, `b` [out, rank] and `a` [rank, in]."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors names it: "BF16"
    first: int = 0
    corrections: tuple[tuple[float, StoredTensor, StoredTensor], ...] = ()

    @property
    def files(self) -> set[Path]:
        """The files that hold the tensor and its corrections."""
        return {self.path, *(half.path for _, b, a in self.corrections for half in (b, a))}

    def chunk(self, count: int) -> tuple[StoredTensor, ...]:
        """Cut the rows into `count` equal parts."""
        rows = self.shape[0] // count
        return tuple(replace(self, shape=(rows, *self.shape[1:]), first=self.first + i * rows) for i in range(count))

    def plus(self, scale: float, b: StoredTensor, a: StoredTensor) -> StoredTensor:
        """Return the tensor with `scale * b @ a` added to it."""
        return replace(self, dtype="F32", corrections=(*self.corrections, (scale, b, a)))

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows `start` to `stop` as float32, in memory of their own; a single number as it is."""
        if not self.shape:
            return self._number()
        return self.pick([slice(start, self.shape[0] if stop is None else stop)])

    def _number(self) -> Tensor:
        import torch
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            return cast("Tensor", file.get_tensor(self.name).to(torch.float32))

    def pick(self, rows: Sequence[slice]) -> Tensor:
        """Return some rows, one behind the other, as float32."""
        import torch
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            whole = file.get_slice(self.name)
            parts = [whole[self.first + r.start : self.first + r.stop].to(torch.float32, copy=True) for r in rows]
        value = parts[0] if len(parts) == 1 else torch.cat(parts)
        for scale, b, a in self.corrections:
            value += scale * (b.pick([slice(self.first + r.start, self.first + r.stop) for r in rows]) @ a.read())
        return value


def index_tensors(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """Find the tensors of safetensors files; raises UsageError for a file that is damaged, and for a tensor in two files."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, StoredTensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    if name in tensors:
                        raise UsageError("export.tensor_twice", tensor=name, files=(tensors[name].path.name, path.name))
                    part = file.get_slice(name)
                    tensors[name] = StoredTensor(path, name, tuple(part.get_shape()), part.get_dtype())
        except (OSError, SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError("export.weights_unreadable", file=path.name, problem=reason) from None
    return tensors


def fill_module(module: nn.Module, weights: Mapping[str, StoredTensor], prefix: str) -> Any:
    """Return a copy of a module that was made without content (on the device "meta"), its weights read."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    names = module.state_dict()
    module.load_state_dict({name: weights[f"{prefix}{name}"].read() for name in names}, assign=True)
    return module
