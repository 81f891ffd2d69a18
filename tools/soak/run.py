"""One soak: what happens when, in the order that the seed draws, and all that was seen of it."""

import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from medrega_edge.errors import MedregaError
from medrega_edge.node.config import read_config
from medrega_edge.node.status import counts
from tools.soak.archive import Archive
from tools.soak.failing import Proxy, after_some_bytes, small_disk
from tools.soak.instances import sources_of, studies_of
from tools.soak.process import Node
from tools.soak.sender import Sender

CONFIG = """
[node]
port = 0
folder = "disk/state"
quiet_seconds = 0.5
longest_seconds = 20.0
[node.limits]
idle_seconds = 10
attempts = 20
[[peer]]
name = "scanner"
ae_title = "SCANNER"
address = "127.0.0.1"
[[peer]]
name = "archive"
ae_title = "ARCHIVE"
address = "127.0.0.1"
port = {port}
[[rule]]
name = "liver"
modality = "MR"
question = "locate the liver"
outputs = "sr"
send_to = "archive"
[[rule]]
name = "chest"
modality = "CT"
question = "locate the heart"
outputs = ["sr", "gsps"]
send_to = "archive"
[retention]
received_hours = 0
results_hours = 0
"""
DISK_MEGABYTES = 256
MOST_OPEN = 60  # instances that are acknowledged and not answered: what waits in the queue
KILLED = 1 / 3  # of the instances: kills come until so many are done
STALLED_SECONDS = 180.0
SAMPLE_SECONDS = 1.0
OUTAGE = (2.0, 6.0)  # seconds for which something fails
DROPPED_AFTER = {"sender": 3_000_000, "archive": 30_000}  # bytes at most


@dataclass(frozen=True)
class Plan:
    """How much is sent, and how often what happens. Kills come in the first third; the rest is one life of the node."""

    instances: int
    kills: int
    seed: int = 0
    cuts: int = 4  # of each side
    drops: int = 2  # times, on each side, in which connections end in their midst
    refusals: int = 2  # times in which the archive has no room
    full_disks: int = 3

    def schedule(self):
        """Return what happens after which share of the instances is done, in order."""
        dice = random.Random(self.seed)
        kills = [
            (dice.uniform(0.01, KILLED), "kill at start" if number % 5 == 4 else "kill") for number in range(self.kills)
        ]
        others = {
            "cut sender": self.cuts,
            "cut archive": self.cuts,
            "drop sender": self.drops,
            "drop archive": self.drops,
            "archive full": self.refusals,
            "disk full": self.full_disks,
        }
        rest = [(dice.uniform(0.05, 0.9), name) for name, times in others.items() for _ in range(times)]
        return sorted(kills + rest)


@dataclass
class Seen:
    """What a soak leaves to be checked."""

    sources: list
    sender: Sender
    archive: Archive
    node: Node
    dropped: dict = field(default_factory=dict)
    happened: list = field(default_factory=list)  # (seconds, what)
    recoveries: list = field(default_factory=list)  # seconds from a kill until it listens, acknowledges, has answered
    samples: list = field(default_factory=list)
    seconds: float = 0.0
    disk: str = ""
    counts: dict = field(default_factory=dict)  # of the queue, when all was done
    problems: list = field(default_factory=list)


