"""Drain: everything out of a pool, so that it can be unplugged.

The pool takes nothing new from the first moment on. Its datasets, removed ones too, go where placement would put them
now, or `to` one pool. What is being written or replaced is come back to. At the end the pool is listed: only when
nothing is in it that is not whole in another pool, it is *safe to unplug*, and says so; else it says what is left and
why. The old bytes stay until their grace is over (`reap`), or until the disk is pulled.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice

from holdfast import layout
from holdfast.blobs import GetOptions, PutOptions
from holdfast.catalog.moves import MoveWanted
from holdfast.errors import AlreadyExists, Conflict, HoldfastError, Malformed, StoreError
from holdfast.hold.hold import Hold
from holdfast.keys import Key
from holdfast.operations.base import (
    Amount,
    Batch,
    Blocker,
    Check,
    Parameters,
    Plan,
    Progress,
    carry_on,
    watched,
)
from holdfast.operations.moves import BATCH, Heaps, Mover, measured_rate, place, pool_of

STANDING = ("present", "suspect", "missing")
NAMED_MAX = 1000
BLOCKERS_MAX = 100
ADOPT = "(holdfast reconcile --adopt, then drain again)"


class Drain:
    """Parameters: `pool`, `to` (one pool that takes it all), `limit_rate_bytes_s`, `concurrency`."""

    kind = "drain"

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """How much lies there, where it would go, and what cannot leave."""
        return self.plan_while(hold, parameters, carry_on)

    def plan_while(self, hold: Hold, parameters: Parameters, check: Check) -> Plan:
        """The same, as long as `check` lets it go on."""
        pool, target = _asked(hold, parameters)
        info = hold.pool(pool)
        heaps = Heaps(info.used_bytes)
        total = Amount()
        blockers: list[Blocker] = []
        for dataset_id, replica in watched(hold.catalog.datasets.walk(pool=pool, states=STANDING), check):
            if replica.state == "present":
                heaps.add(replica.size_bytes)
                total = Amount(total.objects + 1, total.size_bytes + replica.size_bytes)
            elif len(blockers) < BLOCKERS_MAX:
                blockers.append(Blocker(f"its replica in {pool} is {replica.state}: {replica.note or ''}", dataset_id))
        there, nowhere = place(hold, heaps.all(), target=target, leave=pool)
        for why, amount in nowhere.items():
            blockers.append(Blocker(f"{amount.objects} datasets, {amount.size_bytes} bytes, find no room: {why}"))
        rate = measured_rate(hold, parameters)
        return Plan(
            objects=total.objects, size_bytes=total.size_bytes, by_source={pool: total}, by_target=there,
            blockers=tuple(blockers), seconds_estimate=total.size_bytes / rate if rate else None,
        )  # fmt: skip

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """By dataset id; then the look at what remains. The cursor is the last id."""
        pool, target = _asked(hold, parameters)
        if cursor is None:
            yield _close(hold, pool)
        mover = Mover(hold, parameters)
        yield from mover.batches(_pages(hold, pool, target, int(cursor or 0)))
        yield _metadata(hold, pool, target)
        yield _end(hold, pool, mover.told)


def _asked(hold: Hold, parameters: Parameters) -> tuple[str, str | None]:
    pool = pool_of(hold, parameters, "pool", needed=True)
    target = pool_of(hold, parameters, "to")
    assert pool is not None
    if target == pool:
        raise Malformed(f"pool {pool} cannot be drained into itself; write another pool")
    return pool, target


def _pages(hold: Hold, pool: str, target: str | None, after: int) -> Iterator[list[MoveWanted]]:
    found = hold.catalog.datasets.walk(pool=pool, states=STANDING, after=after)
    while page := list(islice(found, BATCH)):
        yield [MoveWanted(one, target, pool, why=f"pool {pool} is drained") for one, _ in page]


def _close(hold: Hold, pool: str) -> Batch:
    """From now on nothing new comes in."""

    def apply(progress: Progress) -> None:
        if hold.pool(pool).state == "active":
            hold.set_pool_state(pool, "draining")
        progress.note(f"pool {pool} takes nothing new")

    return Batch("0", apply)


def _metadata(hold: Hold, pool: str, target: str | None) -> Batch:
    """Galaxy's metadata files: whose they are only Galaxy's database knows, so they keep their names."""

    def apply(progress: Progress) -> None:
        source = hold.poolset.online(pool).store()
        others = [target] if target is not None else [name for name in hold.poolset.order if name != pool]
        active = [name for name in others if hold.pool(name).state == "active" and hold.pool(name).reachable]
        for stat in source.list(layout.METADATA_FOLDER + "/"):
            progress.check()
            if layout.parse(stat.key).kind != "metadata":
                continue
            if not active:
                progress.failed(f"{pool}/{stat.key}", "Blocked", "no pool takes it", object_store_id=pool)
                continue
            try:
                _copy(hold, pool, active[0], stat.key)
                progress.count("metadata_files")
            except HoldfastError as error:
                progress.failed(f"{pool}/{stat.key}", error, object_store_id=pool)

    return Batch(str(layout.ID_MAX), apply)


def _copy(hold: Hold, source: str, target: str, key: Key) -> None:
    """One blob that no dataset has, under its own name."""
    from holdfast.hold.copying import BlobBody

    store = hold.poolset.configured(source).store()
    body = BlobBody(store, key, store.stat(key).size_bytes, GetOptions(fresh=True))
    there = hold.poolset.configured(target).store()
    try:
        there.put(key, body, PutOptions(if_absent=True))
    except AlreadyExists:
        if there.stat(key).size_bytes != body.size_bytes:
            raise


def _end(hold: Hold, pool: str, told: Container[int]) -> Batch:
    """Look at what remains, and say whether the pool can be unplugged. `told`: why these are left is said already."""

    def apply(progress: Progress) -> None:
        left = 0
        for dataset_id, replica in hold.catalog.datasets.walk(pool=pool, states=(*STANDING, "writing")):
            left += 1
            if left <= NAMED_MAX and not (replica.state == "present" and dataset_id in told):
                why = f"it is still in pool {pool} ({replica.state}{': ' + replica.note if replica.note else ''})"
                progress.failed(dataset_id, "Blocked", why, object_store_id=pool)
        now = hold.clock.now_us()
        leased = 0
        for dataset_id, _ in hold.catalog.datasets.walk(pool=pool, states=("retiring",)):
            holders = hold.catalog.leases.of(dataset_id, now)
            if holders:
                leased += 1
                why = f"its old bytes in pool {pool} are in use by {', '.join(holders)}"
                progress.failed(dataset_id, "Blocked", why, object_store_id=pool)
        unknown = _unknown(hold, pool, progress)
        said = [
            f"1 {one}" if number == 1 else f"{number} {many}"
            for number, one, many in (
                (left, "dataset is left in it", "datasets are left in it"),
                (leased, "is in use by a job", "are in use by jobs"),
                (unknown, f"file in it is nobody's {ADOPT}", f"files in it are nobody's {ADOPT}"),
            )
            if number
        ]
        if said:
            progress.note(f"NOT safe to unplug: {'; '.join(said)}")
            progress.count("left", left + leased + unknown)
        else:
            progress.note(f"safe to unplug: everything that was in pool {pool} is whole in other pools")
            progress.count("safe_to_unplug")

    return Batch(str(layout.ID_MAX), apply)


def _primary_of(extra: Key, parsed: layout.Parsed) -> Key:
    """The primary blob beside whose folder an extra file lies."""
    folder = extra.removesuffix("/" + (parsed.relative or ""))
    return Key(folder.removesuffix("_files") + ".dat")


def _unknown(hold: Hold, pool: str, progress: Progress) -> int:
    """How many blobs lie there that the catalog does not know."""
    count = 0
    try:
        store = hold.poolset.online(pool).store()
        known: dict[Key, str | None] = {}
        for stat in store.list():
            progress.check()
            parsed = layout.parse(stat.key)
            if parsed.kind not in ("primary", "extra"):
                continue
            primary = stat.key if parsed.kind == "primary" else _primary_of(stat.key, parsed)
            if primary not in known:
                if len(known) > NAMED_MAX:
                    known.clear()
                found = hold.catalog.datasets.by_key(pool, primary)
                known[primary] = None if found is None else found[1]
            if known[primary] in (None, "gone"):
                count += 1
                if count <= NAMED_MAX:
                    progress.failed(f"{pool}/{stat.key}", "Unknown", "nobody recorded it", object_store_id=pool)
    except (StoreError, Conflict) as error:
        progress.failed(f"pool {pool}", error, object_store_id=pool)
        count += 1
    return count
