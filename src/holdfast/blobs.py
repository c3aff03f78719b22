"""Frozen values that travel through every store: what a blob is, how to read it, how to write it.

`Body` is what is put: it knows its size if anybody does, and can be opened again unless it says that it
cannot. `Reader` is what is read: a binary stream that carries the stat of exactly the bytes it reads.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, runtime_checkable

from holdfast.errors import InvalidKey
from holdfast.keys import Key

BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What a store says of a blob.

    `version` changes whenever the bytes are replaced; it is opaque and only compared. `modified_us` is in
    microseconds since 1970, UTC, by the store's clock. `checksum` is set where the bytes were just written
    or hashed: `blake3:<hex>`.
    """

    key: Key
    size_bytes: int
    version: str
    modified_us: int
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` up to, not including, `stop`; `stop` None means to the end."""

    start: int
    stop: int | None = None

    def within(self, size_bytes: int) -> tuple[int, int]:
        """The range as (start, stop) clipped to a blob of that size."""
        stop = size_bytes if self.stop is None else min(self.stop, size_bytes)
        return min(self.start, stop), stop


@dataclass(frozen=True, slots=True)
class GetOptions:
    """How to open a blob. `local` demands a `local_path`; `fresh` reads past every cache.

    With `range` the reader stands at its start and ends at its stop; positions are those of the whole blob.
    `version` and `digest` (`blake3:<hex>`) say which bytes the catalog knows under this key: whoever keeps copies
    serves a copy only if it is one of these bytes. They refuse nothing where no copy is kept.
    """

    local: bool = False
    fresh: bool = False
    range: ByteRange | None = None
    version: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class PutOptions:
    """How to put a blob.

    `digest`: refuse (`Corrupt`) if the bytes are not these (`blake3:<hex>`). `if_absent`: refuse
    (`AlreadyExists`) if the key is taken, atomically. `if_version`: refuse (`PreconditionFailed`) if the
    stored version is another. `on_staged`: called once with the stat when all bytes are durable and nothing
    is visible yet; what it raises abandons the put and leaves the old bytes. `durable` False leaves syncing
    to the caller (batches; a pool with `durability: process`).
    """

    digest: str | None = None
    if_absent: bool = False
    if_version: str | None = None
    on_staged: Callable[[BlobStat], None] | None = None
    on_progress: Callable[[int], None] | None = None
    durable: bool = True


DEFAULT_GET = GetOptions()
DEFAULT_PUT = PutOptions()


@dataclass(frozen=True, slots=True)
class Usage:
    """The medium behind a store. None where it has no such number.

    `medium` names the medium: pools with the same one share its free space. `unwritable_because` says why nothing can
    be written there just now, where that is known; empty where it can.
    """

    capacity_bytes: int | None
    free_bytes: int | None
    medium: str | None = None
    unwritable_because: str = ""


def disk_medium(device: int) -> str:
    """What a local file system is called among media."""
    return f"disk {device}"


@runtime_checkable
class Body(Protocol):
    """Bytes to be put.

    `size_bytes` is None when nobody knows yet. `open()` gives a fresh stream from the first byte each time,
    unless `once` is True: then a second call raises `OSError`.
    """

    @property
    def size_bytes(self) -> int | None: ...

    @property
    def once(self) -> bool: ...

    def open(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class FileBody:
    """A local file. A file that changes while it is read is noticed by the driver (size and mtime).

    With `consume` the file is given away: a driver on the same file system may rename it into place instead
    of copying it, and the file is gone after a successful put. `checksum` (`blake3:<hex>`) spares the pass
    over the bytes then; it must have been taken from just these bytes. With `share` nobody ever writes into the file,
    so a driver on the same file system may give it a second name instead of copying it.
    """

    path: Path
    size_bytes: int
    once: bool = False
    consume: bool = False
    checksum: str | None = None
    share: bool = False

    @classmethod
    def of(cls, path: Path | str) -> FileBody:
        """The file at `path`; `InvalidKey` if it is no regular file, `OSError` if it cannot be looked at."""
        path = Path(path)
        found = os.stat(path)
        if not os.path.isfile(path):
            raise InvalidKey(f"{path} is not a regular file; give a file, or a folder with --extra-files")
        return cls(path, found.st_size)

    def open(self) -> BinaryIO:
        return open(self.path, "rb", buffering=0)

    @property
    def medium(self) -> str:
        """The medium that the file takes room on now, as `Usage.medium` names it."""
        return disk_medium(os.stat(self.path).st_dev)


@dataclass(frozen=True, slots=True)
class BytesBody:
    """Bytes in memory."""

    content: bytes
    once: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


@dataclass(slots=True)
class StreamBody:
    """A stream that can be read once (a pipe, a request). `size_bytes` is what the sender promised."""

    stream: BinaryIO
    size_bytes: int | None = None
    once: bool = True
    _opened: bool = False

    def open(self) -> BinaryIO:
        if self._opened:
            raise OSError("this stream was read already and cannot be read again")
        self._opened = True
        return self.stream


class Reader:
    """An open blob: a binary, seekable stream with the stat of the bytes it reads. Close it, or use `with`.

    `local_path` is set where the bytes lie in a file that may be read in place. Holding the reader open is
    what keeps that path valid (a lease).
    """

    __slots__ = ("_local_path", "_on_close", "stat", "stream")

    def __init__(
        self,
        stream: BinaryIO,
        stat: BlobStat,
        *,
        local_path: Path | str | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.stream = stream
        self.stat = stat
        self._local_path = local_path
        self._on_close = on_close

    @property
    def local_path(self) -> Path | None:
        """See the class."""
        if isinstance(self._local_path, str):  # made when it is wanted: most readers are only read
            self._local_path = Path(self._local_path)
        return self._local_path

    def read(self, size_bytes: int = -1, /) -> bytes:
        return self.stream.read(size_bytes)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count: int | None = self.stream.readinto(buffer)  # type: ignore[attr-defined]
        return count or 0

    def seek(self, offset_bytes: int, whence: int = os.SEEK_SET, /) -> int:
        return self.stream.seek(offset_bytes, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def fileno(self) -> int:
        return self.stream.fileno()

    @property
    def closed(self) -> bool:
        return self.stream.closed

    def close(self) -> None:
        """Idempotent. Ends the lease."""
        on_close, self._on_close = self._on_close, None
        try:
            self.stream.close()
        finally:
            if on_close is not None:
                on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
