"""Moving datasets between pools while people work: docs/design/0014-moving.md.

    moving = Moving(catalog, pools)
    for moved in moving.move([MoveWanted(24, target="newdata")]): ...

A batch is begun in one transaction, copied side by side, synced once, read back from the target and recorded in one
transaction. Each dataset ends as `Moved` or as a reason why not; nothing raises but a bug, a stop and a catalog that is
away. A kill at any point leaves rows that `reap` takes back (`take_back`), and the source as it was.

Does not delete sources: they are retired, and `reap` deletes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from holdfast import layout
from holdfast.catalog import moves
from holdfast.catalog.base import Dataset, Replica
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.moves import MoveFinished, MovePrepared, MoveRefused, MoveWanted
from holdfast.errors import (
    Conflict,
    Corrupt,
    HoldfastError,
    NotFound,
    PreconditionFailed,
    StoreError,
)
from holdfast.hold.abreast import in_order
from holdfast.hold.copying import FRESH, Copied, Copying, OnBytes
from holdfast.hold.pools import PoolSet
from holdfast.keys import Key
from holdfast.stores.streams import digest_of

BATCH = 500  # datasets that share transactions and a sync
BATCH_BYTES = 1024 * 1024 * 1024
ATTEMPTS = 3  # against replaces that come in between


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one. With `error` nothing changed; its text says why, `code` is as in `MoveRefused`."""

    dataset_id: int
    source: str | None = None
    target: str | None = None
    size_bytes: int = 0
    checksum: str | None = None
    proved: bool = False
    error: HoldfastError | None = None
    why: str = ""
    code: str = ""

    @property
    def is_moved(self) -> bool:
        """Whether the new replica is recorded."""
        return self.target is not None


Written = Mapping[tuple[str, Key], str]


