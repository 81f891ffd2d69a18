"""What evaluation yields: rows, figures, comparisons and the result files of `medrega bench run` and `tasks`.

Every type here is the schema of its JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from medrega_bench.evaluation.figures import Change
from medrega_bench.evaluation.headline import Headline
from medrega_bench.evaluation.older_results import modern_run, modern_tasks
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.performance.latency import StageTimes
from medrega_bench.performance.quietness import Quietness
from medrega_bench.result_files import DataIdentity, Estimate, optional, parse
from medrega_edge.domain import NOTICE
from medrega_edge.evaluation.bootstrap import Interval
from medrega_edge.evaluation.comparison import TaskComparison
from medrega_edge.evaluation.grading import kind_of

RUN = "run"
GROUPS = ("language", "modality", "dataset", "kind")  # by which the figures of a setting are parted
# Other answers to the same questions: about a blank image, another patient's, none at all, and with the regions first.
VERSIONS = ("blank", "other", "question_only", "question_trained", "cot")

Corners = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the original image


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """One question with the answer to it.

    `answer` and `truth` have regions as a model writes them, `raw_text` is what the model wrote. `classes` are the
    candidates of a classification. `dataset`, `kind` (of the object), `recognised` (the modality that the weights see) and
    `note` (what a clinician wrote) are not published; `image` is a path, in a published result a hash. `sentences` has the
    regions of each sentence of a report, the answer's and the true ones.
    """

    id: str
    image: str
    language: str
    setting: str
    truth: str
    answer: str
    modality: str | None
    object: str | None
    confidence: float | None
    absent: bool
    classes: tuple[str, ...]
    boxes: tuple[Corners, ...]
    confidences: tuple[float | None, ...]
    true_boxes: tuple[Corners, ...]
    question: str
    raw_text: str | None = optional()
    dataset: str | None = optional()
    kind: str | None = optional()
    recognised: str | None = optional()
    note: str | None = optional()
    sentences: tuple[tuple[str, str], ...] | None = optional()
    blank: str | None = optional()
    other: str | None = optional()
    question_only: str | None = optional()
    question_trained: str | None = optional()
    cot: str | None = optional()

    @property
    def task(self) -> str:
        """The task: "detect" for what asks for places, "absent" where there is none."""
        return kind_of(self.setting)

    def without_image(self, answers: Mapping[str, str]) -> AnswerRow:
        """The row with the answers that were given without its image, by their version."""
        blank, other = answers.get("blank"), answers.get("other")
        lookup, trained = answers.get("question_only"), answers.get("question_trained")
        return replace(self, blank=blank, other=other, question_only=lookup, question_trained=trained)

    def with_answer_of(self, version: str) -> AnswerRow | None:
        """The row with one of its `VERSIONS` as the answer, None where the question was not asked so."""
        answer = getattr(self, version)
        return None if answer is None else replace(self, answer=answer)


@dataclass(frozen=True)
class Figure:
    """One figure, 0..1, with its 95 % interval over images; None where there was nothing to measure."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class FigureSet:
    """The figures of `n` questions about `images` images, by name."""

    n: int
    images: int | None
    figures: Mapping[str, Figure]


Groups = Mapping[str, FigureSet]


@dataclass(frozen=True, kw_only=True)
class SettingTable:
    """The figures of one setting: of all questions, of each group, and per language of each version that was asked.

    `object` has the commonest labels only, and only where one object is asked for.
    """

    all: FigureSet
    language: Groups = field(default_factory=dict)
    modality: Groups = field(default_factory=dict)
    dataset: Groups = field(default_factory=dict)
    kind: Groups = field(default_factory=dict)
    object: Groups = optional(dict)
    blank: Groups = optional(dict)
    other: Groups = optional(dict)
    question_only: Groups = optional(dict)
    question_trained: Groups = optional(dict)
    cot: Groups = optional(dict)

    def groups(self) -> Iterator[tuple[str, str, FigureSet]]:
        """Yield what parts the questions, the name of each part, and its figures; "all" comes first."""
        yield "all", "", self.all
        for key in GROUPS:
            for name, figures in getattr(self, key).items():
                yield key, name, figures


