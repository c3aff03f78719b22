"""Writing through the cache: the pool first, then the kept copy.

With `keep_written` what is put stays in the cache, whole and verified, without a second transfer:

    a file given away (`consume`)    renamed into the cache after the upload; copied where it lies on another disk
    bytes in memory                  written after the upload
    a stream                         copied while it passes
    any other file                   copied after the upload up to 16 MiB; a larger one is not kept: the copy would cost
                                     a put a tenth of its speed, and who has the file needs no other

Kept is only what has the checksum that the pool's driver computed, and nothing of a put that failed. What a put
replaces, and what is deleted, is not served any more; who has it open on this machine goes on with it, and gets the
rest of it first if that is at most 256 MiB.
"""

from __future__ import annotations

import contextlib
import os
import stat as modes
from dataclasses import replace

from holdfast.blobs import BLOCK_BYTES, BlobStat, Body, BytesBody, FileBody, PutOptions
from holdfast.errors import StoreError
from holdfast.keys import Key
from holdfast.layers.cached.copying import Copying
from holdfast.layers.cached.entries import NewEntry, bytes_of
from holdfast.layers.cached.fetching import Held, give_back
from holdfast.layers.cached.here import Here, Spot
from holdfast.layers.cached.ledger import Ticket
from holdfast.layers.cached.opening import Opening
from holdfast.layers.cached.trouble import CacheTrouble, Gone, NoRoom, Replaced
from holdfast.seams import hold_shared
from holdfast.stores.base import Driver

COPIED_BYTES_MAX = 16 * BLOCK_BYTES
FINISHED_BYTES_MAX = 256 * BLOCK_BYTES