class Moving:
    """Makes replicas. Safe from many threads and processes."""

    def __init__(self, catalog: Catalog, pools: PoolSet) -> None:
        self._catalog, self._pools = catalog, pools

    def move(
        self, wanted: Iterable[MoveWanted], *, operation_id: int | None = None, actor: str | None = None,
        at_once: int | None = None, on_bytes: OnBytes | None = None,
    ) -> Iterator[Moved]:  # fmt: skip
        """Make these replicas, and retire those they were made from unless they are to stay.

        `at_once`: how many datasets are copied side by side. With `operation_id`, receipts are written. What comes out
        is in no particular order, one for each that was wanted; an exception stops the rest, which is then as before.
        """
        self._pools.recognition.meet_strangers()
        left = list(wanted)
        for attempt in range(1, ATTEMPTS + 1):
            again: list[MoveWanted] = []
            while left:
                batch, left = left[:BATCH], left[BATCH:]
                run = Copying(self._catalog, self._pools, on_bytes, at_once)
                for one, result in self._batch(run, batch, operation_id, actor):
                    if result.code == "changed" and attempt < ATTEMPTS:
                        again.append(one)
                    else:
                        yield result
            if not again:
                return
            left = again

    def take_back(self, moving: moves.Moving, written: Written | None = None) -> bool:
        """A move that came to nothing: its blobs are deleted, its room is free again. What has other bytes than were to
        be copied, and another version than was `written`, is somebody else's, and stays. Whether there was anything to
        take back: of several who try, one does. Raises the pool's errors, and then the next `reap` does it."""
        claimed = self._catalog.moves.claim(moving)
        if claimed is None:
            return False
        try:
            dataset = self._catalog.datasets.find(claimed.dataset_id)
            if dataset is not None:
                self._clear(dataset, claimed, written or {})
        except (StoreError, Conflict):
            self._catalog.moves.give_up(claimed)
            raise
        return self._catalog.moves.abandon(claimed.dataset_id, claimed.object_store_id, claimed.token)

    def _clear(self, dataset: Dataset, moving: moves.Moving, written: Written) -> None:
        """Delete what was copied. The token is looked at just before each name goes."""
        store = self._pools.writable(moving.object_store_id).store()
        whole = (one for one in dataset.replicas if one.state in ("present", "retiring") and not one.is_outdated)
        source = next(whole, None)
        target_prefix = layout.extra_files_prefix_of(moving.key)
        wanted = [
            (layout.extra_file_key(target_prefix, one.path), one.path, one.checksum)
            for one in self._catalog.datasets.extra_files(dataset.id)
        ]
        for key, path, checksum in [*wanted, (moving.key, None, moving.checksum)]:
            try:
                with store.open(key, FRESH) as reader:
                    is_ours = reader.stat.version == written.get((moving.object_store_id, key))
                    actual = None if is_ours else digest_of(reader)
            except NotFound:
                continue
            expected = checksum or (None if is_ours else self._digest_at(source, path))
            if is_ours or actual == expected or (expected is None and dataset.state == "purged"):
                self._catalog.moves.confirm(moving)
                store.delete(key)

    def _digest_at(self, source: Replica | None, extra_file: str | None) -> str | None:
        """The checksum of a blob that the catalog has none of."""
        if source is None:
            return None
        key = source.key
        if extra_file is not None:
            key = layout.extra_file_key(layout.extra_files_prefix_of(key), extra_file)
        try:
            with self._pools.online(source.object_store_id).store().open(key, FRESH) as reader:
                return digest_of(reader)
        except NotFound:
            return None

    # -- one batch ----------------------------------------------------------------------------------------

    def _batch(
        self, run: Copying, wanted: Sequence[MoveWanted], operation_id: int | None, actor: str | None
    ) -> Iterator[tuple[MoveWanted, Moved]]:
        begun: dict[str, tuple[MoveWanted, MovePrepared]] = {}  # by token: a dataset may go to several pools at once
        for one, answer in zip(wanted, self._begin(wanted), strict=True):
            if isinstance(answer, MoveRefused):
                yield one, Moved(one.dataset_id, why=answer.why, code=answer.code)
            else:
                begun[answer.token] = (one, answer)
        open_ = {token: prepared for token, (_, prepared) in begun.items()}
        try:
            finished: list[MoveFinished] = []
            for prepared, outcome in self._copy(run, list(open_.values())):
                if isinstance(outcome, MoveFinished):
                    finished.append(outcome)
                else:
                    del open_[prepared.token]
                    self._undo(run, prepared)
                    yield begun[prepared.token][0], _failed(prepared, outcome)
            outcomes = self._catalog.moves.commit(finished, operation_id=operation_id, actor=actor) if finished else []
            for own, recorded in zip(finished, outcomes, strict=True):
                del open_[own.prepared.token]
                if recorded == "changed":
                    self._undo(run, own.prepared)
                yield begun[own.prepared.token][0], _ended(own, recorded)
        finally:
            for prepared in open_.values():
                with suppress(HoldfastError):
                    self._undo(run, prepared)

    def _begin(self, wanted: Sequence[MoveWanted]) -> list[MovePrepared | MoveRefused]:
        away = {one.source: f"it is in pool {one.source} now" for one in wanted if one.source and one.target is None}
        return self._catalog.moves.begin(wanted, self._pools.decide(away), self._pools)

    def _copy(
        self, run: Copying, prepared: Sequence[MovePrepared]
    ) -> Iterator[tuple[MovePrepared, MoveFinished | HoldfastError]]:
        """Copy them, sync, read back: some at a time, so that no more than a GiB or so waits for its sync."""
        for chunk in _chunks(prepared):
            copied: list[Copied] = []
            for outcome in in_order(run.copied, chunk, run.at_once(chunk)):
                if isinstance(outcome, Copied):
                    copied.append(outcome)
                else:
                    yield outcome
            unsynced = run.sync(copied)
            for one in copied:
                if one.prepared.object_store_id in unsynced:
                    yield one.prepared, unsynced[one.prepared.object_store_id]
            proved = [one for one in copied if one.prepared.object_store_id not in unsynced]
            yield from run.proved_all(proved, run.at_once(chunk))

    def _undo(self, run: Copying, prepared: MovePrepared) -> None:
        """Take back what was written, if it is still ours to take back: else it is somebody else's business."""
        with suppress(StoreError, Conflict):  # `reap` does it when the pool is back
            self.take_back(prepared.row, run.written)


def _chunks(prepared: Sequence[MovePrepared]) -> Iterator[list[MovePrepared]]:
    """In their order, about `BATCH_BYTES` at a time."""
    chunk: list[MovePrepared] = []
    size_bytes = 0
    for one in prepared:
        if chunk and size_bytes + one.dataset.total_bytes > BATCH_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(one)
        size_bytes += one.dataset.total_bytes
    if chunk:
        yield chunk


def _ended(one: MoveFinished, recorded: moves.Outcome) -> Moved:
    prepared = one.prepared
    if recorded != "recorded":
        why = "it was replaced meanwhile" if recorded == "changed" else str(moves.given_up(prepared))
        return Moved(prepared.dataset.id, why=why, code=recorded)
    return Moved(
        prepared.dataset.id, prepared.source.object_store_id, prepared.object_store_id, prepared.dataset.total_bytes,
        one.checksum, proved=one.proved,
    )  # fmt: skip


def _failed(prepared: MovePrepared, error: HoldfastError) -> Moved:
    """A source that changed or vanished while it was read may be another by now: it is looked at again."""
    name = prepared.source.object_store_id
    is_of_source = isinstance(error, StoreError) and error.store in (name, "")  # a body that is away names no pool
    if isinstance(error, PreconditionFailed) or (is_of_source and isinstance(error, NotFound | Corrupt)):
        return Moved(prepared.dataset.id, error=error, why=str(error), code="changed")
    return Moved(prepared.dataset.id, error=error, why=str(error), code="failed")
