"""Writing one blob so that it is there whole or not at all. Used by the disk driver alone.

A temporary file beside the target, written and hashed in one pass, synced, renamed; then its folder is synced,
and every folder above it whose own name may not have reached the disk yet. While it is written the temporary
file is locked: so a leftover of a process that died can be told from work in progress.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as modes
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

from holdfast.blobs import BlobStat, Body, FileBody, PutOptions
from holdfast.drivers.disk.copying import changed, copy_hashed, hash_file, open_source
from holdfast.drivers.disk.medium import Medium, stat_of
from holdfast.errors import Corrupt, OutcomeUnknown, PreconditionFailed, Unavailable
from holdfast.keys import Key
from holdfast.seams import hold_shared, wait_alone

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
ATTEMPTS_MAX = 8  # against folders that vanish between two system calls
FOLDERS_REMEMBERED_MAX = 100_000


class Putting:
    """Puts into one medium."""

    def __init__(self, medium: Medium) -> None:
        self._medium, self._files = medium, medium.files
        self._lasting: set[str] = set()  # folders below the root whose own names are known to be durable

    def put(self, key: Key, body: Body, options: PutOptions, *, durable: bool) -> BlobStat:
        """Store all of `body` under `key`, or nothing."""
        if isinstance(body, FileBody) and (body.consume or body.share) and options.on_staged is not None:
            options = replace(options, on_staged=_once(options.on_staged))
        if isinstance(body, FileBody) and body.consume:
            taken = self._rename(key, body, options, durable=durable)
            if taken is not None:
                return taken
        if isinstance(body, FileBody) and body.share and options.if_absent:
            linked = self._link(key, body, options, durable=durable)
            if linked is not None:
                return linked
        return self._copy(key, body, options, durable=durable)

    def sync_names(self, folder: str) -> None:
        """Make the names in `folder` durable, and its own: whoever made it may have died before a sync."""
        self._files.sync_folder(folder)
        root = self._medium.root
        while folder.startswith(root + "/") and folder not in self._lasting:
            parent = os.path.dirname(folder)
            self._files.sync_folder(parent)
            if len(self._lasting) >= FOLDERS_REMEMBERED_MAX:
                self._lasting.clear()
            self._lasting.add(folder)
            folder = parent

    # -- inside -------------------------------------------------------------------------------------------

    def _copy(self, key: Key, body: Body, options: PutOptions, *, durable: bool) -> BlobStat:
        """Copy the body into a temporary file, then give it the target's name."""
        path = self._medium.path(key)
        try:
            fd, temporary = self._create_beside(path)
        except OSError as error:
            self._medium.fail(error, key, "put")
        published = closed = False
        try:
            checksum, size = copy_hashed(self._files, body, fd, options.on_progress)
            self._check_digest(key, options, checksum)
            if durable:
                self._files.sync(fd)
            found = os.fstat(fd)
            assert found.st_size == size, "the medium holds another number of bytes than was written"
            staged = stat_of(key, found, checksum)
            if options.on_staged is not None:
                options.on_staged(staged)
            self._publish(temporary, path, key, options)
            published = True
            if durable:
                self.sync_names(os.path.dirname(path))
            closed = True  # also if it fails: a file system may tell only now that bytes were lost
            self._files.close(fd)
            self._still_there(key)
        except OSError as error:
            self._fail(error, key, published=published)
        finally:
            if not closed:
                self._close_after_failure(fd)
            if not published:
                self._forget(temporary)
        if isinstance(body, FileBody) and body.consume:
            self._forget(os.fspath(body.path))
        return staged

    def _rename(self, key: Key, body: FileBody, options: PutOptions, *, durable: bool) -> BlobStat | None:
        """Rename a file that was given away to its target; None if it lies on another file system."""
        path, source, published = self._medium.path(key), os.fspath(body.path), False
        folder = os.path.dirname(path)
        if os.path.islink(source):
            return None
        fd = open_source(source)
        try:
            self._make_folders(folder)
            found = os.fstat(fd)
            if found.st_dev != os.stat(folder).st_dev or not modes.S_ISREG(found.st_mode):
                return None
            before = found.st_mtime_ns
            checksum = body.checksum or hash_file(fd)
            self._check_digest(key, options, checksum)
            self._open_to_all(fd, found.st_mode)
            if durable:
                self._files.sync(fd)
            found = os.fstat(fd)
            if found.st_mtime_ns != before:
                raise changed()
            if found.st_size != body.size_bytes:
                raise PreconditionFailed(
                    f"{body.size_bytes} bytes were announced, but the file has {found.st_size}; nothing was stored",
                    store=self._medium.name, key=key, operation="put",
                )  # fmt: skip
            staged = stat_of(key, found, checksum)
            if options.on_staged is not None:
                options.on_staged(staged)
            self._publish(source, path, key, options)
            published = True
            if durable:
                self.sync_names(folder)
            self._still_there(key)
            return staged
        except OSError as error:
            if error.errno == errno.EXDEV and not published:  # another mount of the same file system
                return None
            self._fail(error, key, published=published)
        finally:
            os.close(fd)

    def _link(self, key: Key, body: FileBody, options: PutOptions, *, durable: bool) -> BlobStat | None:
        """Give a file that nobody writes into a second name; None where that cannot be."""
        path, source, published = self._medium.path(key), os.fspath(body.path), False
        if os.path.islink(source):
            return None
        fd = open_source(source)
        try:
            self._make_folders(os.path.dirname(path))
            hold_shared(fd)
            found = os.fstat(fd)
            if not modes.S_ISREG(found.st_mode) or found.st_size != body.size_bytes or not found.st_nlink:
                return None
            checksum = body.checksum or hash_file(fd)
            self._check_digest(key, options, checksum)
            if durable:
                self._files.sync(fd)
            staged = stat_of(key, found, checksum)
            if options.on_staged is not None:
                options.on_staged(staged)
            self._files.link(source, path)
            published = True
            if not os.path.samestat(os.stat(path), found):  # the source's name got another file meanwhile
                self._files.unlink(path)
                raise changed()
            if durable:
                self.sync_names(os.path.dirname(path))
            self._still_there(key)
            return staged
        except FileExistsError:
            raise self._medium.taken(key) from None
        except OSError as error:
            if error.errno in _NO_LINKS and not published:
                return None
            self._fail(error, key, published=published)
        finally:
            os.close(fd)

    def _create_beside(self, path: str) -> tuple[int, str]:
        """A new, locked temporary file in the folder of `path`, which is made if it is missing."""
        for _ in range(ATTEMPTS_MAX):
            temporary = self._medium.temporary_beside(path)
            try:
                fd = self._files.create(temporary, 0o666)
            except FileNotFoundError:
                self._make_folders(os.path.dirname(path))
                continue
            hold_shared(fd)
            if os.fstat(fd).st_nlink:
                return fd, temporary
            self._close_after_failure(fd)  # it was taken for a leftover before we had the lock
        raise FileNotFoundError(errno.ENOENT, "the folder keeps vanishing", os.path.dirname(path))

    def _make_folders(self, folder: str) -> None:
        """Make `folder` and what is missing above it, below the root only; `sync_names` makes them last."""
        if not folder.startswith(self._medium.root + "/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        try:
            self._files.make_folder(folder, 0o777)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make_folders(os.path.dirname(folder))
            self._make_folders(folder)

    def _publish(self, temporary: str, path: str, key: Key, options: PutOptions) -> None:
        if options.if_version is not None:
            with _alone_in(os.path.dirname(path)):  # else two could find the same version and both replace it
                self._require_version(path, key, options.if_version)
                self._files.replace(temporary, path)
            return
        if not options.if_absent:
            self._files.replace(temporary, path)
            return
        try:
            self._files.rename_new(temporary, path)
        except FileExistsError:
            raise self._medium.taken(key) from None

    def _require_version(self, path: str, key: Key, version: str) -> None:
        try:
            current = stat_of(key, os.stat(path)).version
        except FileNotFoundError:
            current = None
        if current != version:
            raise PreconditionFailed(
                f"{key} in pool {self._medium.name} has changed since it was looked at",
                store=self._medium.name, key=key, operation="put",
            )  # fmt: skip

    def _open_to_all(self, fd: int, mode: int) -> None:
        """A file that was given away may be read by those who may read the others in the pool."""
        wanted = modes.S_IMODE(mode) | (0o666 & ~_umask())
        if wanted != modes.S_IMODE(mode):
            with contextlib.suppress(PermissionError):  # another user's file: as it is
                os.fchmod(fd, wanted)

    def _check_digest(self, key: Key, options: PutOptions, checksum: str) -> None:
        if options.digest is not None and options.digest != checksum:
            raise Corrupt(
                f"the bytes for {key} are not those announced: {options.digest} was announced, {checksum} came",
                expected=options.digest, actual=checksum, store=self._medium.name, key=key, operation="put",
            )  # fmt: skip

    def _still_there(self, key: Key) -> None:
        """The folder is still the pool's after the write: else the bytes went to a bare mount point."""
        try:
            self._medium.require("put")
        except Unavailable as error:
            raise OutcomeUnknown(
                f"while {key} was written, its pool vanished: {error}",
                store=self._medium.name, key=key, operation="put",
            ) from error  # fmt: skip

    def _fail(self, error: OSError, key: Key, *, published: bool) -> NoReturn:
        if published:
            raise OutcomeUnknown(
                f"{key} is in pool {self._medium.name}, but it may not survive a power cut: {error.strerror}",
                store=self._medium.name, key=key, operation="put",
            ) from error  # fmt: skip
        self._medium.fail(error, key, "put")

    def _close_after_failure(self, fd: int) -> None:
        try:
            self._files.close(fd)
        except OSError:
            return  # the put has failed already, and says why

    def _forget(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except OSError:
            return  # `leftovers` will name it, `reap` takes it away


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Nobody else replaces by version in this folder meanwhile, in any process."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        wait_alone(fd)
        yield
    finally:
        os.close(fd)


def _once(tell: Callable[[BlobStat], None]) -> Callable[[BlobStat], None]:
    """A put that turns from renaming or linking to copying is staged once all the same."""
    told: list[BlobStat] = []

    def tell_once(stat: BlobStat) -> None:
        if not told:
            told.append(stat)
            tell(stat)

    return tell_once


def _umask() -> int:
    """The process's, without changing it as `os.umask` does."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
