"""Our decoding loop beside what users would pick instead: the same shape, random weights, one run, rounds in turn.

Each peer is installed into an environment of its own and runs in a process of its own (`peer_worker`), loaded once and
idle while another has its turn, so that a round of all of them sees one and the same machine. The memory's speed is read
in every round too. A peer that cannot be installed or run is reported with the reason. Knows processes; no model.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medrega_bench.performance import jump_forward, peer_worker, profiler, random_packages
from medrega_bench.performance.bandwidth import Reader
from medrega_bench.performance.genai_export import write_genai
from medrega_bench.performance.latency import spread
from medrega_edge.package.package import Package

Row = dict[str, Any]
OURS, OURS_OTHERWISE = "medrega", "medrega, other groups"  # as export writes this size, and otherwise
GROUPS = (32, 128)
PAUSE_SECONDS = 0.3  # before each turn: threads that have just worked wait by spinning for a while
INSTALL_SECONDS = 3600  # llama-cpp-python is built from source


@dataclass(frozen=True)
class Peer:
    """A program to measure beside ours: its environment's name, what pip installs into it, and its numbers.

    `heads` are the bits of output heads that it is measured with; ours has no environment.
    """

    name: str
    environment: str
    requirements: tuple[str, ...]
    precision: str
    heads: tuple[int, ...] = (4, 8)


TORCH = ("torch==2.13.0", "transformers==5.23.0")
PEERS = (
    Peer("llama.cpp", "llama.cpp", ("llama-cpp-python==0.3.36", "gguf==0.19.0"), "Q4_0"),
    Peer("onnxruntime-genai", "genai", ("onnxruntime-genai==0.18.0",), "the same graph"),
    Peer("OpenVINO", "openvino", ("openvino-genai==2026.4.1.0", "gguf==0.19.0"), "Q4_0"),
    Peer("torch fp32", "torch", TORCH, "float32", heads=(4,)),  # of float32, in truth: one measurement is enough
    Peer("torch bf16", "torch", TORCH, "bfloat16", heads=(4,)),
)


@dataclass(frozen=True)
class Plan:
    """What is measured: a prompt of so many tokens, then so many single ones, in so many rounds."""

    threads: int
    rounds: int = 7
    prompt: int = 300
    tokens: int = 32


class PeerError(Exception):
    """Why a peer is not in the table, in one sentence."""


def install(peer: Peer, folder: Path) -> Path:
    """Return the interpreter of a peer's environment in `folder`, made and filled where it is not there yet."""
    environment = folder / peer.environment
    python = environment / "bin" / "python"
    done = environment / "installed.txt"
    wanted = "\n".join(peer.requirements)
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", *peer.requirements],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip().splitlines()
            raise PeerError(f"could not be installed: {said[-1] if said else type(error).__name__}") from None
    done.write_text(wanted, encoding="utf-8")
    return python


