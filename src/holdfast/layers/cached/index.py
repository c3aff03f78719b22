"""The index of one cache folder: a SQLite file in WAL mode, opened by one process. Tables, connections, transactions.

Two connections, each with a lock: one reads, one writes, so that a reader never waits for a writer of another process.
A power cut may lose the last transactions, never their order (`synchronous=NORMAL`). What SQLite says of its own files
becomes `CacheTrouble`; a file that is no index any more is `Damaged`.

`entries` and `ledger` are the statements.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from holdfast.layers.cached.trouble import CacheTrouble

FORMAT = 1
BUSY_S = 10.0
CHECKPOINT_PAGES = 8000  # 32 MiB of log
TOGETHER_MAX = 64  # that share a transaction
_CORRUPT, _NOT_A_DATABASE = 11, 26  # SQLITE_CORRUPT, SQLITE_NOTADB
_PRIMARY_CODE = 0xFF

Out = TypeVar("Out")

_SCHEMA = """
CREATE TABLE entry (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  pool TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
  file TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL, modified_us INTEGER NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,
  waste INTEGER NOT NULL DEFAULT 0,
  whole INTEGER NOT NULL DEFAULT 0,
  digest TEXT,
  verified INTEGER NOT NULL DEFAULT 0,
  used_us INTEGER NOT NULL,
  uses INTEGER NOT NULL DEFAULT 0,
  boot TEXT NOT NULL,
  synced INTEGER NOT NULL DEFAULT 0,
  mtime_ns INTEGER,
  UNIQUE (pool, key, version)
);
CREATE INDEX entry_by_age ON entry (uses > 1, used_us);
CREATE INDEX entry_unsynced ON entry (id) WHERE whole AND NOT synced;
CREATE TABLE chunk (
  entry INTEGER NOT NULL, number INTEGER NOT NULL, bits BLOB NOT NULL, PRIMARY KEY (entry, number)
) WITHOUT ROWID;
CREATE TABLE doomed (file TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE session (id INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE room (id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, file TEXT NOT NULL,
  size INTEGER NOT NULL);
CREATE TABLE pin (
  pool TEXT NOT NULL, key TEXT NOT NULL, holder TEXT NOT NULL, PRIMARY KEY (pool, key, holder)
) WITHOUT ROWID;
CREATE INDEX pin_by_holder ON pin (pool, holder);
CREATE TABLE total (
  held INTEGER NOT NULL, entries INTEGER NOT NULL, boot TEXT NOT NULL,
  hits INTEGER NOT NULL, misses INTEGER NOT NULL, served INTEGER NOT NULL, fetched INTEGER NOT NULL,
  evictions INTEGER NOT NULL, evicted INTEGER NOT NULL, damaged INTEGER NOT NULL
);
INSERT INTO total VALUES (0, 0, '', 0, 0, 0, 0, 0, 0, 0);
"""


class Damaged(CacheTrouble):
    """The index cannot be read any more: it has to be begun anew."""


class _Turn:
    """What somebody wants done in a transaction that others share, and what came of it."""

    __slots__ = ("error", "is_done", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: CacheTrouble | None = None
        self.is_done = False


class Index:
    """One process's way to the index at `path`. Safe from many threads; not from a forked child, which opens its own.

    Opens at the first statement; makes the file if it is missing.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._reading, self._writing = threading.Lock(), threading.RLock()
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._waiting: deque[_Turn] = deque()  # as many as there are threads

    def row(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        with self._reading:
            try:
                reader = self._reader or self._open_reader()
                return reader.execute(sql, values).fetchone()
            except sqlite3.Error as error:
                raise _translated(error) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows; the statement has a LIMIT, or is about one blob."""
        with self._reading:
            try:
                reader = self._reader or self._open_reader()
                return reader.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise _translated(error) from error

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it happens, or nothing. One at a time on the whole machine; keep it short."""
        with self._writing:
            try:
                writer = self._writer or self._open_writer()
                writer.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise _translated(error) from error
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise _translated(error) from error
                raise

    def write_together(self, work: Callable[[sqlite3.Connection], Out]) -> Out:
        """The same for something short that many do at once: those who come while a transaction is under way share the
        next one. `work` raises `CacheTrouble` only before it has changed anything; only its caller hears of that."""
        mine = _Turn(work)
        self._waiting.append(mine)
        with self._writing:
            while not mine.is_done:
                self._do_waiting()
        if mine.error is not None:
            raise mine.error
        result: Out = mine.result
        return result

    def _do_waiting(self) -> None:
        turns = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER_MAX))]
        try:
            with self.write() as writer:
                for turn in turns:
                    try:
                        turn.result = turn.work(writer)
                    except CacheTrouble as trouble:
                        turn.error = trouble
        except CacheTrouble as trouble:
            for turn in turns:
                turn.error = type(trouble)(*trouble.args)
        except BaseException:
            for turn in turns:
                turn.error = CacheTrouble("the index was not written: what was written with it failed")
            raise
        finally:
            for turn in turns:
                turn.is_done = True

    def close(self) -> None:
        """Close both connections. Idempotent."""
        with self._writing, self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    with contextlib.suppress(sqlite3.Error):
                        connection.close()
            self._reader = self._writer = None

    def abandon(self) -> list[sqlite3.Connection]:
        """In a forked child: the connections of the parent, which must be neither used nor closed here."""
        left = [connection for connection in (self._reader, self._writer) if connection is not None]
        self._reader = self._writer = None
        return left

    def _open_reader(self) -> sqlite3.Connection:
        self._reader = _connect(self.path)
        return self._reader

    def _open_writer(self) -> sqlite3.Connection:
        self._writer = _connect(self.path)
        return self._writer


def prepare(path: str) -> None:
    """Make the index at `path` if it is new, and see that it is one. `Damaged` if it is something else."""
    try:
        connection = _connect(path)
        try:
            connection.execute("PRAGMA synchronous=OFF")  # a new index that a power cut tears is begun anew
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                for statement in _SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={FORMAT:d}")
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _translated(error) from error
    if found not in (0, FORMAT):
        raise Damaged(f"{path} has the format {found}, not {FORMAT}")


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES:d}")  # each is a sync, for which all writers wait
    return connection


def _translated(error: sqlite3.Error) -> CacheTrouble:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & _PRIMARY_CODE in (_CORRUPT, _NOT_A_DATABASE):
        return Damaged(f"the index is damaged: {error}")
    if isinstance(error, sqlite3.OperationalError) and str(error).startswith("no such table"):
        return Damaged(f"the index is not one of ours: {error}")
    return CacheTrouble(f"the index does not answer: {error}")


def inode_of(path: str) -> tuple[int, int] | None:
    """Which file lies there now; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
