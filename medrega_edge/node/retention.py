"""Deletion by rule, and tidying up after a kill."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from medrega_edge.node.config import Retention
from medrega_edge.node.deliveries import Deliveries
from medrega_edge.node.files import remove_file, remove_folder
from medrega_edge.node.queue import count, queue_error

AT_A_TIME = 500  # rows of one transaction
HOUR = 3600.0
WIPE_SECONDS = 24 * HOUR
WIPED_IN_MEMORY = 256 << 20  # bytes of a database; a larger one passes through a nameless file of the temporary folder
# Images that no job needs any more: each of their jobs is answered, and its results are with every peer or dead letters.
DONE_IMAGES = """
SELECT * FROM instance WHERE is_held = 1 AND round IS NOT NULL AND completed <= :before AND NOT EXISTS (
  SELECT 1 FROM job_instance JOIN job ON job.id = job_instance.job WHERE job_instance.instance = instance.id AND (
    job.state != 'answered' OR EXISTS (
      SELECT 1 FROM delivery WHERE delivery.job = job.id AND (delivery.state = 'waiting' OR delivery.changed > :before)
    )
  )
) LIMIT :most
"""
DONE_RESULTS = """
SELECT job.id FROM job WHERE job.state = 'answered' AND job.has_results = 1 AND job.changed <= :before AND NOT EXISTS (
  SELECT 1 FROM delivery WHERE delivery.job = job.id
  AND (delivery.state IN ('waiting', 'rejected') OR delivery.changed > :before)
) LIMIT :most
"""
DONE_JOBS = "SELECT id FROM job WHERE state = 'answered' AND has_results = 0 LIMIT :most"
BLANK = ", ".join(f"{name} = ''" for name in ("sop_uid", "study_uid", "series_uid", "body_part", "description"))


class Retiring(Deliveries):
    """`retire` of the store."""

    _wiped: float | None = None  # when this process wrote the database anew

    def retire(self, now: float, retention: Retention) -> None:
        """Delete what the configuration no longer keeps, at the time `now`. Of an instance the hash of its UID stays.

        Nothing goes that waits for an answer or a delivery. Raises ResourceError or UsageError, and goes on when called
        again.
        """
        self._file_dead_letters()
        while rows := self._rows(DONE_IMAGES, before=now - retention.received_hours * HOUR, most=AT_A_TIME):
            self._drop_images(rows)
        while rows := self._rows(DONE_RESULTS, before=now - retention.results_hours * HOUR, most=AT_A_TIME):
            self._drop_results(row["id"] for row in rows)
        before = now - retention.rejected_hours * HOUR
        for row in self._rows("SELECT id FROM job WHERE state = 'rejected' AND changed <= ?", before):
            self._drop_job(row["id"])
        for row in self._rows("SELECT id FROM delivery WHERE state = 'rejected' AND changed <= ?", before):
            remove_folder(self._letter("delivery", row["id"]))
            with self._transaction() as database:
                database.execute("UPDATE delivery SET state = 'dropped', changed = ? WHERE id = ?", (now, row["id"]))
                count(database, "dropped")
        while rows := self._rows(DONE_JOBS, most=AT_A_TIME):
            with self._transaction() as database:
                for row in rows:
                    _forget_job(database, row["id"])
        self._wipe(now)

    def _wipe(self, now: float) -> None:
        """Write the database anew at the first call, and then once a day.

        What was blanked is overwritten; but SQLite also moves rows from page to page, and leaves their old bytes behind.
        """
        if self._wiped is not None and 0 <= now - self._wiped < WIPE_SECONDS:
            return
        with self._mutex:
            size = self._number("PRAGMA page_count") * self._number("PRAGMA page_size")
            try:
                self._database.execute(f"PRAGMA temp_store = {'MEMORY' if size <= WIPED_IN_MEMORY else 'FILE'}")
                self._database.execute("VACUUM")
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                raise queue_error(error) from None
        self._wiped = now

    def _drop_images(self, rows: list[sqlite3.Row]) -> None:
        """Delete the files, then blank the rows: after a kill in between the same files are deleted again."""
        folders = {self._received_path(row["study_hash"], row["sha256"]).parent for row in rows}
        for row in rows:
            remove_file(self._received_path(row["study_hash"], row["sha256"]))
        with self._transaction() as database:
            for row in rows:
                database.execute(f"UPDATE instance SET is_held = 0, {BLANK} WHERE id = ?", (row["id"],))
            count(database, "held_bytes", -sum(row["bytes"] for row in rows))
        for folder in folders:
            self._remove_empty(folder)

    def _drop_results(self, jobs: Iterable[int]) -> None:
        for job in jobs:
            remove_folder(self._results_folder(job))
            size = self._number("SELECT SUM(bytes) FROM object WHERE job = ?", job)
            with self._transaction() as database:
                database.execute("DELETE FROM object WHERE job = ?", (job,))
                database.execute("UPDATE job SET has_results = 0 WHERE id = ?", (job,))
                count(database, "held_bytes", -size)

    def _drop_job(self, job: int) -> None:
        """Delete a dead letter; the images that only it needed go next time."""
        remove_folder(self._letter("job", job))
        with self._transaction() as database:
            _forget_job(database, job)
            count(database, "dropped")

    def _prepare(self) -> None:
        """Remove what a kill left without a row, and write dead letters anew that it left without a folder."""
        super()._prepare()
        for folder in filter(Path.is_dir, (self.folder / "received").iterdir()):
            held = self._rows("SELECT sha256 FROM instance WHERE study_hash = ? AND is_held = 1", folder.name)
            names = {f"{row['sha256']}.dcm" for row in held}
            for file in folder.iterdir():
                if file.name not in names:
                    remove_file(file)
            self._remove_empty(folder)
        kept = {str(row["id"]) for row in self._rows("SELECT id FROM job WHERE has_results = 1")}
        for folder in (self.folder / "results").iterdir():
            if folder.name not in kept:
                remove_folder(folder)
        letters = set()
        for kind in ("job", "delivery"):
            letters |= {
                self._letter(kind, row["id"]) for row in self._rows(f"SELECT id FROM {kind} WHERE state = 'rejected'")
            }
            with self._transaction() as database:
                database.execute(f"UPDATE {kind} SET is_filed = 0 WHERE state = 'rejected'")
        for folder in (self.folder / "rejected").iterdir():
            if folder not in letters:
                remove_folder(folder)
        self._file_dead_letters()


def _forget_job(database: sqlite3.Connection, job: int) -> None:
    """Delete the rows of a job of which no file is left."""
    for table in ("job_instance", "delivery", "object"):
        database.execute(f"DELETE FROM {table} WHERE job = ?", (job,))
    database.execute("DELETE FROM job WHERE id = ?", (job,))