class Worker:
    """A peer's process: loaded when this is made, then one line in and one line out for each round."""

    def __init__(self, python: Path, order: Row) -> None:
        """Start and load; raises PeerError."""
        command = [str(python), "-P", peer_worker.__file__, json.dumps(order)]
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True, bufsize=1
        )
        self.loaded = self._answer()

    def round(self) -> Row:
        """Run one round; raises PeerError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def _answer(self) -> Row:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        code = self._process.wait()
        self._said.seek(0)
        said = self._said.read().strip().splitlines()
        raise PeerError(f"ended with code {code}: {said[-1] if said else 'without a word'}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._said.close()


def measure(
    name: str, head_bits: int, plan: Plan, environments: Path, tell: Callable[[str], None], peers: Sequence[Peer] = PEERS
) -> Row:
    """Measure one shape with all peers; every figure's spread, ratios taken round by round."""
    named = random_packages.named(name)
    shape = replace(named, tower=random_packages.SMALLEST_TOWER, head_bits=head_bits)
    with tempfile.TemporaryDirectory() as scratch_name, ExitStack() as stack:
        scratch = Path(scratch_name)
        tell(f"{name}: writing weights")
        package = random_packages.write_package(shape, scratch / "package")
        other = next(group for group in GROUPS if group != shape.group)
        otherwise = random_packages.write_package(replace(shape, group=other), scratch / "otherwise")
        own = {OURS: (package, shape.group), OURS_OTHERWISE: (otherwise, other)}
        write_genai(package, scratch / "genai", plan.threads)
        order = {
            "shape": asdict(shape.text),
            "head_bits": head_bits,
            "genai": str(scratch / "genai"),
            "gguf": str(scratch / "model.gguf"),
            "seed": random.Random(name).randrange(2**31),
            **asdict(plan),
        }
        missing: list[Row] = []
        workers: dict[str, Worker] = {}
        taking_part = [Peer(one, "", (), f"int4-g{group}") for one, (_, group) in own.items()]
        taking_part += [peer for peer in peers if head_bits in peer.heads]
        packages = {one: {"package": str(made.folder)} for one, (made, _) in own.items()}
        for peer in taking_part:
            tell(f"{name}: loading {peer.name}")
            try:
                python = install(peer, environments) if peer.environment else Path(sys.executable)
                worker = Worker(python, order | {"peer": peer.name} | packages.get(peer.name, {}))
            except PeerError as error:
                missing.append({"name": peer.name, "reason": str(error)})
                continue
            stack.callback(worker.close)
            workers[peer.name] = worker
        if OURS not in workers:
            raise RuntimeError(missing[0]["reason"])
        tell(f"{name}: measuring")
        rounds = list(_rounds(workers, missing, plan))
        precisions = {peer.name: peer.precision for peer in taking_part}
        bytes_read = {one: _weights(made) for one, (made, _) in own.items()}
        return {
            "shape": name,
            "head_bits": head_bits,
            "sizes": asdict(shape.text),
            "tokens": plan.tokens,
            "read_gigabytes_per_second": spread([row["gigabytes_per_second"] for row in rounds]),
            "peers": [
                {
                    "name": one,
                    "precision": precisions[one],
                    **worker.loaded,
                    **_figures(one, rounds, plan, bytes_read.get(one)),
                }
                for one, worker in workers.items()
                if one in rounds[-1]
            ],
            "missing": missing,
            "profiles": {
                one: profiler.decoder(made, plan.threads, plan.prompt, plan.tokens, scratch)
                for one, (made, _) in own.items()
            },
            "one_box": {one: jump_forward.measure(made, plan.threads, named.tower.tokens) for one, (made, _) in own.items()},
        }


def _rounds(workers: dict[str, Worker], missing: list[Row], plan: Plan) -> Iterator[Row]:
    """Let each have its turn, another one first in each round; a peer that fails has no turn any more."""
    reader, names = Reader(plan.threads), list(workers)
    for number in range(plan.rounds):
        time.sleep(PAUSE_SECONDS)
        row: Row = {"gigabytes_per_second": reader.gigabytes_per_second()}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if name in {one["name"] for one in missing}:
                continue
            time.sleep(PAUSE_SECONDS)
            try:
                row[name] = workers[name].round()
            except PeerError as error:
                if name == OURS:
                    raise RuntimeError(str(error)) from None
                missing.append({"name": name, "reason": str(error)})
        yield row


def _figures(name: str, rounds: Sequence[Row], plan: Plan, bytes_read: int | None) -> Row:
    """Spreads of one program; of ours, which reads `bytes_read` of weights for a token, also what the memory allows."""
    mine = [row[name] for row in rounds]
    figures = {
        "prefill_tokens_per_second": spread([plan.prompt / row["prefill_seconds"] for row in mine]),
        "decode_tokens_per_second": spread([plan.tokens / row["decode_seconds"] for row in mine]),
        "prefill_ratio": spread([row[name]["prefill_seconds"] / row[OURS]["prefill_seconds"] for row in rounds]),
        "decode_ratio": spread([row[name]["decode_seconds"] / row[OURS]["decode_seconds"] for row in rounds]),
        "peak_mib": mine[-1]["peak_mib"],
        "rounds": mine,
    }
    if bytes_read is None:
        return figures
    limits = [1e9 * row["gigabytes_per_second"] / bytes_read for row in rounds]  # tokens a second
    shares = [plan.tokens / row["decode_seconds"] / limit for row, limit in zip(mine, limits, strict=True)]
    return figures | {
        "bytes_per_token": bytes_read,
        "limit_tokens_per_second": spread(limits),
        "share_of_limit": spread(shares),
    }


def _weights(package: Package) -> int:
    """Bytes that every token reads; the key/value cache is not counted."""
    return sum(entry.bytes for role, entry in package.manifest.files.items() if role.startswith("decoder"))


@contextmanager
def environments_in(folder: Path | None) -> Iterator[Path]:
    """The folder of the peers' environments: the one that is named, or one for this run only."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
