"""Answers of a package, kept in a folder so that the same questions need not be answered twice.

A file is named after what decides its content: package, questions and how they are asked. It appears as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.evaluation import runner
from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
from medrega_bench.evaluation.results import AnswerRow
from medrega_bench.result_files import parse, to_json_values
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.io.atomic import write_text
from medrega_edge.io.safe_text import json_text
from medrega_edge.package.package import Package

Progress = Callable[[Iterator[AnswerRow], int], Iterator[AnswerRow]]


def answers(
    package: Package,
    items: Sequence[EvaluationItem],
    baseline: QuestionOnlyBaseline | None,
    progress: Progress,
    options: EngineOptions | None = None,
    folder: Path | None = None,
    plain: bool = False,
) -> list[AnswerRow]:
    """Let a package answer, or read the answers that an earlier run left in `folder`; one row for each, see `runner.run`."""
    path = folder / f"{package.sha256[:16]}-{_identity(items, baseline is not None, plain)}.jsonl" if folder else None
    if path is not None and path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        return [parse(AnswerRow, json.loads(line), path.name) for line in lines]
    engine = Engine(package, options or EngineOptions())
    rows = list(progress(runner.run(engine, items, baseline, plain), len(items)))
    if path is not None:
        write_text(path, "".join(json_text(to_json_values(row)) + "\n" for row in rows))
    return rows


def _identity(items: Sequence[EvaluationItem], *how: bool) -> str:
    """A hash of the questions, of how they are asked, and of what a row holds."""
    hashed = hashlib.sha256(json_text([how, [each.name for each in fields(AnswerRow)]]).encode())
    for item in items:
        question = item.question
        hashed.update(
            json_text([question.id, str(question.image), question.question, question.truth.text, question.task]).encode()
        )
    return hashed.hexdigest()[:16]
