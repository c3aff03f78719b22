"""What the cache of one pool holds, told and taken away: usage, pages, pins."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice

from holdfast.blobs import BLOCK_BYTES
from holdfast.keys import Key
from holdfast.layers.cached.entries import Entry, runs
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.trouble import CacheTrouble
from holdfast.stores.caching import CachedBlob, CacheUsage


class Contents:
    """Looks into the folders for one pool. Folders that cannot be used now are passed over."""

    def __init__(self, pool: str, here: Here) -> None:
        self._pool, self._here = pool, here

    def usage(self) -> Sequence[CacheUsage]:
        """Each folder that can be used now."""
        found = []
        for spot in self._here.usable():
            try:
                spot.write_notes(now=True)
                totals, counts = spot.place.ledger.totals(), spot.place.ledger.counts()
                found.append(
                    CacheUsage(
                        spot.place.path, spot.place.folder.bound_bytes, totals.held_bytes, spot.place.free_bytes(),
                        totals.entries, spot.place.ledger.pinned(), *counts,
                    )
                )  # fmt: skip
            except CacheTrouble as trouble:
                spot.troubled(trouble)
        return found

    def page(self, after: str, limit: int) -> Sequence[CachedBlob]:
        """What is held, in the order of the keys' bytes."""
        pages = []
        for spot in self._here.usable():
            try:
                entries = spot.place.entries.page(self._pool, after, limit)
                pages.append([(entry.key.encode(), spot, entry) for entry in entries])
            except CacheTrouble as trouble:
                spot.troubled(trouble)
        merged = heapq.merge(*pages, key=lambda one: one[0])
        return [self._blob(spot, entry) for _, spot, entry in islice(merged, limit)]

    def look(self, key: Key) -> CachedBlob | None:
        """What is held of one blob."""
        for spot in self._here.usable():
            try:
                entries = spot.place.entries.versions(self._pool, key)
                if entries:
                    return self._blob(spot, entries[0])
            except CacheTrouble as trouble:
                spot.troubled(trouble)
        return None

    def held_bytes(self, spot: Spot, key: Key) -> dict[str, int]:
        """Bytes held, by version."""
        return {entry.version: entry.held_bytes for entry in spot.place.entries.versions(self._pool, key)}

    def drop(self, key: Key) -> int:
        """Take away what nobody has open or pinned."""
        freed = 0
        for spot in self._here.usable():
            try:
                if not spot.place.ledger.pins(self._pool, key):
                    freed += spot.place.take_away(spot.place.entries.versions(self._pool, key)).freed_bytes
            except CacheTrouble as trouble:
                spot.troubled(trouble)
        return freed

    def pin(self, key: Key, holder: str) -> None:
        """In the folder where it would lie. A kindness: nothing is raised where the cache cannot be used."""
        try:
            self._here.spot(self._pool, key).place.ledger.pin(self._pool, key, holder)
        except CacheTrouble:
            return

    def unpin(self, holder: str) -> None:
        """In all folders."""
        for spot in self._here.usable():
            try:
                spot.place.ledger.unpin(self._pool, holder)
            except CacheTrouble as trouble:
                spot.troubled(trouble)

    def holders(self) -> Sequence[str]:
        """Everybody who has pinned anything."""
        found: set[str] = set()
        for spot in self._here.usable():
            try:
                found.update(spot.place.ledger.holders(self._pool))
            except CacheTrouble as trouble:
                spot.troubled(trouble)
        return sorted(found)

    def _blob(self, spot: Spot, entry: Entry) -> CachedBlob:
        place = spot.place
        bits = place.entries.bits(entry)
        parts = tuple(
            (first * BLOCK_BYTES, min(stop * BLOCK_BYTES, entry.size_bytes))
            for first, stop in runs(bits, 0, len(bits), 1)
        )
        return CachedBlob(
            entry.pool, Key(entry.key), entry.version, entry.size_bytes, entry.held_bytes, bool(entry.whole),
            bool(entry.verified), entry.used_us, entry.uses, parts, place.ledger.pins(self._pool, entry.key),
            place.blobs.in_use(entry.file),
        )  # fmt: skip
