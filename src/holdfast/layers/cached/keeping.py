"""Writing through the cache: the pool first, then the kept copy.

With `keep_written` what is put stays in the cache, whole and verified, without a second transfer:

    a file given away (`consume`)    renamed into the cache after the upload; copied where it lies on another disk
    bytes in memory                  written after the upload
    a stream                         copied while it passes
    any other file                   copied after the upload up to 16 MiB; a larger one is not kept: the copy would cost
                                     a put a tenth of its speed, and who has the file needs no other

Kept is only what has the checksum that the pool's driver computed, and nothing of a put that failed. What a put
replaces, and what is deleted, is not served any more; who has it open on this machine goes on with it, and gets the
rest of it first if that is at most 256 MiB.
"""

from __future__ import annotations

import contextlib
import os
import stat as modes
from dataclasses import replace
from typing import Any, BinaryIO, Self, cast

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES, BlobStat, Body, BytesBody, FileBody, PutOptions
from holdfast.errors import StoreError
from holdfast.keys import Key
from holdfast.layers.cached.entries import NewEntry, bytes_of
from holdfast.layers.cached.fetching import Held, give_back
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.ledger import Ticket
from holdfast.layers.cached.opening import Opening
from holdfast.layers.cached.trouble import CacheTrouble, Gone, NoRoom, Replaced, on_disk
from holdfast.seams import hold_shared
from holdfast.stores.base import Driver

COPIED_BYTES_MAX = 16 * BLOCK_BYTES
FINISHED_BYTES_MAX = 256 * BLOCK_BYTES
STEP_BYTES = 64 * BLOCK_BYTES  # of a stream whose size nobody knows
UNKNOWN_PART_MAX = 0.5  # of the bound


