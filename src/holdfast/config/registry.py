"""Which classes are behind which type of pool: the explicit table, and the only place that names drivers and layers.

A local pool is its driver. A remote one is

    cached( tripped( retried( limited( cloud ) ) ) )

Nothing is imported before a pool of its type is made, and making one touches no medium.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.config.document import REMOTE_TYPES, PoolConfig
from holdfast.hold.facts import Pool, PoolFacts
from holdfast.stores.base import Driver

CACHE_SHARE = 5  # a cache of which nobody said how large it may be takes this part of its disk: a fifth


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pool has to know of the others. `apart` are folders that hold no datasets (working directories, other
    pools); `cache_bounds` the bound of each cache folder, the largest that any of its pools asks for."""

    apart: tuple[str, ...]
    cache_default: Path
    cache_bounds: Mapping[str, int]


def surroundings(pools: Sequence[PoolConfig], state_dir: Path) -> Surroundings:
    """What these pools have to know of each other."""
    apart = tuple(folder for pool in pools for folder in pool.extra_dirs.values())
    apart += tuple(pool.files_dir for pool in pools if pool.files_dir is not None)
    default = state_dir / "cache"
    bounds: dict[str, int] = {}
    for pool in pools:
        if pool.type in REMOTE_TYPES:
            for folder in _cache_folders(pool, default):
                bound = folder["size_bytes"]
                bounds[folder["path"]] = max(bound, bounds.get(folder["path"], 0))
    return Surroundings(apart, default, bounds)


def make_pool(facts: PoolFacts, pool: PoolConfig, around: Surroundings) -> Pool:
    """The pool with its driver, without touching its medium; without one where there is none for its type yet."""
    if not pool.driver_ready:
        return Pool(facts, None)
    return _CONSTRUCTORS[pool.type](facts, pool, around)


def _disk(facts: PoolFacts, pool: PoolConfig, around: Surroundings) -> Pool:
    from holdfast.drivers.disk import DiskDriver

    assert pool.files_dir is not None, "a disk pool without a folder does not get through the reader"
    root = os.path.abspath(pool.files_dir)
    inside = frozenset(
        os.path.relpath(folder, root) for folder in around.apart if os.path.abspath(folder).startswith(root + os.sep)
    )
    return Pool(facts, DiskDriver(pool.object_store_id, root, apart=inside, durable=pool.durability == "full"))


def _cloud(facts: PoolFacts, pool: PoolConfig, around: Surroundings) -> Pool:
    from holdfast.config.clouds import cloud_settings
    from holdfast.drivers.cloud import CloudDriver
    from holdfast.layers.cached import CachedDriver, CacheFolder
    from holdfast.layers.limited import LimitedDriver
    from holdfast.layers.retried import RetriedDriver
    from holdfast.layers.tripped import TrippedDriver

    limits, retry, cache = (_block(pool, name) for name in ("limits", "retry", "cache"))
    driver: Driver = CloudDriver(pool.object_store_id, cloud_settings(pool))
    if limits:
        driver = LimitedDriver(
            driver,
            requests_per_s=limits.get("requests_per_second"),
            bytes_per_s=limits.get("bytes_per_second"),
            concurrency=limits.get("requests_at_once"),
        )
    driver = RetriedDriver(driver, **{name: retry[name] for name in ("attempts", "deadline_s") if name in retry})
    guard = TrippedDriver(driver)
    folders = [
        CacheFolder(Path(folder["path"]), folder["weight"], around.cache_bounds[folder["path"]])
        for folder in _cache_folders(pool, around.cache_default)
    ]
    cached = CachedDriver(guard, folders, keep_written=bool(cache.get("keep_written", True)))
    return Pool(facts, cached, cache=cached, guard=guard)


def _cache_folders(pool: PoolConfig, default: Path) -> list[dict[str, Any]]:
    """path, weight and size_bytes of each folder of a pool's cache."""
    cache = _block(pool, "cache")
    folders = [dict(folder) for folder in cache.get("dirs") or ()] or [{"path": cache.get("path") or str(default)}]
    return [
        {
            "path": folder["path"],
            "weight": folder.get("weight", 1),
            "size_bytes": folder.get("size_bytes") or cache.get("size_bytes") or _share_of_disk(folder["path"]),
        }
        for folder in folders
    ]


def _share_of_disk(path: str) -> int:
    place = Path(path).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize // CACHE_SHARE


def _block(pool: PoolConfig, name: str) -> Mapping[str, Any]:
    found = pool.options.get(name)
    return found if isinstance(found, Mapping) else {}


_CONSTRUCTORS: Mapping[str, Callable[[PoolFacts, PoolConfig, Surroundings], Pool]] = {
    "disk": _disk,
    **dict.fromkeys(REMOTE_TYPES, _cloud),
}