@dataclass(frozen=True)
class BesideFigure:
    """A figure that no setting measures, over `n` questions about `images` images; None in older results."""

    n: int
    images: int | None
    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class ConfidenceBin:
    """`n` boxes of about the same confidence: their mean confidence, and the share that is right."""

    n: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Confidence:
    """How well the confidence of boxes is calibrated."""

    n: int
    figures: Mapping[str, Figure]
    bins: tuple[ConfidenceBin, ...]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All figures of a package. `modality` is the share of images whose modality was recognised, by modality."""

    settings: Mapping[str, SettingTable]
    beside: Mapping[str, BesideFigure] = field(default_factory=dict)
    confidence: Confidence | None = None
    modality: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureLoss:
    """What a figure lost, above zero where it became worse, also where less is better."""

    loss: float
    interval: Interval
    significant: bool


Losses = Mapping[str, FigureLoss]


@dataclass(frozen=True, kw_only=True)
class SettingLosses:
    """What the figures of one setting lost: over all questions, and in each group."""

    all: Losses
    language: Mapping[str, Losses] = field(default_factory=dict)
    dataset: Mapping[str, Losses] = field(default_factory=dict)
    kind: Mapping[str, Losses] = field(default_factory=dict)


@dataclass(frozen=True)
class TableLosses:
    """What every figure lost against a reference."""

    settings: Mapping[str, SettingLosses]
    beside: Losses


@dataclass(frozen=True)
class VersionFigure:
    """A figure of the same questions asked in another way, and what the answers about the image are better by."""

    value: float | None
    gain: Change | None


@dataclass(frozen=True)
class Reliance:
    """One figure beside the same figure without the image."""

    setting: str
    language: str
    dataset: str
    figure: str
    n: int
    images: int
    value: float | None
    interval: Interval | None
    versions: Mapping[str, VersionFigure]


@dataclass(frozen=True)
class ReportFigures:
    """How right reports are: their words, the regions of their sentences, and their words beside clinicians' notes."""

    words: FigureSet
    regions: FigureSet | None = optional()
    notes: FigureSet | None = optional()


@dataclass(frozen=True, kw_only=True)
class TasksResult:
    """The result of `medrega bench tasks`: a package on one split, and the reference beside it."""

    schema_version: int = 1
    date: str
    command: str
    split: str | None
    model: ModelIdentity
    environment: Environment
    tables: Tables
    reliance: tuple[Reliance, ...] = ()
    reports: Mapping[str, ReportFigures] = field(default_factory=dict)
    reference: Tables | None = optional()
    loss: TableLosses | None = optional()


def read_tasks(data: Mapping[str, Any], name: str) -> TasksResult:
    """Read the content of a result of `tasks`, or of an older one; raises UsageError with the file's `name`."""
    return parse(TasksResult, modern_tasks(data), name)


@dataclass(frozen=True)
class Flip:
    """A question whose answer became right or wrong; `gain` is what it is worth more than before."""

    id: str
    task: str
    language: str
    question: str
    truth: str
    before: str
    after: str
    gain: float


@dataclass(frozen=True)
class RowComparison:
    """What two runs on the same questions differ in; questions that only one of them was asked are counted.

    `overall` is the loss over all places asked for, or over everything where no question asks for a place.
    """

    n: int
    only_before: int
    only_after: int
    overall: Estimate
    accuracy: tuple[TaskComparison, ...]
    flips: tuple[Flip, ...]


@dataclass(frozen=True, kw_only=True)
class PackageResult:
    """One package of a run. `left_out` counts the questions that it was not trained for.

    `overall` is the mean IoU of all places asked for, or the share of right answers where no question asks for a place.
    `loss` is that against the reference, None without one.
    """

    role: Literal["package", "reference"]
    model: ModelIdentity
    mib: float
    tables: Tables
    overall: Estimate | None
    left_out: int
    speed: tuple[StageTimes, ...]
    loss: RowComparison | None
    rows: tuple[AnswerRow, ...]

    @property
    def title(self) -> str:
        """The package's name, version and precision."""
        return f"{self.model.name} {self.model.version}, {self.model.precision}"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of `medrega bench run`. `commit` is that of medrega-edge, None outside a checkout.

    `headline` is that of `package` on the first device, `quietness` of the time in which speed was measured; older results
    lack both.
    No path is in it. Names of users' files may name a patient, so ids of their questions are hashed unless asked for.
    """

    schema_version: Literal[1] = 1
    kind: Literal["run"] = "run"
    notice: str = NOTICE
    measured: str
    commit: str | None
    command: str
    environment: Environment
    read_bandwidth_gb_per_second: float | None
    quietness: Quietness | None = optional()
    data: DataIdentity
    headline: Headline | None = optional()
    packages: tuple[PackageResult, ...]

    @property
    def package(self) -> PackageResult:
        """The package that the result is about: the first that is no reference."""
        return next((one for one in self.packages if one.role == "package"), self.packages[0])


def read_run(data: Mapping[str, Any], name: str) -> RunResult:
    """Read the content of a result of `run`, or of an older one; raises UsageError with the file's `name`."""
    return parse(RunResult, modern_run(data), name)
