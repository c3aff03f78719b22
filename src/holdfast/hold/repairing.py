"""Repairing: the right bytes for a replica that is damaged or missing (docs/design/0015-scrub-and-repair.md).

    repaired = Repairing(catalog, pools).repair(24, "newdata")

What is wrong is set aside under a name that the pool keeps apart, and deleted by nobody but `reap`; what is written was
read whole just before, with the checksum that the catalog knows, and is read back. A kill at any point leaves the bad
bytes or the good ones, never none that were there. Does not look for damage: `scrub` does.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, cast

from holdfast import layout
from holdfast.blobs import Body, FileBody, GetOptions, PutOptions, Reader
from holdfast.catalog.base import Dataset, Replica
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.repairs import RepairPrepared
from holdfast.errors import Conflict, Corrupt, HoldfastError, NotFound, StoreError, Unsupported
from holdfast.hold.copying import BlobBody
from holdfast.hold.facts import Pool
from holdfast.hold.pools import PoolSet
from holdfast.keys import QUARANTINE, Key
from holdfast.seams import Entropy, SystemEntropy
from holdfast.stores.base import Store
from holdfast.stores.streams import digest_of

TOUCH_S = 30.0
NAME_CHARS_KEPT = 80  # of a blob's own name, in that of what is set aside
FRESH = GetOptions(fresh=True)

OnBytes = Callable[[int], None]
"""Called with the bytes that have passed since the last call; what it raises stops the repair."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done. `source`: `pool b`, or `the cache of pool a`. `set_aside`: where the bad bytes are now."""

    dataset_id: int
    object_store_id: str
    source: str
    size_bytes: int
    set_aside: tuple[Key, ...]

    def words(self) -> str:
        """In one line, for reports."""
        aside = "; its bad bytes are set aside as " + ", ".join(self.set_aside) if self.set_aside else ""
        return f"repaired from {self.source}{aside}"


@dataclass(frozen=True, slots=True)
class _Blob:
    """One blob of the replica, and what was found under its key: `version` None for nothing."""

    key: Key
    extra_file: str | None
    size_bytes: int
    checksum: str
    version: str | None = None
    found_bytes: int = 0


