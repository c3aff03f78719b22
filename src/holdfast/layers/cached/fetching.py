"""Fetching blocks of an entry from the pool, each once, whoever wants them.

Within a process, what is on its way is known by (file, block), and who wants it waits for that. Between processes, who
fetches holds a lock on these bytes of the entry's file, and who wants them waits for the lock and then finds them. A
block is recorded after it came whole; a kill before that leaves it to be fetched again.

Where the server answers a part with the whole (`Capabilities.ranges`), all that is missing comes in one stream: part by
part would move the blob once for each part.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from holdfast.blobs import BLOCK_BYTES, ByteRange, GetOptions, Reader
from holdfast.errors import NotFound, PreconditionFailed, StoreError, Unavailable
from holdfast.keys import Key
from holdfast.layers.cached.entries import Entry, bytes_of
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.ledger import Ticket
from holdfast.layers.cached.locks import alone_in
from holdfast.layers.cached.trouble import CacheTrouble, Gone, Replaced, on_disk
from holdfast.seams import Files
from holdfast.stores.base import Driver
from holdfast.stores.streams import piece_of

PART_BLOCKS = 4  # one request when reading ahead


class Held:
    """An entry that is open: its file has a lease. Close it, or give `fd` to a stream that does."""

    __slots__ = ("came_bytes", "entry", "expected", "fd", "spot", "ticket")

    def __init__(self, spot: Spot, entry: Entry, fd: int, expected: str | None = None) -> None:
        self.spot, self.entry, self.fd = spot, entry, fd
        self.expected = expected  # the digest that the blob should have, if the caller knows
        self.came_bytes = 0  # fetched by opening it, from the first block that is wanted on
        self.ticket: Ticket | None = None  # room for all that is missing, where it was reserved at once

    def close(self) -> None:
        """End the lease. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Wanted(NamedTuple):
    """What a fetch has to know; it may go on when the reader is closed."""

    spot: Spot
    entry: Entry
    expected: str | None
    ticket: Ticket | None


class Part(NamedTuple):
    """Some blocks that are on their way; `mine`: whoever asked is to see to it that they come."""

    first: int
    stop: int
    future: Future[None]
    mine: bool


