"""A batch on a Ray cluster: blocks of parts go through Ray Data to actors, rows come back in order.

Each actor has the engine loaded once. Each core gets one, and each node one of a large package. The rows do not depend on
how many there are. The work file of the batch stays with the driver, so a driver that died goes on where it stopped.

Ray restarts a worker that died and hands it the block again, on another node if its own is gone. For that an actor takes a
small share of a core in Ray's books, and is placed by us: a pool that filled its nodes could not move. The ledger knows what
a worker had begun when it died. What kills WORKERS_LOST workers gets failed rows.

Ray gets a round of blocks at a time, so that a job of any length needs the same memory. Errors travel as results: Ray would
log the words of an exception, and print them.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from medrega_edge import __version__
from medrega_edge.batch.extra import require
from medrega_edge.batch.journal import Position
from medrega_edge.batch.parts import Job, Part, Row
from medrega_edge.batch.process_pool import LARGE
from medrega_edge.batch.ray_worker import Block, Ledger, Setup, Worker
from medrega_edge.engine import EngineOptions
from medrega_edge.errors import InternalError, MedregaError, ResourceError
from medrega_edge.inference import memory
from medrega_edge.inference.devices import available_threads
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder

BLOCK_ITEMS = 16  # that an actor gets at a time: half a second of a small package, beside some milliseconds of Ray's
BLOCKS_AN_ACTOR = 512  # in a round: minutes of work, beside the seconds in which a round starts its actors
BLOCKS_AHEAD = 2  # for each actor: the one that it answers and the one after it
ACTOR_CORES = 0.125  # of a core, in Ray's books: so many actors fit on what is left when nodes go
LOCAL_OBJECT_BYTES = 256 << 20  # of shared memory, on a cluster that is started for this run
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


@dataclass(frozen=True)
class RayOptions:
    """The cluster: `address` is HOST:PORT or "auto", None for one that is started on this machine for this run.

    `threads` limits the cores; None for all. `on_dashboard` gets the address of Ray's dashboard, if it has one.
    """

    address: str | None = None
    threads: int | None = None
    on_dashboard: Callable[[str], None] = lambda address: None


def answers(
    job: Job, start: Position, package: Package, model: str | None, engine: EngineOptions, options: RayOptions
) -> Iterator[tuple[Position, Row]]:
    """Answer from `start` on, in order. `model` is what named the package here; `engine` lacks the number of threads.

    Raises ResourceError for an extra that is not installed or a cluster that cannot be used, PackageError where a node has
    another package, and what one engine raises.
    """
    require("ray", "pyarrow")
    with _cluster(options) as ray:
        parts, ledger = job.parts(start), None
        while True:
            places, cores = _places(ray.nodes(), package, options.threads)
            blocks = list(islice(_blocks(parts, min(BLOCK_ITEMS, _share(len(job) - start.item, places))), _round(places)))
            if not blocks:
                return
            if ledger is None:
                ledger = _start_ledger(ray)
            setup = Setup(__version__, _name_for_nodes(package, model), package.sha256, engine, cores)
            yield from _answer_round(ray, blocks, setup, ledger, places)


def _name_for_nodes(package: Package, model: str | None) -> str | None:
    """How other nodes find the package that `model` named here: by the same name, or by its absolute path."""
    if package.folder == default_folder():
        return None
    return model if model and not os.path.isdir(model) else str(package.folder.absolute())


def _share(items: int, places: Sequence[str]) -> int:
    """Items of a block so small that every actor gets several of a short job."""
    return max(1, items // (4 * len(places)))


def _round(places: Sequence[str]) -> int:
    return BLOCKS_AN_ACTOR * len(places)


def _blocks(parts: Iterator[Part], items: int) -> Iterator[Block]:
    """Join parts to blocks of about so many items: consecutive ones, which are often about one image or series."""
    block: list[Part] = []
    for part in parts:
        block.append(part)
        if part.stop - block[0].start.item >= items:
            yield Block(block)
            block = []
    if block:
        yield Block(block)


def _places(nodes: Sequence[dict[str, Any]], package: Package, threads: int | None) -> tuple[list[str], int]:
    """Return the node of each actor, and the cores of an actor; raises ResourceError where no node has room for one."""
    alive = [node for node in nodes if node["Alive"]]
    cores = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in alive}
    wanted = threads or sum(cores.values())
    each = 1
    if package.total_bytes >= LARGE:  # it waits for memory: more actors on a node would not make it faster
        each = max(1, min([wanted, *(count for count in cores.values() if count)]))
    room = memory.peak(package.manifest)
    places: list[str] = []
    for node in alive:
        most = cores[node["NodeID"]] // each
        if (free := node["Resources"].get("memory")) is not None:
            most = min(most, int(free) // room)
        places += [node["NodeID"]] * most
    if not places:
        raise ResourceError("batch.ray_no_room", needed=room / 1e6)
    return places[: max(1, wanted // each)], each


def _start_ledger(ray: Any) -> Any:
    """Start the ledger beside the driver: it is lost only with it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Ledger).remote()


