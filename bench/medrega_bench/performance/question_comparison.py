"""Whole questions beside other programs: models of one shape with a vision tower and random weights, in one run.

A user waits for the first answer of a new process, for the first about a new image, for the next about the same image, and
for many images. Cold processes come first, one at a time; their files are in the page cache. Then each program runs in a
process of its own, loaded once and idle while another has its turn. Rounds are as in `peer_comparison`, and so is what
happens to a program that fails.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medrega_bench.performance import question_worker
from medrega_bench.performance.peer_comparison import OURS, MissingPeer, Round, missing_peer, run_rounds
from medrega_bench.performance.peers import GGUF_WRITER, PEERS, Peer, PeerError, WorkerProcess, install, run_script
from medrega_bench.performance.question_grammars import box_prompt
from medrega_bench.performance.quietness import Watch
from medrega_bench.performance.random_packages import PackageShape, TextShape, TowerShape, write_package
from medrega_bench.performance.spread import Spread, quotients
from medrega_edge.i18n.message import Message
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.package.package import Package
from medrega_edge.prompts.templates import PromptBook

PREFILL_8BIT = "medrega, 8-bit prefill"  # a package of `medrega export --prefill-8bit`
ONE_BY_ONE = "medrega, token by token"  # like the peers: every token of the answer costs a pass
OPENVINO_WRITER = str(Path(__file__).with_name("openvino_files.py"))
HEAD_BITS = 8  # as export writes it; llama.cpp and OpenVINO get the same
# llama.cpp's users choose the file of its projector and tower: one may be quicker, the other is smaller.
TOWER_TYPES = {question_worker.LLAMA: "F16", question_worker.LLAMA_SMALL: "Q8_0"}
PRECISIONS = {
    **{name: f"Q4_0, head Q8_0, tower {kind}" for name, kind in TOWER_TYPES.items()},
    "OpenVINO": "int4-g128, head int8, tower int8",
}
STAGES = ("cold", "first", "second", "batch")


@dataclass(frozen=True)
class QuestionPlan:
    """Rounds on so many threads: answers of `tokens` tokens, and `images` images in a batch."""

    threads: int
    rounds: int = 5
    cold_rounds: int = 3
    tokens: int = 25
    images: int = 8


@dataclass(frozen=True)
class ColdProcess:
    """A process from its start to the end of its first answer."""

    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class QuestionTurn:
    """One round of a program: seconds by stage, without the cold one, and its peak memory so far.

    `tokens` are those of an answer. `parts` are the seconds of the first question's own stages, where they are known.
    """

    seconds: Mapping[str, float]
    tokens: float
    peak_mib: float
    parts: Mapping[str, float] | None = None


@dataclass(frozen=True)
class QuestionFigures:
    """One program: seconds by stage, and how many times as fast as it ours is. The batch is of `images` images.

    `peak_mib` is that of a process that has answered everything, `cold_peak_mib` that after one question.
    """

    name: str
    precision: str
    version: str
    tokens: float
    seconds: Mapping[str, Spread]
    ratios: Mapping[str, Spread]
    cold_peak_mib: float
    peak_mib: float
    cold: tuple[ColdProcess, ...]
    rounds: tuple[QuestionTurn, ...]
    parts: Mapping[str, Spread] | None = None

    def stage(self, name: str) -> list[float]:
        """Return the seconds of a stage, round by round."""
        if name == "cold":
            return [process.seconds for process in self.cold]
        return [turn.seconds[name] for turn in self.rounds]


@dataclass(frozen=True)
class QuestionComparison:
    """All programs at one shape; `prompt` are the tokens before the image, after it, and of the question."""

    shape: str
    text: TextShape
    tower: TowerShape
    prompt: tuple[int, int, int]
    read_gigabytes_per_second: Spread
    programs: tuple[QuestionFigures, ...]
    missing: tuple[MissingPeer, ...]


@dataclass(frozen=True)
class _ColdProgram:
    """Starts a process each time."""

    python: Path
    order: Mapping[str, Any]

    def turn(self) -> ColdProcess:
        """Start, wait for the first answer, end."""
        begun = time.perf_counter()
        process = WorkerProcess(self.python, question_worker.__file__, {**self.order, "cold": True})
        seconds = time.perf_counter() - begun
        process.close()
        return ColdProcess(seconds, process.started["peak_mib"])


class _WarmProgram:
    """A loaded program that has answered everything once."""

    def __init__(self, program: _ColdProgram) -> None:
        self._process = WorkerProcess(program.python, question_worker.__file__, {**program.order, "cold": False})
        self.version: str = self._process.started["version"]
        self.close = self._process.close

    def turn(self) -> QuestionTurn:
        """Answer everything about new images."""
        return QuestionTurn(**self._process.ask())


def measure(
    name: str,
    shape: PackageShape,
    plan: QuestionPlan,
    environments: Path,
    announce: Callable[[Message], None],
    watch: Watch,
    peers: Sequence[Peer] = PEERS,
) -> QuestionComparison:
    """Measure all programs at a shape; raises ResourceError when ours fails. Needs the extra [export]."""
    shape = replace(shape, head_bits=HEAD_BITS)
    with tempfile.TemporaryDirectory() as scratch_name, ExitStack() as stack:
        scratch = Path(scratch_name)
        announce(Message("bench.writing_weights", shape=name))
        package = write_package(shape, scratch / "package")
        prompt = prompt_tokens(package)
        order = {
            "shape": asdict(shape.text),
            "tower": asdict(shape.tower),
            "head_bits": HEAD_BITS,
            "package": str(package.folder),
            "gguf": str(scratch / "model.gguf"),
            "openvino": str(scratch / "openvino"),
            "genai": str(scratch / "genai"),
            "seed": random.Random(name).randrange(2**31),
            **dict(zip(("before", "after", "question"), prompt, strict=True)),
            **asdict(plan),
        }
        ours = f"int4-g{shape.group}, head int{HEAD_BITS}, tower int8"
        eight_bit = write_package(replace(shape, prefill_int8=True), scratch / "prefill-8bit")
        own = [Peer(OURS, "", (), ours), Peer(ONE_BY_ONE, "", (), ours)]
        own.append(Peer(PREFILL_8BIT, "", (), ours.replace(", head", ", prefill int8, head")))
        participants = [*own, *with_variants(peers)]
        missing: list[MissingPeer] = []
        programs: dict[str, _ColdProgram] = {}
        for peer in participants:
            announce(Message("bench.loading_peer", shape=name, peer=peer.name))
            kind = TOWER_TYPES.get(peer.name)
            tower = {"tower_type": kind, "mmproj": str(scratch / f"mmproj-{kind}.gguf")} if kind else {}
            program_order = order | tower | {"peer": peer.name}
            if peer.name == PREFILL_8BIT:
                program_order["package"] = str(eight_bit.folder)
            try:
                python = install(peer, environments) if peer.environment else Path(sys.executable)
                for script in writers(peer):
                    run_script(python, script, program_order)
                program = _ColdProgram(python, program_order)
                program.turn()  # its files are in the page cache afterwards
            except PeerError as error:
                missing.append(missing_peer(peer.name, error, announce))
                continue
            programs[peer.name] = program
        announce(Message("bench.measuring_shape", shape=name))
        cold = list(run_rounds(programs, missing, plan.cold_rounds, announce, watch))
        warm: dict[str, _WarmProgram] = {}
        for peer_name in cold[-1].turns:
            announce(Message("bench.loading_peer", shape=name, peer=peer_name))
            try:
                warm[peer_name] = _WarmProgram(programs[peer_name])
            except PeerError as error:
                missing.append(missing_peer(peer_name, error, announce))
                continue
            stack.callback(warm[peer_name].close)
        announce(Message("bench.measuring_shape", shape=name))
        rounds = list(run_rounds(warm, missing, plan.rounds, announce, watch))
    return QuestionComparison(
        shape=name,
        text=shape.text,
        tower=shape.tower,
        prompt=prompt,
        read_gigabytes_per_second=Spread.of([measured.gigabytes_per_second for measured in (*cold, *rounds)]),
        programs=tuple(
            figures(peer, warm[peer.name].version, cold, rounds) for peer in participants if peer.name in rounds[-1].turns
        ),
        missing=tuple(missing),
    )


def with_variants(peers: Iterable[Peer]) -> Iterator[Peer]:
    """Yield the peers, and llama.cpp a second time with a smaller tower."""
    for peer in peers:
        yield peer
        if peer.name == question_worker.LLAMA:
            yield replace(peer, name=question_worker.LLAMA_SMALL)


def writers(peer: Peer) -> Iterable[str]:
    """Return the scripts that write a program's files, in its environment and in their order."""
    if peer.reads_gguf:
        yield GGUF_WRITER
    if peer.name == "OpenVINO":
        yield OPENVINO_WRITER


