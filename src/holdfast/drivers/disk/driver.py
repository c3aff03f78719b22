"""Blobs as files below one folder: a local disk, an NFS mount, an existing Galaxy files directory.

    pools:
      newdata: {type: disk, files_dir: /data2}

Promises: a put is a temporary file beside its target, written, synced, renamed, and its folder synced; so a
reader sees old or new bytes, whole, and an acknowledged put survives a power cut. A pool that has been marked
is recognised by its mark: when the mount is gone every answer is `Unavailable`, never "not there", and
nothing is written below the bare mount point. An open reader holds a shared lock; a locked blob is not
deleted (`Conflict`).

Does not do: placement, checksumming of what is read, quotas. Links that lead out of the folder are refused.
"""

from __future__ import annotations

import errno
import io
import os
import stat as modes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn

from holdfast.blobs import (
    DEFAULT_GET,
    DEFAULT_PUT,
    BlobStat,
    Body,
    FileBody,
    GetOptions,
    PutOptions,
    Reader,
    Usage,
)
from holdfast.drivers.disk.copying import copy_hashed, hash_file
from holdfast.drivers.disk.walk import walk_files
from holdfast.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    Denied,
    HoldfastError,
    InvalidKey,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StoreError,
    Unavailable,
    Unsupported,
)
from holdfast.keys import Key
from holdfast.seams import Clock, Entropy, Files, SystemClock, SystemEntropy, SystemFiles, hold_alone, hold_shared
from holdfast.stores.base import Capabilities, Driver, Leftover

MARK_NAME = ".holdfast-pool"
TEMPORARY_PREFIX = ".holdfast-"
TEMPORARY_SUFFIX = ".tmp"
ATTEMPTS_MAX = 8  # against folders and files that vanish between two system calls
UNLOCKED_AGE_S = 24 * 3600.0  # without locks, a temporary file is given up when it is so old
SYNC_TOGETHER_MIN = 8  # from so many files on, one syncfs is cheaper than an fsync each
FOLDERS_REMEMBERED_MAX = 100_000  # whose own names are known to be durable

_CAPABILITIES = Capabilities(
    local_paths=True, atomic_if_absent=True, if_version=True, server_side_copy=True, batch_sync=True
)


