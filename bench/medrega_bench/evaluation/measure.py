"""One run of the benchmark: every package on the same questions, and how fast each is on each device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.evaluation import answer_cache, paired
from medrega_bench.evaluation.answer_cache import Progress
from medrega_bench.evaluation.headline import headlines
from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
from medrega_bench.evaluation.results import RUN, AnswerRow, Corners, PackageResult, RunResult, read_run
from medrega_bench.evaluation.tables import tables
from medrega_bench.performance import latency
from medrega_bench.performance.environment import ModelIdentity, command, environment
from medrega_bench.performance.latency import StageTimes
from medrega_bench.performance.quietness import Quietness, Watch
from medrega_bench.result_files import DataIdentity, Estimate, to_json_values
from medrega_edge.domain import Task
from medrega_edge.engine import EngineOptions
from medrega_edge.errors import UsageError
from medrega_edge.inference.devices import available_threads
from medrega_edge.io.safe_text import json_text
from medrega_edge.package.package import Package
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.terminology import Terminology

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What is measured how: `items` on the first device, speed on every one; `bare_ids` keeps the questions' own ids;
    `answers` is a folder that keeps answers from run to run; `plain` asks each question once. `watch` tells whether the
    machine was quiet while speed was measured.
    """

    items: Sequence[EvaluationItem]
    baseline: QuestionOnlyBaseline | None = None
    threads: int | None = None
    devices: tuple[str, ...] = ("cpu",)
    repeats: int = 5
    with_speed: bool = True
    bare_ids: bool = False
    answers: Path | None = None
    plain: bool = False
    watch: Watch | None = None


def measure(package: Package, role: Literal["package", "reference"], plan: Plan, progress: Progress) -> PackageResult:
    """Let one package answer everything, then measure its speed; raises ResourceError when that fails."""
    items = _askable(package, plan.items)
    if not items:
        raise UsageError("bench.nothing_to_ask", package=package.manifest.name)
    options = EngineOptions(plan.threads, plan.devices[0])
    rows = answer_cache.answers(package, items, plan.baseline, progress, options, plan.answers, plan.plain)
    images = {str(path): image_key(path) for path in {item.question.image for item in items}}
    published = tuple(_published(row, images[row.image], plan.bare_ids) for row in rows)
    return PackageResult(
        role=role,
        model=ModelIdentity.of(package),
        mib=package.total_bytes / 2**20,
        tables=tables(rows),
        overall=overall(published),
        left_out=len(plan.items) - len(items),
        speed=speeds(package, plan) if plan.with_speed else (),
        loss=None,
        rows=published,
    )


def _askable(package: Package, items: Sequence[EvaluationItem]) -> list[EvaluationItem]:
    """Leave out the tasks and the names of objects that the package was not trained for."""
    labels = PromptBook.from_json(package.text("prompts")).labels
    terms, tasks = Terminology(labels), package.manifest.tasks

    def known(item: EvaluationItem) -> bool:
        question = item.question
        if question.task is not Task.DETECT or not labels:
            return question.task.value in tasks
        return question.task.value in tasks and len(terms.find(question.question)) >= max(1, len(question.truth.regions))

    return [item for item in items if known(item)]


def _published(row: AnswerRow, image: str, bare_ids: bool) -> AnswerRow:
    """The row as a result has it: without what is known of its data set, and without names of users' files."""
    return replace(
        row,
        id=row.id if bare_ids else _short(row.id.encode()),
        image=image,
        boxes=tuple(_rounded(box) for box in row.boxes),
        confidences=tuple(None if value is None else round(value, 4) for value in row.confidences),
        dataset=None,
        kind=None,
        recognised=None,
        note=None,
    )


def _rounded(box: Corners) -> Corners:
    x1, y1, x2, y2 = (round(value, 2) for value in box)
    return x1, y1, x2, y2


def image_key(path: Path) -> str:
    """What a result calls an image: a hash of its bytes."""
    return _short(path.read_bytes())


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def overall(rows: Sequence[AnswerRow]) -> Estimate | None:
    """The one figure of a run: mean IoU of all places asked for, or the share of right answers where none was."""
    return paired.mean_worth(rows, lambda row: row.task == "detect") or paired.mean_worth(rows, lambda _: True)


def speeds(package: Package, plan: Plan) -> tuple[StageTimes, ...]:
    """How fast a package is on every device; raises ResourceError when that cannot be measured."""
    threads = plan.threads or available_threads()
    with plan.watch.stretch() if plan.watch else nullcontext():
        return tuple(latency.measure(package, threads, device, plan.repeats) for device in plan.devices)


def watched(plan: Plan) -> Quietness | None:
    """Whether the machine was quiet while `speeds` measured; None if nobody watched."""
    return plan.watch.quietness() if plan.watch else None


def result_of(
    measured: Sequence[PackageResult],
    data_name: str,
    split: str | None,
    bandwidth: float | None,
    quietness: Quietness | None = None,
) -> RunResult:
    """Put a run's packages together, each beside its loss against the reference."""
    reference = next((one for one in measured if one.role == "reference"), None)
    packages = tuple(
        one if reference is None or one.role == "reference" else replace(one, loss=paired.compared(reference.rows, one.rows))
        for one in measured
    )
    rows = packages[0].rows
    truths = "\n".join(f"{row.id} {row.image} {row.question} {row.truth}" for row in rows)
    machine = environment()
    result = RunResult(
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=machine.commit,
        command=command(),
        environment=machine,
        read_bandwidth_gb_per_second=bandwidth,
        quietness=quietness,
        data=DataIdentity(data_name, split, len(rows), len({row.image for row in rows}), _short(truths.encode())),
        packages=packages,
    )
    return replace(result, headline=headlines(result.package)[0])


def history_name(result: RunResult) -> str:
    """What a result is called among others: data, date, commit."""
    return f"{result.data.name}-{result.measured[:10]}-{result.commit or 'unversioned'}.json"


def to_json(result: RunResult) -> str:
    """The result as a file: one line for each row, so that a person can compare two of them."""
    packages = [replace(one, rows=()) for one in result.packages]
    text = json_text(to_json_values(replace(result, packages=tuple(packages))), indent=1)
    for one in result.packages:
        lines = ",\n    ".join(json_text(to_json_values(row)) for row in one.rows)
        text = text.replace('"rows": []', f'"rows": [\n    {lines}\n   ]', 1)
    return text + "\n"


def read_result(path: Path, data: str | None = None) -> RunResult:
    """Read the result of a run, or of a folder the newest, on the named data; raises UsageError for anything else."""
    if path.is_dir():
        fitting = [result for result in results_in(path) if data in (None, result.data.name)]
        if not fitting:
            raise UsageError("bench.no_result_on_data", folder=path.name)
        return max(fitting, key=lambda result: result.measured)
    result = _read(path)
    if result is None:
        raise UsageError("bench.not_a_result", file=path.name)
    return result


def results_in(folder: Path) -> list[RunResult]:
    """Return the results of runs in a folder; files of other kinds are passed over."""
    return [result for result in map(_read, sorted(folder.glob("*.json"))) if result is not None]


def _read(path: Path) -> RunResult | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        is_run = (data["schema_version"], data["kind"]) == (SCHEMA_VERSION, RUN)
        is_run = is_run and bool(data["packages"][0]["rows"]) and "measured" in data
    except OSError as error:
        raise UsageError("bench.result_file_unreadable", file=path.name, reason=str(error.strerror)) from None
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return read_run(data, path.name) if is_run else None
