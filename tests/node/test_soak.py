"""The soak itself: its short form, that its checks see what is wrong, and that the pages show the newest result."""

import json
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")

from tools.soak import checks, figures, pages
from tools.soak.archive import Result
from tools.soak.failing import Proxy
from tools.soak.instances import KINDS, Fate, sources_of, studies_of
from tools.soak.process import Sample
from tools.soak.run import Plan


@pytest.mark.slow
def test_sixty_instances_kills_a_cut_and_a_full_disk(tmp_path):
    """A process of its own: pynetdicom leaves sockets to the garbage collector where nobody listens."""
    pytest.importorskip("highdicom", reason="needs the extra 'pacs'")
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "tools.node_soak", "--short", "--instances", "60", "--kills", "3", "--seed", "2"]
    run = subprocess.run([*command, "--out", str(out)], cwd=pages.ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(out.read_text("utf-8"))
    assert found["problems"] == []
    assert found["instances"] == 60 and found["kills"] >= 3
    assert {"cut sender", "cut archive", "disk full"} <= found["happened"].keys()
    assert found["known"] and found["conflicts"] and found["dead_letters"] and found["refused"]
    assert found["recovery_seconds"]["until_it_listens"]["count"] == 3


# --- the pages ---


@pytest.fixture(scope="module")
def result():
    found = pages.newest()
    return found or pytest.skip("no committed result")


@pytest.mark.parametrize("name", pages.PAGES)
def test_the_pages_show_the_newest_result(result, name):
    text = (pages.ROOT / name).read_text("utf-8")
    assert pages.renewed(text, name, result) == text, "run: python -m tools.node_soak"


def test_the_newest_result_is_a_whole_soak(result):
    assert result["problems"] == []
    assert result["instances"] >= 3000 and result["kills"] >= 20
    assert result["memory"]["longest_life"]["instances"] >= 1000
    assert result["memory"]["longest_life"]["slope_mb_per_1000"] <= figures.FLAT_MB
    assert {"cut sender", "cut archive", "disk full"} <= result["happened"].keys()


# --- what is sent ---


def test_every_kind_of_instance_is_there_and_has_uids_of_its_own():
    for count in (20, 60, 300):
        sources = sources_of(count, 5)
        assert len(sources) == count and {source.kind for source in sources} == set(KINDS)
        assert len({source.sop_uid for source in sources}) == count
    sendings = [sending for study in studies_of(sources, 5) for sending in study.sendings]
    assert {sending.source for sending in sendings} == set(sources) and len(sendings) > len(sources)
    assert {sending.status for sending in sendings} == {0x0000, 0x0111, 0xA900}


@pytest.mark.parametrize("kind", KINDS)
def test_an_instance_is_the_same_each_time_it_is_made(kind):
    source = next(source for source in sources_of(30, 5) if source.kind == kind)
    once, again, changed = source.dataset(), source.dataset(), source.dataset(changed=True)
    assert once == again
    assert changed != once or kind == "photograph"  # of a single colour
    assert changed.SOPInstanceUID == once.SOPInstanceUID == source.sop_uid


# --- a network that fails ---


def test_a_proxy_passes_cuts_and_ends_connections_in_their_midst():
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(lambda: server.getsockname()[1])
        try:
            with connected(proxy) as near, server.accept()[0] as far:
                near.sendall(b"there")
                assert far.recv(9) == b"there"
                far.sendall(b"back")
                assert near.recv(9) == b"back"
                proxy.cut()
                assert ends(near) and ends(far)
            with connected(proxy) as near:
                assert ends(near)
            proxy.mend()
            proxy.drops = lambda: 3
            with connected(proxy) as near, server.accept()[0] as far:
                near.sendall(b"there")
                assert ends(far) and ends(near)
            assert proxy.dropped == 2
        finally:
            proxy.close()


def connected(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def ends(connection):
    """Whether a connection comes to its end, whatever arrives before."""
    connection.settimeout(10)
    try:
        while connection.recv(99):
            pass
    except ConnectionError:
        pass
    return True


# --- what is checked ---


def right():
    """What a soak without a fault leaves, but for its folder."""
    sources = sources_of(40, 3)
    acknowledged = {source.sop_uid: 1.0 for source in sources if source.fate is not Fate.REFUSED}
    results = {
        f"2.25.{source.number}{number}": Result(f"class {number}", 9, frozenset({source.sop_uid}), {"digest"})
        for source in sources
        for number in range(source.results)
    }
    return SimpleNamespace(
        sources=sources,
        sender=SimpleNamespace(acknowledged=acknowledged, wrong=[]),
        archive=SimpleNamespace(results=results),
        node=SimpleNamespace(told=[]),
        counts=checks.expected(sources),
        problems=[],
    )


def seen_in(seen):
    return [*checks._sent(seen), *checks._results(seen), *checks._counted(seen)]


def test_nothing_is_wrong_with_what_is_right():
    assert seen_in(right()) == []


def lost(seen):
    del seen.archive.results[next(iter(seen.archive.results))]


def doubled(seen):
    seen.archive.results["2.25.99"] = next(iter(seen.archive.results.values()))


def altered(seen):
    next(iter(seen.archive.results.values())).digests.add("other")


def of_a_stranger(seen):
    seen.archive.results["2.25.99"] = Result("class 0", 9, frozenset({"1.2.3"}), {"digest"})


def about_a_stranger_too(seen):
    uid, one = next(iter(seen.archive.results.items()))
    seen.archive.results[uid] = replace(one, about=one.about | {"1.2.3"})


def not_acknowledged(seen):
    seen.sender.acknowledged.popitem()


def refused_and_acknowledged(seen):
    seen.sender.acknowledged[next(one.sop_uid for one in seen.sources if one.fate is Fate.REFUSED)] = 1.0


def without_a_rule_and_answered(seen):
    source = next(one for one in seen.sources if one.fate is Fate.UNMATCHED)
    seen.archive.results["2.25.99"] = Result("class 0", 9, frozenset({source.sop_uid}), {"digest"})


def other_status(seen):
    seen.sender.wrong.append((3, "scan", True, "0000"))


def waiting(seen):
    seen.counts["deliveries_waiting"] = 1


@pytest.mark.parametrize(
    "fault",
    [lost, doubled, altered, of_a_stranger, about_a_stranger_too, not_acknowledged, refused_and_acknowledged]
    + [without_a_rule_and_answered, other_status, waiting],
)
def test_a_fault_is_seen(fault):
    seen = right()
    fault(seen)
    assert seen_in(seen)


def test_what_lies_about_is_seen(tmp_path):
    for name in ("received", "results", "rejected", "received/study", "results/7"):
        (tmp_path / name).mkdir()
    assert set(checks._files(tmp_path)) == {
        "left behind: 1 in received: empty folder",
        "left behind: 1 in results: empty folder",
    }
    (tmp_path / "queue.sqlite-x.tmp").touch()
    (tmp_path / "received" / "study" / "a.dcm").touch()
    (tmp_path / "results" / "7" / "0-sr.dcm").touch()
    assert set(checks._files(tmp_path)) == {
        "left behind: queue.sqlite-x.tmp",
        "left behind: 1 in received: .dcm",
        "left behind: 1 in results: .dcm",
    }


def test_a_name_in_the_queue_is_seen(tmp_path):
    seen = right()
    (tmp_path / "queue.sqlite").write_bytes(b"\0" + seen.sources[0].study_uid.encode() + b"1.2.840")
    (tmp_path / "audit.jsonl").write_bytes(b"{}")
    assert list(checks._forgotten(seen, tmp_path)) == ["queue.sqlite names 1 UIDs of what was deleted"]


# --- figures ---


def samples(slope, lives=(100, 1400), threads=8):
    """Memory of lives of the node, one sample for each instance, with some noise."""
    made, answered = [], 0
    for life, length in enumerate(lives, 1):
        for number in range(length):
            answered += 1
            rss = 300 + slope * number / 1000 + number % 3
            made.append(Sample(float(answered), life, answered, rss, threads + (number > length // 2) * (threads > 8), 10))
    return made


def test_the_slope_of_the_longest_life():
    found = figures.memory(samples(20.0))
    life = found["longest_life"]
    assert life["instances"] == 1399 and abs(life["slope_mb_per_1000"] - 20) < 1
    assert {at: point["life"] for at, point in found["at_instances"].items()} == {500: 2, 1000: 2, 1500: 2}
    assert len(list(figures.growth({"memory": found}))) == 1
    assert list(figures.growth({"memory": figures.memory(samples(0.0))})) == []


def test_a_leak_of_threads_is_seen():
    grown = [replace(one, threads=one.threads + one.answered // 100) for one in samples(0.0)]
    assert len(list(figures.growth({"memory": figures.memory(grown)}))) == 1


def test_the_kills_come_in_the_first_third():
    schedule = Plan(3000, 20).schedule()
    kills = [share for share, what in schedule if what.startswith("kill")]
    assert len(kills) == 20 and max(kills) <= 1 / 3
    assert schedule == sorted(schedule) == Plan(3000, 20).schedule() != Plan(3000, 20, seed=1).schedule()
