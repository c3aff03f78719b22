"""Blobs as files below one folder: a local disk, an NFS mount, an existing Galaxy files directory.

    pools:
      newdata: {type: disk, files_dir: /data2}

Promises: a put is a temporary file beside its target, written, synced, renamed, and its folder synced; so a
reader sees old or new bytes, whole, and an acknowledged put survives a power cut. A pool that has been marked
is recognised by its mark: when the mount is gone every answer is `Unavailable`, never "not there", and
nothing is written below the bare mount point. An open reader holds a shared lock; a locked blob is not
deleted (`Conflict`).

Does not do: placement, checksumming of what is read, quotas. Links that lead out of the folder are refused.

This file is the contract's methods. `medium` knows the folder and its mark, `putting` writes, `removing`
deletes, `walk` lists.
"""

from __future__ import annotations

import errno
import io
import os
import stat as modes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from holdfast.blobs import (
    DEFAULT_GET,
    DEFAULT_PUT,
    BlobStat,
    Body,
    GetOptions,
    PutOptions,
    Reader,
    Usage,
    disk_medium,
)
from holdfast.drivers.disk.medium import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, Medium, stat_of
from holdfast.drivers.disk.putting import Putting
from holdfast.drivers.disk.reading import ReaderBody
from holdfast.drivers.disk.removing import Removing
from holdfast.drivers.disk.walk import walk_files, walk_refused
from holdfast.errors import Corrupt, Unavailable, Unsupported
from holdfast.keys import Key, is_listed
from holdfast.seams import Clock, Entropy, Files, SystemClock, SystemEntropy, SystemFiles, hold_alone, hold_shared
from holdfast.stores.base import Capabilities, Driver, Leftover
from holdfast.stores.streams import FileRange

