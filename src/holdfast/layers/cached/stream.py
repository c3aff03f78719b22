"""What a reader of a blob reads that is not whole in the cache: blocks of it as they come, or the pool itself.

`BlockStream` reads from the entry's file and fetches what is missing. Going on in order it reads ahead: when it enters
the next block, two blocks, then four, up to 16 MiB, half of that under way while the other half is read. Where the
cache cannot take them (no room, a full disk, a deleted folder) it goes on past it: `PastStream`.

Positions are those of the blob; reading ends at the stop of the range. For one thread at a time, as every reader.
"""

from __future__ import annotations

import io
import os
from collections import deque
from typing import BinaryIO, cast

from holdfast.blobs import BLOCK_BYTES, BlobStat, ByteRange, GetOptions, Reader
from holdfast.errors import NotFound, PreconditionFailed
from holdfast.layers.cached.fetching import Fetcher, Held, Part, cut_off
from holdfast.layers.cached.trouble import CacheTrouble, Gone, Replaced, Stuck
from holdfast.stores.base import Driver
from holdfast.stores.streams import Seekable

AHEAD_BLOCKS_MAX = 16
_WAS_THERE, _FETCHED = 1, 2  # a block that others fetched, one that this reader did
ATTEMPTS = 3  # against fetches that others gave up


class PastStream(Seekable):
    """Reads from the pool, one request for as long as it is read in order. `first`: a reader that is open already, and
    stands at its first byte."""

    def __init__(
        self, inner: Driver, stat: BlobStat, wanted: ByteRange | None, *, first: tuple[Reader, int, int] | None = None
    ) -> None:
        super().__init__(stat, *(wanted or ByteRange(0)).within(stat.size_bytes))
        self._inner = inner
        self._reader: Reader | None = None
        self._reader_at = self._reader_stop = 0
        if first is not None:
            self._reader, self._reader_at, self._reader_stop = first

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        super().close()

    def _some(self, target: memoryview) -> int:
        if self._reader is None or self._at != self._reader_at or self._at >= self._reader_stop:
            self._turn_to(self._at)
        assert self._reader is not None
        count = self._reader.readinto(target[: self._reader_stop - self._at])
        if count == 0:
            raise cut_off(self._inner.name, self.stat.key, self._reader_stop - self._at, 0)
        self._at += count
        self._reader_at = self._at
        return count

    def _turn_to(self, position: int) -> None:
        if self._reader is not None:
            self._reader.close()
        options = GetOptions(range=ByteRange(position, self._stop), version=self.stat.version)
        try:
            reader = self._inner.open(self.stat.key, options)
        except NotFound as error:
            raise replaced(self._inner.name, self.stat) from error
        if reader.stat.version != self.stat.version:
            reader.close()
            raise replaced(self._inner.name, self.stat)
        self._reader, self._reader_at, self._reader_stop = reader, position, self._stop


