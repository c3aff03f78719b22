"""Operations: what they are to do, how far they are, who works on them.

    running -> paused -> running ...        running | paused -> done | failed | cancelled      failed -> running

A running operation without a holder, or with a dead one, waits for somebody to work on it. What users see and
want stands here; what workers write down is in `progress`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, bindparam, select, update
from sqlalchemy import insert as insert_into

from holdfast.catalog import schema
from holdfast.catalog.base import Row
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.events import EventLedger
from holdfast.catalog.holders import Holder, HolderLedger
from holdfast.errors import Conflict, NotFound
from holdfast.seams import Clock

OperationState = Literal["running", "paused", "done", "failed", "cancelled"]
Wanted = Literal["pause", "cancel"]
OPERATION_STATES: tuple[OperationState, ...] = ("running", "paused", "done", "failed", "cancelled")
LIST_MAX = 1000
_OPERATION, _FAILURE, _HOLDER = schema.operation, schema.operation_failure, schema.holder


@dataclass(frozen=True, slots=True)
class Failure:
    """One dataset or key that an operation could not deal with."""

    item: str
    object_store_id: str | None
    error: str
    why: str


@dataclass(frozen=True, slots=True)
class OperationRow:
    """An operation as the catalog knows it. Times are microseconds since 1970, UTC."""

    id: int
    kind: str
    state: OperationState
    parameters: Mapping[str, Any]
    cursor: str | None
    holder: str | None
    objects_total: int
    objects_done: int
    bytes_total: int
    bytes_done: int
    result: Mapping[str, Any]
    wanted: Wanted | None
    actor: str | None
    created_us: int
    updated_us: int
    finished_us: int | None


_COLUMNS = tuple(_OPERATION.c[name] for name in OperationRow.__dataclass_fields__)


class OperationLedger:
    """Rows of `operation` and `operation_failure`. Safe from many threads and processes."""

    def __init__(self, db: Database, clock: Clock, *, events: EventLedger, holders: HolderLedger) -> None:
        self._db, self._clock, self._events, self._holders = db, clock, events, holders
        this = _OPERATION.c.id == bindparam("which")
        sequence = schema.sequence
        self._take_id = db.statement(
            update(sequence)
            .where(sequence.c.name == "operation")
            .values(next=sequence.c.next + 1)
            .returning(sequence.c.next)
        )
        self._insert = db.statement(
            insert_into(_OPERATION),
            columns=[
                "id", "kind", "state", "parameters", "objects_total", "bytes_total", "result", "actor",
                "created_us", "updated_us",
            ],
        )  # fmt: skip
        self._find = db.statement(select(*_COLUMNS).where(this))
        lock = select(_OPERATION.c.id).where(this)
        self._lock = db.statement(lock if db.is_sqlite else lock.with_for_update())
        self._held = db.statement(
            select(
                _OPERATION.c.id, _OPERATION.c.holder, _HOLDER.c.machine, _HOLDER.c.pid, _HOLDER.c.born,
                _HOLDER.c.kind, _HOLDER.c.seen_us,
            )
            .select_from(_OPERATION.outerjoin(_HOLDER, _HOLDER.c.id == _OPERATION.c.holder))
            .where(_OPERATION.c.state == "running")
            .order_by(_OPERATION.c.id)
        )  # fmt: skip
        self._set_state = db.statement(
            update(_OPERATION)
            .where(this)
            .values(
                state=bindparam("new_state"), wanted=bindparam("new_wanted"), holder=bindparam("new_me"),
                updated_us=bindparam("now"), finished_us=bindparam("new_finished"),
            )
        )  # fmt: skip
        self._set_wanted = db.statement(update(_OPERATION).where(this).values(wanted=bindparam("new_wanted")))
        self._failures = db.statement(
            select(_FAILURE.c.item, _FAILURE.c.object_store_id, _FAILURE.c.error, _FAILURE.c.why)
            .where(_FAILURE.c.operation_id == bindparam("which"))
            .order_by(_FAILURE.c.item)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        self._same = db.statement(
            select(*_COLUMNS)
            .where(_OPERATION.c.kind == bindparam("kind"))
            .where(_OPERATION.c.finished_us.is_(None))
            .where(_OPERATION.c.parameters == bindparam("parameters"))
            .order_by(_OPERATION.c.id.desc())
            .limit(1)
        )
        self._lists: dict[frozenset[str], Any] = {}

    # -- users --------------------------------------------------------------------------------------------

    def add(
        self, kind: str, parameters: Mapping[str, Any], *, actor: str | None, objects: int, size_bytes: int
    ) -> OperationRow:
        """A new operation that waits for somebody to work on it; `objects` and `size_bytes`: as planned."""
        now = self._clock.now_us()
        with self._db.write() as cursor:
            operation_id = int(self._take_id.one(cursor, {})[0]) - 1
            self._insert.run(
                cursor,
                {
                    "id": operation_id, "kind": kind, "state": "running", "parameters": json_of(parameters),
                    "objects_total": objects, "bytes_total": size_bytes, "result": "{}", "actor": actor,
                    "created_us": now, "updated_us": now,
                },
            )  # fmt: skip
            self._tell(cursor, operation_id, kind, "began", actor)
            return self.find_in(cursor, operation_id)

    def find(self, operation_id: int) -> OperationRow:
        """Everything that is known of an operation. `NotFound`."""
        with self._db.read() as cursor:
            return self.find_in(cursor, operation_id)

    def unfinished(self, kind: str, parameters: Mapping[str, Any]) -> OperationRow | None:
        """The latest operation of that kind with those parameters that is not over."""
        with self._db.read() as cursor:
            row = self._same.one(cursor, {"kind": kind, "parameters": json_of(parameters)})
        return None if row is None else _row(row)

    def page(
        self, *, state: OperationState | None = None, limit: int = 50, after: int | None = None,
        oldest_first: bool = False,
    ) -> list[OperationRow]:  # fmt: skip
        """Newest first unless asked otherwise; `after` is an id, the page begins behind it."""
        parameters: dict[str, Any] = {"state": state, "after": after}
        parameters = {name: value for name, value in parameters.items() if value is not None}
        asked = frozenset(parameters) | ({"oldest_first"} if oldest_first else frozenset())
        statement = self._lists.get(asked)
        if statement is None:
            statement = self._lists[asked] = self._db.statement(_listing(asked))
        with self._db.read() as cursor:
            rows = statement.all(cursor, {**parameters, "limit": max(1, min(limit, LIST_MAX))})
        return [_row(row) for row in rows]

    def failures(self, operation_id: int, limit: int = 100) -> list[Failure]:
        """What it could not deal with, by item."""
        with self._db.read() as cursor:
            rows = self._failures.all(cursor, {"which": operation_id, "limit": limit})
        return [Failure(*row) for row in rows]

    def want(self, operation_id: int, wanted: Wanted, actor: str | None = None) -> OperationRow:
        """Ask it to pause, or to stop for good. One that nobody works on does so at once. `Conflict` if it is
        over."""
        with self._db.write() as cursor:
            row = self.locked(cursor, operation_id)
            if row.state not in ("running", "paused"):
                raise Conflict(f"operation {operation_id} is {row.state} already")
            if row.state == "running" and self.is_held(cursor, operation_id):
                self._set_wanted.run(cursor, {"which": operation_id, "new_wanted": wanted})
            else:
                self.to_state(cursor, row, "paused" if wanted == "pause" else "cancelled", actor)
            return self.find_in(cursor, operation_id)

    def resume(self, operation_id: int, actor: str | None = None) -> OperationRow:
        """A paused or failed one goes on where it was; a wish to pause is taken back. `Conflict` if it is
        over."""
        with self._db.write() as cursor:
            row = self.locked(cursor, operation_id)
            if row.state in ("done", "cancelled"):
                raise Conflict(f"operation {operation_id} is {row.state}: begin a new one")
            if row.state == "running":
                self._set_wanted.run(cursor, {"which": operation_id, "new_wanted": None})
            else:
                self.to_state(cursor, row, "running", actor)
            return self.find_in(cursor, operation_id)

    def waiting(self) -> list[int]:
        """Running operations that nobody who lives works on, oldest first."""
        with self._db.read() as cursor:
            rows = self._held.all(cursor, {})
        return [row[0] for row in rows if not self._lives(row[1:])]

    # -- what workers need too ----------------------------------------------------------------------------

    def find_in(self, cursor: Cursor, operation_id: int) -> OperationRow:
        """`find` within a transaction."""
        row = self._find.one(cursor, {"which": operation_id})
        if row is None:
            raise NotFound(f"there is no operation {operation_id}; `holdfast ops` lists them", operation="op")
        return _row(row)

    def locked(self, cursor: Cursor, operation_id: int) -> OperationRow:
        """The same, and nobody else changes it until the transaction ends."""
        self._lock.one(cursor, {"which": operation_id})
        return self.find_in(cursor, operation_id)

    def to_state(self, cursor: Cursor, row: OperationRow, state: OperationState, actor: str | None) -> None:
        """Another state; nobody holds it then, nothing is wanted of it."""
        now = self._clock.now_us()
        over = state in ("done", "failed", "cancelled")
        new = {"new_state": state, "new_wanted": None, "new_me": None, "new_finished": now if over else None}
        self._set_state.run(cursor, {"which": row.id, "now": now, **new})
        note = row.result.get("note")
        words = "goes on" if state == "running" else f"{state}: {note}" if note and state == "failed" else state
        self._tell(cursor, row.id, row.kind, words, actor)

    def is_held(self, cursor: Cursor, operation_id: int) -> bool:
        """Whether somebody who lives works on it."""
        rows = [row for row in self._held.all(cursor, {}) if row[0] == operation_id]
        return bool(rows) and self._lives(rows[0][1:])

    def _lives(self, held: Row) -> bool:
        """Of (holder id, machine, pid, born, kind, seen): whether that process lives."""
        return held[1] is not None and self._holders.alive(Holder(*held))

    def _tell(self, cursor: Cursor, operation_id: int, kind: str, words: str, actor: str | None) -> None:
        text = f"operation {operation_id} ({kind}) {words}"
        self._events.add(cursor, self._clock.now_us(), f"operation.{kind}", text, actor=actor)


def _listing(asked: frozenset[str]) -> Select[Any]:
    upwards = "oldest_first" in asked
    clause = select(*_COLUMNS).order_by(_OPERATION.c.id if upwards else _OPERATION.c.id.desc())
    clause = clause.limit(bindparam("limit", type_=schema.Whole))
    if "state" in asked:
        clause = clause.where(_OPERATION.c.state == bindparam("state"))
    if "after" in asked:
        beyond = bindparam("after", type_=schema.Whole)
        clause = clause.where(_OPERATION.c.id > beyond if upwards else _OPERATION.c.id < beyond)
    return clause


def _row(row: Row) -> OperationRow:
    given = dict(zip(OperationRow.__dataclass_fields__, row, strict=True))
    for name in ("parameters", "result"):
        given[name] = json.loads(given[name])
    return OperationRow(**given)


def json_of(value: Mapping[str, Any]) -> str:
    """As it stands in a row: two equal values are the same text."""
    return json.dumps(dict(value), ensure_ascii=False, sort_keys=True)
