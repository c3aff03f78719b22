"""The files of one cache folder's blobs: made, opened with a lease, locked alone, removed.

    <cache folder>/blobs/<2 hex>/<32 hex>

A lease is a shared `flock`. Whoever takes a file away has locked it alone before; so what is open stays, in all
processes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from holdfast.layers.cached.trouble import CacheTrouble, Gone, on_disk
from holdfast.seams import Entropy, Files, hold_alone, hold_shared

ATTEMPTS = 3

_LOG = logging.getLogger(__name__)


class BlobFiles:
    """The files below `folder`. Safe from many threads and processes."""

    def __init__(self, folder: str, files: Files, entropy: Entropy) -> None:
        self._folder, self._files, self._entropy = folder, files, entropy

    def new_file(self) -> str:
        """A name for a new blob's file."""
        return self._entropy.token(16)

    def path_of(self, file: str) -> str:
        """Where it lies."""
        return f"{self._folder}/blobs/{file[:2]}/{file}"

    def create(self, file: str) -> int:
        """A new file for a blob, open for writing, with a lease on it: so a sweep knows that somebody is at it."""
        path = self.path_of(file)
        for _ in range(ATTEMPTS):
            with on_disk():
                try:
                    fd = self._files.create(path, 0o666)
                except FileNotFoundError:
                    self.make_home(file)
                    fd = self._files.create(path, 0o666)
                hold_shared(fd)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # a sweep was quicker than the lease
        raise CacheTrouble("new files vanish at once")

    def make_home(self, file: str) -> None:
        """The folder in which a file lies."""
        for folder in (f"{self._folder}/blobs", os.path.dirname(self.path_of(file))):
            try:
                self._files.make_folder(folder, 0o777)
            except FileExistsError:
                continue

    def open(self, file: str, *, to_write: bool = False) -> int:
        """The file with a lease on it; `Gone` if it was taken away."""
        flags = os.O_RDWR if to_write else os.O_RDONLY
        try:
            fd = os.open(self.path_of(file), flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise Gone from None
        hold_shared(fd)
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            raise Gone
        return fd

    def in_use(self, file: str) -> bool:
        """Whether anybody has it open."""
        try:
            fd = os.open(self.path_of(file), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return hold_alone(fd) is not True
        finally:
            os.close(fd)

    def names(self) -> Iterator[str]:
        """All files that lie there, in no order."""
        for folder in os.listdir(f"{self._folder}/blobs"):
            yield from os.listdir(f"{self._folder}/blobs/{folder}")

    def lock_alone(self, file: str) -> int | None:
        """The file, open and locked for us alone; None if somebody has it open; -1 if there is no file."""
        try:
            fd = os.open(self.path_of(file), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return -1
        except OSError:
            return None
        if hold_alone(fd) is True:
            return fd
        os.close(fd)
        return None

    def unlink(self, file: str) -> bool:
        """Remove a file that is locked; whether it is gone."""
        try:
            self._files.unlink(self.path_of(file))
        except FileNotFoundError:
            return True
        except OSError as error:
            _LOG.warning("cache folder %s: %s cannot be removed: %s", self._folder, file, error.strerror)
            return False
        return True

    def unlink_unused(self, file: str) -> bool:
        """Whether the file is gone; it stays while somebody has it open."""
        fd = self.lock_alone(file)
        if fd is None:
            return False
        try:
            return fd < 0 or self.unlink(file)
        finally:
            if fd >= 0:
                os.close(fd)
