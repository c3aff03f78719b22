"""A stream over as many inner readers as it takes, because one may break: the bytes of one version, without a seam."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from holdfast.blobs import BLOCK_BYTES, ByteRange, GetOptions, Reader
from holdfast.errors import PreconditionFailed, StoreError, Unavailable
from holdfast.layers.retried.tries import Tries
from holdfast.stores.base import Driver
from holdfast.stores.streams import piece_of

_Result = TypeVar("_Result")


class Resumed(io.RawIOBase):
    """A blob's bytes over as many inner readers as it takes, all of one version. Positions are the blob's."""

    def __init__(
        self, inner: Driver, reader: Reader, options: GetOptions, tries: Callable[[], Tries]
    ) -> None:
        super().__init__()
        self._inner, self._options, self._tries = inner, options, tries
        self._stat = reader.stat
        self._at, self._stop = (options.range or ByteRange(0)).within(self._stat.size_bytes)
        self._reader: Reader | None = reader  # None: it broke, and is opened when the next bytes are wanted
        self._reader_at = self._at
        self._reader_from = 0  # a reader that was opened again knows nothing before this

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        wanted = min(size, self._left())
        return self._next(lambda reader: reader.read(wanted), len) if wanted > 0 else b""

    def readall(self) -> bytes:
        parts = []
        while part := self.read(BLOCK_BYTES):
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)[: max(0, self._left())]
        return self._next(lambda reader: reader.readinto(view), int) if len(view) else 0

    def piece(self, size_bytes: int) -> bytes | memoryview:
        wanted = min(size_bytes, self._left())
        return self._next(lambda reader: piece_of(reader, wanted), len) if wanted > 0 else b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._require_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._stat.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"there is no position {base + offset} in a blob")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        self._require_open()
        return self._at

    def fileno(self) -> int:
        self._require_open()
        if self._reader is None:
            raise io.UnsupportedOperation("fileno")
        return self._reader.fileno()

    def close(self) -> None:
        reader, self._reader = self._reader, None
        try:
            if reader is not None:
                reader.close()
        finally:
            super().close()

    def _left(self) -> int:
        self._require_open()
        return self._stop - self._at

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _next(self, take: Callable[[Reader], _Result], size_of: Callable[[_Result], int]) -> _Result:
        """The next bytes, at least one of them."""
        tries: Tries | None = None
        while True:
            try:
                reader = self._reader_here()
                taken = take(reader)
                count = size_of(taken)
                if count == 0:
                    raise self._ended_early()
            except StoreError as error:
                self._drop()
                tries = tries or self._tries()
                tries.failed(error)
            else:
                self._at = self._reader_at = self._at + count
                return taken

    def _reader_here(self) -> Reader:
        """A reader that stands where the next bytes are."""
        if self._reader is not None and self._at < self._reader_from:
            self._drop()
        if self._reader is None:
            part = ByteRange(self._at, self._stop)
            options = replace(self._options, range=part, version=self._stat.version)
            reader = self._inner.open(self._stat.key, options)
            if reader.stat.version != self._stat.version:
                reader.close()
                raise PreconditionFailed(
                    f"{self._stat.key} in pool {self._inner.name} was replaced while it was read; read it again "
                    "from its beginning", store=self._inner.name, key=self._stat.key, operation="read",
                )  # fmt: skip
            self._reader, self._reader_at, self._reader_from = reader, self._at, self._at
        if self._reader_at != self._at:
            self._reader.seek(self._at)
            self._reader_at = self._at
        return self._reader

    def _ended_early(self) -> Unavailable:
        return Unavailable(
            f"{self._stat.key} in pool {self._inner.name} ended {self._left()} bytes early",
            store=self._inner.name, key=self._stat.key, operation="read",
        )  # fmt: skip

    def _drop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(StoreError, OSError):  # it is broken: what matters is the next one
                reader.close()