class Soak:
    """Runs a plan in a folder."""

    def __init__(self, plan, folder):
        """Prepare all but the node's start."""
        self._plan, self._folder, self._dice = plan, folder, random.Random(plan.seed + 2)
        self._begun = time.monotonic()
        self._news = threading.Event()
        self._over = threading.Event()
        archive = Archive(self._news.set)
        self._to_archive = Proxy(lambda: archive.port)
        self._path = folder / "node.toml"
        self._path.write_text(CONFIG.format(port=self._to_archive.port))
        node = Node(self._path)
        self._to_node = Proxy(lambda: node.port)
        sources = sources_of(plan.instances, plan.seed)
        studies = studies_of(sources, plan.seed)
        sender = Sender(self._to_node.port, studies, archive.answered, MOST_OPEN, plan.seed)
        self.seen = Seen(sources, sender, archive, node)

    @contextmanager
    def done(self):
        """Send, disturb, wait until all is done: a context of what was seen, with the node stopped and its folder there."""
        seen = self.seen
        with small_disk(self._folder / "disk", DISK_MEGABYTES) as self._disk:
            seen.disk = self._disk.way
            try:
                self._run()
            except TimeoutError as error:
                seen.problems.append(f"stalled: {error}; {self._state()}")
            finally:
                self._over.set()
                seen.sender.stopping.set()
                seen.dropped = {"sender": self._to_node.dropped, "archive": self._to_archive.dropped}
                if seen.node.process is not None and seen.node.process.poll() is None:
                    seen.node.kill()
                for each in (self._to_node, self._to_archive, seen.archive):
                    each.close()
            yield seen

    def _run(self):
        seen, node = self.seen, self.seen.node
        node.start()
        sampler = threading.Thread(target=self._sample, daemon=True)
        sampler.start()
        seen.sender.start()
        for share, what in self._plan.schedule():
            self._wait(lambda share=share: seen.sender.done >= share * self._plan.instances, f"before {what}")
            seen.happened.append((round(time.monotonic() - self._begun, 1), what))
            self._disturb(what)
        self._wait(lambda: not seen.sender.is_alive(), "the senders do not end")
        self._wait(self._is_idle, "the queue does not become empty")
        seen.seconds = time.monotonic() - self._begun
        self._stop(143)
        node.start()  # which deletes by rule at once
        self._wait(lambda: self._counts().instances_held == self._counts().jobs_rejected, "images are not deleted")
        seen.counts = self._counts().to_dict()
        self._stop(143)
        self._over.set()
        sampler.join()

    def _disturb(self, what):
        name, _, side = what.partition(" ")
        if name == "kill":
            return self._kill(at_start=bool(side))
        seconds = self._dice.uniform(*OUTAGE)
        if what == "disk full":
            return self._fill_disk(seconds)
        if what == "archive full":
            self.seen.archive.refuses = True
            time.sleep(seconds)
            self.seen.archive.refuses = False
            return None
        proxy = {"sender": self._to_node, "archive": self._to_archive}[side]
        if name == "cut":
            proxy.cut()
        else:
            proxy.drops = after_some_bytes(self._dice.random(), DROPPED_AFTER[side])
        time.sleep(seconds)
        proxy.mend()
        return None

    def _kill(self, at_start):
        node = self.seen.node
        time.sleep(self._dice.uniform(0, 1))
        killed = time.monotonic()
        node.kill()
        if at_start:
            node.launch()
            time.sleep(self._dice.uniform(0, 2))
            killed = time.monotonic()
            node.kill()
            self.seen.happened.append((round(killed - self._begun, 1), "killed while it started"))
        results, sent = len(self.seen.archive.results), len(self.seen.sender.acknowledged)
        node.start()
        ready = time.monotonic() - killed
        times = [ready]
        for grows in (
            lambda: len(self.seen.sender.acknowledged) > sent or not self.seen.sender.is_alive(),
            lambda: len(self.seen.archive.results) > results or self._is_idle(),
        ):
            self._wait(grows, "nothing goes on after a kill")
            times.append(time.monotonic() - killed)
        self.seen.recoveries.append(times)

    def _fill_disk(self, seconds):
        """Leave no room for a while; where kills still come, the node is killed meanwhile, and started on the full disk."""
        node = self.seen.node
        self._disk.fill(node.process.pid)
        time.sleep(seconds / 2)
        starts = None
        if self._disk.is_mounted and self.seen.sender.done < KILLED * self._plan.instances:
            node.kill()
            self.seen.happened.append((round(time.monotonic() - self._begun, 1), "killed on a full disk"))
            starts = threading.Thread(target=node.start)
            starts.start()
        time.sleep(seconds / 2)
        self._disk.free(node.process.pid)
        if starts is not None:
            starts.join()

    @property
    def state(self):
        """The node's folder of state."""
        return self._folder / "disk" / "state"

    def _stop(self, code):
        found = self.seen.node.stop()
        if found != code:
            self.seen.problems.append(f"the node ended with {found} after SIGTERM")

    def _wait(self, is_so, what):
        """Wait until something is so; whatever is sent or answered meanwhile gives it more time."""
        state, since = self._state(), time.monotonic()
        while not is_so():
            if self.seen.node.process.poll() is not None:
                self.seen.problems.append(f"the node ended by itself with {self.seen.node.process.returncode}")
                self.seen.node.port = None
                self.seen.node.start()
            self._news.wait(0.1)
            self._news.clear()
            if state != (state := self._state()):
                since = time.monotonic()
            elif time.monotonic() - since > STALLED_SECONDS:
                raise TimeoutError(what)

    def _state(self):
        seen = self.seen
        return seen.sender.done, sum(seen.sender.statuses.values()), len(seen.archive.results)

    def _counts(self):
        for _ in range(50):
            with suppress(MedregaError):
                return counts(read_config(self._path))
            time.sleep(0.1)
        return counts(read_config(self._path))

    def _is_idle(self):
        found = self._counts()
        return not (found.studies_open or found.jobs_waiting or found.deliveries_waiting)

    def _sample(self):
        while not self._over.wait(SAMPLE_SECONDS):
            seen = self.seen
            if sample := seen.node.sample(round(time.monotonic() - self._begun, 1), len(seen.archive.answered)):
                seen.samples.append(sample)
