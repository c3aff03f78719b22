"""cache, cache ls, cache warm, cache drop: the copies that are kept near of what lies in remote pools."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render
from holdfast.cli.commands.looking import LIMIT_MAX
from holdfast.cli.commands.storing import DatasetsArgument
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command
from holdfast.errors import NotFound, StoreError

if TYPE_CHECKING:
    from holdfast.catalog.base import Dataset
    from holdfast.hold.hold import Hold
    from holdfast.stores.caching import Cache, CachedBlob, CacheUsage

PAGE = 1000
STAYING_SHOWN = 100
UNUSABLE = "No cache folder can be used now; reads go past the cache to the pools. The server's log says why."
NO_CACHE = (
    "No pool has a cache: only remote pools (S3, Azure, Google) have one. What lies on disk is read where it lies."
)
OnePoolOption = Annotated[str | None, typer.Option("--pool", metavar="ID", help="Only what is held of this pool.")]


@command(example="holdfast cache")
def cache(call: Invocation) -> None:
    """List cache folders with what they hold.

    Counters are since the folder's index was made, and count for all processes of this machine.
    """
    from holdfast.hold.shapes import cache_json

    with call.hold() as hold:
        found = _folders(hold)
        empty = UNUSABLE if hold.keeping.any else NO_CACHE
    shapes = [{**cache_json(usage), "pools": pools} for usage, pools in found]
    call.answer(shapes, render.Table(_FOLDER_COLUMNS, [_folder_row(*one) for one in found], empty))


def _folders(hold: Hold) -> list[tuple[CacheUsage, list[str]]]:
    """Each folder once, with the pools that share it."""
    usages: dict[str, CacheUsage] = {}
    pools: dict[str, list[str]] = {}
    for pool, cache_of_it in hold.keeping.caches():
        for usage in cache_of_it.cache_usage():
            usages[usage.folder] = usage
            pools.setdefault(usage.folder, []).append(pool.object_store_id)
    return [(usages[folder], pools[folder]) for folder in usages]


_FOLDER_COLUMNS = (
    render.Column("FOLDER", wide=True),
    render.Column("POOLS"),
    render.Column("HELD", "right"),
    render.Column("BOUND", "right"),
    render.Column("FREE ON DISK", "right"),
    render.Column("ENTRIES", "right"),
    render.Column("PINNED", "right"),
    render.Column("HITS", "right"),
    render.Column("FETCHED", "right"),
    render.Column("EVICTIONS", "right"),
    render.Column("DAMAGED", "right"),
)


def _folder_row(usage: CacheUsage, pools: Sequence[str]) -> tuple[str, ...]:
    ratio = usage.hit_ratio
    return (
        render.clean(usage.folder),
        render.clean(", ".join(pools)),
        render.size(usage.held_bytes),
        "the disk" if usage.bound_bytes is None else render.size(usage.bound_bytes),
        render.size(usage.free_bytes),
        f"{usage.entries:,}",
        f"{usage.pinned:,}",
        "" if ratio is None else render.percent(100 * ratio),
        render.size(usage.fetched_bytes),
        f"{usage.evictions:,}",
        f"{usage.damaged:,}",
    )


# -- what is held --------------------------------------------------------------------------------------------


@command(example="holdfast cache ls\nholdfast cache ls --pool cloud --limit 20 --after 000/dataset_24.dat")
def cache_ls(
    call: Invocation,
    *,
    pool: OnePoolOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    after: Annotated[str | None, typer.Option("--after", metavar="KEY", help="Go on behind this key.")] = None,
) -> None:
    """List what the caches hold, by key.

    verified: all of it is there and agrees with its checksum. whole: all of it is there. Else so much of it.
    """
    from holdfast.hold.shapes import cached_json

    with call.hold() as hold:
        caches = _caches(hold, pool)
        found = _page(caches, after or "", limit)
        now_us = hold.clock.now_us()
    empty = "The cache holds nothing. It keeps what is read; to fetch ahead: holdfast cache warm DATASET"
    if not caches:
        empty = NO_CACHE
    elif after:
        empty = "Nothing is held behind that key."
    rows = [_blob_row(blob, now_us) for blob in found]
    call.answer([cached_json(blob) for blob in found], render.Table(_BLOB_COLUMNS, rows, empty))
    if len(found) >= limit and not call.as_json:
        call.remark(f"There may be more: --after {render.clean(found[-1].key)}")


def _page(caches: Sequence[Cache], after: str, limit: int) -> list[CachedBlob]:
    """One page over all of them, by key. It never ends between two blobs of one key: `after` would skip the second."""
    pages = [_pages(cache_of_one, after) for cache_of_one in caches]
    found: list[CachedBlob] = []
    for blob in heapq.merge(*pages, key=lambda blob: blob.key.encode()):
        if len(found) >= limit and blob.key != found[-1].key:
            break
        found.append(blob)
    return found


def _pages(of: Cache, after: str = "") -> Iterator[CachedBlob]:
    """All that is held, page by page."""
    while page := of.contents(after=after, limit=PAGE):
        yield from page
        after = page[-1].key


_BLOB_COLUMNS = (
    render.Column("KEY", wide=True),
    render.Column("POOL"),
    render.Column("SIZE", "right"),
    render.Column("HELD", "right"),
    render.Column("STATE"),
    render.Column("LAST USED"),
    render.Column("USES", "right"),
    render.Column("KEPT BECAUSE"),
)


def _blob_row(blob: CachedBlob, now_us: int) -> tuple[str, ...]:
    return (
        render.clean(blob.key),
        render.clean(blob.pool),
        render.size(blob.size_bytes),
        render.size(blob.held_bytes),
        "verified" if blob.verified else "whole" if blob.whole else "in part",
        render.ago(blob.used_us, now_us),
        f"{blob.uses:,}",
        _kept_because(blob),
    )


def _kept_because(blob: CachedBlob) -> str:
    """Why it cannot be evicted or dropped now; empty if it can."""
    reasons = ["in use"] if blob.in_use else []
    if blob.pins:
        more = "" if len(blob.pins) <= 3 else f" and {len(blob.pins) - 3} more"
        reasons.append(f"pinned by {', '.join(render.clean(pin) for pin in blob.pins[:3])}{more}")
    return "; ".join(reasons)


# -- warm ----------------------------------------------------------------------------------------------------


@command(example="holdfast cache warm 24 25")
def cache_warm(call: Invocation, datasets: DatasetsArgument) -> None:
    """Fetch datasets into the cache, whole and verified.

    What is there already is not fetched again. A dataset that lies on disk needs no copy. Ends with 4 if the
    cache cannot hold one; the others are fetched all the same.
    """
    with call.hold() as hold:
        _caches(hold, None, demanded=True)
        found = [hold.find(dataset) for dataset in datasets]  # one that is not there stops it before it begins
        total = sum(dataset.size_bytes for dataset in found)
        shapes: list[dict[str, Any]] = []
        lines: list[str] = []
        failures: list[StoreError] = []
        with call.progress(_title("Fetching", found), total) as progress:
            done_bytes = 0
            for dataset in found:

                def show(more: int, before: int = done_bytes) -> None:
                    progress.update(before + more)

                try:
                    fetched_bytes = hold.keeping.warm(dataset, show)
                except StoreError as error:
                    failures.append(error)
                    lines.append(f"dataset {dataset.id} was not fetched: {render.clean(str(error))}")
                    continue
                finally:
                    done_bytes += dataset.size_bytes
                    progress.update(done_bytes)
                shapes.append(_warm_shape(hold, dataset, fetched_bytes))
                lines.append(_warm_line(hold, dataset, fetched_bytes))
        if failures and len(found) == 1:
            raise failures[0]
        call.answer(shapes[0] if len(found) == 1 else shapes, *lines)
    if failures:
        raise failures[0]


def _warm_shape(hold: Hold, dataset: Dataset, fetched_bytes: int) -> dict[str, Any]:
    from holdfast.hold.shapes import cached_json

    held = hold.keeping.look(dataset)
    return {
        "id": dataset.id,
        "uuid": dataset.uuid,
        "object_store_id": dataset.object_store_id,
        "fetched_bytes": fetched_bytes,
        "cached": None if held is None else cached_json(held),
    }


def _warm_line(hold: Hold, dataset: Dataset, fetched_bytes: int) -> str:
    held = hold.keeping.look(dataset)
    name = f"dataset {dataset.id}: {render.clean(dataset.name)} ({render.size(dataset.size_bytes)})"
    if held is None:
        where = f"in {render.clean(dataset.object_store_id)}" if dataset.object_store_id else "nowhere"
        return f"nothing to fetch for {name}: it is {where}, where nothing is cached"
    state = "verified" if held.verified else "whole" if held.whole else f"{render.size(held.held_bytes)} held"
    return f"{f'fetched {render.size(fetched_bytes)} of' if fetched_bytes else 'had all of'} {name}, {state}"


# -- drop ----------------------------------------------------------------------------------------------------


@command(example="holdfast cache drop 24\nholdfast cache drop --pool cloud\nholdfast cache drop --all")
def cache_drop(
    call: Invocation,
    datasets: Annotated[list[str] | None, typer.Argument(metavar="DATASET", help="Ids or uuids.")] = None,
    *,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="ID", help="Instead: all that is held of this pool.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Instead: all that is held.")] = False,
) -> None:
    """Take copies out of the cache; the datasets stay in their pools.

    What is open, or pinned for a job, stays and is named. Without it they are fetched again when they are read.
    """
    if [bool(datasets), pool is not None, everything].count(True) != 1:
        raise UsageError("say what to drop, in one way: DATASET..., --pool ID, or --all")
    with call.hold() as hold:
        caches = _caches(hold, pool, demanded=True)
        if datasets:
            dropped = _Dropped()
            for dataset in [hold.find(one) for one in datasets]:
                dropped.note(hold.keeping.drop(dataset), hold.keeping.look(dataset))
        else:
            dropped = _drop_all(caches)
    call.answer(dropped.shape(), *dropped.blocks())


def _drop_all(caches: Sequence[Cache]) -> _Dropped:
    dropped = _Dropped()
    for of in caches:
        for blob in _pages(of):
            dropped.note(of.drop(blob.key), of.look(blob.key))
    return dropped


class _Dropped:
    """What a drop has done so far."""

    def __init__(self) -> None:
        self._freed_bytes = self._freed = self._stays = 0
        self._staying: list[CachedBlob] = []

    def note(self, freed_bytes: int, left: CachedBlob | None) -> None:
        """One blob: so much was freed, and this is what is held of it still."""
        self._freed_bytes += freed_bytes
        self._freed += freed_bytes > 0
        if left is not None:
            self._stays += 1
            if len(self._staying) < PAGE:
                self._staying.append(left)

    def shape(self) -> dict[str, Any]:
        from holdfast.hold.shapes import cached_json

        return {
            "dropped": self._freed,
            "freed_bytes": self._freed_bytes,
            "stays": self._stays,
            "staying": [cached_json(blob) for blob in self._staying],
        }

    def blocks(self) -> list[render.Block]:
        if not self._freed and not self._stays:
            return ["Nothing of it was held."]
        blocks: list[render.Block] = [
            f"dropped {render.count(self._freed, 'copy', 'copies')}, {render.size(self._freed_bytes)}"
        ]
        if self._stays:
            head = f"{render.count(self._stays, 'copy stays', 'copies stay')}, being in use or pinned:"
            rows = [
                (render.clean(blob.key), render.clean(blob.pool), render.size(blob.held_bytes), _kept_because(blob))
                for blob in self._staying[:STAYING_SHOWN]
            ]
            columns = (
                render.Column("KEY", wide=True),
                render.Column("POOL"),
                render.Column("HELD", "right"),
                render.Column("KEPT BECAUSE"),
            )
            blocks += [head, render.Table(columns, rows)]
            if self._stays > len(rows):
                blocks.append(f"and {self._stays - len(rows):,} more: holdfast cache ls")
        return blocks


# -- both ----------------------------------------------------------------------------------------------------


def _caches(hold: Hold, pool: str | None, *, demanded: bool = False) -> list[Cache]:
    """The caches of all pools, or of one. `NotFound` if that one has none, or if there is none and it is demanded."""
    if pool is not None:
        return [hold.keeping.cache_of(pool)]
    if demanded and not hold.keeping.any:
        raise NotFound(NO_CACHE[:1].lower() + NO_CACHE[1:].rstrip("."))
    return [of for _, of in hold.keeping.caches()]


def _title(verb: str, datasets: Sequence[Dataset]) -> str:
    what = render.clean(datasets[0].name) if len(datasets) == 1 else render.count(len(datasets), "dataset")
    return f"{verb} {what}"
