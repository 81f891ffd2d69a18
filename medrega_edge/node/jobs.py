"""The second part of the queue: jobs are handed out, and their results or the reason of their failure are kept."""

from __future__ import annotations

from collections.abc import Sequence

from medrega_edge.i18n.message import Message
from medrega_edge.node.dead_letters import DeadLetters, as_text, object_path
from medrega_edge.node.files import make_durably, remove_folder, write_durably
from medrega_edge.node.made import MadeObject
from medrega_edge.node.queue import count
from medrega_edge.node.records import Job


class Jobs(DeadLetters):
    """`next_job` of the store, and what can become of a job."""

    def next_job(self) -> Job | None:
        """The oldest job that may be tried now; None without one. That it was tried is on the disk before it is returned.

        A job that was tried `limits.attempts` times and did not come to an end has ended the process: it is rejected.
        Raises ResourceError.
        """
        while True:
            row = self._row(
                "SELECT * FROM job WHERE state = 'waiting' AND not_before <= ? ORDER BY id LIMIT 1", self._clock()
            )
            if row is None:
                return None
            if row["attempts"] >= self._limits.attempts:
                self._reject_job(row["id"], Message("node.job_ends_process", count=row["attempts"]))
                continue
            with self._transaction() as database:
                database.execute("UPDATE job SET attempts = attempts + 1 WHERE id = ?", (row["id"],))
            attempts, instances = row["attempts"] + 1, self._instances(row["id"])
            return Job(row["id"], row["rule"], row["study_uid"], row["round"], attempts, instances)

    def finish(self, job: Job, made: Sequence[MadeObject], send_to: Sequence[str]) -> None:
        """Keep the results of a job, and their deliveries to the peers `send_to`: files first, then one transaction.

        Nothing is sent before. May be repeated after it raised ResourceError or UsageError.
        """
        folder = self._results_folder(job.id)
        remove_folder(folder)  # of an attempt that was killed
        make_durably(folder)
        for number, one in enumerate(made):
            write_durably(object_path(folder, number, one.kind), one.data)
        now = self._clock()
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE job SET state = 'answered', changed = ?, reason = NULL, has_results = 1 "
                "WHERE id = ? AND state = 'waiting'",
                (now, job.id),
            )
            if not changed.rowcount:  # a call before had its way, and raised all the same
                return
            for number, one in enumerate(made):
                values = (job.id, number, one.kind, one.sop_class, one.sop_uid, len(one.data))
                database.execute("INSERT INTO object VALUES (?, ?, ?, ?, ?, ?)", values)
            for peer in send_to:
                database.execute("INSERT INTO delivery (job, peer, changed) VALUES (?, ?, ?)", (job.id, peer, now))
            count(database, "answered")
            count(database, "held_bytes", sum(len(one.data) for one in made))

    def reject(self, job: Job, reason: Message) -> None:
        """Give a job up: it becomes a dead letter. Raises ResourceError, and may be repeated then."""
        self._reject_job(job.id, reason)

    def _reject_job(self, job: int, reason: Message) -> None:
        with self._transaction() as database:
            database.execute(
                "UPDATE job SET state = 'rejected', reason = ?, changed = ?, is_filed = 0 "
                "WHERE id = ? AND state = 'waiting'",
                (as_text(reason), self._clock(), job),
            )
        self._file_dead_letters()

    def postpone_job(self, job: Job, reason: Message, until: float) -> None:
        """Let a job wait until a time. Raises ResourceError."""
        with self._transaction() as database:
            database.execute("UPDATE job SET not_before = ?, reason = ? WHERE id = ?", (until, as_text(reason), job.id))

    def give_back(self, job: Job) -> None:
        """Take back that a job was tried, because the node was told to stop meanwhile. Raises ResourceError."""
        with self._transaction() as database:
            database.execute(
                "UPDATE job SET attempts = attempts - 1 WHERE id = ? AND state = 'waiting' AND attempts = ?",
                (job.id, job.attempts),
            )
