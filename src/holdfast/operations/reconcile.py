"""Reconcile: the catalog and a pool told apart, both ways, in one pass.

The pool is listed in the order of its keys, the catalog's records of it in the same order, and the two are
merged page by page: so memory stays bounded whatever the size. What the catalog does not know is named, or
recorded with `adopt`; what the pool does not have is looked for once more and marked `missing`; a wrong size
makes a replica `suspect`. In the end the pool's counters are counted anew. Nothing is ever deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from holdfast import layout
from holdfast.blobs import BlobStat
from holdfast.catalog.adoptions import Found
from holdfast.catalog.base import Replica
from holdfast.errors import HoldfastError, NotFound, Unavailable
from holdfast.hold.facts import Pool
from holdfast.hold.hold import Hold
from holdfast.keys import Key
from holdfast.operations.base import Amount, Batch, Parameters, Plan, Progress
from holdfast.operations.pace import Pace, at_once, side_by_side
from holdfast.operations.scrub import verify

PAGE = 1000
NAMED_MAX = 1000  # so many unknown blobs are named one by one; beyond that they are only counted
EXPECTED = ("present", "suspect", "missing")


class Reconcile:
    """Parameters: `pool` (only that one), `adopt` (record what nobody knows), `limit_rate_bytes_s` (for what has to
    be read to know what it is), `concurrency` (blobs looked at at once)."""

    kind = "reconcile"

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """The datasets recorded; how many blobs there are in fact is only known by listing."""
        amounts = {
            info.object_store_id: Amount(info.datasets, info.used_bytes)
            for info in hold.pools()
            if parameters.get("pool") in (None, info.object_store_id) and info.configured
        }
        return Plan(
            objects=sum(amount.objects for amount in amounts.values()), size_bytes=0, by_source=amounts
        )

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """Pool by pool, a page of keys at a time. The cursor is the pool, a space, and the last key."""
        wanted = parameters.get("pool")
        if wanted is not None:
            hold.poolset.configured(wanted)
        names = [name for name in hold.poolset.order if wanted in (None, name)]
        at, _, after = (cursor or "").partition(" ")
        if at in names:
            names = names[names.index(at) :]
        for name in names:
            yield from self._pool(hold, name, after if name == at else "", parameters)

    def _pool(self, hold: Hold, name: str, after: str, parameters: Parameters) -> Iterator[Batch]:
        try:
            pool = hold.poolset.online(name)
            listing = pool.store().list(after=after)
            while True:
                page = list(islice(listing, PAGE))
                last = page[-1].key if page else Key("")
                yield _page_batch(hold, pool, page, (after, last), parameters)
                if not page:
                    break
                after = last
            yield _refused_batch(pool, after)
        except Unavailable as error:
            yield _failed_batch(name, after, error)


def _refused_batch(pool: Pool, after: str) -> Batch:
    """Name what lies in the pool and cannot be a blob."""
    name = pool.object_store_id

    def apply(progress: Progress) -> None:
        for at, (entry, why) in enumerate(pool.store().refused()):
            progress.check()
            progress.count("refused")
            if at < NAMED_MAX:
                progress.failed(f"{name}/{entry}", "Refused", f"{entry}: {why}", object_store_id=name)

    return Batch(f"{name} {after}", apply)


def _failed_batch(name: str, after: str, error: Unavailable) -> Batch:
    def apply(progress: Progress) -> None:
        progress.failed(f"pool {name}", error, object_store_id=name)
        progress.count("pools_unreachable")

    return Batch(f"{name} {after}", apply)


def _page_batch(
    hold: Hold, pool: Pool, page: list[BlobStat], between: tuple[str, str], parameters: Parameters
) -> Batch:
    """One page of keys, and the records behind the first key to the last; an empty page means: to the end."""
    after, last = between
    pace, concurrency = Pace.of(hold.clock, parameters), at_once(parameters)
    adopt = bool(parameters.get("adopt"))

    def apply(progress: Progress) -> None:
        progress.check()
        records = hold.catalog.datasets.by_keys(pool.object_store_id, after, last if page else None)
        known = {replica.key: (dataset_id, replica) for dataset_id, replica in records}
        visit = _Visit(hold, pool, progress, pace, adopt=adopt)
        recorded = [(stat, *known.pop(stat.key)) for stat in page if stat.key in known]
        seen = {stat.key for stat, _, _ in recorded}
        side_by_side(recorded, visit.recorded, progress, concurrency)
        for stat in page:
            if stat.key not in seen:
                visit.unrecorded(stat)
        for dataset_id, replica in known.values():
            visit.absent(dataset_id, replica)
        visit.adopt_found()
        if not page:
            hold.catalog.fates.recount(pool.object_store_id)

    return Batch(f"{pool.object_store_id} {last or after}", apply)


class _Visit:
    """What is done about each key of one page."""

    def __init__(self, hold: Hold, pool: Pool, progress: Progress, pace: Pace, *, adopt: bool) -> None:
        self.hold, self.pool, self.progress, self.pace, self.adopt = hold, pool, progress, pace, adopt
        self._found: list[Found] = []
        self._named = 0
        self._extras: dict[Key, set[str] | None] = {}

    def recorded(self, found: tuple[BlobStat, int, Replica], progress: Progress) -> None:
        """A primary blob that the catalog knows. Called from several threads."""
        stat, dataset_id, replica = found
        if replica.state == "gone":
            self._unknown(stat, f"dataset {dataset_id} was purged, but its bytes are there again", progress)
            return
        if replica.state not in EXPECTED:
            return  # somebody is at work on it
        progress.done(objects=1, size_bytes=stat.size_bytes)
        dataset = self.hold.catalog.datasets.find(dataset_id)
        if dataset is None:
            return
        if stat.size_bytes != dataset.size_bytes or replica.state != "present":
            # only reading it tells what it is
            verify(self.hold, dataset_id, replica, progress, self.pace)

    def absent(self, dataset_id: int, replica: Replica) -> None:
        """A record without a blob in the listing."""
        if replica.state not in EXPECTED:
            return
        name = self.pool.object_store_id
        try:
            self.pool.store().stat(replica.key)
            return  # it came while we looked
        except NotFound as error:
            why = f"its bytes are not in pool {name} any more ({replica.key})"
            if replica.state != "missing":
                self.hold.catalog.fates.doubt(dataset_id, name, "missing", why)
            self.progress.count("missing")
            self.progress.failed(dataset_id, error, why, object_store_id=name)
        except HoldfastError as error:
            self.progress.failed(dataset_id, error, object_store_id=name)

    def unrecorded(self, stat: BlobStat) -> None:
        """A key that is no primary blob of the catalog's."""
        parsed = layout.parse(stat.key)
        if parsed.kind == "metadata":
            self.progress.count("metadata_files")
        elif parsed.kind == "extra":
            self._extra(stat, parsed)
        elif parsed.kind == "primary":
            self._primary(stat, parsed)
        else:
            self.progress.count("other_files")

    def _primary(self, stat: BlobStat, parsed: layout.Parsed) -> None:
        facts = self.pool.facts
        if not parsed.in_place:
            self._unknown(stat, "it is named like a dataset, but lies in another folder than its name demands")
        elif (parsed.uuid is not None) != (facts.store_by == "uuid"):
            self._unknown(stat, f"this pool stores by {facts.store_by}, and the name is of the other kind")
        elif "/" not in stat.key and not facts.check_old_style:
            self._unknown(stat, "it has an old-style name; to find it, set object_store_check_old_style: true")
        elif self._taken_elsewhere(parsed):
            self._unknown(stat, f"dataset {parsed.dataset_id or parsed.uuid} is recorded in another place")
        elif self.adopt:
            found = self.hold.lookout.found_in(self.pool, stat, parsed.dataset_id, parsed.uuid)
            self._found.append(found)
            self.progress.done(objects=1, size_bytes=stat.size_bytes)
        else:
            self._unknown(stat, "nobody recorded it; record it with: holdfast reconcile --adopt")

    def _taken_elsewhere(self, parsed: layout.Parsed) -> bool:
        ledger = self.hold.catalog.datasets
        if parsed.dataset_id is not None:
            return ledger.find(parsed.dataset_id) is not None
        return ledger.find_uuid(parsed.uuid or "") is not None

    def _extra(self, stat: BlobStat, parsed: layout.Parsed) -> None:
        """An extra file belongs to the dataset beside it; the dataset's record knows whether it is expected."""
        folder = stat.key.removesuffix("/" + (parsed.relative or ""))
        primary = Key(folder.removesuffix("_files") + ".dat")
        if primary not in self._extras:
            record = self.hold.catalog.datasets.by_key(self.pool.object_store_id, primary)
            paths = None if record is None else {one.path for one in self.hold.catalog.datasets.extra_files(record[0])}
            if record is not None and record[1] not in EXPECTED:
                paths = {parsed.relative or ""} if record[1] != "gone" else set()
            self._extras[primary] = paths
        expected = self._extras[primary]
        if expected is None:
            self.progress.count("extra_files_unrecorded")  # with its dataset, which is named itself
        elif parsed.relative not in expected:
            self._unknown(stat, "it lies among a dataset's extra files, but is none of those recorded")

    def _unknown(self, stat: BlobStat, why: str, progress: Progress | None = None) -> None:
        progress = progress or self.progress
        progress.count("unknown")
        progress.count("unknown_bytes", stat.size_bytes)
        self._named += 1
        if self._named <= NAMED_MAX:
            name = self.pool.object_store_id
            progress.failed(f"{name}/{stat.key}", "Unknown", f"{stat.key}: {why}", object_store_id=name)

    def adopt_found(self) -> None:
        """Record what was found on this page, in one transaction."""
        if self._found:
            adopted = self.hold.catalog.adoptions.adopt(self._found, is_taken=self.hold.poolset.is_taken)
            self.progress.count("adopted", len(adopted))
