"""Bytes in: put, put many, replace. The order is law: reserve and write the intent, write the bytes, record.

A put that fails leaves nothing behind; one that is killed leaves an intent that `reap` takes back. When a
pool turns out to be full or broken, the next one is tried and the reason is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from holdfast import layout
from holdfast.blobs import BlobStat, Body, FileBody, GetOptions, PutOptions
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
from holdfast.hold.abreast import in_order
from holdfast.hold.facts import Pool
from holdfast.hold.pools import PoolSet
from holdfast.keys import Key
from holdfast.placement.policy import Request, no_rounds, size_words
from holdfast.stores.base import Store
from holdfast.stores.streams import digest_of

BATCH = 500  # datasets that share a transaction and a sync
BATCH_BYTES = 1024 * 1024 * 1024  # or fewer, when they are so large together
STEP_BYTES = 1024 * 1024  # room reserved at a time when nobody knows the size
STEP_BYTES_MAX = 4 * 1024 * 1024 * 1024
TOUCH_S = 60.0  # how often a long write shows that it lives
COLLISIONS_MAX = 8
MOVES_MAX = 8  # how often a dataset may move away under a replace that begins
_STANDING = ("present", "suspect", "missing")
REMOTE_AT_ONCE = 16  # blobs side by side where each is a round trip


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
        self._pools.recognition.meet_strangers()
        passed: dict[str, str] = {}
        given = _given(incoming.body)
        failure: StoreError | None = None
        collisions = 0
        while True:
            try:
                [prepared] = self._catalog.writes.begin(
                    [(incoming.new, incoming.request)], self._pools.decide(passed, given), self._pools
                )
            except (NoSpace, Unavailable):
                if failure is not None and incoming.request.pool is not None:
                    raise failure from None
                raise
            written: list[Key] = []
            try:
                finished = self._store(prepared, incoming, written, durable=True)
            except AlreadyExists as error:  # it came between our look and our write
                self._undo(prepared, written, str(error))
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
                self._undo(prepared, written, str(error))
                if not self._is_of_pool(error, prepared) or incoming.body.once:
                    raise
                passed[prepared.object_store_id] = str(error)
                failure = error
                continue
            except BaseException as error:
                self._undo(prepared, written, str(error) or type(error).__name__)
                raise
            self._commit([finished], {prepared: written}, actor)
            return prepared.dataset_id

    def put_many(self, incoming: Iterable[Incoming], actor: str | None = None) -> Iterator[int]:
        """Store many; their ids, in order. A batch shares its syncs and its transactions. If anything goes wrong
        with one of it, those before it are stored, and it is tried alone: what is wrong then is raised."""
        self._pools.recognition.meet_strangers()
        queue, failures = iter(incoming), list[Exception]()
        while batch := _next_batch(queue, failures):
            yield from self._put_batch(batch, actor)
        if failures:
            raise failures[0]

    def _put_batch(self, batch: list[Incoming], actor: str | None) -> Iterator[int]:
        prepared = self._begin_batch(batch)
        stored, failure = (0, None) if prepared is None else self._write_batch(batch, prepared, actor)
        for own in (prepared or [])[:stored]:
            yield own.dataset_id
        for one in batch[stored:]:
            if failure is not None and (one.body.once or not isinstance(failure, StoreError)):
                raise failure
            failure = None
            yield self.put(one, actor)

    def _write_batch(
        self, batch: list[Incoming], prepared: list[Prepared], actor: str | None
    ) -> tuple[int, BaseException | None]:
        """Write and record those before the first that fails; how many that are, and what failed then."""
        finished: list[Finished] = []
        written: dict[Prepared, list[Key]] = {own: [] for own in prepared}
        failure: BaseException | None = None
        touched_s = self._catalog.clock.monotonic_s()

        def store(at: int) -> Finished:
            return self._store(prepared[at], batch[at], written[prepared[at]], durable=False)

        try:
            for one in in_order(store, range(len(batch)), self._at_once(prepared)):
                finished.append(one)
                if self._catalog.clock.monotonic_s() - touched_s > TOUCH_S:
                    touched_s = self._catalog.clock.monotonic_s()
                    for waiting in prepared:
                        self._catalog.writes.touch(waiting)
        except BaseException as error:  # noqa: BLE001 - raised when those before it are stored
            failure = error
        try:
            for pool in sorted({own.object_store_id for own in prepared[: len(finished)]}):
                keys = [one.prepared.key for one in finished if one.prepared.object_store_id == pool]
                self._pools.configured(pool).store().sync(keys)
        except BaseException as error:  # noqa: BLE001 - raised when all is taken back
            failure, finished = error, []
        for own in prepared[len(finished) :]:
            self._undo(own, written[own], str(failure) or type(failure).__name__)
        if finished:
            self._commit(finished, written, actor)
        return len(finished), failure

    def _at_once(self, prepared: Sequence[Prepared]) -> int:
        """How many of these to write side by side: to where each is a round trip, many."""
        pools = {own.object_store_id for own in prepared}
        remote = any(self._pools.configured(pool).store().capabilities.remote for pool in pools)
        return REMOTE_AT_ONCE if remote else 1

    def _commit(self, finished: list[Finished], written: dict[Prepared, list[Key]], actor: str | None) -> None:
        """Record what is written. What was given up for dead meanwhile is taken back: its bytes are nobody's."""
        try:
            self._catalog.writes.commit(finished, actor)
        except Conflict as error:
            for one in finished:
                self._undo(one.prepared, written[one.prepared], str(error))
            raise

    def _begin_batch(self, batch: list[Incoming]) -> list[Prepared] | None:
        if len(batch) < 2 or any(one.body.size_bytes is None or one.extra_files for one in batch):
            return None
        try:
            return self._catalog.writes.begin(
                [(one.new, one.request) for one in batch], self._pools.decide(), self._pools
            )
        except (NoSpace, Unavailable):
            return None  # perhaps some of them fit

    def _store(
        self, prepared: Prepared, incoming: Incoming, written: list[Key], *, durable: bool
    ) -> Finished:
        """Write all blobs of a dataset: the extra files first, so that whoever sees the primary sees all.

        `written` are the keys that may be there then, also after an error; what others have put there is not
        among them.
        """
        self._pools.recognition.ready(prepared.object_store_id)
        store = self._pools.configured(prepared.object_store_id).store()
        watch = _Watch(self._catalog, self._pools, prepared, incoming)
        prefix = layout.extra_files_prefix_of(prepared.key)
        keys: list[Key] = [layout.extra_file_key(prefix, relative) for relative, _ in incoming.extra_files]
        watched = watch.part if store.capabilities.remote else watch

        def put_extra(at: int) -> ExtraFile:
            relative, body = incoming.extra_files[at]
            stat = _put_new(store, keys[at], body, PutOptions(durable=False, on_progress=watched), written)
            watch.settle(stat.size_bytes)
            return ExtraFile(relative, stat.size_bytes, stat.checksum)

        at_once = REMOTE_AT_ONCE if store.capabilities.remote else 1
        extras = list(in_order(put_extra, range(len(keys)), at_once))
        if keys and durable:
            store.sync(keys)
        options = PutOptions(digest=incoming.digest, durable=durable, on_progress=watch if durable else None)
        stat = _put_new(store, prepared.key, incoming.body, options, written)
        assert stat.checksum is not None, "a put answers with the checksum of what was written"
        return Finished(prepared, stat.size_bytes, stat.checksum, stat.version, tuple(extras))

    def _undo(self, prepared: Prepared, written: Sequence[Key], why: str) -> None:
        """Take back what a failed put has written. Where its pool does not answer, `reap` does it later."""
        try:
            for key in written:
                self._pools.configured(prepared.object_store_id).store().delete(key)
        except HoldfastError:
            self._catalog.writes.give_up(prepared, why)
        else:
            self._catalog.writes.abandon(prepared)

    def delete_blobs(self, object_store_id: str, primary: Key) -> None:
        """Delete a dataset's primary blob and its extra files from one pool. `Conflict` while one is read."""
        store = self._pools.writable(object_store_id).store()
        extras = [stat.key for stat in store.list(layout.extra_files_prefix_of(primary))]
        for _ in in_order(store.delete, extras, REMOTE_AT_ONCE if store.capabilities.remote else 1):
            pass
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
        size = body.size_bytes if body.size_bytes is not None else STEP_BYTES
        pool, prepared = self._begin_replace(dataset, size)
        request = Request(size_bytes=size, pool=pool.object_store_id)
        incoming = Incoming(body, NewDataset(dataset.name, size, dataset.owner), request, on_progress=on_progress)
        watch = _Watch(self._catalog, self._pools, prepared, incoming)
        try:
            self._refuse_full(prepared, request)
            stat = pool.store().put(
                prepared.key,
                body,
                PutOptions(digest=digest, on_progress=watch, on_staged=_intent(self._catalog, prepared)),
            )
        except OutcomeUnknown:
            self.settle_replace(prepared)
            raise
        except BaseException:
            self._catalog.replaces.abandon(prepared)
            raise
        assert stat.checksum is not None, "a put answers with the checksum of what was written"
        finished = Finished(prepared, stat.size_bytes, stat.checksum, stat.version)
        return self._catalog.replaces.commit(finished, actor)

    def _begin_replace(self, dataset: Dataset, size: int) -> tuple[Pool, Prepared]:
        """Where its bytes are, also if they move away just now."""
        for attempt in range(1, MOVES_MAX + 1):
            replica = next((one for one in dataset.replicas if one.state in _STANDING), None)
            if replica is None:
                raise Conflict(f"dataset {dataset.id} is {dataset.state} and has no bytes to replace")
            name = replica.object_store_id
            pool = self._pools.get(name)
            if pool is None:
                raise Unavailable(
                    f"dataset {dataset.id} is in pool {name}, which is no longer in the configuration",
                    store=name, operation="replace",
                )  # fmt: skip
            try:
                return pool, self._catalog.replaces.begin(dataset.id, size, name)
            except Conflict:
                now = self._catalog.datasets.find(dataset.id)
                is_there = now is not None and any(
                    one.object_store_id == name and one.state in _STANDING for one in now.replicas
                )
                if now is None or is_there or attempt == MOVES_MAX:
                    raise
                dataset = now
        raise AssertionError("the last attempt returns or raises")

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
                + (_full_words(request.size_bytes) if cls is NoSpace else own[0].reason),
                store=prepared.object_store_id, operation="replace",
            )  # fmt: skip

    def settle_replace(self, prepared: Prepared) -> None:
        """A replace of which nobody knows how it ended: look what lies there, and record it or forget it. Where
        the pool does not answer the room stays reserved, for `reap` to come back to."""
        staged = self._catalog.replaces.staged(prepared.dataset_id, prepared.object_store_id)
        dataset = self._catalog.datasets.find(prepared.dataset_id)
        if staged is not None and dataset is not None:
            try:
                store = self._pools.online(prepared.object_store_id).store()
                with store.open(prepared.key, GetOptions(fresh=True)) as reader:
                    actual = digest_of(reader)
            except NotFound:
                actual = ""
            except StoreError:
                return
            self.finish_replace(dataset, prepared.object_store_id, actual)
        self._catalog.replaces.abandon(prepared)

    def finish_replace(self, dataset: Dataset, object_store_id: str, actual: str) -> Dataset | None:
        """A replace that died between publishing and recording: record it if `actual` is what it staged."""
        staged = self._catalog.replaces.staged(dataset.id, object_store_id)
        if staged is None or staged[0] != actual:
            return None
        replica = next(one for one in dataset.replicas if one.object_store_id == object_store_id)
        stat = self._pools.configured(object_store_id).store().stat(replica.key)
        prepared = Prepared(dataset.id, dataset.uuid, object_store_id, replica.key, "", dataset.owner)
        return self._catalog.replaces.commit(Finished(prepared, staged[1], staged[0], stat.version), None)


