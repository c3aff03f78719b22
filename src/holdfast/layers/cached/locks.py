"""Locks on ranges of a file that belong to an open file description: `F_OFD_SETLK`.

Whoever fetches a range of a blob holds the lock on these bytes; who wants them too waits here, in any thread of any
process, and then finds them. The kernel lets go when the description is closed, also by a kill; a process that is only
stopped keeps them, so nobody waits for one without end. They are advisory, and do not meet `flock`, which says that a
blob is open (`seams.hold_shared`).

A lock is let go by hand before the file is closed: a child that was forked meanwhile shares the description, and would
keep the lock for as long as it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator

from holdfast.layers.cached.trouble import Stuck
from holdfast.seams import Clock

PATIENCE_S = 120.0  # with who holds a lock and writes nothing; longer than a request is repeated
PAUSE_MIN_S, PAUSE_MAX_S = 0.001, 0.05
WHOLE = 1 << 62  # a place behind every blob: who holds it makes the entry whole
_FORMAT = "hhqqi4x"  # struct flock: type, whence, start, length, pid


def _ask(fd: int, command: int, kind: int, start: int, length: int) -> bytes:
    found = fcntl.fcntl(fd, command, struct.pack(_FORMAT, kind, os.SEEK_SET, start, length, 0))
    assert isinstance(found, bytes)
    return found


@contextlib.contextmanager
def alone_in(fd: int, start: int, length: int, clock: Clock, longer_s: float = 0.0) -> Iterator[None]:
    """Nobody else holds any of these bytes meanwhile; `fd` is open for writing. Waits for as long as the file changes
    now and then, as it does under whoever fetches, and `PATIENCE_S + longer_s` beyond: then it is `Stuck`."""
    _take(fd, start, length, clock, PATIENCE_S + longer_s)
    try:
        yield
    finally:
        _ask(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, start, length)


def _take(fd: int, start: int, length: int, clock: Clock, patience_s: float) -> None:
    changed_ns, changed_s, pause_s = -1, 0.0, PAUSE_MIN_S
    while not try_alone(fd, start, length):
        now_s, now_ns = clock.monotonic_s(), os.fstat(fd).st_mtime_ns
        if now_ns != changed_ns:
            changed_ns, changed_s = now_ns, now_s
        elif now_s - changed_s > patience_s:
            raise Stuck(f"another process has held a file of it for {patience_s:.0f} s and does nothing with it")
        clock.sleep(pause_s)
        pause_s = min(pause_s * 2, PAUSE_MAX_S)


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
