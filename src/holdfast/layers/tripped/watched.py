"""A reader's bytes, where what fails is told to the breaker, and a good end as well."""

from __future__ import annotations

import io
import os
from typing import Any

from holdfast.blobs import Reader
from holdfast.errors import HoldfastError
from holdfast.layers.tripped.breaker import Breaker
from holdfast.stores.streams import piece_of


class Watched(io.RawIOBase):
    """Passes everything on. Closed without a failure since it was opened, it came to a good end."""

    def __init__(self, reader: Reader, breaker: Breaker, began: int) -> None:
        super().__init__()
        self._reader, self._breaker, self._began = reader, breaker, began

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return self._reader.read(-1 if size is None else size)
        except HoldfastError as error:
            self._breaker.failed(error)
            raise

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        try:
            return self._reader.readinto(buffer)
        except HoldfastError as error:
            self._breaker.failed(error)
            raise

    def piece(self, size_bytes: int) -> bytes | memoryview:
        try:
            return piece_of(self._reader, size_bytes)
        except HoldfastError as error:
            self._breaker.failed(error)
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def fileno(self) -> int:
        return self._reader.fileno()

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._reader.close()
        finally:
            super().close()
            self._breaker.ended(self._began)
