"""When replicas were last proved: the oldest first for scrub, and each pool's figures.

All of it comes from the ends of indexes. Reads only; `fates` records what was proved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, case, func, literal_column, select

from holdfast.catalog import schema
from holdfast.catalog.base import Replica, Row
from holdfast.catalog.database import Database, any_of
from holdfast.keys import Key

_REPLICA = schema.replica
_COLUMNS = (
    _REPLICA.c.dataset_id, _REPLICA.c.object_store_id, _REPLICA.c.state, _REPLICA.c.key, _REPLICA.c.size_bytes,
    _REPLICA.c.version, _REPLICA.c.verified_us, _REPLICA.c.note,
)  # fmt: skip

STATES = ("present", "suspect", "missing")  # a replica that should be whole moves from left to right
COUNTED_MAX = 10_000
FOR_EVER_US = 2**62


@dataclass(frozen=True, slots=True)
class Due:
    """A replica that is to be read. `at_us` is what the order goes by."""

    at_us: int
    dataset_id: int
    replica: Replica


@dataclass(frozen=True, slots=True)
class Figures:
    """A pool's integrity. `oldest_us`: the oldest proof among its whole replicas; one that was never proved counts from
    when it was recorded; None where there are none. Each count stops at `COUNTED_MAX`, and the bytes are theirs."""

    oldest_us: int | None
    never: int
    overdue: int
    overdue_bytes: int
    suspect: int
    missing: int


class IntegrityLedger:
    """Reads `replica` by age."""

    def __init__(self, db: Database) -> None:
        self._db = db
        here = _REPLICA.c.object_store_id == bindparam("pool")
        of_state = and_(here, _REPLICA.c.state == bindparam("state"))
        behind = bindparam("after", type_=schema.Whole)
        limit = bindparam("limit", type_=schema.Whole)
        by_age = (
            select(_REPLICA.c.verified_us, *_COLUMNS)
            .where(of_state)
            .where(_REPLICA.c.verified_us >= bindparam("from_us", type_=schema.Whole))
            .where(
                (_REPLICA.c.verified_us > bindparam("from_us", type_=schema.Whole)) | (_REPLICA.c.dataset_id > behind)
            )
            .where(_REPLICA.c.verified_us < bindparam("before_us", type_=schema.Whole))
            .order_by(_REPLICA.c.verified_us, _REPLICA.c.dataset_id)
            .limit(limit)
        )
        self._by_age = db.statement(by_age)
        self._any_never = db.statement(
            select(_REPLICA.c.dataset_id).where(of_state).where(_REPLICA.c.verified_us.is_(None)).limit(1)
        )
        unproved = func.coalesce(_REPLICA.c.verified_us, -1)  # no index of ages is used, which would sort all of them
        self._never = db.statement(
            select(literal_column("0"), *_COLUMNS)
            .where(of_state)
            .where(_REPLICA.c.dataset_id > behind)
            .where(unproved < 0)
            .order_by(_REPLICA.c.dataset_id)
            .limit(limit)
        )
        self._changed = db.statement(
            select(_REPLICA.c.changed_us, *_COLUMNS)
            .where(here)
            .where(_REPLICA.c.state == "present")
            .where(_REPLICA.c.changed_us >= bindparam("from_us", type_=schema.Whole))
            .where(
                (_REPLICA.c.changed_us > bindparam("from_us", type_=schema.Whole)) | (_REPLICA.c.dataset_id > behind)
            )
            .where(unproved < bindparam("before_us", type_=schema.Whole))
            .order_by(_REPLICA.c.changed_us, _REPLICA.c.dataset_id)
            .limit(limit)
        )
        self._figures = db.statement(_figures())
        self._amount = db.statement(
            select(func.count(), func.coalesce(func.sum(_REPLICA.c.size_bytes), 0))
            .where(here)
            .where(any_of(_REPLICA.c.state, STATES))
            .where(unproved < bindparam("before_us", type_=schema.Whole))
        )

    # -- what is to be read -------------------------------------------------------------------------------

    def never_proved(self, pools: Sequence[str], after: int, limit: int) -> list[Due]:
        """Replicas that nobody has read since they were recorded, of datasets behind `after`, by id."""
        found: list[Row] = []
        with self._db.read() as cursor:
            for pool in pools:
                for state in STATES:
                    if self._any_never.one(cursor, {"pool": pool, "state": state}) is not None:
                        given = {"pool": pool, "state": state, "after": after, "limit": limit}
                        found += self._never.all(cursor, given)
        return _in_order(found)

    def proved_before(self, pools: Sequence[str], place: tuple[int, int], before_us: int, limit: int) -> list[Due]:
        """Replicas that were last proved at or behind `place` (a time, and the id behind which to go on at that very
        time) and before `before_us`, the oldest first. The first `limit` are complete; there may be more."""
        found: list[Row] = []
        with self._db.read() as cursor:
            for pool in pools:
                for state in STATES:
                    given = {"pool": pool, "state": state, "from_us": place[0], "after": place[1]}
                    found += self._by_age.all(cursor, {**given, "before_us": before_us, "limit": limit})
        return _in_order(found)

    def changed_since(self, pools: Sequence[str], place: tuple[int, int], before_us: int, limit: int) -> list[Due]:
        """The same of whole replicas that were recorded or changed at or behind `place`, and nevertheless not proved
        since `before_us`: by the time of the change."""
        found: list[Row] = []
        with self._db.read() as cursor:
            for pool in pools:
                given = {"pool": pool, "from_us": place[0], "after": place[1]}
                found += self._changed.all(cursor, {**given, "before_us": before_us, "limit": limit})
        return _in_order(found)

    def amount(self, pool: str, before_us: int) -> tuple[int, int]:
        """(replicas, bytes) that were not proved since that time. Looks at each."""
        with self._db.read() as cursor:
            count, size_bytes = self._amount.one(cursor, {"pool": pool, "before_us": before_us})
        return int(count), int(size_bytes)

    # -- figures ------------------------------------------------------------------------------------------

    def figures(self, pool: str, before_us: int) -> Figures:
        """A pool's figures, in one query; `before_us` is what the target allows."""
        with self._db.read() as cursor:
            row = self._figures.one(cursor, {"pool": pool, "before_us": before_us})
        proved_us, recorded_us, *rest = row
        known = [int(one) for one in (proved_us, recorded_us) if one is not None]
        never, late, late_bytes, overdue, overdue_bytes, suspect, missing = (int(one) for one in rest)
        return Figures(min(known, default=None), never, late + overdue, late_bytes + overdue_bytes, suspect, missing)


