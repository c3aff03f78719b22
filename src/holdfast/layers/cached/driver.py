"""A bounded cache on local disk in front of one pool: parts of blobs, whole blobs, shared by the whole machine.

    CachedDriver(inner, [CacheFolder("/ssd/cache", bound_bytes=200 * GiB)], keep_written=True)

Promises. Reading a part fetches that part (blocks of 1 MiB), each once however many readers, threads and processes want
it; reading on in order is read ahead of. What is open, and what is pinned, is not evicted. The bound is not exceeded:
room is reserved before bytes come, and what finds no room streams past. Served is a block only if it came whole, in the
version that was asked for; a local path only to a blob that is whole and has the digest that the catalog knows. A whole
blob is served without a request. A kill loses nothing that was recorded; a power cut loses what had not reached the
disk, and nothing of it is served. A full disk, a deleted folder, a damaged index: reads go past, or the folder is begun
anew.

What damage is noticed: bytes that came wrong, by the digest, before a local path is given out and in the background
otherwise; a file of a whole blob whose size or time of change is another than when it became whole, at every opening;
any other change of bytes on the disk only when the blob is hashed again, which happens at its first use after each
start of the machine (before a local path is given out; for other readers in the background, while they read). Not
noticed: bits that flip on the disk between two starts of the machine without a change of the file's times, and in blobs
of which only parts are held. Who checks what it reads (`Hold.export`) reads with `fresh` then.

Does not do: retrying, limits, health (layers of their own, below). Nothing is touched before the first use; after a
fork the child opens its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from holdfast.blobs import DEFAULT_GET, DEFAULT_PUT, BlobStat, Body, GetOptions, PutOptions, Reader, Usage
from holdfast.errors import NoSpace, StoreError, Unavailable
from holdfast.keys import Key
from holdfast.layers.cached.contents import Contents
from holdfast.layers.cached.folder import CacheFolder
from holdfast.layers.cached.here import Here
from holdfast.layers.cached.keeping import Keeping
from holdfast.layers.cached.opening import Opening
from holdfast.layers.cached.trouble import CacheTrouble, NoRoom
from holdfast.seams import Clock, Entropy, Files, SystemClock, SystemEntropy, SystemFiles
from holdfast.stores.base import Capabilities, Driver, Leftover
from holdfast.stores.caching import CachedBlob, CacheUsage

_INHERITED: list[object] = []  # connections of a parent process: SQLite wants them neither used nor closed in a child


class _Parts:
    """What one process has: made at first use."""

    def __init__(self, inner: Driver, here: Here, *, keep: bool) -> None:
        self.here = here
        self.opening = Opening(inner, here)
        self.keeping = Keeping(inner, here, self.opening, keep=keep)
        self.contents = Contents(inner.name, here)


class CachedDriver(Driver):
    """`inner` behind a cache in these folders. Also fulfils `stores.caching.Cache`."""

    def __init__(
        self,
        inner: Driver,
        folders: Sequence[CacheFolder],
        *,
        keep_written: bool = True,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        files: Files | None = None,
    ) -> None:
        self._inner = inner
        self._folders = tuple(folders)
        self._keep_written = keep_written
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        self._files = files or SystemFiles()
        self._parts: dict[int, _Parts] = {}  # by process: one, and in a forked child until its first use the parent's

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        inner = self._inner.capabilities
        return Capabilities(
            local_paths=True,
            atomic_if_absent=inner.atomic_if_absent,
            if_version=inner.if_version,
            server_side_copy=inner.server_side_copy,
            signed_urls=inner.signed_urls,
            batch_sync=inner.batch_sync,
            remote=inner.remote,
            ranges=inner.ranges,
        )

    # -- reading ----------------------------------------------------------------------------------------------------

    def stat(self, key: Key) -> BlobStat:
        return self._inner.stat(key)

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        if options.fresh and not options.local:
            return self._inner.open(key, options)
        return self._here().opening.open(key, options)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        return self._inner.list(prefix, after)

    # -- writing ----------------------------------------------------------------------------------------------------

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        return self._here().keeping.put(key, body, options)

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        keeping = self._here().keeping
        keeping.before(target)
        stat = self._inner.copy(source, target, options)
        keeping.after(target, stat.version)
        return stat

    def delete(self, key: Key) -> None:
        keeping = self._here().keeping
        keeping.before(key)
        self._inner.delete(key)
        keeping.after(key, None)

    def sync(self, keys: Sequence[Key]) -> None:
        self._inner.sync(keys)

    # -- the cache --------------------------------------------------------------------------------------------------

    def cache_usage(self) -> Sequence[CacheUsage]:
        return self._here().contents.usage()

    def contents(self, *, after: str = "", limit: int = 1000) -> Sequence[CachedBlob]:
        return self._here().contents.page(after, limit)

    def look(self, key: Key) -> CachedBlob | None:
        return self._here().contents.look(key)

    def warm(
        self, key: Key, options: GetOptions = DEFAULT_GET, on_progress: Callable[[int], None] | None = None
    ) -> int:
        parts = self._here()
        try:
            spot = parts.here.spot(self.name, key)
            before = parts.contents.held_bytes(spot, key)
            held = parts.opening.make_whole(spot, key, options, on_progress)
            try:
                return max(0, held.entry.size_bytes - before.get(held.entry.version, 0))
            finally:
                held.close()
        except CacheTrouble as trouble:
            cls: type[StoreError] = NoSpace if isinstance(trouble, NoRoom) else Unavailable
            raise cls(
                f"{key} of pool {self.name} cannot be held in the cache as a whole: {trouble}",
                store=self.name, key=key, operation="warm",
            ) from trouble  # fmt: skip

    def drop(self, key: Key) -> int:
        return self._here().contents.drop(key)

    def pin(self, key: Key, holder: str) -> None:
        self._here().contents.pin(key, holder)

    def unpin(self, holder: str) -> None:
        self._here().contents.unpin(holder)

    def holders(self) -> Sequence[str]:
        return self._here().contents.holders()

    # -- the rest ---------------------------------------------------------------------------------------------------

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        return self._inner.sign_url(key, method, expires_s, filename=filename)

    def close(self) -> None:
        parts = self._parts.pop(os.getpid(), None)
        if parts is not None:
            parts.here.close()
        self._inner.close()

    def usage(self) -> Usage:
        return self._inner.usage()

    def probe(self) -> Sequence[str]:
        caveats = list(self._inner.probe())
        try:
            self._here().here.spot(self.name, "probe")
        except CacheTrouble as trouble:
            folders = ", ".join(str(folder.path) for folder in self._folders)
            caveats.append(f"its cache cannot be used, so that jobs and local paths will fail ({folders}): {trouble}")
        return caveats

    def leftovers(self) -> Iterator[Leftover]:
        return self._inner.leftovers()

    def discard(self, leftover: Leftover) -> bool:
        return self._inner.discard(leftover)

    def refused(self) -> Iterator[tuple[str, str]]:
        return self._inner.refused()

    def occupied(self, key: Key) -> bool:
        return self._inner.occupied(key)

    def prepare(self) -> None:
        self._inner.prepare()

    def expect(self, identity: str) -> None:
        self._inner.expect(identity)

    def identity(self) -> str | None:
        return self._inner.identity()

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self._inner.mark(identity, replacing=replacing)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _here(self) -> _Parts:
        """This process's part."""
        process_id = os.getpid()
        parts = self._parts.get(process_id)
        if parts is not None:
            return parts
        for inherited in [one for one in self._parts if one != process_id]:
            left = self._parts.pop(inherited, None)
            if left is not None:
                _INHERITED.append((left, left.here.abandon()))
        here = Here(self._folders, files=self._files, clock=self._clock, entropy=self._entropy)
        return self._parts.setdefault(process_id, _Parts(self._inner, here, keep=self._keep_written))