class Repairing:
    """Repairs replicas. Safe from many threads and processes."""

    def __init__(self, catalog: Catalog, pools: PoolSet, entropy: Entropy | None = None) -> None:
        self._catalog, self._pools = catalog, pools
        self._entropy = entropy or SystemEntropy()

    def repair(self, dataset_id: int, object_store_id: str, on_bytes: OnBytes | None = None) -> Repaired:
        """Make this replica whole from one that is. `Conflict` if there is none, or somebody else is at work on the
        dataset; the pool's own errors. Then nothing is changed but what is said to be set aside in a pool."""
        pool = self._pools.writable(object_store_id)
        self._pools.recognition.ready(object_store_id)
        prepared = self._catalog.repairs.begin(dataset_id, object_store_id)
        try:
            if pool.cache is None and not _others(prepared.dataset, object_store_id):
                raise _nothing_whole("there is no other replica")
            return self._repair(prepared, pool, _Watch(self._catalog, prepared, on_bytes))
        finally:
            with suppress(HoldfastError):  # the catalog may be what is in trouble; `reap` does it then
                self._catalog.repairs.abandon(prepared.row)

    def _repair(self, prepared: RepairPrepared, pool: Pool, watch: _Watch) -> Repaired:
        store, primary = pool.store(), prepared.replica.key
        version, wrong = "", list[_Blob]()
        for blob in _blobs(prepared):
            found = _look(store, blob, watch)
            if found is not None:
                wrong.append(found)
            elif blob.key == primary:
                version = store.stat(primary).version
        sources: list[str] = []
        aside: list[Key] = []
        with ExitStack() as open_readers:
            bodies = [open_readers.enter_context(self._whole(prepared, pool, blob, watch)) for blob in wrong]
            for blob, (source, body) in zip(wrong, bodies, strict=True):
                sources += [source] if source not in sources else []
                watch.fence()
                if blob.version is not None:
                    aside.append(self._set_aside(store, blob, prepared.dataset.id))
                _write(store, blob, body, watch)
                found_version = _prove(store, blob, watch)
                version = found_version if blob.key == primary else version
        size_bytes = sum(blob.size_bytes for blob in wrong)
        done = Repaired(
            prepared.dataset.id, pool.object_store_id, " and ".join(sources) or "itself: it was whole again",
            size_bytes, tuple(aside),
        )  # fmt: skip
        self._catalog.repairs.commit(prepared, version, f"its replica in {pool.object_store_id} was {done.words()}")
        return done

    # -- where whole bytes are ----------------------------------------------------------------------------

    @contextmanager
    def _whole(self, prepared: RepairPrepared, pool: Pool, blob: _Blob, watch: _Watch) -> Iterator[tuple[str, Body]]:
        """Bytes that were read to their end and are right, and where they are; `Conflict` if there are none."""
        reasons: list[str] = []
        for replica in _others(prepared.dataset, pool.object_store_id):
            body = self._of_replica(prepared, replica, blob, watch, reasons)
            if body is not None:
                yield f"pool {replica.object_store_id}", body
                return
        with _of_cache(pool, blob) as body:
            if body is not None:
                yield f"the cache of pool {pool.object_store_id}", body
                return
        raise _nothing_whole("; ".join(reasons) or "there is no other replica")

    def _of_replica(
        self, prepared: RepairPrepared, replica: Replica, blob: _Blob, watch: _Watch, reasons: list[str]
    ) -> Body | None:
        name, key = replica.object_store_id, replica.key
        if blob.extra_file is not None:
            key = layout.extra_file_key(layout.extra_files_prefix_of(key), blob.extra_file)
        try:
            store = self._pools.online(name).store()
        except StoreError as error:
            reasons.append(str(error))
            return None
        try:
            with store.open(key, FRESH) as reader:
                actual = _digest(reader, watch)
        except NotFound:
            actual = ""
        except StoreError as error:
            reasons.append(str(error))
            return None
        if actual == blob.checksum:
            return BlobBody(store, key, blob.size_bytes, FRESH)
        is_gone = actual == "" and blob.extra_file is None
        word = "missing" if is_gone else "damaged"
        reasons.append(f"its replica in pool {name} is {word} too")
        if replica.state == "present":
            why = f"found {word} when it was to repair that in pool {prepared.row.object_store_id}"
            self._catalog.fates.doubt(prepared.dataset.id, name, "missing" if is_gone else "suspect", why)
        return None

    # -- setting aside ------------------------------------------------------------------------------------

    def _set_aside(self, store: Store, blob: _Blob, dataset_id: int) -> Key:
        """Give the bad bytes a second name, as they are."""
        at = datetime.fromtimestamp(self._catalog.clock.now_us() / 1e6, UTC)
        name = Key(
            f"{QUARANTINE}{at:%Y%m%dT%H%M%SZ}-{dataset_id}-{self._entropy.token(4)}-{blob.key.name[-NAME_CHARS_KEPT:]}"
        )
        if store.capabilities.remote:
            try:
                store.copy(blob.key, name)
            except Unsupported:
                store.put(name, BlobBody(store, blob.key, blob.found_bytes, FRESH), PutOptions(if_absent=True))
            return name
        with store.open(blob.key) as reader:
            path, stat = reader.local_path, reader.stat
        if path is None:
            store.copy(blob.key, name)
            return name
        if stat.version == blob.version:
            known = FileBody(path, stat.size_bytes, share=True, checksum="not looked at")
            if store.put(name, known, PutOptions(if_absent=True)).version == blob.version:
                return name
            if store.stat(name).size_bytes == stat.size_bytes:  # a copy, where there are no links
                return name
        raise Conflict(f"{blob.key} in pool {store.name} has changed while it was to be repaired; scrub it again")


def _nothing_whole(why: str) -> Conflict:
    return Conflict(f"no whole bytes are left to repair it from: {why}")


def _blobs(prepared: RepairPrepared) -> Iterator[_Blob]:
    """What the replica should have: the extra files first."""
    dataset, prefix = prepared.dataset, layout.extra_files_prefix_of(prepared.replica.key)
    for one in prepared.extra_files:
        key = layout.extra_file_key(prefix, one.path)
        yield _Blob(key, one.path, one.size_bytes, one.checksum or "")
    yield _Blob(prepared.replica.key, None, dataset.size_bytes, dataset.checksum or "")


