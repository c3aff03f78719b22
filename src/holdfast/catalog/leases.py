"""Leases that outlive a process: while a row stands, its dataset is neither purged nor replaced."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, select

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database

_LEASE = schema.lease


class LeaseLedger:
    """Rows of `lease`: who counts on a dataset. `holder` is for example `job:12`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._insert = db.statement(
            db.upsert(_LEASE).on_conflict_do_nothing(), columns=["dataset_id", "holder", "until_us"]
        )
        self._release = db.statement(delete(_LEASE).where(_LEASE.c.holder == bindparam("holder")))
        self._holders = db.statement(
            select(_LEASE.c.holder)
            .where(_LEASE.c.dataset_id == bindparam("dataset_id"))
            .where((_LEASE.c.until_us.is_(None)) | (_LEASE.c.until_us > bindparam("now")))
        )

    def add(self, cursor: Cursor, dataset_id: int, holder: str, until_us: int | None = None) -> None:
        """Count on a dataset until released, or until that time. Idempotent."""
        self._insert.run(cursor, {"dataset_id": dataset_id, "holder": holder, "until_us": until_us})

    def release(self, cursor: Cursor, holder: str) -> None:
        """Let go of everything that `holder` counts on."""
        self._release.run(cursor, {"holder": holder})

    def of(self, dataset_id: int, now_us: int) -> list[str]:
        """The same as `holders`, in a transaction of its own."""
        with self._db.read() as cursor:
            return self.holders(cursor, dataset_id, now_us)

    def holders(self, cursor: Cursor, dataset_id: int, now_us: int) -> list[str]:
        """Who counts on the dataset now."""
        return [row[0] for row in self._holders.all(cursor, {"dataset_id": dataset_id, "now": now_us})]
