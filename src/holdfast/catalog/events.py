"""The append-only event log."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select

from holdfast.catalog import schema
from holdfast.catalog.base import Event
from holdfast.catalog.database import Cursor, Database

_EVENT = schema.event
_INSERTED = ("at_us", "kind", "text", "dataset_id", "object_store_id", "actor")


class EventLedger:
    """Rows of `event`. Ids grow; a reader that remembers the last one misses nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db
        columns = (
            _EVENT.c.id, _EVENT.c.at_us, _EVENT.c.kind, _EVENT.c.dataset_id, _EVENT.c.object_store_id,
            _EVENT.c.actor, _EVENT.c.text,
        )  # fmt: skip
        self._insert = db.statement(
            insert(_EVENT), columns=list(_INSERTED)
        )
        newest = select(*columns).order_by(_EVENT.c.id.desc()).limit(bindparam("limit", type_=schema.Whole))
        self._newest = db.statement(newest)
        self._before = db.statement(newest.where(_EVENT.c.id < bindparam("before")))
        self._of_dataset = db.statement(newest.where(_EVENT.c.dataset_id == bindparam("dataset_id")))
        self._since = db.statement(
            select(*columns)
            .where(_EVENT.c.id > bindparam("after"))
            .order_by(_EVENT.c.id)
            .limit(bindparam("limit", type_=schema.Whole))
        )

    def add(
        self, cursor: Cursor, now_us: int, kind: str, text: str, *, dataset_id: int | None = None,
        object_store_id: str | None = None, actor: str | None = None,
    ) -> None:  # fmt: skip
        """Append one line, in the transaction of what it tells."""
        self.add_many(cursor, [(now_us, kind, text, dataset_id, object_store_id, actor)])

    def add_many(self, cursor: Cursor, events: list[tuple[int, str, str, int | None, str | None, str | None]]) -> None:
        """Append lines: (now_us, kind, text, dataset_id, object_store_id, actor)."""
        if events:
            self._insert.run_many(cursor, [dict(zip(_INSERTED, event, strict=True)) for event in events])

    def newest(self, limit: int = 50, *, before: int | None = None, dataset_id: int | None = None) -> list[Event]:
        """The latest lines, newest first; `before` pages on."""
        with self._db.read() as cursor:
            if dataset_id is not None:
                rows = self._of_dataset.all(cursor, {"limit": limit, "dataset_id": dataset_id})
            elif before is not None:
                rows = self._before.all(cursor, {"limit": limit, "before": before})
            else:
                rows = self._newest.all(cursor, {"limit": limit})
        return [Event(*row) for row in rows]

    def since(self, after: int, limit: int = 100) -> list[Event]:
        """The lines after that id, oldest first."""
        with self._db.read() as cursor:
            return [Event(*row) for row in self._since.all(cursor, {"after": after, "limit": limit})]
