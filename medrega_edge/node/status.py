"""What a node has done and has to do, read beside it; and whether it could start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medrega_edge.errors import MedregaError
from medrega_edge.i18n.message import Message
from medrega_edge.io.lock import open_locked
from medrega_edge.node.config import NodeConfig
from medrega_edge.node.queue import LOCK
from medrega_edge.node.receiving import MEGABYTE
from medrega_edge.node.records import Counts
from medrega_edge.node.store import Store


def is_running(folder: Path) -> bool:
    """Whether a process has the folder of state at this moment."""
    if not (folder / LOCK).is_file():
        return False
    try:
        file = open_locked(folder / LOCK)
    except OSError:
        return False
    if file is None:
        return True
    file.close()
    return False


def counts(config: NodeConfig) -> Counts:
    """The counts of the queue; raises UsageError if the node never ran, ResourceError if its queue cannot be read."""
    with Store(config.folder, config.limits, is_beside=True) as store:
        return store.counts()


def lines(found: Counts, running: bool) -> Iterator[Message]:
    """The counts in words."""
    yield Message("node.status_running") if running else Message("node.status_stopped")
    yield Message("node.status_open", studies=found.studies_open, instances=found.instances_open)
    yield Message("node.status_jobs", count=found.jobs_waiting, seconds=found.oldest_job)
    yield Message("node.status_deliveries", count=found.deliveries_waiting, seconds=found.oldest_delivery)
    yield Message("node.status_rejected", jobs=found.jobs_rejected, deliveries=found.deliveries_rejected)
    yield Message("node.status_held", instances=found.instances_held, megabytes=found.held_bytes / MEGABYTE)
    yield Message(
        "node.status_received",
        received=found.received,
        known=found.known,
        conflicts=found.conflicts,
        refused=found.refused,
        unmatched=found.unmatched,
    )
    yield Message("node.status_done", answered=found.answered, delivered=found.delivered, dropped=found.dropped)


def retry(config: NodeConfig) -> int:
    """Let the dead letters be tried again; returns how many. Raises as `counts` does."""
    with Store(config.folder, config.limits, is_beside=True) as store:
        return store.retry_rejected()


def check(config: NodeConfig) -> Iterator[Message | MedregaError]:
    """Whether the node could start and its peers answer: a message for each thing that is well, an error for each other."""
    from medrega_edge.node.sender import echo
    from medrega_edge.package.registry import find_package

    yield Message("node.check_config", rules=len(config.rules), peers=len(config.peers))
    try:
        package = find_package(config.package)
        package.verify()
        yield Message("package.verified", name=package.manifest.name, version=package.manifest.version)
    except MedregaError as error:
        yield error
    for peer in config.peers:
        if not peer.port:
            yield Message("node.check_stow", name=peer.name) if peer.stow else Message("node.check_sender", name=peer.name)
            continue
        try:
            echo(peer, config)
            yield Message("node.check_peer", name=peer.name)
        except MedregaError as error:
            yield error
