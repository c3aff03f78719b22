"""One pass over the bytes: read, hash, write. Used by the disk driver alone.

The bytes that are hashed are the bytes that are written, block by block; nothing is read twice. Write-back is
started early, so that the sync at the end has little left to wait for.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import BinaryIO

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES, Body, FileBody
from holdfast.errors import Denied, NotFound, PreconditionFailed, StoreError, Unavailable
from holdfast.seams import Files

COPY_BYTES = 128 * 1024  # stays in the processor's cache between reading, hashing and writing
WRITE_BACK_BYTES = 8 * BLOCK_BYTES


def copy_hashed(
    files: Files, body: Body, fd: int, on_progress: Callable[[int], None] | None = None
) -> tuple[str, int]:
    """Write all of `body` to `fd`; returns the checksum (`blake3:<hex>`) and the number of bytes.

    `on_progress` is called with the number of bytes *about to be reached*, before each block is written, so
    that it can refuse. `PreconditionFailed` if the body is shorter or longer than it said, or a file changed
    while it was read. What is wrong with the source is an error without a store: no other pool would help.
    """
    with _opened(body) as stream:
        before = os.fstat(stream.fileno()) if isinstance(body, FileBody) else None
        digest = blake3()
        size_bytes = _pour(files, body, stream, fd, digest=digest, on_progress=on_progress)
        if before is not None:
            after = os.fstat(stream.fileno())
            if (before.st_size, before.st_mtime_ns) != (size_bytes, after.st_mtime_ns) or size_bytes != after.st_size:
                raise changed()
    if body.size_bytes is not None and body.size_bytes != size_bytes:
        raise PreconditionFailed(
            f"{body.size_bytes} bytes were announced, but {size_bytes} came; nothing was stored, send it again",
            operation="put",
        )
    return f"blake3:{digest.hexdigest()}", size_bytes


def open_source(path: str) -> int:
    """A file that was given away, open for reading."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(error) from error


def hash_file(fd: int) -> str:
    """The checksum of an open file, read from its start."""
    digest = blake3()
    block = bytearray(BLOCK_BYTES)
    view = memoryview(block)
    offset = 0
    while count := os.preadv(fd, [block], offset):
        digest.update(view[:count])
        offset += count
    return f"blake3:{digest.hexdigest()}"


def _opened(body: Body) -> BinaryIO:
    try:
        return body.open()
    except OSError as error:
        raise _unreadable(error) from error


def _pour(
    files: Files, body: Body, stream: BinaryIO, fd: int, *, digest: blake3,
    on_progress: Callable[[int], None] | None,
) -> int:  # fmt: skip
    block = memoryview(bytearray(COPY_BYTES))
    read_into = getattr(stream, "readinto", None)
    total = started = 0
    while True:
        try:
            if read_into is not None:
                count = read_into(block) or 0
                part = block[:count]
            else:
                part = memoryview(stream.read(COPY_BYTES))
                count = len(part)
        except OSError as error:
            raise _unreadable(error) from error
        if count == 0:
            return total
        if body.size_bytes is not None and total + count > body.size_bytes:
            if isinstance(body, FileBody):
                raise changed()
            raise PreconditionFailed(
                f"{body.size_bytes} bytes were announced, but more came; nothing was stored, send it again",
                operation="put",
            )
        if on_progress is not None:
            on_progress(total + count)
        digest.update(part)
        written = 0
        while written < count:
            written += files.write(fd, part[written:])
        total += count
        if total - started >= WRITE_BACK_BYTES:
            files.start_writing_back(fd, started, total - started)
            started = total


def changed() -> PreconditionFailed:
    """Somebody wrote to the file meanwhile."""
    return PreconditionFailed(
        "the file changed while it was read, nothing was stored; put it again when it is finished", operation="put"
    )


def _unreadable(error: OSError) -> StoreError:
    """The source cannot be read: as an error of its own kind, without a store."""
    where = f"{error.filename}: " if error.filename else ""
    reason = f"what is to be stored cannot be read: {where}{error.strerror or error}; nothing was stored"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(reason, operation="put")
    if isinstance(error, PermissionError) or error.errno == errno.ELOOP:
        return Denied(reason, operation="put")
    return Unavailable(reason, operation="put")
