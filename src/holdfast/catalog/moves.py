"""Moving: reserve room in another pool, then record the new replica or take it back (docs/design/0014-moving.md).

Each is one transaction, for one dataset or for hundreds. A move whose row is gone (it was given up for dead, or its
dataset was purged) cannot be recorded, and whoever finds it so deletes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, ExtraFile, Replica
from holdfast.catalog.counters import Counters
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.datasets import DatasetLedger
from holdfast.catalog.events import EventLedger
from holdfast.catalog.holders import HolderLedger
from holdfast.catalog.pools import PoolLedger
from holdfast.catalog.transitions import Transitions
from holdfast.catalog.writes import Decide, Naming, WriteLedger, with_reserved
from holdfast.errors import Conflict
from holdfast.keys import Key
from holdfast.placement.policy import Choice, Request
from holdfast.seams import Clock, Entropy

_DATASET, _REPLICA, _MOVING, _RECEIPT = schema.dataset, schema.replica, schema.moving, schema.receipt

MOVABLE = ("ok", "error", "deleted")
Outcome = Literal["recorded", "changed", "lost"]


@dataclass(frozen=True, slots=True)
class MoveWanted:
    """A replica that is to be made.

    `target` None leaves the choice to placement. `source`: the pool whose replica is read and, unless `keep`, retired;
    None means the first that is whole. `why` is recorded with the decision: "asked for".
    """

    dataset_id: int
    target: str | None = None
    source: str | None = None
    keep: bool = False
    why: str = "asked for"


@dataclass(frozen=True, slots=True)
class Moving:
    """A row of `moving`, to be taken back. `checksum` is that of the bytes that were to be copied, if it was known."""

    dataset_id: int
    object_store_id: str
    key: Key
    token: str
    checksum: str | None


@dataclass(frozen=True, slots=True)
class MovePrepared:
    """A move that may begin: the room is reserved. `token` proves that it is still ours."""

    dataset: Dataset
    extra_files: tuple[ExtraFile, ...]
    source: Replica
    object_store_id: str
    key: Key
    token: str
    keep: bool
    choices_json: str

    @property
    def row(self) -> Moving:
        """What there is to take back."""
        return Moving(self.dataset.id, self.object_store_id, self.key, self.token, self.dataset.checksum)


@dataclass(frozen=True, slots=True)
class MoveRefused:
    """Why one cannot begin. `done`: there is nothing to do. `later`: it may be possible when somebody is ready."""

    dataset_id: int
    why: str
    code: Literal["done", "later", "blocked"]


@dataclass(frozen=True, slots=True)
class MoveFinished:
    """A copy that came to its end. `proved`: it was read back; False: no byte was written (a link)."""

    prepared: MovePrepared
    checksum: str
    version: str
    extra_checksums: tuple[str, ...]
    proved: bool


class MoveLedger:
    """Begins and ends moves."""

    def __init__(
        self, db: Database, clock: Clock, entropy: Entropy, *, pools: PoolLedger, datasets: DatasetLedger,
        writes: WriteLedger, transitions: Transitions, counters: Counters, events: EventLedger, holders: HolderLedger,
    ) -> None:  # fmt: skip
        self._db, self._clock, self._entropy = db, clock, entropy
        self._pools, self._datasets, self._writes = pools, datasets, writes
        self._transitions, self._counters, self._events, self._holders = transitions, counters, events, holders
        put = db.upsert(_REPLICA)
        self._put_replica = db.statement(
            put.on_conflict_do_update(
                index_elements=["dataset_id", "object_store_id"],
                set_={
                    name: put.excluded[name]
                    for name in ("state", "key", "size_bytes", "version", "verified_us", "note", "changed_us")
                },
            ),
            columns=[
                "dataset_id", "object_store_id", "state", "key", "size_bytes", "version", "verified_us", "note",
                "created_us", "changed_us",
            ],
        )  # fmt: skip
        self._insert = db.statement(
            insert(_MOVING),
            columns=[
                "dataset_id", "object_store_id", "token", "source", "checksum", "size_bytes", "holder", "touched_us",
            ],
        )
        here = and_(_MOVING.c.dataset_id == bindparam("which"), _MOVING.c.object_store_id == bindparam("pool"))
        mine = and_(here, _MOVING.c.token == bindparam("proof"))
        self._touch = db.statement(update(_MOVING).where(mine).values(touched_us=bindparam("now")))
        self._claim = db.statement(
            update(_MOVING).where(mine).values(token=bindparam("new"), touched_us=bindparam("now"))
        )
        self._end = db.statement(delete(_MOVING).where(mine).returning(_MOVING.c.size_bytes))
        replica = and_(_REPLICA.c.dataset_id == bindparam("which"), _REPLICA.c.object_store_id == bindparam("pool"))
        self._finish = db.statement(
            update(_REPLICA)
            .where(replica)
            .values(
                state="present", size_bytes=bindparam("new_size"), version=bindparam("new_version"), note=None,
                verified_us=bindparam("new_verified"), changed_us=bindparam("now"),
            )
        )  # fmt: skip
        self._forget = db.statement(delete(_REPLICA).where(replica).where(_REPLICA.c.state == "writing"))
        self._settle = db.statement(
            update(_DATASET)
            .where(_DATASET.c.id == bindparam("which"))
            .values(
                object_store_id=bindparam("new_pool"), updated_us=bindparam("now"),
                checksum=func.coalesce(_DATASET.c.checksum, bindparam("new_checksum")),
            )
        )  # fmt: skip
        decide = db.upsert(schema.decision)
        self._decide = db.statement(
            decide.on_conflict_do_update(
                index_elements=["dataset_id"],
                set_={"decided_us": decide.excluded.decided_us, "choices": decide.excluded.choices},
            ),
            columns=["dataset_id", "decided_us", "choices"],
        )
        receipt = db.upsert(_RECEIPT)
        self._receipt = db.statement(
            receipt.on_conflict_do_update(
                index_elements=["operation_id", "dataset_id", "path"],
                set_={
                    name: receipt.excluded[name]
                    for name in ("source", "target", "size_bytes", "checksum", "proved", "moved_us")
                },
            ),
            columns=[
                "operation_id", "dataset_id", "path", "source", "target", "size_bytes", "checksum", "proved",
                "moved_us",
            ],
        )  # fmt: skip
        unfinished = select(
            _MOVING.c.dataset_id, _MOVING.c.object_store_id, _REPLICA.c.key, _MOVING.c.token, _MOVING.c.checksum
        ).select_from(
            _MOVING.join(
                _REPLICA,
                and_(
                    _REPLICA.c.dataset_id == _MOVING.c.dataset_id,
                    _REPLICA.c.object_store_id == _MOVING.c.object_store_id,
                ),
            )
        )
        self._of_holder = db.statement(unfinished.where(_MOVING.c.holder == bindparam("holder")))
        self._silent = db.statement(unfinished.where(_MOVING.c.touched_us < bindparam("before")))

    # -- begin --------------------------------------------------------------------------------------------

    def begin(
        self, wanted: Sequence[MoveWanted], decide: Decide, naming: Naming
    ) -> list[MovePrepared | MoveRefused]:
        """Reserve the room for each and write the intent, or say why not. In the order in which they are wanted."""
        holder = self._holders.own()
        now = self._clock.now_us()
        with self._db.write() as cursor:
            self._transitions.lock(cursor, [one.dataset_id for one in wanted])
            rows = {row.object_store_id: row for row in self._pools.all_in(cursor)}
            rounds = self._writes.rounds(cursor)
            answers: list[MovePrepared | MoveRefused] = []
            for one in wanted:
                found = self._source_of(cursor, one, now)
                if isinstance(found, MoveRefused):
                    answers.append(found)
                    continue
                dataset = found[0]
                request = Request(dataset.total_bytes, owner=dataset.owner, pool=one.target, labels=dataset.labels)
                choice = _choice(one, dataset, decide(request, rows, rounds))
                if isinstance(choice, MoveRefused):
                    answers.append(choice)
                    continue
                rounds.take(choice.rounds)
                rows[choice.object_store_id] = with_reserved(rows[choice.object_store_id], dataset.total_bytes)
                prepared = self._intend(
                    cursor, one, found, choice, naming=naming, holder=holder, now_us=now
                )
                answers.append(prepared)
            rounds.settle()
        return answers

    def _source_of(self, cursor: Cursor, wanted: MoveWanted, now_us: int) -> tuple[Dataset, Replica] | MoveRefused:
        """The dataset, whose row is locked, and the replica to copy."""
        dataset_id = wanted.dataset_id
        dataset = self._datasets.find_in(cursor, dataset_id)
        if dataset is None:
            return MoveRefused(dataset_id, f"there is no dataset {dataset_id}", "blocked")
        if dataset.state == "purged":
            return MoveRefused(dataset_id, "it was purged: there is nothing to move", "done")
        if dataset.state not in MOVABLE:
            return MoveRefused(dataset_id, "it is being written", "later")
        try:
            self._transitions.refuse_busy(cursor, dataset, "moved", leased=False)
        except Conflict as error:
            return MoveRefused(dataset_id, str(error), "later")
        whole = [one for one in dataset.replicas if one.state == "present"]
        if wanted.target is not None and any(one.object_store_id == wanted.target for one in whole):
            others = [one for one in whole if one.object_store_id == wanted.source]
            if wanted.keep or wanted.source in (None, wanted.target) or not others:
                return MoveRefused(dataset_id, f"it is in pool {wanted.target} already", "done")
            self._retire(cursor, dataset, others[0].object_store_id, wanted, now_us)
            return MoveRefused(
                dataset_id, f"it is in pool {wanted.target} already; its replica in {wanted.source} is retired", "done"
            )
        if wanted.source is not None and not any(
            one.object_store_id == wanted.source and one.state not in ("retiring", "gone") for one in dataset.replicas
        ):
            return MoveRefused(dataset_id, f"it is not in pool {wanted.source}", "done")
        source = next((one for one in whole if wanted.source in (None, one.object_store_id)), None)
        if source is None:
            return MoveRefused(dataset_id, _no_source(dataset, wanted.source), "blocked")
        return dataset, source

    def _retire(
        self, cursor: Cursor, dataset: Dataset, source: str, wanted: MoveWanted, now_us: int
    ) -> None:
        self._transitions.replica_state(cursor, dataset.id, source, "retiring")
        if wanted.target is not None and dataset.object_store_id == source:
            self._settle.run(
                cursor,
                {
                    "which": dataset.id, "new_pool": wanted.target, "new_checksum": dataset.checksum, "now": now_us,
                },
            )  # fmt: skip

    def _intend(
        self, cursor: Cursor, wanted: MoveWanted, found: tuple[Dataset, Replica], choice: Choice,
        *, naming: Naming, holder: str, now_us: int,
    ) -> MovePrepared:  # fmt: skip
        dataset, source = found
        pool, token = choice.object_store_id, self._entropy.token(8)
        key = naming.key(pool, dataset.id, dataset.uuid)
        self._put_replica.run(
            cursor,
            {
                "dataset_id": dataset.id, "object_store_id": pool, "state": "writing", "key": key,
                "size_bytes": dataset.total_bytes, "version": None, "verified_us": None, "note": None,
                "created_us": now_us, "changed_us": now_us,
            },
        )  # fmt: skip
        self._insert.run(
            cursor,
            {
                "dataset_id": dataset.id, "object_store_id": pool, "token": token, "source": source.object_store_id,
                "checksum": dataset.checksum, "size_bytes": dataset.total_bytes, "holder": holder, "touched_us": now_us,
            },
        )  # fmt: skip
        self._counters.add_to_pool(cursor, pool, reserved=dataset.total_bytes)
        extras = tuple(self._datasets.extra_files_in(cursor, dataset.id))
        verb = "copied" if wanted.keep else "moved"
        reason = f"{verb} from {source.object_store_id}: {wanted.why}; {choice.reason}"
        return MovePrepared(
            dataset, extras, source, pool, key, token, wanted.keep, json.dumps([[pool, True, reason]])
        )

    def touch(self, prepared: MovePrepared) -> None:
        """Show that it goes on. `Conflict` if it was given up for dead, or its dataset purged."""
        with self._db.write() as cursor:
            proof = {"which": prepared.dataset.id, "pool": prepared.object_store_id, "proof": prepared.token}
            if self._touch.run(cursor, {**proof, "now": self._clock.now_us()}) != 1:
                raise given_up(prepared)

    # -- end ----------------------------------------------------------------------------------------------

    def commit(
        self, finished: Sequence[MoveFinished], *, operation_id: int | None = None, actor: str | None = None
    ) -> list[Outcome]:
        """Record what was copied. Of each: `recorded`; `changed`, it was replaced meanwhile and is to be taken back;
        `lost`, its row is gone, and its bytes are somebody else's business."""
        now = self._clock.now_us()
        with self._db.write() as cursor:
            self._transitions.lock(cursor, [one.prepared.dataset.id for one in finished])
            more: dict[str, list[int]] = {}
            outcomes = [
                self._record(cursor, one, now, more, operation_id=operation_id, actor=actor) for one in finished
            ]
            for pool, (count, used, reserved) in sorted(more.items()):
                self._counters.add_to_pool(cursor, pool, datasets=count, used=used, reserved=reserved)
        return outcomes

    def _record(
        self, cursor: Cursor, one: MoveFinished, now: int, more: dict[str, list[int]],
        *, operation_id: int | None, actor: str | None,
    ) -> Outcome:  # fmt: skip
        """Record one; what its pool has more of then is added to `more`: pools are locked after all datasets."""
        prepared = one.prepared
        before, target = prepared.dataset, prepared.object_store_id
        dataset = self._transitions.again(cursor, before.id)
        source = next((rep for rep in dataset.replicas if rep.object_store_id == prepared.source.object_store_id), None)
        proof = {"which": before.id, "pool": target, "proof": prepared.token}
        if (
            dataset.state not in MOVABLE
            or self._transitions.is_busy(cursor, before.id)  # else what a replace puts there would be deleted with it
            or source is None
            or (source.state, source.version) != ("present", prepared.source.version)
            or dataset.checksum not in (None, one.checksum)
            or dataset.total_bytes != before.total_bytes
        ):
            return "changed" if self._touch.run(cursor, {**proof, "now": now}) == 1 else "lost"
        ended = self._end.one(cursor, proof)
        if ended is None:
            return "lost"
        self._finish.run(
            cursor,
            {
                "which": before.id, "pool": target, "new_size": before.total_bytes, "new_version": one.version,
                "new_verified": now if one.proved else source.verified_us, "now": now,
            },
        )  # fmt: skip
        counts = more.setdefault(target, [0, 0, 0])
        for at, number in enumerate((1, before.total_bytes, -int(ended[0]))):
            counts[at] += number
        place = dataset.object_store_id or target
        if not prepared.keep:
            self._transitions.replica_state(cursor, before.id, source.object_store_id, "retiring")
            place = target if place == source.object_store_id else place
            self._decide.run(
                cursor, {"dataset_id": before.id, "decided_us": now, "choices": prepared.choices_json}
            )
        self._settle.run(
            cursor, {"which": before.id, "new_pool": place, "new_checksum": one.checksum, "now": now}
        )
        self._events.add(
            cursor, now, "dataset.replicate" if prepared.keep else "dataset.move",
            f"{'copied' if prepared.keep else 'moved'} from {source.object_store_id} to {target}, "
            f"{before.total_bytes} bytes",
            dataset_id=before.id, object_store_id=target, actor=actor,
        )  # fmt: skip
        if operation_id is not None:
            self._write_receipt(cursor, one, operation_id, now)
        return "recorded"

    def _write_receipt(self, cursor: Cursor, one: MoveFinished, operation_id: int, now: int) -> None:
        prepared = one.prepared
        lines = [("", prepared.dataset.size_bytes, one.checksum)]
        lines += [
            (extra.path, extra.size_bytes, checksum)
            for extra, checksum in zip(prepared.extra_files, one.extra_checksums, strict=True)
        ]
        self._receipt.run_many(
            cursor,
            [
                {
                    "operation_id": operation_id, "dataset_id": prepared.dataset.id, "path": path,
                    "source": prepared.source.object_store_id, "target": prepared.object_store_id, "size_bytes": size,
                    "checksum": checksum, "proved": int(one.proved), "moved_us": now,
                }
                for path, size, checksum in lines
            ],
        )  # fmt: skip

    def claim(self, moving: Moving) -> Moving | None:
        """Take a move over in order to take it back: from now on only the token that comes out is good. None if its
        row is gone, or somebody else has claimed it."""
        token = self._entropy.token(8)
        with self._db.write() as cursor:
            proof = {"which": moving.dataset_id, "pool": moving.object_store_id, "proof": moving.token}
            if self._claim.run(cursor, {**proof, "new": token, "now": self._clock.now_us()}) != 1:
                return None
        return replace(moving, token=token)

    def confirm(self, moving: Moving) -> None:
        """Just before something is deleted: `Conflict` unless the token is still good."""
        with self._db.write() as cursor:
            proof = {"which": moving.dataset_id, "pool": moving.object_store_id, "proof": moving.token}
            if self._touch.run(cursor, {**proof, "now": self._clock.now_us()}) != 1:
                where = f"dataset {moving.dataset_id} to pool {moving.object_store_id}"
                raise Conflict(f"the move of {where} was taken back by somebody else")

    def give_up(self, moving: Moving) -> None:
        """Its pool does not answer now: the next `reap` takes it back. Nothing if the token is not good any more."""
        with self._db.write() as cursor:
            proof = {"which": moving.dataset_id, "pool": moving.object_store_id, "proof": moving.token}
            self._touch.run(cursor, {**proof, "now": 0})

    def abandon(self, dataset_id: int, object_store_id: str, token: str) -> bool:
        """Take the intent back; False if it was gone already. Its blobs must be gone before."""
        with self._db.write() as cursor:
            here = {"which": dataset_id, "pool": object_store_id}
            row = self._end.one(cursor, {**here, "proof": token})
            if row is None:
                return False
            self._counters.add_to_pool(cursor, object_store_id, reserved=-int(row[0]))
            self._forget.run(cursor, here)
            return True

    # -- looking ------------------------------------------------------------------------------------------

    def unfinished(self, holder: str) -> list[Moving]:
        """What a process had begun and not ended."""
        with self._db.read() as cursor:
            return [_moving(*row) for row in self._of_holder.all(cursor, {"holder": holder})]

    def silent(self, before_us: int) -> list[Moving]:
        """The same of each that gave its last sign of life before that time, whoever does it."""
        with self._db.read() as cursor:
            return [_moving(*row) for row in self._silent.all(cursor, {"before": before_us})]


