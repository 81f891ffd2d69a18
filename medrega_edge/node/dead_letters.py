"""Dead letters: jobs and deliveries that were given up, each a folder below `rejected/` with the reason.

The database decides what is rejected. The folders are for people: they show the files by links, and can be written anew.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medrega_edge.errors import MedregaError
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import write_text
from medrega_edge.io.safe_text import json_text
from medrega_edge.node.events import short_hash
from medrega_edge.node.files import link_or_copy, make_durably, remove_folder
from medrega_edge.node.receiving import Receiving
from medrega_edge.node.records import Instance

REASON = "reason.json"


class DeadLetters(Receiving):
    """`retry_rejected` of the store, and what the other parts need to give something up."""

    def _results_folder(self, job: int) -> Path:
        return self.folder / "results" / str(job)

    def _letter(self, kind: str, number: int) -> Path:
        """The folder of a dead letter; `kind` is the name of its table."""
        return self.folder / "rejected" / f"{kind}-{number}"

    def _instances(self, job: int) -> tuple[Instance, ...]:
        sql = "SELECT instance.* FROM job_instance JOIN instance ON instance.id = job_instance.instance WHERE job = ?"
        return tuple(self._instance(row) for row in self._rows(f"{sql} ORDER BY instance.id", job))

    def _objects(self, job: int) -> list[sqlite3.Row]:
        return self._rows("SELECT * FROM object WHERE job = ? ORDER BY number", job)

    def _object_path(self, row: sqlite3.Row) -> Path:
        return object_path(self._results_folder(row["job"]), row["number"], row["kind"])

    def _file_dead_letters(self) -> None:
        """Write the folders of what was rejected since the last call; what fails for want of room is left to the next."""
        with self._mutex, suppress(MedregaError, OSError):
            for row in self._rows("SELECT * FROM job WHERE state = 'rejected' AND NOT is_filed"):
                files = [instance.path for instance in self._instances(row["id"])]
                self._file("job", row, files, {"rule": row["rule"], "study": short_hash(row["study_uid"])})
            for row in self._rows("SELECT * FROM delivery WHERE state = 'rejected' AND NOT is_filed"):
                files = [self._object_path(each) for each in self._objects(row["job"])]
                self._file("delivery", row, files, {"peer": row["peer"], "job": row["job"]})

    def _file(self, kind: str, row: sqlite3.Row, files: list[Path], facts: dict[str, Any]) -> None:
        folder = self._letter(kind, row["id"])
        make_durably(folder)
        for file in files:
            link_or_copy(file, folder / file.name)
        when = datetime.fromtimestamp(row["changed"], UTC).isoformat(timespec="milliseconds")
        reason = {**json.loads(row["reason"]), "time": when, "attempts": row["attempts"], **facts}
        write_text(folder / REASON, json_text(reason, indent=2) + "\n")
        with self._transaction() as database:
            database.execute(f"UPDATE {kind} SET is_filed = 1 WHERE id = ?", (row["id"],))

    def retry_rejected(self) -> int:
        """Let everything that was rejected be tried again; returns how many. Works beside a running node.

        Raises ResourceError or UsageError.
        """
        retried = 0
        with self._transaction() as database:
            for kind in ("job", "delivery"):
                for row in database.execute(f"SELECT id FROM {kind} WHERE state = 'rejected'").fetchall():
                    remove_folder(self._letter(kind, row["id"]))
                    retried += 1
                database.execute(
                    f"UPDATE {kind} SET state = 'waiting', attempts = 0, not_before = 0, reason = NULL, changed = ? "
                    "WHERE state = 'rejected'",
                    (self._clock(),),
                )
            database.execute("UPDATE peer SET failures = 0, not_before = 0")
        return retried


def object_path(folder: Path, number: int, kind: str) -> Path:
    """The file of result `number` of a job."""
    return folder / f"{number}-{kind}.dcm"


def as_text(reason: Message) -> str:
    """A reason as it stands in the database."""
    return json.dumps(reason.to_dict())
