"""Connections, transactions and statements for SQLite and PostgreSQL.

A statement is written once in SQLAlchemy Core, compiled once, and run on the raw driver: looking a row up
costs what the driver costs. Connections are kept per process and made at first use; after a fork the child
leaves its parent's alone. A write transaction on SQLite takes the database's only write lock at once and
waits for it at most `BUSY_S`; on PostgreSQL rows are locked where a method says so.

Knows nothing of datasets; the ledgers beside it do.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import false, or_
from sqlalchemy.dialects import postgresql, sqlite

from holdfast.errors import CatalogError, Conflict, SchemaMismatch, Unavailable

BUSY_S = 60.0
CONNECTIONS_KEPT = 32
POSTGRES_CONNECT_S = 10

_ORPHANS: list[object] = []  # connections of a parent process: never closed, never used


def any_of(column: Any, values: Sequence[Any]) -> Any:
    """`column IN (values)` for a statement that is compiled once."""
    return or_(*(column == value for value in values)) if values else false()


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


class Database:
    """One database. `url` is `sqlite:////path/to/file` or `postgresql://user:password@host/name`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite:")
        self._pid = os.getpid()
        self._idle: deque[Any] = deque()
        self._write_lock = threading.Lock()
        if self.is_sqlite:
            self.path = Path(url.removeprefix("sqlite:///"))
            self._dialect: Any = sqlite.dialect(paramstyle="named")
        else:
            self._dialect = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]

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
        try:
            cursor = connection.cursor()
            yield cursor
        except Exception as error:
            self._drop(connection)
            raise self._translated(error) from error
        self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[Cursor]:
        """A cursor in a write transaction: committed durably at the end of the block, or rolled back."""
        if self.is_sqlite:
            with self._write_lock:
                yield from self._transaction("BEGIN IMMEDIATE")
        else:
            yield from self._transaction("BEGIN")

    @contextmanager
    def snapshot(self) -> Iterator[Cursor]:
        """A cursor whose reads all see one committed state."""
        begin = "BEGIN" if self.is_sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        yield from self._transaction(begin)

    def close(self) -> None:
        """Close what this process keeps open. Idempotent; the database may be used again."""
        if self._pid != os.getpid():
            return
        while self._idle:
            self._idle.pop().close()

    # -- inside -------------------------------------------------------------------------------------------

    def _transaction(self, begin: str) -> Iterator[Cursor]:
        connection = self._take()
        try:
            cursor = connection.cursor()
            cursor.execute(begin)
            yield cursor
            cursor.execute("COMMIT")
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, Exception):
                raise self._translated(error) from error
            raise
        self._idle.append(connection)

    def _roll_back(self, connection: Any) -> None:
        try:
            connection.cursor().execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - the connection is thrown away in any case
            self._drop(connection)
            return
        self._idle.append(connection)

    def _drop(self, connection: Any) -> None:
        try:
            connection.close()
        except Exception:  # noqa: BLE001 - it was broken already
            return

    def _take(self) -> Any:
        if self._pid != os.getpid():
            _ORPHANS.append(self._idle)
            self._idle = deque()
            self._write_lock = threading.Lock()
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> Any:
        return self._connect_sqlite() if self.is_sqlite else self._connect_postgres()

    def _connect_sqlite(self) -> Any:
        try:
            connection = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA cache_size=-16000")
            cursor.execute("PRAGMA temp_store=MEMORY")
        except sqlite3.Error as error:
            raise self._translated(error) from error
        return connection

    def _connect_postgres(self) -> Any:
        import psycopg

        try:
            connection = psycopg.connect(self.url, autocommit=True, connect_timeout=POSTGRES_CONNECT_S)
        except psycopg.Error as error:
            raise self._translated(error) from error
        connection.prepare_threshold = 2
        return connection

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
            return CatalogError(
                f"the catalog {self.path} is damaged ({text}); nothing was changed. Keep a copy of the file, then "
                "restore a backup, or move it away and record the pools anew with: holdfast reconcile --adopt"
            )
        if "unable to open" in text:
            return CatalogError(f"the catalog {self.path} cannot be opened: {text}; check the folder and its owner")
        if "full" in text:
            return CatalogError(f"the disk of the catalog {self.path} is full; nothing was changed")
        return CatalogError(f"the catalog {self.path}: {text}")

    def _translated_postgres(self, error: Exception) -> Exception:
        import psycopg

        text = str(error).strip()
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return SchemaMismatch(f"the catalog lacks something ({text}); run: holdfast catalog upgrade")
        if isinstance(error, psycopg.IntegrityError):
            return Conflict(f"the catalog refused a contradiction: {text}")
        if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
            return Conflict(f"the catalog was changed by somebody else at the same time: {text}")
        if isinstance(error, psycopg.OperationalError):
            return Unavailable(f"the catalog's PostgreSQL cannot be reached: {text}", operation="catalog")
        return CatalogError(f"the catalog: {text}")
