"""Copying one dataset's blobs into another pool, and proving them there. Used by `hold.moving`; others take `BlobBody`.

A `Copying` belongs to one batch; its methods are called from several threads, for one dataset each. What goes wrong
with one dataset comes back as its error; a stop and a bug are raised.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from holdfast import layout
from holdfast.blobs import BlobStat, FileBody, GetOptions, PutOptions, Reader
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.moves import MoveFinished, MovePrepared
from holdfast.errors import AlreadyExists, Cancelled, Corrupt, HoldfastError, PreconditionFailed, StoreError
from holdfast.hold.abreast import in_order
from holdfast.hold.pools import PoolSet
from holdfast.hold.transfer import REMOTE_AT_ONCE
from holdfast.keys import Key
from holdfast.stores.base import Driver, Store
from holdfast.stores.streams import digest_of

TOUCH_S = 30.0
FENCE_S = 1.0  # so long a pause without a sign of life may have been a freeze
LOCAL_AT_ONCE = 4  # of large ones: with small ones, threads only wait for each other
LARGE_BYTES = 4 * 1024 * 1024
AHEAD = 64  # blobs that are open to be read back, so that the disk brings them
FRESH = GetOptions(fresh=True)

OnBytes = Callable[[int], None]
"""Called from several threads with the bytes that have passed since the last call; what it raises stops the copy."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Blobs that are written; synced and read back they can be recorded."""

    prepared: MovePrepared
    stats: tuple[BlobStat, ...]  # the extra files', then the primary blob's


