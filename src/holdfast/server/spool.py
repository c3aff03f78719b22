"""Where the bytes of an upload gather until it is whole: one growing file for each.

The file lies in the pool that would be chosen now, so that in the end it is renamed, not copied; where that
pool has no local folder it lies in the state directory. Its whole size is allocated when it is announced
(where the file system can do that), so the room is really there, also after a restart. What arrived is what
the file holds, also when we were killed. After a power cut a file may be larger than what was written of it, and
end in zeros: then only what had been synced and recorded counts (`Upload.offset_bytes`).

One piece is taken at a time, whichever process asks: the file is locked. Hashing goes along; after a restart,
or in another process, what lies there already is read once more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from blake3 import blake3

from holdfast.blobs import BLOCK_BYTES
from holdfast.catalog.holders import this_machine
from holdfast.catalog.uploads import Upload
from holdfast.errors import Denied, NoSpace, StoreError, Unavailable
from holdfast.server.inflow import Inflow
from holdfast.server.problem import HttpProblem

PREFIX = ".holdfast-upload-"
SUFFIX, HANDED_SUFFIX = ".part", ".whole"
HASHES_MAX = 512
WRITE_BACK_BYTES = 32 * BLOCK_BYTES
_KEEP_SIZE = 1
_SYNC_FILE_RANGE_WRITE = 2
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY})


@dataclass(slots=True)
class _Progress:
    """A hash of the first `size_bytes` of a file."""

    digest: blake3
    size_bytes: int = 0


class Hashes:
    """Half-made hashes of uploads, so that each byte is hashed as it arrives. Forgets the oldest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Progress] = OrderedDict()

    def take(self, upload_id: str) -> _Progress:
        """The hash so far; a fresh one where nobody knows. Whoever takes it puts it back."""
        with self._lock:
            return self._kept.pop(upload_id, None) or _Progress(blake3())

    def keep(self, upload_id: str, progress: _Progress) -> None:
        """Put it back for the next piece."""
        with self._lock:
            self._kept[upload_id] = progress
            while len(self._kept) > HASHES_MAX:
                self._kept.popitem(last=False)


def path_of(upload: Upload) -> Path:
    """Where an upload's bytes lie."""
    return Path(upload.folder) / f"{PREFIX}{upload.id}{SUFFIX}"


def create(upload: Upload) -> None:
    """Make the file, durably, and allocate its room; `NoSpace` if the disk has not that much, `Denied` if nobody may
    write there."""
    path = path_of(upload)
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise translated(error, path) from error
    try:
        if upload.size_bytes:
            _allocate(fd, upload.size_bytes)
        os.fsync(fd)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise translated(error, path) from error
    finally:
        os.close(fd)


def arrived_bytes(upload: Upload) -> int:
    """How many bytes have arrived. 410 if the file is gone, `Unavailable` if its disk is."""
    try:
        return _believed(upload, os.stat(path_of(upload)).st_size)
    except FileNotFoundError:
        raise _gone(upload) from None
    except OSError as error:
        raise translated(error, path_of(upload)) from error


