"""Streams of a folder's files: a range of one, and one that is a body for a copy. Used by the disk driver alone."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from holdfast.blobs import ByteRange, Reader


class Part(io.FileIO):
    """An open file of which only a range is read. Positions are those of the file."""

    def __init__(self, fd: int, part: ByteRange, size_bytes: int) -> None:
        super().__init__(fd, "r")
        start, self._stop = part.within(size_bytes)
        self.seek(start)

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._stop - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left)) or b""

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        left = max(0, self._stop - self.tell())
        return super().readinto(memoryview(buffer)[:left]) or 0


class ReaderBody:
    """An open blob as a body, for copies inside the pool."""

    once = True

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.size_bytes: int | None = reader.stat.size_bytes

    def open(self) -> BinaryIO:
        return io.FileIO(os.dup(self._reader.fileno()), "r")
