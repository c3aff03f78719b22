"""Connections, transactions and statements for SQLite and PostgreSQL.

A statement is written once in SQLAlchemy Core, compiled once, and run on the raw driver: looking a row up
costs what the driver costs. Connections are kept per process and made at first use.

One write transaction at a time, on both databases: each begins by taking the catalog's one write lock, and waits
for it at most `BUSY_S`. So ledgers may touch rows in any order and never block each other for ever, a decision
stands on counters that nobody else changes meanwhile, and the ids of events are seen in their order. The lock is
SQLite's own; on PostgreSQL it is an advisory one, which also ends with a connection that went silent.

After a fork parent and child go on, each with connections of its own: idle ones are closed before the fork, and
the fork waits for transactions of other threads, because SQLite's locks belong to a process and what it remembers
of them would be wrong in the child.

Knows nothing of datasets; the ledgers beside it do.
"""

from __future__ import annotations

import os
import select
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol
from urllib.parse import quote

from sqlalchemy import BindParameter, false, literal
from sqlalchemy.dialects import postgresql, sqlite

from holdfast.errors import (
    CatalogError,
    CatalogFull,
    Conflict,
    ForkedStore,
    OutcomeUnknown,
    SchemaMismatch,
    Unavailable,
)

BUSY_S = 60.0
CONNECTIONS_KEPT = 32
POSTGRES_CONNECT_S = 10
FORK_WAIT_S = 10.0

_WRITE_LOCK = 7286035  # the advisory lock of PostgreSQL's write transactions
_POSTGRES_SETTINGS = (
    f"SET lock_timeout = '{BUSY_S:.0f}s'; SET idle_in_transaction_session_timeout = '{BUSY_S:.0f}s'"
)
LEAST_FREE_BYTES = 64 * 1024  # with less, SQLite cannot even open a file in WAL
_SQLITE_HEAD = b"SQLite format 3\0"


class _Connection(sqlite3.Connection):
    """One that can be counted without being kept."""


_OPEN: dict[tuple[int, int], weakref.WeakSet[_Connection]] = {}  # this process's, by device and inode
_OPENING = threading.Lock()
_ORPHANS: list[object] = []  # connections of a parent process: never closed, never used


def any_of(column: Any, values: Sequence[Any]) -> Any:
    """`column IN (values)` for a statement that is compiled once; values, or parameters to be given later."""
    given = [value if isinstance(value, BindParameter) else literal(value) for value in values]
    return column.in_(given) if given else false()


class Cursor(Protocol):
    """What both drivers' cursors have in common."""

    rowcount: int

    def execute(self, text: Any, parameters: Any = ..., /) -> Any: ...

    def executemany(self, text: Any, parameters: Any, /) -> Any: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Statement:
    """A compiled statement. Parameters are given by name."""

    __slots__ = ("_literals", "text")

    def __init__(self, text: str, literals: Mapping[str, Any]) -> None:
        self.text = text
        self._literals = literals

    def run(self, cursor: Cursor, parameters: Mapping[str, Any]) -> int:
        """Execute; the number of rows it changed."""
        cursor.execute(self.text, {**self._literals, **parameters} if self._literals else parameters)
        return cursor.rowcount

    def run_many(self, cursor: Cursor, rows: list[dict[str, Any]]) -> None:
        """Execute once for each row."""
        if len(rows) == 1:  # on PostgreSQL more than one go through a pipeline, which is not worth it for one
            self.run(cursor, rows[0])
            return
        if self._literals:
            rows = [{**self._literals, **row} for row in rows]
        cursor.executemany(self.text, rows)

    def one(self, cursor: Cursor, parameters: Mapping[str, Any]) -> Any:
        """Execute; the first row as a tuple, or None."""
        cursor.execute(self.text, {**self._literals, **parameters} if self._literals else parameters)
        return cursor.fetchone()

    def all(self, cursor: Cursor, parameters: Mapping[str, Any]) -> list[Any]:
        """Execute; all rows as tuples."""
        cursor.execute(self.text, {**self._literals, **parameters} if self._literals else parameters)
        return cursor.fetchall()


