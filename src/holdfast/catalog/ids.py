"""Dataset ids that nobody has: neither the catalog nor, as far as one can look, any pool.

A number is given out once, also if what it was for comes to nothing. Where ids are taken (a pool with data that
nobody has recorded, or a million that somebody has) the distance doubles until one is free, so that finding one
costs some dozens of looks and not a million.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import bindparam, update

from holdfast import layout
from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.datasets import DatasetLedger

IsTaken = Callable[[int, str], bool]
"""(dataset id, uuid) -> whether something lies under it in a pool."""

_NAME = {"which": "dataset"}


class IdLedger:
    """The row of `sequence` for datasets."""

    def __init__(self, db: Database, *, datasets: DatasetLedger) -> None:
        self._datasets = datasets
        sequence = schema.sequence
        mine = sequence.c.name == bindparam("which")
        self._take = db.statement(
            update(sequence)
            .where(mine)
            .values(next=sequence.c.next + bindparam("count"))
            .returning(sequence.c.next)
        )
        self._pass_over = db.statement(
            update(sequence)
            .where(mine)
            .where(sequence.c.next < bindparam("new_next"))
            .values(next=bindparam("new_next"))
        )
        self._set = db.statement(update(sequence).where(mine).values(next=bindparam("new_next")))

    def fresh(self, cursor: Cursor, count: int, is_taken: IsTaken) -> FreshIds:
        """`count` fresh ids, to be taken one by one and then settled, in one write transaction."""
        start = int(self._take.one(cursor, {**_NAME, "count": count})[0]) - count
        return FreshIds(self, cursor, start, count, is_taken)

    def exists(self, cursor: Cursor, dataset_id: int) -> bool:
        """Whether the catalog knows that id."""
        return self._datasets.exists_in(cursor, dataset_id)

    def pass_over(self, cursor: Cursor, dataset_id: int) -> None:
        """Give out no id up to this one any more."""
        self._pass_over.run(cursor, {**_NAME, "new_next": dataset_id + 1})

    def go_on_at(self, cursor: Cursor, dataset_id: int) -> None:
        """The next number to give out."""
        self._set.run(cursor, {**_NAME, "new_next": dataset_id})


class FreshIds:
    """Ids for one transaction. Made by `IdLedger.fresh`."""

    def __init__(self, ledger: IdLedger, cursor: Cursor, start: int, count: int, is_taken: IsTaken) -> None:
        self._ledger, self._cursor, self._is_taken = ledger, cursor, is_taken
        self._next, self._end = start, start + count

    def take(self, uuid: str) -> int:
        """An id for the dataset with that uuid."""
        leap = 1
        while self._ledger.exists(self._cursor, self._next) or self._is_taken(self._next, uuid):
            self._next += leap
            leap *= 2
            layout.check_id(self._next)
        taken, self._next = self._next, self._next + 1
        return taken

    def settle(self) -> None:
        """All are taken: what was leapt over is not looked at again."""
        if self._next > self._end:
            self._ledger.go_on_at(self._cursor, self._next)
