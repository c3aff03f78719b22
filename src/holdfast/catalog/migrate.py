"""The schema's versions: a new catalog gets today's tables, an old one is brought up step by step (Alembic).

Forward only. Alembic is imported when something is to be made or changed, never to look. A new SQLite catalog is made
beside its place and linked there when it is whole: a catalog file that is there and empty is a damaged one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from pathlib import Path
from typing import Any

from holdfast.catalog.database import Database
from holdfast.errors import CatalogError, CatalogFull, SchemaMismatch

_HERE = Path(__file__).parent / "migrations"
_ONE_AT_A_TIME = threading.Lock()
_VERSION_TABLE = "alembic_version"
_OURS = frozenset({"dataset", "replica", "decision"})  # every version of the catalog has these


def version(db: Database) -> str | None:
    """The schema version that the database has; None if it is empty, or not there yet.

    `SchemaMismatch` if the tables in it are somebody else's.
    """
    if db.is_sqlite and not db.path.exists():
        return None
    with db.read() as cursor:
        if db.is_sqlite:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'", ())
        else:
            cursor.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()", ())
        tables = {row[0] for row in cursor.fetchall()}
        if not tables:
            return None
        if tables >= {*_OURS, _VERSION_TABLE}:
            cursor.execute("SELECT version_num FROM alembic_version", ())
            row = cursor.fetchone()
            if row is not None:
                return str(row[0])
    named = sorted(tables - {_VERSION_TABLE}) or [_VERSION_TABLE]
    raise SchemaMismatch(
        "the database holds tables, but they are not a catalog of Holdfast "
        f"({', '.join(named[:5])}); give it a database of its own"
    )


def create(db: Database) -> None:
    """Make all tables in an empty database. Several processes may do so at once; one of them does it."""
    upgrade(db)


def upgrade(db: Database) -> tuple[str | None, str]:
    """Bring the schema to today's version; (version before, version after)."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(_HERE))
    head = script.get_current_head()
    assert head is not None
    before = version(db)
    if before is not None and before not in {step.revision for step in script.walk_revisions()}:
        raise SchemaMismatch(
            f"the catalog has schema {before}, which this version of Holdfast (schema {head}) does not know; "
            "install a newer Holdfast"
        )
    if db.is_sqlite and not db.path.exists():
        _make_sqlite(db.path, script)
    else:
        _run(_engine_url(db), script, sqlite=db.is_sqlite)
    return before, head


def _make_sqlite(path: Path, script: Any) -> None:
    """Make a new catalog file under another name, and give it its own when it is whole."""
    for stray in (f"{path}-wal", f"{path}-journal"):
        if os.path.exists(stray):
            raise CatalogError(
                f"there is no catalog {path}, but what it wrote last is there ({stray}); restore the catalog beside it "
                "from a backup, or move that file away, make a new one with: holdfast catalog create, and record the "
                "pools anew with: holdfast reconcile --adopt"
            )
    new = f"{path}.{secrets.token_hex(6)}.new"
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))  # it holds password hashes
        _run(f"sqlite:///{new}", script, sqlite=True)
        _settle(new, path)
        try:
            os.link(new, path)
        except FileExistsError:
            return  # another process was quicker
        except OSError:
            os.rename(new, path)  # a file system without links
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CatalogError(f"the catalog {path} cannot be made: {error.strerror}") from error
    finally:
        for left in (new, f"{new}-wal", f"{new}-shm"):
            with contextlib.suppress(OSError):
                os.unlink(left)


def _settle(new: str, path: Path) -> None:
    """All of a new file is in the file itself, and on the disk: what its log still had would be lost with its name."""
    connection = sqlite3.connect(new)
    try:
        is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        problems = connection.execute("PRAGMA quick_check").fetchall()
    except sqlite3.Error as error:
        raise CatalogFull(f"there is no room to make the catalog {path}: {error}") from error
    finally:
        connection.close()
    if is_busy or problems != [("ok",)]:
        raise CatalogError(f"the catalog {path} could not be made: its file is not whole; try again")
    fd = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _run(url: str, script: Any, *, sqlite: bool) -> None:
    """All steps that the database lacks, in one transaction. Alembic keeps what it works on in a global."""
    with _ONE_AT_A_TIME:
        _run_alone(url, script, sqlite=sqlite)


def _run_alone(url: str, script: Any, *, sqlite: bool) -> None:
    import sqlalchemy
    from alembic.runtime.migration import MigrationContext

    target = sqlalchemy.URL.create("sqlite", database=url.removeprefix("sqlite:///")) if sqlite else url
    engine = sqlalchemy.create_engine(target, poolclass=sqlalchemy.pool.NullPool)
    head = script.get_current_head()
    try:
        with engine.connect() as connection:
            _lock(connection, sqlite=sqlite)

            def steps(revision: Any, _context: Any) -> Any:
                return script._upgrade_revs(head, revision)  # noqa: SLF001 - what alembic's own commands call

            context = MigrationContext.configure(connection, opts={"fn": steps, "transactional_ddl": False})
            with _operations(context):
                context.run_migrations()
            connection.commit()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise CatalogError(f"the catalog's tables could not be made or changed: {error}") from error
    finally:
        engine.dispose()


def _engine_url(db: Database) -> str:
    if db.is_sqlite:
        return db.url
    return "postgresql+psycopg://" + db.url.partition("://")[2]


def _lock(connection: Any, *, sqlite: bool) -> None:
    """Only one process at a time may change the schema; the others wait and then find it done."""
    if sqlite:
        connection.exec_driver_sql("PRAGMA busy_timeout=60000")
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7286034)")


def _operations(context: Any) -> Any:
    from alembic.operations import Operations

    return Operations.context(context)
