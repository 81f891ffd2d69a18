"""Our decoding loop beside other programs: models of one shape with random weights, measured in turn in one run.

Each program runs in a process of its own, loaded once. It idles while another has its turn, so in each round all of them
see the same state of the machine. The memory's read bandwidth is measured in every round too, and whether the machine is
quiet. A program that cannot be installed or run is listed with the reason.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from medrega_bench.performance import jump_forward, lookup_gain, random_packages
from medrega_bench.performance.genai_export import write_genai
from medrega_bench.performance.jump_forward import JumpForwardGain
from medrega_bench.performance.lookup_gain import LookupGain
from medrega_bench.performance.peers import (
    GGUF_WRITER,
    PEERS,
    Loaded,
    Peer,
    PeerError,
    PeerProcess,
    Turn,
    install,
    run_script,
)
from medrega_bench.performance.profiler import DecoderProfile, profile_decoder
from medrega_bench.performance.quietness import Watch
from medrega_bench.performance.random_packages import TextShape
from medrega_bench.performance.spread import Spread, quotients
from medrega_bench.result_files import optional
from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.package.package import Package

OURS, OURS_REGROUPED = "medrega", "medrega, other groups"  # with the groups that export takes at this size, and others
GROUPS = (32, 128)
T_co = TypeVar("T_co", covariant=True)
PAUSE_SECONDS = 0.3  # before each turn: threads that have just worked wait by spinning for a while


@dataclass(frozen=True)
class Plan:
    """Rounds on so many threads; in each, a prompt of `prompt` tokens, then `tokens` single ones."""

    threads: int
    rounds: int = 7
    prompt: int = 300
    tokens: int = 32


@dataclass(frozen=True)
class PeerFigures:
    """One program. Ratios say how many times as fast as it ours is.

    Only ours has the last three: the bytes of weights that a token reads, the rate that the memory allows by them, and
    the share of that rate which decoding reaches.
    """

    name: str
    precision: str
    version: str
    load_seconds: float
    prefill_tokens_per_second: Spread
    decode_tokens_per_second: Spread
    prefill_ratio: Spread
    decode_ratio: Spread
    peak_mib: float
    rounds: tuple[Turn, ...]
    bytes_per_token: int | None = None
    limit_tokens_per_second: Spread | None = None
    share_of_limit: Spread | None = None


@dataclass(frozen=True)
class MissingPeer:
    """A program that was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ShapeComparison:
    """All programs at one shape. `profiles` and `one_box` (what jump-forward saves) are of ours, by name.

    `lookup` is what jump-forward and prompt lookup save in reports, of ours with the default groups.
    """

    shape: str
    head_bits: int
    sizes: TextShape
    tokens: int
    read_gigabytes_per_second: Spread
    peers: tuple[PeerFigures, ...]
    missing: tuple[MissingPeer, ...]
    profiles: Mapping[str, DecoderProfile]
    one_box: Mapping[str, JumpForwardGain] | None = None
    lookup: tuple[LookupGain, ...] | None = optional()


@dataclass(frozen=True)
class Round(Generic[T_co]):
    """The read bandwidth, and the turn of each program that still runs."""

    gigabytes_per_second: float
    turns: Mapping[str, T_co]


class Running(Protocol[T_co]):
    """A program that takes turns; `turn` raises PeerError."""

    def turn(self) -> T_co:
        """Take one turn."""


