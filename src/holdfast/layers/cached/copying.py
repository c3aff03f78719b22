"""Writing the bytes of a body into a new file of the cache while they pass to the pool."""

from __future__ import annotations

import contextlib
import os
from typing import Any, BinaryIO, Self, cast

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES, Body
from holdfast.layers.cached.fetching import give_back
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.ledger import Ticket
from holdfast.layers.cached.trouble import CacheTrouble, NoRoom, on_disk

SMALL_BYTES_MAX = 4 * BLOCK_BYTES
STEP_BYTES = 64 * BLOCK_BYTES  # of a stream whose size nobody knows
UNKNOWN_PART_MAX = 0.5  # of the bound


class Copying:
    """A body whose bytes are written into a new file of the cache while somebody reads it. Begins again when it is
    opened again; gives up quietly where there is no room."""

    def __init__(self, here: Here, spot: Spot, body: Body, known: str | None = None) -> None:
        self._here, self._spot, self._body = here, spot, body
        self._known = known  # the checksum, where these bytes were hashed already and cannot have changed
        self.file = spot.place.blobs.new_file()
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
            if self._known is None:
                self._digest.update(part)
            done = 0
            while done < len(part):
                with on_disk():
                    done += self._spot.place.files.write(self.fd, part[done:])
            self._size_bytes += len(part)
        except CacheTrouble as trouble:
            self._spot.troubled(trouble)
            self._given_up = True

    def checksum(self) -> str | None:
        """Of what was written; None if it was given up."""
        if self.fd < 0 and not self._given_up:
            self.write(memoryview(b""))  # a blob of no bytes
        return None if self._given_up else self._known or f"blake3:{self._digest.hexdigest()}"

    def close(self) -> None:
        """Give back what is not needed; unless it was kept, all of it."""
        if self.fd >= 0:
            os.close(self.fd)
        if not self.kept:
            with contextlib.suppress(OSError):
                self._spot.place.files.unlink(self._spot.place.blobs.path_of(self.file))
        for ticket in self.tickets[1:] if self.kept else self.tickets:
            give_back(self._spot, ticket)

    def _is_small(self) -> bool:
        """Whether it may find its room when it is recorded, as the first blocks of what is fetched do."""
        size_bytes = self._body.size_bytes
        return size_bytes is not None and size_bytes <= SMALL_BYTES_MAX

    def _begin(self) -> None:
        """From the first byte."""
        self._digest, self._size_bytes = blake3(), 0
        if self._given_up:
            return
        try:
            with on_disk():
                if self.fd < 0:
                    self._make_room(self._body.size_bytes or 0)
                    self.fd = self._spot.place.blobs.create(self.file)
                else:  # ext4 writes a file that was truncated to the disk when it is closed: not done to a new one
                    os.ftruncate(self.fd, 0)
                    os.lseek(self.fd, 0, os.SEEK_SET)
        except CacheTrouble as trouble:
            self._spot.troubled(trouble)
            self._given_up = True

    def _make_room(self, size_bytes: int) -> None:
        if size_bytes <= self._room_bytes:
            return
        more = size_bytes - self._room_bytes
        if self._is_small():
            ticket = self._here.claim(self._spot, self.file, more)
            self.tickets += [] if ticket is None else [ticket]
            self._room_bytes += more
            return
        if self._body.size_bytes is None:
            bound = self._spot.place.folder.bound_bytes
            if bound is not None and size_bytes > bound * UNKNOWN_PART_MAX:
                raise NoRoom("a stream of unknown size may not push out the rest of the cache")
            more = max(more, STEP_BYTES if bound is None else min(STEP_BYTES, int(bound * UNKNOWN_PART_MAX / 4)))
        self.tickets.append(self._here.reserve(self._spot, self.file, more))
        self._room_bytes += more


class _CopyingStream:
    """A body's stream that shows each part to the copy before it passes it on."""

    def __init__(self, copying: Copying, stream: BinaryIO) -> None:
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
