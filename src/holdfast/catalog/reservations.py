"""Writes that are going on, by the process that does them."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, select

from holdfast.catalog import schema
from holdfast.catalog.base import Prepared, Row
from holdfast.catalog.database import Database
from holdfast.keys import Key

_DATASET, _REPLICA, _RESERVATION = schema.dataset, schema.replica, schema.reservation


class ReservationLedger:
    """Rows of `reservation`, to be looked at; `writes` and `replaces` make and end them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        unfinished = (
            select(
                _RESERVATION.c.dataset_id, _DATASET.c.uuid, _RESERVATION.c.object_store_id, _REPLICA.c.key,
                _RESERVATION.c.token, _DATASET.c.owner, _RESERVATION.c.kind,
            )
            .select_from(
                _RESERVATION.join(_DATASET, _DATASET.c.id == _RESERVATION.c.dataset_id).join(
                    _REPLICA,
                    and_(
                        _REPLICA.c.dataset_id == _RESERVATION.c.dataset_id,
                        _REPLICA.c.object_store_id == _RESERVATION.c.object_store_id,
                    ),
                )
            )
        )  # fmt: skip
        self._of_holder = db.statement(unfinished.where(_RESERVATION.c.holder == bindparam("holder")))
        self._silent = db.statement(unfinished.where(_RESERVATION.c.touched_us < bindparam("before")))

    def unfinished(self, holder: str) -> list[tuple[Prepared, str]]:
        """(what, kind) of each write that a process had begun and not ended."""
        with self._db.read() as cursor:
            rows = self._of_holder.all(cursor, {"holder": holder})
        return [_unfinished(row) for row in rows]

    def silent(self, before_us: int) -> list[tuple[Prepared, str]]:
        """The same of each write that gave its last sign of life before that time, whoever does it."""
        with self._db.read() as cursor:
            return [_unfinished(row) for row in self._silent.all(cursor, {"before": before_us})]


def _unfinished(row: Row) -> tuple[Prepared, str]:
    return Prepared(row[0], row[1], row[2], Key(row[3]), row[4], row[5]), row[6]
