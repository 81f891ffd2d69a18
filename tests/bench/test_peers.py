"""Peers beside ours: turns, ratios, and what happens to a peer that is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medrega_bench.performance import peers

PLAN = peers.Plan(threads=1, rounds=6, prompt=100, tokens=10)


class Fake:
    """A worker whose rounds take so many seconds; fails from round `until` on."""

    def __init__(self, name: str, turns: list[str], seconds: float, until: int = 99):
        self.name, self.turns, self.seconds, self.until, self.done = name, turns, seconds, until, 0

    def round(self):
        self.done += 1
        if self.done > self.until:
            raise peers.PeerError("ended with code 1: out of breath")
        self.turns.append(self.name)
        return {"prefill_seconds": self.seconds, "decode_seconds": self.seconds / 2, "peak_mib": 1.0}


class Steady:
    """A memory that is read at 20 GB/s."""

    def __init__(self, threads: int):
        assert threads == PLAN.threads

    def gigabytes_per_second(self):
        return 20.0


@pytest.fixture
def steady_memory(monkeypatch):
    monkeypatch.setattr(peers, "Reader", Steady)
    monkeypatch.setattr(peers, "PAUSE_SECONDS", 0)


def run(*others: tuple[str, float, int]):
    turns: list[str] = []
    workers = {peers.OURS: Fake(peers.OURS, turns, 0.5)}
    workers |= {name: Fake(name, turns, seconds, until) for name, seconds, until in others}
    missing: list[dict] = []
    rounds = list(peers._rounds(workers, missing, PLAN))
    return rounds, missing, turns


@pytest.mark.usefixtures("steady_memory")
def test_everyone_has_a_turn_in_each_round_and_another_is_first():
    rounds, missing, turns = run(("a", 1.0, 99), ("b", 2.0, 99))
    assert not missing and len(rounds) == PLAN.rounds
    by_round = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert all(sorted(one) == sorted([peers.OURS, "a", "b"]) for one in by_round)
    assert {one[0] for one in by_round} == {peers.OURS, "a", "b"}


@pytest.mark.usefixtures("steady_memory")
def test_ratios_say_how_many_times_as_fast_we_are():
    rounds, _, _ = run(("a", 1.0, 99))
    theirs, ours = peers._figures("a", rounds, PLAN, None), peers._figures(peers.OURS, rounds, PLAN, 1_000_000)
    assert theirs["decode_ratio"]["median"] == theirs["prefill_ratio"]["median"] == 2.0
    assert ours["decode_ratio"]["median"] == 1.0
    assert ours["decode_tokens_per_second"]["median"] == 10 / 0.25 and ours["prefill_tokens_per_second"]["median"] == 200
    assert ours["limit_tokens_per_second"]["median"] == 20_000
    assert ours["share_of_limit"]["median"] == pytest.approx(40 / 20_000)
    assert "share_of_limit" not in theirs


@pytest.mark.usefixtures("steady_memory")
def test_a_peer_that_fails_is_named_with_its_reason_and_does_not_stop_the_others():
    rounds, missing, _ = run(("a", 1.0, 2), ("b", 1.0, 99))
    assert missing == [{"name": "a", "reason": "ended with code 1: out of breath"}]
    assert "a" not in rounds[-1] and "b" in rounds[-1]


def test_a_process_that_dies_says_why():
    with pytest.raises(peers.PeerError, match="KeyError"):
        peers.Worker(Path(sys.executable), {"peer": "nobody"})


def test_an_environment_that_cannot_be_filled_says_why(monkeypatch, tmp_path):
    def refused(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="Collecting\nERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", refused)
    with pytest.raises(peers.PeerError, match="No matching distribution"):
        peers.install(peers.PEERS[0], tmp_path)


def test_an_environment_is_filled_once(monkeypatch, tmp_path):
    commands = []

    def noted(command, **_):
        commands.append(command)
        (tmp_path / peers.PEERS[0].environment).mkdir(exist_ok=True)

    monkeypatch.setattr(subprocess, "run", noted)
    assert peers.install(peers.PEERS[0], tmp_path) == peers.install(peers.PEERS[0], tmp_path)
    assert len(commands) == 2  # the environment, and what goes into it


def test_the_worker_imports_nothing_of_ours():
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print([n for n in sys.modules if n.startswith('medrega')])"
    done = subprocess.run(
        [sys.executable, "-c", code, peers.peer_worker.__file__], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_peer_has_a_way_to_run():
    names = {peers.OURS, peers.OURS_OTHERWISE, *(peer.name for peer in peers.PEERS)}
    assert names == set(peers.peer_worker.PEERS)
