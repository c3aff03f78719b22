"""What one process has of a cache: its folders, its threads, what is on its way. Made at first use, anew after a
fork."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from holdfast.layers.cached.entries import Entry, NewEntry, bytes_of
from holdfast.layers.cached.folder import CacheFolder
from holdfast.layers.cached.ledger import Ticket
from holdfast.layers.cached.place import Place
from holdfast.layers.cached.room import Room
from holdfast.layers.cached.tally import Tally
from holdfast.layers.cached.trouble import CacheTrouble, NoRoom, Stuck, on_disk
from holdfast.seams import Clock, Entropy, Files

FETCHERS_MAX = 16
SYNC_EVERY_S = 30.0
SYNC_MAX = 1000  # entries in one go
SYNC_TOGETHER_MIN = 8  # from so many files on, one syncfs is cheaper than an fsync each
_LOG = logging.getLogger(__name__)


class Spot:
    """One folder with its books."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self.place = place
        self.tally = Tally(clock)
        self.room = Room(place, self.tally)
        self._clock = clock
        self._synced_s = clock.monotonic_s()

    def troubled(self, trouble: CacheTrouble) -> None:
        """It could not be used. Where there is only no room, or one blob is stuck, it can be for others."""
        if not isinstance(trouble, NoRoom | Stuck):
            self.place.rest(trouble)

    def is_sync_due(self) -> bool:
        """Whether it is time to sync what is whole. True once, then not for a while."""
        now_s = self._clock.monotonic_s()
        if now_s - self._synced_s < SYNC_EVERY_S:
            return False
        self._synced_s = now_s
        return True

    def sync(self) -> None:
        """Make what is whole survive a power cut. What is not whole need not: it is fetched again."""
        place = self.place
        entries = place.entries.unsynced(SYNC_MAX)
        together = len(entries) >= SYNC_TOGETHER_MIN
        with on_disk():
            if together:
                self._sync_one(place.path, everything=True)
            for entry in entries:
                if not together:
                    with contextlib.suppress(FileNotFoundError):
                        self._sync_one(place.blobs.path_of(entry.file), everything=False)
        if entries:
            place.entries.synced(entries)

    def _sync_one(self, path: str, *, everything: bool) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            (self.place.files.sync_all if everything else self.place.files.sync)(fd)
        finally:
            os.close(fd)

    def write_notes(self, *, now: bool = False) -> None:
        """Write what was counted, if it is time or asked for. Never raises: uses are a kindness."""
        if not now and not self.tally.is_due():
            return
        with contextlib.suppress(CacheTrouble):
            self.tally.write(self.place.entries, self.place.ledger)


