"""Putting: reserve, then record or take back. Each is one transaction, for one dataset or for thousands.

The order is law: `begin` writes the intent (a dataset in state `new`, a replica in state `writing`, the room
reserved, the decision with its reasons), then the bytes go to the pool, then `commit` records them. A write
whose reservation is gone (it was given up for dead) cannot be committed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sqlalchemy import and_, bindparam, delete, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Finished, NewDataset, PoolRow, Prepared
from holdfast.catalog.counters import DEFAULT_QUOTA, Counters
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.datasets import fold_name
from holdfast.catalog.events import EventLedger
from holdfast.catalog.holders import HolderLedger
from holdfast.catalog.ids import IdLedger
from holdfast.catalog.labels import LabelLedger
from holdfast.catalog.pools import PoolLedger
from holdfast.errors import Conflict, Denied, NoSpace, StoreError, Unavailable
from holdfast.keys import Key
from holdfast.placement.policy import OFFLINE_WORDS, Choice, Request, RoundCounts, RoundStep, no_rounds
from holdfast.seams import Clock, Entropy

_DATASET, _REPLICA, _RESERVATION = schema.dataset, schema.replica, schema.reservation


class Decide(Protocol):
    """Ranks the pools for one request, over their rows as they stand in this transaction."""

    def __call__(
        self, request: Request, rows: Mapping[str, PoolRow], rounds: RoundCounts
    ) -> list[Choice]: ...


class Naming(Protocol):
    """What the catalog must know of pools to name a blob in one, and to be sure that a name is free."""

    def key(self, object_store_id: str, dataset_id: int, uuid: str) -> Key: ...

    def is_taken(self, dataset_id: int, uuid: str) -> bool: ...


class WriteLedger:
    """Begins and ends puts."""

    def __init__(
        self, db: Database, clock: Clock, entropy: Entropy, *, pools: PoolLedger, ids: IdLedger,
        counters: Counters, events: EventLedger, holders: HolderLedger,
    ) -> None:  # fmt: skip
        self._db, self._clock, self._entropy = db, clock, entropy
        self._pools, self._ids, self._counters = pools, ids, counters
        self._labels = LabelLedger(db)
        self._events, self._holders = events, holders
        rounds = schema.round_count
        self._read_rounds = db.statement(
            select(rounds.c.child, rounds.c.count)
            .where(rounds.c.node_id == bindparam("node_id"))
            .where(rounds.c.signature == bindparam("signature"))
        )
        bump = db.upsert(rounds).values(
            node_id=bindparam("node_id"), signature=bindparam("signature"), child=bindparam("child"),
            count=bindparam("more"),
        )  # fmt: skip
        self._bump_round = db.statement(
            bump.on_conflict_do_update(
                index_elements=["node_id", "signature", "child"],
                set_={"count": rounds.c.count + bump.excluded["count"]},
            )
        )
        self._insert_dataset = db.statement(
            insert(_DATASET),
            columns=[
                "id", "uuid", "name", "name_key", "owner", "state", "size_bytes", "total_bytes", "object_store_id",
                "origin", "job_id", "labels", "hidden", "created_us", "updated_us",
            ],
        )  # fmt: skip
        self._insert_replica = db.statement(
            insert(_REPLICA),
            columns=["dataset_id", "object_store_id", "state", "key", "size_bytes", "created_us", "changed_us"],
        )
        self._insert_decision = db.statement(
            insert(schema.decision), columns=["dataset_id", "decided_us", "choices"]
        )
        self._insert_reservation = db.statement(
            insert(_RESERVATION),
            columns=[
                "dataset_id", "token", "object_store_id", "size_bytes", "kind", "rounds", "holder", "touched_us",
            ],
        )  # fmt: skip
        mine = and_(_RESERVATION.c.dataset_id == bindparam("which"), _RESERVATION.c.token == bindparam("proof"))
        self._touch_reservation = db.statement(
            update(_RESERVATION)
            .where(mine)
            .values(touched_us=bindparam("now"), size_bytes=_RESERVATION.c.size_bytes + bindparam("more"))
        )
        self._end_reservation = db.statement(
            delete(_RESERVATION)
            .where(mine)
            .returning(_RESERVATION.c.size_bytes, _RESERVATION.c.rounds)
        )
        self._finish_dataset = db.statement(
            update(_DATASET)
            .where(_DATASET.c.id == bindparam("which"))
            .where(_DATASET.c.state == "new")
            .values(
                state=bindparam("new_state"), size_bytes=bindparam("new_size"), total_bytes=bindparam("new_total"),
                checksum=bindparam("new_checksum"), updated_us=bindparam("now"),
            )
        )  # fmt: skip
        self._finish_replica = db.statement(
            update(_REPLICA)
            .where(_REPLICA.c.dataset_id == bindparam("which"))
            .where(_REPLICA.c.object_store_id == bindparam("pool"))
            .values(
                state=bindparam("new_state"), size_bytes=bindparam("new_total"), version=bindparam("new_version"),
                verified_us=bindparam("now"), changed_us=bindparam("now"),
            )
        )  # fmt: skip
        self._purge_dataset = db.statement(
            update(_DATASET)
            .where(_DATASET.c.id == bindparam("which"))
            .values(state="purged", hidden=1, note=bindparam("new_note"), updated_us=bindparam("now"),
                    deleted_us=bindparam("now"))
        )  # fmt: skip
        self._retire_replica = db.statement(
            update(_REPLICA)
            .where(_REPLICA.c.dataset_id == bindparam("which"))
            .values(state="retiring", size_bytes=bindparam("new_size"), changed_us=bindparam("now"))
        )
        self._insert_extra = db.statement(
            insert(schema.extra_file), columns=["dataset_id", "path", "size_bytes", "checksum"]
        )
        self._forget = [
            db.statement(delete(table).where(column == bindparam("which")))
            for table, column in (
                (schema.extra_file, schema.extra_file.c.dataset_id),
                (schema.decision, schema.decision.c.dataset_id),
                (schema.label, schema.label.c.dataset_id),
                (_REPLICA, _REPLICA.c.dataset_id),
                (_DATASET, _DATASET.c.id),
            )
        ]

    # -- begin --------------------------------------------------------------------------------------------

    def begin(
        self, wanted: Sequence[tuple[NewDataset, Request]], decide: Decide, naming: Naming
    ) -> list[Prepared]:
        """Choose a pool for each, reserve the room, write the intent: all of them, or `NoSpace` and none."""
        holder = self._holders.own()
        now = self._clock.now_us()
        with self._db.write() as cursor:
            rows = {row.object_store_id: row for row in self._pools.all_in(cursor)}
            rounds = Rounds(self, cursor)
            ids = self._ids.fresh(cursor, len(wanted), naming.is_taken)
            prepared: list[Prepared] = []
            inserts: list[dict[str, object]] = []
            more: Counter[str] = Counter()
            for new, request in wanted:
                choices = decide(request, rows, rounds)
                if not choices or not choices[0].possible:
                    raise no_pool(request, choices)
                uuid = self._entropy.uuid()
                dataset_id = ids.take(uuid)
                pool, steps = choices[0].object_store_id, choices[0].rounds
                key = naming.key(pool, dataset_id, uuid)
                token = self._entropy.token(8)
                inserts.append(
                    {
                        "id": dataset_id, "uuid": uuid, "name": new.name, "name_key": fold_name(new.name),
                        "owner": new.owner, "state": "new", "size_bytes": new.size_bytes,
                        "total_bytes": new.size_bytes, "object_store_id": pool, "origin": new.origin,
                        "job_id": new.job_id, "labels": json.dumps(dict(new.labels), ensure_ascii=False),
                        "hidden": 0, "created_us": now, "updated_us": now, "key": key, "token": token,
                        "rounds": json.dumps([[step.node_id, step.signature, step.child] for step in steps]),
                        "choices": _choices_json(choices), "holder": holder,
                    }
                )  # fmt: skip
                prepared.append(Prepared(dataset_id, uuid, pool, key, token, new.owner))
                rounds.take(steps)
                more[pool] += new.size_bytes
                rows[pool] = with_reserved(rows[pool], new.size_bytes)
            ids.settle()
            self._write_intents(cursor, inserts, now)
            self._labels.add_many(
                cursor, [(own.dataset_id, new.labels) for own, (new, _) in zip(prepared, wanted, strict=True)]
            )
            rounds.settle()
            for pool, size in sorted(more.items()):
                self._counters.add_to_pool(cursor, pool, reserved=size)
            self._counters.add_to_states(cursor, {"new": len(inserts)})
        return prepared

    def extend(
        self, prepared: Prepared, more_bytes: int, request: Request, decide: Decide
    ) -> None:
        """Reserve more room for a write whose size was not known; `NoSpace` if the pool has none."""
        with self._db.write() as cursor:
            rows = {row.object_store_id: row for row in self._pools.all_in(cursor)}
            choices = decide(request, rows, no_rounds)
            here = [choice for choice in choices if choice.object_store_id == prepared.object_store_id]
            if not here or not here[0].possible:
                error = no_pool(request, here)
                error.store = prepared.object_store_id
                raise error
            self._touch(cursor, prepared, more_bytes)
            self._counters.add_to_pool(cursor, prepared.object_store_id, reserved=more_bytes)

    def touch(self, prepared: Prepared) -> None:
        """Show that a long write still goes on. `Conflict` if it was given up for dead."""
        with self._db.write() as cursor:
            self._touch(cursor, prepared, 0)

    # -- end ----------------------------------------------------------------------------------------------

    def commit(self, finished: Sequence[Finished], actor: str | None = None) -> None:
        """Record writes that came to their end: all of them, or `Conflict` and none."""
        now = self._clock.now_us()
        with self._db.write() as cursor:
            pools: dict[str, list[int]] = {}
            owners: dict[str | None, list[int]] = {}
            for one in finished:
                prepared = one.prepared
                reserved, _ = self._end(cursor, prepared)
                self._finish_dataset.run(
                    cursor,
                    {
                        "which": prepared.dataset_id, "new_state": "ok", "new_size": one.size_bytes,
                        "new_total": one.total_bytes, "new_checksum": one.checksum, "now": now,
                    },
                )  # fmt: skip
                self._finish_replica.run(
                    cursor,
                    {
                        "which": prepared.dataset_id, "pool": prepared.object_store_id, "new_state": "present",
                        "new_total": one.total_bytes, "new_version": one.version, "now": now,
                    },
                )  # fmt: skip
                if one.extra_files:
                    self._insert_extra.run_many(
                        cursor,
                        [
                            {
                                "dataset_id": prepared.dataset_id, "path": extra.path,
                                "size_bytes": extra.size_bytes, "checksum": extra.checksum,
                            }
                            for extra in one.extra_files
                        ],
                    )  # fmt: skip
                counts = pools.setdefault(prepared.object_store_id, [0, 0, 0])
                counts[0] += 1
                counts[1] += one.total_bytes
                counts[2] -= reserved
                counts = owners.setdefault(prepared.owner, [0, 0])
                counts[0] += 1
                counts[1] += one.total_bytes
            for pool, (count, used, reserved) in sorted(pools.items()):
                self._counters.add_to_pool(cursor, pool, datasets=count, used=used, reserved=reserved)
            self._counters.add_to_states(cursor, {"new": -len(finished), "ok": len(finished)})
            self._counters.add_to_owners(
                cursor, [(owner, DEFAULT_QUOTA, used, count) for owner, (count, used) in owners.items()]
            )
            self._events.add_many(
                cursor,
                [
                    (now, "dataset.put", _stored_words(one), one.prepared.dataset_id,
                     one.prepared.object_store_id, actor)
                    for one in finished
                ],
            )  # fmt: skip

    def abandon(self, prepared: Prepared) -> None:
        """Take the intent back: the dataset never was. Idempotent. Its blob must be gone before."""
        with self._db.write() as cursor:
            row = self._end_reservation.one(
                cursor, {"which": prepared.dataset_id, "proof": prepared.token}
            )
            if row is None:
                return
            self._take_back_turns(cursor, row[1])
            self._counters.add_to_pool(cursor, prepared.object_store_id, reserved=-row[0])
            self._counters.add_to_states(cursor, {"new": -1})
            for statement in self._forget:
                statement.run(cursor, {"which": prepared.dataset_id})

    def give_up(self, prepared: Prepared, why: str) -> None:
        """The write failed, and its pool cannot be cleaned up now: leave that to `reap`. Idempotent."""
        with self._db.write() as cursor:
            row = self._end_reservation.one(cursor, {"which": prepared.dataset_id, "proof": prepared.token})
            if row is None:
                return
            now = self._clock.now_us()
            self._take_back_turns(cursor, row[1])
            self._purge_dataset.run(cursor, {"which": prepared.dataset_id, "new_note": why, "now": now})
            self._retire_replica.run(cursor, {"which": prepared.dataset_id, "new_size": int(row[0]), "now": now})
            # a retiring replica counts until it is gone; nobody knows how many of the bytes arrived
            self._counters.add_to_pool(
                cursor, prepared.object_store_id, datasets=1, used=int(row[0]), reserved=-int(row[0])
            )
            self._counters.add_to_states(cursor, {"new": -1, "purged": 1})

    def rounds(self, cursor: Cursor) -> Rounds:
        """The rounds as this transaction sees them; `settle` writes down the turns that were taken."""
        return Rounds(self, cursor)

    # -- inside -------------------------------------------------------------------------------------------

    def read_rounds(self, cursor: Cursor, node_id: str, signature: str) -> dict[str, int]:
        """How often each child was chosen in that round."""
        return dict(self._read_rounds.all(cursor, {"node_id": node_id, "signature": signature}))

    def bump(self, cursor: Cursor, step: RoundStep, more: int) -> None:
        """Count choices of a round."""
        self._bump_round.run(
            cursor,
            {"node_id": step.node_id, "signature": step.signature, "child": step.child, "more": more},
        )

    def _take_back_turns(self, cursor: Cursor, rounds_json: str) -> None:
        """What was not stored was nobody's turn."""
        for node, signature, child in json.loads(rounds_json):
            self._bump_round.run(cursor, {"node_id": node, "signature": signature, "child": child, "more": -1})

    def _write_intents(self, cursor: Cursor, inserts: list[dict[str, object]], now: int) -> None:
        self._insert_dataset.run_many(cursor, inserts)
        self._insert_replica.run_many(
            cursor,
            [
                {
                    "dataset_id": row["id"], "object_store_id": row["object_store_id"], "state": "writing",
                    "key": row["key"], "size_bytes": row["size_bytes"], "created_us": now, "changed_us": now,
                }
                for row in inserts
            ],
        )  # fmt: skip
        self._insert_decision.run_many(
            cursor, [{"dataset_id": row["id"], "decided_us": now, "choices": row["choices"]} for row in inserts]
        )
        self._insert_reservation.run_many(
            cursor,
            [
                {
                    "dataset_id": row["id"], "token": row["token"], "object_store_id": row["object_store_id"],
                    "size_bytes": row["size_bytes"], "kind": "put", "rounds": row["rounds"],
                    "holder": row["holder"], "touched_us": now,
                }
                for row in inserts
            ],
        )  # fmt: skip

    def _touch(self, cursor: Cursor, prepared: Prepared, more: int) -> None:
        changed = self._touch_reservation.run(
            cursor,
            {"which": prepared.dataset_id, "proof": prepared.token, "more": more, "now": self._clock.now_us()},
        )
        if changed != 1:
            raise _given_up(prepared)

    def _end(self, cursor: Cursor, prepared: Prepared) -> tuple[int, str]:
        row = self._end_reservation.one(cursor, {"which": prepared.dataset_id, "proof": prepared.token})
        if row is None:
            raise _given_up(prepared)
        return int(row[0]), str(row[1])


