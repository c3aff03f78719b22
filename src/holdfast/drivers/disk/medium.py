"""The folder behind a pool: its mark, its errors, and what one file looks like. Used by the disk driver alone.

The mark is a small file in the folder. While it is not there, or another one is, nothing that the folder says
is believed: the mount is gone, or another disk is mounted there.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from typing import NoReturn

from holdfast.blobs import BlobStat
from holdfast.errors import (
    AlreadyExists,
    Denied,
    InvalidKey,
    NoSpace,
    NotFound,
    StoreError,
    Unavailable,
)
from holdfast.keys import Key
from holdfast.seams import Entropy, Files

MARK_NAME = ".holdfast-pool"
TEMPORARY_PREFIX = ".holdfast-"
TEMPORARY_SUFFIX = ".tmp"
FOLDERS_REMEMBERED_MAX = 100_000
_EXTRA_FILES = "_files/"
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)  # nothing, a circle of links, a socket


class Medium:
    """One pool's folder. Safe from many threads."""

    def __init__(self, name: str, root: str, files: Files, entropy: Entropy) -> None:
        self.name, self.root = name, root
        self.files, self._entropy = files, entropy
        self._identity: str | None = None
        self._mark_path = f"{root}/{MARK_NAME}"
        self._mark_seen: tuple[int, int, int] | None = None  # numbers of devices and inodes are given out again
        self._plain: set[str] = set()  # folders of blobs that were seen to be no links

    # -- the mark -----------------------------------------------------------------------------------------

    def identity(self) -> str | None:
        """The mark that the folder carries."""
        try:
            with open(f"{self.root}/{MARK_NAME}", encoding="ascii") as stream:
                return stream.read(200).strip() or None
        except FileNotFoundError:
            if os.path.isdir(self.root):
                return None
            raise self.unavailable(f"the folder {self.root} is not there; mount it or create it", "identity") from None
        except NotADirectoryError:
            raise self.unavailable(self._no_folder(), "identity") from None
        except (OSError, UnicodeDecodeError) as error:
            raise self.unavailable(f"the mark {self.root}/{MARK_NAME} cannot be read: {error}", "identity") from error

    def mark(self, identity: str, replacing: str | None = None) -> None:
        """Write the mark, durably, over none or over `replacing`; `AlreadyExists` if there is another."""
        carried = self.identity()
        if carried is None or carried == replacing:
            carried = self._write_mark(identity, over=carried is not None)
        if carried != identity:
            raise AlreadyExists(
                f"pool {self.name}: {self.root} carries the mark {carried} already; it belongs to that pool",
                store=self.name, key=MARK_NAME, operation="mark",
            )  # fmt: skip
        self.expect(identity)

    def _write_mark(self, identity: str, *, over: bool) -> str | None:
        """The mark that is there then: ours, or that of somebody who was quicker."""
        path = f"{self.root}/{MARK_NAME}"
        temporary = self.temporary_beside(path)
        try:
            fd = self.files.create(temporary, 0o644)
            try:
                self.files.write(fd, identity.encode("ascii") + b"\n")
                self.files.sync(fd)
            finally:
                self.files.close(fd)
            try:
                (self.files.replace if over else self.files.rename_new)(temporary, path)
            except FileExistsError:
                self.files.unlink(temporary)
            self.files.sync_folder(self.root)
        except OSError as error:
            self.fail(error, MARK_NAME, "mark")
        return self.identity()

    def expect(self, identity: str) -> None:
        """Believe the folder only while it carries this mark."""
        self._identity = identity
        self._mark_seen = None

    def forget(self) -> None:
        """Read the mark again at the next occasion."""
        self._mark_seen = None
        self._plain.clear()

    def require(self, operation: str) -> None:
        """Raise `Unavailable` unless the folder is the one that we know. One system call while it is."""
        if self._identity is None:
            if not os.path.isdir(self.root):
                raise self.unavailable(self._no_folder(), operation)
            return
        try:
            found = os.stat(self._mark_path)
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                raise self.unavailable(self._no_folder(), operation) from None
            if error.errno == errno.ENOENT:
                reason = f"{self.root} does not carry the pool's mark ({MARK_NAME}); is it mounted?"
                raise self.unavailable(reason, operation) from None
            raise self.unavailable(f"{self.root} does not answer: {error.strerror}", operation) from error
        seen = (found.st_dev, found.st_ino, found.st_ctime_ns)
        if seen != self._mark_seen:
            carried = self.identity()
            if carried != self._identity:
                reason = (
                    f"another disk is there, or another catalog has taken it over: {self.root} carries the mark "
                    f"{carried}, not {self._identity}"
                )
                raise self.unavailable(reason, operation)
            self._mark_seen = seen

    def _no_folder(self) -> str:
        if os.path.exists(self.root):
            return f"{self.root} is a file, not a folder; write the path of a folder as its files_dir"
        return f"the folder {self.root} is not there; is it mounted?"

    # -- names --------------------------------------------------------------------------------------------

    def path(self, key: str) -> str:
        """Where the blob lies."""
        return f"{self.root}/{key}"

    def temporary_beside(self, path: str) -> str:
        """A fresh temporary name in the same folder."""
        return f"{os.path.dirname(path)}/{TEMPORARY_PREFIX}{self._entropy.token(8)}{TEMPORARY_SUFFIX}"

    def refuse_leaving(self, key: Key, operation: str) -> None:
        """Like `refuse_outside`, for the folders above a blob. `OSError` if one of them is not there."""
        folder = key.rpartition("/")[0]
        if folder in self._plain:
            return
        at = key.find("/")
        while at != -1:
            if modes.S_ISLNK(os.lstat(f"{self.root}/{key[:at]}").st_mode):
                self.refuse_outside(self.path(key), key, operation)
                return
            at = key.find("/", at + 1)
        if _EXTRA_FILES not in key:  # there anybody's links may come and go
            if len(self._plain) >= FOLDERS_REMEMBERED_MAX:
                self._plain.clear()
            self._plain.add(folder)

    def refuse_outside(self, path: str, key: str, operation: str) -> None:
        """A link may lead elsewhere inside the pool, never out of it."""
        real = os.path.realpath(path)
        root = os.path.realpath(self.root)
        if real != root and not real.startswith(root + os.sep):
            raise Denied(
                f"{key} in pool {self.name} is a link that leads out of {self.root}; links may not leave the pool",
                store=self.name, key=key, operation=operation,
            )  # fmt: skip

    def open_file(self, path: str, key: Key, operation: str) -> int:
        """A descriptor of a blob's file, for reading; `Denied` if a link leads out of the pool."""
        self.refuse_leaving(key, operation)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        self.refuse_outside(path, key, operation)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    # -- errors -------------------------------------------------------------------------------------------

    def unavailable(self, reason: str, operation: str) -> Unavailable:
        """The pool cannot be used now."""
        return Unavailable(f"pool {self.name} is unavailable: {reason}", store=self.name, operation=operation)

    def absent(self, key: str, operation: str) -> NotFound:
        """It is not there, and the folder is the right one; else raises `Unavailable`."""
        self.require(operation)
        return NotFound(f"{key} is not in pool {self.name}", store=self.name, key=key, operation=operation)

    def taken(self, key: Key) -> AlreadyExists:
        """Something has that name."""
        return AlreadyExists(f"{key} exists already in pool {self.name}", store=self.name, key=key, operation="put")

    def fail(self, error: OSError, key: str, operation: str) -> NoReturn:
        """The one place where the system's errors become ours."""
        code = error.errno
        if code in ABSENT and operation != "put":
            raise self.absent(key, operation) from None
        if code == errno.ENOTDIR:
            self.require(operation)
            raise InvalidKey(
                f"{key} cannot be stored in pool {self.name}: a part of its name is a blob; choose another name",
                store=self.name, key=key, operation=operation,
            ) from error  # fmt: skip
        cls: type[StoreError]
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            cls, advice = NoSpace, "the disk is full"
        elif code in (errno.EROFS, errno.EACCES, errno.EPERM):
            cls, advice = Denied, f"give the server's user access to {self.root}, or set the pool read-only"
        elif code in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EISDIR):
            cls, advice = InvalidKey, "choose another name"
        else:
            cls, advice = Unavailable, "look at the disk or the mount, then try again"
        where = f"{operation} {key or self.root} in pool {self.name}"
        raise cls(
            f"{where}: {error.strerror or error}; {advice}", store=self.name, key=key, operation=operation
        ) from error


def stat_of(key: Key, found: os.stat_result, checksum: str | None = None) -> BlobStat:
    """What a store says of a file."""
    version = f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
    return BlobStat(key, found.st_size, version, found.st_mtime_ns // 1000, checksum)
