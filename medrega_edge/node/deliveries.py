"""The third part of the queue: results go to the peers of their rule, again and again until a peer has them."""

from __future__ import annotations

from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.node.dead_letters import as_text
from medrega_edge.node.jobs import Jobs
from medrega_edge.node.made import MadeObject
from medrega_edge.node.queue import count
from medrega_edge.node.records import Delivery


class Deliveries(Jobs):
    """`next_delivery` of the store, and what can become of a delivery."""

    def next_delivery(self, now: float) -> Delivery | None:
        """A delivery that may be tried at the time `now`, those first that failed least often; None without one.

        Its objects are in memory. A delivery whose files have gone is rejected. Raises ResourceError.
        """
        while True:
            row = self._row(
                "SELECT delivery.*, job.study_uid, COALESCE(peer.failures, 0) AS failures FROM delivery "
                "JOIN job ON job.id = delivery.job LEFT JOIN peer ON peer.name = delivery.peer "
                "WHERE delivery.state = 'waiting' AND delivery.not_before <= :now AND COALESCE(peer.not_before, 0) <= :now "
                "ORDER BY delivery.attempts, delivery.id LIMIT 1",
                now=now,
            )
            if row is None:
                return None
            try:
                objects = self._read_objects(row["job"])
            except FileNotFoundError:
                self._reject_delivery(row["id"], Message("node.results_gone"))
                continue
            except OSError as error:
                raise ResourceError("node.results_unreadable", reason=error.strerror or "") from None
            texts = (row["peer"], row["study_uid"])
            return Delivery(row["id"], row["job"], *texts, row["attempts"], row["failures"], objects)

    def _read_objects(self, job: int) -> tuple[MadeObject, ...]:
        rows = self._objects(job)
        return tuple(MadeObject(r["kind"], r["sop_class"], r["sop_uid"], self._object_path(r).read_bytes()) for r in rows)

    def delivered(self, delivery: Delivery) -> None:
        """The peer has the results. Raises ResourceError; then they are sent again, with the same UIDs."""
        with self._transaction() as database:
            database.execute(
                "UPDATE delivery SET state = 'delivered', changed = ?, reason = NULL WHERE id = ? AND state = 'waiting'",
                (self._clock(), delivery.id),
            )
            database.execute("DELETE FROM peer WHERE name = ?", (delivery.peer,))
            count(database, "delivered")

    def postpone(self, delivery: Delivery, reason: Message, until: float, peer_until: float) -> None:
        """Let a delivery wait until a time, and every other one for this peer until `peer_until`. Raises ResourceError."""
        with self._transaction() as database:
            database.execute(
                "UPDATE delivery SET attempts = attempts + 1, not_before = ?, reason = ? WHERE id = ?",
                (until, as_text(reason), delivery.id),
            )
            database.execute(
                "INSERT INTO peer VALUES (:name, 1, :until) "
                "ON CONFLICT (name) DO UPDATE SET failures = failures + 1, not_before = :until",
                {"name": delivery.peer, "until": peer_until},
            )

    def reject_delivery(self, delivery: Delivery, reason: Message) -> None:
        """Give a delivery up: it becomes a dead letter. Raises ResourceError, and may be repeated then."""
        self._reject_delivery(delivery.id, reason)

    def _reject_delivery(self, delivery: int, reason: Message) -> None:
        with self._transaction() as database:
            database.execute(
                "UPDATE delivery SET state = 'rejected', reason = ?, changed = ?, is_filed = 0 "
                "WHERE id = ? AND state = 'waiting'",
                (as_text(reason), self._clock(), delivery),
            )
        self._file_dead_letters()
