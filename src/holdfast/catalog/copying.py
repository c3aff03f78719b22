"""Takes a whole catalog from one database to another: SQLite to PostgreSQL, and back.

All rows of all tables arrive in one transaction, and are counted on both sides before it is committed: the target has
the catalog whole, or stays empty. The source is not changed; nobody writes to it meanwhile. Its schema must be today's.

Does not change the configuration, and does not copy what else lies in the state directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from sqlalchemy import Table, delete, func, insert, select

from holdfast.catalog import migrate, schema
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.holders import Holder, HolderLedger
from holdfast.errors import CatalogError, Conflict, NotFound, SchemaMismatch
from holdfast.seams import SystemClock, SystemEntropy

ROWS_AT_ONCE = 2000
HOLDERS_NAMED = 5

OnRows = Callable[[int], None]

_PREFILLED = ("sequence", "setting")  # a new catalog has rows in these


def copy_between(source_url: str, target_url: str, on_rows: OnRows | None = None) -> dict[str, int]:
    """`copy_catalog` from one URL to another."""
    with closing(Database(source_url)) as source, closing(Database(target_url)) as target:
        return copy_catalog(source, target, on_rows)


def rows_at(url: str) -> int:
    """How many rows the catalog there has. `NotFound` if there is no such file."""
    with closing(Database(url)) as database:
        if database.is_sqlite and not database.path.exists():
            raise NotFound(f"there is no catalog {database.path}; nothing was copied", operation="copy")
        return sum(count_rows(database).values())


def count_rows(database: Database) -> dict[str, int]:
    """Table -> the number of its rows."""
    with database.read() as cursor:
        return {table.name: _count(database, cursor, table) for table in schema.metadata.sorted_tables}


def copy_catalog(source: Database, target: Database, on_rows: OnRows | None = None) -> dict[str, int]:
    """Copy everything; table -> the number of rows that were copied. `on_rows` is called with the rows done so far.

    `Conflict` while processes live that work with the source, or if the target is not empty; `SchemaMismatch` if the
    source does not have today's schema; `CatalogError` if the counts differ. After any error the target has no rows.
    """
    found = migrate.version(source)
    if found != schema.HEAD:
        raise SchemaMismatch(
            "there is no catalog to copy"
            if found is None
            else f"the catalog has schema {found}, not {schema.HEAD}; run first: holdfast catalog upgrade"
        )
    _refuse_living(source)
    if migrate.version(target) is None:
        migrate.create(target)
    _refuse_full(target)
    with source.write() as reading, target.write() as writing:
        _refuse_living(source)
        counts = _copy_tables(source, reading, target, writing, on_rows or (lambda _: None))
        for table in schema.metadata.sorted_tables:
            there = _count(target, writing, table)
            if not counts[table.name] == there == _count(source, reading, table):
                copied = counts[table.name]
                raise CatalogError(f"{copied} rows of {table.name} were copied, {there} arrived; none is kept")
    return counts


def _copy_tables(
    source: Database, reading: Cursor, target: Database, writing: Cursor, on_rows: OnRows
) -> dict[str, int]:
    counts: dict[str, int] = {}
    done = 0
    for name in _PREFILLED:
        target.statement(delete(schema.metadata.tables[name])).run(writing, {})
    for table in schema.metadata.sorted_tables:
        columns = [column.name for column in table.columns]
        put = target.statement(insert(table), columns=columns)
        counts[table.name] = 0
        for rows in _rows(source, reading, table):
            put.run_many(writing, [dict(zip(columns, row, strict=True)) for row in rows])
            counts[table.name] += len(rows)
            done += len(rows)
            on_rows(done)
    if not target.is_sqlite:  # ids of events go on behind the last one
        writing.execute(
            "SELECT setval(pg_get_serial_sequence('event', 'id'), (SELECT max(id) FROM event)) "
            "WHERE EXISTS (SELECT 1 FROM event)"
        )
    return counts


def _rows(database: Database, cursor: Cursor, table: Table) -> Iterator[list[tuple[object, ...]]]:
    """All rows in the order of their keys, some at a time."""
    text = database.statement(select(*table.columns).order_by(*table.primary_key.columns)).text
    if database.is_sqlite:
        cursor.execute(text)
        while rows := [row for _ in range(ROWS_AT_ONCE) if (row := cursor.fetchone()) is not None]:
            yield rows
        return
    cursor.execute(f"DECLARE copied NO SCROLL CURSOR FOR {text}")
    while True:
        cursor.execute(f"FETCH {ROWS_AT_ONCE} FROM copied")
        rows = cursor.fetchall()
        if not rows:
            break
        yield rows
    cursor.execute("CLOSE copied")


def _count(database: Database, cursor: Cursor, table: Table) -> int:
    return int(database.statement(select(func.count()).select_from(table)).one(cursor, {})[0])


def _refuse_living(source: Database) -> None:
    living = HolderLedger(source, SystemClock(), SystemEntropy()).living()
    if living:
        names = ", ".join(_words(holder) for holder in living[:HOLDERS_NAMED])
        more = f" and {len(living) - HOLDERS_NAMED} more" if len(living) > HOLDERS_NAMED else ""
        raise Conflict(
            f"the catalog is in use: {names}{more}. Stop every server, worker and command first; one on another "
            "machine counts as stopped when it has been silent for a quarter of an hour"
        )


def _words(holder: Holder) -> str:
    return f"{holder.kind} {holder.pid} on {holder.machine.partition('/')[0]}"


def _refuse_full(target: Database) -> None:
    full = [name for name, count in count_rows(target).items() if count and name not in _PREFILLED]
    if full:
        raise Conflict(
            f"the target is not empty: it has rows in {', '.join(full[:5])}; give the copy a database of its own"
        )
