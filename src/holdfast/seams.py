"""The seams: every clock, every random choice and every file effect goes through one of these.

Production uses `SystemClock`, `SystemEntropy` and `SystemFiles`. Tests put in others: one seed then replays a
crash. `Files` is deliberately low: one method is one system call that changes something on disk, so that
"fail the n-th effect" and "forget what was not synced" mean what they say.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Time. `now_us` is microseconds since 1970, UTC, and may jump; `monotonic_s` never goes back."""

    def now_us(self) -> int: ...

    def monotonic_s(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class Entropy(Protocol):
    """Randomness."""

    def token(self, size_bytes: int) -> str:
        """A fresh hexadecimal string of `size_bytes` random bytes."""
        ...

    def uuid(self) -> str:
        """A fresh random uuid, lower case, with dashes."""
        ...


class Files(Protocol):
    """File effects. Each method raises `OSError` as the system does."""

    def create(self, path: str, mode: int) -> int:
        """A new file, exclusively, open for writing. Returns the file descriptor."""
        ...

    def write(self, fd: int, block: bytes | bytearray | memoryview) -> int: ...

    def sync(self, fd: int) -> None:
        """fsync."""
        ...

    def sync_all(self, fd: int) -> None:
        """syncfs of the file system that `fd` lies on."""
        ...

    def sync_folder(self, path: str) -> None:
        """fsync of a folder: the names in it survive a power cut."""
        ...

    def start_writing_back(self, fd: int, offset: int, size_bytes: int) -> None:
        """Ask the kernel to start writing these bytes now. A hint; never raises."""
        ...

    def close(self, fd: int) -> None: ...

    def link(self, source: str, target: str) -> None: ...

    def replace(self, source: str, target: str) -> None:
        """Rename over whatever has the target's name."""
        ...

    def rename_new(self, source: str, target: str) -> None:
        """Rename to a name that nobody has: `FileExistsError` otherwise, atomically."""
        ...

    def unlink(self, path: str) -> None: ...

    def make_folder(self, path: str, mode: int) -> None: ...

    def remove_folder(self, path: str) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemEntropy:
    """The machine's randomness."""

    def token(self, size_bytes: int) -> str:
        return secrets.token_hex(size_bytes)

    def uuid(self) -> str:
        return str(uuid.uuid4())


_SYNC_FILE_RANGE_WRITE = 2
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


class SystemFiles:
    """The machine's files."""

    def __init__(self) -> None:
        self._libc: ctypes.CDLL | None = None

    def create(self, path: str, mode: int) -> int:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)

    def write(self, fd: int, block: bytes | bytearray | memoryview) -> int:
        return os.write(fd, block)

    def sync(self, fd: int) -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system without fsync
                raise

    def sync_all(self, fd: int) -> None:
        if self._native().syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def sync_folder(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def start_writing_back(self, fd: int, offset: int, size_bytes: int) -> None:
        self._native().sync_file_range(
            fd, ctypes.c_int64(offset), ctypes.c_int64(size_bytes), _SYNC_FILE_RANGE_WRITE
        )

    def close(self, fd: int) -> None:
        os.close(fd)

    def link(self, source: str, target: str) -> None:
        os.link(source, target)

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target)

    def rename_new(self, source: str, target: str) -> None:
        at = _AT_FDCWD
        done = self._native().renameat2(at, os.fsencode(source), at, os.fsencode(target), _RENAME_NOREPLACE)
        if done == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), source, None, target)
        os.link(source, target)  # NFS, and file systems without RENAME_NOREPLACE
        os.unlink(source)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def make_folder(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def remove_folder(self, path: str) -> None:
        os.rmdir(path)

    def _native(self) -> ctypes.CDLL:
        if self._libc is None:
            self._libc = ctypes.CDLL(None, use_errno=True)
        return self._libc


def hold_shared(fd: int) -> bool:
    """Take a shared lock on an open file; False where the file system has no locks. Ends with the fd."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(fd, fcntl.LOCK_SH)  # the exclusive holder is about to look and let go
    except OSError:
        return False
    return True


def wait_alone(fd: int) -> bool:
    """Wait for an exclusive lock on an open file or folder; False where the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def hold_alone(fd: int) -> bool | None:
    """Try for an exclusive lock on an open file; False if somebody holds it, None if nobody can tell."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            return None
        raise
    return True
