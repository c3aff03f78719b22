"""cache, cache ls: the copies that are kept near of what lies in remote pools."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import render
from holdfast.cli.commands.looking import LIMIT_MAX
from holdfast.cli.invocation import Invocation, command
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from holdfast.hold.hold import Hold
    from holdfast.stores.caching import Cache, CachedBlob, CacheUsage

PAGE = 1000
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
        caches = caches_of(hold, pool)
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
    pages = [each_held(cache_of_one, after) for cache_of_one in caches]
    found: list[CachedBlob] = []
    for blob in heapq.merge(*pages, key=lambda blob: blob.key.encode()):
        if len(found) >= limit and blob.key != found[-1].key:
            break
        found.append(blob)
    return found


def each_held(of: Cache, after: str = "") -> Iterator[CachedBlob]:
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
        kept_because(blob),
    )


def kept_because(blob: CachedBlob) -> str:
    """Why it cannot be evicted or dropped now; empty if it can."""
    reasons = ["in use"] if blob.in_use else []
    if blob.pins:
        more = "" if len(blob.pins) <= 3 else f" and {len(blob.pins) - 3} more"
        reasons.append(f"pinned by {', '.join(render.clean(pin) for pin in blob.pins[:3])}{more}")
    return "; ".join(reasons)


def caches_of(hold: Hold, pool: str | None, *, demanded: bool = False) -> list[Cache]:
    """The caches of all pools, or of one. `NotFound` if that one has none, or if there is none and it is demanded."""
    if pool is not None:
        return [hold.keeping.cache_of(pool)]
    if demanded and not hold.keeping.any:
        raise NotFound(NO_CACHE[:1].lower() + NO_CACHE[1:].rstrip("."))
    return [of for _, of in hold.keeping.caches()]
