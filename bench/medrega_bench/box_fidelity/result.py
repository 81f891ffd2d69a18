"""The result file of `medrega bench boxes`: what a server's boxes are like. It holds no address."""

from __future__ import annotations

from dataclasses import dataclass

from medrega_bench.box_fidelity.hypotheses import Hypothesis
from medrega_bench.performance.environment import Environment
from medrega_bench.result_files import Estimate, optional
from medrega_edge.evaluation.bootstrap import Interval
from medrega_edge.i18n.message import Message

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class ServerIdentity:
    """What the server tells of itself; `software` is empty if it tells nothing. `model` is what was asked for.

    `package` is the hash of the package of `medrega serve`; another server has none.
    """

    model: str
    answered_as: str
    software: str
    package: str | None = optional()


@dataclass(frozen=True)
class AnswerRow:
    """One question: the phantom, its true box in pixels, the raw answer, and its box read as the dialect says.

    `box` and `iou` are None without a box. `numbers` are those of the first box of the answer; `boxes` counts all.
    """

    phantom: str
    label: str
    width: int
    height: int
    true_box: Corners
    status: str
    answer: str
    numbers: Corners | None
    box: Corners | None
    iou: float | None
    boxes: int = 0


@dataclass(frozen=True)
class SizeFigures:
    """The answers about images of one size, or of all (width and height 0).

    `iou` and `accuracy` (IoU of 0.5 or more) are over all questions; without a box both are 0. `error_px` is the median
    distance of a side from the true one, `shift_px` that of x and y with their signs, `scale` that of each axis by Theil
    and Sen; None with fewer than three boxes.
    """

    width: int
    height: int
    asked: int
    parsed: int
    malformed: int
    refused: int
    no_box: int
    failed: int
    iou: Estimate
    accuracy: float
    error_px: float | None
    shift_px: tuple[float, float] | None
    scale: tuple[float, float] | None


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict: its code, in English, and its values."""

    code: str
    message: str
    params: dict[str, float | str]

    @classmethod
    def of(cls, message: Message) -> Finding:
        """Keep a message as JSON holds it."""
        return cls(**message.to_dict())

    def as_message(self) -> Message:
        """Return the message, which has a text in each language."""
        return Message.from_dict({"code": self.code, "params": self.params})


@dataclass(frozen=True, kw_only=True)
class BoxesResult:
    """The result. `chosen` tells whether the dialect was found rather than named.

    `explanation` is what explains the answers; where it is not what the dialect says, `nearer` tells how many times nearer
    to the truth it brings them, with its interval. `iou_explained` is the mean IoU of boxes so read. `step` is the step to
    which the server rounds its numbers. `grows` tells whether the error in pixels grows with the image.
    """

    measured: str
    command: str
    environment: Environment
    server: ServerIdentity
    phantoms: str
    each: int
    seed: int
    dialect: str
    chosen: bool
    question: str
    explanation: Hypothesis
    follows: bool
    nearer: float | None
    nearer_interval: Interval | None
    iou_explained: Estimate | None
    step: float
    grows: bool
    overall: SizeFigures
    sizes: tuple[SizeFigures, ...]
    verdict: tuple[Finding, ...]
    answers: tuple[AnswerRow, ...]
    schema_version: int = 1
