"""The folder of state and the database in it: opening, locking, transactions. The parts of the store build on `Queue`.

The database is in WAL mode with synchronous=FULL, so what was committed survives a kill and a power cut. One connection,
behind a lock: threads of associations come and go. A second process may read and retry beside the node, but only the
process that holds the lock of the folder receives, answers and delivers.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from medrega_edge.errors import MedregaError, ResourceError, UsageError
from medrega_edge.io.atomic import make_folder, unwritable
from medrega_edge.io.lock import open_locked
from medrega_edge.node.config import Limits
from medrega_edge.node.files import sync_folder

DATABASE = "queue.sqlite"
LOCK = "lock"
VERSION = 1  # of the tables
LOCK_ATTEMPTS, LOCK_SECONDS = 3, 0.05  # `node status` holds the lock for a moment to see whether it is free
BUSY_SECONDS = 30  # for which a transaction of another process is waited for

TABLES = """
CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: folders are named after it
  study_uid TEXT NOT NULL,
  round INTEGER NOT NULL,
  rule TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'answered', 'rejected')),
  attempts INTEGER NOT NULL DEFAULT 0,
  not_before REAL NOT NULL DEFAULT 0,
  reason TEXT,                           -- a message as JSON
  changed REAL NOT NULL,                 -- when it came into its state
  has_results INTEGER NOT NULL DEFAULT 0,
  is_filed INTEGER NOT NULL DEFAULT 0    -- whether its dead letter is written
);
CREATE INDEX job_state ON job (state, id);
CREATE TABLE instance (
  id INTEGER PRIMARY KEY,
  uid_hash TEXT NOT NULL UNIQUE,         -- SHA-256 of the SOP Instance UID: stays when all else has been deleted
  digest TEXT NOT NULL,                  -- SHA-256 of the data set, without group 0002
  study_hash TEXT NOT NULL,              -- name of its folder
  sop_uid TEXT NOT NULL,
  sop_class TEXT NOT NULL,
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  series_hash TEXT NOT NULL,
  modality TEXT NOT NULL,
  body_part TEXT NOT NULL,
  description TEXT NOT NULL,
  sha256 TEXT NOT NULL,                  -- of the file, and its name
  bytes INTEGER NOT NULL,
  peer TEXT NOT NULL,
  received REAL NOT NULL,
  round INTEGER,                         -- NULL until its study is complete
  completed REAL,                        -- when it was
  is_held INTEGER NOT NULL DEFAULT 1     -- whether its file is there
);
CREATE INDEX instance_open ON instance (study_hash, received) WHERE round IS NULL;
CREATE INDEX instance_study ON instance (study_hash, is_held, round);
CREATE INDEX instance_done ON instance (completed) WHERE is_held = 1 AND round IS NOT NULL;
CREATE TABLE job_instance (
  job INTEGER NOT NULL REFERENCES job (id),
  instance INTEGER NOT NULL REFERENCES instance (id),
  PRIMARY KEY (job, instance)
) WITHOUT ROWID;
CREATE INDEX job_of_instance ON job_instance (instance);
CREATE TABLE object (
  job INTEGER NOT NULL REFERENCES job (id),
  number INTEGER NOT NULL,
  kind TEXT NOT NULL,
  sop_class TEXT NOT NULL,
  sop_uid TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (job, number)
);
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL REFERENCES job (id),
  peer TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'rejected', 'dropped')),
  attempts INTEGER NOT NULL DEFAULT 0,
  not_before REAL NOT NULL DEFAULT 0,
  reason TEXT,
  changed REAL NOT NULL,
  is_filed INTEGER NOT NULL DEFAULT 0,
  UNIQUE (job, peer)
);
CREATE INDEX delivery_state ON delivery (state, attempts, id);
CREATE TABLE peer (
  name TEXT PRIMARY KEY,
  failures INTEGER NOT NULL DEFAULT 0,   -- since the last success
  not_before REAL NOT NULL DEFAULT 0
);
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Queue:
    """The folder and the database. `is_beside` opens them beside a running node: no lock, and nothing is made or tidied."""

    def __init__(
        self, folder: Path, limits: Limits, *, is_beside: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        """Open or make the queue; raises ResourceError where another process has it, UsageError for an unusable folder."""
        self.folder, self._limits, self._clock = folder, limits, clock
        self._mutex = threading.RLock()
        self._writing: dict[str, int] = {}  # studies whose folder a thread is writing to, and how many do
        if not (folder / DATABASE).is_file():
            if is_beside:
                raise UsageError("node.no_state")
            _check_empty(folder)
        self._lock_file = None if is_beside else self._locked()
        try:
            self._database = self._opened()
            if not is_beside:
                self._prepare()
        except OSError as error:
            self._close_lock()
            raise unwritable(error) from None
        except BaseException:
            self._close_lock()
            raise

    def close(self) -> None:
        """Close the database, and let another process have the folder."""
        with self._mutex:
            self._database.close()
            self._close_lock()

    def _close_lock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()

    def __enter__(self) -> Self:
        """Use as a context that closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _locked(self) -> Any:
        make_folder(self.folder)
        for attempt in range(LOCK_ATTEMPTS):
            try:
                self.folder.chmod(0o700)
                file = open_locked(self.folder / LOCK)
            except OSError as error:
                raise unwritable(error) from None
            if file is not None:
                return file
            time.sleep(LOCK_SECONDS * (attempt + 1 < LOCK_ATTEMPTS))
        raise ResourceError("node.in_use")

    def _opened(self) -> sqlite3.Connection:
        path = self.folder / DATABASE
        try:
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
                sync_folder(self.folder)
            database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error):
            raise ResourceError("node.queue_failed", reason="open") from None
        try:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("PRAGMA secure_delete = ON")  # what was blanked cannot be read from the file
            database.execute(f"PRAGMA journal_size_limit = {64 << 20}")
            version = int(database.execute("PRAGMA user_version").fetchone()[0])
            if version > VERSION:
                raise UsageError("node.newer_queue")
            if version == 0:
                database.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.Error as error:
            database.close()
            raise queue_error(error) from None
        except UsageError:
            database.close()
            raise
        return database

    def _prepare(self) -> None:
        """Tidy up what a kill left behind."""
        for name in ("received", "results", "rejected"):
            make_folder(self.folder / name)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable at its end; any exception undoes all of it. Raises ResourceError for the database's."""
        with self._mutex:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                    self._database.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # a full disk has undone it already
                        self._database.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise queue_error(error) from None

    def _rows(self, sql: str, *values: Any, **named: Any) -> list[sqlite3.Row]:
        """The rows of a query; raises ResourceError."""
        with self._mutex:
            try:
                return self._database.execute(sql, named or values).fetchall()
            except sqlite3.Error as error:
                raise queue_error(error) from None

    def _row(self, sql: str, *values: Any, **named: Any) -> sqlite3.Row | None:
        """The first row of a query; raises ResourceError."""
        found = self._rows(sql, *values, **named)
        return found[0] if found else None

    def _number(self, sql: str, *values: Any) -> int:
        """The only number of a query; 0 where it is NULL. Raises ResourceError."""
        row = self._row(sql, *values)
        return 0 if row is None else int(row[0] or 0)

    def _counter(self, name: str) -> int:
        return self._number("SELECT value FROM counter WHERE name = ?", name)


def _check_empty(folder: Path) -> None:
    """Raise UsageError for a folder with files of others: it would be tidied up."""
    try:
        is_foreign = folder.exists() and any(path.name != LOCK for path in folder.iterdir())
    except OSError as error:
        raise unwritable(error) from None
    if is_foreign:
        raise UsageError("node.foreign_folder")


def count(database: sqlite3.Connection, name: str, by: int = 1) -> None:
    """Add to a counter, within a transaction."""
    database.execute(
        "INSERT INTO counter VALUES (:name, :by) ON CONFLICT (name) DO UPDATE SET value = value + :by",
        {"name": name, "by": by},
    )


def queue_error(error: sqlite3.Error) -> MedregaError:
    """The error to raise for one of the database: its name, never its words, which may quote a row."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    if name == "SQLITE_FULL":
        return ResourceError("io.no_space", reason=name)
    return ResourceError("node.queue_failed", reason=name)
