"""`Hold`: what every caller holds.

    with holdfast.open("holdfast.yml") as hold:
        dataset = hold.put("reads.fastq")
        with hold.open(dataset.id) as stream: ...
        with hold.lease(dataset.id) as path: ...

Safe from many threads; several processes may work on one catalog; after a fork the child goes on with
connections of its own. Making a `Hold` starts no thread and opens no socket of a store.

This file is the face. Bytes in are in `transfer`, bytes out in `lease`, the pools in `pools`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from holdfast.blobs import DEFAULT_GET, BlobStat, Body, ByteRange, FileBody, GetOptions, Reader
from holdfast.catalog.base import (
    POOL_STATES,
    Dataset,
    Event,
    ExtraFile,
    Filter,
    NewDataset,
    PoolState,
)
from holdfast.catalog.catalog import Catalog, Totals
from holdfast.errors import Conflict, HoldfastError, InvalidKey, NotFound, Problem
from holdfast.hold.bodies import PutItem, Source, body_of, extra_files_of, file_body
from holdfast.hold.facts import Pool, PoolCheck, PoolInfo
from holdfast.hold.keeping import Keeping
from holdfast.hold.lease import Lease, Lookout
from holdfast.hold.moving import Moving
from holdfast.hold.pools import PoolSet
from holdfast.hold.shapes import dataset_json, why_unavailable
from holdfast.hold.transfer import Incoming, Transfer, announced
from holdfast.hold.writer import Writer
from holdfast.keys import check_dataset_name
from holdfast.placement.policy import Choice, Node, Request
from holdfast.seams import Clock, Entropy, SystemClock, SystemEntropy

LABELS_MAX = 64
LABEL_CHARS_MAX = 255
OWNER_CHARS_MAX = 255


class Hold:
    """Datasets over pools. Close it, or use `with`."""

    def __init__(
        self, *, catalog: Catalog, pools: Sequence[Pool], tree: Node, state_dir: Path, config: Any = None,
        clock: Clock | None = None, entropy: Entropy | None = None,
    ) -> None:  # fmt: skip
        self.catalog = catalog
        self.state_dir = state_dir
        self.config = config
        self.clock = clock or SystemClock()
        self.entropy = entropy or SystemEntropy()
        self.poolset = PoolSet(pools, tree, catalog, self.entropy)
        self.transfer = Transfer(catalog, self.poolset)
        self.moving = Moving(catalog, self.poolset)
        self.keeping = Keeping(self.poolset)
        self.lookout = Lookout(catalog, self.poolset, self.transfer, self.entropy)
        self.poolset.recognition.open()

    @property
    def warnings(self) -> list[Problem]:
        """What was odd when the pools were opened."""
        return self.poolset.recognition.warnings

    # -- bytes in -----------------------------------------------------------------------------------------

    def put(
        self, source: Source, *, name: str | None = None, pool: str | None = None, preferred: str | None = None,
        owner: str | None = None, labels: Mapping[str, str] | None = None, extra_files: str | Path | None = None,
        digest: str | None = None, on_progress: Any = None, origin: str = "put", job_id: int | None = None,
        actor: str | None = None,
    ) -> Dataset:  # fmt: skip
        """Store a new dataset; on return its bytes, its name and its record survive a power cut.

        `source` is a path, bytes, a binary stream or a `Body`. `pool` demands a pool, `preferred` asks for
        one. `extra_files` is a folder. `digest` (`blake3:<hex>`): refuse other bytes. `on_progress` is called
        with the bytes done so far. Raises `NoSpace`, `Unavailable`, `Denied`, `InvalidKey`, `Corrupt`,
        `PreconditionFailed` (the source changed or ended early); then nothing is stored.
        """
        body, name = body_of(source, name)
        incoming = self._incoming(
            body, name, pool=pool, preferred=preferred, owner=owner, labels=labels or {}, digest=digest,
            extra_files=extra_files_of(extra_files), on_progress=on_progress, origin=origin, job_id=job_id,
        )  # fmt: skip
        return self.find(self.transfer.put(incoming, actor or owner))

    def put_many(
        self, sources: Iterable[Source | PutItem], *, pool: str | None = None, preferred: str | None = None,
        owner: str | None = None, labels: Mapping[str, str] | None = None,
        on_stored: Callable[[Dataset], None] | None = None,
    ) -> list[Dataset]:  # fmt: skip
        """Store many, in batches that share their syncs and transactions; as durable as `put`. In order.

        If one cannot be stored its error is raised; those before it are stored. `on_stored` is called for
        each, once it is.
        """
        if isinstance(sources, str | bytes | Path):
            raise InvalidKey("put_many takes a list of sources, not one; for one there is put")

        def each() -> Iterable[Incoming]:
            for source in sources:
                item = source if isinstance(source, PutItem) else PutItem(source)
                body, name = body_of(item.source, item.name)
                yield self._incoming(
                    body, name, pool=pool, preferred=preferred, owner=owner, digest=item.digest,
                    labels={**(labels or {}), **item.labels},
                )  # fmt: skip

        stored: list[Dataset] = []
        for dataset_id in self.transfer.put_many(each(), owner):
            stored.append(self._known(dataset_id))
            if on_stored is not None:
                on_stored(stored[-1])
        return stored

    def adopt_file(
        self, path: Path, *, name: str, owner: str | None = None, pool: str | None = None,
        preferred: str | None = None, labels: Mapping[str, str] | None = None, checksum: str | None = None,
        extra_files: str | Path | None = None, origin: str = "put", job_id: int | None = None,
        settled: str | None = None,
    ) -> Dataset:  # fmt: skip
        """Store a finished local file and take it over: it is renamed into place where it lies on the chosen
        pool's file system, else copied; afterwards it is gone. `checksum`, if it is known already, spares
        reading it. `settled`: see `placement.policy.Request`. If it cannot be stored, the file is left where it
        is."""
        body = file_body(Path(path), consume=True, checksum=checksum)
        incoming = self._incoming(
            body, name, pool=pool, preferred=preferred, owner=owner, labels=labels or {},
            extra_files=extra_files_of(extra_files), origin=origin, job_id=job_id, settled=settled,
        )  # fmt: skip
        return self.find(self.transfer.put(incoming, owner))

    def writer(
        self, *, name: str, size_bytes: int | None = None, owner: str | None = None, pool: str | None = None,
        preferred: str | None = None, labels: Mapping[str, str] | None = None, digest: str | None = None,
    ) -> Writer:  # fmt: skip
        """A put to which the bytes are handed piece by piece, from any thread."""
        check_dataset_name(name)

        def run(body: Body) -> Dataset:
            return self.put(
                body, name=name, owner=owner, pool=pool, preferred=preferred, labels=labels, digest=digest
            )

        return Writer(run, size_bytes)

    def replace(
        self, dataset: int | str, source: Source, *, actor: str | None = None, digest: str | None = None,
        on_progress: Any = None,
    ) -> Dataset:  # fmt: skip
        """New bytes for a dataset. Readers see the old or the new, whole. `Conflict` while a job counts on it
        or somebody else replaces it."""
        body, _ = body_of(source, "replacement")
        return self.transfer.replace(self.find(dataset), body, actor, digest, on_progress)

    def _incoming(
        self, body: Body, name: str, *, pool: str | None, preferred: str | None, owner: str | None,
        labels: Mapping[str, str], digest: str | None = None, on_progress: Any = None, origin: str = "put",
        extra_files: Sequence[tuple[str, FileBody]] = (), job_id: int | None = None, settled: str | None = None,
    ) -> Incoming:  # fmt: skip
        check_dataset_name(name)
        check_labels(labels)
        check_owner(owner)
        if pool is not None:
            self.poolset.configured(pool)
        size = announced(body, extra_files)
        new = NewDataset(name, size, owner, labels, origin, job_id)
        request = Request(size, owner, pool, preferred, labels, settled)
        return Incoming(body, new, request, extra_files, digest, on_progress)

    # -- bytes out ----------------------------------------------------------------------------------------

    def find(self, dataset: int | str) -> Dataset:
        """Everything known of a dataset, by id or uuid. One query; data that nobody recorded yet is looked for
        in the pools. `NotFound`; `Unavailable` if a pool that cannot be asked might have it."""
        return self.lookout.find(dataset)

    def open(
        self, dataset: int | str, *, range: ByteRange | None = None, extra_file: str | None = None  # noqa: A002
    ) -> BinaryIO:
        """A buffered, seekable binary stream of the dataset (of `range` only, if given)."""
        reader = self.reader(dataset, extra_file=extra_file)
        start, stop = (range or ByteRange(0)).within(reader.stat.size_bytes)
        return io.BufferedReader(_Window(reader, start, stop), 128 * 1024)

    def reader(
        self, dataset: int | str, options: GetOptions = DEFAULT_GET, extra_file: str | None = None
    ) -> Reader:
        """The same unbuffered, with its stat and, where there is one, its local path. Close it."""
        return self.lookout.reader(dataset, options, extra_file)

    def stat(self, dataset: int | str, extra_file: str | None = None) -> BlobStat:
        """Size and version of the bytes as their pool has them, without reading any."""
        return self.lookout.stat(dataset, extra_file)

    def sign_url(self, dataset: int | str, *, expires_s: int, filename: str) -> str:
        """An URL of the dataset's pool by which anybody can read it until it expires; a browser saves it under
        `filename`. `Unsupported` where the pool has no such URLs."""
        return self.lookout.sign_url(dataset, expires_s, filename)

    def is_remote(self, dataset: Dataset) -> bool:
        """Whether each look at its bytes is a round trip."""
        here = (self.poolset.get(one.object_store_id) for one in dataset.replicas if one.state == "present")
        drivers = [pool.driver for pool in here if pool is not None and pool.driver is not None]
        return bool(drivers) and all(driver.capabilities.remote for driver in drivers)

    def lease(self, dataset: int | str, *, extra_file: str | None = None) -> Lease:
        """A local path that stays valid until the `with` block ends."""
        return self.lookout.lease(dataset, extra_file)

    def export(
        self, dataset: int | str, target: str | Path, *, range: ByteRange | None = None,  # noqa: A002
        extra_file: str | None = None, on_progress: Any = None,
    ) -> int:  # fmt: skip
        """Write the bytes to a file: replaced at once and whole, or left as it was. The number of bytes.
        `Corrupt` if they are not those that were stored. `on_progress` is called with the bytes done so far."""
        return self.lookout.export(dataset, Path(target), range, extra_file, on_progress)

    def extra_files(self, dataset: int | str) -> list[ExtraFile]:
        """The dataset's extra files, by path."""
        return self.catalog.datasets.extra_files(self.find(dataset).id)

    def full_path(self, dataset: Dataset) -> str | None:
        """The local path of the primary blob, for people to look at; None where the pool has none."""
        for replica in dataset.replicas:
            if replica.state in ("gone", "retiring"):
                continue
            pool = self.poolset.get(replica.object_store_id)
            root = getattr(pool.driver, "root", None) if pool is not None else None
            if root is not None:
                return f"{root}/{replica.key}"
        return None

    def unavailable(self) -> dict[str, str]:
        """pool -> why its datasets cannot be read now, for those pools whose datasets cannot. Each pool is asked
        once; the number of datasets does not matter."""
        return self.poolset.unavailable()

    def to_json(self, dataset: Dataset, unavailable: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The dataset's shape in the API and on the command line. For many, ask `unavailable` once."""
        reasons = self.unavailable() if unavailable is None else unavailable
        return dataset_json(dataset, self.full_path(dataset), why_unavailable(dataset, reasons))

    # -- what becomes of datasets -------------------------------------------------------------------------

    def remove(self, dataset: int | str, *, purge: bool = False, actor: str | None = None) -> Dataset:
        """Mark it deleted; with `purge`, give its bytes up too. Both can be asked again."""
        found = self.find(dataset)
        if not purge:
            return self.catalog.fates.remove(found.id, actor)
        purged = self.catalog.fates.begin_purge(found.id, actor)
        self.finish_purge(purged)
        return self.find(found.id)

    def finish_purge(self, dataset: Dataset) -> bool:
        """Delete what is retiring. False if something is still read, or its pool does not answer: `reap` comes
        back for it."""
        done = True
        for replica in dataset.replicas:
            if replica.state != "retiring":
                continue
            try:
                self.transfer.delete_blobs(replica.object_store_id, replica.key)
            except (HoldfastError, NotFound):
                done = False
                continue
            self.catalog.fates.replica_gone(dataset.id, replica.object_store_id)
        return done

    def restore(self, dataset: int | str, *, actor: str | None = None) -> Dataset:
        """Undo `remove`, as long as the bytes are there."""
        return self.catalog.fates.restore(self.find(dataset).id, actor)

    def relabel(
        self, dataset: int | str, *, name: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Dataset:
        """Another name, other labels."""
        if name is not None:
            check_dataset_name(name)
        if labels is not None:
            check_labels(labels)
        return self.catalog.fates.describe(
            self.find(dataset).id, name=name, labels=None if labels is None else dict(labels)
        )

    # -- looking ------------------------------------------------------------------------------------------

    def datasets(self, which: Filter | None = None) -> list[Dataset]:
        """One page of datasets, newest first."""
        return self.catalog.datasets.page(which or Filter())

    def totals(self) -> Totals:
        """How many datasets there are, by state; from counters."""
        return self.catalog.totals()

    def pools(self) -> list[PoolInfo]:
        """Every pool, in probe order; then those that are no longer in the configuration."""
        rows = {row.object_store_id: row for row in self.catalog.pools.all()}
        known = [rows[name] for name in self.poolset.order if name in rows]
        gone = [row for name, row in rows.items() if self.poolset.get(name) is None and row.datasets]
        return self.poolset.infos(known + gone)

    def pool(self, object_store_id: str) -> PoolInfo:
        """One pool; `NotFound`."""
        [info] = self.poolset.infos([self.catalog.pools.find(object_store_id)])
        return info

    def set_pool_state(self, object_store_id: str, state: PoolState, *, actor: str | None = None) -> PoolInfo:
        """active, read-only, draining or offline. Holds for every process from its next put on.

        A pool that belongs to another catalog, or carries another mark than this one expects (a backup of the
        catalog was restored), is taken over when it is made active: the other one does not recognise it any more.
        """
        if state not in POOL_STATES:
            raise InvalidKey(f"{state!r} is no state of a pool; use one of: {', '.join(POOL_STATES)}")
        taken_over = False
        if state in ("active", "draining") and self.poolset.get(object_store_id) is not None:
            taken_over = self.poolset.recognition.take_over(object_store_id)
        now = self.clock.now_us()
        with self.catalog.db.write() as cursor:
            if taken_over:
                self.catalog.events.add(
                    cursor, now, "pool.takeover",
                    f"pool {object_store_id} was taken over from another catalog, which does not recognise it any "
                    "more; what that one has put there is recorded by: holdfast reconcile --adopt",
                    object_store_id=object_store_id, actor=actor,
                )  # fmt: skip
            self.catalog.pools.set_state(cursor, object_store_id, state)
            self.catalog.events.add(
                cursor, now, "pool.state", f"pool {object_store_id} is {state} now", object_store_id=object_store_id,
                actor=actor,
            )  # fmt: skip
        return self.pool(object_store_id)

    def rename_pool(self, old: str, new: str, *, actor: str | None = None) -> PoolInfo:
        """Everything recorded under `old`, which is no longer configured, is under `new` from now on."""
        self.poolset.configured(new)
        if self.poolset.get(old) is not None:
            raise Conflict(f"pool {old} is still in the configuration; rename it in the file first")
        self.catalog.pools.rename(old, new)
        now = self.clock.now_us()
        with self.catalog.db.write() as cursor:
            self.catalog.events.add(
                cursor, now, "pool.rename", f"pool {old} is called {new} now", object_store_id=new, actor=actor
            )
        return self.pool(new)

    def explain(self, dataset: int | str) -> Dataset:
        """The dataset with its recorded `placement`: every pool that was looked at, and why."""
        return self.find(dataset)

    def explain_put(
        self, size_bytes: int, *, owner: str | None = None, pool: str | None = None, preferred: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Choice]:  # fmt: skip
        """Where such a dataset would go now: the pools in order, the one to be chosen first."""
        request = Request(size_bytes, owner, pool, preferred, labels or {})
        rows = {row.object_store_id: row for row in self.catalog.pools.all()}
        writes = self.catalog.writes
        with self.catalog.db.read() as cursor:
            return self.poolset.decide()(
                request, rows, lambda node, signature: writes.read_rounds(cursor, node, signature)
            )

    def events(
        self, limit: int = 50, *, before: int | None = None, dataset_id: int | None = None
    ) -> list[Event]:
        """The event log, newest first."""
        return self.catalog.events.newest(limit, before=before, dataset_id=dataset_id)

    def events_since(self, after: int, limit: int = 100) -> list[Event]:
        """What happened after that event, oldest first."""
        return self.catalog.events.since(after, limit)

    def check_pools(self) -> list[PoolCheck]:
        """Prove each pool by writing, reading back and deleting a probe; name those that are left behind."""
        checks = [self.poolset.check(name) for name in self.poolset.order]
        renamed = {check.rename_from for check in checks}
        return checks + [check for check in self.poolset.left_behind() if check.object_store_id not in renamed]

    # -- the end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what is held open. Idempotent."""
        for pool in self.poolset:
            if pool.driver is not None:
                pool.driver.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _known(self, dataset_id: int) -> Dataset:
        found = self.catalog.datasets.find(dataset_id)
        assert found is not None, "it was recorded a moment ago"
        return found


class _Window(io.RawIOBase):
    """A part of a reader as a raw stream."""

    def __init__(self, reader: Reader, start: int, stop: int) -> None:
        super().__init__()
        self._reader, self._start, self._stop, self._at = reader, start, stop, start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        left = self._stop - self._at
        if left <= 0:
            return 0
        self._reader.seek(self._at)
        count = self._reader.readinto(memoryview(buffer)[:left])
        self._at += count
        return count

    def readall(self) -> bytes:
        """All that is left, in one request of the reader; without this it would be asked for 8 KiB at a time."""
        parts: list[bytes] = []
        while self._at < self._stop:
            self._reader.seek(self._at)
            if not (part := self._reader.read(self._stop - self._at)):
                break
            self._at += len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset_bytes: int, whence: int = 0, /) -> int:
        base = {0: self._start, 1: self._at, 2: self._stop}[whence]
        if base + offset_bytes < self._start:
            raise ValueError(f"there is nothing before the first byte (asked for {base + offset_bytes - self._start})")
        self._at = base + offset_bytes
        return self._at - self._start

    def tell(self) -> int:
        return self._at - self._start

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


def check_owner(owner: str | None) -> None:
    """`InvalidKey` unless this can be a dataset's owner."""
    if owner is not None and not (0 < len(owner) <= OWNER_CHARS_MAX and owner.isprintable()):
        raise InvalidKey(f"{owner!r} cannot be a dataset's owner: give an account's e-mail address, or none")


def check_labels(labels: Mapping[str, str]) -> None:
    """`InvalidKey` unless these can be a dataset's labels."""
    if not isinstance(labels, Mapping):
        raise InvalidKey(f"labels are a mapping of texts, as in {{'project': 'rna'}}; this is {labels!r}")
    if not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise InvalidKey(f"labels are texts, as in {{'project': 'rna'}}; these are {dict(labels)!r}")
    if len(labels) > LABELS_MAX:
        raise InvalidKey(f"a dataset may have {LABELS_MAX} labels, these are {len(labels)}")
    for key, value in labels.items():
        if not key or not key.isprintable() or not value.isprintable():
            raise InvalidKey(f"the label {key!r}={value!r} cannot be kept: use printable characters")
        if len(key) > LABEL_CHARS_MAX or len(value) > LABEL_CHARS_MAX:
            raise InvalidKey(f"the label {key[:30]!r} is longer than {LABEL_CHARS_MAX} characters")
