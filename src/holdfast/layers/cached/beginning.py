"""The first request for a blob that the cache has nothing of, and the entry that it begins.

Of many who open the same cold blob one asks the pool; the others wait at its door, a lock of the whole machine, and
then find it. The room is reserved before the request, in the name of the file that is to be made: so a kill leaves no
file that nobody knows. A blob larger than the cache's bound is read past it; so is one whose first bytes cannot be
written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Sequence
from dataclasses import replace

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES, BlobStat, ByteRange, GetOptions, Reader
from holdfast.errors import PreconditionFailed
from holdfast.keys import Key
from holdfast.layers.cached.entries import Entry, NewEntry
from holdfast.layers.cached.fetching import Held, cut_off, give_back
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.locks import alone_in
from holdfast.layers.cached.place import Place
from holdfast.layers.cached.stream import PastStream, reader_of
from holdfast.layers.cached.trouble import CacheTrouble, Mismatch, on_disk
from holdfast.stores.base import Driver
from holdfast.stores.streams import piece_of

_LOG = logging.getLogger(__name__)


class Beginning:
    """Begins entries for one pool, in one process."""

    def __init__(self, inner: Driver, here: Here) -> None:
        self._inner, self._here = inner, here

    def begin(
        self, spot: Spot, key: Key, options: GetOptions, first_blocks: int, seen: Sequence[Entry]
    ) -> Held | Reader | None:
        """Make an entry from one request."""
        place = spot.place
        with on_disk():
            door = os.open(f"{place.path}/doors", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with alone_in(door, _door_of(self._inner.name, key), 1, place.clock):
                now = place.entries.versions(self._inner.name, key)
                if [entry.id for entry in now] != [entry.id for entry in seen]:
                    return None
                return self._ask(spot, key, options, first_of(None if options.local else options.range, first_blocks))
        finally:
            os.close(door)

    def _ask(self, spot: Spot, key: Key, options: GetOptions, blocks: tuple[int, int]) -> Held | Reader | None:
        reader = self._first_request(key, options, blocks)
        stat = reader.stat
        start, stop = (ByteRange(blocks[0] * BLOCK_BYTES, blocks[1] * BLOCK_BYTES)).within(stat.size_bytes)
        if not spot.room.can_hold(stat.size_bytes) or (start == stop and stat.size_bytes):
            return reader_of(PastStream(self._inner, stat, options.range, first=(reader, start, stop)))
        with reader:
            content = _all_of(self._inner.name, reader, stop - start)
        try:
            held = self._write(spot, stat, content, blocks[0], options)
        except CacheTrouble as trouble:
            spot.troubled(trouble)
            memory = Reader(io.BytesIO(content), stat)
            return reader_of(PastStream(self._inner, stat, options.range, first=(memory, start, stop)))
        return held if held is not None else self._of_somebody_else(spot, stat)

    def _first_request(self, key: Key, options: GetOptions, blocks: tuple[int, int]) -> Reader:
        wanted = GetOptions(
            range=ByteRange(blocks[0] * BLOCK_BYTES, blocks[1] * BLOCK_BYTES), version=options.version
        )
        try:
            return self._inner.open(key, wanted)
        except PreconditionFailed:  # what the catalog knows is out of date: whoever asked sees it in the stat
            return self._inner.open(key, replace(wanted, version=None))

    def _write(
        self, spot: Spot, stat: BlobStat, content: memoryview, first: int, options: GetOptions
    ) -> Held | None:
        """Write the first bytes into a new file and record them. None: there is an entry of this version already."""
        new = NewEntry(stat, spot.place.blobs.new_file())
        expected = options.digest if options.version in (None, stat.version) else None
        if len(content) == stat.size_bytes:
            digest = f"blake3:{blake3(content).hexdigest()}"
            new = new._replace(digest=digest, verified=digest == expected)
            if expected is not None and digest != expected:
                spot.tally.count(damaged=1)
                _LOG.warning("%s came from pool %s with other bytes than those stored", stat.key, self._inner.name)
                raise Mismatch(stat.key, expected, digest)
        new = new._replace(ticket=self._here.claim(spot, new.file, len(content)))
        entry = None
        fd = -1
        try:
            fd = spot.place.blobs.create(new.file)
            mtime_ns = _write_at(spot.place, fd, first * BLOCK_BYTES, content)
            blocks = (first, first + -(-len(content) // BLOCK_BYTES))
            entry = self._here.add(spot, self._inner.name, new._replace(mtime_ns=mtime_ns), blocks)
        finally:
            if entry is None:
                if fd >= 0:
                    os.close(fd)
                with contextlib.suppress(OSError):
                    spot.place.files.unlink(spot.place.blobs.path_of(new.file))
                if new.ticket is not None:
                    give_back(spot, new.ticket)
        if entry is None:
            return None
        spot.tally.count(fetched_bytes=len(content))
        held = Held(spot, entry, fd, expected)
        held.came_bytes = len(content)
        return held

    def _of_somebody_else(self, spot: Spot, stat: BlobStat) -> Held | None:
        """The entry of this version that there is already."""
        versions = spot.place.entries.versions(self._inner.name, stat.key)
        entry = next((one for one in versions if one.version == stat.version), None)
        return None if entry is None else Held(spot, entry, spot.place.blobs.open(entry.file))


def first_of(wanted: ByteRange | None, blocks_max: int) -> tuple[int, int]:
    """The first blocks (first, stop) of what is wanted."""
    if wanted is None:
        return 0, blocks_max
    first = wanted.start // BLOCK_BYTES
    if wanted.stop is None:
        return first, first + blocks_max
    return first, min(max(-(-wanted.stop // BLOCK_BYTES), first + 1), first + blocks_max)


def _write_at(place: Place, fd: int, at: int, content: memoryview) -> int:
    """Write all of it there; the file's time of change."""
    with on_disk():
        os.lseek(fd, at, os.SEEK_SET)
        done = 0
        while done < len(content):
            done += place.files.write(fd, content[done:])
        return os.fstat(fd).st_mtime_ns


def _door_of(pool: str, key: str) -> int:
    """A byte in the file of doors; two blobs seldom have the same, and then wait for each other."""
    drawn = hashlib.blake2b(f"{pool}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") >> 3


def _all_of(pool: str, reader: Reader, size_bytes: int) -> memoryview:
    """So many bytes of a reader, where they came in one piece without a copy; `Unavailable` if it gives fewer."""
    first = memoryview(piece_of(reader, size_bytes)) if size_bytes else memoryview(b"")
    if len(first) == size_bytes:
        return first
    content = memoryview(bytearray(size_bytes))
    content[: len(first)] = first
    done = len(first)
    while done < size_bytes:
        count = reader.readinto(content[done:])
        if count == 0:
            raise cut_off(pool, reader.stat.key, size_bytes, done)
        done += count
    return content
