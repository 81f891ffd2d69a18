"""What a job of many questions is to those that answer it, and the parts that are sent to other processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from medrega_edge.batch.journal import Position

if TYPE_CHECKING:
    from medrega_edge.engine import Engine

Row = dict[str, Any]


class Items(Protocol):
    """Items that can be answered, at their places in a job."""

    def answers(self, engine: Engine, start: Position, stop: int | None = None) -> Iterator[tuple[Position, Row]]:
        """Answer from `start` on, up to the item `stop`."""


class Part(NamedTuple):
    """The items of a job from `start` to before `stop`, and nothing of the others: it is small, and can be sent."""

    start: Position
    stop: int
    items: Items

    def answers(self, engine: Engine) -> Iterator[tuple[Position, Row]]:
        """Answer these items."""
        return self.items.answers(engine, self.start, self.stop)


class Job(Items, Protocol):
    """Questions to answer, and how they may be split."""

    def __len__(self) -> int:
        """Number of items."""

    def parts(self, start: Position) -> Iterator[Part]:
        """Split the items from `start` on, in order; what one process answers fast in one go stays together."""
