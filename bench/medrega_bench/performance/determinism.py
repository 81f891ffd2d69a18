"""Whether an answer depends on anything but the question: the number of threads, or what is in the caches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from medrega_bench.datasets.dataset_selection import choose
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.evaluation.runner import ask
from medrega_edge.package.package import Package


@dataclass(frozen=True)
class Run:
    """One run: `different` counts the answers whose bytes are not those of the first run."""

    threads: int
    cache: str  # "cold" or "warm"
    different: int


@dataclass(frozen=True)
class Determinism:
    """All runs over the same questions."""

    questions: int
    runs: tuple[Run, ...]
    different: int


def measure(package: Package, threads: Sequence[int], limit: int = 200) -> Determinism:
    """Ask `limit` questions of the quick set with each number of threads, with cold caches and with warm ones.

    Cold: every question encodes its image and computes its prefix anew. Warm: questions about one image share both.
    A question that the package refuses counts as answered by the refusal.
    """
    runs: list[Run] = []
    expected: list[bytes] = []
    for count in threads:
        for cache in ("cold", "warm"):
            answers = list(_answers(Engine(package, EngineOptions(count, image_cache=0)), limit, cache == "warm"))
            expected = expected or answers
            runs.append(Run(count, cache, sum(a != b for a, b in zip(expected, answers, strict=True))))
    return Determinism(len(expected), tuple(runs), sum(run.different for run in runs))


def _answers(engine: Engine, limit: int, warm: bool) -> Iterator[bytes]:
    with TemporaryDirectory() as folder:
        items, _ = choose(None, "test", limit, Path(folder))
        image, path = None, None
        for item in items:
            question = item.question
            if image is None or not warm or question.image != path:
                image, path = engine.open(question.image), question.image
            answer = ask(engine, image, question)
            content = answer.to_dict() if answer else {"refused": True}
            content.pop("timings_ms", None)
            yield json.dumps(content, ensure_ascii=False).encode()
