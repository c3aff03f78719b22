"""Receipts: what operations have moved, blob by blob. Written by `moves` in the transaction that records the move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, func, or_, select

from holdfast.catalog import schema
from holdfast.catalog.database import Database

PAGE = 1000
_RECEIPT = schema.receipt


@dataclass(frozen=True, slots=True)
class Receipt:
    """One blob that was moved. `path` is the extra file's, empty for the primary blob; `proved`: it was read back from
    the target, else the file itself got another name. Time in microseconds since 1970."""

    dataset_id: int
    path: str
    source: str
    target: str
    size_bytes: int
    checksum: str
    proved: bool
    moved_us: int


@dataclass(frozen=True, slots=True)
class MovedBetween:
    """How much an operation has moved from one pool to another: blobs, not datasets."""

    source: str
    target: str
    blobs: int
    size_bytes: int


class ReceiptLedger:
    """Rows of `receipt`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        columns = (
            _RECEIPT.c.dataset_id, _RECEIPT.c.path, _RECEIPT.c.source, _RECEIPT.c.target, _RECEIPT.c.size_bytes,
            _RECEIPT.c.checksum, _RECEIPT.c.proved, _RECEIPT.c.moved_us,
        )  # fmt: skip
        self._page = db.statement(
            select(*columns)
            .where(_RECEIPT.c.operation_id == bindparam("operation"))
            .where(
                or_(
                    _RECEIPT.c.dataset_id > bindparam("after_id"),
                    and_(_RECEIPT.c.dataset_id == bindparam("after_id"), _RECEIPT.c.path > bindparam("after_path")),
                )
            )
            .order_by(_RECEIPT.c.dataset_id, _RECEIPT.c.path)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        self._between = db.statement(
            select(_RECEIPT.c.source, _RECEIPT.c.target, func.count(), func.sum(_RECEIPT.c.size_bytes))
            .where(_RECEIPT.c.operation_id == bindparam("operation"))
            .group_by(_RECEIPT.c.source, _RECEIPT.c.target)
            .order_by(_RECEIPT.c.source, _RECEIPT.c.target)
        )
        newest = select(func.max(_RECEIPT.c.operation_id)).scalar_subquery()
        self._rate = db.statement(
            select(
                func.coalesce(func.sum(_RECEIPT.c.size_bytes), 0), func.min(_RECEIPT.c.moved_us),
                func.max(_RECEIPT.c.moved_us),
            ).where(_RECEIPT.c.operation_id == newest)
        )  # fmt: skip

    def of(self, operation_id: int) -> Iterator[Receipt]:
        """All receipts of an operation by dataset id and path, a page in memory at a time."""
        after: tuple[int, str] = (0, "")
        while True:
            with self._db.read() as cursor:
                rows = self._page.all(
                    cursor, {"operation": operation_id, "after_id": after[0], "after_path": after[1], "limit": PAGE}
                )
            for row in rows:
                yield Receipt(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]), row[7])
            if len(rows) < PAGE:
                return
            after = (rows[-1][0], rows[-1][1])

    def between(self, operation_id: int) -> list[MovedBetween]:
        """How much went from where to where. Reads every receipt of the operation: a second for a million."""
        with self._db.read() as cursor:
            rows = self._between.all(cursor, {"operation": operation_id})
        return [MovedBetween(row[0], row[1], int(row[2]), int(row[3])) for row in rows]

    def rate_bytes_s(self) -> float | None:
        """How fast the newest operation that moved anything was; None if none did, or it was over at once."""
        with self._db.read() as cursor:
            row = self._rate.one(cursor, {})
        if row is None or row[1] is None or row[2] <= row[1]:
            return None
        return float(int(row[0]) / ((row[2] - row[1]) / 1_000_000))