def open_arrived(upload: Upload) -> BinaryIO:
    """What has arrived, for reading; behind `arrived_bytes` lies what does not count. Close it. 410 if it is gone."""
    try:
        return os.fdopen(os.open(path_of(upload), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")
    except FileNotFoundError:
        raise _gone(upload) from None
    except OSError as error:
        raise translated(error, path_of(upload)) from error


def remove(upload: Upload) -> None:
    """Take away what is left of it in the file system. A dataset that it became stays."""
    for path in (path_of(upload), _handed(upload)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise translated(error, path) from error


def _handed(upload: Upload) -> Path:
    return path_of(upload).with_suffix(HANDED_SUFFIX)


def believed_from() -> str:
    """What an upload's `machine` says if the size of its file is believed here: this host, since this boot."""
    return this_machine().rpartition(" ")[0]


def _believed(upload: Upload, size_bytes: int) -> int:
    """How much of a file that is so large has really arrived."""
    return size_bytes if upload.machine == believed_from() else min(size_bytes, upload.offset_bytes)


class Piece:
    """The right to add to an upload: 423 while somebody else has it. Use it in a `with` block."""

    def __init__(self, upload: Upload, hashes: Hashes) -> None:
        self.upload = upload
        self._hashes = hashes
        self._fd = _open_locked(upload)
        size_bytes = os.fstat(self._fd).st_size
        self.offset_bytes = _believed(upload, size_bytes)
        if self.offset_bytes < size_bytes:
            self.cut(self.offset_bytes)

    def append(self, stream: Inflow, *, most_bytes: int, watch: Callable[[memoryview], object] | None = None) -> None:
        """Add what comes, to the end of the stream or its failure; all that came is kept. 413 for too much.

        `watch` sees every block, for a checksum of this piece alone.
        """
        progress = self._hashes.take(self.upload.id)
        try:
            self._catch_up(progress)
            written_back = self.offset_bytes
            while block := memoryview(stream.read()):
                if len(block) > most_bytes:
                    raise HttpProblem(413, "more bytes came than the upload was announced with")
                most_bytes -= len(block)
                self._write(block)
                progress.digest.update(block)
                progress.size_bytes += len(block)
                if watch is not None:
                    watch(block)
                if self.offset_bytes - written_back >= WRITE_BACK_BYTES:
                    _start_writing_back(self._fd, written_back, self.offset_bytes - written_back)
                    written_back = self.offset_bytes
        finally:
            self._hashes.keep(self.upload.id, progress)

    def checksum(self) -> str:
        """The hash of all that arrived, as `blake3:<hex>`."""
        progress = self._hashes.take(self.upload.id)
        self._catch_up(progress)
        self._hashes.keep(self.upload.id, progress)
        return f"blake3:{progress.digest.hexdigest()}"

    def cut(self, size_bytes: int) -> None:
        """Throw away what lies behind `size_bytes`; its room stays allocated, if the disk still has it."""
        try:
            os.ftruncate(self._fd, size_bytes)
        except OSError as error:
            raise translated(error, path_of(self.upload)) from error
        self.offset_bytes = size_bytes
        self._hashes.take(self.upload.id)
        with contextlib.suppress(OSError):
            _allocate(self._fd, self.upload.size_bytes)

    def settle(self) -> int:
        """Make what has arrived survive a power cut; how much that is."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise translated(error, path_of(self.upload)) from error
        return self.offset_bytes

    def is_file(self, path: str | None) -> bool:
        """Whether that is this very file, under another name."""
        if path is None:
            return False
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._fd))
        except OSError:
            return False

    def is_beside(self, path: str | None) -> bool:
        """Whether that lies on the same file system."""
        try:
            return path is not None and os.stat(path).st_dev == os.fstat(self._fd).st_dev
        except OSError:
            return False

    def second_name(self) -> Path:
        """The file under a name that may be taken away: a kill before its dataset is recorded loses nothing. Its
        only one, on a file system that has no second names."""
        handed = _handed(self.upload)
        try:
            handed.unlink(missing_ok=True)
            os.link(path_of(self.upload), handed, follow_symlinks=False)
        except OSError:
            return path_of(self.upload)
        return handed

    def unlink(self) -> None:
        """Throw the file away."""
        remove(self.upload)
        self._hashes.take(self.upload.id)

    def close(self) -> None:
        """Let the next one come. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, block: memoryview) -> None:
        try:
            while block:
                count = os.pwrite(self._fd, block, self.offset_bytes)
                self.offset_bytes += count
                block = block[count:]
        except OSError as error:
            raise translated(error, path_of(self.upload)) from error

    def _catch_up(self, progress: _Progress) -> None:
        """Hash what arrived in another process, or before a restart."""
        if progress.size_bytes > self.offset_bytes:
            progress.digest, progress.size_bytes = blake3(), 0
        buffer = bytearray(min(BLOCK_BYTES, self.offset_bytes - progress.size_bytes))
        view = memoryview(buffer)
        while progress.size_bytes < self.offset_bytes:
            left = min(len(buffer), self.offset_bytes - progress.size_bytes)
            try:
                count = os.preadv(self._fd, [view[:left]], progress.size_bytes)
            except OSError as error:
                raise translated(error, path_of(self.upload)) from error
            if count == 0:
                raise Unavailable(f"{path_of(self.upload)} became shorter while it was read")
            progress.digest.update(view[:count])
            progress.size_bytes += count


def translated(error: OSError, path: Path) -> StoreError:
    """A file's error as one of ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(
            f"the disk of {path.parent} has no room for this upload; what arrived is kept", operation="upload"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Denied(
            f"the server may not write uploads into {path.parent}: {error.strerror}; give its user access, or set the "
            "pool read-only",
            operation="upload",
        )
    return Unavailable(f"the folder of the upload, {path.parent}, does not work: {error.strerror}", operation="upload")


def _open_locked(upload: Upload) -> int:
    path = path_of(upload)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise _gone(upload) from None
    except OSError as error:
        raise translated(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise HttpProblem(
            423, "another request is adding to this upload now; try again when it has ended", retry_after_s=2
        ) from None
    except OSError as error:
        if error.errno not in _CANNOT and error.errno != errno.ENOLCK:
            os.close(fd)
            raise translated(error, path) from error
    if os.fstat(fd).st_nlink == 0:  # it became a dataset, or was deleted, while we waited
        os.close(fd)
        raise _gone(upload)
    return fd


def _gone(upload: Upload) -> StoreError | HttpProblem:
    if not os.path.isdir(upload.folder):
        return Unavailable(f"the folder of the upload, {upload.folder}, is not there; is it mounted?")
    return HttpProblem(410, "the bytes of this upload are gone; start it again")


def _allocate(fd: int, size_bytes: int) -> None:
    code = _libc().fallocate(fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size_bytes))
    if code != 0:
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _start_writing_back(fd: int, offset: int, size_bytes: int) -> None:
    # a hint: without it the sync at the end has everything left to do
    _libc().sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size_bytes), _SYNC_FILE_RANGE_WRITE)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