def measure(
    name: str,
    head_bits: int,
    plan: Plan,
    environments: Path,
    announce: Callable[[Message], None],
    watch: Watch,
    peers: Sequence[Peer] = PEERS,
) -> ShapeComparison:
    """Measure all programs at a named shape; raises ResourceError when ours fails. Needs the extra [export].

    Each round is a stretch of `watch`.
    """
    shape = random_packages.named(name)
    text_shape = replace(shape, tower=random_packages.SMALLEST_TOWER, head_bits=head_bits)
    with tempfile.TemporaryDirectory() as scratch_name, ExitStack() as stack:
        scratch = Path(scratch_name)
        announce(Message("bench.writing_weights", shape=name))
        package = random_packages.write_package(text_shape, scratch / "package")
        other_group = next(group for group in GROUPS if group != text_shape.group)
        regrouped = random_packages.write_package(replace(text_shape, group=other_group), scratch / "regrouped")
        ours = {OURS: package, OURS_REGROUPED: regrouped}
        write_genai(package, scratch / "genai", plan.threads)
        order = {
            "shape": asdict(text_shape.text),
            "head_bits": head_bits,
            "genai": str(scratch / "genai"),
            "gguf": str(scratch / "model.gguf"),
            "seed": random.Random(name).randrange(2**31),
            **asdict(plan),
        }
        participants = [
            Peer(OURS, "", (), f"int4-g{text_shape.group}"),
            Peer(OURS_REGROUPED, "", (), f"int4-g{other_group}"),
            *(peer for peer in peers if head_bits in peer.heads),
        ]
        running: dict[str, PeerProcess] = {}
        missing: list[MissingPeer] = []
        for peer in participants:
            announce(Message("bench.loading_peer", shape=name, peer=peer.name))
            folder = {"package": str(ours[peer.name].folder)} if peer.name in ours else {}
            try:
                python = install(peer, environments) if peer.environment else Path(sys.executable)
                if peer.reads_gguf:
                    run_script(python, GGUF_WRITER, order)
                process = PeerProcess(python, order | {"peer": peer.name} | folder)
            except PeerError as error:
                missing.append(missing_peer(peer.name, error, announce))
                continue
            stack.callback(process.close)
            running[peer.name] = process
        announce(Message("bench.measuring_shape", shape=name))
        rounds = list(run_rounds(running, missing, plan.rounds, announce, watch))
        return ShapeComparison(
            shape=name,
            head_bits=head_bits,
            sizes=text_shape.text,
            tokens=plan.tokens,
            read_gigabytes_per_second=Spread.of([measured.gigabytes_per_second for measured in rounds]),
            peers=tuple(
                figures(peer, running[peer.name].loaded, rounds, plan, _bytes_per_token(ours.get(peer.name)))
                for peer in participants
                if peer.name in rounds[-1].turns
            ),
            missing=tuple(missing),
            profiles={
                which: profile_decoder(mine, plan.threads, plan.prompt, plan.tokens, scratch) for which, mine in ours.items()
            },
            one_box={which: jump_forward.measure(mine, plan.threads, shape.tower.tokens) for which, mine in ours.items()},
            lookup=lookup_gain.measure(package, plan.threads, shape.tower.tokens),
        )


def missing_peer(name: str, error: PeerError, announce: Callable[[Message], None]) -> MissingPeer:
    """Report a program that failed; raises ResourceError if it is ours."""
    if name == OURS:
        raise ResourceError("bench.measurement_failed", problem=error.message) from None
    announce(Message("bench.peer_missing", peer=name, problem=error.message))
    return MissingPeer(name, str(error))


def run_rounds(
    running: Mapping[str, Running[T_co]],
    missing: list[MissingPeer],
    rounds: int,
    announce: Callable[[Message], None],
    watch: Watch,
) -> Iterator[Round[T_co]]:
    """Give each program its turn, another one first in each round; one that fails is added to `missing`."""
    names = list(running)
    for number in range(rounds):
        turns: dict[str, T_co] = {}
        with watch.stretch():
            bandwidth = watch.last_reading.gigabytes_per_second
            for name in names[number % len(names) :] + names[: number % len(names)]:
                if name in {peer.name for peer in missing}:
                    continue
                time.sleep(PAUSE_SECONDS)
                try:
                    turns[name] = running[name].turn()
                except PeerError as error:
                    missing.append(missing_peer(name, error, announce))
        yield Round(bandwidth, turns)


def figures(
    peer: Peer, loaded: Loaded, rounds: Sequence[Round[Turn]], plan: Plan, bytes_per_token: int | None
) -> PeerFigures:
    """Sum up the turns of one program; `bytes_per_token` is None for others than ours."""
    turns, ours = [measured.turns[peer.name] for measured in rounds], [measured.turns[OURS] for measured in rounds]
    summed_up = PeerFigures(
        name=peer.name,
        precision=peer.precision,
        version=loaded.version,
        load_seconds=loaded.load_seconds,
        prefill_tokens_per_second=Spread.of([plan.prompt / turn.prefill_seconds for turn in turns]),
        decode_tokens_per_second=Spread.of([plan.tokens / turn.decode_seconds for turn in turns]),
        prefill_ratio=Spread.of(quotients([t.prefill_seconds for t in turns], [t.prefill_seconds for t in ours])),
        decode_ratio=Spread.of(quotients([t.decode_seconds for t in turns], [t.decode_seconds for t in ours])),
        peak_mib=turns[-1].peak_mib,
        rounds=tuple(turns),
    )
    if bytes_per_token is None:
        return summed_up
    limits = [1e9 * measured.gigabytes_per_second / bytes_per_token for measured in rounds]
    shares = quotients([plan.tokens / turn.decode_seconds for turn in turns], limits)
    return replace(
        summed_up,
        bytes_per_token=bytes_per_token,
        limit_tokens_per_second=Spread.of(limits),
        share_of_limit=Spread.of(shares),
    )


def _bytes_per_token(package: Package | None) -> int | None:
    """Bytes of weights that every token reads; the key/value cache is not counted."""
    if package is None:
        return None
    return sum(entry.bytes for role, entry in package.manifest.files.items() if role.startswith("decoder"))
