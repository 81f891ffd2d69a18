"""The programs that ours is measured beside, and a process of one of them in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_bench.performance import peer_worker
from medrega_bench.performance.environment import has_tiles
from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import unwritable

GGUF_WRITER = str(Path(__file__).with_name("gguf_files.py"))  # a script that runs in environments with gguf
INSTALL_SECONDS = 3600  # llama-cpp-python is built from source
# Its products in Intel's tiles (AMX) end with a segmentation fault (llama.cpp, issue 20824; seen here with 0.3.36). Where
# the processor has them, it is built without, as its users have to: it takes its AVX-512 routines then.
_NO_TILES = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
WITHOUT_TILES = {"CMAKE_ARGS": f"-DCMAKE_C_FLAGS='{_NO_TILES}' -DCMAKE_CXX_FLAGS='{_NO_TILES}'"}


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

    @property
    def reads_gguf(self) -> bool:
        """Whether it reads what `GGUF_WRITER` writes."""
        return any(requirement.startswith("gguf") for requirement in self.requirements)


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
    settings = WITHOUT_TILES if peer.environment == "llama.cpp" and has_tiles() else {}
    requirements = "\n".join([*peer.requirements, *settings.values()])
    if installed.is_file() and installed.read_text(encoding="utf-8") == requirements:
        return python
    fresh = ["--no-cache-dir"] if settings else []  # pip's cache may hold a build with other settings
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", *fresh, *peer.requirements],
    ):
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS, env=os.environ | settings
            )
        except (OSError, subprocess.SubprocessError) as error:
            lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
            raise PeerError("bench.peer_not_installed", problem=lines[-1] if lines else type(error).__name__) from None
    installed.write_text(requirements, encoding="utf-8")
    return python


def run_script(python: Path, script: str, order: Mapping[str, Any]) -> None:
    """Run a script of ours to its end in the environment of a peer, such as one that writes its files; raises PeerError."""
    done = subprocess.run([str(python), "-P", script, json.dumps(order)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise _ended(done.returncode, done.stdout.decode("utf-8", "replace"))


def _ended(exit_code: int, errors: str) -> PeerError:
    lines = errors.strip().splitlines()
    return PeerError("bench.peer_ended", exit_code=exit_code, problem=lines[-1] if lines else Message("bench.no_reason"))


class WorkerProcess:
    """A script in a process of its own, in the environment of a peer. It writes a line of JSON for each it reads."""

    def __init__(self, python: Path, script: str, order: Mapping[str, Any]) -> None:
        """Start the script; what it writes before it reads anything is `started`. Raises PeerError."""
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [str(python), "-P", script, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )
        try:
            self.started = self._answer()
        except PeerError:
            self.close()
            raise

    def ask(self) -> dict[str, Any]:
        """Let the script go on; return what it writes. Raises PeerError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
        except BrokenPipeError:
            pass  # the process has ended, and its last line of errors says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        exit_code = self._process.wait()
        self._errors.seek(0)
        raise _ended(exit_code, self._errors.read())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


class PeerProcess(WorkerProcess):
    """A peer with its model loaded; it idles until it has its turn."""

    def __init__(self, python: Path, order: Mapping[str, Any]) -> None:
        """Start and load what `peer_worker` describes as an order; raises PeerError."""
        super().__init__(python, peer_worker.__file__, order)
        self.loaded = Loaded(**self.started)

    def turn(self) -> Turn:
        """Run one turn; raises PeerError."""
        return Turn(**self.ask())


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