class BlockStream(Seekable):
    """Reads an entry that is not whole, and fetches what it needs. Closes `held`."""

    def __init__(self, fetcher: Fetcher, inner: Driver, held: Held, wanted: ByteRange | None, bits: bytearray) -> None:
        stat = held.entry.stat
        super().__init__(stat, *(wanted or ByteRange(0)).within(stat.size_bytes))
        self._fetcher, self._inner, self._held = fetcher, inner, held
        self._bits = bits
        self._process_id = os.getpid()
        self._in_order = -1  # the block that was read last
        self._ahead = 1
        self._asked_until = 0
        self._coming: deque[Part] = deque()
        self._past: PastStream | None = None
        self._past_until = 0  # blocks below are not tried again
        self._hits = self._misses = self._served_bytes = 0
        first = self._at // BLOCK_BYTES
        for block in range(first, min(first - (-held.came_bytes // BLOCK_BYTES), len(bits))):
            bits[block] = _FETCHED  # to open it

    def close(self) -> None:
        if not self.closed:
            if self._past is not None:
                self._past.close()
            tally = self._held.spot.tally
            tally.count(hits=self._hits, misses=self._misses, served_bytes=self._served_bytes)
            if os.getpid() == self._process_id:
                self._held.spot.write_notes()  # who asks what the cache does is told of long readers too
            self._held.close()
        super().close()

    def fileno(self) -> int:
        raise io.UnsupportedOperation("not all of this blob is in a file; open it with local=True to have it there")

    def _some(self, target: memoryview) -> int:
        block = self._at // BLOCK_BYTES
        if block != self._in_order:
            self._enter(block)
        if not self._bits[block] and (block < self._past_until or not self._bring(block)):
            return self._go_past(target)
        count = os.preadv(self._held.fd, [target[: BLOCK_BYTES - self._at % BLOCK_BYTES]], self._at)
        if count == 0:  # somebody cut the file off
            self._bits[block] = 0
            self._past_until = block + 1
            return self._go_past(target)
        self._in_order = block
        self._served_bytes += count
        self._at += count
        return count

    def _enter(self, block: int) -> None:
        """Another block than the one before: count it, and have what comes next fetched if reading goes on in order."""
        if self._bits[block] == _WAS_THERE:
            self._hits += 1
        else:
            self._misses += 1
        if block != self._in_order + 1 or self._in_order < 0:
            self._ahead, self._asked_until = 1, block + 1
            self._coming.clear()
            return
        if block < self._past_until or self._asked_until - block > self._ahead // 2:
            return
        self._ahead = min(self._ahead * 2, AHEAD_BLOCKS_MAX)
        last = -(-self._stop // BLOCK_BYTES)
        first, until = max(self._asked_until, block), min(block + self._ahead, last)
        self._asked_until = max(self._asked_until, until)
        if self._is_there(first, until) or os.getpid() != self._process_id:
            return
        self._refresh(first, until)
        while first < until and self._bits[first]:
            first += 1
        while first < until and self._bits[until - 1]:
            until -= 1
        if first < until:
            self._coming.extend(self._fetcher.begin(self._held, first, until))

    def _is_there(self, first: int, until: int) -> bool:
        return all(self._bits[first:until])

    def _refresh(self, first: int, until: int) -> None:
        """Learn what others have fetched meanwhile."""
        try:
            missing = self._held.spot.place.entries.missing(self._held.entry, first, until)
        except (CacheTrouble, Gone):
            return
        was = bytes(self._bits[first:until])
        self._bits[first:until] = bytes(one or _WAS_THERE for one in was)
        for begin, end in missing:
            self._bits[begin:end] = bytes(end - begin)

    def _bring(self, block: int) -> bool:
        """Whether the block is there now; False: it has to be read past the cache."""
        if os.getpid() != self._process_id:  # forked: what it takes to fetch belongs to the parent
            return False
        while self._coming and self._coming[0].stop <= block:
            self._coming.popleft()
        past_until = block + AHEAD_BLOCKS_MAX
        for _ in range(ATTEMPTS):
            first, until = block, block + 1
            try:
                if self._coming and self._coming[0].first <= block:
                    part = self._coming.popleft()
                    first, until = part.first, part.stop
                    part.future.result()
                else:
                    self._fetcher.bring(self._held, first, until)
            except Gone:
                continue
            except CacheTrouble as trouble:
                self._held.spot.troubled(trouble)
                if isinstance(trouble, Stuck):
                    past_until = len(self._bits)  # it is not waited for twice
                break
            except Replaced as error:
                raise replaced(self._inner.name, self.stat) from error
            self._bits[first:until] = bytes([_FETCHED]) * (until - first)
            return True
        self._past_until = past_until
        self._coming.clear()
        return False

    def _go_past(self, target: memoryview) -> int:
        """Read what the cache cannot take from the pool, up to the next block."""
        if self._past is None:
            self._past = PastStream(self._inner, self.stat, ByteRange(self._at, self._stop))
        self._past.seek(self._at)
        self._in_order = self._at // BLOCK_BYTES
        count = self._past.readinto(target[: BLOCK_BYTES - self._at % BLOCK_BYTES])
        self._at += count
        self._served_bytes += count
        return count


def replaced(pool: str, stat: BlobStat) -> PreconditionFailed:
    """Somebody replaced or deleted it while it was read."""
    return PreconditionFailed(
        f"{stat.key} in pool {pool} was replaced or deleted while it was read; open it again",
        store=pool, key=stat.key, operation="open",
    )  # fmt: skip


def reader_of(stream: Seekable) -> Reader:
    """The stream as a reader."""
    return Reader(cast("BinaryIO", stream), stream.stat)
