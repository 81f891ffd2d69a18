"""Whether an answer depends on anything but the question: numbers of threads, what was asked before, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medrega_bench.datasets.dataset_selection import choose
from medrega_bench.evaluation.runner import ask
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.package.package import Package

Row = dict[str, Any]


def measure(package: Package, threads: Sequence[int], limit: int = 200) -> Row:
    """Ask `limit` questions of the quick set with each number of threads, cold and warm; count answers of other bytes.

    Cold: the image is looked at again and the language model begins anew for every question. Warm: one look, one prefix.
    Questions that the package was not trained for count as answered with the refusal.
    """
    runs: list[Row] = []
    first: list[bytes] = []
    for count in threads:
        for warm in (False, True):
            answers = list(_answers(Engine(package, EngineOptions(count, image_cache=0)), limit, warm))
            first = first or answers
            different = sum(one != other for one, other in zip(first, answers, strict=True))
            runs.append({"threads": count, "cache": "warm" if warm else "cold", "different": different})
    return {"questions": len(first), "runs": runs, "different": sum(run["different"] for run in runs)}


def _answers(engine: Engine, limit: int, warm: bool) -> Iterator[bytes]:
    with TemporaryDirectory() as folder:
        asked, _ = choose(None, "test", limit, Path(folder))
        image, seen = None, None
        for one in asked:
            question = one.question
            if image is None or not warm or question.image != seen:
                image, seen = engine.open(question.image), question.image
            given = ask(engine, image, question)
            answer = given.to_dict() if given else {"refused": True}
            answer.pop("timings_ms", None)
            yield json.dumps(answer, ensure_ascii=False).encode()
