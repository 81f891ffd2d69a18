"""The queue of the node, on the disk: what was received, what is to be answered, what is to be delivered.

    store = Store(folder, limits)
    store.receive(data, header, "ct")          # threads of associations
    for study in store.complete(now, config):  # the main thread
        store.add_jobs(study, plan_of(study.instances, config.rules, study.earlier).jobs)
    job = store.next_job()                     # the answering thread
    store.finish(job, made, ("archive",))
    delivery = store.next_delivery(now)        # the delivering thread
    store.delivered(delivery)

Each step is one durable transaction. After a kill the next process finds every step done or not begun. Each part of the
queue has a module of its own: `queue`, `receiving`, `dead_letters`, `jobs`, `deliveries`, `retention`.
"""

from __future__ import annotations

from dataclasses import fields

from medrega_edge.node.records import Counts, Delivery, Instance, Job, NewJob, Outcome, Round
from medrega_edge.node.retention import Retiring

__all__ = ["Counts", "Delivery", "Instance", "Job", "NewJob", "Outcome", "Round", "Store"]

NOW_WAITING = {
    "studies_open": "SELECT COUNT(DISTINCT study_hash) FROM instance WHERE round IS NULL",
    "instances_open": "SELECT COUNT(*) FROM instance WHERE round IS NULL",
    "instances_held": "SELECT COUNT(*) FROM instance WHERE is_held = 1",
    "jobs_waiting": "SELECT COUNT(*) FROM job WHERE state = 'waiting'",
    "jobs_rejected": "SELECT COUNT(*) FROM job WHERE state = 'rejected'",
    "deliveries_waiting": "SELECT COUNT(*) FROM delivery WHERE state = 'waiting'",
    "deliveries_rejected": "SELECT COUNT(*) FROM delivery WHERE state = 'rejected'",
}
OLDEST = {
    "oldest_job": "SELECT MIN(changed) AS n FROM job WHERE state = 'waiting'",
    "oldest_delivery": "SELECT MIN(changed) AS n FROM delivery WHERE state = 'waiting'",
}


class Store(Retiring):
    """The whole queue. Thread-safe; one process at a time has a folder, others may count and retry beside it."""

    def counts(self) -> Counts:
        """What is in the queue, and what was counted since its folder was made. Raises ResourceError."""
        now = self._clock()
        found: dict[str, float] = {name: self._number(sql) for name, sql in NOW_WAITING.items()}
        for name, sql in OLDEST.items():
            row = self._row(sql)
            found[name] = 0.0 if row is None or row["n"] is None else max(0.0, now - row["n"])
        counted = {field.name for field in fields(Counts)} - found.keys()
        return Counts(**found, **{name: self._counter(name) for name in counted})  # type: ignore[arg-type]