def _full_words(size_bytes: int) -> str:
    return f"it has no room for the {size_words(size_bytes)} of new bytes beside the old ones"


def _put_new(store: Store, key: Key, body: Body, options: PutOptions, written: list[Key]) -> BlobStat:
    """Put under a key that nobody has; the key is among those written unless somebody has it."""
    written.append(key)
    try:
        return store.put(key, body, replace(options, if_absent=True))
    except AlreadyExists:
        written.remove(key)
        raise


def _given(body: Body) -> tuple[str, int] | None:
    """(medium, bytes) of a file that was given away: it may become the blob without taking more room."""
    if isinstance(body, FileBody) and body.consume:
        return body.medium, body.size_bytes
    return None


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
            except NoSpace as error:
                if step == needed:
                    raise self._filled_up(error) from error
                try:
                    self._extend(needed)
                except NoSpace as again:
                    raise self._filled_up(again) from again
        self._show_life()
        if self._incoming.on_progress is not None:
            self._incoming.on_progress(total)

    def _filled_up(self, error: NoSpace) -> NoSpace:
        """The pool has no room for what comes; what has come was reserved."""
        name, asked = self._prepared.object_store_id, self._incoming.request.pool
        instead = "so another pool could not be chosen" if asked is None else "so it could not be refused at once"
        return NoSpace(
            f"pool {name} had room when the upload began, and filled up after {size_words(self._reserved)}; the size "
            f"was not announced, {instead}: announce it (put --size, Content-Length)",
            store=name, key=error.key, operation="put",
        )  # fmt: skip

    def _show_life(self) -> None:
        now_s = self._catalog.clock.monotonic_s()
        if now_s - self._touched_s > TOUCH_S:
            self._catalog.holders.touch()
            self._catalog.writes.touch(self._prepared)
            self._touched_s = now_s

    def _extend(self, more_bytes: int) -> None:
        request = replace(self._incoming.request, size_bytes=more_bytes, pool=self._prepared.object_store_id)
        self._catalog.writes.extend(self._prepared, more_bytes, request, self._pools.decide())
        self._reserved += more_bytes

    def part(self, done_bytes: int) -> None:
        """The same for blobs that are written side by side: shows that the write lives."""
        with self._lock:
            self._show_life()

    def settle(self, size_bytes: int) -> None:
        """One blob of several is done."""
        with self._lock:
            self._before += size_bytes


def announced(body: Body, extra_files: Sequence[tuple[str, FileBody]]) -> int:
    """The bytes to reserve at first."""
    own = STEP_BYTES if body.size_bytes is None else body.size_bytes
    return own + sum(extra.size_bytes for _, extra in extra_files)


def not_found(dataset_id: object) -> NotFound:
    """The one sentence for a dataset that nobody knows."""
    return NotFound(f"there is no dataset {dataset_id}; `holdfast ls` lists them")
