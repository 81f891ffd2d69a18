"""A question without an image: whether each way into the program refuses it.

Phantom-0 of Asadi et al., 2026 (arXiv 2603.21687) asks models about images that were never given. Its questions are not
copied here: those of the test split are asked instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medrega_bench.evaluation.figures import estimate
from medrega_bench.evaluation.own_server import own_server
from medrega_bench.result_files import Estimate
from medrega_edge.batch.journal import Position
from medrega_edge.batch.questions import QuestionFile
from medrega_edge.engine import Engine
from medrega_edge.errors import MedregaError

Door = Callable[[str], bool]  # takes a question without an image; tells whether it was refused


@dataclass(frozen=True)
class DoorFigures:
    """Of the questions that came through one way into the program without an image, the share that was refused."""

    door: str
    refused: Estimate


def command_line() -> Door:
    """`medrega ask` with a question and no image, in a process of its own."""

    def refuses(question: str) -> bool:
        words = [sys.executable, "-m", "medrega_edge", "ask", question]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
        return ended.returncode != 0 and not ended.stdout.strip()

    return refuses


def library(engine: Engine) -> Door:
    """The Python API: nothing is opened as an image, and the question is asked about it."""

    def refuses(question: str) -> bool:
        try:
            engine.ask(engine.open(b""), question)
        except MedregaError:
            return True
        return False

    return refuses


def batch(engine: Engine) -> Door:
    """A line of a file of questions that names no image."""

    def refuses(question: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "questions.jsonl"
            path.write_text(json.dumps({"id": 1, "question": question}) + "\n", encoding="utf-8")
            ((_, row),) = QuestionFile(path).answers(engine, Position(0))
        return "error" in row and "text" not in row

    return refuses


@contextmanager
def chat(model: str | None) -> Iterator[Door]:
    """A message without an image to `medrega serve`, in OpenAI's protocol. The server is started here, on this machine."""
    with own_server(model) as url:
        yield lambda question: _refused(f"{url}/v1/chat/completions", question)


def _refused(url: str, question: str) -> bool:
    body = json.dumps({"model": "medrega", "messages": [{"role": "user", "content": question}]}).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60):
            return False
    except urllib.error.HTTPError as error:
        with error:
            return error.code == 400


def door_figures(doors: Mapping[str, Door], questions: Sequence[str]) -> Iterator[DoorFigures]:
    """Ask every question at every door; each question counts as an image of its own."""
    for name, refuses in doors.items():
        answers = [float(refuses(question)) for question in questions]
        yield DoorFigures(name, estimate(answers, [str(number) for number in range(len(questions))]))
