"""Whole blobs: fetched in parallel ranges, hashed in order while they come, and compared with what the catalog knows.

One at a time makes an entry whole, on the whole machine; others wait and find it done. Bytes that are not those
announced are fetched once more, then it is `Corrupt`, and nothing of them is kept. An entry that became whole block by
block is hashed in the background if its digest is known, at the latest before it is given out as a local file; likewise
one from before the machine's last start, whose bytes may have changed on the disk meanwhile.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES
from holdfast.keys import Key
from holdfast.layers.cached.entries import Entry, bytes_of
from holdfast.layers.cached.fetching import Fetcher, Held, Part, give_back
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.locks import WHOLE, alone_in
from holdfast.layers.cached.trouble import CacheTrouble, Gone, Mismatch, on_disk

PARTS_AT_ONCE = 6
HASHED_BYTES_S = 50_000_000  # slower than any disk that a cache should be on
PART_BLOCKS = 8  # fewer requests than when reading ahead: nobody waits for the first of them

_LOG = logging.getLogger(__name__)


class Whole:
    """Makes entries whole, and checks them."""

    def __init__(self, here: Here, fetcher: Fetcher) -> None:
        self._here, self._fetcher = here, fetcher

    def make(self, held: Held, on_progress: Callable[[int], None] | None = None) -> Entry:
        """The entry, whole and with the digest of its bytes; `NoRoom`, `Gone`, the pool's errors; `Mismatch` if
        `held.expected` says other bytes: then the entry is forgotten."""
        spot, entry = held.spot, self._now(held)
        if on_progress is not None and held.came_bytes:
            on_progress(held.came_bytes)
        if not self._is_checked(spot, entry):
            with on_disk():
                fd = os.open(spot.place.blobs.path_of(entry.file), os.O_RDWR | os.O_CLOEXEC)
            try:
                with alone_in(fd, WHOLE, 1, spot.place.clock, entry.size_bytes / HASHED_BYTES_S):
                    entry = self._now(held)
                    if not self._is_checked(spot, entry):
                        digest = self._complete(held, entry, on_progress)
                        spot.place.entries.hashed(entry, digest, spot.place.boot, verified=digest == held.expected)
                        entry = self._now(held)
            finally:
                os.close(fd)
        if held.expected is not None and entry.digest != held.expected:
            self.refuse(held, entry, held.expected)
        if held.expected is not None and not entry.verified and entry.digest is not None:
            spot.place.entries.hashed(entry, entry.digest, spot.place.boot, verified=True)
            entry = self._now(held)
        return entry

    def refuse(self, held: Held, entry: Entry, expected: str) -> NoReturn:
        """These are not the bytes: let go of them, forget them, and say so by `Mismatch`."""
        spot = held.spot
        _LOG.warning(
            "cache folder %s: %s of pool %s is damaged (%s expected, %s found); it is forgotten",
            spot.place.path, entry.key, entry.pool, expected, entry.digest,
        )  # fmt: skip
        spot.tally.count(damaged=1)
        held.close()
        spot.place.bury([entry])
        raise Mismatch(Key(entry.key), expected, entry.digest or "")

    def check_later(self, spot: Spot, entry: Entry, expected: str | None) -> None:
        """Hash what became whole block by block, or lies there since before the machine's start, in the background."""
        if expected is None and entry.digest is None:
            return
        self._here.tend(spot, f"check {entry.file}", lambda: self._check(spot, entry, expected or entry.digest or ""))

    def _check(self, spot: Spot, entry: Entry, expected: str) -> None:
        try:
            held = Held(spot, entry, spot.place.blobs.open(entry.file), expected)
        except Gone:
            return
        try:
            self.make(held)
        except (Gone, Mismatch):
            return
        finally:
            held.close()

    # -- inside -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _now(held: Held) -> Entry:
        entry = held.spot.place.entries.again(held.entry)
        if entry is None:
            raise Gone
        return entry

    @staticmethod
    def _is_checked(spot: Spot, entry: Entry) -> bool:
        return entry.whole and entry.digest is not None and entry.boot == spot.place.boot

    def _complete(self, held: Held, entry: Entry, on_progress: Callable[[int], None] | None) -> str:
        """Fetch what is missing, and hash all of it in order: the digest."""
        spot = held.spot
        missing = [] if entry.whole else spot.place.entries.missing(entry, 0, max(entry.blocks, 1))
        lacking_bytes = sum(bytes_of(entry.size_bytes, first, stop) for first, stop in missing)
        ticket = self._here.reserve(spot, entry.file, lacking_bytes) if lacking_bytes else None
        held.came_bytes += lacking_bytes
        wanted = Held(spot, entry, held.fd, None)  # hashed here: not again in the background
        wanted.ticket = ticket
        digest = blake3()
        buffer = memoryview(bytearray(BLOCK_BYTES))
        coming: deque[Part] = deque()
        runs = deque(missing if self._fetcher.by_parts or not missing else [(missing[0][0], missing[-1][1])])
        at, came_bytes = 0, held.came_bytes - lacking_bytes
        try:
            while at < entry.blocks:
                self._ask(wanted, runs, coming)
                stop = coming[0].first if coming else entry.blocks
                if stop == at:
                    part = coming.popleft()
                    part.future.result()
                    stop = part.stop
                    came_bytes += bytes_of(entry.size_bytes, part.first, part.stop)
                    if on_progress is not None:
                        on_progress(came_bytes)
                _hash(digest, held.fd, at * BLOCK_BYTES, min(stop * BLOCK_BYTES, entry.size_bytes), buffer)
                at = stop
        finally:
            for part in coming:
                part.future.exception()  # nobody writes to the file any more
            if ticket is not None:
                give_back(spot, ticket)
        return f"blake3:{digest.hexdigest()}"

    def _ask(self, wanted: Held, runs: deque[tuple[int, int]], coming: deque[Part]) -> None:
        """Keep so many parts on their way."""
        while runs and len(coming) < PARTS_AT_ONCE:
            first, stop = runs.popleft()
            if stop - first > PART_BLOCKS and self._fetcher.by_parts:
                middle = (first // PART_BLOCKS + 1) * PART_BLOCKS
                runs.appendleft((middle, stop))
                stop = middle
            coming.extend(self._fetcher.begin(wanted, first, stop, PART_BLOCKS))


def _hash(digest: blake3, fd: int, at: int, stop: int, buffer: memoryview) -> None:
    """Add these bytes of the file."""
    while at < stop:
        with on_disk():
            count = os.preadv(fd, [buffer[: stop - at]], at)
        if count == 0:
            raise CacheTrouble("a file of the cache is shorter than it was")
        digest.update(buffer[:count])
        at += count
