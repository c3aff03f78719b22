"""Bytes in: put, put many, replace. The order is law: reserve and write the intent, write the bytes, record.

A put that fails leaves nothing behind; one that is killed leaves an intent that `reap` takes back. When a
pool turns out to be full or broken, the next one is tried and the reason is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from holdfast import layout
from holdfast.blobs import BlobStat, Body, FileBody, PutOptions
from holdfast.catalog.base import Dataset, ExtraFile, Finished, NewDataset, Prepared
from holdfast.catalog.catalog import Catalog
from holdfast.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    HoldfastError,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    StoreError,
    Unavailable,
)
from holdfast.hold.pools import PoolSet
from holdfast.keys import Key
from holdfast.placement.policy import Request, no_rounds

BATCH = 500  # datasets that share a transaction and a sync
BATCH_BYTES = 1024 * 1024 * 1024  # or fewer, when they are so large together
STEP_BYTES = 1024 * 1024  # room reserved at a time when nobody knows the size
STEP_BYTES_MAX = 4 * 1024 * 1024 * 1024
TOUCH_S = 60.0  # how often a long write shows that it lives
COLLISIONS_MAX = 8


@dataclass(frozen=True, slots=True)
class Incoming:
    """One dataset on its way in."""

    body: Body
    new: NewDataset
    request: Request
    extra_files: Sequence[tuple[str, FileBody]] = ()
    digest: str | None = None
    on_progress: Callable[[int], None] | None = None


class Transfer:
    """Puts and replaces, over a catalog and pools."""

    def __init__(self, catalog: Catalog, pools: PoolSet) -> None:
        self._catalog, self._pools = catalog, pools

    # -- put ----------------------------------------------------------------------------------------------

    def put(self, incoming: Incoming, actor: str | None = None) -> int:
        """Store one dataset; its id. Tries every pool that placement allows before it gives up."""
        passed: dict[str, str] = {}
        failure: StoreError | None = None
        collisions = 0
        while True:
            try:
                [prepared] = self._catalog.writes.begin(
                    [(incoming.new, incoming.request)], self._pools.decide(passed), self._pools
                )
            except (NoSpace, Unavailable):
                if failure is not None and incoming.request.pool is not None:
                    raise failure from None
                raise
            try:
                finished = self._store(prepared, incoming, durable=True)
            except AlreadyExists as error:  # it came between our look and our write
                self._catalog.writes.abandon(prepared)
                if incoming.body.once:
                    raise Conflict(
                        f"while it was written, another program put something under its name ({prepared.key}) into "
                        f"pool {prepared.object_store_id}; nothing was stored, send it again"
                    ) from error
                collisions += 1
                if collisions > COLLISIONS_MAX:
                    raise Unavailable(f"every new name is taken already: {error}", operation="put") from error
                continue
            except (NoSpace, Unavailable, Denied, OutcomeUnknown) as error:
                self._undo(prepared, str(error))
                if not self._is_of_pool(error, prepared) or incoming.body.once:
                    raise
                passed[prepared.object_store_id] = str(error)
                failure = error
                continue
            except BaseException as error:
                self._undo(prepared, str(error) or type(error).__name__)
                raise
            self._catalog.writes.commit([finished], actor)
            return prepared.dataset_id

    def put_many(self, incoming: Iterable[Incoming], actor: str | None = None) -> Iterator[int]:
        """Store many; their ids, in order. A batch shares its syncs and its transactions and is stored as a
        whole, or, if anything goes wrong with it, one by one until the first that fails raises."""
        queue, failures = iter(incoming), list[Exception]()
        while batch := _next_batch(queue, failures):
            yield from self._put_batch(batch, actor)
        if failures:
            raise failures[0]

    def _put_batch(self, batch: list[Incoming], actor: str | None) -> Iterator[int]:
        prepared = self._begin_batch(batch)
        if prepared is None or not self._write_batch(batch, prepared, actor):
            for one in batch:
                yield self.put(one, actor)
            return
        for own in prepared:
            yield own.dataset_id

    def _write_batch(self, batch: list[Incoming], prepared: list[Prepared], actor: str | None) -> bool:
        """Write and record a batch as a whole. False: nothing is stored, and they may be tried one by one."""
        try:
            finished = [self._store(own, one, durable=False) for own, one in zip(prepared, batch, strict=True)]
            for pool in sorted({own.object_store_id for own in prepared}):
                keys = [own.key for own in prepared if own.object_store_id == pool]
                self._pools.configured(pool).store().sync(keys)
        except BaseException as error:
            for own in prepared:
                self._undo(own, str(error) or type(error).__name__)
            if isinstance(error, StoreError) and not any(one.body.once for one in batch):
                return False
            raise
        self._catalog.writes.commit(finished, actor)
        return True

    def _begin_batch(self, batch: list[Incoming]) -> list[Prepared] | None:
        if len(batch) < 2 or any(one.body.size_bytes is None or one.extra_files for one in batch):
            return None
        try:
            return self._catalog.writes.begin(
                [(one.new, one.request) for one in batch], self._pools.decide(), self._pools
            )
        except (NoSpace, Unavailable):
            return None  # perhaps some of them fit

    def _store(self, prepared: Prepared, incoming: Incoming, *, durable: bool) -> Finished:
        """Write all blobs of a dataset: the extra files first, so that whoever sees the primary sees all."""
        store = self._pools.configured(prepared.object_store_id).store()
        watch = _Watch(self._catalog, self._pools, prepared, incoming)
        extras: list[ExtraFile] = []
        prefix = layout.extra_files_prefix_of(prepared.key)
        keys: list[Key] = []
        for relative, body in incoming.extra_files:
            key = layout.extra_file_key(prefix, relative)
            stat = store.put(key, body, PutOptions(if_absent=True, durable=False, on_progress=watch))
            watch.settle(stat.size_bytes)
            extras.append(ExtraFile(relative, stat.size_bytes, stat.checksum))
            keys.append(key)
        if keys and durable:
            store.sync(keys)
        stat = store.put(
            prepared.key,
            incoming.body,
            PutOptions(
                digest=incoming.digest, if_absent=True, durable=durable, on_progress=watch if durable else None
            ),
        )
        assert stat.checksum is not None, "a put answers with the checksum of what was written"
        return Finished(prepared, stat.size_bytes, stat.checksum, stat.version, tuple(extras))

    def _undo(self, prepared: Prepared, why: str) -> None:
        """Take back what a failed put has written. Where its pool does not answer, `reap` does it later."""
        try:
            self.delete_blobs(prepared.object_store_id, prepared.key)
        except HoldfastError:
            self._catalog.writes.give_up(prepared, why)
        else:
            self._catalog.writes.abandon(prepared)

    def delete_blobs(self, object_store_id: str, primary: Key) -> None:
        """Delete a dataset's primary blob and its extra files from one pool. `Conflict` while one is read."""
        store = self._pools.writable(object_store_id).store()
        for stat in list(store.list(layout.extra_files_prefix_of(primary))):
            store.delete(stat.key)
        store.delete(primary)

    @staticmethod
    def _is_of_pool(error: StoreError, prepared: Prepared) -> bool:
        return error.store == prepared.object_store_id

    # -- replace ------------------------------------------------------------------------------------------

    def replace(
        self, dataset: Dataset, body: Body, actor: str | None = None, digest: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Dataset:  # fmt: skip
        """New bytes for an old dataset, in the pool where it is. Readers see the old or the new, whole."""
        replica = next((one for one in dataset.replicas if one.state in ("present", "suspect", "missing")), None)
        if replica is None:
            raise Conflict(f"dataset {dataset.id} is {dataset.state} and has no bytes to replace")
        pool = self._pools.get(replica.object_store_id)
        if pool is None:
            raise Unavailable(
                f"dataset {dataset.id} is in pool {replica.object_store_id}, which is no longer in the configuration",
                store=replica.object_store_id, operation="replace",
            )  # fmt: skip
        size = body.size_bytes if body.size_bytes is not None else STEP_BYTES
        request = Request(size_bytes=size, pool=pool.object_store_id)
        prepared = self._catalog.replaces.begin(dataset.id, size, pool.object_store_id)
        incoming = Incoming(body, NewDataset(dataset.name, size, dataset.owner), request, on_progress=on_progress)
        watch = _Watch(self._catalog, self._pools, prepared, incoming)
        try:
            self._refuse_full(prepared, request)
            stat = pool.store().put(
                prepared.key,
                body,
                PutOptions(digest=digest, on_progress=watch, on_staged=_intent(self._catalog, prepared)),
            )
        except BaseException as error:
            if not isinstance(error, OutcomeUnknown):
                self._catalog.replaces.abandon(prepared)
            raise
        assert stat.checksum is not None, "a put answers with the checksum of what was written"
        finished = Finished(prepared, stat.size_bytes, stat.checksum, stat.version)
        return self._catalog.replaces.commit(finished, actor)

    def _refuse_full(self, prepared: Prepared, request: Request) -> None:
        """The room is reserved already, so the pool must not be over its limit with it."""
        rows = {row.object_store_id: row for row in self._catalog.pools.all()}
        decision = self._pools.decide()
        own = [
            choice
            for choice in decision(replace(request, size_bytes=0), rows, no_rounds)
            if choice.object_store_id == prepared.object_store_id
        ]
        if own and not own[0].possible:
            cls = NoSpace if own[0].code == "full" else Unavailable
            raise cls(
                f"dataset {prepared.dataset_id} cannot be replaced in pool {prepared.object_store_id}: "
                f"{own[0].reason}",
                store=prepared.object_store_id, operation="replace",
            )  # fmt: skip

    def finish_replace(self, dataset: Dataset, object_store_id: str, actual: str) -> Dataset | None:
        """A replace that died between publishing and recording: record it if `actual` is what it staged."""
        staged = self._catalog.replaces.staged(dataset.id, object_store_id)
        if staged is None or staged[0] != actual:
            return None
        replica = next(one for one in dataset.replicas if one.object_store_id == object_store_id)
        stat = self._pools.configured(object_store_id).store().stat(replica.key)
        prepared = Prepared(dataset.id, dataset.uuid, object_store_id, replica.key, "", dataset.owner)
        return self._catalog.replaces.commit(Finished(prepared, staged[1], staged[0], stat.version), None)


def _next_batch(queue: Iterator[Incoming], failures: list[Exception]) -> list[Incoming]:
    """The next so many. What goes wrong while one is looked at ends the queue and is kept in `failures`, to be
    raised when those before it are stored."""
    batch: list[Incoming] = []
    size_bytes = 0
    try:
        while not failures and len(batch) < BATCH and size_bytes < BATCH_BYTES:
            batch.append(next(queue))
            size_bytes += batch[-1].new.size_bytes
    except StopIteration:
        return batch
    except Exception as error:  # noqa: BLE001 - see above
        failures.append(error)
    return batch


def _intent(catalog: Catalog, prepared: Prepared) -> Callable[[BlobStat], None]:
    def write_down(stat: BlobStat) -> None:
        catalog.replaces.stage(prepared, stat.checksum or "", stat.size_bytes)

    return write_down


class _Watch:
    """Called while bytes pass: reserves more room where the size was not known, shows that the write lives,
    tells the caller how far it is."""

    def __init__(self, catalog: Catalog, pools: PoolSet, prepared: Prepared, incoming: Incoming) -> None:
        self._catalog, self._pools, self._prepared, self._incoming = catalog, pools, prepared, incoming
        self._reserved = incoming.new.size_bytes
        self._before = 0
        self._touched_s = catalog.clock.monotonic_s()
        self._lock = threading.Lock()

    def __call__(self, done_bytes: int) -> None:
        total = self._before + done_bytes
        if total > self._reserved:
            needed = total - self._reserved
            step = max(needed, min(max(STEP_BYTES, self._reserved), STEP_BYTES_MAX))
            try:
                self._extend(step)
            except NoSpace:
                if step == needed:
                    raise
                self._extend(needed)
        now_s = self._catalog.clock.monotonic_s()
        if now_s - self._touched_s > TOUCH_S:
            self._catalog.holders.touch()
            self._catalog.writes.touch(self._prepared)
            self._touched_s = now_s
        if self._incoming.on_progress is not None:
            self._incoming.on_progress(total)

    def _extend(self, more_bytes: int) -> None:
        request = replace(self._incoming.request, size_bytes=more_bytes, pool=self._prepared.object_store_id)
        self._catalog.writes.extend(self._prepared, more_bytes, request, self._pools.decide())
        self._reserved += more_bytes

    def settle(self, size_bytes: int) -> None:
        """One blob of several is done."""
        self._before += size_bytes


def announced(body: Body, extra_files: Sequence[tuple[str, FileBody]]) -> int:
    """The bytes to reserve at first."""
    own = STEP_BYTES if body.size_bytes is None else body.size_bytes
    return own + sum(extra.size_bytes for _, extra in extra_files)


def not_found(dataset_id: object) -> NotFound:
    """The one sentence for a dataset that nobody knows."""
    return NotFound(f"there is no dataset {dataset_id}; `holdfast ls` lists them")