def _look(store: Store, blob: _Blob, watch: _Watch) -> _Blob | None:
    """The blob with what lies there, if that is not what it should be."""
    try:
        with store.open(blob.key, FRESH) as reader:
            stat, actual = reader.stat, _digest(reader, watch)
    except NotFound:
        found = blob
    else:
        if actual == blob.checksum or (not blob.checksum and stat.size_bytes == blob.size_bytes):
            return None
        found = _Blob(blob.key, blob.extra_file, blob.size_bytes, blob.checksum, stat.version, stat.size_bytes)
    if not blob.checksum:
        raise Conflict(f"nobody knows what the bytes of {blob.key} were: they were never read whole")
    return found


def _digest(reader: Reader, watch: _Watch) -> str | None:
    """The checksum of an open blob; None if its medium cannot read it."""
    try:
        return digest_of(reader, watch.passed)
    except OSError:
        return None


def _others(dataset: Dataset, object_store_id: str) -> list[Replica]:
    """The replicas that may be whole, the best first."""
    usable = [
        one
        for one in dataset.replicas
        if one.object_store_id != object_store_id and one.state in ("present", "retiring") and not one.is_outdated
    ]
    return sorted(usable, key=lambda one: one.state != "present")


@contextmanager
def _of_cache(pool: Pool, blob: _Blob) -> Iterator[Body | None]:
    """The blob in the pool's own cache, if that has it whole and right."""
    held = None if pool.cache is None or blob.extra_file is not None else pool.cache.look(blob.key)
    if held is None or not held.whole:
        yield None
        return
    wanted = GetOptions(local=True, version=held.version, digest=blob.checksum)
    try:
        reader = pool.store().open(blob.key, wanted)
    except StoreError:
        yield None
        return
    with reader:
        is_right = reader.local_path is not None and digest_of(reader) == blob.checksum
        yield _OpenFileBody(reader.fileno(), blob.size_bytes) if is_right else None


def _write(store: Store, blob: _Blob, body: Body, watch: _Watch) -> None:
    """Put the good bytes over the bad ones, if these are still those that were looked at."""
    by_version = blob.version if store.capabilities.if_version else None
    options = PutOptions(
        digest=blob.checksum, if_absent=blob.version is None, if_version=by_version, on_progress=watch.at,
        on_staged=lambda _: watch.fence(),
    )  # fmt: skip
    store.put(blob.key, body, options)


def _prove(store: Store, blob: _Blob, watch: _Watch) -> str:
    """Read it back; its version."""
    with store.open(blob.key, FRESH) as reader:
        if _digest(reader, watch) == blob.checksum:
            return reader.stat.version
    raise Corrupt(
        f"{blob.key} was read back from pool {store.name} with other bytes than were written", store=store.name,
        key=blob.key, operation="repair",
    )  # fmt: skip


class _Watch:
    """Called while bytes pass: tells how many, and shows now and then that the repair lives."""

    def __init__(self, catalog: Catalog, prepared: RepairPrepared, on_bytes: OnBytes | None) -> None:
        self._catalog, self._row, self._on_bytes = catalog, prepared.row, on_bytes
        self._touched_s = catalog.clock.monotonic_s()

    def passed(self, size_bytes: int) -> None:
        """So many more were read."""
        if self._on_bytes is not None:
            self._on_bytes(size_bytes)
        self.at(0)

    def at(self, done_bytes: int) -> None:
        """So many are written."""
        now_s = self._catalog.clock.monotonic_s()
        if now_s - self._touched_s > TOUCH_S:
            self._touched_s = now_s
            self._catalog.holders.touch()
            self.fence()

    def fence(self) -> None:
        """Before anything is changed: whether the repair is still ours."""
        self._catalog.repairs.touch(self._row)


class _OpenFileBody:
    """A file that is open, whatever becomes of its name."""

    once = False

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self.size_bytes: int | None = size_bytes

    def open(self) -> BinaryIO:
        return cast("BinaryIO", io.FileIO(os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC), "r"))
