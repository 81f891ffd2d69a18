"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from medrega_edge.domain import Language
from medrega_edge.errors import UsageError


class Device(StrEnum):
    """Where packages run."""

    CPU = "cpu"
    CUDA = "cuda"


class ShapeName(StrEnum):
    """Shapes of packages of random weights; `performance.random_packages.SHAPES` has their sizes."""

    TINY = "tiny"
    HALF_BILLION = "0.5b"
    BILLION = "1b"
    THREE_BILLION = "3b"
    SEVEN_BILLION = "7b"


class PeerShape(StrEnum):
    """Shapes at which other programs are measured."""

    TINY = "tiny"
    HALF_BILLION = "0.5b"


class PeerName(StrEnum):
    """Other programs; `performance.peers.PEERS` says how they are installed."""

    LLAMA_CPP = "llama.cpp"
    GENAI = "onnxruntime-genai"
    OPENVINO = "OpenVINO"
    TORCH_FP32 = "torch fp32"
    TORCH_BF16 = "torch bf16"


DataOption = Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/.")]
AnyDataOption = Annotated[Path | None, typer.Option(help="Data folder with records.jsonl; default: the built-in quick set.")]
SplitOption = Annotated[
    Literal["train", "val", "test"], typer.Option(help="Split of the data: choose on val, report on test.")
]
ResultOption = Annotated[Path, typer.Option(help="JSON file to write.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")]
ReferenceOption = Annotated[str | None, typer.Option(help="Full-precision package to compare with, on the same questions.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Use at most this many questions, spread evenly.")]
BatchOption = Annotated[
    int | None, typer.Option(min=1, help="Use only images of this delivery of the data (`batch` in records.jsonl).")
]
AnswersOption = Annotated[
    Path | None, typer.Option(help="Folder that keeps answers: a package answers the same questions once only.")
]
LangOption = Annotated[Language | None, typer.Option(help="Language of the report; default: the locale's.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all.")]

WaitOption = Annotated[
    float, typer.Option(min=0, help="Minutes to wait for a quiet machine, in the whole run; 0: measure at once.")
]
WAIT_MINUTES = 3.0


def check_answers_folder(folder: Path | None) -> None:
    """Raise UsageError if the folder of `AnswersOption` is not there, or no file can be written there."""
    from medrega_edge.io.atomic import check_writable

    if folder is None:
        return
    if not folder.is_dir():
        raise UsageError("bench.no_answers_folder")
    check_writable(folder)