def _figures() -> Select[Any]:
    here = _REPLICA.c.object_store_id == bindparam("pool")
    whole = and_(here, _REPLICA.c.state == "present")
    oldest = (
        select(_REPLICA.c.verified_us)
        .where(whole)
        .where(_REPLICA.c.verified_us.is_not(None))
        .order_by(_REPLICA.c.verified_us)
        .limit(1)
        .scalar_subquery()
    )
    never = (
        select(_REPLICA.c.created_us, _REPLICA.c.size_bytes)
        .where(whole)
        .where(_REPLICA.c.verified_us.is_(None))
        .limit(COUNTED_MAX)
        .subquery("never")
    )
    overdue = (
        select(_REPLICA.c.size_bytes)
        .where(whole)
        .where(_REPLICA.c.verified_us < bindparam("before_us", type_=schema.Whole))
        .limit(COUNTED_MAX)
        .subquery("overdue")
    )
    bad = [
        select(_REPLICA.c.dataset_id).where(here).where(_REPLICA.c.state == state).limit(COUNTED_MAX).subquery(state)
        for state in ("suspect", "missing")
    ]
    before = bindparam("before_us", type_=schema.Whole)
    of_never = select(
        func.min(never.c.created_us).label("since"), func.count().label("n"),
        func.coalesce(func.sum(case((never.c.created_us < before, 1), else_=0)), 0).label("late"),
        func.coalesce(func.sum(case((never.c.created_us < before, never.c.size_bytes), else_=0)), 0).label("size"),
    ).subquery("of_never")  # fmt: skip
    of_overdue = select(
        func.count().label("n"), func.coalesce(func.sum(overdue.c.size_bytes), 0).label("size")
    ).select_from(overdue).subquery("of_overdue")  # fmt: skip
    counts = [select(func.count()).select_from(one).scalar_subquery() for one in bad]
    return select(
        oldest, of_never.c.since, of_never.c.n, of_never.c.late, of_never.c.size, of_overdue.c.n, of_overdue.c.size,
        *counts,
    )  # fmt: skip


def _in_order(rows: list[Row]) -> list[Due]:
    found = [Due(int(row[0]), row[1], Replica(row[2], row[3], Key(row[4]), *row[5:])) for row in rows]
    return sorted(found, key=lambda one: (one.at_us, one.dataset_id, one.replica.object_store_id))
