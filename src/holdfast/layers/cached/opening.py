"""Opening a blob through the cache: which entry serves it, and if none does, one request that begins one.

What the caller knows (`GetOptions.version`, `digest`) decides; who knows neither pays one `stat`. An entry of another
version is never served, unless its bytes are known to be the wanted ones.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.blobs import BLOCK_BYTES, ByteRange, GetOptions, Reader
from holdfast.errors import NoSpace, NotFound, Unavailable
from holdfast.keys import Key
from holdfast.layers.cached.beginning import Beginning, first_of
from holdfast.layers.cached.entries import Entry, bytes_of
from holdfast.layers.cached.fetching import Fetcher, Held
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.stream import BlockStream, reader_of
from holdfast.layers.cached.trouble import CacheTrouble, Gone, Mismatch, NoRoom, Replaced
from holdfast.layers.cached.whole import Whole
from holdfast.stores.base import Driver
from holdfast.stores.streams import FileRange

ATTEMPTS = 8  # against entries that go between two looks
FIRST_BLOCKS_MAX = 4  # of a range whose end is known
FIRST_LOCAL_BLOCKS = 4

_LOG = logging.getLogger(__name__)


class Opening:
    """Opens the blobs of one pool, in one process."""

    def __init__(self, inner: Driver, here: Here) -> None:
        self._inner, self._here = inner, here
        self.fetcher = Fetcher(inner, here, self._became_whole)
        self._beginning = Beginning(inner, here)
        self.whole = Whole(here, self.fetcher)

    def open(self, key: Key, options: GetOptions) -> Reader:
        """The blob as a stream: from the cache, through it, or past it."""
        try:
            spot = self._here.spot(self._inner.name, key)
        except CacheTrouble as trouble:
            return self._past(key, options, trouble)
        try:
            if options.fresh:
                self.forget(spot, key)
            return self._open(spot, key, options)
        except CacheTrouble as trouble:
            spot.troubled(trouble)
            return self._past(key, options, trouble)
        finally:
            self._here.look_after(spot)

    def make_whole(
        self, spot: Spot, key: Key, options: GetOptions, on_progress: Callable[[int], None] | None = None
    ) -> Held:
        """The blob, whole and compared with what is known of it, with a lease. `CacheTrouble`, the pool's errors."""
        options = replace(options, local=True, range=None)
        mismatches = 0
        for attempt in range(ATTEMPTS):
            if attempt:
                spot.place.ready()
            try:
                held = self._held(spot, key, options, FIRST_LOCAL_BLOCKS)
                if held is None:
                    continue
                if isinstance(held, Reader):
                    held.close()
                    raise NoRoom(f"there is no room for its {held.stat.size_bytes} bytes")
                return self._complete(held, on_progress)
            except Gone:
                continue
            except Mismatch as error:
                mismatches += 1
                if mismatches == 2:
                    raise error.corrupt(self._inner.name) from None
        raise Unavailable(
            f"{key} in pool {self._inner.name} keeps changing", store=self._inner.name, key=key, operation="open"
        )

    def _complete(self, held: Held, on_progress: Callable[[int], None] | None) -> Held:
        try:
            held.entry = self.whole.make(held, on_progress)
        except BaseException as error:
            held.close()
            if isinstance(error, Replaced):
                held.spot.place.bury([held.entry])
                raise Gone from error
            raise
        return held

    def forget(self, spot: Spot, key: Key, *, but: str | None = None) -> int:
        """Forget what is held of a blob, except one version of it; the bytes freed."""
        entries = [one for one in spot.place.entries.versions(self._inner.name, key) if one.version != but]
        return spot.place.bury(entries) if entries else 0

    # -- inside -----------------------------------------------------------------------------------------------------

    def _open(self, spot: Spot, key: Key, options: GetOptions) -> Reader:
        if options.local:
            held = self.make_whole(spot, key, options)
            return self._reader(held, options)
        mismatches = 0
        for attempt in range(ATTEMPTS):
            if attempt:
                spot.place.ready()
            try:
                found = self._held(spot, key, options, _first_blocks(options))
                if isinstance(found, Reader):
                    return found
                if found is not None:
                    return self._reader(found, options)
            except Gone:
                continue
            except Mismatch as error:
                mismatches += 1
                if mismatches == 2:
                    raise error.corrupt(self._inner.name) from None
        return self._inner.open(key, options)  # it changes too often to be kept

    def _held(self, spot: Spot, key: Key, options: GetOptions, first_blocks: int) -> Held | Reader | None:
        """The entry for it with a lease, its first blocks there; a reader that goes past the cache; None: look
        again."""
        entries = spot.place.entries.versions(self._inner.name, key)
        entry = self._choose(spot, key, entries, options)
        if entry is None:
            return self._beginning.begin(spot, key, options, first_blocks, entries)
        expected = options.digest if options.version in (None, entry.version) else None
        try:
            held = Held(spot, entry, spot.place.blobs.open(entry.file), expected)
        except Gone:
            if spot.place.entries.again(entry) is not None:
                self._damaged(spot, entry, "its file is gone")
            return None
        except OSError as error:
            raise CacheTrouble(f"{error.strerror}") from error
        try:
            if self._is_sound(held) and self._has_first(held, options, first_blocks):
                return held
        except BaseException:
            held.close()
            raise
        held.close()
        return None

    def _choose(self, spot: Spot, key: Key, entries: Sequence[Entry], options: GetOptions) -> Entry | None:
        if options.digest is not None:
            for entry in entries:
                if entry.whole and entry.digest == options.digest:
                    return entry
        version = options.version
        if version is None and entries:
            try:
                version = self._inner.stat(key).version
            except NotFound as error:
                spot.place.bury(list(entries))
                raise NotFound(str(error), store=self._inner.name, key=key, operation="open") from error
        return next((entry for entry in entries if entry.version == version), None)

    def _is_sound(self, held: Held) -> bool:
        """Whether the file of a whole entry is as it was when it became whole."""
        entry = held.entry
        if not entry.whole:
            return True
        found = os.fstat(held.fd)
        if (found.st_size, found.st_mtime_ns) != (entry.size_bytes, entry.mtime_ns):
            held.close()
            self._damaged(held.spot, entry, "its file was changed by somebody else")
            return False
        if held.expected is not None and entry.digest is not None and entry.digest != held.expected:
            self.whole.refuse(held, entry, held.expected)
        return True

    def _damaged(self, spot: Spot, entry: Entry, why: str) -> None:
        _LOG.warning("cache folder %s: %s of pool %s is damaged: %s", spot.place.path, entry.key, entry.pool, why)
        spot.tally.count(damaged=1)
        spot.place.bury([entry])

    def _has_first(self, held: Held, options: GetOptions, first_blocks: int) -> bool:
        """Fetch the first of what is wanted, so that the pool's errors come out of `open`. False: look again."""
        entry = held.entry
        if entry.whole or options.local:
            return True
        first, stop = first_of(options.range, first_blocks)
        stop = min(stop, entry.blocks)
        try:
            missing = held.spot.place.entries.missing(entry, first, stop) if first < stop else []
            if missing:
                self.fetcher.bring(held, missing[0][0], missing[-1][1])
                held.came_bytes = sum(bytes_of(entry.size_bytes, *run) for run in missing)
        except Replaced:
            held.spot.place.bury([entry])
            return False
        except Gone:
            return False
        return True

    def _reader(self, held: Held, options: GetOptions) -> Reader:
        spot, entry = held.spot, held.entry
        if not entry.whole:
            bits = spot.place.entries.bits(entry)
            spot.tally.use(entry, 0, 0)
            stream = BlockStream(self.fetcher, self._inner, held, options.range, bits)
            return reader_of(stream)
        if entry.boot != spot.place.boot or (entry.digest is None and held.expected is not None):
            self.whole.check_later(spot, entry, held.expected)
        start, stop = (options.range or ByteRange(0)).within(entry.size_bytes)
        misses = -(-held.came_bytes // BLOCK_BYTES)
        spot.tally.use(entry, max(0, -(-(stop - start) // BLOCK_BYTES) - misses), stop - start)
        if misses:
            spot.tally.count(misses=misses)
        is_checked = entry.digest is not None and (held.expected is None or entry.digest == held.expected)
        path = Path(spot.place.blobs.path_of(entry.file)) if is_checked else None
        file = io.FileIO(held.fd, "r") if options.range is None else FileRange(held.fd, start, stop)
        file.seek(start)
        return Reader(file, entry.stat, local_path=path)

    def _past(self, key: Key, options: GetOptions, trouble: CacheTrouble) -> Reader:
        if options.local and not self._inner.capabilities.local_paths:
            cls = NoSpace if isinstance(trouble, NoRoom) else Unavailable
            raise cls(
                f"{key} of pool {self._inner.name} cannot be had as a local file: {trouble}; give the cache more room",
                store=self._inner.name, key=key, operation="open",
            ) from trouble  # fmt: skip
        return self._inner.open(key, options)

    def _became_whole(self, spot: Spot, entry: Entry, expected: str | None) -> None:
        if expected is not None:
            self.whole.check_later(spot, entry, expected)


def _first_blocks(options: GetOptions) -> int:
    """How many blocks the first request may bring: of what ends somewhere, more than of what may go on."""
    return 1 if options.range is None or options.range.stop is None else FIRST_BLOCKS_MAX
