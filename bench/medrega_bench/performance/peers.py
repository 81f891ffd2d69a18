"""The programs that ours is measured beside, and a process of one of them in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_bench.performance import peer_worker
from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import unwritable

INSTALL_SECONDS = 3600  # llama-cpp-python is built from source


@dataclass(frozen=True)
class Peer:
    """A program: the name of its environment, what pip installs into it, and the precision of its weights.

    `heads` are the bits of output heads that it is measured with. Ours has no environment: it runs in this one.
    """

    name: str
    environment: str
    requirements: tuple[str, ...]
    precision: str
    heads: tuple[int, ...] = (4, 8)


_TORCH = ("torch==2.13.0", "transformers==5.23.0")
PEERS = (
    Peer("llama.cpp", "llama.cpp", ("llama-cpp-python==0.3.36", "gguf==0.19.0"), "Q4_0"),
    Peer("onnxruntime-genai", "genai", ("onnxruntime-genai==0.18.0",), "the same graph"),
    Peer("OpenVINO", "openvino", ("openvino-genai==2026.4.1.0", "gguf==0.19.0"), "Q4_0"),
    Peer("torch fp32", "torch", _TORCH, "float32", heads=(4,)),  # its head is float32: one measurement is enough
    Peer("torch bf16", "torch", _TORCH, "bfloat16", heads=(4,)),
)


class PeerError(ResourceError):
    """Why a peer cannot be measured."""


@dataclass(frozen=True)
class Loaded:
    """What a worker reports once its model is loaded and warm."""

    version: str
    load_seconds: float


@dataclass(frozen=True)
class Turn:
    """What a worker reports of one turn: a prompt, then single tokens."""

    prefill_seconds: float
    decode_seconds: float
    peak_mib: float


def install(peer: Peer, folder: Path) -> Path:
    """Make the environment of a peer in `folder` unless it is there; return its interpreter. Raises PeerError."""
    environment = folder / peer.environment
    python = environment / "bin" / "python"
    installed = environment / "installed.txt"
    requirements = "\n".join(peer.requirements)
    if installed.is_file() and installed.read_text(encoding="utf-8") == requirements:
        return python
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", *peer.requirements],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
            raise PeerError("bench.peer_not_installed", problem=lines[-1] if lines else type(error).__name__) from None
    installed.write_text(requirements, encoding="utf-8")
    return python


class PeerProcess:
    """A peer in a process of its own, its model loaded; it idles until it has its turn."""

    def __init__(self, python: Path, order: Mapping[str, Any]) -> None:
        """Start and load what `peer_worker` describes as an order; raises PeerError."""
        command = [str(python), "-P", peer_worker.__file__, json.dumps(order)]
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, bufsize=1
        )
        try:
            self.loaded = Loaded(**self._answer())
        except PeerError:
            self.close()
            raise

    def turn(self) -> Turn:
        """Run one turn; raises PeerError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
        except BrokenPipeError:
            pass  # the process has ended, and its last line of errors says why
        return Turn(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        exit_code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        problem = lines[-1] if lines else Message("bench.no_reason")
        raise PeerError("bench.peer_ended", exit_code=exit_code, problem=problem)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@contextmanager
def environments_in(folder: Path | None) -> Iterator[Path]:
    """Give the folder that holds the peers' environments: `folder`, or one that is deleted afterwards.

    Raises UsageError or ResourceError if `folder` cannot be made.
    """
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(error) from None
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
