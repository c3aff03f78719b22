"""Locks on ranges of a file that belong to an open file description: `F_OFD_SETLK`.

Whoever fetches a range of a blob holds the lock on these bytes; who wants them too waits here, in any thread of any
process, and then finds them. The kernel lets go when the description is closed, also by a kill. They are advisory, and
do not meet `flock`, which says that a blob is open (`seams.hold_shared`).

A lock is let go by hand before the file is closed: a child that was forked meanwhile shares the description, and would
keep the lock for as long as it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator

WHOLE = 1 << 62  # a place behind every blob: who holds it makes the entry whole
_FORMAT = "hhqqi4x"  # struct flock: type, whence, start, length, pid


def _ask(fd: int, command: int, kind: int, start: int, length: int) -> bytes:
    found = fcntl.fcntl(fd, command, struct.pack(_FORMAT, kind, os.SEEK_SET, start, length, 0))
    assert isinstance(found, bytes)
    return found


@contextlib.contextmanager
def alone_in(fd: int, start: int, length: int) -> Iterator[None]:
    """Nobody else holds any of these bytes meanwhile. Waits for as long as it takes; `fd` is open for writing."""
    _ask(fd, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, start, length)
    try:
        yield
    finally:
        _ask(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, start, length)


def try_alone(fd: int, start: int, length: int) -> bool:
    """The lock, if nobody has it; it stays until the file is closed."""
    try:
        _ask(fd, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, start, length)
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_held(fd: int, start: int) -> bool:
    """Whether another open file has this byte locked."""
    found = _ask(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, start, 1)
    kind: int = struct.unpack(_FORMAT, found)[0]
    return kind != fcntl.F_UNLCK
