"""What becomes of datasets that exist: described anew, removed, restored, purged, found whole or damaged.

Every change is a compare-and-set in one transaction: it happens from the state that it expects, or not at
all (`Conflict`). Of two threads that remove and replace the same dataset, one is told so.
"""

from __future__ import annotations

import json
from typing import Literal

from sqlalchemy import and_, bindparam, func, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, Replica, ReplicaState
from holdfast.catalog.counters import DEFAULT_QUOTA, Counters
from holdfast.catalog.database import Database, any_of
from holdfast.catalog.datasets import fold_name
from holdfast.catalog.events import EventLedger
from holdfast.catalog.labels import LabelLedger
from holdfast.catalog.transitions import Transitions
from holdfast.errors import Conflict
from holdfast.seams import Clock

_DATASET, _REPLICA, _RESERVATION = schema.dataset, schema.replica, schema.reservation


class FateLedger:
    """Changes to datasets that exist."""

    def __init__(
        self, db: Database, clock: Clock, *, transitions: Transitions, counters: Counters, events: EventLedger
    ) -> None:
        self._db, self._clock = db, clock
        self._labels = LabelLedger(db)
        self._transitions, self._counters, self._events = transitions, counters, events
        this = _DATASET.c.id == bindparam("which")
        here = and_(_REPLICA.c.dataset_id == bindparam("which"), _REPLICA.c.object_store_id == bindparam("pool"))
        self._describe = db.statement(
            update(_DATASET)
            .where(this)
            .values(
                name=bindparam("new_name"), name_key=bindparam("new_name_key"), labels=bindparam("new_labels"),
                updated_us=bindparam("now"),
            )
        )  # fmt: skip
        self._verified = db.statement(
            update(_REPLICA)
            .where(here)
            .values(verified_us=bindparam("now"), version=bindparam("new_version"), state="present", note=None)
        )
        self._set_checksum = db.statement(
            update(_DATASET).where(this).where(_DATASET.c.checksum.is_(None)).values(checksum=bindparam("new_checksum"))
        )
        self._retired = db.statement(
            select(_REPLICA.c.dataset_id, _REPLICA.c.object_store_id, _REPLICA.c.size_bytes)
            .where(_REPLICA.c.state == "retiring")
            .where(_REPLICA.c.changed_us <= bindparam("before"))
            .where(_REPLICA.c.dataset_id > bindparam("after"))
            .order_by(_REPLICA.c.dataset_id)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        self._expired = db.statement(
            select(_DATASET.c.id)
            .where(_DATASET.c.state == "deleted")
            .where(_DATASET.c.deleted_us <= bindparam("before"))
            .where(_DATASET.c.id > bindparam("after"))
            .order_by(_DATASET.c.id)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        pool = schema.pool
        lock_pool = select(pool.c.datasets, pool.c.used_bytes, pool.c.reserved_bytes).where(
            pool.c.object_store_id == bindparam("which")
        )
        self._lock_pool = db.statement(lock_pool if db.is_sqlite else lock_pool.with_for_update())
        counted = select(func.count(), func.coalesce(func.sum(_REPLICA.c.size_bytes), 0)).where(
            _REPLICA.c.object_store_id == bindparam("which"),
            any_of(_REPLICA.c.state, ("present", "suspect", "missing", "retiring")),
        )
        reserved = (
            select(func.coalesce(func.sum(_RESERVATION.c.size_bytes), 0))
            .where(_RESERVATION.c.object_store_id == bindparam("which"))
            .scalar_subquery()
        )
        moving = (
            select(func.coalesce(func.sum(schema.moving.c.size_bytes), 0))
            .where(schema.moving.c.object_store_id == bindparam("which"))
            .scalar_subquery()
        )
        self._recount = db.statement(counted.add_columns(reserved + moving))

    def describe(self, dataset_id: int, *, name: str | None, labels: dict[str, str] | None) -> Dataset:
        """Give it another name, other labels, or both."""
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            new_name = dataset.name if name is None else name
            new_labels = dataset.labels_json if labels is None else json.dumps(labels, ensure_ascii=False)
            if labels is not None:
                self._labels.replace(cursor, dataset_id, labels)
            self._describe.run(
                cursor,
                {
                    "which": dataset_id, "new_name": new_name, "new_name_key": fold_name(new_name),
                    "new_labels": new_labels, "now": self._clock.now_us(),
                },
            )  # fmt: skip
            return self._transitions.again(cursor, dataset_id)

    def remove(self, dataset_id: int, actor: str | None) -> Dataset:
        """Mark it deleted; its bytes stay. Removing a deleted one again changes nothing."""
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            if dataset.state in ("deleted", "purged"):
                return dataset
            self._transitions.refuse_busy(cursor, dataset, "removed", leased=False)
            self._transitions.to_state(cursor, dataset, "deleted", "removed", actor=actor)
            return self._transitions.again(cursor, dataset_id)

    def restore(self, dataset_id: int, actor: str | None) -> Dataset:
        """Undo `remove`, as long as the bytes are there. `Conflict` once they are purged."""
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            if dataset.state == "purged":
                raise Conflict(f"dataset {dataset_id} was purged: its bytes are gone and it cannot be restored")
            if dataset.state == "deleted":
                whole = any(replica.state == "present" for replica in dataset.replicas)
                notes = [replica.note for replica in dataset.replicas if replica.note]
                words = "restored" if whole or not notes else notes[0]
                self._transitions.to_state(cursor, dataset, "ok" if whole else "error", words, actor=actor)
            return self._transitions.again(cursor, dataset_id)

    def begin_purge(self, dataset_id: int, actor: str | None) -> Dataset:
        """Give the bytes up: every replica is `retiring` from now on, but one that is being made: whoever makes it
        takes it back, or `reap` does. Idempotent. The owner's usage falls."""
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            if dataset.state == "purged":
                return dataset
            self._transitions.refuse_busy(cursor, dataset, "purged", leased=True)
            self._transitions.to_state(cursor, dataset, "purged", "purged", actor=actor)
            for replica in dataset.replicas:
                if replica.state not in ("gone", "writing"):
                    self._transitions.replica_state(cursor, dataset_id, replica.object_store_id, "retiring")
            self._counters.add_to_owners(cursor, [(dataset.owner, DEFAULT_QUOTA, -dataset.total_bytes, -1)])
            return self._transitions.again(cursor, dataset_id)

    def replica_gone(self, dataset_id: int, object_store_id: str) -> None:
        """A retiring replica's blob was deleted: its bytes no longer count against the pool. Idempotent."""
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            for replica in dataset.replicas:
                if replica.object_store_id == object_store_id and replica.state == "retiring":
                    self._transitions.replica_state(cursor, dataset_id, object_store_id, "gone")
                    self._counters.add_to_pool(cursor, object_store_id, datasets=-1, used=-replica.size_bytes)

    def last_look(self, dataset_id: int, object_store_id: str) -> Literal["delete", "keep", "over"]:
        """Just before a retiring replica's blobs are deleted: `delete` them; `keep` them, it is `present` again,
        because no other is whole by now; `over`: it is not retiring any more, and what lies there is somebody else's
        business.

        One that has bytes from before a replace, or belongs to a purged dataset, goes in any case."""
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            own = next((one for one in dataset.replicas if one.object_store_id == object_store_id), None)
            if own is None or own.state != "retiring":
                return "over"
            is_whole_elsewhere = any(one.state == "present" for one in dataset.replicas)
            if dataset.state == "purged" or own.is_outdated or is_whole_elsewhere:
                return "delete"
            self._transitions.replica_state(cursor, dataset_id, object_store_id, "present")
            if dataset.state == "error":
                self._transitions.to_state(cursor, dataset, "ok", f"its replica in {object_store_id} is kept")
            self._events.add(
                cursor, self._clock.now_us(), "replica.kept",
                f"its replica in {object_store_id} is kept: there is no other whole one",
                dataset_id=dataset_id, object_store_id=object_store_id,
            )  # fmt: skip
            return "keep"

    def retired(self, before_us: int, after: int | None, limit: int = 1000) -> list[tuple[int, str, int]]:
        """(dataset id, pool, bytes) of replicas that are retiring since before that time, by id."""
        with self._db.read() as cursor:
            rows = self._retired.all(cursor, {"before": before_us, "after": after or 0, "limit": limit})
        return [(row[0], row[1], row[2]) for row in rows]

    def expired(self, before_us: int, after: int | None, limit: int = 1000) -> list[int]:
        """The datasets that were removed before that time and are not purged yet, by id."""
        with self._db.read() as cursor:
            rows = self._expired.all(cursor, {"before": before_us, "after": after or 0, "limit": limit})
        return [row[0] for row in rows]

    def recount(self, object_store_id: str) -> bool:
        """Count a pool's replicas anew; whether its counters were wrong."""
        with self._db.write() as cursor:
            self._lock_pool.one(cursor, {"which": object_store_id})
            datasets, used, reserved = self._recount.one(cursor, {"which": object_store_id})
            stands = self._lock_pool.one(cursor, {"which": object_store_id})
            if stands is None or tuple(stands) == (datasets, used, reserved):
                return False
            self._counters.add_to_pool(
                cursor, object_store_id, datasets=datasets - stands[0], used=used - stands[1],
                reserved=reserved - stands[2],
            )  # fmt: skip
            self._events.add(
                cursor, self._clock.now_us(), "pool.recount",
                f"the counters of pool {object_store_id} were wrong and are corrected: {datasets} datasets",
                object_store_id=object_store_id,
            )  # fmt: skip
            return True

    def verified(self, dataset_id: int, object_store_id: str, version: str, checksum: str) -> None:
        """The bytes were read back and are right. Records the checksum of an adopted dataset.

        Changes nothing if the dataset has been purged or replaced since they were read.
        """
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            if _expected(dataset, object_store_id) is None or dataset.checksum not in (None, checksum):
                return
            self._verified.run(
                cursor,
                {
                    "which": dataset_id, "pool": object_store_id, "now": self._clock.now_us(), "new_version": version,
                },
            )  # fmt: skip
            self._set_checksum.run(cursor, {"which": dataset_id, "new_checksum": checksum})
            if dataset.state == "error":
                self._transitions.to_state(cursor, dataset, "ok", "found again, whole")

    def doubt(
        self, dataset_id: int, object_store_id: str, state: ReplicaState, why: str, *, version: str | None = None
    ) -> None:
        """A replica is not what it should be: `suspect` (damaged) or `missing`. The dataset is in error when
        no other replica is whole. Changes nothing if it has been purged since somebody looked, or, where he says which
        `version` he looked at, if it has another by now."""
        now = self._clock.now_us()
        with self._db.write() as cursor:
            dataset = self._transitions.locked(cursor, dataset_id)
            replica = _expected(dataset, object_store_id)
            if replica is None or version not in (None, replica.version):
                return
            self._transitions.replica_state(cursor, dataset_id, object_store_id, state, note=why)
            whole = any(
                one.state == "present" and one.object_store_id != object_store_id for one in dataset.replicas
            )
            if dataset.state == "ok" and not whole:
                self._transitions.to_state(cursor, dataset, "error", why)
            self._events.add(
                cursor, now, f"replica.{state}", why, dataset_id=dataset_id, object_store_id=object_store_id
            )


def _expected(dataset: Dataset, object_store_id: str) -> Replica | None:
    """The replica that should be whole in that pool, if there is one."""
    for replica in dataset.replicas:
        if replica.object_store_id == object_store_id and replica.state in ("present", "suspect", "missing"):
            return replica
    return None
