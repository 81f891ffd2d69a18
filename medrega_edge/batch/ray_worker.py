"""What runs on the nodes of a Ray cluster: an engine that answers blocks, and the ledger of what was begun.

This module imports nothing of Ray: its classes become actors.
"""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from medrega_edge.batch.journal import Position
from medrega_edge.batch.parts import Part, Row
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.errors import InternalError, MedregaError, PackageError, ResourceError
from medrega_edge.io.core_dumps import forbid_core_dumps
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder, find_package

WORKERS_LOST = 3  # with what was begun by each of them: then it is given up


@dataclass(frozen=True)
class Setup:
    """The engine that every actor has to have. `model` is None for the package that ships with the program.

    `sha256` is that of the package's manifest; `threads` are those of an actor.
    """

    version: str
    model: str | None
    sha256: str
    options: EngineOptions
    threads: int


@dataclass(frozen=True)
class Block:
    """Consecutive parts of a job."""

    parts: Sequence[Part]


class Ledger:
    """Counts how often something was begun and not ended. It lives beside the driver and outlives workers."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._open: set[Hashable] = set()
        self._lost: Counter[Hashable] = Counter()

    def begin(self, work: Hashable) -> int:
        """Note that a worker begins; returns how many workers were lost with it before."""
        self._lost[work] += work in self._open
        self._open.add(work)
        return self._lost[work]

    def end(self, work: Hashable) -> None:
        """Note that it is done."""
        self._open.discard(work)
        self._lost.pop(work, None)


class Worker:
    """Answers blocks. It loads its engine with the first one, and keeps it."""

    def __init__(self, setup: Setup, ledger: Any) -> None:
        """Take what to load, and the ledger; nothing in here can fail, because Ray would log it."""
        forbid_core_dumps()
        warnings.simplefilter("ignore")  # libraries would quote header values, and they may be a patient's
        self._setup, self._ledger = setup, ledger
        self._engine: Engine | None = None

    def __call__(self, table: Any) -> Any:
        """Answer the blocks of an Arrow table: each number with its rows, or with the error that ends the run, pickled."""
        import pyarrow as pa

        results = [pickle.dumps(self._answered(block)) for block in table["block"].to_pylist()]
        return pa.table({"number": table["number"], "result": results})

    def _answered(self, pickled: bytes) -> list[tuple[Position, Row]] | MedregaError:
        try:
            block: Block = pickle.loads(pickled)  # noqa: S301 - from our driver
            key = block.parts[0].start[:2]
            if self._engine is None:
                if self._begin("engine", key) >= WORKERS_LOST:
                    return ResourceError("batch.process_ended")
                self._engine = _load(self._setup)
                self._end("engine", key)
            engine = self._engine
            # At first the block alone is noted, which costs a millisecond; after a loss, each of its parts.
            answered = partial(self._careful, engine) if self._begin("block", key) else partial(Part.answers, engine=engine)
            rows = [row for part in block.parts for row in answered(part)]
            self._end("block", key)
            return rows
        except MedregaError as error:
            return error
        except MemoryError:
            return ResourceError("batch.process_ended")
        except Exception as error:
            return InternalError(error)

    def _careful(self, engine: Engine, part: Part) -> list[tuple[Position, Row]]:
        """Answer a part of a block with which a worker was lost; failed rows if the part is why."""
        key = part.start[:2]
        lost = self._begin("part", key)
        if lost + 1 >= WORKERS_LOST:  # the first one was lost with the block
            return list(part.answers(_Lost()))
        rows = list(part.answers(engine))
        self._end("part", key)
        return rows

    def _begin(self, kind: str, key: Hashable) -> int:
        import ray

        return int(ray.get(self._ledger.begin.remote((kind, key))))

    def _end(self, kind: str, key: Hashable) -> None:
        self._ledger.end.remote((kind, key))


class _Lost(Engine):
    """Stands for an engine that did not survive: each row says so, under its own id."""

    def __init__(self) -> None: ...

    def open(self, *_: Any) -> NoReturn:
        """Raise ResourceError."""
        raise ResourceError("batch.worker_lost", count=WORKERS_LOST)


def _load(setup: Setup) -> Engine:
    """Load the engine; raises PackageError where this node has another program or package than the driver."""
    from medrega_edge import __version__

    package = _package(setup.model)
    if (__version__, package.sha256) != (setup.version, setup.sha256):
        wanted, found = f"{setup.version} {setup.sha256[:12]}", f"{__version__} {package.sha256[:12]}"
        raise PackageError("batch.other_package", wanted=wanted, found=found)
    return Engine(package, replace(setup.options, threads=setup.threads))


def _package(model: str | None) -> Package:
    return Package.open(default_folder()) if model is None else find_package(model)
