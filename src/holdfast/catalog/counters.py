"""Counters: kept in the same transaction as what they count, so that a question about usage never scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import bindparam, select, update

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database

DEFAULT_QUOTA = ""  # the quota source of pools that name none


class Counters:
    """Adds to the counters of pools, states and owners. All methods want a write transaction's cursor."""

    def __init__(self, db: Database) -> None:
        pool, states, usage = schema.pool, schema.state_count, schema.owner_usage
        self._pool = db.statement(
            update(pool)
            .where(pool.c.object_store_id == bindparam("which"))
            .values(
                datasets=pool.c.datasets + bindparam("more_datasets"),
                used_bytes=pool.c.used_bytes + bindparam("more_used"),
                reserved_bytes=pool.c.reserved_bytes + bindparam("more_reserved"),
            )
        )
        insert_state = db.upsert(states).values(state=bindparam("state"), count=bindparam("more"))
        self._state = db.statement(
            insert_state.on_conflict_do_update(
                index_elements=["state"], set_={"count": states.c.count + insert_state.excluded["count"]}
            )
        )
        insert_usage = db.upsert(usage).values(
            owner=bindparam("owner"), quota_source=bindparam("quota_source"),
            used_bytes=bindparam("more_used"), datasets=bindparam("more_datasets"),
        )  # fmt: skip
        self._usage = db.statement(
            insert_usage.on_conflict_do_update(
                index_elements=["owner", "quota_source"],
                set_={
                    "used_bytes": usage.c.used_bytes + insert_usage.excluded.used_bytes,
                    "datasets": usage.c.datasets + insert_usage.excluded.datasets,
                },
            )
        )
        self._read_states = db.statement(select(states.c.state, states.c.count))
        self._read_usage = db.statement(
            select(usage.c.quota_source, usage.c.used_bytes, usage.c.datasets).where(
                usage.c.owner == bindparam("owner")
            )
        )

    def add_to_pool(
        self, cursor: Cursor, object_store_id: str, *, datasets: int = 0, used: int = 0, reserved: int = 0
    ) -> None:
        """Add to a pool's numbers (bytes); negative takes away."""
        if datasets or used or reserved:
            self._pool.run(
                cursor,
                {"which": object_store_id, "more_datasets": datasets, "more_used": used, "more_reserved": reserved},
            )

    def add_to_states(self, cursor: Cursor, more: Mapping[str, int]) -> None:
        """Add to the number of datasets in each state."""
        for state, count in sorted(more.items()):
            if count:
                self._state.run(cursor, {"state": state, "more": count})

    def add_to_owners(self, cursor: Cursor, more: Iterable[tuple[str | None, str, int, int]]) -> None:
        """(owner, quota source, bytes, datasets) to add. Data without an owner is nobody's usage."""
        for owner, source, used, datasets in more:
            if owner is not None and (used or datasets):
                self._usage.run(
                    cursor, {"owner": owner, "quota_source": source, "more_used": used, "more_datasets": datasets}
                )

    def states(self, cursor: Cursor) -> dict[str, int]:
        """How many datasets are in each state."""
        return dict(self._read_states.all(cursor, {}))

    def usage(self, cursor: Cursor, owner: str) -> dict[str, tuple[int, int]]:
        """quota source -> (bytes, datasets) of one owner."""
        return {source: (used, count) for source, used, count in self._read_usage.all(cursor, {"owner": owner})}
