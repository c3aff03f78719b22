"""What becomes of datasets that exist: renamed, removed, restored, purged, replaced, found damaged, adopted.

Every change is a compare-and-set in one transaction: it happens from the state that it expects, or not at
all (`Conflict`). Of two threads that remove and replace the same dataset, one is told so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, ExtraFile, Finished, Prepared
from holdfast.catalog.counters import DEFAULT_QUOTA, Counters
from holdfast.catalog.database import Cursor, Database, any_of
from holdfast.catalog.datasets import DatasetLedger, fold_name
from holdfast.catalog.events import EventLedger
from holdfast.catalog.holders import HolderLedger
from holdfast.catalog.leases import LeaseLedger
from holdfast.errors import Conflict, NotFound
from holdfast.keys import Key
from holdfast.seams import Clock, Entropy

_DATASET, _REPLICA, _RESERVATION = schema.dataset, schema.replica, schema.reservation


@dataclass(frozen=True, slots=True)
class Found:
    """A dataset that lay in a pool before anybody recorded it. `dataset_id` None: give it one."""

    object_store_id: str
    key: Key
    dataset_id: int | None
    uuid: str
    size_bytes: int
    version: str
    modified_us: int
    extra_files: tuple[ExtraFile, ...] = ()

    @property
    def total_bytes(self) -> int:
        return self.size_bytes + sum(extra.size_bytes for extra in self.extra_files)


class FateLedger:
    """Changes to datasets that exist."""

    def __init__(
        self, db: Database, clock: Clock, entropy: Entropy, *, datasets: DatasetLedger, counters: Counters,
        events: EventLedger, holders: HolderLedger, leases: LeaseLedger,
    ) -> None:  # fmt: skip
        self._db, self._clock, self._entropy = db, clock, entropy
        self._datasets, self._counters, self._events = datasets, counters, events
        self._holders, self._leases = holders, leases
        this = _DATASET.c.id == bindparam("which")
        here = and_(
            _REPLICA.c.dataset_id == bindparam("which"), _REPLICA.c.object_store_id == bindparam("pool")
        )
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
        self._describe = db.statement(
            update(_DATASET)
            .where(this)
            .values(
                name=bindparam("new_name"), name_key=bindparam("new_name_key"), labels=bindparam("new_labels"),
                updated_us=bindparam("now"),
            )
        )  # fmt: skip
        self._set_content = db.statement(
            update(_DATASET)
            .where(this)
            .values(
                size_bytes=bindparam("new_size"), total_bytes=bindparam("new_total"),
                checksum=bindparam("new_checksum"), state=bindparam("new_state"), note=None, updated_us=bindparam("now"),
            )
        )  # fmt: skip
        self._set_replica_state = db.statement(
            update(_REPLICA)
            .where(here)
            .values(state=bindparam("new_state"), note=bindparam("new_note"), changed_us=bindparam("now"))
        )
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
        self._verified = db.statement(
            update(_REPLICA)
            .where(here)
            .values(verified_us=bindparam("now"), version=bindparam("new_version"), state="present", note=None)
        )
        self._set_checksum = db.statement(
            update(_DATASET).where(this).where(_DATASET.c.checksum.is_(None)).values(checksum=bindparam("new_checksum"))
        )
        self._reserved = db.statement(
            select(_RESERVATION.c.kind).where(_RESERVATION.c.dataset_id == bindparam("which"))
        )
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
        self._recount = db.statement(counted.add_columns(reserved))
        self._insert_dataset = db.statement(
            db.upsert(_DATASET).on_conflict_do_nothing(),
            columns=[
                "id", "uuid", "name", "name_key", "owner", "state", "size_bytes", "total_bytes", "object_store_id",
                "origin", "labels", "hidden", "created_us", "updated_us",
            ],
        )  # fmt: skip
        self._insert_replica = db.statement(
            db.upsert(_REPLICA).on_conflict_do_nothing(),
            columns=[
                "dataset_id", "object_store_id", "state", "key", "size_bytes", "version", "created_us", "changed_us",
            ],
        )  # fmt: skip
        self._insert_extra = db.statement(
            db.upsert(schema.extra_file).on_conflict_do_nothing(),
            columns=["dataset_id", "path", "size_bytes", "checksum"],
        )
        sequence = schema.sequence
        self._take_id = db.statement(
            update(sequence)
            .where(sequence.c.name == "dataset")
            .values(next=sequence.c.next + 1)
            .returning(sequence.c.next)
        )

    # -- words --------------------------------------------------------------------------------------------

    def describe(self, dataset_id: int, *, name: str | None, labels: dict[str, str] | None) -> Dataset:
        """Give it another name, other labels, or both."""
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            new_name = dataset.name if name is None else name
            new_labels = dataset.labels_json if labels is None else json.dumps(labels, ensure_ascii=False)
            self._describe.run(
                cursor,
                {
                    "which": dataset_id, "new_name": new_name, "new_name_key": fold_name(new_name),
                    "new_labels": new_labels, "now": self._clock.now_us(),
                },
            )  # fmt: skip
            return self._again(cursor, dataset_id)

    # -- removing -----------------------------------------------------------------------------------------

    def remove(self, dataset_id: int, actor: str | None) -> Dataset:
        """Mark it deleted; its bytes stay. Removing a deleted one again changes nothing."""
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            if dataset.state in ("deleted", "purged"):
                return dataset
            self._refuse_busy(cursor, dataset, "removed", leased=False)
            self._to_state(cursor, dataset, "deleted", "removed", actor)
            return self._again(cursor, dataset_id)

    def restore(self, dataset_id: int, actor: str | None) -> Dataset:
        """Undo `remove`, as long as the bytes are there. `Conflict` once they are purged."""
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            if dataset.state == "purged":
                raise Conflict(f"dataset {dataset_id} was purged: its bytes are gone and it cannot be restored")
            if dataset.state == "deleted":
                # one that was in error when it was removed has no checksum and no present replica
                usable = any(replica.state in ("present", "suspect") for replica in dataset.replicas)
                self._to_state(cursor, dataset, "ok" if usable else "error", "restored", actor)
            return self._again(cursor, dataset_id)

    def begin_purge(self, dataset_id: int, actor: str | None) -> Dataset:
        """Give the bytes up: every replica is `retiring` from now on. Idempotent. The owner's usage falls."""
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            if dataset.state == "purged":
                return dataset
            self._refuse_busy(cursor, dataset, "purged", leased=True)
            self._to_state(cursor, dataset, "purged", "purged", actor)
            now = self._clock.now_us()
            for replica in dataset.replicas:
                if replica.state != "gone":
                    self._replica_state(cursor, dataset_id, replica.object_store_id, "retiring", None, now)
            self._counters.add_to_owners(cursor, [(dataset.owner, DEFAULT_QUOTA, -dataset.total_bytes, -1)])
            return self._again(cursor, dataset_id)

    def replica_gone(self, dataset_id: int, object_store_id: str) -> None:
        """A retiring replica's blob was deleted: its bytes no longer count against the pool. Idempotent."""
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            for replica in dataset.replicas:
                if replica.object_store_id == object_store_id and replica.state == "retiring":
                    now = self._clock.now_us()
                    self._replica_state(cursor, dataset_id, object_store_id, "gone", None, now)
                    self._counters.add_to_pool(cursor, object_store_id, datasets=-1, used=-replica.size_bytes)

    # -- replacing ----------------------------------------------------------------------------------------

    def begin_replace(self, dataset_id: int, size_bytes: int, object_store_id: str) -> Prepared:
        """Reserve room for new bytes beside the old; one replace at a time."""
        holder = self._holders.own()
        now = self._clock.now_us()
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            if dataset.state not in ("ok", "error"):
                raise Conflict(f"dataset {dataset_id} is {dataset.state}; only a finished one can be replaced")
            self._refuse_busy(cursor, dataset, "replaced", leased=True)
            replica = next(one for one in dataset.replicas if one.object_store_id == object_store_id)
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

    def stage_replace(self, prepared: Prepared, checksum: str, size_bytes: int) -> None:
        """Write down what the blob is about to become, before its name is published."""
        with self._db.write() as cursor:
            if self._reserved.one(cursor, {"which": prepared.dataset_id}) is None:
                raise Conflict(f"the replace of dataset {prepared.dataset_id} was taken for dead; do it again")
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

    def commit_replace(self, finished: Finished, actor: str | None) -> Dataset:
        """Record that the new bytes are there. Also finishes a replace that died after publishing."""
        prepared = finished.prepared
        now = self._clock.now_us()
        with self._db.write() as cursor:
            dataset = self._locked(cursor, prepared.dataset_id)
            row = self._end_reservation.one(cursor, {"which": prepared.dataset_id, "proof": prepared.token})
            extras = dataset.total_bytes - dataset.size_bytes
            total = finished.size_bytes + extras
            self._set_content.run(
                cursor,
                {
                    "which": prepared.dataset_id, "new_size": finished.size_bytes, "new_total": total,
                    "new_checksum": finished.checksum, "now": now,
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
            return self._again(cursor, prepared.dataset_id)

    def abandon_replace(self, prepared: Prepared) -> None:
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

    def unfinished(self, holder: str) -> list[tuple[Prepared, str]]:
        """(what, kind) of each write that a process had begun and not ended."""
        with self._db.read() as cursor:
            rows = self._of_holder.all(cursor, {"holder": holder})
        return [(Prepared(row[0], row[1], row[2], Key(row[3]), row[4], row[5]), row[6]) for row in rows]

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
                f"the counters of pool {object_store_id} were wrong and are corrected: {datasets} datasets, {used} bytes",
                object_store_id=object_store_id,
            )  # fmt: skip
            return True

    # -- health -------------------------------------------------------------------------------------------

    def verified(self, dataset_id: int, object_store_id: str, version: str, checksum: str) -> None:
        """The bytes were read back and are right. Records the checksum of an adopted dataset."""
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            self._verified.run(
                cursor,
                {
                    "which": dataset_id, "pool": object_store_id, "now": self._clock.now_us(), "new_version": version,
                },
            )  # fmt: skip
            self._set_checksum.run(cursor, {"which": dataset_id, "new_checksum": checksum})
            if dataset.state == "error":
                self._to_state(cursor, dataset, "ok", "found again, whole", None)

    def doubt(self, dataset_id: int, object_store_id: str, state: str, why: str) -> None:
        """A replica is not what it should be: `suspect` (damaged) or `missing`. The dataset is in error when
        no other replica is whole."""
        now = self._clock.now_us()
        with self._db.write() as cursor:
            dataset = self._locked(cursor, dataset_id)
            self._replica_state(cursor, dataset_id, object_store_id, state, why, now)
            whole = any(
                one.state == "present" and one.object_store_id != object_store_id for one in dataset.replicas
            )
            if dataset.state == "ok" and not whole:
                self._to_state(cursor, dataset, "error", why, None)
            self._events.add(
                cursor, now, f"replica.{state}", why, dataset_id=dataset_id, object_store_id=object_store_id
            )

    # -- adopting -----------------------------------------------------------------------------------------

    def adopt(self, found: Sequence[Found], actor: str | None = None) -> list[int]:
        """Record data that lay in pools before. What is known already is left alone. The ids recorded."""
        now = self._clock.now_us()
        adopted: list[int] = []
        with self._db.write() as cursor:
            pools: dict[str, list[int]] = {}
            for one in found:
                dataset_id = one.dataset_id if one.dataset_id is not None else self._free_id(cursor)
                row = self._adopted_row(one, dataset_id, now)
                if self._insert_dataset.run(cursor, row) != 1:
                    continue
                self._insert_replica.run(cursor, {**row, "state": "present"})
                for extra in one.extra_files:
                    self._insert_extra.run(
                        cursor,
                        {"dataset_id": dataset_id, "path": extra.path, "size_bytes": extra.size_bytes, "checksum": None},
                    )
                counts = pools.setdefault(one.object_store_id, [0, 0])
                counts[0] += 1
                counts[1] += one.total_bytes
                adopted.append(dataset_id)
            for pool, (count, used) in sorted(pools.items()):
                self._counters.add_to_pool(cursor, pool, datasets=count, used=used)
                words = "adopted a dataset" if count == 1 else f"adopted {count} datasets"
                only = adopted[0] if len(adopted) == 1 else None
                self._events.add(
                    cursor, now, "dataset.adopt", f"{words} that lay there, {used} bytes", dataset_id=only,
                    object_store_id=pool, actor=actor,
                )  # fmt: skip
            self._counters.add_to_states(cursor, {"ok": len(adopted)})
        return adopted

    # -- inside -------------------------------------------------------------------------------------------

    def _adopted_row(self, one: Found, dataset_id: int, now: int) -> dict[str, object]:
        name = one.key.name
        return {
            "id": dataset_id, "uuid": one.uuid, "name": name, "name_key": fold_name(name), "owner": None,
            "state": "ok", "size_bytes": one.size_bytes, "total_bytes": one.total_bytes,
            "object_store_id": one.object_store_id, "origin": "adopted", "labels": "{}", "hidden": 0,
            "created_us": one.modified_us, "updated_us": now, "changed_us": now, "dataset_id": dataset_id,
            "key": one.key, "version": one.version,
        }  # fmt: skip

    def _free_id(self, cursor: Cursor) -> int:
        while True:
            dataset_id = int(self._take_id.one(cursor, {})[0]) - 1
            if not self._datasets.exists_in(cursor, dataset_id):
                return dataset_id

    def _locked(self, cursor: Cursor, dataset_id: int) -> Dataset:
        self._lock.one(cursor, {"which": dataset_id})
        return self._again(cursor, dataset_id)

    def _again(self, cursor: Cursor, dataset_id: int) -> Dataset:
        dataset = self._datasets.find_in(cursor, dataset_id)
        if dataset is None:
            raise NotFound(f"there is no dataset {dataset_id}")
        return dataset

    def _to_state(self, cursor: Cursor, dataset: Dataset, state: str, words: str, actor: str | None) -> None:
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

    def _replica_state(
        self, cursor: Cursor, dataset_id: int, pool: str, state: str, note: str | None, now: int
    ) -> None:
        self._set_replica_state.run(
            cursor, {"which": dataset_id, "pool": pool, "new_state": state, "new_note": note, "now": now}
        )

    def _refuse_busy(self, cursor: Cursor, dataset: Dataset, verb: str, *, leased: bool) -> None:
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