class Rounds:
    """The rounds as this transaction sees and changes them."""

    def __init__(self, ledger: WriteLedger, cursor: Cursor) -> None:
        self._ledger, self._cursor = ledger, cursor
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        self._more: Counter[RoundStep] = Counter()

    def __call__(self, node_id: str, signature: str) -> Mapping[str, int]:
        known = self._counts.get((node_id, signature))
        if known is None:
            known = self._ledger.read_rounds(self._cursor, node_id, signature)
            self._counts[node_id, signature] = known
        return known

    def take(self, steps: Sequence[RoundStep]) -> None:
        for step in steps:
            counts = self._counts.setdefault((step.node_id, step.signature), {})
            counts[step.child] = counts.get(step.child, 0) + 1
            self._more[step] += 1

    def settle(self) -> None:
        for step, more in self._more.items():
            self._ledger.bump(self._cursor, step, more)


def no_pool(request: Request, choices: Sequence[Choice]) -> StoreError:
    """Why no pool could take it, pool by pool: `Unavailable` if one that cannot be reached might, else `NoSpace`. One
    pool that was asked for answers for itself: `Denied` if it takes nothing new."""
    reasons = "; ".join(f"{choice.object_store_id}: {choice.reason}" for choice in choices) or "there are no pools"
    message = f"no pool can take {request.size_bytes} bytes: {reasons}"
    own = next((choice for choice in choices if choice.object_store_id == request.pool), None)
    if own is not None:
        if own.code == "state" and OFFLINE_WORDS not in own.reason:
            return Denied(message, store=own.object_store_id, operation="put")
        if own.code in ("state", "unreachable"):
            return Unavailable(message, store=own.object_store_id, operation="put")
    elif any(choice.code == "unreachable" for choice in choices):
        return Unavailable(message, operation="put")
    return NoSpace(message, operation="put")


def _given_up(prepared: Prepared) -> Conflict:
    return Conflict(
        f"the write of dataset {prepared.dataset_id} was taken for dead and given up, because it gave no sign of "
        "life for too long; put it again"
    )


def with_reserved(row: PoolRow, more_bytes: int) -> PoolRow:
    """The pool with so much more promised."""
    return replace(row, reserved_bytes=row.reserved_bytes + more_bytes)


def _choices_json(choices: Sequence[Choice]) -> str:
    return json.dumps(
        [[choice.object_store_id, at == 0, choice.reason] for at, choice in enumerate(choices)], ensure_ascii=False
    )


def _stored_words(one: Finished) -> str:
    return f"stored {one.total_bytes} bytes in {one.prepared.object_store_id}"