class Keeping:
    """Puts, and what follows for the cache from what is put and deleted."""

    def __init__(self, inner: Driver, here: Here, opening: Opening, *, keep: bool) -> None:
        self._inner, self._here, self._opening, self._keep = inner, here, opening, keep

    def put(self, key: Key, body: Body, options: PutOptions) -> BlobStat:
        """Into the pool; then, if it is to be kept, into the cache."""
        spot, has_old = self.before(key)
        if not self._keep or spot is None:
            stat = self._inner.put(key, body, options)
        elif isinstance(body, FileBody):
            stat = self._put_file(spot, key, body, options)
        elif isinstance(body, BytesBody):
            stat = self._inner.put(key, body, options)
            self._keep_bytes(spot, stat, body.content)
        else:
            with contextlib.closing(Copying(self._here, spot, body)) as copying:
                stat = self._inner.put(key, copying, options)
                self._keep_copied(spot, stat, copying)
        if has_old or not options.if_absent:
            self.after(key, stat.version)
        return stat

    def before(self, key: Key) -> tuple[Spot | None, bool]:
        """Something will happen to this key in the pool: who reads the old bytes here gets all of them first. The
        folder for it, None if it cannot be used; and whether there may be any copy of old bytes."""
        try:
            spot = self._here.spot(self._inner.name, key)
            old = spot.place.entries.versions(self._inner.name, key)
            for entry in old:
                if not entry.whole and entry.size_bytes <= FINISHED_BYTES_MAX and spot.place.blobs.in_use(entry.file):
                    self._finish(spot, Held(spot, entry, spot.place.blobs.open(entry.file)))
        except (CacheTrouble, Gone):
            return None, True
        return spot, bool(old) or len(self._here.spots) > 1

    def after(self, key: Key, version: str | None) -> None:
        """The pool has this version now; None: nothing."""
        for spot in self._here.usable():
            with contextlib.suppress(CacheTrouble):
                self._opening.forget(spot, key, but=version)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _finish(self, spot: Spot, held: Held) -> None:
        entry = held.entry
        try:
            for first, stop in spot.place.entries.missing(entry, 0, entry.blocks):
                self._opening.fetcher.bring(held, first, stop)
        except (StoreError, CacheTrouble, Gone, Replaced):
            return  # the reader will be told that its blob was replaced
        finally:
            held.close()

    def _put_file(self, spot: Spot, key: Key, body: FileBody, options: PutOptions) -> BlobStat:
        before = _look(body)
        stat = self._inner.put(key, replace(body, consume=False), options)
        try:
            if before is not None and _facts(before) == _facts(_look(body)):
                is_kept = body.consume and self._move(spot, stat, body, before)
                if not is_kept and (body.consume or stat.size_bytes <= COPIED_BYTES_MAX):
                    self._copy(spot, stat, body)
        finally:
            if body.consume:
                with contextlib.suppress(OSError):
                    spot.place.files.unlink(os.fspath(body.path))
        return stat

    def _move(self, spot: Spot, stat: BlobStat, body: FileBody, found: os.stat_result) -> bool:
        """Rename the file into the cache. Whether it could be: not one with other names, nor from another disk."""
        place = spot.place
        if stat.checksum is None or not modes.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return False
        file = place.blobs.new_file()
        ticket: Ticket | None = None
        fd = -1
        try:
            if os.stat(place.path).st_dev != found.st_dev:
                return False
            ticket = self._here.reserve(spot, file, stat.size_bytes)
            place.blobs.make_home(file)
            place.files.replace(os.fspath(body.path), place.blobs.path_of(file))
            fd = os.open(place.blobs.path_of(file), os.O_RDONLY | os.O_CLOEXEC)
            hold_shared(fd)
            with contextlib.suppress(PermissionError):  # another user's file: as it is
                os.fchmod(fd, modes.S_IMODE(found.st_mode) | 0o444)
            self._add(spot, stat, file, ticket, os.fstat(fd))
        except (OSError, CacheTrouble) as error:
            if ticket is not None:
                _discard(spot, file, ticket)
            _note(spot, error)
            return fd >= 0
        finally:
            if fd >= 0:
                os.close(fd)
        return True

    def _copy(self, spot: Spot, stat: BlobStat, body: FileBody) -> None:
        with contextlib.closing(Copying(self._here, spot, body)) as copying:
            with contextlib.suppress(OSError), copying.open() as stream:
                while stream.read(BLOCK_BYTES):
                    continue
            self._keep_copied(spot, stat, copying)

    def _keep_bytes(self, spot: Spot, stat: BlobStat, content: bytes) -> None:
        with contextlib.closing(Copying(self._here, spot, BytesBody(content), stat.checksum)) as copying:
            copying.write(memoryview(content))
            self._keep_copied(spot, stat, copying)

    def _keep_copied(self, spot: Spot, stat: BlobStat, copying: Copying) -> None:
        """Make an entry of what was copied, if it is what was stored."""
        if copying.checksum() != stat.checksum or copying.fd < 0:
            return
        try:
            ticket = copying.tickets[0] if copying.tickets else None
            self._add(spot, stat, copying.file, ticket, os.fstat(copying.fd))
        except CacheTrouble as trouble:
            _note(spot, trouble)
        else:
            copying.kept = True

    def _add(self, spot: Spot, stat: BlobStat, file: str, ticket: Ticket | None, found: os.stat_result) -> None:
        if found.st_size != stat.size_bytes:
            raise CacheTrouble("a file of the cache is not as long as what was written")
        new = NewEntry(stat, file, ticket, stat.checksum, verified=True, mtime_ns=found.st_mtime_ns)
        blocks = (0, -(-stat.size_bytes // BLOCK_BYTES))
        assert bytes_of(stat.size_bytes, *blocks) == stat.size_bytes
        if self._here.add(spot, self._inner.name, new, blocks) is None:
            raise NoRoom("there is an entry of this version already")


def _look(body: FileBody) -> os.stat_result | None:
    try:
        return os.lstat(body.path)
    except OSError:
        return None  # the driver says so


def _facts(found: os.stat_result | None) -> tuple[int, ...]:
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else ()


def _discard(spot: Spot, file: str, ticket: Ticket) -> None:
    with contextlib.suppress(OSError):
        spot.place.files.unlink(spot.place.blobs.path_of(file))
    give_back(spot, ticket)


def _note(spot: Spot, error: OSError | CacheTrouble) -> None:
    trouble = error if isinstance(error, CacheTrouble) else CacheTrouble(error.strerror or str(error))
    spot.troubled(trouble)
