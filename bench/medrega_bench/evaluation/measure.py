"""One run of the benchmark: every package on the same questions, and how fast each is on each device.

A result is JSON of schema 1:

    schema_version, kind "run", notice, date, measured (UTC), commit (of medrega-edge, null outside a checkout), command,
    environment, read_bandwidth_gb_per_second (null without speed), data {name, split, questions, images, sha256},
    packages [{
        role        "package", or "reference" for what the others are held against
        model       {name, version, precision, sha256}, mib
        tables      figures with intervals per setting, and for each per language, modality and data set; see `suite`
        overall     {n, value, interval}: mean IoU of all places asked for, or share of right answers where none was
        left_out    questions of tasks, or about names, that the package was not trained for
        speed       [{threads, device, ratios {name: spread}, and each stage by its name: spread {median, p90, min, max, n}}]
        loss        against the reference, null without one: {n, overall, accuracy [entries of `paired`], flips [...]}
        rows        one for each question: id, image (a hash of its bytes), question, truth, answer, boxes, ...
    }]

No path is in it. What users' files are called may name a patient, so ids of their questions are hashed unless asked for.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.evaluation import answer_cache, paired
from medrega_bench.evaluation.answer_cache import Progress
from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
from medrega_bench.evaluation.tables import tables
from medrega_bench.performance import latency
from medrega_edge.domain import NOTICE, Task
from medrega_edge.engine import EngineOptions
from medrega_edge.errors import UsageError
from medrega_edge.inference.devices import available_threads
from medrega_edge.io.safe_text import json_text
from medrega_edge.package.package import Package
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.terminology import Terminology

SCHEMA_VERSION = 1
KIND = "run"

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured how: `items` on the first device, speed on every one; `bare_ids` keeps the questions' own ids;
    `answers` is a folder that keeps answers from run to run; `plain` asks each question once.
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


def measure(package: Package, role: str, plan: Plan, progress: Progress) -> Row:
    """Let one package answer everything, then measure its speed; raises ResourceError when that fails."""
    items = _askable(package, plan.items)
    if not items:
        raise UsageError(f"'{package.manifest.name}' was trained for none of the questions; give others with --data.")
    words = {one.question.id: one.question.question for one in items}
    options = EngineOptions(plan.threads, plan.devices[0])
    rows = answer_cache.answers(package, items, plan.baseline, progress, options, plan.answers, plan.plain)
    images = {str(path): image_key(path) for path in {one.question.image for one in items}}
    graded = [_kept(row, images[row["image"]], words[row["id"]], plan.bare_ids) for row in rows]
    manifest = package.manifest
    return {
        "role": role,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "precision": manifest.precision,
            "sha256": package.sha256,
        },
        "mib": package.total_bytes / 2**20,
        "tables": tables(rows),
        "overall": overall(graded),
        "left_out": len(plan.items) - len(items),
        "speed": speeds(package, plan) if plan.with_speed else [],
        "loss": None,
        "rows": graded,
    }


def _askable(package: Package, items: Sequence[EvaluationItem]) -> list[EvaluationItem]:
    """Without the tasks that the package was not trained for, and the places of what it was never told the name of."""
    labels = PromptBook.from_json(package.text("prompts")).labels
    terms, tasks = Terminology(labels), package.manifest.tasks

    def known(item: EvaluationItem) -> bool:
        question = item.question
        if question.task is not Task.DETECT or not labels:
            return question.task.value in tasks
        return question.task.value in tasks and len(terms.find(question.question)) >= max(1, len(question.truth.regions))

    return [item for item in items if known(item)]


def _kept(row: Row, image: str, question: str, bare_ids: bool) -> Row:
    kept = {key: value for key, value in row.items() if key not in ("dataset", "kind", "recognised", "note")}
    return kept | {
        "id": row["id"] if bare_ids else _short(str(row["id"]).encode()),
        "image": image,
        "question": question,
        "boxes": [[round(value, 2) for value in box] for box in row["boxes"]],
        "confidences": [None if sure is None else round(sure, 4) for sure in row["confidences"]],
    }


def image_key(path: Path) -> str:
    """What a result calls an image: a hash of its bytes."""
    return _short(path.read_bytes())


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def overall(rows: Sequence[Row]) -> Row | None:
    """The one figure of a run: mean IoU of all places asked for, or the share of right answers where none was."""
    placed = paired.mean_worth(rows, lambda row: paired.task_of(row) == "detect")
    return placed or paired.mean_worth(rows, lambda _: True)


def speeds(package: Package, plan: Plan) -> list[Row]:
    """How fast a package is on every device; raises ResourceError when that cannot be measured."""
    threads = plan.threads or available_threads()
    return [asdict(latency.measure(package, threads, device, plan.repeats)) for device in plan.devices]


def result_of(header: Row, measured: Sequence[Row], data_name: str, split: str | None, bandwidth: float | None) -> Row:
    """Put a run's packages together, each beside its loss against the reference."""
    references = [one for one in measured if one["role"] == "reference"]
    for one in measured:
        if references and one["role"] != "reference":
            one["loss"] = paired.compared(references[0]["rows"], one["rows"])
    rows = measured[0]["rows"]
    truths = "\n".join(f"{row['id']} {row['image']} {row['question']} {row['truth']}" for row in rows)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "notice": NOTICE,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        **header,
        "read_bandwidth_gb_per_second": bandwidth,
        "data": {
            "name": data_name,
            "split": split,
            "questions": len(rows),
            "images": len({row["image"] for row in rows}),
            "sha256": _short(truths.encode()),
        },
        "packages": list(measured),
    }