READ_AHEAD_BYTES = 1024 * 1024  # asked of the disk as soon as a blob is opened that is to be read from there
ATTEMPTS_MAX = 8  # against files that are replaced between opening and locking
UNLOCKED_AGE_S = 24 * 3600.0  # without locks, a temporary file is given up when it is so old
SYNC_TOGETHER_MIN = 8  # from so many files on, one syncfs is cheaper than an fsync each

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
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        self._files = files or SystemFiles()
        self._medium = Medium(name, self.root, self._files, self._entropy)
        self._putting = Putting(self._medium)
        self._removing = Removing(self._medium)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    # -- reading ------------------------------------------------------------------------------------------

    def stat(self, key: Key) -> BlobStat:
        path = self._medium.path(key)
        try:
            self._medium.refuse_leaving(key, "stat")
            found = os.lstat(path)
            if modes.S_ISLNK(found.st_mode):
                self._medium.refuse_outside(path, key, "stat")
                found = os.stat(path)
        except OSError as error:
            self._medium.fail(error, key, "stat")
        if not modes.S_ISREG(found.st_mode):
            raise self._medium.absent(key, "stat")
        self._medium.require("stat")
        return stat_of(key, found)

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        path = self._medium.path(key)
        for _ in range(ATTEMPTS_MAX):
            try:
                fd = self._medium.open_file(path, key, "open")
            except OSError as error:
                self._medium.fail(error, key, "open")
            try:
                hold_shared(fd)
                found = os.fstat(fd)
                if found.st_nlink == 0:  # replaced or removed between open and lock
                    os.close(fd)
                    continue
                if not modes.S_ISREG(found.st_mode):
                    raise self._medium.absent(key, "open")
                self._medium.require("open")
            except BaseException:
                os.close(fd)
                raise
            if options.fresh:  # from the medium itself, as far as the kernel lets go of what it has in memory
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(fd, 0, READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
            wanted = options.range
            stream = io.FileIO(fd, "r") if wanted is None else FileRange(fd, *wanted.within(found.st_size))
            return Reader(stream, stat_of(key, found), local_path=path)
        raise Unavailable(f"{key} in pool {self._name} keeps changing", store=self._name, key=key, operation="open")

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        self._medium.require("list")
        try:
            for relative, found in walk_files(self.root, prefix, after, self._apart):
                if is_listed(relative, prefix):
                    yield stat_of(Key(relative), found)
        except OSError as error:
            self._medium.fail(error, prefix, "list")
        self._medium.require("list")

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._medium.require("put")
        try:
            self._medium.refuse_leaving(key, "put")
        except OSError as error:
            if error.errno != errno.ENOENT:  # its folder is made when the bytes come
                self._medium.fail(error, key, "put")
        if options.if_absent and os.path.lexists(self._medium.path(key)):
            raise self._medium.taken(key)
        return self._putting.put(key, body, options, durable=options.durable and self._durable)

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        with self.open(source) as reader:
            return self.put(target, ReaderBody(reader), options)

    def delete(self, key: Key) -> None:
        self._removing.delete(key, durable=self._durable)

    def sync(self, keys: Sequence[Key]) -> None:
        if not keys:
            return
        if not self._durable:
            self._medium.require("sync")
            return
        try:
            if len(keys) >= SYNC_TOGETHER_MIN:
                fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    self._files.sync_all(fd)
                finally:
                    os.close(fd)
            else:
                self._sync_each(keys)
        except OSError as error:
            self._medium.fail(error, keys[0], "sync")
        self._medium.require("sync")

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        raise Unsupported(f"pool {self._name} is a folder and has no URLs", store=self._name, operation="sign_url")

    def close(self) -> None:
        self._medium.forget()

    # -- the medium ---------------------------------------------------------------------------------------

    def usage(self) -> Usage:
        self._medium.require("usage")
        try:
            found = os.statvfs(self.root)
            device = os.stat(self.root).st_dev
            may_write = os.access(self.root, os.W_OK | os.X_OK)
        except OSError as error:
            self._medium.fail(error, "", "usage")
        why = ""
        if not may_write:
            mounted_so = found.f_flag & os.ST_RDONLY
            why = "its file system is mounted read-only" if mounted_so else f"this user may not write to {self.root}"
        medium = disk_medium(device)
        return Usage(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, medium, why)

    def probe(self) -> Sequence[str]:
        self._medium.require("probe")
        content = self._entropy.token(32).encode()
        path = self._medium.temporary_beside(f"{self.root}/probe")
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
            self._medium.fail(error, "", "probe")
        return ()

    def leftovers(self) -> Iterator[Leftover]:
        self._medium.require("leftovers")
        now_s = self._clock.now_us() / 1e6
        for relative, found in walk_files(self.root, "", "", self._apart):
            name = relative.rpartition("/")[2]
            if name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX):
                age_s = max(0.0, now_s - found.st_mtime)
                yield Leftover(relative, found.st_size, age_s, self._in_use(relative, age_s, take_away=False))

    def discard(self, leftover: Leftover) -> bool:
        self._medium.require("discard")
        return not self._in_use(leftover.name, leftover.age_s, take_away=True)

    def refused(self) -> Iterator[tuple[str, str]]:
        self._medium.require("list")
        try:
            yield from walk_refused(self.root, self._apart)
        except OSError as error:
            self._medium.fail(error, "", "list")

    def occupied(self, key: Key) -> bool:
        return os.path.lexists(self._medium.path(key))

    def prepare(self) -> None:
        if not os.path.isdir(self.root) and os.path.isdir(os.path.dirname(self.root)):
            try:
                self._files.make_folder(self.root, 0o777)
                self._files.sync_folder(os.path.dirname(self.root))
            except FileExistsError:
                return
            except OSError as error:
                self._medium.fail(error, "", "prepare")

    def identity(self) -> str | None:
        return self._medium.identity()

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self._medium.mark(identity, replacing)

    def expect(self, identity: str) -> None:
        self._medium.expect(identity)

    # -- inside -------------------------------------------------------------------------------------------

    def _sync_each(self, keys: Sequence[Key]) -> None:
        for key in keys:
            fd = os.open(self._medium.path(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._files.sync(fd)
            finally:
                os.close(fd)
        for folder in sorted({os.path.dirname(self._medium.path(key)) for key in keys}):
            self._putting.sync_names(folder)

    def _in_use(self, relative: str, age_s: float, *, take_away: bool) -> bool:
        """Whether somebody still writes a temporary file. If not, and if asked, it is removed under the lock,
        so that a writer who comes for it in this moment notices."""
        path = self._medium.path(relative)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._medium.fail(error, relative, "leftovers")
        try:
            free = hold_alone(fd)
            if free is False or (free is None and age_s < UNLOCKED_AGE_S):
                return True
            if take_away:
                self._files.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._medium.fail(error, relative, "discard")
        finally:
            os.close(fd)
        return False
