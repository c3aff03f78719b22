"""Scrub: read everything back and compare it with what was stored.

Every replica that should be there is read, also those in doubt and those that were missing: a damaged one
becomes `suspect`, an absent one `missing`, one that is whole again `present`. An adopted dataset gets its
checksum here. Nothing is deleted or repaired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast import layout
from holdfast.blobs import GetOptions, Reader
from holdfast.catalog.base import Dataset, Replica
from holdfast.errors import Conflict, Corrupt, HoldfastError, NotFound, StoreError, Unavailable
from holdfast.hold.hold import Hold
from holdfast.operations.base import Amount, Batch, Parameters, Plan, Progress
from holdfast.operations.pace import Pace, at_once, side_by_side
from holdfast.stores.streams import digest_of

BATCH_REPLICAS = 64
CHECK_BLOCKS = 256  # between two looks whether a pause or a cancel is wanted
STATES = ("present", "suspect", "missing")
FRESH = GetOptions(fresh=True)


class Scrub:
    """Parameters: `pool` (only that one), `limit_rate_bytes_s`, `concurrency` (replicas read at once)."""

    kind = "scrub"

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """Everything that is recorded in the pools, by their counters."""
        amounts: dict[str, Amount] = {}
        for info in hold.pools():
            if parameters.get("pool") in (None, info.object_store_id) and info.configured:
                amounts[info.object_store_id] = Amount(info.datasets, info.used_bytes)
        size = sum(amount.size_bytes for amount in amounts.values())
        rate = parameters.get("limit_rate_bytes_s")
        return Plan(
            objects=sum(amount.objects for amount in amounts.values()), size_bytes=size, by_source=amounts,
            seconds_estimate=size / rate if rate else None,
        )  # fmt: skip

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """By dataset id, some dozens at a time. The cursor is the last id."""
        if parameters.get("pool") is not None:
            hold.poolset.configured(parameters["pool"])
        pace, concurrency = Pace.of(hold.clock, parameters), at_once(parameters)
        page: dict[int, list[Replica]] = {}
        after = int(cursor) if cursor else 0
        for dataset_id, replica in hold.catalog.datasets.walk(pool=parameters.get("pool"), states=STATES, after=after):
            if dataset_id not in page and len(page) >= BATCH_REPLICAS:
                yield _batch(hold, page, pace, concurrency)
                page = {}
            page.setdefault(dataset_id, []).append(replica)
        if page:
            yield _batch(hold, page, pace, concurrency)


def _batch(hold: Hold, page: Mapping[int, list[Replica]], pace: Pace, concurrency: int) -> Batch:
    items = [(dataset_id, replica) for dataset_id, replicas in page.items() for replica in replicas]

    def work(item: tuple[int, Replica], progress: Progress) -> None:
        verify(hold, item[0], item[1], progress, pace)

    def apply(progress: Progress) -> None:
        side_by_side(items, work, progress, concurrency)

    return Batch(str(max(page)), apply)


def verify(hold: Hold, dataset_id: int, replica: Replica, progress: Progress, pace: Pace) -> None:
    """Read one replica back and record what it is."""
    try:
        if hold.poolset.get(replica.object_store_id) is None:
            raise Unavailable(f"pool {replica.object_store_id} is no longer in the configuration")
        hold.poolset.online(replica.object_store_id)
        dataset = hold.catalog.datasets.find(dataset_id)
        if dataset is None or not _still(dataset, replica):
            return
        size = _verify(hold, dataset, replica, progress, pace)
    except (Conflict, Unavailable) as error:
        progress.failed(dataset_id, error, object_store_id=replica.object_store_id)
        progress.done(objects=1)
        return
    except StoreError as error:
        progress.failed(dataset_id, error, object_store_id=replica.object_store_id)
        progress.done(objects=1, size_bytes=replica.size_bytes)
        return
    progress.done(objects=1, size_bytes=size)


def _verify(hold: Hold, dataset: Dataset, replica: Replica, progress: Progress, pace: Pace) -> int:
    pool = replica.object_store_id
    store = hold.poolset.configured(pool).store()
    try:
        with store.open(replica.key, FRESH) as reader:
            version, size = reader.stat.version, reader.stat.size_bytes
            actual = _digest(reader, pace, progress)
    except NotFound as error:
        if replica.state != "missing":
            hold.catalog.fates.doubt(dataset.id, pool, "missing", f"its bytes are not in pool {pool} any more")
        progress.count("missing")
        raise NotFound(f"its bytes are not in pool {pool} any more ({replica.key})", store=pool) from error
    expected = dataset.checksum
    if expected is not None and actual != expected:
        if hold.transfer.finish_replace(dataset, pool, actual) is not None:
            progress.count("finished")
            return size
        now = hold.catalog.datasets.find(dataset.id)
        if now is None or now.checksum != expected:
            return size  # it was replaced while we read
        why = f"damaged: {expected} was stored, {actual} was read"
        hold.catalog.fates.doubt(dataset.id, pool, "suspect", why)
        progress.count("damaged")
        raise Corrupt(f"dataset {dataset.id} in pool {pool} is {why}", expected=expected, actual=actual, store=pool)
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
            with store.open(layout.extra_file_key(prefix, extra.path), FRESH) as reader:
                size, actual = reader.stat.size_bytes, _digest(reader, pace, progress)
        except NotFound:
            problem = NotFound(f"its extra file {extra.path} is not in pool {pool} any more", store=pool)
        else:
            total += size
            if size != extra.size_bytes or (extra.checksum is not None and actual != extra.checksum):
                problem = Corrupt(f"its extra file {extra.path} in pool {pool} is damaged", store=pool)
        if problem is not None:
            hold.catalog.fates.doubt(dataset.id, pool, "suspect", str(problem))
            progress.count("damaged")
            raise problem
    return total


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


def _still(dataset: Dataset, replica: Replica) -> bool:
    """Whether the replica is still to be verified: it may have been purged since the page was read."""
    states: dict[str, Any] = {one.object_store_id: one.state for one in dataset.replicas}
    return states.get(replica.object_store_id) in STATES
