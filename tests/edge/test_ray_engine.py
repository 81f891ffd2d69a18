"""A batch on a cluster gives the bytes of one process, whatever is lost on the way; nothing of it leaves this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from medrega_edge.batch.jobs import BatchQuestion, ImageFolder
from medrega_edge.batch.journal import Position
from medrega_edge.batch.parts import Part
from medrega_edge.batch.ray_worker import WORKERS_LOST, Block, Ledger, Setup, Worker
from medrega_edge.batch.sources import open_questions
from medrega_edge.engine import EngineOptions
from medrega_edge.errors import PackageError, ResourceError
from medrega_edge.output.parquet_table import read_parquet
from medrega_edge.package.registry import find_package
from tests.codes import raises_code
from tests.edge.archives import jsonl, questions, shards, table

PACKAGE = find_package()
QUESTION = "locate the liver"
pytestmark = pytest.mark.filterwarnings("ignore")  # as the command does; Ray warns of its own settings


# ---- without Ray: blocks, places, the ledger, the worker


def node(name, cores, alive=True, memory=None):
    resources = {"CPU": float(cores)} | ({} if memory is None else {"memory": float(memory)})
    return {"NodeID": name, "Alive": alive, "Resources": resources}


def places(*nodes, threads=None):
    from medrega_edge.batch.ray_engine import _places

    found, cores = _places(nodes, PACKAGE, threads)
    return "".join(found), cores


def test_each_core_gets_an_actor_where_memory_allows():
    from medrega_edge.inference import memory

    room = memory.peak(PACKAGE.manifest)
    assert places(node("a", 2), node("b", 3), node("c", 0), node("d", 4, alive=False)) == ("aabbb", 1)
    assert places(node("a", 2), node("b", 4, memory=3 * room + 1)) == ("aabbb", 1)
    assert places(node("a", 2), node("b", 3), threads=3) == ("aab", 1)
    with raises_code(ResourceError, "batch.ray_no_room"):
        places(node("a", 4, memory=room - 1))


def test_each_node_gets_one_of_a_large_package(monkeypatch):
    from medrega_edge.batch import ray_engine

    monkeypatch.setattr(ray_engine, "LARGE", PACKAGE.total_bytes)
    assert places(node("a", 4), node("b", 4)) == ("ab", 4)
    assert places(node("a", 4), node("b", 8)) == ("abb", 4)
    assert places(node("a", 4), threads=2) == ("a", 2)


def test_the_ledger_counts_what_was_begun_and_not_ended():
    ledger = Ledger()
    assert [ledger.begin("a"), ledger.begin("b"), ledger.begin("a")] == [0, 0, 1]
    ledger.end("a")
    assert [ledger.begin("a"), ledger.begin("b")] == [0, 1]


class Items:
    """Items whose rows name the engine that answered them."""

    def answers(self, engine, start, stop=None):
        for item in range(start.item, stop):
            yield Position(item), {"id": item, "engine": type(engine).__name__}


class Remote:
    """A method of an actor, called here."""

    def __init__(self, method):
        self.remote = method


@pytest.fixture
def worker(monkeypatch):
    """A worker with a ledger in this process, as it is after the given numbers of lost workers."""
    ledger = Ledger()
    monkeypatch.setitem(sys.modules, "ray", type("ray", (), {"get": staticmethod(lambda value: value)}))
    made = Worker(
        Setup("0", None, PACKAGE.sha256, EngineOptions(), 1),
        type("Handle", (), {"begin": Remote(ledger.begin), "end": Remote(ledger.end)}),
    )
    made.ledger = ledger
    return made


def answered(worker, *parts):
    import pickle

    return worker._answered(pickle.dumps(Block([Part(Position(start), stop, Items()) for start, stop in parts])))


def test_only_what_kills_workers_is_given_up(worker):
    worker._engine = "engine"
    for kind, key in (("block", (0, 0)), ("part", (2, 0)), ("part", (2, 0))):
        worker.ledger.begin((kind, key))  # as workers do that died then
    rows = answered(worker, (0, 2), (2, 3), (3, 4))
    assert [(place.item, row["engine"]) for place, row in rows] == [(0, "str"), (1, "str"), (2, "_Lost"), (3, "str")]
    assert worker.ledger.begin(("block", (0, 0))) == 0  # it was ended


def test_an_engine_that_kills_its_worker_ends_the_run(worker):
    for _ in range(WORKERS_LOST):
        worker.ledger.begin(("engine", (0, 0)))
    assert answered(worker, (0, 1)).code == "batch.process_ended"


def test_another_package_or_program_is_refused(worker):
    from medrega_edge import __version__

    assert answered(worker, (0, 1)).code == "batch.other_package"
    worker._setup = Setup(__version__, None, "0" * 64, EngineOptions(), 1)
    error = answered(worker, (0, 1))
    assert isinstance(error, PackageError)
    assert error.message.params["wanted"] == f"{__version__} {'0' * 12}"


# ---- with Ray


@contextmanager
def cluster(*cores):
    """A cluster of one node for each number of cores, on this machine; yields it."""
    # As the engine sets them, before the import: everything stays on loopback.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    import ray
    from ray.cluster_utils import Cluster

    args = {"object_store_memory": 80 << 20, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
    made = Cluster(initialize_head=True, head_node_args=args | {"num_cpus": cores[0]})
    try:
        made.others = [made.add_node(num_cpus=count, **args) for count in cores[1:]]
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def two_nodes():
    with cluster(1, 1) as made:
        yield made.address


def on_ray(job, address, start=Position(0), package=PACKAGE, model=None):
    from medrega_edge.batch import ray_engine

    return ray_engine.answers(job, start, package, model, EngineOptions(), ray_engine.RayOptions(address))


def images(folder, count):
    folder.mkdir()
    jsonl(folder, questions(count)).unlink()
    return folder


def batch(source, out, *options):
    command = [sys.executable, "-m", "medrega_edge", "batch", str(source), "--out", str(out), *map(str, options)]
    return command + (["--question", QUESTION] if source.name == "in" else [])


def done(command):
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.slow
@pytest.mark.parametrize("source", ["folder", "jsonl", "paths", "struct", "shards"])
def test_the_rows_are_those_of_one_engine_for_every_source(tmp_path, two_nodes, engine, source):
    lines = [line | {"id": f"{line['id']}-{n}"} for line in questions(6) for n in range(2)]
    if source == "folder":
        job = ImageFolder(images(tmp_path / "in", 12), BatchQuestion(QUESTION))
    elif source == "jsonl":
        job = open_questions(jsonl(tmp_path / "jsonl", lines))
    elif source == "shards":
        job = open_questions(shards(tmp_path / "shards", questions(12)))
    else:
        job = open_questions(table(tmp_path / "table" / "q.parquet", lines, source.removesuffix("s")))
    one = list(job.answers(engine, Position(0)))
    assert len(one) == 12
    assert json.dumps(list(on_ray(job, two_nodes))) == json.dumps(one)
    assert all("error" not in row for _, row in one)


@pytest.mark.slow
def test_a_node_that_is_killed_costs_nothing(engine):
    with cluster(1, 1) as made, make_folder(80) as folder:
        job = ImageFolder(folder, BatchQuestion(QUESTION))
        one = list(job.answers(engine, Position(0)))
        rows = on_ray(job, made.address)
        found = [next(rows)]
        made.remove_node(made.others[0], allow_graceful=False)
        found += rows
    assert json.dumps(found) == json.dumps(one)


@contextmanager
def make_folder(count):
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        yield images(Path(name) / "in", count)


class Killing(ImageFolder):
    """A folder with a file that kills whoever opens it."""

    def answers(self, engine, start, stop=None):
        return super().answers(Trap(engine), start, stop)


class Trap:
    def __init__(self, engine):
        self.engine = engine

    def open(self, path, view):
        if path.name == "5.png" and type(self.engine).__name__ != "_Lost":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.engine.open(path, view)

    def __getattr__(self, name):
        return getattr(self.engine, name)


@pytest.mark.slow
def test_a_file_that_kills_its_worker_costs_its_row(tmp_path, two_nodes, engine):
    folder = images(tmp_path / "in", 40)
    one = list(ImageFolder(folder, BatchQuestion(QUESTION)).answers(engine, Position(0)))
    rows = list(on_ray(Killing(folder, BatchQuestion(QUESTION)), two_nodes))
    assert rows[5][1]["error"]["code"] == "batch.worker_lost"
    assert rows[5][1]["id"] == one[5][1]["id"]
    assert rows[5][1]["image"] == {"path": "5.png"}
    del rows[5], one[5]
    assert json.dumps(rows) == json.dumps(one)


@pytest.mark.slow
def test_another_package_on_a_node_ends_the_run(tmp_path, two_nodes):
    from dataclasses import replace

    folder = images(tmp_path / "in", 4)
    job = ImageFolder(folder, BatchQuestion(QUESTION))
    with raises_code(PackageError, "batch.other_package"):
        list(on_ray(job, two_nodes, package=replace(PACKAGE, sha256="0" * 64)))


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told(tmp_path):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    job = ImageFolder(images(tmp_path / "in", 1), BatchQuestion(QUESTION))
    with raises_code(ResourceError, "batch.ray_unreachable"):
        list(on_ray(job, "127.0.0.1:1"))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_goes_on_where_it_stopped(tmp_path, kill):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    folder, whole, out = images(tmp_path / "in", 120), tmp_path / "whole.jsonl", tmp_path / "a.jsonl"
    done(batch(folder, whole, "--threads", 1))
    command = batch(folder, out, "--engine", "ray", "--threads", 2)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    part = tmp_path / "a.jsonl.part"
    while not part.exists() or part.read_bytes().count(b"\n") < 6:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    begun = below(process.pid)
    listening = {address for pid in begun for address in listeners(pid)}
    agents = [pid for pid in begun if b"Agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(process.pid, kill)
    said = process.communicate(timeout=120)[1]
    assert "Traceback" not in said
    assert len(begun) > 3
    assert listening
    assert {address for address in listening if not address.startswith("127.")} == set()
    deadline = time.monotonic() + 60
    # Ray's agents, which have no part in answers, look for a while for a cluster that is gone.
    while (left := [pid for pid in begun if is_running(pid) and pid not in agents]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    run = done([*command, "--parquet", str(tmp_path / "a.parquet")])
    assert "already done" in run.stderr
    assert [line for line in run.stderr.splitlines() if line.startswith("[") or " -- " in line] == []  # nothing of Ray's
    assert list(read_parquet(tmp_path / "a.parquet")) == [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert out.read_bytes() == whole.read_bytes()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def below(root):
    """A process and those that it started, directly or not."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def listeners(pid):
    """The addresses at which a process waits for connections."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(descriptor))
        except OSError:
            continue
    for table_name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table_name}").read_text().splitlines()[1:]:
            (
                _,
                local,
                _,
                state,
                *_,
            ) = columns = line.split()
            if state == "0A" and f"socket:[{columns[9]}]" in sockets:
                yield address_of(local.partition(":")[0])


def address_of(digits):
    """An IPv4 address as /proc writes it, or what an IPv6 address is mapped from."""
    if len(digits) == 32 and not digits.startswith("0000000000000000FFFF0000"):
        return {"0" * 24 + "01000000": "127.0.0.1 (v6)"}.get(digits, f"v6 {digits}")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(digits[-8:])))