class Fetcher:
    """Fetches for one pool. `on_whole` is told of an entry whose last block came."""

    def __init__(self, inner: Driver, here: Here, on_whole: Callable[[Spot, Entry, str | None], None]) -> None:
        self._inner, self._here, self._on_whole = inner, here, on_whole

    @property
    def by_parts(self) -> bool:
        """Whether a part of a blob costs a part."""
        return self._inner.capabilities.ranges

    def bring(self, held: Held, first: int, stop: int) -> None:
        """All these blocks are there afterwards. The pool's errors; `CacheTrouble`, `Gone`, `Replaced`."""
        if not self.by_parts:
            parts = self._in_one_stream(held, first, stop)
        else:
            parts = self._claim(held, first, stop, PART_BLOCKS)
            mine = [part for part in parts if part.mine]
            for part in mine[1:]:
                self._here.submit(self._job(held, part))
            if mine:
                self._job(held, mine[0])()
        for part in parts:
            part.future.result()

    def begin(self, held: Held, first: int, stop: int, part_blocks: int = PART_BLOCKS) -> list[Part]:
        """The same in other threads: what to wait for, in order."""
        if not self.by_parts:
            return self._in_one_stream(held, first, stop)
        parts = self._claim(held, first, stop, part_blocks)
        for part in parts:
            if part.mine:
                self._here.submit(self._job(held, part))
        return parts

    # -- inside -----------------------------------------------------------------------------------------------------

    def _claim(self, held: Held, first: int, stop: int, part_blocks: int) -> list[Part]:
        """What others here fetch already, and what is ours from now on, in order."""
        coming, file = self._here.coming, held.entry.file
        parts: list[Part] = []
        with self._here.coming_lock:
            at = first
            while at < stop:
                future, begin = coming.get((file, at)), at
                mine = future is None
                while at < stop and coming.get((file, at)) is future and (not mine or at - begin < part_blocks):
                    at += 1
                part = Part(begin, at, future or Future(), mine)
                parts.append(part)
            for part in parts:
                if part.mine:
                    for block in range(part.first, part.stop):
                        coming[file, block] = part.future
        return parts

    def _job(self, held: Held, part: Part) -> Callable[[], None]:
        wanted = Wanted(held.spot, held.entry, held.expected, held.ticket)
        entry = held.entry
        first, stop, future, _ = part

        def fetch() -> None:
            try:
                if self._here.closed:
                    raise Gone
                self._fetch(wanted, first, stop)
            except (StoreError, CacheTrouble, Gone, Replaced) as error:
                failure: BaseException | None = error
            except BaseException:
                self._forget(entry, first, stop)
                future.set_exception(Gone())  # whoever waits here looks for himself
                raise
            else:
                failure = None
            self._forget(entry, first, stop)
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)

        return fetch

    def _in_one_stream(self, held: Held, first: int, stop: int) -> list[Part]:
        """Begin to fetch all that is missing of the blob: those parts in which these blocks come."""
        try:
            missing = held.spot.place.entries.missing(held.entry, 0, held.entry.blocks)
        except (CacheTrouble, Gone) as error:
            failed: Future[None] = Future()
            failed.set_exception(error)
            return [Part(first, stop, failed, mine=False)]
        if not missing:
            return []
        parts = self._claim(held, missing[0][0], missing[-1][1], PART_BLOCKS)
        mine = [part for part in parts if part.mine]
        if mine:
            self._here.submit(self._stream_job(held, mine))
        return [part for part in parts if part.first < stop and part.stop > first]

    def _stream_job(self, held: Held, parts: list[Part]) -> Callable[[], None]:
        wanted = Wanted(held.spot, held.entry, held.expected, held.ticket)
        left = deque(parts)

        def fetch() -> None:
            failure: BaseException = Gone()  # whoever waits then looks for himself
            try:
                if not self._here.closed:
                    self._fetch_stream(wanted, left)
            except (StoreError, CacheTrouble, Gone, Replaced) as error:
                failure = error
            finally:
                for part in left:
                    self._forget(wanted.entry, part.first, part.stop)
                    part.future.set_exception(failure)

        return fetch

    def _fetch_stream(self, wanted: Wanted, left: deque[Part]) -> None:
        """Fetch these parts by one request. Those that are done leave `left`."""
        spot, entry = wanted.spot, wanted.entry
        first, stop = left[0].first, left[-1].stop
        with on_disk():
            fd = spot.place.blobs.open(entry.file, to_write=True)
        ticket, reader = wanted.ticket, None
        try:
            with alone_in(fd, first * BLOCK_BYTES, (stop - first) * BLOCK_BYTES, spot.place.clock):
                missing = {part: spot.place.entries.missing(entry, part.first, part.stop) for part in left}
                lacking = sum(bytes_of(entry.size_bytes, *run) for runs in missing.values() for run in runs)
                if lacking and ticket is None:
                    ticket = self._here.reserve(spot, entry.file, lacking)
                for part in list(left):
                    for run in missing[part]:
                        assert ticket is not None, "something is lacking"
                        reader = reader or self._open(entry, run[0] * BLOCK_BYTES, stop * BLOCK_BYTES)
                        if self._take_run(wanted, fd, run, reader, ticket):
                            self._on_whole(spot, entry, wanted.expected)
                    self._forget(entry, part.first, part.stop)
                    left.popleft().future.set_result(None)
        except (NotFound, PreconditionFailed) as error:
            raise Replaced from error
        finally:
            if reader is not None:
                reader.close()
            if ticket is not None and wanted.ticket is None:
                give_back(spot, ticket)
            os.close(fd)

    def _forget(self, entry: Entry, first: int, stop: int) -> None:
        with self._here.coming_lock:
            for block in range(first, stop):
                self._here.coming.pop((entry.file, block), None)

    def _fetch(self, wanted: Wanted, first: int, stop: int) -> None:
        spot, entry = wanted.spot, wanted.entry
        with on_disk():
            fd = spot.place.blobs.open(entry.file, to_write=True)
        try:
            with alone_in(fd, first * BLOCK_BYTES, (stop - first) * BLOCK_BYTES, spot.place.clock):
                for run in spot.place.entries.missing(entry, first, stop):
                    if self._fetch_run(wanted, fd, *run):
                        self._on_whole(spot, entry, wanted.expected)
        finally:
            os.close(fd)

    def _fetch_run(self, wanted: Wanted, fd: int, first: int, stop: int) -> bool:
        """Whether the entry is whole with it."""
        spot, entry = wanted.spot, wanted.entry
        size = bytes_of(entry.size_bytes, first, stop)
        ticket = wanted.ticket or self._here.reserve(spot, entry.file, size)
        recorded = False
        try:
            with self._open(entry, first * BLOCK_BYTES, first * BLOCK_BYTES + size) as reader:
                whole = self._take_run(wanted, fd, (first, stop), reader, ticket)
            recorded = True
        except (NotFound, PreconditionFailed) as error:
            raise Replaced from error
        finally:
            if wanted.ticket is None and not recorded:
                give_back(spot, ticket)
        return whole

    def _open(self, entry: Entry, start: int, stop: int) -> Reader:
        """The pool's own reader for these bytes; `Replaced` if they are of another blob by now."""
        options = GetOptions(range=ByteRange(start, min(stop, entry.size_bytes)), version=entry.version)
        reader = self._inner.open(Key(entry.key), options)
        if (reader.stat.version, reader.stat.size_bytes) != (entry.version, entry.size_bytes):
            reader.close()
            raise Replaced
        return reader

    def _take_run(self, wanted: Wanted, fd: int, run: tuple[int, int], reader: Reader, ticket: Ticket) -> bool:
        """Write these blocks and record them. Whether the entry is whole with them."""
        spot, entry = wanted.spot, wanted.entry
        place = spot.place
        start, size = run[0] * BLOCK_BYTES, bytes_of(entry.size_bytes, *run)
        if reader.tell() != start:
            reader.seek(start)
        pour(self._inner.name, reader, place.files, fd, at=start, size_bytes=size)
        mtime_ns = os.fstat(fd).st_mtime_ns
        whole = place.entries.record(entry, run, ticket, boot=place.boot, mtime_ns=mtime_ns)
        spot.tally.count(fetched_bytes=size)
        return whole


def give_back(spot: Spot, ticket: Ticket) -> None:
    """What was not used of a ticket is free again. If the index does not answer, it is when this process ends."""
    with contextlib.suppress(CacheTrouble):
        spot.place.ledger.release(ticket)


def pour(pool: str, reader: Reader, files: Files, fd: int, *, at: int, size_bytes: int) -> None:
    """Write `size_bytes` that a reader gives to the file at this place, out of the memory into which they came;
    `Unavailable` if it gives fewer."""
    os.lseek(fd, at, os.SEEK_SET)
    left = size_bytes
    while left > 0:
        piece = memoryview(piece_of(reader, left))
        if not piece:
            raise cut_off(pool, reader.stat.key, size_bytes, size_bytes - left)
        done = 0
        while done < len(piece):
            with on_disk():
                done += files.write(fd, piece[done:])
        left -= len(piece)


def cut_off(pool: str, key: str, expected_bytes: int, came_bytes: int) -> Unavailable:
    """The pool gave fewer bytes than it announced."""
    return Unavailable(
        f"{key} in pool {pool} was cut off: {expected_bytes} bytes were announced, {came_bytes} came",
        store=pool, key=key, operation="open",
    )  # fmt: skip