class Copying:
    """The copying of one batch: what threads do for each dataset."""

    def __init__(self, catalog: Catalog, pools: PoolSet, on_bytes: OnBytes | None, at_once: int | None) -> None:
        self._catalog, self._pools, self._on_bytes, self._at_once = catalog, pools, on_bytes, at_once
        self.written: dict[tuple[str, Key], str] = {}  # by pool and name: since then ours, in that version
        self._apart: set[tuple[str, str]] = set()  # pools that were seen to share no file system

    def at_once(self, prepared: Sequence[MovePrepared]) -> int:
        """How many datasets are copied side by side: what was asked for, or as many as pays."""
        if self._at_once is not None:
            return self._at_once
        names = {one.object_store_id for one in prepared} | {one.source.object_store_id for one in prepared}
        if any(self._store(name).capabilities.remote for name in names):
            return REMOTE_AT_ONCE
        size_bytes = sum(one.dataset.total_bytes for one in prepared) // max(1, len(prepared))
        return LOCAL_AT_ONCE if size_bytes >= LARGE_BYTES else 1

    def copied(self, prepared: MovePrepared) -> Copied | tuple[MovePrepared, HoldfastError]:
        """Write all blobs of one dataset, the extra files first; or why that failed."""
        try:
            self._pools.recognition.ready(prepared.object_store_id)
            source_prefix = layout.extra_files_prefix_of(prepared.source.key)
            target_prefix = layout.extra_files_prefix_of(prepared.key)
            pairs = [
                (layout.extra_file_key(source_prefix, one.path), layout.extra_file_key(target_prefix, one.path), one)
                for one in prepared.extra_files
            ]
            stats = [
                self._copy(prepared, source, target, size_bytes=one.size_bytes, checksum=one.checksum)
                for source, target, one in pairs
            ]
            known = prepared.dataset
            stats.append(
                self._copy(
                    prepared, prepared.source.key, prepared.key, size_bytes=known.size_bytes,
                    checksum=known.checksum, version=prepared.source.version,
                )
            )  # fmt: skip
        except Cancelled:
            raise
        except HoldfastError as error:
            return prepared, error
        return Copied(prepared, tuple(stats))

    def sync(self, copied: Sequence[Copied]) -> dict[str, HoldfastError]:
        """Make all of it durable. The pools where that failed, with the reason."""
        failed: dict[str, HoldfastError] = {}
        for pool in sorted({one.prepared.object_store_id for one in copied}):
            keys = [stat.key for one in copied if one.prepared.object_store_id == pool for stat in one.stats]
            try:
                self._store(pool).sync(keys)
            except HoldfastError as error:
                failed[pool] = error
        return failed

    def proved_all(
        self, copied: Sequence[Copied], at_once: int
    ) -> Iterator[tuple[MovePrepared, MoveFinished | HoldfastError]]:
        """Read all of them back. From a remote pool several at once; from a disk one after the other, while the next
        ones are open already, so that the disk is never without work."""
        if any(self._store(one.prepared.object_store_id).capabilities.remote for one in copied):
            yield from in_order(self.proved, copied, at_once)
            return
        opened: deque[tuple[Copied, list[Reader]]] = deque()
        left, ahead = deque(copied), 0
        try:
            while left or opened:
                while left and ahead < AHEAD:
                    opened.append((left[0], self._opened(left.popleft())))
                    ahead += len(opened[-1][1]) or 1
                one, readers = opened.popleft()
                ahead -= len(readers) or 1
                try:
                    outcome = self.proved(one, readers)
                finally:
                    for reader in readers:
                        reader.close()
                yield outcome  # what is open cannot be taken back
        finally:
            for _, readers in opened:
                for reader in readers:
                    reader.close()

    def _opened(self, copied: Copied) -> list[Reader]:
        """Its blobs, open to be read back, but for those that are nothing but other names; none if one cannot be."""
        readers: list[Reader] = []
        if len(copied.stats) > AHEAD or copied.prepared.source.version == copied.stats[-1].version:
            return readers
        try:
            readers.extend(
                self._store(copied.prepared.object_store_id).open(stat.key, FRESH) for stat in copied.stats
            )
        except StoreError:  # it is told when its turn comes
            for reader in readers:
                reader.close()
            return []
        return readers

    def proved(
        self, copied: Copied, readers: Sequence[Reader] = ()
    ) -> tuple[MovePrepared, MoveFinished | HoldfastError]:
        """Read all blobs of one dataset back from the target; or what is wrong with them."""
        prepared = copied.prepared
        source_prefix = layout.extra_files_prefix_of(prepared.source.key)
        sources = [layout.extra_file_key(source_prefix, one.path) for one in prepared.extra_files]
        opened: Sequence[Reader | None] = readers or [None] * len(copied.stats)
        try:
            read = [
                self._prove(prepared, source, stat, reader)
                for source, stat, reader in zip(
                    [*sources, prepared.source.key], copied.stats, opened, strict=True
                )
            ]
        except Cancelled:
            raise
        except HoldfastError as error:
            return prepared, error
        checksums = [stat.checksum or "" for stat in copied.stats]
        return prepared, MoveFinished(
            prepared, checksums[-1], copied.stats[-1].version, tuple(checksums[:-1]), proved=any(read)
        )

    # -- inside -------------------------------------------------------------------------------------------

    def _store(self, pool: str) -> Driver:
        return self._pools.configured(pool).store()

    def _copy(
        self, prepared: MovePrepared, source: Key, target: Key, *, size_bytes: int, checksum: str | None,
        version: str | None = None,
    ) -> BlobStat:  # fmt: skip
        """One blob. What lies under its name already is taken over if it is the same."""
        body = self._body(prepared, source, size_bytes, checksum, version)
        watch = _Watch(self._catalog, prepared, self._on_bytes)
        options = PutOptions(
            digest=checksum, if_absent=True, durable=False, on_progress=watch, on_staged=lambda _: watch.fence()
        )
        store = self._store(prepared.object_store_id)
        try:
            stat = store.put(target, body, options)
        except AlreadyExists:
            with store.open(target, FRESH) as reader:
                stat, actual = reader.stat, digest_of(reader)
            with self._store(prepared.source.object_store_id).open(source, FRESH) as reader:
                expected = checksum or digest_of(reader)
            if actual != expected:
                raise
            return replace(stat, checksum=actual)
        except Corrupt as error:
            if error.store != prepared.object_store_id or checksum is None:
                raise
            raise _damaged(prepared, error) from error
        self.written[prepared.object_store_id, target] = stat.version
        if version is not None and stat.version != version:
            self._apart.add((prepared.source.object_store_id, prepared.object_store_id))
        return stat

    def _body(
        self, prepared: MovePrepared, key: Key, size_bytes: int, checksum: str | None, version: str | None
    ) -> FileBody | BlobBody:
        pool = prepared.source.object_store_id
        store = self._store(pool)
        if store.capabilities.remote:
            return BlobBody(store, key, size_bytes, FRESH)
        if (pool, prepared.object_store_id) in self._apart:
            return BlobBody(store, key, size_bytes, GetOptions())
        with store.open(key) as reader:
            path, stat = reader.local_path, reader.stat
        if path is None or stat.size_bytes != size_bytes:
            return BlobBody(store, key, size_bytes, GetOptions())
        known = checksum if version is not None and stat.version == version else None
        return FileBody(path, size_bytes, share=True, checksum=known)

    def _prove(self, prepared: MovePrepared, source: Key, stat: BlobStat, opened: Reader | None) -> bool:
        """Whether it was read back; a second name of the same file is proved by that."""
        with opened or self._store(prepared.object_store_id).open(stat.key, FRESH) as reader:
            if reader.local_path is not None and self._is_same_file(prepared, source, reader):
                return False
            if reader.stat.size_bytes == stat.size_bytes and digest_of(reader, self._on_bytes) == stat.checksum:
                return True
        here = self._store(prepared.source.object_store_id)
        if source == prepared.source.key and here.stat(source).version != prepared.source.version:
            raise PreconditionFailed("it was replaced while it was copied", key=source, operation="move")
        raise Corrupt(
            f"{stat.key} was read back from pool {prepared.object_store_id} with other bytes than were written",
            store=prepared.object_store_id, key=stat.key, operation="move",
        )  # fmt: skip

    def _is_same_file(self, prepared: MovePrepared, source: Key, there: Reader) -> bool:
        if (prepared.source.object_store_id, prepared.object_store_id) in self._apart:
            return False
        store = self._store(prepared.source.object_store_id)
        if store.capabilities.remote:
            return False
        try:
            with store.open(source) as here:
                return here.local_path is not None and os.path.sameopenfile(here.fileno(), there.fileno())
        except StoreError:
            return False


