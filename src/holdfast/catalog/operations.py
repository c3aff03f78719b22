"""Operations: what they are to do, how far they are, who works on them.

    running -> paused -> running ...        running | paused -> done | failed | cancelled      failed -> running

A running operation without a holder, or with a dead one, waits for somebody to work on it. Cursor and counts
are written together, by the holder alone (compare-and-set): what is counted is what stands before the cursor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Select, and_, bindparam, func, select, update
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
FAILURES_MAX = 10_000  # kept one by one for each operation; beyond that they are only counted
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


@dataclass(frozen=True, slots=True)
class Step:
    """What is written when a batch is done, or while it runs (then `cursor` stays the one before it)."""

    cursor: str | None
    objects_done: int
    bytes_done: int
    result: Mapping[str, Any]
    failures: Sequence[Failure] = field(default=())


_COLUMNS = tuple(_OPERATION.c[name] for name in OperationRow.__dataclass_fields__)


class OperationLedger:
    """Rows of `operation` and `operation_failure`. Safe from many threads and processes."""

    def __init__(self, db: Database, clock: Clock, *, events: EventLedger, holders: HolderLedger) -> None:
        self._db, self._clock, self._events, self._holders = db, clock, events, holders
        this = _OPERATION.c.id == bindparam("which")
        mine = and_(this, _OPERATION.c.state == "running", _OPERATION.c.holder == bindparam("me"))
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
        self._claim = db.statement(
            update(_OPERATION)
            .where(and_(this, _OPERATION.c.state == "running"))
            .values(holder=bindparam("new_me"), updated_us=bindparam("now"))
        )
        self._let_go = db.statement(update(_OPERATION).where(mine).values(holder=None))
        self._save = db.statement(
            update(_OPERATION)
            .where(mine)
            .values(
                cursor=bindparam("new_cursor"), objects_done=bindparam("new_objects"),
                bytes_done=bindparam("new_bytes"), result=bindparam("new_result"),
                updated_us=bindparam("now"),
            )
            .returning(_OPERATION.c.wanted)
        )  # fmt: skip
        self._wanted = db.statement(select(_OPERATION.c.wanted).where(mine))
        self._set_total = db.statement(
            update(_OPERATION)
            .where(mine)
            .values(objects_total=bindparam("new_objects"), bytes_total=bindparam("new_bytes"))
        )
        self._set_state = db.statement(
            update(_OPERATION)
            .where(this)
            .values(
                state=bindparam("new_state"), wanted=bindparam("new_wanted"), holder=bindparam("new_me"),
                updated_us=bindparam("now"), finished_us=bindparam("new_finished"),
            )
        )  # fmt: skip
        self._set_wanted = db.statement(update(_OPERATION).where(this).values(wanted=bindparam("new_wanted")))
        fail = db.upsert(_FAILURE).values(
            {name: bindparam(name) for name in ("operation_id", "item", "object_store_id", "error", "why")}
        )
        self._fail = db.statement(
            fail.on_conflict_do_update(
                index_elements=["operation_id", "item"],
                set_={name: fail.excluded[name] for name in ("object_store_id", "error", "why")},
            )
        )
        self._failures = db.statement(
            select(_FAILURE.c.item, _FAILURE.c.object_store_id, _FAILURE.c.error, _FAILURE.c.why)
            .where(_FAILURE.c.operation_id == bindparam("which"))
            .order_by(_FAILURE.c.item)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        self._failure_count = db.statement(
            select(func.count()).select_from(_FAILURE).where(_FAILURE.c.operation_id == bindparam("which"))
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
                    "id": operation_id, "kind": kind, "state": "running", "parameters": _json(parameters),
                    "objects_total": objects, "bytes_total": size_bytes, "result": "{}", "actor": actor,
                    "created_us": now, "updated_us": now,
                },
            )  # fmt: skip
            self._tell(cursor, operation_id, kind, "began", actor)
            return self._again(cursor, operation_id)

    def find(self, operation_id: int) -> OperationRow:
        """Everything that is known of an operation. `NotFound`."""
        with self._db.read() as cursor:
            return self._again(cursor, operation_id)

    def unfinished(self, kind: str, parameters: Mapping[str, Any]) -> OperationRow | None:
        """The latest operation of that kind with those parameters that is not over."""
        with self._db.read() as cursor:
            row = self._same.one(cursor, {"kind": kind, "parameters": _json(parameters)})
        return None if row is None else _row(row)

    def page(
        self, *, state: OperationState | None = None, limit: int = 50, after: int | None = None
    ) -> list[OperationRow]:
        """Newest first; `after` is an id, the page begins behind it."""
        parameters: dict[str, Any] = {"state": state, "after": after}
        parameters = {name: value for name, value in parameters.items() if value is not None}
        asked = frozenset(parameters)
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
            row = self._locked(cursor, operation_id)
            if row.state not in ("running", "paused"):
                raise Conflict(f"operation {operation_id} is {row.state} already")
            if row.state == "running" and self._is_held(cursor, operation_id):
                self._set_wanted.run(cursor, {"which": operation_id, "new_wanted": wanted})
            else:
                self._to(cursor, row, "paused" if wanted == "pause" else "cancelled", actor)
            return self._again(cursor, operation_id)

    def resume(self, operation_id: int, actor: str | None = None) -> OperationRow:
        """A paused or failed one goes on where it was; a wish to pause is taken back. `Conflict` if it is
        over."""
        with self._db.write() as cursor:
            row = self._locked(cursor, operation_id)
            if row.state in ("done", "cancelled"):
                raise Conflict(f"operation {operation_id} is {row.state}: begin a new one")
            if row.state == "running":
                self._set_wanted.run(cursor, {"which": operation_id, "new_wanted": None})
            else:
                self._to(cursor, row, "running", actor)
            return self._again(cursor, operation_id)

    # -- workers ------------------------------------------------------------------------------------------

    def waiting(self) -> list[int]:
        """Running operations that nobody who lives works on, oldest first."""
        with self._db.read() as cursor:
            rows = self._held.all(cursor, {})
        return [row[0] for row in rows if not self._lives(row[1:])]

    def claim(self, operation_id: int) -> OperationRow | None:
        """The operation, taken for this process; None if it is not to be run, or somebody who lives has it,
        be it another thread of this process."""
        with self._db.read() as cursor:
            if self._again(cursor, operation_id).state != "running" or self._is_held(cursor, operation_id):
                return None
        me = self._holders.own()
        with self._db.write() as cursor:
            row = self._locked(cursor, operation_id)
            if row.state != "running" or self._is_held(cursor, operation_id):
                return None
            self._claim.run(cursor, {"which": operation_id, "new_me": me, "now": self._clock.now_us()})
            return self._again(cursor, operation_id)

    def let_go(self, row: OperationRow) -> None:
        """This process ends; somebody else may take it up at once."""
        with self._db.write() as cursor:
            self._let_go.run(cursor, _mine(row))

    def total(self, row: OperationRow, objects: int, size_bytes: int) -> None:
        """It was planned anew."""
        with self._db.write() as cursor:
            self._set_total.run(cursor, {**_mine(row), "new_objects": objects, "new_bytes": size_bytes})

    def save(self, row: OperationRow, step: Step) -> tuple[bool, Wanted | None]:
        """Record how far it is: (whether it still is this process's, what is wanted of it)."""
        with self._db.write() as cursor:
            found = self._save.one(
                cursor,
                {
                    **_mine(row), "new_cursor": step.cursor, "new_objects": step.objects_done,
                    "new_bytes": step.bytes_done, "new_result": _json(step.result),
                    "now": self._clock.now_us(),
                },
            )  # fmt: skip
            if found is None:
                return False, None
            self._keep_failures(cursor, row.id, step.failures)
            return True, found[0]

    def wanted(self, row: OperationRow) -> tuple[bool, Wanted | None]:
        """(Whether it still is this process's, what is wanted of it)."""
        with self._db.read() as cursor:
            found = self._wanted.one(cursor, _mine(row))
        return (False, None) if found is None else (True, found[0])

    def finish(self, row: OperationRow, state: OperationState, actor: str | None = None) -> bool:
        """It is over, or paused; False if it is no longer this process's."""
        with self._db.write() as cursor:
            current = self._locked(cursor, row.id)
            if current.state != "running" or current.holder != row.holder:
                return False
            self._to(cursor, current, state, actor)
            return True

    # -- inside -------------------------------------------------------------------------------------------

    def _again(self, cursor: Cursor, operation_id: int) -> OperationRow:
        row = self._find.one(cursor, {"which": operation_id})
        if row is None:
            raise NotFound(f"there is no operation {operation_id}; `holdfast ops` lists them", operation="op")
        return _row(row)

    def _locked(self, cursor: Cursor, operation_id: int) -> OperationRow:
        self._lock.one(cursor, {"which": operation_id})
        return self._again(cursor, operation_id)

    def _to(self, cursor: Cursor, row: OperationRow, state: OperationState, actor: str | None) -> None:
        now = self._clock.now_us()
        over = state in ("done", "failed", "cancelled")
        new = {"new_state": state, "new_wanted": None, "new_me": None, "new_finished": now if over else None}
        self._set_state.run(cursor, {"which": row.id, "now": now, **new})
        note = row.result.get("note")
        words = "goes on" if state == "running" else f"{state}: {note}" if note and state == "failed" else state
        self._tell(cursor, row.id, row.kind, words, actor)

    def _keep_failures(self, cursor: Cursor, operation_id: int, failures: Sequence[Failure]) -> None:
        if not failures:
            return
        room = FAILURES_MAX - int(self._failure_count.one(cursor, {"which": operation_id})[0])
        self._fail.run_many(
            cursor,
            [
                {
                    "operation_id": operation_id, "item": one.item, "object_store_id": one.object_store_id,
                    "error": one.error, "why": one.why,
                }
                for one in failures[: max(0, room)]
            ],
        )  # fmt: skip

    def _is_held(self, cursor: Cursor, operation_id: int) -> bool:
        rows = [row for row in self._held.all(cursor, {}) if row[0] == operation_id]
        return bool(rows) and self._lives(rows[0][1:])

    def _lives(self, held: Row) -> bool:
        """Of (holder id, machine, pid, born, kind, seen): whether that process lives."""
        return held[1] is not None and self._holders.alive(Holder(*held))

    def _tell(self, cursor: Cursor, operation_id: int, kind: str, words: str, actor: str | None) -> None:
        text = f"operation {operation_id} ({kind}) {words}"
        self._events.add(cursor, self._clock.now_us(), f"operation.{kind}", text, actor=actor)


def _mine(row: OperationRow) -> dict[str, Any]:
    return {"which": row.id, "me": row.holder}


def _listing(asked: frozenset[str]) -> Select[Any]:
    clause = select(*_COLUMNS).order_by(_OPERATION.c.id.desc())
    clause = clause.limit(bindparam("limit", type_=schema.Whole))
    if "state" in asked:
        clause = clause.where(_OPERATION.c.state == bindparam("state"))
    if "after" in asked:
        clause = clause.where(_OPERATION.c.id < bindparam("after", type_=schema.Whole))
    return clause


def _row(row: Row) -> OperationRow:
    given = dict(zip(OperationRow.__dataclass_fields__, row, strict=True))
    for name in ("parameters", "result"):
        given[name] = json.loads(given[name])
    return OperationRow(**given)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False, sort_keys=True)