def _answer_round(
    ray: Any, blocks: Sequence[Block], setup: Setup, ledger: Any, places: Sequence[str]
) -> Iterator[tuple[Position, Row]]:
    import pyarrow as pa
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    turn = cycle(places)

    def place() -> dict[str, Any]:
        """Where the next actor goes; where else if that node is gone."""
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(next(turn), soft=True)}

    tables = [pa.table({"number": [number], "block": [pickle.dumps(block)]}) for number, block in enumerate(blocks)]
    answered = ray.data.from_arrow(tables).map_batches(
        Worker,
        fn_constructor_args=(setup, ledger),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(len(places), len(blocks)), max_tasks_in_flight_per_actor=BLOCKS_AHEAD),
        num_cpus=ACTOR_CORES,
        ray_remote_args_fn=place,
        max_restarts=-1,
        max_task_retries=-1,
    )
    expected = 0
    results = answered.iter_batches(batch_size=None, batch_format="pyarrow")
    try:
        for table in results:
            for number, result in zip(table["number"].to_pylist(), table["result"].to_pylist(), strict=True):
                if number != expected:
                    raise InternalError(RuntimeError("a block is missing or came twice"))
                expected += 1
                rows = pickle.loads(result)  # noqa: S301 - from an actor of ours
                if isinstance(rows, MedregaError):
                    raise rows
                yield from rows
    except ray.exceptions.RayError as error:
        raise ResourceError("batch.ray_failed", type=type(error).__name__) from None
    if expected < len(blocks):
        raise InternalError(RuntimeError("blocks are missing"))


@contextmanager
def _cluster(options: RayOptions) -> Iterator[Any]:
    """Connect to a cluster, or start one for this run; yields the module `ray`."""
    os.environ.update(QUIET)  # before the import; processes that are started here inherit it
    if _is_loopback(options.address):  # else Ray would put the address of this machine in the network in its place
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if options.address is not None:  # attempts of ten seconds to reach it; else Ray makes twenty
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "3")
    if options.address is None:  # else Ray writes a token into the home, which every user of this machine may read
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    import ray
    import ray.data
    import ray.exceptions

    with tempfile.TemporaryDirectory(prefix="mr-", ignore_cleanup_errors=True) as folder:
        own: dict[str, Any] = {"address": options.address}
        if options.address is None:
            own = {
                "address": "local",
                "num_cpus": options.threads or available_threads(),
                "object_store_memory": LOCAL_OBJECT_BYTES,
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",  # all of it listens there alone
                "_temp_dir": folder,  # of the user alone; what is spilled to the disk may name files
            }
        try:
            with _own_signals(), _silent():
                context = ray.init(**own, log_to_driver=False, logging_level="CRITICAL")
        except Exception as error:  # nobody there, another version; a bare Exception if its node does not start in time
            raise ResourceError("batch.ray_unreachable", type=type(error).__name__) from None
        try:
            _configure(ray)
            if context.dashboard_url:
                options.on_dashboard(f"http://{context.dashboard_url}")
            yield ray
        finally:
            with _own_signals():
                ray.shutdown()


def _is_loopback(address: str | None) -> bool:
    return address is None or address.startswith(("127.", "localhost:", "[::1]:"))


def _configure(ray: Any) -> None:
    data = ray.data.DataContext.get_current()
    data.execution_options.preserve_order = True
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    data.execution_no_progress_timeout_s = -1  # a large package may need long for a block
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


@contextmanager
def _silent() -> Iterator[None]:
    """Let nothing through to standard error: the core of Ray writes there when it starts, past Python."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Put back the handlers that are there: Ray puts its own in place of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            with suppress(TypeError):  # one that was not set from Python
                signal.signal(number, handler)
