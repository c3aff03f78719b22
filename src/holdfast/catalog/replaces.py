"""Replacing a dataset's bytes: reserve, stage, record.

The new bytes take the old ones' name in one step, and a catalog cannot be changed in that same step. So what
the blob is about to become is written down before its name is published: whoever finds bytes that are not
those recorded can tell a replace that died from damage.
"""

from __future__ import annotations

from sqlalchemy import and_, bindparam, delete, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, Finished, Prepared
from holdfast.catalog.counters import DEFAULT_QUOTA, Counters
from holdfast.catalog.database import Database
from holdfast.catalog.events import EventLedger
from holdfast.catalog.holders import HolderLedger
from holdfast.catalog.transitions import Transitions
from holdfast.errors import Conflict
from holdfast.seams import Clock, Entropy

_DATASET, _REPLICA, _RESERVATION = schema.dataset, schema.replica, schema.reservation


_STANDING = ("present", "suspect", "missing")


class ReplaceLedger:
    """Begins and ends replaces. One at a time for each dataset."""

    def __init__(
        self, db: Database, clock: Clock, entropy: Entropy, *, transitions: Transitions, counters: Counters,
        events: EventLedger, holders: HolderLedger,
    ) -> None:  # fmt: skip
        self._db, self._clock, self._entropy = db, clock, entropy
        self._transitions, self._counters = transitions, counters
        self._events, self._holders = events, holders
        this = _DATASET.c.id == bindparam("which")
        here = and_(_REPLICA.c.dataset_id == bindparam("which"), _REPLICA.c.object_store_id == bindparam("pool"))
        self._set_content = db.statement(
            update(_DATASET)
            .where(this)
            .values(
                size_bytes=bindparam("new_size"), total_bytes=bindparam("new_total"),
                checksum=bindparam("new_checksum"), state=bindparam("new_state"), note=None,
                object_store_id=bindparam("new_pool"), updated_us=bindparam("now"),
            )
        )  # fmt: skip
        self._outdate = db.statement(update(_REPLICA).where(here).values(version=None))
        self._stage = db.statement(
            update(_REPLICA)
            .where(here)
            .values(next_checksum=bindparam("new_checksum"), next_size_bytes=bindparam("new_size"))
        )
        self._staged = db.statement(select(_REPLICA.c.next_checksum, _REPLICA.c.next_size_bytes).where(here))
        self._set_replica_content = db.statement(
            update(_REPLICA)
            .where(here)
            .values(
                state="present", size_bytes=bindparam("new_total"), version=bindparam("new_version"),
                verified_us=bindparam("now"), changed_us=bindparam("now"), next_checksum=None, next_size_bytes=None,
                note=None,
            )
        )  # fmt: skip
        self._reserve = db.statement(
            insert(_RESERVATION),
            columns=[
                "dataset_id", "token", "object_store_id", "size_bytes", "kind", "rounds", "holder", "touched_us",
            ],
        )  # fmt: skip
        self._end_reservation = db.statement(
            delete(_RESERVATION)
            .where(_RESERVATION.c.dataset_id == bindparam("which"))
            .where(_RESERVATION.c.token == bindparam("proof"))
            .returning(_RESERVATION.c.size_bytes)
        )

    def begin(self, dataset_id: int, size_bytes: int, object_store_id: str) -> Prepared:
        """Reserve room for new bytes beside the old; one replace at a time."""
        holder = self._holders.own()
        now = self._clock.now_us()
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            if dataset.state not in ("ok", "error"):
                raise Conflict(f"dataset {dataset_id} is {dataset.state}; only a finished one can be replaced")
            self._transitions.refuse_busy(cursor, dataset, "replaced", leased=True)
            replica = next((one for one in dataset.replicas if one.object_store_id == object_store_id), None)
            if replica is None or replica.state not in _STANDING:
                raise Conflict(f"dataset {dataset_id} has moved away from pool {object_store_id}; replace it again")
            token = self._entropy.token(8)
            self._reserve.run(
                cursor,
                {
                    "dataset_id": dataset_id, "token": token, "object_store_id": object_store_id,
                    "size_bytes": size_bytes, "kind": "replace", "rounds": "[]", "holder": holder, "touched_us": now,
                },
            )  # fmt: skip
            self._counters.add_to_pool(cursor, object_store_id, reserved=size_bytes)
            return Prepared(dataset_id, dataset.uuid, object_store_id, replica.key, token, dataset.owner)

    def stage(self, prepared: Prepared, checksum: str, size_bytes: int) -> None:
        """Write down what the blob is about to become, before its name is published."""
        with self._db.write() as cursor:
            if not self._transitions.is_reserved(cursor, prepared):
                raise _given_up(prepared)
            self._stage.run(
                cursor,
                {
                    "which": prepared.dataset_id, "pool": prepared.object_store_id, "new_checksum": checksum,
                    "new_size": size_bytes,
                },
            )  # fmt: skip

    def staged(self, dataset_id: int, object_store_id: str) -> tuple[str, int] | None:
        """(checksum, bytes) that an unfinished replace was about to publish."""
        with self._db.read() as cursor:
            row = self._staged.one(cursor, {"which": dataset_id, "pool": object_store_id})
        return None if row is None or row[0] is None else (row[0], row[1])

    def commit(self, finished: Finished, actor: str | None) -> Dataset:
        """Record that the new bytes are there. Also finishes a replace that died after publishing.

        Somebody else may have finished it meanwhile: then nothing is left to do. `Conflict` if it was taken for dead
        and forgotten.
        """
        prepared = finished.prepared
        now = self._clock.now_us()
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, prepared.dataset_id)
            row = self._end_reservation.one(cursor, {"which": prepared.dataset_id, "proof": prepared.token})
            if row is None:
                if dataset.checksum == finished.checksum:
                    return dataset
                staged = self._staged.one(cursor, {"which": dataset.id, "pool": prepared.object_store_id})
                if staged is None or staged[0] != finished.checksum or dataset.state == "purged":
                    raise _given_up(prepared)
            extras = dataset.total_bytes - dataset.size_bytes
            total = finished.size_bytes + extras
            self._set_content.run(
                cursor,
                {
                    "which": prepared.dataset_id, "new_size": finished.size_bytes, "new_total": total,
                    "new_checksum": finished.checksum, "new_pool": prepared.object_store_id, "now": now,
                    "new_state": "ok" if dataset.state == "error" else dataset.state,
                },
            )  # fmt: skip
            self._set_replica_content.run(
                cursor,
                {
                    "which": prepared.dataset_id, "pool": prepared.object_store_id, "new_total": total,
                    "new_version": finished.version, "now": now,
                },
            )  # fmt: skip
            for other in dataset.replicas:  # they have the old bytes
                if other.object_store_id == prepared.object_store_id or other.state in ("gone", "writing"):
                    continue
                if other.state in _STANDING:
                    self._transitions.replica_state(cursor, dataset.id, other.object_store_id, "retiring")
                self._outdate.run(cursor, {"which": dataset.id, "pool": other.object_store_id})
            more = total - dataset.total_bytes
            reserved = 0 if row is None else -int(row[0])
            self._counters.add_to_pool(cursor, prepared.object_store_id, used=more, reserved=reserved)
            self._counters.add_to_owners(cursor, [(dataset.owner, DEFAULT_QUOTA, more, 0)])
            if dataset.state == "error":
                self._counters.add_to_states(cursor, {"error": -1, "ok": 1})
            self._events.add(
                cursor, now, "dataset.replace", f"replaced by {finished.size_bytes} bytes",
                dataset_id=prepared.dataset_id, object_store_id=prepared.object_store_id, actor=actor,
            )  # fmt: skip
            return self._transitions.again(cursor, prepared.dataset_id)

    def abandon(self, prepared: Prepared) -> None:
        """Nothing was published: give the room back. Idempotent."""
        with self._db.write() as cursor:
            row = self._end_reservation.one(cursor, {"which": prepared.dataset_id, "proof": prepared.token})
            if row is not None:
                self._counters.add_to_pool(cursor, prepared.object_store_id, reserved=-int(row[0]))
                self._stage.run(
                    cursor,
                    {
                        "which": prepared.dataset_id, "pool": prepared.object_store_id, "new_checksum": None,
                        "new_size": None,
                    },
                )  # fmt: skip


def _given_up(prepared: Prepared) -> Conflict:
    return Conflict(f"the replace of dataset {prepared.dataset_id} was taken for dead; do it again")
