"""Remote pools on the pages: how they answer, what their caches hold, and which parts of a dataset are near.

Nothing here asks a pool: health is what this process knows, a cache is a folder of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdfast.catalog.base import Dataset
from holdfast.hold.facts import PoolInfo
from holdfast.hold.hold import Hold
from holdfast.server.pages import words
from holdfast.stores.caching import CachedBlob, CacheUsage, Health

GAP_PERCENT = 0.25  # ranges that are nearer to each other are drawn as one: a bar has at most 400 pieces
NARROWEST_PERCENT = 0.35  # what is there at all can be seen
RANGES_SAID = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a bar, in percent of its width."""

    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Folder:
    """A cache folder: a bar, and the same in words. `pieces` is empty where nothing but the disk bounds it."""

    path: str
    pieces: tuple[Piece, ...]
    held: str
    hits: str
    shared_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """What a cache has of one dataset."""

    title: str
    detail: str
    pieces: tuple[Piece, ...]
    summary: str
    used_us: int | None = None
    uses: int = 0
    in_use: bool = False
    pins: tuple[str, ...] = ()


def health_detail(health: Health) -> str:
    """What stands beside the word `ok`, `failing` or `paused`."""
    if health.state == "ok":
        return ""
    failures = words.counted(health.failures, "failure") + (" in a row" if health.failures > 1 else "")
    again = "" if health.retry_in_s is None else f"asked again in {max(1, round(health.retry_in_s))}{words.NBSP}s; "
    return f"{again}{failures}, the last: {health.error}"


def folders_of(info: PoolInfo, infos: Sequence[PoolInfo]) -> tuple[Folder, ...] | None:
    """The cache folders of one pool among all; None where it has no cache, empty where none can be used now."""
    if info.cache is None:
        return None
    return tuple(_folder(usage, _others(info, usage, infos)) for usage in info.cache)


def _others(info: PoolInfo, usage: CacheUsage, infos: Sequence[PoolInfo]) -> tuple[str, ...]:
    return tuple(
        one.object_store_id
        for one in infos
        if one.object_store_id != info.object_store_id and any(two.folder == usage.folder for two in one.cache or ())
    )


def _folder(usage: CacheUsage, shared_with: tuple[str, ...]) -> Folder:
    held, bound = usage.held_bytes, usage.bound_bytes
    pieces = () if not bound else (Piece(0, _width(100 * held / bound)),)
    of_bound = f"of {words.size_words(bound)}" if bound else f"; {words.size_words(usage.free_bytes)} free on the disk"
    ratio = usage.hit_ratio
    return Folder(
        usage.folder,
        pieces,
        f"{words.size_words(held)} {of_bound}",
        "nothing was read yet" if ratio is None else f"{words.percent_words(100 * ratio)} of reads found it there",
        shared_with,
    )


def near_of(hold: Hold, dataset: Dataset) -> Near | None:
    """What is cached of the dataset; None where it lies in no pool that has a cache."""
    pools = [hold.poolset.get(one.object_store_id) for one in dataset.replicas if one.state == "present"]
    if not any(pool is not None and pool.cache is not None for pool in pools):
        return None
    held = hold.keeping.look(dataset)
    if held is None:
        return Near("Nothing of it", "What is read is fetched, and kept near for the next reader.", (), "")
    return Near(
        *_title(held), pieces_of(held.parts, held.size_bytes), _summary(held),
        held.used_us, held.uses, held.in_use, held.pins,
    )  # fmt: skip


def _title(held: CachedBlob) -> tuple[str, str]:
    if held.verified:
        return "All of it, verified", "Its bytes agree with the checksum. It is read without asking the pool."
    if held.whole:
        return "All of it, not verified yet", "It is compared with the checksum before a job gets it as a file."
    percent = words.percent_words(100 * held.held_bytes / held.size_bytes if held.size_bytes else 0)
    ranges = words.counted(len(held.parts), "range")
    amount = f"{words.size_words(held.held_bytes)} of {words.size_words(held.size_bytes)}, in {ranges}"
    return f"{percent} of it", f"{amount}. The rest is fetched when it is read."


def _summary(held: CachedBlob) -> str:
    """The bar in words."""
    if held.whole:
        return "all of it is cached"
    said = [f"{words.size_words(start)} to {words.size_words(stop)}" for start, stop in held.parts[:RANGES_SAID]]
    more = len(held.parts) - len(said)
    return "cached: " + ", ".join(said) + (f" and {more:,} more" if more else "")


def pieces_of(parts: Iterable[tuple[int, int]], size_bytes: int) -> tuple[Piece, ...]:
    """Byte ranges in order, as pieces of a bar; those that would touch are one."""
    if size_bytes <= 0:
        return ()
    joined: list[tuple[float, float]] = []
    for start, stop in parts:
        first, last = 100 * start / size_bytes, 100 * stop / size_bytes
        if joined and first - joined[-1][1] < GAP_PERCENT:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return tuple(Piece(round(min(first, 100 - NARROWEST_PERCENT), 2), _width(last - first)) for first, last in joined)


def _width(percent: float) -> float:
    return 0 if percent <= 0 else round(min(100, max(NARROWEST_PERCENT, percent)), 2)
