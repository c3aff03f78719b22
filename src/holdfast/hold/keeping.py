"""Copies that are kept near: pins, warming, and what the caches hold.

A pin keeps the inputs of a queued job in the cache of their pool beyond any process. It is a kindness of the cache,
not a promise of the hold: where a pool has no cache, or the cache cannot hold the blob, nothing is pinned, and whoever
opens the dataset gets it from its pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from holdfast.blobs import GetOptions
from holdfast.catalog.base import Dataset
from holdfast.errors import NotFound
from holdfast.hold.facts import Pool
from holdfast.hold.pools import PoolSet
from holdfast.keys import Key
from holdfast.stores.caching import Cache, CachedBlob


class Keeping:
    """The caches of one hold's pools."""

    def __init__(self, pools: PoolSet) -> None:
        self._pools = pools

    @property
    def any(self) -> bool:
        """Whether any pool has a cache."""
        return any(pool.cache is not None for pool in self._pools)

    def caches(self) -> Iterator[tuple[Pool, Cache]]:
        """Each pool that has a cache, with it."""
        for pool in self._pools:
            if pool.cache is not None:
                yield pool, pool.cache

    def cache_of(self, object_store_id: str) -> Cache:
        """The cache of one pool; `NotFound` if it has none."""
        cache = self._pools.configured(object_store_id).cache
        if cache is None:
            raise NotFound(f"pool {object_store_id} has no cache: only remote pools have one", store=object_store_id)
        return cache

    def pin(self, dataset: Dataset, holder: str) -> None:
        """Keep the dataset's primary blob in the cache, as soon as any of it is there, until `unpin`."""
        for cache, key, _ in self._copies(dataset):
            cache.pin(key, holder)

    def unpin(self, holder: str) -> None:
        """Let go of all that this holder pinned."""
        for _, cache in self.caches():
            cache.unpin(holder)

    def holders(self) -> set[str]:
        """Everybody who has pinned anything."""
        return {holder for _, cache in self.caches() for holder in cache.holders()}

    def warm(self, dataset: Dataset, on_progress: Callable[[int], None] | None = None) -> int:
        """Fetch what is missing of the dataset's primary blob; the bytes fetched. `NoSpace` if it cannot be held."""
        return sum(cache.warm(key, options, on_progress) for cache, key, options in self._copies(dataset))

    def drop(self, dataset: Dataset) -> int:
        """Forget what is held of the dataset's primary blob, unless it is in use; the bytes freed."""
        return sum(cache.drop(key) for cache, key, _ in self._copies(dataset))

    def look(self, dataset: Dataset) -> CachedBlob | None:
        """What is held of the dataset's primary blob, as it is now: an older version does not count."""
        for cache, key, options in self._copies(dataset):
            found = cache.look(key)
            if found is not None and options.version in (None, found.version):
                return found
        return None

    def _copies(self, dataset: Dataset) -> Iterator[tuple[Cache, Key, GetOptions]]:
        for replica in dataset.replicas:
            pool = self._pools.get(replica.object_store_id)
            if replica.state == "present" and pool is not None and pool.cache is not None:
                yield pool.cache, replica.key, GetOptions(version=replica.version, digest=dataset.checksum)
