"""Scrub: read everything back and compare it with what was stored, what was proved longest ago first.

Every replica that should be there is read, also those in doubt and those that were missing: a damaged one
becomes `suspect`, an absent one `missing`, one that is whole again `present`. An adopted dataset gets its
checksum here. What is damaged or missing is repaired from a whole replica where there is one, unless nobody wants that.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from holdfast import layout
from holdfast.blobs import GetOptions, Reader
from holdfast.catalog.base import Dataset, Replica
from holdfast.catalog.integrity import IntegrityLedger
from holdfast.errors import (
    Cancelled,
    ConfigError,
    Conflict,
    Corrupt,
    HoldfastError,
    NotFound,
    StoreError,
    Unavailable,
)
from holdfast.hold.hold import Hold
from holdfast.hold.repairing import Repairing
from holdfast.keys import Key
from holdfast.operations.base import Amount, Batch, Parameters, Plan, Progress
from holdfast.operations.pace import Pace, at_once, side_by_side
from holdfast.operations.scrub_order import Bounds, Place, Turn
from holdfast.stores.base import Store
from holdfast.stores.streams import digest_of

CHECK_BLOCKS = 256  # between two looks whether a pause or a cancel is wanted
STATES = ("present", "suspect", "missing")
FRESH = GetOptions(fresh=True)
UNREADABLE = "nothing that can be read"


class Scrub:
    """Parameters: `pool` (only that one), `limit_rate_bytes_s`, `concurrency` (replicas read at once), `older_than_s`
    (what was proved since is left out), `for_s` (begin to read nothing more after that time), `limit_bytes` (read no
    more than about that), `repair` (False: only look)."""

    kind = "scrub"

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """Everything that is recorded in the pools, by their counters; with `older_than_s` what is so old."""
        bounds = _bounds(parameters)
        ledger = IntegrityLedger(hold.catalog.db)
        amounts: dict[str, Amount] = {}
        for info in hold.pools():
            if parameters.get("pool") in (None, info.object_store_id) and info.configured:
                amounts[info.object_store_id] = Amount(info.datasets, info.used_bytes)
                if bounds.older_than_s:
                    before_us = hold.clock.now_us() - int(bounds.older_than_s * 1_000_000)
                    amounts[info.object_store_id] = Amount(*ledger.amount(info.object_store_id, before_us))
        size = sum(amount.size_bytes for amount in amounts.values())
        taken = size if bounds.limit_bytes is None else min(size, bounds.limit_bytes)
        rate, time_s = parameters.get("limit_rate_bytes_s"), parameters.get("for_s")
        guesses = [guess for guess in (taken / rate if rate else None, time_s) if guess is not None]
        return Plan(
            objects=sum(amount.objects for amount in amounts.values()), size_bytes=taken, by_source=amounts,
            seconds_estimate=min(guesses, default=None),
        )  # fmt: skip

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """Some dozens at a time, in the order of `scrub_order`. The cursor is the place in it."""
        wanted = parameters.get("pool")
        if wanted is not None:
            hold.poolset.configured(wanted)
        pools = [row.object_store_id for row in hold.catalog.pools.all() if wanted in (None, row.object_store_id)]
        place = Place.of(cursor, hold.clock.now_us())
        reading = Reading(hold, parameters, place.started_us)
        turn = Turn(IntegrityLedger(hold.catalog.db), pools, place, _bounds(parameters), hold.clock.now_us)
        while not reading.is_over() and (page := turn.next_page()) is not None:
            items = [(one.dataset_id, one.replica) for one in page]
            yield reading.batch(items, turn.place.text())


class Reading:
    """How replicas are read in one run: at what pace, until when, and what follows from what was found."""

    def __init__(self, hold: Hold, parameters: Parameters, started_us: int) -> None:
        self._hold, self._started_us = hold, started_us
        self._repairing = Repairing(hold.catalog, hold.poolset) if parameters.get("repair", True) else None
        self._pace, self._at_once = Pace.of(hold.clock, parameters), at_once(parameters)
        time_s = parameters.get("for_s")
        # counted from here: the same command in the next night goes on with what was killed in this one
        self._until_us = None if time_s is None else hold.clock.now_us() + int(float(time_s) * 1_000_000)

    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._until_us is not None and self._hold.clock.now_us() >= self._until_us

    def batch(self, items: list[tuple[int, Replica]], cursor: str) -> Batch:
        """The reading of these."""

        def apply(progress: Progress) -> None:
            side_by_side(items, self._one, progress, self._at_once)

        return Batch(cursor, apply)

    def _one(self, item: tuple[int, Replica], progress: Progress) -> None:
        if not self.is_over():
            since_us, repairing = self._started_us, self._repairing
            verify(self._hold, *item, progress, self._pace, since_us=since_us, repairing=repairing)


def _bounds(parameters: Parameters) -> Bounds:
    """What the parameters allow; `ConfigError` for what makes no sense."""
    for name in ("older_than_s", "for_s", "limit_bytes"):
        value = parameters.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ConfigError(f"{name} {value!r}: write a number that is not negative")
    limit = parameters.get("limit_bytes")
    return Bounds(
        float(parameters.get("older_than_s") or 0), None if limit is None else int(limit), at_once(parameters)
    )


def verify(
    hold: Hold, dataset_id: int, replica: Replica, progress: Progress, pace: Pace,
    *, since_us: int | None = None, repairing: Repairing | None = None,
) -> None:  # fmt: skip
    """Read one replica back and record what it is. With `since_us`, one that was proved after that is passed over; with
    `repairing`, one that is damaged or missing is repaired where that can be."""
    try:
        if hold.poolset.get(replica.object_store_id) is None:
            raise Unavailable(f"pool {replica.object_store_id} is no longer in the configuration")
        hold.poolset.online(replica.object_store_id)
        dataset = hold.catalog.datasets.find(dataset_id)
        if dataset is None or not _still(dataset, replica, since_us, hold.clock.now_us()):
            return
        size = _verify(hold, dataset, replica, progress, pace)
    except (Conflict, Unavailable) as error:
        progress.failed(dataset_id, error, object_store_id=replica.object_store_id)
        progress.done(objects=1)
        return
    except StoreError as error:
        if repairing is None or not isinstance(error, Corrupt | NotFound):
            progress.failed(dataset_id, error, object_store_id=replica.object_store_id)
        else:
            _repair(repairing, (dataset_id, replica.object_store_id), error, progress, pace)
        progress.done(objects=1, size_bytes=replica.size_bytes)
        return
    progress.done(objects=1, size_bytes=size)


def _repair(
    repairing: Repairing, which: tuple[int, str], found: StoreError, progress: Progress, pace: Pace
) -> None:
    """Repair what was found at this dataset and pool, and say how that went."""
    dataset_id, pool = which

    def passed(size_bytes: int) -> None:
        pace.passed(size_bytes)
        progress.check()

    try:
        repaired = repairing.repair(dataset_id, pool, passed)
    except Cancelled:
        raise
    except HoldfastError as error:
        progress.failed(dataset_id, found, f"{found}; not repaired: {error}", object_store_id=pool)
        return
    progress.count("repaired")
    progress.failed(dataset_id, "Repaired", f"{found}; {repaired.words()}", object_store_id=pool)


def _verify(hold: Hold, dataset: Dataset, replica: Replica, progress: Progress, pace: Pace) -> int:
    pool = replica.object_store_id
    store = hold.poolset.configured(pool).store()
    try:
        version, size, actual = _read(store, replica.key, pace, progress)
    except NotFound as error:
        if replica.state != "missing":
            hold.catalog.fates.doubt(dataset.id, pool, "missing", f"its bytes are not in pool {pool} any more")
        progress.count("missing")
        raise NotFound(f"its bytes are not in pool {pool} any more ({replica.key})", store=pool) from error
    expected = dataset.checksum
    if actual == UNREADABLE or (expected is not None and actual != expected):
        if hold.transfer.finish_replace(dataset, pool, actual) is not None:
            progress.count("finished")
            return size
        now = hold.catalog.datasets.find(dataset.id)
        if now is None or now.checksum != expected:
            return size  # it was replaced while we read
        why = f"damaged: {expected or 'something'} was stored, {actual} was read"
        hold.catalog.fates.doubt(dataset.id, pool, "suspect", why)
        progress.count("damaged")
        raise Corrupt(
            f"dataset {dataset.id} in pool {pool} is {why}", expected=expected or "", actual=actual, store=pool
        )
    extra_bytes = _verify_extra_files(hold, dataset, replica, progress, pace)
    hold.catalog.fates.verified(dataset.id, pool, version, actual)
    progress.count("verified" if expected else "first_checksum")
    if replica.state != "present":
        progress.count("whole_again")
    return size + extra_bytes


def _verify_extra_files(hold: Hold, dataset: Dataset, replica: Replica, progress: Progress, pace: Pace) -> int:
    """The extra files of a replica are as recorded, or its error is raised after it was marked."""
    pool = replica.object_store_id
    store = hold.poolset.configured(pool).store()
    prefix = layout.extra_files_prefix_of(replica.key)
    total = 0
    for extra in hold.catalog.datasets.extra_files(dataset.id):
        problem: HoldfastError | None = None
        try:
            _, size, actual = _read(store, layout.extra_file_key(prefix, extra.path), pace, progress)
        except NotFound:
            problem = NotFound(f"its extra file {extra.path} is not in pool {pool} any more", store=pool)
        else:
            total += size
            if size != extra.size_bytes or actual == UNREADABLE or actual != (extra.checksum or actual):
                problem = Corrupt(f"its extra file {extra.path} in pool {pool} is damaged", store=pool)
        if problem is not None:
            hold.catalog.fates.doubt(dataset.id, pool, "suspect", str(problem))
            progress.count("damaged")
            raise problem
    return total


def _read(store: Store, key: Key, pace: Pace, progress: Progress) -> tuple[str, int, str]:
    """(version, bytes, checksum) of what lies there. What the medium cannot read has the checksum `UNREADABLE`."""
    with store.open(key, FRESH) as reader:
        try:
            return reader.stat.version, reader.stat.size_bytes, _digest(reader, pace, progress)
        except OSError as error:
            if error.errno != errno.EIO:
                raise Unavailable(
                    f"{key} in pool {store.name} cannot be read: {error.strerror}", store=store.name, key=key,
                    operation="scrub",
                ) from error  # fmt: skip
            store.stat(key)  # or the pool itself is away
            return reader.stat.version, reader.stat.size_bytes, UNREADABLE


def _digest(reader: Reader, pace: Pace, progress: Progress) -> str:
    """The checksum of an open blob, read at the given pace."""
    seen = 0

    def on_block(size_bytes: int) -> None:
        nonlocal seen
        pace.passed(size_bytes)
        seen += 1
        if seen % CHECK_BLOCKS == 0:
            progress.check()

    return digest_of(reader, on_block)


def _still(dataset: Dataset, replica: Replica, since_us: int | None, now_us: int) -> bool:
    """Whether the replica is still to be verified: it may have been purged, or proved, since the page was read."""
    for one in dataset.replicas:
        if one.object_store_id == replica.object_store_id and one.state in STATES:
            return since_us is None or one.verified_us is None or not since_us < one.verified_us <= now_us
    return False
