"""Progress: who works on an operation, and how far it is.

Cursor and counts are written together, by the holder alone (compare-and-set): what is counted is what stands
before the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, func, select, update

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.holders import HolderLedger
from holdfast.catalog.operations import Failure, OperationLedger, OperationRow, OperationState, Wanted, json_of
from holdfast.seams import Clock

FAILURES_MAX = 10_000  # kept one by one for each operation; beyond that they are only counted
_OPERATION, _FAILURE = schema.operation, schema.operation_failure


@dataclass(frozen=True, slots=True)
class Step:
    """What is written when a batch is done, or while it runs (then `cursor` stays the one before it)."""

    cursor: str | None
    objects_done: int
    bytes_done: int
    result: Mapping[str, Any]
    failures: Sequence[Failure] = field(default=())


class ProgressLedger:
    """Rows of `operation`, as those who work on them write. Safe from many threads and processes."""

    def __init__(self, db: Database, clock: Clock, *, operations: OperationLedger, holders: HolderLedger) -> None:
        self._db, self._clock, self._operations, self._holders = db, clock, operations, holders
        this = _OPERATION.c.id == bindparam("which")
        mine = and_(this, _OPERATION.c.state == "running", _OPERATION.c.holder == bindparam("me"))
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
        fail = db.upsert(_FAILURE).values(
            {name: bindparam(name) for name in ("operation_id", "item", "object_store_id", "error", "why")}
        )
        self._fail = db.statement(
            fail.on_conflict_do_update(
                index_elements=["operation_id", "item"],
                set_={name: fail.excluded[name] for name in ("object_store_id", "error", "why")},
            )
        )
        self._failure_count = db.statement(
            select(func.count()).select_from(_FAILURE).where(_FAILURE.c.operation_id == bindparam("which"))
        )

    def claim(self, operation_id: int) -> OperationRow | None:
        """The operation, taken for this process; None if it is not to be run, or somebody who lives has it,
        be it another thread of this process."""
        with self._db.read() as cursor:
            row = self._operations.find_in(cursor, operation_id)
            if row.state != "running" or self._operations.is_held(cursor, operation_id):
                return None
        me = self._holders.own()
        with self._db.write() as cursor:
            row = self._operations.locked(cursor, operation_id)
            if row.state != "running" or self._operations.is_held(cursor, operation_id):
                return None
            self._claim.run(cursor, {"which": operation_id, "new_me": me, "now": self._clock.now_us()})
            return self._operations.find_in(cursor, operation_id)

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
                    "new_bytes": step.bytes_done, "new_result": json_of(step.result),
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
            current = self._operations.locked(cursor, row.id)
            if current.state != "running" or current.holder != row.holder:
                return False
            self._operations.to_state(cursor, current, state, actor)
            return True

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


def _mine(row: OperationRow) -> dict[str, Any]:
    return {"which": row.id, "me": row.holder}
