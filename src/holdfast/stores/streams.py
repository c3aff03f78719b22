"""Streams that drivers and layers share, and what is done with any of them.

`Seekable`: a blob that is fetched piece by piece. `FileRange`: an open file of which only a range is read. Of both,
positions are those of the blob and reading ends where the range ends; each is for one thread at a time. `digest_of`
reads an open blob to its end.

A stream that has its next bytes in memory already may have a method `piece(size_bytes)`: at most so many of them, at
least one unless it is at its end, as they lie there, without a copy. A layer's stream passes it on; `piece_of` asks.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES, BlobStat, Reader


class Seekable(io.RawIOBase, ABC):
    """The bytes of a blob from `start` up to, not including, `stop`."""

    def __init__(self, stat: BlobStat, start: int, stop: int) -> None:
        super().__init__()
        self.stat = stat
        self._at, self._stop = start, stop

    @abstractmethod
    def _some(self, target: memoryview) -> int:
        """Read at least one byte at the position into `target`, which is not empty and ends no later than the range;
        how many. The position is behind them then. 0: there is no more, whatever the stat said."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._still_open()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._still_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.stat.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"there is nothing before the first byte (asked for {base + offset})")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        self._still_open()
        target = memoryview(buffer).cast("B")
        return self._fill(target[: max(0, self._stop - self._at)])

    def read(self, size: int | None = -1, /) -> bytes:
        self._still_open()
        left = max(0, self._stop - self._at)
        target = bytearray(left if size is None or size < 0 else min(size, left))
        done = self._fill(memoryview(target))
        return bytes(target) if done == len(target) else bytes(memoryview(target)[:done])

    def readall(self) -> bytes:
        return self.read()

    def _fill(self, target: memoryview) -> int:
        done = 0
        while done < len(target) and (count := self._some(target[done:])):
            done += count
        return done

    def _still_open(self) -> None:
        if self.closed:
            raise ValueError("this reader is closed")


def piece_of(reader: Reader, size_bytes: int) -> bytes | memoryview:
    """The next bytes of an open blob, as many as there are in one piece, at most `size_bytes`; none at its end."""
    piece: Callable[[int], bytes | memoryview] | None = getattr(reader.stream, "piece", None)
    return reader.read(min(size_bytes, BLOCK_BYTES)) if piece is None else piece(size_bytes)


class FileRange(io.FileIO):
    """An open file, read from where `start` is up to, not including, `stop`. Closes `fd`."""

    def __init__(self, fd: int, start: int, stop: int) -> None:
        super().__init__(fd, "r")
        self._stop = stop
        self.seek(start)

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._stop - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left)) or b""

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        left = max(0, self._stop - self.tell())
        return super().readinto(memoryview(buffer)[:left]) or 0


def digest_of(reader: Reader, on_block: Callable[[int], None] | None = None) -> str:
    """The checksum (`blake3:<hex>`) of an open blob from where it stands to its end. `on_block` is told after each
    block how many bytes it had."""
    digest = blake3()
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while count := reader.readinto(buffer):
        digest.update(buffer[:count])
        if on_block is not None:
            on_block(count)
    return f"blake3:{digest.hexdigest()}"