def commit() -> str | None:
    """The commit of medrega-edge that measures, "+" behind it where files were altered; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # installed into somebody else's repository, it is not ours
        altered = git("status", "--porcelain", "--untracked-files=no", "--", str(here.parents[2]))
        return git("rev-parse", "--short=9", "HEAD").strip() + ("+" if altered else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def history_name(result: Row) -> str:
    """What a result is called among others: data, date, commit."""
    return f"{result['data']['name']}-{str(result['measured'])[:10]}-{result['commit'] or 'unversioned'}.json"


def to_json(result: Row) -> str:
    """The result as a file: one line for each row, so that two of them can be told apart by eye."""
    packages = [one | {"rows": []} for one in result["packages"]]
    text = json_text(result | {"packages": packages}, indent=1)
    for one in result["packages"]:
        lines = ",\n    ".join(json_text(row) for row in one["rows"])
        text = text.replace('"rows": []', f'"rows": [\n    {lines}\n   ]', 1)
    return text + "\n"


def read_result(path: Path, data: str | None = None) -> Row:
    """Read the result of a run, or of a folder the newest, on the named data; raises UsageError for anything else."""
    if path.is_dir():
        kept = [one for one in results_in(path) if data in (None, one["data"]["name"])]
        if not kept:
            raise UsageError(f"'{path.name}' holds no result of `medrega bench run` on this data; name a result itself.")
        return max(kept, key=lambda one: str(one["measured"]))
    result = _read(path)
    if result is None:
        raise UsageError(f"'{path.name}' is no result of this version of `medrega bench run`; name another, or make one.")
    return result


def results_in(folder: Path) -> list[Row]:
    """Return the results of runs in a folder; files of other kinds are passed over."""
    return [one for one in (_read(file) for file in sorted(folder.glob("*.json"))) if one is not None]


def _read(path: Path) -> Row | None:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        whole = (result["schema_version"], result["kind"]) == (SCHEMA_VERSION, KIND)
        whole = whole and bool(result["packages"][0]["rows"]) and "measured" in result
    except OSError as error:
        raise UsageError(f"'{path.name}' cannot be read ({error.strerror}); name a result of `medrega bench run`.") from None
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return result if whole else None