class Here:
    """One process's part of a cache. Safe from many threads."""

    def __init__(
        self, folders: Sequence[CacheFolder], *, files: Files, clock: Clock, entropy: Entropy
    ) -> None:
        self.process_id = os.getpid()
        self._now_us = clock.now_us
        self.spots = tuple(
            Spot(Place(folder, files=files, clock=clock, entropy=entropy), clock) for folder in folders
        )
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self.closed = False
        self._tending: set[str] = set()
        self.coming: dict[tuple[str, int], Future[None]] = {}  # (file, block), of this process
        self.coming_lock = threading.Lock()

    def spot(self, pool: str, key: str) -> Spot:
        """The folder for this key, ready to be used. `CacheTrouble` if none can be."""
        trouble: CacheTrouble | None = None
        for spot in self._in_order(pool, key):
            try:
                spot.place.ready()
            except CacheTrouble as error:
                trouble = trouble or error
                continue
            if spot.place.needs_sweep:
                self.tend(spot, "sweep", spot.place.sweep)
            return spot
        raise trouble or CacheTrouble("there is no cache folder")

    def usable(self) -> Iterator[Spot]:
        """All folders that can be used now."""
        for spot in self.spots:
            try:
                spot.place.ready()
            except CacheTrouble:
                continue
            yield spot

    def look_after(self, spot: Spot) -> None:
        """What is done now and then, at the occasion of something else."""
        spot.write_notes()
        if spot.is_sync_due():
            self.tend(spot, "sync", spot.sync)

    def reserve(self, spot: Spot, file: str, size_bytes: int) -> Ticket:
        """Room for these bytes; `NoRoom`. Evicts ahead of time where the folder is nearly full."""
        ticket = spot.room.reserve(file, size_bytes)
        self._evict_ahead(spot, ticket.full_bytes)
        return ticket

    def claim(self, spot: Spot, file: str, size_bytes: int) -> Ticket | None:
        """Room for a few MiB that are recorded as soon as they are written; None where there is plenty, and recording
        them is early enough. `NoRoom`."""
        return None if spot.room.is_ample(size_bytes) else self.reserve(spot, file, size_bytes)

    def add(self, spot: Spot, pool: str, new: NewEntry, blocks: tuple[int, int]) -> Entry | None:
        """A new entry whose first blocks are in its file; None if there is one already, `NoRoom` if they find none."""
        place = spot.place
        limits = spot.room.limits() if new.ticket is None else None
        try:
            added = place.entries.add(pool, new, blocks, limits, boot=place.boot, now_us=self._now_us())
        except NoRoom:
            spot.room.make(bytes_of(new.stat.size_bytes, *blocks))
            limits = spot.room.limits()
            added = place.entries.add(pool, new, blocks, limits, boot=place.boot, now_us=self._now_us())
        self._evict_ahead(spot, added.full_bytes)
        return added.entry

    def _evict_ahead(self, spot: Spot, full_bytes: int) -> None:
        if spot.room.is_above_high_water(full_bytes):
            self.tend(spot, "evict", spot.room.evict)

    def submit(self, act: Callable[[], None]) -> Future[None]:
        """Do it in another thread, soon."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(FETCHERS_MAX, thread_name_prefix="holdfast-cache")
            return self._threads.submit(act)

    def tend(self, spot: Spot, what: str, act: Callable[[], object]) -> None:
        """Do it in another thread, unless just this is being done there. Its failure is a line in the log."""
        name = f"{what} {spot.place.path}"
        with self._lock:
            if name in self._tending:
                return
            self._tending.add(name)

        def do() -> None:
            try:
                act()
            except NoRoom:
                return
            except CacheTrouble as trouble:
                spot.place.rest(trouble)
            except Exception:  # noqa: BLE001 - nobody waits for it; the log says what happened
                _LOG.exception("cache folder %s: %s failed", spot.place.path, what)
            finally:
                with self._lock:
                    self._tending.discard(name)

        self.submit(do)

    def close(self) -> None:
        """Write the notes, stop the threads, close the indexes. What is being fetched comes to its end, what waits
        to be is given up. Readers that are open go on with what they have, and past the cache for the rest."""
        self.closed = True
        with self._lock:
            threads = self._threads
        if threads is not None:
            threads.shutdown(wait=True)
        for spot in self.spots:
            if spot.place.is_open():
                spot.write_notes(now=True)
            spot.place.close()

    def abandon(self) -> object:
        """In a forked child: what of the parent's must be kept, and neither used nor closed."""
        return [spot.place.abandon() for spot in self.spots]

    def _in_order(self, pool: str, key: str) -> Sequence[Spot]:
        if len(self.spots) == 1:
            return self.spots
        return sorted(self.spots, key=lambda spot: _score(spot.place.folder, pool, key), reverse=True)


def _score(folder: CacheFolder, pool: str, key: str) -> float:
    """Rendezvous: each folder draws a number for each key, and the highest wins; so a folder that comes or goes moves
    only its own share. Weighted as -weight / ln(u)."""
    drawn = hashlib.blake2b(f"{folder.path}\0{pool}\0{key}".encode(), digest_size=8).digest()
    part = (int.from_bytes(drawn, "big") + 1) / (2**64 + 2)
    return -folder.weight / math.log(part)
