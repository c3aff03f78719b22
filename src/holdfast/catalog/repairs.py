"""Repairing a replica: hold the dataset while its bytes are put back, then record that they are whole again.

The dataset's reservation is taken, so that nobody replaces, moves or purges it meanwhile. Each step is one transaction.
A repair whose reservation is gone (it was taken for dead) cannot be recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, update

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, ExtraFile, Prepared, Replica
from holdfast.catalog.counters import Counters
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.datasets import DatasetLedger
from holdfast.catalog.events import EventLedger
from holdfast.catalog.holders import HolderLedger
from holdfast.catalog.transitions import Transitions
from holdfast.errors import Conflict
from holdfast.seams import Clock, Entropy

_REPLICA, _RESERVATION = schema.replica, schema.reservation
KIND = "repair"
_WRONG = ("suspect", "missing")


@dataclass(frozen=True, slots=True)
class RepairPrepared:
    """A repair that may begin. `row` proves that it is still ours."""

    dataset: Dataset
    extra_files: tuple[ExtraFile, ...]
    replica: Replica
    row: Prepared


class RepairLedger:
    """Begins and ends repairs."""

    def __init__(
        self, db: Database, clock: Clock, entropy: Entropy, *, datasets: DatasetLedger, transitions: Transitions,
        counters: Counters, events: EventLedger, holders: HolderLedger,
    ) -> None:  # fmt: skip
        self._db, self._clock, self._entropy, self._datasets = db, clock, entropy, datasets
        self._transitions, self._counters, self._events, self._holders = transitions, counters, events, holders
        self._reserve = db.statement(
            insert(_RESERVATION),
            columns=[
                "dataset_id", "token", "object_store_id", "size_bytes", "kind", "rounds", "holder", "touched_us",
            ],
        )  # fmt: skip
        mine = (_RESERVATION.c.dataset_id == bindparam("which"), _RESERVATION.c.token == bindparam("proof"))
        self._touch = db.statement(update(_RESERVATION).where(*mine).values(touched_us=bindparam("now")))
        self._end = db.statement(delete(_RESERVATION).where(*mine).returning(_RESERVATION.c.size_bytes))
        self._whole = db.statement(
            update(_REPLICA)
            .where(_REPLICA.c.dataset_id == bindparam("which"), _REPLICA.c.object_store_id == bindparam("pool"))
            .values(
                state="present", version=bindparam("new_version"), verified_us=bindparam("now"), note=None,
                changed_us=bindparam("now"),
            )
        )  # fmt: skip

    def begin(self, dataset_id: int, object_store_id: str) -> RepairPrepared:
        """Hold the dataset and reserve the room. `Conflict`, with the reason, if there is nothing that could be
        repaired or somebody else is at work on it."""
        holder = self._holders.own()
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            replica = _wrong(dataset, object_store_id)
            if replica is None or dataset.state not in ("ok", "error", "deleted"):
                raise Conflict(f"dataset {dataset_id} has no damaged or missing replica in pool {object_store_id}")
            if dataset.checksum is None:
                raise Conflict(f"nobody knows what the bytes of dataset {dataset_id} were: it was never read whole")
            self._transitions.refuse_busy(cursor, dataset, "repaired", leased=False)
            row = Prepared(
                dataset_id, dataset.uuid, object_store_id, replica.key, self._entropy.token(8), dataset.owner
            )
            self._reserve.run(
                cursor,
                {
                    "dataset_id": dataset_id, "token": row.token, "object_store_id": object_store_id,
                    "size_bytes": replica.size_bytes, "kind": KIND, "rounds": "[]", "holder": holder,
                    "touched_us": self._clock.now_us(),
                },
            )  # fmt: skip
            self._counters.add_to_pool(cursor, object_store_id, reserved=replica.size_bytes)
            extras = tuple(self._datasets.extra_files_in(cursor, dataset_id))
            return RepairPrepared(dataset, extras, replica, row)

    def touch(self, row: Prepared) -> None:
        """Show that it goes on. `Conflict` if it was taken for dead."""
        with self._db.write() as cursor:
            given = {"which": row.dataset_id, "proof": row.token, "now": self._clock.now_us()}
            if self._touch.run(cursor, given) != 1:
                raise _given_up(row)

    def commit(self, prepared: RepairPrepared, version: str, words: str) -> None:
        """Its bytes are whole again and were read back; `words` go to the event log. `Conflict` if it was taken for
        dead: what lies there is looked at by the next scrub."""
        row, pool = prepared.row, prepared.row.object_store_id
        now = self._clock.now_us()
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, row.dataset_id)
            is_same = dataset.checksum == prepared.dataset.checksum and _wrong(dataset, pool) is not None
            if not self._release(cursor, row) or not is_same:
                raise _given_up(row)
            self._whole.run(cursor, {"which": dataset.id, "pool": pool, "new_version": version, "now": now})
            if dataset.state == "error":
                self._transitions.to_state(cursor, dataset, "ok", f"its replica in {pool} is whole again")
            self._events.add(cursor, now, "replica.repaired", words, dataset_id=dataset.id, object_store_id=pool)

    def abandon(self, row: Prepared) -> None:
        """Nothing is recorded, the room is free again. Idempotent."""
        with self._db.write() as cursor:
            self._release(cursor, row)

    def _release(self, cursor: Cursor, row: Prepared) -> bool:
        found = self._end.one(cursor, {"which": row.dataset_id, "proof": row.token})
        if found is not None:
            self._counters.add_to_pool(cursor, row.object_store_id, reserved=-int(found[0]))
        return found is not None


def _wrong(dataset: Dataset, object_store_id: str) -> Replica | None:
    """The replica there, if it is damaged or missing."""
    for one in dataset.replicas:
        if one.object_store_id == object_store_id and one.state in _WRONG:
            return one
    return None


def _given_up(row: Prepared) -> Conflict:
    return Conflict(f"the repair of dataset {row.dataset_id} was taken for dead; scrub it again")