class DiskDriver(Driver):
    """Files below `root`. `apart` are folders inside it that hold no blobs (working directories)."""

    def __init__(
        self,
        name: str,
        root: str | Path,
        *,
        apart: frozenset[str] = frozenset(),
        durable: bool = True,
        files: Files | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self._name = name
        self.root = os.path.abspath(root)
        self._apart = apart
        self._durable = durable
        self._files = files or SystemFiles()
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        self._identity: str | None = None
        self._mark_seen: tuple[int, int] | None = None
        self._lasting: set[str] = set()  # folders below the root whose own names this process has seen synced

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    # -- reading ------------------------------------------------------------------------------------------

    def stat(self, key: Key) -> BlobStat:
        path = f"{self.root}/{key}"
        try:
            found = os.lstat(path)
            if modes.S_ISLNK(found.st_mode) or _is_extra(key):
                self._refuse_outside(path, key, "stat")
                found = os.stat(path)
        except OSError as error:
            self._fail(error, key, "stat")
        if not modes.S_ISREG(found.st_mode):
            raise self._absent(key, "stat")
        return _stat_of(key, found)

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        path = f"{self.root}/{key}"
        for _ in range(ATTEMPTS_MAX):
            try:
                fd = self._open_file(path, key)
            except OSError as error:
                self._fail(error, key, "open")
            hold_shared(fd)
            found = os.fstat(fd)
            if found.st_nlink == 0:  # replaced or removed between open and lock
                os.close(fd)
                continue
            if not modes.S_ISREG(found.st_mode):
                os.close(fd)
                raise self._absent(key, "open")
            stream = io.FileIO(fd, "r")
            if options.range is not None:
                stream.seek(options.range.start)
            return Reader(stream, _stat_of(key, found), local_path=Path(path))
        raise Unavailable(f"{key} in pool {self._name} keeps changing", store=self._name, key=key, operation="open")

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        self._require_mark("list")
        try:
            for relative, found in walk_files(self.root, prefix, after, self._apart):
                if not relative.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
                    yield _stat_of(Key(relative), found)
        except OSError as error:
            self._fail(error, Key(prefix), "list")
        self._require_mark("list")

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._require_mark("put")
        durable = options.durable and self._durable
        path = f"{self.root}/{key}"
        if _is_extra(key):
            self._refuse_outside(path, key, "put")
        if options.if_absent and os.path.lexists(path):
            raise self._taken(key)
        if isinstance(body, FileBody) and body.consume:
            taken = self._put_in_place(key, path, body, options, durable)
            if taken is not None:
                return taken
        return self._put_copy(key, path, body, options, durable)

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        with self.open(source) as reader:
            return self.put(target, _ReaderBody(reader), options)

    def delete(self, key: Key) -> None:
        path = f"{self.root}/{key}"
        try:
            fd = self._open_file(path, key)
        except FileNotFoundError:
            self._require_mark("delete")
            return
        except OSError as error:
            self._fail(error, key, "delete")
        try:
            if hold_alone(fd) is False:
                raise Conflict(f"{key} in pool {self._name} is being read; it can be deleted when the reader is done")
            self._files.unlink(path)
            if self._durable:
                self._files.sync_folder(os.path.dirname(path))
        except FileNotFoundError:
            self._require_mark("delete")
        except OSError as error:
            self._fail(error, key, "delete")
        finally:
            os.close(fd)
        self._remove_empty_folders(key)

    def sync(self, keys: Sequence[Key]) -> None:
        if not keys or not self._durable:
            return
        try:
            if len(keys) >= SYNC_TOGETHER_MIN:
                fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    self._files.sync_all(fd)
                finally:
                    os.close(fd)
                return
            for key in keys:
                fd = os.open(f"{self.root}/{key}", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    self._files.sync(fd)
                finally:
                    os.close(fd)
            for folder in sorted({key.parent for key in keys}):
                self._sync_names(os.path.dirname(f"{self.root}/{folder}/"))
        except OSError as error:
            self._fail(error, keys[0], "sync")

    def sign_url(self, key: Key, method: Literal["GET", "PUT"], expires_s: int) -> str:
        raise Unsupported(f"pool {self._name} is a folder and has no URLs", store=self._name, operation="sign_url")

    def close(self) -> None:
        self._mark_seen = None

    # -- the medium ---------------------------------------------------------------------------------------

    def usage(self) -> Usage:
        self._require_mark("usage")
        try:
            found = os.statvfs(self.root)
        except OSError as error:
            self._fail(error, Key(""), "usage")
        medium = f"disk {os.stat(self.root).st_dev}"
        return Usage(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, medium)

    def probe(self) -> None:
        self._require_mark("probe")
        key = Key(f"{TEMPORARY_PREFIX}probe-{self._entropy.token(8)}.tmp")
        content = self._entropy.token(32).encode()
        path = f"{self.root}/{key}"
        try:
            fd = self._files.create(path, 0o600)
            try:
                self._files.write(fd, content)
                self._files.sync(fd)
                if os.pread(fd, 100, 0) != content:
                    raise Corrupt(f"pool {self._name} did not give back what was written", store=self._name)
            finally:
                self._files.close(fd)
                self._files.unlink(path)
        except OSError as error:
            self._fail(error, key, "probe")

    def leftovers(self) -> Iterator[Leftover]:
        self._require_mark("leftovers")
        now_s = self._clock.now_us() / 1e6
        for relative, found in walk_files(self.root, "", "", self._apart):
            name = relative.rpartition("/")[2]
            if name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX):
                age_s = max(0.0, now_s - found.st_mtime)
                yield Leftover(relative, found.st_size, age_s, self._in_use(relative, age_s, take_away=False))

    def discard(self, leftover: Leftover) -> bool:
        return not self._in_use(leftover.name, leftover.age_s, take_away=True)

    def occupied(self, key: Key) -> bool:
        return os.path.lexists(f"{self.root}/{key}")

    def prepare(self) -> None:
        if not os.path.isdir(self.root) and os.path.isdir(os.path.dirname(self.root)):
            try:
                self._files.make_folder(self.root, 0o777)
                self._files.sync_folder(os.path.dirname(self.root))
            except FileExistsError:
                return
            except OSError as error:
                self._fail(error, Key(""), "prepare")

    def identity(self) -> str | None:
        try:
            with open(f"{self.root}/{MARK_NAME}", encoding="ascii") as stream:
                return stream.read(200).strip() or None
        except FileNotFoundError:
            if os.path.isdir(self.root):
                return None
            raise Unavailable(
                f"pool {self._name}: the folder {self.root} is not there; mount it or create it",
                store=self._name, operation="identity",
            ) from None  # fmt: skip
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(
                f"pool {self._name}: the mark {self.root}/{MARK_NAME} cannot be read: {error}", store=self._name
            ) from error

    def mark(self, identity: str) -> None:
        if self.identity() != identity:
            path = f"{self.root}/{MARK_NAME}"
            temporary = f"{self.root}/{TEMPORARY_PREFIX}{self._entropy.token(8)}{TEMPORARY_SUFFIX}"
            try:
                fd = self._files.create(temporary, 0o644)
                try:
                    self._files.write(fd, identity.encode("ascii") + b"\n")
                    self._files.sync(fd)
                finally:
                    self._files.close(fd)
                self._files.replace(temporary, path)
                self._files.sync_folder(self.root)
            except OSError as error:
                self._fail(error, Key(MARK_NAME), "mark")
        self.expect(identity)

    def expect(self, identity: str) -> None:
        self._identity = identity
        self._mark_seen = None

    # -- inside -------------------------------------------------------------------------------------------

    def _require_mark(self, operation: str) -> None:
        """Raise `Unavailable` unless the folder is the one that we know. One system call when nothing changed."""
        if self._identity is None:
            if not os.path.isdir(self.root):
                raise self._gone(f"the folder {self.root} is not there", operation)
            return
        try:
            found = os.stat(f"{self.root}/{MARK_NAME}")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise self._gone(f"{self.root} does not carry the pool's mark ({MARK_NAME})", operation) from None
            raise self._gone(f"{self.root} does not answer: {error.strerror}", operation) from error
        seen = (found.st_dev, found.st_ino)
        if seen != self._mark_seen:
            carried = self.identity()
            if carried != self._identity:
                raise self._gone(
                    f"{self.root} carries the mark {carried}, but this pool's is {self._identity}: "
                    "another disk is mounted there",
                    operation,
                )
            self._mark_seen = seen

    def _gone(self, reason: str, operation: str) -> Unavailable:
        return Unavailable(
            f"pool {self._name} is unavailable: {reason}; is it mounted?", store=self._name, operation=operation
        )

    def _open_file(self, path: str, key: str) -> int:
        if _is_extra(key):
            self._refuse_outside(path, key, "open")
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        self._refuse_outside(path, key, "open")
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def _refuse_outside(self, path: str, key: str, operation: str) -> None:
        """A link may lead elsewhere inside the pool, never out of it."""
        real = os.path.realpath(path)
        root = os.path.realpath(self.root)
        if real != root and not real.startswith(root + os.sep):
            raise Denied(
                f"{key} in pool {self._name} is a link that leads out of {self.root}; links may not leave the pool",
                store=self._name, key=key, operation=operation,
            )  # fmt: skip

    def _create_beside(self, path: str) -> tuple[int, str]:
        folder = os.path.dirname(path)
        for _ in range(ATTEMPTS_MAX):
            temporary = f"{folder}/{TEMPORARY_PREFIX}{self._entropy.token(8)}{TEMPORARY_SUFFIX}"
            try:
                return self._files.create(temporary, 0o666), temporary
            except FileNotFoundError:
                self._make_folders(folder)
        raise FileNotFoundError(errno.ENOENT, "the folder keeps vanishing", folder)

    def _make_folders(self, folder: str) -> None:
        """Make `folder` and what is missing above it, below the root only; `_sync_names` makes them last."""
        if not folder.startswith(self.root + "/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        parent = os.path.dirname(folder)
        try:
            self._files.make_folder(folder, 0o777)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make_folders(parent)
            self._make_folders(folder)

    def _sync_names(self, folder: str) -> None:
        """Make the names in `folder` durable, and its own: whoever made it may have died before a sync."""
        self._files.sync_folder(folder)
        while folder.startswith(self.root + "/") and folder not in self._lasting:
            parent = os.path.dirname(folder)
            self._files.sync_folder(parent)
            if len(self._lasting) >= FOLDERS_REMEMBERED_MAX:
                self._lasting.clear()
            self._lasting.add(folder)
            folder = parent

    def _put_copy(self, key: Key, path: str, body: Body, options: PutOptions, durable: bool) -> BlobStat:
        """Copy the body into a temporary file beside its target, then give it the target's name."""
        try:
            fd, temporary = self._create_beside(path)
        except OSError as error:
            self._fail(error, key, "put")
        published = closed = False
        try:
            hold_shared(fd)
            checksum, size = copy_hashed(self._files, body, fd, options.on_progress)
            self._check_digest(key, options, checksum)
            if durable:
                self._files.sync(fd)
            found = os.fstat(fd)
            assert found.st_size == size, "the medium holds another number of bytes than was written"
            staged = _stat_of(key, found, checksum)
            if options.on_staged is not None:
                options.on_staged(staged)
            self._publish(temporary, path, key, options)
            published = True
            if durable:
                self._sync_names(os.path.dirname(path))
            closed = True  # also if it fails: a file system may tell only now that bytes were lost
            self._files.close(fd)
        except OSError as error:
            self._fail_put(error, key, published)
        finally:
            if not closed:
                self._close_after_failure(fd)
            if not published:
                self._forget_temporary(temporary)
        if isinstance(body, FileBody) and body.consume:
            self._forget_temporary(os.fspath(body.path))
        return staged

    def _put_in_place(
        self, key: Key, path: str, body: FileBody, options: PutOptions, durable: bool
    ) -> BlobStat | None:
        """Rename a file that was given away to its target; None if it lies on another file system."""
        source, published = os.fspath(body.path), False
        folder = os.path.dirname(path)
        try:
            self._make_folders(folder)
            fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            self._fail(error, key, "put")
        try:
            found = os.fstat(fd)
            if found.st_dev != os.stat(folder).st_dev or not modes.S_ISREG(found.st_mode):
                return None
            checksum = body.checksum or hash_file(fd)
            self._check_digest(key, options, checksum)
            if durable:
                self._files.sync(fd)
            found = os.fstat(fd)
            if found.st_size != body.size_bytes:
                raise PreconditionFailed(
                    f"{body.size_bytes} bytes were announced, but the file has {found.st_size}; nothing was stored",
                    store=self._name, key=key, operation="put",
                )  # fmt: skip
            staged = _stat_of(key, found, checksum)
            if options.on_staged is not None:
                options.on_staged(staged)
            self._publish(source, path, key, options)
            published = True
            if durable:
                self._sync_names(folder)
            return staged
        except OSError as error:
            self._fail_put(error, key, published)
        finally:
            os.close(fd)

    def _check_digest(self, key: Key, options: PutOptions, checksum: str) -> None:
        if options.digest is not None and options.digest != checksum:
            raise Corrupt(
                f"the bytes for {key} are not those announced: {options.digest} was announced, {checksum} came",
                expected=options.digest, actual=checksum, store=self._name, key=key, operation="put",
            )  # fmt: skip

    def _fail_put(self, error: OSError, key: Key, published: bool) -> NoReturn:
        if published:
            raise OutcomeUnknown(
                f"{key} is in pool {self._name}, but it may not survive a power cut: {error.strerror}",
                store=self._name, key=key, operation="put",
            ) from error  # fmt: skip
        self._fail(error, key, "put")

    def _publish(self, temporary: str, path: str, key: Key, options: PutOptions) -> None:
        if options.if_version is not None:
            try:
                current = _stat_of(key, os.lstat(path)).version
            except FileNotFoundError:
                current = "absent"
            if current != options.if_version:
                raise PreconditionFailed(
                    f"{key} in pool {self._name} has changed since it was looked at",
                    store=self._name, key=key, operation="put",
                )  # fmt: skip
        if not options.if_absent:
            self._files.replace(temporary, path)
            return
        try:
            self._files.rename_new(temporary, path)
        except FileExistsError:
            raise self._taken(key) from None

    def _close_after_failure(self, fd: int) -> None:
        try:
            self._files.close(fd)
        except OSError:
            return  # the put has failed already, and says why

    def _forget_temporary(self, temporary: str) -> None:
        try:
            self._files.unlink(temporary)
        except OSError:
            return  # `leftovers` will name it, `reap` takes it away

    def _in_use(self, relative: str, age_s: float, *, take_away: bool) -> bool:
        """Whether somebody still writes a temporary file. If not, and if asked, it is removed under the lock,
        so that a writer who comes for it in this moment notices."""
        path = f"{self.root}/{relative}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._fail(error, relative, "leftovers")
        try:
            free = hold_alone(fd)
            if free is False or (free is None and age_s < UNLOCKED_AGE_S):
                return True
            if take_away:
                self._files.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._fail(error, relative, "discard")
        finally:
            os.close(fd)
        return False

    def _remove_empty_folders(self, key: Key) -> None:
        """After the last extra file, the folders that held them go too. Never a hash folder."""
        folder = key.parent
        while "_files" in folder and folder.rpartition("/")[2]:
            try:
                self._files.remove_folder(f"{self.root}/{folder}")
            except OSError:
                return
            if folder.endswith("_files"):
                return
            folder = folder.rpartition("/")[0]

    def _taken(self, key: Key) -> AlreadyExists:
        return AlreadyExists(
            f"{key} exists already in pool {self._name}", store=self._name, key=key, operation="put"
        )

    def _absent(self, key: str, operation: str) -> NotFound:
        self._require_mark(operation)
        return NotFound(f"{key} is not in pool {self._name}", store=self._name, key=key, operation=operation)

    def _fail(self, error: OSError, key: str, operation: str) -> NoReturn:
        """The one place where the system's errors become ours."""
        code = error.errno
        if code in (errno.ENOENT, errno.ENOTDIR) and operation != "put":
            raise self._absent(key, operation) from None
        where = f"{operation} {key or self.root} in pool {self._name}"
        reason = error.strerror or str(error)
        cls: type[HoldfastError]
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            cls, advice = NoSpace, "the disk is full"
        elif code in (errno.EROFS, errno.EACCES, errno.EPERM):
            cls, advice = Denied, f"give the server's user access to {self.root}, or set the pool read-only"
        elif code in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EISDIR):
            cls, advice = InvalidKey, "choose another name"
        else:
            cls, advice = Unavailable, "look at the disk or the mount, then try again"
        assert issubclass(cls, StoreError)
        raise cls(f"{where}: {reason}; {advice}", store=self._name, key=key, operation=operation) from error


class _ReaderBody:
    """An open blob as a body, for copies inside the pool."""

    once = True

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.size_bytes: int | None = reader.stat.size_bytes

    def open(self) -> BinaryIO:
        return io.FileIO(os.dup(self._reader.fileno()), "r")


def _stat_of(key: str, found: os.stat_result, checksum: str | None = None) -> BlobStat:
    version = f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
    return BlobStat(key, found.st_size, version, found.st_mtime_ns // 1000, checksum)  # type: ignore[arg-type]


def _is_extra(key: str) -> bool:
    return "_files/" in key
