"""An open blob as a body, for copies inside the pool. Used by the disk driver alone."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from holdfast.blobs import Reader


class ReaderBody:
    """An open blob as a body, for copies inside the pool."""

    once = True

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.size_bytes: int | None = reader.stat.size_bytes

    def open(self) -> BinaryIO:
        return io.FileIO(os.dup(self._reader.fileno()), "r")