class _Watch:
    """Called while a blob's bytes pass: tells how many, and shows now and then that the move lives."""

    def __init__(self, catalog: Catalog, prepared: MovePrepared, on_bytes: OnBytes | None) -> None:
        self._catalog, self._prepared, self._on_bytes = catalog, prepared, on_bytes
        self._done_bytes = 0
        self._touched_s = catalog.clock.monotonic_s()

    def __call__(self, done_bytes: int) -> None:
        if self._on_bytes is not None and done_bytes > self._done_bytes:
            self._on_bytes(done_bytes - self._done_bytes)
        self._done_bytes = max(self._done_bytes, done_bytes)
        now_s = self._catalog.clock.monotonic_s()
        if now_s - self._touched_s > TOUCH_S:
            self._touched_s = now_s
            self._catalog.holders.touch()
            self._catalog.moves.touch(self._prepared)

    def fence(self) -> None:
        """Before a name is given: after a long pause, whether the move is still ours."""
        now_s = self._catalog.clock.monotonic_s()
        if now_s - self._touched_s > FENCE_S:
            self._touched_s = now_s
            self._catalog.moves.touch(self._prepared)


class BlobBody:
    """A blob of another pool as a body. It can be opened again."""

    once = False

    def __init__(self, store: Store, key: Key, size_bytes: int, options: GetOptions) -> None:
        self._store, self._key, self._options = store, key, options
        self.size_bytes: int | None = size_bytes

    def open(self) -> BinaryIO:
        return cast("BinaryIO", self._store.open(self._key, self._options))


def _damaged(prepared: MovePrepared, error: Corrupt) -> Corrupt:
    """What came is not what the catalog knows: the fault is the source's."""
    name = prepared.source.object_store_id
    return Corrupt(
        f"dataset {prepared.dataset.id} cannot be moved: its bytes in pool {name} are not those that were stored; look "
        f"with: holdfast scrub --pool {name}",
        expected=error.expected, actual=error.actual, store=name, key=prepared.source.key, operation="move",
    )  # fmt: skip
