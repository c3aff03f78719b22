"""What is to be put, read once: hashed, counted, and stopped when it is not what was announced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, NoReturn

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES, Body, FileBody
from holdfast.errors import Corrupt, Denied, NotFound, PreconditionFailed, StoreError, Unavailable


class Source:
    """One pass over a body. Close it.

    What is wrong with the source is an error without a store: no other pool would help.
    """

    def __init__(self, body: Body, digest: str | None, on_progress: Callable[[int], None] | None) -> None:
        self._body, self._wanted, self._on_progress = body, digest, on_progress
        self._hash = blake3()
        self.size_bytes = 0
        try:
            self._stream: BinaryIO = body.open()
        except OSError as error:
            _unreadable(error)
        self._before = os.fstat(self._stream.fileno()) if isinstance(body, FileBody) else None

    def read(self, size_bytes: int) -> bytes:
        """The next bytes, as many as asked for unless it ends."""
        blocks: list[bytes] = []
        left = size_bytes
        while left and (block := self._block(min(left, BLOCK_BYTES))):
            blocks.append(block)
            left -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def blocks(self, begin: bytes) -> Iterator[bytes]:
        """`begin`, which was read already, and all that follows it."""
        yield begin
        while block := self._block(BLOCK_BYTES):
            yield block

    def finish(self) -> str:
        """All was read: the checksum. Raises if it was not what was announced, or changed meanwhile."""
        size_bytes = self._body.size_bytes
        if self._before is not None:
            after = os.fstat(self._stream.fileno())
            seen = (self.size_bytes, self._before.st_mtime_ns)
            if seen != (after.st_size, after.st_mtime_ns) or self._before.st_size != after.st_size:
                _changed()
        if size_bytes is not None and self.size_bytes != size_bytes:
            raise PreconditionFailed(
                f"{size_bytes} bytes were announced, but {self.size_bytes} came; nothing was stored, send it again",
                operation="put",
            )
        checksum = f"blake3:{self._hash.hexdigest()}"
        if self._wanted is not None and self._wanted != checksum:
            raise Corrupt(
                f"the bytes are not those announced: {self._wanted} was announced, {checksum} came",
                expected=self._wanted, actual=checksum, operation="put",
            )  # fmt: skip
        return checksum

    def close(self) -> None:
        """Give the stream back; one that was handed to us stays open."""
        if not self._body.once or isinstance(self._body, FileBody):
            self._stream.close()

    def _block(self, size_bytes: int) -> bytes:
        try:
            block = self._stream.read(size_bytes)
        except OSError as error:
            _unreadable(error)
        if not block:
            return b""
        total = self.size_bytes + len(block)
        announced = self._body.size_bytes
        if announced is not None and total > announced:
            if isinstance(self._body, FileBody):
                _changed()
            raise PreconditionFailed(
                f"{announced} bytes were announced, but more came; nothing was stored, send it again", operation="put"
            )
        if self._on_progress is not None:
            self._on_progress(total)
        self._hash.update(block)
        self.size_bytes = total
        return block


def _changed() -> NoReturn:
    raise PreconditionFailed(
        "the file changed while it was read, nothing was stored; put it again when it is finished", operation="put"
    )


def _unreadable(error: OSError) -> NoReturn:
    where = f"{error.filename}: " if error.filename else ""
    reason = f"what is to be stored cannot be read: {where}{error.strerror or error}; nothing was stored"
    cls: type[StoreError] = Unavailable
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        cls = NotFound
    elif isinstance(error, PermissionError):
        cls = Denied
    raise cls(reason, operation="put") from error
