"""Reap: take away what nobody needs any more.

* writes whose process died: the intent is taken back, its half-written blob deleted, its room given back; a
  replace that had published its bytes is recorded instead;
* retired replicas, after their grace;
* removed datasets whose time is over: they are purged. That time must have been seen to pass (`passing`): a clock
  that jumps forward purges nothing, and the result says how much was kept;
* temporary files that nobody writes any more, and what repairs have set aside 30 days ago.

What a pool that does not answer would have to delete stays in the catalog as `retiring`, and counts against
the pool, until it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from holdfast import layout
from holdfast.catalog import repairs
from holdfast.catalog.base import Dataset, Prepared, Replica
from holdfast.catalog.moves import Moving
from holdfast.errors import Conflict, HoldfastError, NotFound, StoreError
from holdfast.hold.hold import Hold
from holdfast.operations.base import Amount, Batch, Blocker, Parameters, Plan, Progress
from holdfast.operations.pace import at_once, side_by_side
from holdfast.operations.passing import Passing, known, look
from holdfast.operations.set_aside import giving_up, set_aside

PAGE = 200
DELETED_EXPIRES_S = 30 * 86_400
GRACE_S = 86_400
SILENT_S = 86_400


class Reap:
    """Parameters: `grace_s` (how long a retired replica, and what was set aside, stays; default from the
    configuration, and 30 days), `concurrency`
    (datasets deleted at once)."""

    kind = "reap"

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """What would be taken away now."""
        amounts: dict[str, Amount] = {}
        blockers: list[Blocker] = []

        def add(name: str, size_bytes: int) -> None:
            before = amounts.get(name, Amount())
            amounts[name] = Amount(before.objects + 1, before.size_bytes + size_bytes)

        ledger = hold.catalog.fates
        for holder in hold.catalog.holders.dead():
            for prepared, _ in hold.catalog.reservations.unfinished(holder.id):
                add(prepared.object_store_id, 0)
            for moving in hold.catalog.moves.unfinished(holder.id):
                add(moving.object_store_id, 0)
        for _, name, size in ledger.retired(_before(hold, parameters), None):
            add(name, size)
        time = known(hold)
        for dataset_id in ledger.expired(_expired_before(hold, time.believed_us), None):
            dataset = hold.find(dataset_id)
            add(dataset.object_store_id or "", dataset.total_bytes)
        held_back = _held_back(hold, time)
        if held_back:
            blockers.append(Blocker(_held_back_words(held_back, time)))
        for pool in hold.poolset:
            try:
                for size_bytes in _lying_about(hold, pool.object_store_id, parameters, time):
                    add(pool.object_store_id, size_bytes)
            except HoldfastError as error:
                blockers.append(Blocker(str(error)))
        return Plan(
            objects=sum(amount.objects for amount in amounts.values()),
            size_bytes=sum(amount.size_bytes for amount in amounts.values()),
            by_source=amounts, blockers=tuple(blockers),
        )  # fmt: skip

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """Dead writes, expired datasets, retired replicas, temporary files. Looks anew when it is resumed."""
        for holder in hold.catalog.holders.dead():
            yield _dead_holder(hold, holder.id)
        yield _silent(hold)
        time, after = look(hold), 0
        while page := hold.catalog.fates.expired(_expired_before(hold, time.believed_us), after, PAGE):
            yield _expire(hold, page)
            after = page[-1]
        yield _tell_held_back(hold, time)
        after = 0
        while ids := [row[0] for row in hold.catalog.fates.retired(_before(hold, parameters), after, PAGE)]:
            yield _retire(hold, ids, at_once(parameters))
            after = ids[-1]
        for pool in hold.poolset:
            yield _leftovers(hold, pool.object_store_id)
            yield giving_up(hold, pool.object_store_id, parameters, time.believed_us)


def recover(hold: Hold) -> int:
    """Take back what processes that died had begun. Done at a server's start, and every minute: so it is seen that
    time passes. The number of writes."""
    look(hold)
    count = 0
    for holder in hold.catalog.holders.dead():
        for prepared, kind in hold.catalog.reservations.unfinished(holder.id):
            _take_back(hold, prepared, kind)
            count += 1
        for moving in hold.catalog.moves.unfinished(holder.id):
            with suppress(StoreError, Conflict):
                count += hold.moving.take_back(moving)
        _forget(hold, holder.id)
    return count


def _forget(hold: Hold, holder_id: str) -> None:
    """A dead process, once nothing of it is left to settle: what a pool holds back is come back to."""
    if not hold.catalog.reservations.unfinished(holder_id) and not hold.catalog.moves.unfinished(holder_id):
        with hold.catalog.db.write() as cursor:
            hold.catalog.holders.forget(cursor, holder_id)


def _dead_holder(hold: Hold, holder_id: str) -> Batch:
    def apply(progress: Progress) -> None:
        for prepared, kind in hold.catalog.reservations.unfinished(holder_id):
            progress.check()
            _take_back(hold, prepared, kind)
            progress.done(objects=1)
            progress.count("unfinished_writes")
        _take_moves_back(hold, hold.catalog.moves.unfinished(holder_id), progress)
        _forget(hold, holder_id)

    return Batch("holders", apply)


def _silent(hold: Hold) -> Batch:
    """Writes that gave no sign of life for a day, whatever their process does: a thread of it that failed while its
    catalog was away could not say so."""

    def apply(progress: Progress) -> None:
        for prepared, kind in hold.catalog.reservations.silent(hold.clock.now_us() - SILENT_S * 1_000_000):
            progress.check()
            _take_back(hold, prepared, kind)
            progress.done(objects=1)
            progress.count("unfinished_writes")
        before_us = hold.clock.now_us() - SILENT_S * 1_000_000
        _take_moves_back(hold, hold.catalog.moves.silent(before_us), progress)

    return Batch("silent", apply)


def _take_moves_back(hold: Hold, moves: list[Moving], progress: Progress) -> None:
    """Copies to another pool that came to nothing."""
    for moving in moves:
        progress.check()
        try:
            hold.moving.take_back(moving)
        except (StoreError, Conflict) as error:
            progress.failed(moving.dataset_id, error, object_store_id=moving.object_store_id)
            continue
        progress.done(objects=1)
        progress.count("unfinished_moves")


def _take_back(hold: Hold, prepared: Prepared, kind: str) -> None:
    if kind == "replace":
        hold.transfer.settle_replace(prepared)
        return
    if kind == repairs.KIND:  # what lies there is the bad bytes or the good ones: scrub looks
        hold.catalog.repairs.abandon(prepared)
        return
    try:
        hold.transfer.delete_blobs(prepared.object_store_id, prepared.key)
    except (StoreError, Conflict) as error:
        hold.catalog.writes.give_up(prepared, f"its write was interrupted: {error}")
    else:
        hold.catalog.writes.abandon(prepared)


def _expire(hold: Hold, ids: list[int]) -> Batch:
    def apply(progress: Progress) -> None:
        for dataset_id in ids:
            progress.check()
            try:
                size = hold.find(dataset_id).total_bytes
                hold.remove(dataset_id, purge=True)
            except HoldfastError as error:
                progress.failed(dataset_id, error)
            else:
                progress.done(objects=1, size_bytes=size)
                progress.count("expired")

    return Batch("expired", apply)


def _held_back(hold: Hold, time: Passing) -> list[int]:
    """The removed datasets (the first of them) whose time is over by the clock, but was not seen to pass."""
    ready = set(hold.catalog.fates.expired(_expired_before(hold, time.believed_us), None))
    by_clock = hold.catalog.fates.expired(_expired_before(hold, time.seen_us), None)
    return [dataset_id for dataset_id in by_clock if dataset_id not in ready]


def _held_back_words(held_back: list[int], time: Passing) -> str:
    return (
        f"the clock is {time.held_back_s() / 86_400:.1f} days ahead of the time that was seen to pass: removed "
        f"datasets that seem to have expired since ({len(held_back)}) are kept until it has been right for a week; "
        "look whether it is right"
    )


def _tell_held_back(hold: Hold, time: Passing) -> Batch:
    def apply(progress: Progress) -> None:
        held_back = _held_back(hold, time)
        if held_back:
            progress.count("kept_because_the_clock_jumped", len(held_back))
            progress.note(_held_back_words(held_back, time))

    return Batch("held back", apply)


def _retire(hold: Hold, ids: list[int], concurrency: int) -> Batch:
    def work(dataset_id: int, progress: Progress) -> None:
        kept: dict[str, str] = {}
        dataset = hold.find(dataset_id)
        holders = hold.catalog.leases.of(dataset_id, hold.clock.now_us())
        for replica in dataset.replicas:
            if replica.state != "retiring":
                continue
            name = replica.object_store_id
            if holders:
                kept[name] = f"in use by {', '.join(holders)}"
                continue
            try:
                _look_at_the_others(hold, dataset, replica)
                last = hold.catalog.fates.last_look(dataset_id, name)
                if last == "keep":
                    kept[name] = "no other replica of it is whole"
                if last != "delete":
                    continue
                hold.transfer.delete_blobs(name, replica.key)
            except HoldfastError as error:
                kept[name] = str(error)
                continue
            hold.catalog.fates.replica_gone(dataset_id, name)
            progress.done(objects=1, size_bytes=replica.size_bytes)
            progress.count("deleted")
        if kept:
            why = "; ".join([*kept.values(), "it stays on the list"])
            progress.failed(dataset_id, "Unavailable", why, object_store_id=next(iter(kept)))

    def apply(progress: Progress) -> None:
        side_by_side(ids, work, progress, concurrency)

    return Batch("retired", apply)


def _look_at_the_others(hold: Hold, dataset: Dataset, retiring: Replica) -> None:
    """What stands in for a replica that is to be deleted is there, blob by blob, as its pool says now: a frozen process
    that woke up may have taken it away since it was proved. If it is not, it is marked; raises what a pool that cannot
    be asked says, and `Conflict` if something else lies there: it is being replaced, or damaged."""
    if dataset.state == "purged" or retiring.is_outdated:
        return
    extras = hold.catalog.datasets.extra_files(dataset.id)
    for other in dataset.replicas:
        if other.state != "present":
            continue
        name, prefix = other.object_store_id, layout.extra_files_prefix_of(other.key)
        wanted = [(layout.extra_file_key(prefix, one.path), one.size_bytes) for one in extras]
        store = hold.poolset.online(name).store()
        try:
            sizes = [(key, size_bytes, store.stat(key).size_bytes) for key, size_bytes in wanted]
            sizes.append((other.key, dataset.size_bytes, store.stat(other.key).size_bytes))
        except NotFound as error:
            hold.catalog.fates.doubt(dataset.id, name, "missing", str(error), version=other.version)
            continue
        for key, size_bytes, found_bytes in sizes:
            if found_bytes != size_bytes:
                raise Conflict(f"{key} in pool {name} is of another size than recorded; look with: holdfast scrub")


def _lying_about(hold: Hold, name: str, parameters: Parameters, time: Passing) -> Iterator[int]:
    """The bytes of each temporary file that nobody writes, and of each blob that was set aside, in one pool."""
    for leftover in hold.poolset.online(name).store().leftovers():
        if not leftover.in_use:
            yield leftover.size_bytes
    for stat in set_aside(hold, name, parameters, time.believed_us):
        yield stat.size_bytes


def _leftovers(hold: Hold, name: str) -> Batch:
    def apply(progress: Progress) -> None:
        try:
            store = hold.poolset.writable(name).store()
            for leftover in store.leftovers():
                progress.check()
                if not leftover.in_use and store.discard(leftover):
                    progress.done(objects=1, size_bytes=leftover.size_bytes)
                    progress.count("leftovers")
        except StoreError as error:
            progress.failed(f"pool {name}", error, object_store_id=name)

    return Batch(f"leftovers {name}", apply)


def _before(hold: Hold, parameters: Parameters) -> int:
    given = parameters.get("grace_s")
    grace_s = float(getattr(hold.config, "reap_grace_s", GRACE_S) if given is None else given)
    return hold.clock.now_us() - int(grace_s * 1_000_000)


def _expired_before(hold: Hold, now_us: int) -> int:
    expires_s = getattr(hold.config, "deleted_expires_after_s", DELETED_EXPIRES_S)
    return now_us - int(expires_s * 1_000_000)
