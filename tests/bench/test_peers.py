"""Other programs beside ours: turns, ratios, and what happens when one of them cannot be measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medrega_bench.cli.options import PeerName
from medrega_bench.performance import peer_comparison, peer_worker, peers
from medrega_bench.performance.peer_comparison import OURS, OURS_REGROUPED, MissingPeer
from medrega_bench.performance.peers import Loaded, Peer, PeerError, Turn
from medrega_edge.errors import MedregaError, ResourceError

from .test_quietness import quiet_watch

PLAN = peer_comparison.Plan(threads=1, rounds=6, prompt=100, tokens=10)


class Fake:
    """A program whose turns take so many seconds; it fails after `until` of them."""

    def __init__(self, name: str, turns: list[str], seconds: float, until: int = 99):
        self.name, self.turns, self.seconds, self.until, self.done = name, turns, seconds, until, 0

    def turn(self):
        self.done += 1
        if self.done > self.until:
            raise PeerError("bench.peer_ended", exit_code=1, problem="out of breath")
        self.turns.append(self.name)
        return Turn(prefill_seconds=self.seconds, decode_seconds=self.seconds / 2, peak_mib=1.0)


@pytest.fixture
def without_pauses(monkeypatch):
    monkeypatch.setattr(peer_comparison, "PAUSE_SECONDS", 0)


def run(*others: tuple[str, float, int], until: int = 99):
    turns: list[str] = []
    running = {OURS: Fake(OURS, turns, 0.5, until)}
    running |= {name: Fake(name, turns, seconds, last) for name, seconds, last in others}
    missing: list[MissingPeer] = []
    messages = []
    rounds = list(peer_comparison.run_rounds(running, missing, PLAN.rounds, messages.append, quiet_watch()))
    return rounds, missing, turns, messages


@pytest.mark.usefixtures("without_pauses")
def test_everyone_has_a_turn_in_each_round_and_another_is_first():
    rounds, missing, turns, _ = run(("a", 1.0, 99), ("b", 2.0, 99))
    assert not missing and len(rounds) == PLAN.rounds
    by_round = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert all(sorted(names) == sorted([OURS, "a", "b"]) for names in by_round)
    assert {names[0] for names in by_round} == {OURS, "a", "b"}


@pytest.mark.usefixtures("without_pauses")
def test_ratios_say_how_many_times_as_fast_we_are():
    rounds, *_ = run(("a", 1.0, 99))
    theirs, ours = (
        peer_comparison.figures(Peer(name, "", (), "p"), Loaded("1", 0.1), rounds, PLAN, bytes_per_token)
        for name, bytes_per_token in (("a", None), (OURS, 1_000_000))
    )
    assert theirs.decode_ratio.median == theirs.prefill_ratio.median == 2.0
    assert ours.decode_ratio.median == 1.0
    assert ours.decode_tokens_per_second.median == 10 / 0.25 and ours.prefill_tokens_per_second.median == 200
    assert ours.limit_tokens_per_second.median == 20_000
    assert ours.share_of_limit.median == pytest.approx(40 / 20_000)
    assert theirs.share_of_limit is None


@pytest.mark.usefixtures("without_pauses")
def test_a_peer_that_fails_is_named_with_its_reason_and_does_not_stop_the_others():
    rounds, missing, _, messages = run(("a", 1.0, 2), ("b", 1.0, 99))
    assert missing == [MissingPeer("a", "ended with code 1: out of breath")]
    assert [(message.code, message.params["peer"]) for message in messages] == [("bench.peer_missing", "a")]
    assert "a" not in rounds[-1].turns and "b" in rounds[-1].turns


@pytest.mark.usefixtures("without_pauses")
def test_without_ours_there_is_no_measurement():
    with pytest.raises(ResourceError) as error:
        run(("a", 1.0, 99), until=2)
    assert error.value.code == "bench.measurement_failed"
    assert error.value.message.params["problem"].code == "bench.peer_ended"


def test_a_process_that_dies_says_why():
    with pytest.raises(PeerError) as error:
        peers.PeerProcess(Path(sys.executable), {"peer": "nobody"})
    assert error.value.code == "bench.peer_ended"
    assert "KeyError" in error.value.message.params["problem"]


def test_an_environment_that_cannot_be_filled_says_why(monkeypatch, tmp_path):
    def refused(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="Collecting\nERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", refused)
    with pytest.raises(PeerError) as error:
        peers.install(peers.PEERS[0], tmp_path)
    assert error.value.code == "bench.peer_not_installed"
    assert error.value.message.params["problem"] == "ERROR: No matching distribution found"


def test_an_environment_is_filled_once(monkeypatch, tmp_path):
    commands = []

    def noted(command, **_):
        commands.append(command)
        (tmp_path / peers.PEERS[0].environment).mkdir(exist_ok=True)

    monkeypatch.setattr(subprocess, "run", noted)
    assert peers.install(peers.PEERS[0], tmp_path) == peers.install(peers.PEERS[0], tmp_path)
    assert len(commands) == 2  # the environment, and what goes into it


def test_llama_cpp_is_built_anew_without_tiles_where_the_processor_has_them(monkeypatch, tmp_path):
    commands = []

    def noted(command, env, **_):
        commands.append((command, env.get("CMAKE_ARGS", "")))
        (tmp_path / "llama.cpp").mkdir(exist_ok=True)

    monkeypatch.setattr(subprocess, "run", noted)
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    for tiles in (False, True, True):
        monkeypatch.setattr(peers, "has_tiles", lambda tiles=tiles: tiles)
        peers.install(peers.PEERS[0], tmp_path)
    installs = [(command, settings) for command, settings in commands if "install" in command]
    assert [bool(settings) for _, settings in installs] == [False, True]
    assert ["--no-cache-dir" in command for command, _ in installs] == [False, True]
    assert "-mno-amx-tile" in installs[1][1]


def test_a_script_that_fails_in_a_peers_environment_says_why(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import json, sys\nraise SystemExit(json.loads(sys.argv[1])['why'])", encoding="utf-8")
    with pytest.raises(PeerError) as error:
        peers.run_script(Path(sys.executable), str(script), {"why": "no room"})
    assert error.value.message.params == {"exit_code": 1, "problem": "no room"}
    peers.run_script(Path(sys.executable), str(script), {"why": 0})


def test_environments_are_deleted_unless_their_folder_is_named(tmp_path):
    with peers.environments_in(None) as folder:
        assert folder.is_dir()
    assert not folder.exists()
    with peers.environments_in(tmp_path / "new") as folder:
        assert folder == tmp_path / "new"
    assert folder.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(MedregaError), peers.environments_in(tmp_path / "file" / "new"):
        pass


def test_the_worker_imports_nothing_of_ours():
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print([n for n in sys.modules if n.startswith('medrega')])"
    done = subprocess.run([sys.executable, "-c", code, peer_worker.__file__], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_peer_has_a_way_to_run_and_a_name_on_the_command_line():
    names = {OURS, OURS_REGROUPED, *(peer.name for peer in peers.PEERS)}
    assert names == set(peer_worker.PEERS)
    assert [peer.name for peer in peers.PEERS] == list(PeerName)