_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """One database. `url` is `sqlite:////path/to/file` or `postgresql://user:password@host/name`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite:")
        self._idle: deque[Any] = deque()
        self._in_use = 0
        self._mine = threading.local()  # .count: the connections that this thread has taken
        self._gate = threading.Condition()
        self._is_forking = False
        self._is_torn = False  # in a child that was forked in the middle of a transaction
        self._write_lock = threading.Lock()
        self._place: tuple[int, int] | None = None  # device and inode of the file that is open
        if self.is_sqlite:
            self.path = Path(url.removeprefix("sqlite:///"))
            self._dialect: Any = sqlite.dialect(paramstyle="named")
        else:
            self._dialect = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]
        _DATABASES.add(self)

    @property
    def connections_kept(self) -> int:
        """How many connections wait for work in this process."""
        return len(self._idle)

    def statement(self, clause: Any, columns: Sequence[str] | None = None) -> Statement:
        """`clause` compiled for this database. An insert or update without values takes `columns`."""
        compiled = clause.compile(dialect=self._dialect, column_keys=columns)
        asked = {name for name, bind in compiled.binds.items() if bind.required}
        literals = {name: value for name, value in compiled.params.items() if name not in asked}
        return Statement(str(compiled), literals)

    def upsert(self, table: Any) -> Any:
        """An insert into `table` that knows `on_conflict_do_update` and `on_conflict_do_nothing`."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    @contextmanager
    def read(self) -> Iterator[Cursor]:
        """A cursor for single reads, each of which sees a committed state. No writes."""
        connection = self._take()
        healthy = False
        try:
            yield connection.cursor()
            healthy = True
        except Exception as error:  # noqa: BLE001 - it is raised on, as ours where it is the driver's
            self._raise_translated(error)
        finally:
            self._give(connection, keep=healthy)

    @contextmanager
    def write(self) -> Iterator[Cursor]:
        """A cursor in a write transaction: committed durably at the end of the block, or rolled back.

        `Conflict` if the write lock is not to be had within `BUSY_S`; `OutcomeUnknown` if the connection was lost
        while it was being committed.
        """
        if self.is_sqlite:
            with self._write_lock:
                yield from self._transaction("BEGIN IMMEDIATE")
        else:
            yield from self._transaction("BEGIN", f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

    @contextmanager
    def snapshot(self) -> Iterator[Cursor]:
        """A cursor whose reads all see one committed state."""
        begin = "BEGIN" if self.is_sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        yield from self._transaction(begin)

    def confirm_place(self) -> None:
        """`CatalogError` if the SQLite file that is open no longer lies under its name: what is written to it then is
        gone with the process. Costs a look at one name. Every write transaction asks before it is committed."""
        if self._place is None:
            return
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise self._lost("was taken away") from error
        if (found.st_dev, found.st_ino) != self._place:
            raise self._lost("was replaced by another file")

    def close(self) -> None:
        """Close what this process keeps open. Idempotent; the database may be used again."""
        self._close_idle()
        self._place = None

    def _close_idle(self) -> None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self._drop(connection)

    # -- inside -------------------------------------------------------------------------------------------

    def _transaction(self, *begin: str) -> Iterator[Cursor]:
        connection = self._take()
        committing = healthy = False
        try:
            cursor = connection.cursor()
            for text in begin:
                cursor.execute(text)
            yield cursor
            self.confirm_place()
            committing = True
            cursor.execute("COMMIT")
            healthy = True
        except BaseException as error:
            healthy = self._roll_back(connection)
            if not isinstance(error, Exception):
                raise
            self._raise_translated(error, lost_commit=committing and not healthy)
        finally:
            self._give(connection, keep=healthy)

    def _roll_back(self, connection: Any) -> bool:
        """Whether the connection can be used on."""
        try:
            connection.cursor().execute("ROLLBACK")
        except sqlite3.Error:
            return not connection.in_transaction  # SQLite rolls back by itself after some errors
        except Exception:  # noqa: BLE001 - the connection is thrown away
            return False
        return True

    def _drop(self, connection: Any) -> None:
        try:
            connection.close()
        except Exception:  # noqa: BLE001 - it was broken already
            return

    def _take(self) -> Any:
        with self._gate:
            while self._is_forking and not self._count():
                self._gate.wait()
            if self._is_torn:
                raise ForkedStore(
                    f"this process was forked in the middle of a transaction on {self.path}, and cannot use it safely; "
                    "fork before or after, or start a new process"
                )
            self._in_use += 1
            self._mine.count = self._count() + 1
        try:
            while self._idle:
                try:
                    connection = self._idle.pop()
                except IndexError:
                    break
                if self.is_sqlite or not _was_hung_up(connection):
                    return connection
                self._drop(connection)
            return self._connect_sqlite() if self.is_sqlite else self._connect_postgres()
        except BaseException:
            self._give(None, keep=False)
            raise

    def _give(self, connection: Any, *, keep: bool) -> None:
        """Take back what `_take` gave out."""
        if not keep and connection is not None:
            self._drop(connection)
        with self._gate:
            self._in_use -= 1
            self._mine.count -= 1
            if keep and len(self._idle) < CONNECTIONS_KEPT:
                self._idle.append(connection)
                keep = False
            if self._is_forking:
                self._gate.notify_all()
        if keep:
            self._drop(connection)

    def _count(self) -> int:
        return getattr(self._mine, "count", 0)

    def _before_fork(self) -> None:
        if not self.is_sqlite:
            return
        with self._gate:
            self._is_forking = True
            self._gate.wait_for(lambda: self._in_use <= self._count(), FORK_WAIT_S)
        self._close_idle()

    def _after_fork_in_parent(self) -> None:
        with self._gate:
            self._is_forking = False
            self._gate.notify_all()

    def _after_fork_in_child(self) -> None:
        _ORPHANS.append(self._idle)
        self._idle = deque()
        self._is_torn = self.is_sqlite and (self._is_torn or self._in_use > 0)
        self._in_use, self._mine = 0, threading.local()
        self._gate, self._is_forking = threading.Condition(), False
        self._write_lock = threading.Lock()

    def _connect_sqlite(self) -> Any:
        connection = None
        try:
            with _OPENING:
                self._refuse_torn()
                connection = sqlite3.connect(
                    f"file:{quote(os.path.abspath(self.path))}?mode=rw", uri=True, timeout=BUSY_S,
                    isolation_level=None, check_same_thread=False, cached_statements=256, factory=_Connection,
                )  # fmt: skip
                self._connections_here().add(connection)
                if self._place is None:
                    found = os.stat(self.path)
                    self._place = found.st_dev, found.st_ino
                self.confirm_place()
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA cache_size=-16000")
            cursor.execute("PRAGMA temp_store=MEMORY")
        except (sqlite3.Error, CatalogError) as error:
            if connection is not None:
                self._drop(connection)
            raise self._translated(error) from error
        return connection

    def _refuse_torn(self) -> None:
        """Raise if the file is not whole pages of a database: SQLite would take a stump for a new one, and does not
        mind half a page at the end. Where it has a log, SQLite itself repairs what a power cut left.

        Not while this process has connections to the file: closing any descriptor of it gives up all locks that SQLite
        has on it in this process, and whoever closes it next, elsewhere, would take its log away."""
        try:
            if self._connections_here():
                return
            with open(self.path, "rb") as stream:
                head, size_bytes = stream.read(len(_SQLITE_HEAD) + 2), os.fstat(stream.fileno()).st_size
            if os.path.exists(f"{self.path}-wal") and os.path.getsize(f"{self.path}-wal") > 0:
                return
        except OSError:
            return  # connecting says it better
        if not head.startswith(_SQLITE_HEAD):
            raise self._damaged("it is empty" if size_bytes == 0 else "it does not begin as a database does")
        page_bytes = int.from_bytes(head[len(_SQLITE_HEAD) :], "big")
        if size_bytes % (65536 if page_bytes == 1 else max(page_bytes, 512)):
            raise self._damaged("it ends in the middle of a page")

    def _connections_here(self) -> weakref.WeakSet[_Connection]:
        """What this process has open on the file."""
        found = os.stat(self.path)
        return _OPEN.setdefault((found.st_dev, found.st_ino), weakref.WeakSet())

    def _lost(self, how: str) -> CatalogError:
        return CatalogError(
            f"the catalog {self.path} {how} while this process works with it; nothing more is recorded. Stop every "
            "server and command that uses it, put the file or a backup of it back in its place, and start again"
        )

    def _damaged(self, how: str) -> CatalogError:
        return CatalogError(
            f"the catalog {self.path} is damaged ({how}); nothing was changed. Keep a copy of the file, then restore a "
            "backup, or move it away, make a new one with: holdfast catalog create, and record the pools anew with: "
            "holdfast reconcile --adopt"
        )

    def _connect_postgres(self) -> Any:
        import psycopg

        try:
            connection = psycopg.connect(
                self.url, autocommit=True, connect_timeout=POSTGRES_CONNECT_S,
                keepalives_idle=30, keepalives_interval=10, keepalives_count=3,
            )  # fmt: skip
            connection.execute(_POSTGRES_SETTINGS)
        except psycopg.Error as error:
            raise self._translated(error) from error
        connection.prepare_threshold = 2
        return connection

    def _raise_translated(self, error: Exception, *, lost_commit: bool = False) -> NoReturn:
        ours = self._translated(error)
        if ours is error:
            raise error
        if lost_commit and isinstance(ours, Unavailable):
            raise OutcomeUnknown(
                f"the catalog's PostgreSQL went away while it recorded this; look whether it did: {error}",
                operation="catalog",
            ) from error
        raise ours from error

    def _translated(self, error: Exception) -> Exception:
        """The driver's error as one of ours; any other error as it is."""
        if isinstance(error, sqlite3.Error):
            return self._translated_sqlite(error)
        if type(error).__module__.partition(".")[0] == "psycopg":
            return self._translated_postgres(error)
        return error

    def _translated_sqlite(self, error: sqlite3.Error) -> Exception:
        text = str(error)
        if isinstance(error, sqlite3.IntegrityError):
            return Conflict(f"the catalog refused a contradiction: {text}")
        if "no such table" in text or "no such column" in text:
            return SchemaMismatch(f"the catalog {self.path} lacks something ({text}); run: holdfast catalog upgrade")
        if "locked" in text or "busy" in text:
            return Conflict(f"the catalog {self.path} was busy for {BUSY_S:.0f} s; try again")
        if "malformed" in text or "not a database" in text or "short read" in text:
            return self._damaged(text)
        why = self._trouble_of_disk(text)
        if why == "full":
            return CatalogFull(f"the disk of the catalog {self.path} is full: nothing was changed; make room there")
        if why == "read-only":
            return CatalogError(
                f"the disk of the catalog {self.path} is mounted read-only; it must be writable, to be read too"
            )
        if "unable to open" in text:
            return CatalogError(f"the catalog {self.path} cannot be opened: {text}; check the folder and its owner")
        return CatalogError(f"the catalog {self.path}: {text}")

    def _trouble_of_disk(self, text: str) -> Literal["full", "read-only"] | None:
        """What SQLite's error is about, if it is about the disk: it tells a full one as an "I/O error" too."""
        if "full" in text:
            return "full"
        try:
            found = os.statvfs(self.path.parent)
        except OSError:
            return None
        if found.f_flag & os.ST_RDONLY:
            return "read-only"
        return "full" if found.f_bavail * found.f_frsize < LEAST_FREE_BYTES else None

    def _translated_postgres(self, error: Exception) -> Exception:
        import psycopg

        text = str(error).strip()
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return SchemaMismatch(f"the catalog lacks something ({text}); run: holdfast catalog upgrade")
        if isinstance(error, psycopg.IntegrityError):
            return Conflict(f"the catalog refused a contradiction: {text}")
        if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
            return Conflict(f"the catalog was changed by somebody else at the same time: {text}")
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return Conflict(f"the catalog was busy for {BUSY_S:.0f} s; try again")
        if isinstance(error, psycopg.errors.DiskFull):
            return CatalogFull(f"the disk of the catalog's PostgreSQL is full; nothing was changed: {text}")
        if isinstance(error, psycopg.errors.IdleInTransactionSessionTimeout | psycopg.OperationalError):
            return Unavailable(f"the catalog's PostgreSQL cannot be reached: {text}", operation="catalog")
        return CatalogError(f"the catalog: {text}")


def _was_hung_up(connection: Any) -> bool:
    """Whether the server has ended an idle connection: it says so before it closes, and says nothing else."""
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return connection.closed or bool(poll.poll(0))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not used again
        return True


def _before_fork() -> None:
    for database in list(_DATABASES):
        database._before_fork()  # noqa: SLF001 - this module's own


def _after_fork_in_parent() -> None:
    for database in list(_DATABASES):
        database._after_fork_in_parent()  # noqa: SLF001 - this module's own


def _after_fork_in_child() -> None:
    for database in list(_DATABASES):
        database._after_fork_in_child()  # noqa: SLF001 - this module's own


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