class Keeping:
    """Puts, and what follows for the cache from what is put and deleted."""

    def __init__(self, inner: Driver, here: Here, opening: Opening, *, keep: bool) -> None:
        self._inner, self._here, self._opening, self._keep = inner, here, opening, keep

    def put(self, key: Key, body: Body, options: PutOptions) -> BlobStat:
        """Into the pool; then, if it is to be kept, into the cache."""
        spot = self.before(key)
        if not self._keep or spot is None:
            stat = self._inner.put(key, body, options)
            self.after(key, stat.version)
            return stat
        if isinstance(body, FileBody):
            return self._put_file(spot, key, body, options)
        if isinstance(body, BytesBody):
            stat = self._inner.put(key, body, options)
            self._keep_bytes(spot, stat, body.content)
        else:
            with contextlib.closing(_Copying(self._here, spot, body)) as copying:
                stat = self._inner.put(key, copying, options)
                self._keep_copied(spot, stat, copying)
        self.after(key, stat.version)
        return stat

    def before(self, key: Key) -> Spot | None:
        """Something will happen to this key in the pool: who reads the old bytes here gets all of them first. The
        folder for it, None if it cannot be used."""
        try:
            spot = self._here.spot(self._inner.name, key)
            for entry in spot.place.entries.versions(self._inner.name, key):
                if not entry.whole and entry.size_bytes <= FINISHED_BYTES_MAX and spot.place.in_use(entry):
                    self._finish(spot, Held(spot, entry, spot.place.open_file(entry)))
        except (CacheTrouble, Gone):
            return None
        return spot

    def after(self, key: Key, version: str | None) -> None:
        """The pool has this version now; None: nothing."""
        for spot in self._here.usable():
            with contextlib.suppress(CacheTrouble):
                self._opening.forget(spot, key, but=version)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _finish(self, spot: Spot, held: Held) -> None:
        entry = held.entry
        try:
            for first, stop in spot.place.entries.missing(entry, 0, entry.blocks):
                self._opening.fetcher.bring(held, first, stop)
        except (StoreError, CacheTrouble, Gone, Replaced):
            return  # the reader will be told that its blob was replaced
        finally:
            held.close()

    def _put_file(self, spot: Spot, key: Key, body: FileBody, options: PutOptions) -> BlobStat:
        before = _look(body)
        stat = self._inner.put(key, replace(body, consume=False), options)
        try:
            if before is not None and _facts(before) == _facts(_look(body)):
                is_kept = body.consume and self._move(spot, stat, body, before)
                if not is_kept and (body.consume or stat.size_bytes <= COPIED_BYTES_MAX):
                    self._copy(spot, stat, body)
        finally:
            if body.consume:
                with contextlib.suppress(OSError):
                    spot.place.files.unlink(os.fspath(body.path))
        self.after(key, stat.version)
        return stat

    def _move(self, spot: Spot, stat: BlobStat, body: FileBody, found: os.stat_result) -> bool:
        """Rename the file into the cache. Whether it could be: not one with other names, nor from another disk."""
        place = spot.place
        if stat.checksum is None or not modes.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return False
        file = place.new_file()
        ticket: Ticket | None = None
        fd = -1
        try:
            if os.stat(place.path).st_dev != found.st_dev:
                return False
            ticket = self._here.reserve(spot, file, stat.size_bytes)
            place.make_home(file)
            place.files.replace(os.fspath(body.path), place.path_of(file))
            fd = os.open(place.path_of(file), os.O_RDONLY | os.O_CLOEXEC)
            hold_shared(fd)
            with contextlib.suppress(PermissionError):  # another user's file: as it is
                os.fchmod(fd, modes.S_IMODE(found.st_mode) | 0o444)
            self._add(spot, stat, file, ticket, os.fstat(fd))
        except (OSError, CacheTrouble) as error:
            if ticket is not None:
                _discard(spot, file, ticket)
            _note(spot, error)
            return fd >= 0
        finally:
            if fd >= 0:
                os.close(fd)
        return True

    def _copy(self, spot: Spot, stat: BlobStat, body: FileBody) -> None:
        with contextlib.closing(_Copying(self._here, spot, body)) as copying:
            with contextlib.suppress(OSError), copying.open() as stream:
                while stream.read(BLOCK_BYTES):
                    continue
            self._keep_copied(spot, stat, copying)

    def _keep_bytes(self, spot: Spot, stat: BlobStat, content: bytes) -> None:
        with contextlib.closing(_Copying(self._here, spot, BytesBody(content))) as copying:
            copying.write(memoryview(content))
            self._keep_copied(spot, stat, copying)

    def _keep_copied(self, spot: Spot, stat: BlobStat, copying: _Copying) -> None:
        """Make an entry of what was copied, if it is what was stored."""
        if copying.checksum() != stat.checksum or copying.fd < 0 or not copying.tickets:
            return
        try:
            self._add(spot, stat, copying.file, copying.tickets[0], os.fstat(copying.fd))
        except CacheTrouble as trouble:
            _note(spot, trouble)
        else:
            copying.kept = True

    def _add(self, spot: Spot, stat: BlobStat, file: str, ticket: Ticket, found: os.stat_result) -> None:
        if found.st_size != stat.size_bytes:
            raise CacheTrouble("a file of the cache is not as long as what was written")
        new = NewEntry(stat, file, ticket, stat.checksum, verified=True, mtime_ns=found.st_mtime_ns)
        blocks = (0, -(-stat.size_bytes // BLOCK_BYTES))
        assert bytes_of(stat.size_bytes, *blocks) == stat.size_bytes
        if self._here.add(spot, self._inner.name, new, blocks) is None:
            raise NoRoom("there is an entry of this version already")


class _Copying:
    """A body whose bytes are written into a new file of the cache while somebody reads it. Begins again when it is
    opened again; gives up quietly where there is no room."""

    def __init__(self, here: Here, spot: Spot, body: Body) -> None:
        self._here, self._spot, self._body = here, spot, body
        self.file = spot.place.new_file()
        self.fd = -1
        self.tickets: list[Ticket] = []
        self.kept = False
        self._digest = blake3()
        self._size_bytes = self._room_bytes = 0
        self._given_up = False

    @property
    def size_bytes(self) -> int | None:
        return self._body.size_bytes

    @property
    def once(self) -> bool:
        return self._body.once

    def open(self) -> BinaryIO:
        stream = self._body.open()
        self._begin()
        return cast("BinaryIO", _CopyingStream(self, stream))

    def write(self, part: memoryview) -> None:
        """These bytes came next."""
        if self._given_up:
            return
        try:
            if self.fd < 0:
                self._begin()
            self._make_room(self._size_bytes + len(part))
            self._digest.update(part)
            done = 0
            while done < len(part):
                with on_disk():
                    done += self._spot.place.files.write(self.fd, part[done:])
            self._size_bytes += len(part)
        except CacheTrouble as trouble:
            _note(self._spot, trouble)
            self._given_up = True

    def checksum(self) -> str | None:
        """Of what was written; None if it was given up."""
        if self.fd < 0 and not self._given_up:
            self.write(memoryview(b""))  # a blob of no bytes
        return None if self._given_up else f"blake3:{self._digest.hexdigest()}"

    def close(self) -> None:
        """Give back what is not needed; unless it was kept, all of it."""
        if self.fd >= 0:
            os.close(self.fd)
        if not self.kept:
            with contextlib.suppress(OSError):
                self._spot.place.files.unlink(self._spot.place.path_of(self.file))
        for ticket in self.tickets[1:] if self.kept else self.tickets:
            give_back(self._spot, ticket)

    def _begin(self) -> None:
        """From the first byte."""
        self._digest, self._size_bytes = blake3(), 0
        if self._given_up:
            return
        try:
            with on_disk():
                if self.fd < 0:
                    self._make_room(self._body.size_bytes or 0)
                    self.fd = self._spot.place.create(self.file)
                os.ftruncate(self.fd, 0)
                os.lseek(self.fd, 0, os.SEEK_SET)
        except CacheTrouble as trouble:
            _note(self._spot, trouble)
            self._given_up = True

    def _make_room(self, size_bytes: int) -> None:
        if self.tickets and size_bytes <= self._room_bytes:
            return
        more = size_bytes - self._room_bytes
        if self._body.size_bytes is None:
            bound = self._spot.place.folder.bound_bytes
            if bound is not None and size_bytes > bound * UNKNOWN_PART_MAX:
                raise NoRoom("a stream of unknown size may not push out the rest of the cache")
            more = max(more, STEP_BYTES if bound is None else min(STEP_BYTES, int(bound * UNKNOWN_PART_MAX / 4)))
        self.tickets.append(self._here.reserve(self._spot, self.file, more))
        self._room_bytes += more


class _CopyingStream:
    """A body's stream that shows each part to the copy before it passes it on."""

    def __init__(self, copying: _Copying, stream: BinaryIO) -> None:
        self._copying, self._stream = copying, stream

    def read(self, size: int = -1, /) -> bytes:
        part = self._stream.read(size)
        self._copying.write(memoryview(part))
        return part

    def __getattr__(self, name: str) -> Any:
        if name == "readinto" and hasattr(self._stream, "readinto"):
            return self._readinto
        if name in ("fileno", "seek", "tell"):  # bytes that do not pass here would be missing in the copy
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _readinto(self, buffer: Any, /) -> int:
        count = self._stream.readinto(buffer) or 0  # type: ignore[attr-defined]
        self._copying.write(memoryview(buffer).cast("B")[:count])
        return int(count)

    def close(self) -> None:
        """Closes the body's own stream."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _look(body: FileBody) -> os.stat_result | None:
    try:
        return os.lstat(body.path)
    except OSError:
        return None  # the driver says so


def _facts(found: os.stat_result | None) -> tuple[int, ...]:
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else ()


def _discard(spot: Spot, file: str, ticket: Ticket) -> None:
    with contextlib.suppress(OSError):
        spot.place.files.unlink(spot.place.path_of(file))
    give_back(spot, ticket)


def _note(spot: Spot, error: OSError | CacheTrouble) -> None:
    trouble = error if isinstance(error, CacheTrouble) else CacheTrouble(error.strerror or str(error))
    spot.troubled(trouble)
