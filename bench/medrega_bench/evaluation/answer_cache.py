"""Answers of a package, kept in a folder so that the same questions need not be answered twice.

A file is named after what decides its content: package, questions and how they are asked. It appears as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.evaluation import runner
from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.io.atomic import write_text
from medrega_edge.io.safe_text import json_text
from medrega_edge.package.package import Package

Row = dict[str, Any]
Progress = Callable[[Iterator[Row], int], Iterator[Row]]


def answers(
    package: Package,
    items: Sequence[EvaluationItem],
    baseline: QuestionOnlyBaseline | None,
    progress: Progress,
    options: EngineOptions | None = None,
    folder: Path | None = None,
    plain: bool = False,
) -> list[Row]:
    """Let a package answer, or read the answers that an earlier run kept in `folder`; one row for each, see `runner.run`."""
    path = folder / f"{package.sha256[:16]}-{_identity(items, baseline is not None, plain)}.jsonl" if folder else None
    if path is not None and path.is_file():
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    engine = Engine(package, options or EngineOptions())
    rows = list(progress(runner.run(engine, items, baseline, plain), len(items)))
    if path is not None:
        write_text(path, "".join(json_text(row) + "\n" for row in rows))
    return rows


def _identity(items: Sequence[EvaluationItem], *how: bool) -> str:
    """What tells these questions from others."""
    hashed = hashlib.sha256(str(how).encode())
    for item in items:
        question = item.question
        hashed.update(
            json_text([question.id, str(question.image), question.question, question.truth.text, question.task]).encode()
        )
    return hashed.hexdigest()[:16]