def prompt_tokens(package: Package) -> tuple[int, int, int]:
    """Count the tokens before the image, after it, and of the question, as our runtime feeds them."""
    contents = package.read_all()
    tokenizer, prompt = Tokenizer(contents.text("tokenizer")), box_prompt(PromptBook.from_json(contents.text("prompts")))
    before, after, question = (len(tokenizer.encode(part)) for part in (prompt.before, prompt.after, prompt.question))
    return max(before, 1), max(after, 1), question  # others put a marker on either side of the image


def figures(
    peer: Peer, version: str, cold: Sequence[Round[ColdProcess]], rounds: Sequence[Round[QuestionTurn]]
) -> QuestionFigures:
    """Sum up the turns of one program."""

    def of(name: str) -> dict[str, list[float]]:
        warm = {stage: [measured.turns[name].seconds[stage] for measured in rounds] for stage in STAGES[1:]}
        return {"cold": [measured.turns[name].seconds for measured in cold], **warm}

    theirs, ours = of(peer.name), of(OURS)
    processes = tuple(measured.turns[peer.name] for measured in cold)
    turns = tuple(measured.turns[peer.name] for measured in rounds)
    parts = [turn.parts for turn in turns if turn.parts]
    return QuestionFigures(
        name=peer.name,
        precision=PRECISIONS.get(peer.name, peer.precision),
        version=version,
        tokens=turns[-1].tokens,
        seconds={stage: Spread.of(seconds) for stage, seconds in theirs.items()},
        ratios={stage: Spread.of(quotients(seconds, ours[stage])) for stage, seconds in theirs.items()},
        cold_peak_mib=max(process.peak_mib for process in processes),
        peak_mib=turns[-1].peak_mib,
        cold=processes,
        rounds=turns,
        parts={part: Spread.of([seconds[part] for seconds in parts]) for part in parts[0]} if parts else None,
    )
