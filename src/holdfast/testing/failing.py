"""`Files` whose n-th effect fails, or is the last thing that the process does: for sweeps over every n.

    for at in itertools.count(1):
        files = FailingFiles(SystemFiles(), at=at, error=OSError(errno.EIO, "the disk is broken"))
        scenario(files)                       # has to end well or with an error of the tree
        if not files.struck:
            break                             # the scenario has fewer effects than `at`: all have been tried

Effects are counted over all threads, from 1; `start_writing_back` is a hint and not counted. `names` tells
what came in which order; `at=None` only counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from holdfast.seams import Files

_Result = TypeVar("_Result")


class Killed(BaseException):
    """The process was killed at this effect. No `except Exception` sees it."""


class _CountedFiles:
    """Forwards every effect to `inner`, after `_before(number)` had its chance to prevent it."""

    def __init__(self, inner: Files) -> None:
        self.inner = inner
        self.names: list[str] = []
        self._lock = threading.RLock()

    def _before(self, number: int) -> None:
        raise NotImplementedError

    def _effect(self, name: str, effect: Callable[[], _Result]) -> _Result:
        with self._lock:
            self.names.append(name)
            self._before(len(self.names))
            return effect()

    def create(self, path: str, mode: int) -> int:
        """See `Files.create`."""
        return self._effect("create", lambda: self.inner.create(path, mode))

    def write(self, fd: int, block: bytes | bytearray | memoryview) -> int:
        """See `Files.write`."""
        return self._effect("write", lambda: self.inner.write(fd, block))

    def sync(self, fd: int) -> None:
        """See `Files.sync`."""
        self._effect("sync", lambda: self.inner.sync(fd))

    def sync_all(self, fd: int) -> None:
        """See `Files.sync_all`."""
        self._effect("sync_all", lambda: self.inner.sync_all(fd))

    def sync_folder(self, path: str) -> None:
        """See `Files.sync_folder`."""
        self._effect("sync_folder", lambda: self.inner.sync_folder(path))

    def start_writing_back(self, fd: int, offset: int, size_bytes: int) -> None:
        """See `Files.start_writing_back`."""
        self.inner.start_writing_back(fd, offset, size_bytes)

    def close(self, fd: int) -> None:
        """See `Files.close`."""
        self._effect("close", lambda: self.inner.close(fd))

    def link(self, source: str, target: str) -> None:
        """See `Files.link`."""
        self._effect("link", lambda: self.inner.link(source, target))

    def replace(self, source: str, target: str) -> None:
        """See `Files.replace`."""
        self._effect("replace", lambda: self.inner.replace(source, target))

    def rename_new(self, source: str, target: str) -> None:
        """See `Files.rename_new`."""
        self._effect("rename_new", lambda: self.inner.rename_new(source, target))

    def unlink(self, path: str) -> None:
        """See `Files.unlink`."""
        self._effect("unlink", lambda: self.inner.unlink(path))

    def make_folder(self, path: str, mode: int) -> None:
        """See `Files.make_folder`."""
        self._effect("make_folder", lambda: self.inner.make_folder(path, mode))

    def remove_folder(self, path: str) -> None:
        """See `Files.remove_folder`."""
        self._effect("remove_folder", lambda: self.inner.remove_folder(path))


class FailingFiles(_CountedFiles):
    """The `at`-th effect does not happen and raises `error`; those before and after it work.

    With `full_from` every effect from then on that needs room (`create`, `write`, `link`, `make_folder`)
    fails with ENOSPC. A `close` that fails has closed, as the system's does.
    """

    def __init__(
        self, inner: Files, *, at: int | None, error: OSError | None = None, full_from: int | None = None
    ) -> None:
        super().__init__(inner)
        self._at = at
        self._error = error or OSError(errno.EIO, os.strerror(errno.EIO))
        self._full_from = full_from
        self.struck = False

    def _before(self, number: int) -> None:
        name = self.names[-1]
        if number == self._at:
            self.struck = True
            raise self._error
        if self._full_from is not None and number >= self._full_from and name in _NEED_ROOM:
            self.struck = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self, fd: int) -> None:
        """See `Files.close`."""
        try:
            self._effect("close", lambda: None)
        finally:
            self.inner.close(fd)


class DyingFiles(_CountedFiles):
    """The process dies just before its `at`-th effect: that one and all after it raise `Killed`.

    What cleans up afterwards (`finally`, `with`) changes nothing any more, as if it had not run. Files that
    were open are closed, as the system does, and their locks go with them.
    """

    def __init__(self, inner: Files, *, at: int | None) -> None:
        super().__init__(inner)
        self._at = at
        self._open: set[int] = set()
        self.struck = False

    def _before(self, number: int) -> None:
        if self.struck:
            raise Killed(f"killed before effect {self._at}")
        if number == self._at:
            self.struck = True
            for fd in self._open:
                with contextlib.suppress(OSError):
                    self.inner.close(fd)
            raise Killed(f"killed before effect {number}, {self.names[-1]}")

    def create(self, path: str, mode: int) -> int:
        """See `Files.create`."""
        with self._lock:
            fd = super().create(path, mode)
            self._open.add(fd)
            return fd

    def close(self, fd: int) -> None:
        """See `Files.close`."""
        with self._lock:
            super().close(fd)
            self._open.discard(fd)


_NEED_ROOM = frozenset({"create", "write", "link", "make_folder"})
