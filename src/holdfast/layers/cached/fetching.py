"""Fetching blocks of an entry from the pool, each once, whoever wants them.

Within a process, what is on its way is known by (file, block), and who wants it waits for that. Between processes, who
fetches holds a lock on these bytes of the entry's file, and who wants them waits for the lock and then finds them. A
block is recorded after it came whole; a kill before that leaves it to be fetched again.
"""

from __future__ import annotations

import contextlib
import os
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

    def bring(self, held: Held, first: int, stop: int) -> None:
        """All these blocks are there afterwards. The pool's errors; `CacheTrouble`, `Gone`, `Replaced`."""
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
        place = spot.place
        start, size = first * BLOCK_BYTES, bytes_of(entry.size_bytes, first, stop)
        ticket = wanted.ticket or self._here.reserve(spot, entry.file, size)
        recorded = False
        try:
            options = GetOptions(range=ByteRange(start, start + size), version=entry.version)
            try:
                with self._inner.open(Key(entry.key), options) as reader:
                    if (reader.stat.version, reader.stat.size_bytes) != (entry.version, entry.size_bytes):
                        raise Replaced
                    pour(self._inner.name, reader, place.files, fd, at=start, size_bytes=size)
            except (NotFound, PreconditionFailed) as error:
                raise Replaced from error
            mtime_ns = os.fstat(fd).st_mtime_ns
            whole = place.entries.record(entry, (first, stop), ticket, boot=place.boot, mtime_ns=mtime_ns)
            recorded = True
        finally:
            if wanted.ticket is None and not recorded:
                give_back(spot, ticket)
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