def given_up(prepared: MovePrepared) -> Conflict:
    """Its row is gone."""
    return Conflict(
        f"the move of dataset {prepared.dataset.id} to pool {prepared.object_store_id} was taken for dead, or the "
        "dataset was purged; move it again"
    )


def _moving(dataset_id: int, object_store_id: str, key: str, token: str, checksum: str | None) -> Moving:
    return Moving(dataset_id, object_store_id, Key(key), token, checksum)


def _choice(wanted: MoveWanted, dataset: Dataset, choices: Sequence[Choice]) -> Choice | MoveRefused:
    """The first pool that can take it and has nothing of it."""
    there = {one.object_store_id: one.state for one in dataset.replicas if one.state != "gone"}
    reasons: list[str] = []
    for choice in choices:
        name = choice.object_store_id
        if wanted.target not in (None, name):
            continue
        if name in there:
            reasons.append(f"{name}: {_STILL_THERE.get(there[name], 'it is there already')}")
        elif choice.possible:
            return choice
        else:
            reasons.append(f"{name}: {choice.reason}")
    why = "; ".join(reasons) or "there is no other pool"
    later = wanted.target is not None and there.get(wanted.target) in _STILL_THERE
    return MoveRefused(dataset.id, f"no pool can take it: {why}", "later" if later else "blocked")


_STILL_THERE = {
    "writing": "it is being copied there now",
    "retiring": "its old bytes there are about to be deleted; do it at once with: holdfast reap --grace 0s",
    "suspect": "its replica there is damaged; look with: holdfast scrub",
    "missing": "its replica there is missing; look with: holdfast reconcile",
}


def _no_source(dataset: Dataset, asked: str | None) -> str:
    """Why there is nothing to copy."""
    found = [one for one in dataset.replicas if asked in (None, one.object_store_id)]
    if not found:
        return f"it is not in pool {asked}" if asked is not None else "it is in no pool"
    words = ", ".join(f"its replica in {one.object_store_id} is {one.state}" for one in found)
    return f"there are no whole bytes of it: {words}"
