"""Steps from one state to the next, inside a transaction that others have opened.

Every change of a dataset that exists goes through here: its row is locked, its state is looked at, the counters
and the event log follow in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, bindparam, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, DatasetState, Prepared, ReplicaState
from holdfast.catalog.counters import Counters
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.datasets import DatasetLedger
from holdfast.catalog.events import EventLedger
from holdfast.catalog.leases import LeaseLedger
from holdfast.errors import Conflict, NotFound
from holdfast.seams import Clock

_DATASET, _REPLICA, _RESERVATION = schema.dataset, schema.replica, schema.reservation


class Transitions:
    """What the ledgers of fates, replaces and adoptions share."""

    def __init__(
        self, db: Database, clock: Clock, *, datasets: DatasetLedger, counters: Counters, events: EventLedger,
        leases: LeaseLedger,
    ) -> None:  # fmt: skip
        self._clock, self._datasets, self._counters = clock, datasets, counters
        self._events, self._leases = events, leases
        this = _DATASET.c.id == bindparam("which")
        here = and_(_REPLICA.c.dataset_id == bindparam("which"), _REPLICA.c.object_store_id == bindparam("pool"))
        lock = select(_DATASET.c.id).where(this)
        self._lock = db.statement(lock if db.is_sqlite else lock.with_for_update())
        self._set_state = db.statement(
            update(_DATASET)
            .where(this)
            .values(
                state=bindparam("new_state"), hidden=bindparam("new_hidden"), deleted_us=bindparam("new_deleted"),
                note=bindparam("new_note"), updated_us=bindparam("now"),
            )
        )  # fmt: skip
        self._set_replica_state = db.statement(
            update(_REPLICA)
            .where(here)
            .values(state=bindparam("new_state"), note=bindparam("new_note"), changed_us=bindparam("now"))
        )
        self._reserved = db.statement(
            select(_RESERVATION.c.kind, _RESERVATION.c.token).where(_RESERVATION.c.dataset_id == bindparam("which"))
        )

    def lock(self, cursor: Cursor, dataset_ids: Iterable[int]) -> None:
        """Lock the rows of these until the transaction ends, in the order of their ids: so two that do so never wait
        for each other. Pools are locked after datasets, for the same reason."""
        for dataset_id in sorted(set(dataset_ids)):
            self._lock.one(cursor, {"which": dataset_id})

    def locked(self, cursor: Cursor, dataset_id: int) -> Dataset:
        """The dataset, its row locked until the transaction ends. `NotFound`."""
        self._lock.one(cursor, {"which": dataset_id})
        return self.again(cursor, dataset_id)

    def again(self, cursor: Cursor, dataset_id: int) -> Dataset:
        """The dataset as it stands in this transaction. `NotFound`."""
        dataset = self._datasets.find_in(cursor, dataset_id)
        if dataset is None:
            raise NotFound(f"there is no dataset {dataset_id}")
        return dataset

    def to_state(
        self, cursor: Cursor, dataset: Dataset, state: DatasetState, words: str, *, actor: str | None = None
    ) -> None:
        """Give the dataset another state; `words` say why, in the event log and, for an error, in its note."""
        now = self._clock.now_us()
        hidden = state in ("deleted", "purged")
        self._set_state.run(
            cursor,
            {
                "which": dataset.id, "new_state": state, "new_hidden": int(hidden),
                "new_deleted": (dataset.deleted_us or now) if hidden else None,
                "new_note": words if state == "error" else None, "now": now,
            },
        )  # fmt: skip
        self._counters.add_to_states(cursor, {dataset.state: -1, state: 1})
        self._events.add(
            cursor, now, f"dataset.{state}", words, dataset_id=dataset.id, object_store_id=dataset.object_store_id,
            actor=actor,
        )  # fmt: skip

    def replica_state(
        self, cursor: Cursor, dataset_id: int, pool: str, state: ReplicaState, *, note: str | None = None
    ) -> None:
        """Give a replica another state."""
        now = self._clock.now_us()
        self._set_replica_state.run(
            cursor, {"which": dataset_id, "pool": pool, "new_state": state, "new_note": note, "now": now}
        )

    def is_reserved(self, cursor: Cursor, prepared: Prepared) -> bool:
        """Whether this write still has its room: it has not been taken for dead."""
        row = self._reserved.one(cursor, {"which": prepared.dataset_id})
        return row is not None and row[1] == prepared.token

    def is_busy(self, cursor: Cursor, dataset_id: int) -> bool:
        """Whether somebody writes it now."""
        return self._reserved.one(cursor, {"which": dataset_id}) is not None

    def refuse_busy(self, cursor: Cursor, dataset: Dataset, verb: str, *, leased: bool) -> None:
        """`Conflict` if somebody writes it now, or, where `leased` counts, if a job needs it."""
        busy = self._reserved.one(cursor, {"which": dataset.id})
        if busy is not None:
            raise Conflict(f"dataset {dataset.id} is being written now ({busy[0]}); it cannot be {verb} yet")
        if leased:
            holders = self._leases.holders(cursor, dataset.id, self._clock.now_us())
            if holders:
                who = ", ".join(holder.replace(":", " ") for holder in holders)
                raise Conflict(
                    f"dataset {dataset.id} is in use by {who}; it can be {verb} when that has ended or is cancelled"
                )
