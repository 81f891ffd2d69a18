"""The first part of the queue: instances come in, and a study becomes complete."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.node.config import NodeConfig
from medrega_edge.node.files import make_durably, remove_file, write_durably
from medrega_edge.node.queue import Queue, count
from medrega_edge.node.records import Instance, NewJob, Outcome, Round

ROUNDS_AT_A_TIME = 4  # each may hold thousands of instances
LANES = 64
MEGABYTE = 1_000_000
LONGEST_UID = 64
LONGEST_TEXT = 64  # characters of a text of the header: DICOM's own limit for LO
COLUMNS = {
    "sop_uid": "SOPInstanceUID",
    "sop_class": "SOPClassUID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "description": "SeriesDescription",
}
UIDS = ("sop_uid", "sop_class", "study_uid", "series_uid")


class Receiving(Queue):
    """`receive`, `holds`, `complete` and `add_jobs` of the store."""

    # An instance goes through the lane of its UID, so no two threads write the same file. Stores may share the lanes.
    _lanes = tuple(threading.Lock() for _ in range(LANES))

    def receive(self, data: bytes, header: Mapping[str, Any], peer: str) -> Outcome:
        """Keep an instance; when ADDED or KNOWN returns, its file and its row are on the disk.

        `data` is the whole DICOM file, `header` maps keywords to texts, `peer` is the name of who sent it. Raises
        ImageError where a UID is missing, ResourceError and UsageError where nothing can be written; it is not kept then.
        """
        fields = {column: _text(header, keyword) for column, keyword in COLUMNS.items()}
        if not all(0 < len(fields[column]) <= LONGEST_UID for column in UIDS):
            raise ImageError("node.no_uid")
        fields |= {"uid_hash": hash_of(fields["sop_uid"]), "digest": _digest(data), "peer": peer}
        fields["series_hash"] = hash_of(fields["series_uid"])
        fields |= {"study_hash": hash_of(fields["study_uid"])[:32], "sha256": hashlib.sha256(data).hexdigest()}
        with self._lanes[int(fields["uid_hash"][:8], 16) % LANES]:
            outcome = self._known(fields) or self._full(fields["study_hash"], len(data))
            if outcome is None:
                self._keep(data, fields)
                return Outcome.ADDED
        names = {Outcome.KNOWN: "known", Outcome.CONFLICT: "conflicts", Outcome.FULL: "refused"}
        with self._transaction() as database:
            count(database, names[outcome])
        return outcome

    def _keep(self, data: bytes, fields: dict[str, str]) -> None:
        """Write the file, then the row."""
        path = self._received_path(fields["study_hash"], fields["sha256"])
        with self._writing_to(path.parent):
            make_durably(path.parent)
            write_durably(path, data)
            row = {**fields, "bytes": len(data), "received": self._clock()}
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            try:
                with self._transaction() as database:
                    database.execute(f"INSERT INTO instance ({names}) VALUES ({values})", row)
                    count(database, "received")
                    count(database, "held_bytes", len(data))
            except ResourceError as error:
                # Of other failures only the next start tells whether the row is there; it removes files without a row.
                if error.code == "io.no_space":
                    remove_file(path)
                raise

    def _known(self, fields: Mapping[str, str]) -> Outcome | None:
        """KNOWN or CONFLICT for a UID that was received before."""
        row = self._row("SELECT digest FROM instance WHERE uid_hash = ?", fields["uid_hash"])
        if row is None:
            return None
        return Outcome.KNOWN if row["digest"] == fields["digest"] else Outcome.CONFLICT

    def _full(self, study_hash: str, size: int) -> Outcome | None:
        """FULL if an instance of `size` bytes would pass a limit."""
        limits = self._limits
        held = self._number("SELECT COUNT(*) FROM instance WHERE study_hash = ? AND is_held = 1", study_hash)
        is_full = (
            size > limits.instance_megabytes * MEGABYTE
            or held >= limits.study_instances
            or self._counter("held_bytes") + size > limits.folder_megabytes * MEGABYTE
        )
        return Outcome.FULL if is_full else None

    @contextmanager
    def _writing_to(self, folder: Path) -> Iterator[None]:
        """Keep the folder of a study from being removed meanwhile for being empty."""
        with self._mutex:
            self._writing[folder.name] = self._writing.get(folder.name, 0) + 1
        try:
            yield
        finally:
            with self._mutex:
                self._writing[folder.name] -= 1
                if not self._writing[folder.name]:
                    del self._writing[folder.name]

    def _remove_empty(self, folder: Path) -> None:
        """Remove the folder of a study, if it is empty and no thread is writing to it."""
        with self._mutex, suppress(OSError):
            if folder.name not in self._writing:
                folder.rmdir()

    def _received_path(self, study_hash: str, sha256: str) -> Path:
        return self.folder / "received" / study_hash / f"{sha256}.dcm"

    def _instance(self, row: sqlite3.Row) -> Instance:
        path = self._received_path(row["study_hash"], row["sha256"])
        texts = {column: row[column] for column in COLUMNS}
        return Instance(**texts, sha256=row["sha256"], path=path, peer=row["peer"], id=row["id"])

    def holds(self, sop_uids: Sequence[str]) -> set[str]:
        """Those of the SOP Instance UIDs that were received, also where the image was deleted by rule."""
        found = {uid: self._row("SELECT 1 FROM instance WHERE uid_hash = ?", hash_of(uid)) for uid in sop_uids}
        return {uid for uid, row in found.items() if row is not None}

    def complete(self, now: float, config: NodeConfig) -> list[Round]:
        """Studies that became complete, at the time `now`, a few at a time; each returns until `add_jobs` has its jobs.

        A study is complete when nothing came for `quiet_seconds`, when it has `instances`, or `longest_seconds` after its
        first instance. A clock that was put back makes a study complete early rather than never.
        """
        due = self._rows(
            "SELECT study_hash, MIN(received) AS first FROM instance WHERE round IS NULL GROUP BY study_hash "
            "HAVING ABS(:now - MAX(received)) >= :quiet OR :now - MIN(received) >= :longest "
            "OR (:instances > 0 AND COUNT(*) >= :instances) ORDER BY first LIMIT :most",
            now=now,
            quiet=config.quiet_seconds,
            longest=config.longest_seconds,
            instances=config.instances,
            most=ROUNDS_AT_A_TIME,
        )
        return [self._round(row["study_hash"]) for row in due]

    def _round(self, study_hash: str) -> Round:
        rows = self._rows("SELECT * FROM instance WHERE study_hash = ? AND round IS NULL ORDER BY id", study_hash)
        last = self._number("SELECT MAX(round) FROM instance WHERE study_hash = ?", study_hash)
        instances = tuple(self._instance(row) for row in rows)
        return Round(rows[0]["study_uid"], last + 1, instances, tuple(self._earlier(study_hash, instances) if last else ()))

    def _earlier(self, study_hash: str, instances: Sequence[Instance]) -> Iterator[Instance]:
        """What earlier rounds had of the series of `instances`; what is blanked by now is what the series has in common."""
        series = {hash_of(instance.series_uid): instance for instance in instances}
        for row in self._rows("SELECT * FROM instance WHERE study_hash = ? AND round IS NOT NULL ORDER BY id", study_hash):
            if (late := series.get(row["series_hash"])) is not None:
                path = self._received_path(study_hash, row["sha256"])
                own = {name: row[name] for name in ("sop_uid", "sha256", "peer", "id")}
                yield replace(late, **own, path=path)

    def add_jobs(self, study: Round, jobs: Sequence[NewJob]) -> None:
        """Close a round with its jobs, in one transaction; instances that no job has are counted as unmatched.

        Raises ResourceError.
        """
        now = self._clock()
        with self._transaction() as database:
            for instance in study.instances:
                database.execute(
                    "UPDATE instance SET round = ?, completed = ? WHERE id = ?", (study.number, now, instance.id)
                )
            for job in jobs:
                added = database.execute(
                    "INSERT INTO job (study_uid, round, rule, changed) VALUES (?, ?, ?, ?)",
                    (study.study_uid, study.number, job.rule, now),
                )
                pairs = [(added.lastrowid, instance.id) for instance in job.instances]
                database.executemany("INSERT INTO job_instance VALUES (?, ?)", pairs)
            matched = {instance.id for job in jobs for instance in job.instances}
            count(database, "unmatched", sum(instance.id not in matched for instance in study.instances))


def hash_of(uid: str) -> str:
    """SHA-256 of a UID, by which the queue knows it for ever."""
    return hashlib.sha256(uid.encode()).hexdigest()


def _text(header: Mapping[str, Any], keyword: str) -> str:
    """A value of the header as text, cut at the length that DICOM allows."""
    text = str(header.get(keyword) or "").strip().strip("\0")
    return text if keyword.endswith("UID") else text[:LONGEST_TEXT]


def _digest(data: bytes) -> str:
    """SHA-256 of the data set of a file: group 0002 tells of the sender's program and not of the image."""
    start = 0
    if data[128:136] == b"DICM\x02\0\0\0":
        start = 144 + int.from_bytes(data[140:144], "little")
    return hashlib.sha256(memoryview(data)[start:]).hexdigest()
