"""The schema's versions: a new catalog gets today's tables, an old one is brought up step by step (Alembic).

Forward only. Alembic is imported when something is to be made or changed, never to look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.catalog.database import Database
from holdfast.errors import CatalogError, SchemaMismatch

_HERE = Path(__file__).parent / "migrations"
_VERSION_TABLE = "alembic_version"


def version(db: Database) -> str | None:
    """The schema version that the database has; None if it is empty."""
    with db.read() as cursor:
        if db.is_sqlite:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'", ())
        else:
            cursor.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()", ())
        tables = {row[0] for row in cursor.fetchall()}
        if _VERSION_TABLE in tables:
            cursor.execute("SELECT version_num FROM alembic_version", ())
            row = cursor.fetchone()
            if row is not None:
                return str(row[0])
        foreign = tables - {_VERSION_TABLE}
    if not foreign:
        return None
    raise SchemaMismatch(
        "the database holds tables, but they are not a catalog of Holdfast "
        f"({', '.join(sorted(foreign)[:5])}); give it a database of its own"
    )


def create(db: Database) -> None:
    """Make all tables in an empty database. Several processes may do so at once; one of them does it."""
    upgrade(db)


def upgrade(db: Database) -> tuple[str | None, str]:
    """Bring the schema to today's version; (version before, version after)."""
    import sqlalchemy
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(_HERE))
    head = script.get_current_head()
    assert head is not None
    engine = sqlalchemy.create_engine(_engine_url(db), poolclass=sqlalchemy.pool.NullPool)
    try:
        with engine.connect() as connection:
            _lock(connection, sqlite=db.is_sqlite)
            before = MigrationContext.configure(connection).get_current_revision()

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
    return before, head


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
