"""Writes that are going on, by the process that does them."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, select

from holdfast.catalog import schema
from holdfast.catalog.base import Prepared
from holdfast.catalog.database import Database
from holdfast.keys import Key

_DATASET, _REPLICA, _RESERVATION = schema.dataset, schema.replica, schema.reservation


class ReservationLedger:
    """Rows of `reservation`, to be looked at; `writes` and `replaces` make and end them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._of_holder = db.statement(
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
            .where(_RESERVATION.c.holder == bindparam("holder"))
        )  # fmt: skip

    def unfinished(self, holder: str) -> list[tuple[Prepared, str]]:
        """(what, kind) of each write that a process had begun and not ended."""
        with self._db.read() as cursor:
            rows = self._of_holder.all(cursor, {"holder": holder})
        return [(Prepared(row[0], row[1], row[2], Key(row[3]), row[4], row[5]), row[6]) for row in rows]
