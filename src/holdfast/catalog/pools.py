"""The pools' rows: their state, their mark, their counters."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import PoolRow, PoolState, Row
from holdfast.catalog.database import Cursor, Database
from holdfast.errors import NotFound

_POOL = schema.pool
_COLUMNS = (
    _POOL.c.object_store_id, _POOL.c.type, _POOL.c.location, _POOL.c.identity, _POOL.c.state, _POOL.c.configured,
    _POOL.c.datasets, _POOL.c.used_bytes, _POOL.c.reserved_bytes, _POOL.c.surveyed,
)  # fmt: skip


class PoolLedger:
    """Rows of `pool`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._all = db.statement(select(*_COLUMNS).order_by(_POOL.c.object_store_id))
        locked = select(*_COLUMNS).order_by(_POOL.c.object_store_id)
        self._locked = db.statement(locked if db.is_sqlite else locked.with_for_update())
        self._one = db.statement(select(*_COLUMNS).where(_POOL.c.object_store_id == bindparam("which")))
        self._insert = db.statement(
            db.upsert(_POOL).on_conflict_do_nothing(),
            columns=["object_store_id", "type", "location", "identity", "configured", "created_us"],
        )
        self._describe = db.statement(
            update(_POOL)
            .where(_POOL.c.object_store_id == bindparam("which"))
            .values(
                type=bindparam("new_type"), location=bindparam("new_location"),
                configured=bindparam("new_configured"),
            )
        )  # fmt: skip
        self._identify = db.statement(
            update(_POOL)
            .where(_POOL.c.object_store_id == bindparam("which"))
            .values(identity=bindparam("new_identity"))
        )
        self._survey = db.statement(
            update(_POOL)
            .where(_POOL.c.object_store_id == bindparam("which"))
            .values(surveyed=bindparam("new_surveyed"))
        )
        self._set_state = db.statement(
            update(_POOL).where(_POOL.c.object_store_id == bindparam("which")).values(state=bindparam("new_state"))
        )
        tables = (schema.replica, schema.dataset, schema.reservation, schema.moving, schema.job, schema.event)
        named = [table.c.object_store_id for table in tables]
        named += [schema.moving.c.source, schema.receipt.c.source, schema.receipt.c.target]
        self._rename_steps = [
            db.statement(update(column.table).where(column == bindparam("old")).values({column: bindparam("new")}))
            for column in named
        ]
        self._delete = db.statement(delete(_POOL).where(_POOL.c.object_store_id == bindparam("which")))
        self._merge = db.statement(
            update(_POOL)
            .where(_POOL.c.object_store_id == bindparam("which"))
            .values(
                datasets=_POOL.c.datasets + bindparam("more_datasets"),
                used_bytes=_POOL.c.used_bytes + bindparam("more_used"),
                reserved_bytes=_POOL.c.reserved_bytes + bindparam("more_reserved"),
            )
        )

    def all(self) -> list[PoolRow]:
        """Every pool that the catalog ever met, also those no longer configured."""
        with self._db.read() as cursor:
            return [_row(row) for row in self._all.all(cursor, {})]

    def all_in(self, cursor: Cursor) -> list[PoolRow]:
        """The same within a transaction; on PostgreSQL their rows are locked until its end."""
        return [_row(row) for row in self._locked.all(cursor, {})]

    def find(self, object_store_id: str) -> PoolRow:
        """One pool, or `NotFound`."""
        with self._db.read() as cursor:
            row = self._one.one(cursor, {"which": object_store_id})
        if row is None:
            raise NotFound(f"there is no pool {object_store_id!r}; `holdfast pools` lists them", store=object_store_id)
        return _row(row)

    def register(
        self, cursor: Cursor, object_store_id: str, *, kind: str, location: str | None, configured: bool, now_us: int
    ) -> None:
        """Make the pool known, or bring what is known of it up to date."""
        self._insert.run(
            cursor,
            {
                "object_store_id": object_store_id, "type": kind, "location": location, "identity": None,
                "configured": int(configured), "created_us": now_us,
            },
        )  # fmt: skip
        self._describe.run(
            cursor,
            {
                "which": object_store_id, "new_type": kind, "new_location": location,
                "new_configured": int(configured),
            },
        )  # fmt: skip

    def identify(self, object_store_id: str, identity: str) -> None:
        """Remember the mark that the pool's medium carries."""
        with self._db.write() as cursor:
            self._identify.run(cursor, {"which": object_store_id, "new_identity": identity})

    def surveyed(self, object_store_id: str, *, known: bool = True) -> None:
        """Whatever lies in the pool is recorded now; or, with `known=False`, that is not so any more."""
        with self._db.write() as cursor:
            self._survey.run(cursor, {"which": object_store_id, "new_surveyed": int(known)})

    def set_state(self, cursor: Cursor, object_store_id: str, state: PoolState) -> None:
        """active, read-only, draining or offline. `NotFound` if there is no such pool."""
        if self._set_state.run(cursor, {"which": object_store_id, "new_state": state}) != 1:
            raise NotFound(f"there is no pool {object_store_id!r}; `holdfast pools` lists them", store=object_store_id)

    def rename(self, old: str, new: str) -> None:
        """Everything that is recorded under `old` is under `new` from now on, which must be known already.

        For one medium whose name changed in the configuration: a dataset cannot lie in both.
        """
        with self._db.write() as cursor:
            row = self._one.one(cursor, {"which": old})
            if row is None:
                raise NotFound(f"there is no pool {old!r}; `holdfast pools` lists them", store=old)
            if self._one.one(cursor, {"which": new}) is None:
                raise NotFound(f"there is no pool {new!r}; write it into the configuration first", store=new)
            for step in self._rename_steps:
                step.run(cursor, {"old": old, "new": new})
            pool = _row(row)
            self._merge.run(
                cursor,
                {
                    "which": new, "more_datasets": pool.datasets, "more_used": pool.used_bytes,
                    "more_reserved": pool.reserved_bytes,
                },
            )  # fmt: skip
            if pool.state != "active":  # what an administrator has said of it stands
                self.set_state(cursor, new, pool.state)
            self._delete.run(cursor, {"which": old})


def _row(row: Row) -> PoolRow:
    name, kind, location, identity, state, configured, datasets, used, reserved, surveyed = row
    return PoolRow(name, kind, location, identity, state, bool(configured), datasets, used, reserved, bool(surveyed))
