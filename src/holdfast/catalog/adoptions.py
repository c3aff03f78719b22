"""Adopting: data that lay in a pool before anybody recorded it becomes a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete

from holdfast.catalog import schema
from holdfast.catalog.base import ExtraFile
from holdfast.catalog.counters import Counters
from holdfast.catalog.database import Database
from holdfast.catalog.datasets import fold_name
from holdfast.catalog.events import EventLedger
from holdfast.catalog.ids import IdLedger, IsTaken
from holdfast.keys import Key
from holdfast.seams import Clock

_DATASET, _REPLICA = schema.dataset, schema.replica


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


class AdoptionLedger:
    """Records what was found."""

    def __init__(
        self, db: Database, clock: Clock, *, ids: IdLedger, counters: Counters, events: EventLedger
    ) -> None:
        self._db, self._clock = db, clock
        self._ids, self._counters, self._events = ids, counters, events
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
        self._forget_dataset = db.statement(delete(_DATASET).where(_DATASET.c.id == bindparam("which")))
        self._insert_extra = db.statement(
            db.upsert(schema.extra_file).on_conflict_do_nothing(),
            columns=["dataset_id", "path", "size_bytes", "checksum"],
        )

    def pass_over_ids(self, highest: int) -> None:
        """Give out no dataset id up to the highest that lies in some pool."""
        with self._db.write() as cursor:
            self._ids.pass_over(cursor, highest)

    def adopt(self, found: Sequence[Found], *, is_taken: IsTaken, actor: str | None = None) -> list[int]:
        """Record data that lay in pools before. What is known already is left alone. The ids recorded.

        What comes without an id gets a new one, that nobody has in the catalog or, says `is_taken`, in a pool.
        """
        now = self._clock.now_us()
        adopted: list[int] = []
        with self._db.write() as cursor:
            pools: dict[str, list[int]] = {}
            nameless = sum(1 for one in found if one.dataset_id is None)
            ids = self._ids.fresh(cursor, nameless, is_taken)
            for one in found:
                dataset_id = one.dataset_id if one.dataset_id is not None else ids.take(one.uuid)
                row = self._adopted_row(one, dataset_id, now)
                if self._insert_dataset.run(cursor, row) != 1:
                    continue
                if self._insert_replica.run(cursor, {**row, "state": "present"}) != 1:  # its key is another's
                    self._forget_dataset.run(cursor, {"which": dataset_id})
                    continue
                for extra in one.extra_files:
                    self._insert_extra.run(
                        cursor,
                        {
                            "dataset_id": dataset_id, "path": extra.path, "size_bytes": extra.size_bytes,
                            "checksum": None,
                        },
                    )  # fmt: skip
                counts = pools.setdefault(one.object_store_id, [0, 0])
                counts[0] += 1
                counts[1] += one.total_bytes
                adopted.append(dataset_id)
            if nameless:
                ids.settle()
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

    def _adopted_row(self, one: Found, dataset_id: int, now: int) -> dict[str, object]:
        name = one.key.name
        return {
            "id": dataset_id, "uuid": one.uuid, "name": name, "name_key": fold_name(name), "owner": None,
            "state": "ok", "size_bytes": one.size_bytes, "total_bytes": one.total_bytes,
            "object_store_id": one.object_store_id, "origin": "adopted", "labels": "{}", "hidden": 0,
            "created_us": one.modified_us, "updated_us": now, "changed_us": now, "dataset_id": dataset_id,
            "key": one.key, "version": one.version,
        }  # fmt: skip
