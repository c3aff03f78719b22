"""Bytes out: where a dataset is, a stream of it, a local path that stays, a copy that one owns.

Finding where it is costs one query whatever the number of pools. An open reader holds the blob: it is not
deleted under it. What the catalog says is checked by opening; where a blob is not where it should be, or is
damaged, the replica is marked and the error says so. Data that nobody recorded is looked for in the pools, in
their order, and recorded when found.
"""

from __future__ import annotations

import errno
import io
import os
import uuid as uuids
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from blake3 import blake3

from holdfast import layout
from holdfast.blobs import BLOCK_BYTES, DEFAULT_GET, BlobStat, ByteRange, GetOptions, Reader
from holdfast.catalog.adoptions import Found
from holdfast.catalog.base import Dataset, ExtraFile, Row
from holdfast.catalog.catalog import Catalog
from holdfast.errors import (
    Conflict,
    Corrupt,
    Denied,
    HoldfastError,
    InvalidKey,
    NoSpace,
    NotFound,
    PreconditionFailed,
    StoreError,
    Unavailable,
)
from holdfast.hold.facts import Pool, offline
from holdfast.hold.pools import PoolSet
from holdfast.hold.transfer import Transfer, not_found
from holdfast.keys import Key
from holdfast.placement.locator import candidates
from holdfast.seams import Entropy
from holdfast.stores.base import Store
from holdfast.stores.streams import digest_of

Out = TypeVar("Out")

LOCAL = GetOptions(local=True)
ATTEMPTS = 3  # a dataset may move or be replaced between the query and the opening
READ_ORDER = ("present", "retiring", "missing", "suspect")
"""One that is about to be deleted still has the bytes; a missing one may be back; a suspect one is never handed out."""


class Lease:
    """A local path that may be read until the lease ends. Use it in a `with` block, or `close` it."""

    __slots__ = ("path", "reader")

    def __init__(self, reader: Reader) -> None:
        assert reader.local_path is not None, "this reader has no local file"
        self.reader = reader
        self.path = reader.local_path

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reader.close()

    def close(self) -> None:
        """End the lease. Idempotent."""
        self.reader.close()


class Lookout:
    """Finds datasets and opens them."""

    def __init__(self, catalog: Catalog, pools: PoolSet, transfer: Transfer, entropy: Entropy) -> None:
        self._catalog, self._pools, self._transfer, self._entropy = catalog, pools, transfer, entropy

    # -- finding ------------------------------------------------------------------------------------------

    def find(self, dataset: int | str) -> Dataset:
        """The dataset with that id or uuid; `NotFound`, or `Unavailable` if a pool that cannot be asked might
        have it."""
        dataset_id, uuid = identify(dataset)
        found = (
            self._catalog.datasets.find(dataset_id)
            if dataset_id is not None
            else self._catalog.datasets.find_uuid(uuid or "")
        )
        return found if found is not None else self._discover(dataset_id, uuid)

    def _discover(self, dataset_id: int | None, uuid: str | None) -> Dataset:
        """Look for data that was there before us, and record it."""
        silent: list[str] = []
        for name, key in candidates(self._pools.places, dataset_id, uuid):
            if not self._pools.configured(name).facts.search_for_missing:
                continue
            try:
                pool = self._pools.online(name)
                stat = self._pools.stat(pool, key)
            except NotFound:
                continue
            except Unavailable:
                silent.append(name)
                continue
            found_there = self.found_in(pool, stat, dataset_id, uuid)
            self._catalog.adoptions.adopt([found_there], is_taken=self._pools.is_taken)
            found = (
                self._catalog.datasets.find(dataset_id)
                if dataset_id is not None
                else self._catalog.datasets.find_uuid(uuid or "")
            )
            if found is not None:
                return found
        if silent:
            raise Unavailable(
                f"dataset {dataset_id or uuid} is not in the pools that answer, and {', '.join(silent)} cannot be "
                "asked now",
                store=silent[0], operation="find",
            )  # fmt: skip
        raise not_found(dataset_id or uuid)

    def found_in(self, pool: Pool, stat: BlobStat, dataset_id: int | None, uuid: str | None) -> Found:
        """What is to be recorded of a primary blob that nobody knew, with its extra files."""
        prefix = layout.extra_files_prefix_of(stat.key)
        extras = tuple(
            ExtraFile(one.key.removeprefix(prefix), one.size_bytes) for one in pool.store().list(prefix)
        )
        return Found(
            pool.object_store_id, stat.key, dataset_id, uuid or self._entropy.uuid(), stat.size_bytes, stat.version,
            stat.modified_us, extras,
        )  # fmt: skip

    # -- opening ------------------------------------------------------------------------------------------

    def reader(
        self, dataset: int | str, options: GetOptions = DEFAULT_GET, extra_file: str | None = None
    ) -> Reader:
        """The dataset's bytes, or one of its extra files', from a replica that has them."""
        return self._at_a_replica(dataset, extra_file, options, _open)

    def stat(self, dataset: int | str, extra_file: str | None = None) -> BlobStat:
        """What a pool that has the bytes says of them, without reading any."""
        return self._at_a_replica(dataset, extra_file, DEFAULT_GET, _stat)

    def sign_url(self, dataset: int | str, expires_s: int, filename: str) -> str:
        """An URL of the pool itself by which anybody can read the bytes until it expires, or `Unsupported`."""

        def sign(store: Store, key: Key, _: GetOptions) -> str:
            return store.sign_url(key, "GET", expires_s, filename=filename)

        return self._at_a_replica(dataset, None, DEFAULT_GET, sign)

    def _at_a_replica(
        self, dataset: int | str, extra_file: str | None, options: GetOptions,
        act: Callable[[Store, Key, GetOptions], Out],
    ) -> Out:  # fmt: skip
        """Do something with the best replica that can be had."""
        dataset_id = layout.check_id(dataset) if isinstance(dataset, int) else self.find(dataset).id
        for attempt in range(ATTEMPTS):
            rows = self._catalog.datasets.locate(dataset_id)
            if not rows:
                self.find(dataset_id)
                continue
            done = self._act_on_any(dataset_id, rows, options, extra_file, act, last=attempt == ATTEMPTS - 1)
            if done is not None:
                return done
        raise not_found(dataset_id)

    def _act_on_any(
        self, dataset_id: int, rows: list[Row], options: GetOptions, extra_file: str | None,
        act: Callable[[Store, Key, GetOptions], Out], *, last: bool,
    ) -> Out | None:  # fmt: skip
        """What came of it; None if another look at the catalog may help; else the error."""
        if rows[0][0] not in ("ok", "error"):
            raise _not_readable(dataset_id, rows[0][0])
        failure: HoldfastError | None = None
        for row in rows if len(rows) == 1 else sorted(rows, key=_preference):
            name, state = row[1], row[2]
            if state not in READ_ORDER or (state == "retiring" and row[5] is None):  # old bytes, after a replace
                continue
            try:
                return self._act_on(dataset_id, row, options, extra_file, act)
            except NotFound as error:
                failure = failure or error
                if last and extra_file is None and state == "present":
                    self._catalog.fates.doubt(dataset_id, name, "missing", str(error))
            except PreconditionFailed as error:
                failure = error if failure is None or isinstance(failure, NotFound) else failure
                is_staged = last and extra_file is None and self._catalog.replaces.staged(dataset_id, name) is not None
                if is_staged:  # its new bytes are there, and not recorded yet
                    return self._act_on(dataset_id, row, options, extra_file, act, as_it_is=True)
            except StoreError as error:  # what cannot be asked may have it: that says more than an absence elsewhere
                failure = error if failure is None or isinstance(failure, NotFound) else failure
        if failure is None:
            raise NotFound(f"dataset {dataset_id} has no bytes in any pool")
        if isinstance(failure, NotFound | PreconditionFailed) and not last:
            return None  # it may have been moved, replaced or purged since the query
        raise failure

    def _act_on(
        self, dataset_id: int, row: Row, options: GetOptions, extra_file: str | None,
        act: Callable[[Store, Key, GetOptions], Out], *, as_it_is: bool = False,
    ) -> Out:  # fmt: skip
        _, name, state, primary, pool_state, version, digest = row
        if state == "suspect":
            raise Corrupt(
                f"dataset {dataset_id} in pool {name} is damaged: its bytes are not those that were stored",
                store=name, key=primary, operation="open",
            )  # fmt: skip
        pool = self._pools.get(name)
        if pool is None:
            raise Unavailable(
                f"dataset {dataset_id} is in pool {name}, which is no longer in the configuration; put the pool back "
                "to read it",
                store=name, operation="open", retryable=False,
            )  # fmt: skip
        if pool_state == "offline":
            raise offline(name)
        self._pools.confirm(pool)
        store = pool.store()
        if store.capabilities.remote and not as_it_is:
            options = self._known(dataset_id, options, extra_file, version, digest)
        try:
            done = act(store, self._wanted(Key(primary), extra_file), options)
        except NotFound as error:
            if extra_file is not None:
                raise NotFound(f"dataset {dataset_id} has no extra file {extra_file!r}", store=name) from error
            why = f"the bytes of dataset {dataset_id} are not in pool {name} any more ({primary})"
            raise NotFound(why, store=name, key=primary, operation="open") from error
        if isinstance(done, Reader) and options.local and extra_file is None:
            self._refuse_strange(dataset_id, name, done, options)
        return done

    def _refuse_strange(self, dataset_id: int, pool: str, reader: Reader, options: GetOptions) -> None:
        """A local file of another version than the catalog knew: it was replaced meanwhile, or the same bytes were put
        there again; else the bytes are somebody else's, the replica is suspect, and it is `Corrupt`."""
        version = reader.stat.version
        if options.version in (None, version) or options.digest is None:
            return
        if any(row[5] == version for row in self._catalog.datasets.locate(dataset_id)):
            return
        try:
            actual = digest_of(reader)
            reader.seek(0)
            if actual != options.digest:
                self.mismatch(self.find(dataset_id), actual, pool)
        except BaseException:
            reader.close()
            raise

    def _known(
        self, dataset_id: int, options: GetOptions, extra_file: str | None, version: str | None, digest: str | None
    ) -> GetOptions:
        """The options with what the catalog knows of the bytes, for whoever keeps copies of them."""
        if extra_file is None:
            return replace(options, version=version, digest=digest)
        known = (one.checksum for one in self._catalog.datasets.extra_files(dataset_id) if one.path == extra_file)
        return replace(options, digest=next(known, None))

    @staticmethod
    def _wanted(primary: Key, extra_file: str | None) -> Key:
        if extra_file is None:
            return primary
        return layout.extra_file_key(layout.extra_files_prefix_of(primary), extra_file)

    def lease(self, dataset: int | str, extra_file: str | None = None) -> Lease:
        """A local path of the dataset that stays valid until the lease ends."""
        return Lease(self.reader(dataset, LOCAL, extra_file))

    # -- copies that one owns -----------------------------------------------------------------------------

    def export(
        self, dataset: int | str, target: Path, wanted: ByteRange | None = None, extra_file: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:  # fmt: skip
        """Write the bytes to `target`: replaced at once and whole, or left as it was. The number of bytes.

        A whole dataset is checked against its checksum on the way; `Corrupt` marks the replica suspect.
        """
        try:
            target = target.resolve() if target.is_symlink() else target
            is_file = target.is_file() or not target.exists()
        except (OSError, ValueError) as error:
            raise _target_error(error, target) from error
        if not is_file:
            return self._export_through(dataset, target, wanted, extra_file, on_progress)
        temporary = target.parent / f".{target.name[:100]}.{self._entropy.token(6)}.part"
        try:
            with _nameless(target.parent, temporary) as stream:
                size = self._pour_whole(dataset, stream, wanted, extra_file, on_progress)
                stream.flush()
                os.fsync(stream.fileno())
                _give_name(stream, temporary)
            os.replace(temporary, target)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _target_error(error, target) from error
            raise
        return size

    def _pour_whole(
        self, dataset: int | str, stream: io.BufferedWriter, wanted: ByteRange | None, extra_file: str | None,
        on_progress: Callable[[int], None] | None,
    ) -> int:  # fmt: skip
        """Pour; and if the replica turns out to be damaged, begin again with another that is whole."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.pour(dataset, stream, wanted, extra_file, on_progress)
            except Corrupt:
                is_another = any(one.state == "present" for one in self.find(dataset).replicas)
                if attempt == ATTEMPTS or not is_another:
                    raise
            stream.seek(0)
            stream.truncate()
        raise AssertionError("the last attempt returns or raises")

    def _export_through(
        self, dataset: int | str, target: Path, wanted: ByteRange | None, extra_file: str | None,
        on_progress: Callable[[int], None] | None,
    ) -> int:  # fmt: skip
        """Write into a device or a pipe: what is no file cannot be replaced as a whole."""
        if target.is_dir():
            raise InvalidKey(f"{target} is a folder; give the name of a file in it", operation="get")
        try:
            with open(target, "wb") as stream:
                return self.pour(dataset, stream, wanted, extra_file, on_progress)
        except OSError as error:
            raise _target_error(error, target) from error

    def pour(
        self, dataset: int | str, stream: io.BufferedWriter | io.RawIOBase, wanted: ByteRange | None = None,
        extra_file: str | None = None, on_progress: Callable[[int], None] | None = None,
    ) -> int:  # fmt: skip
        """Write the bytes to a stream, checked as by `export`. The number of bytes."""
        found = self.find(dataset)
        expected = found.checksum if wanted is None and extra_file is None else None
        options = DEFAULT_GET if wanted is None else GetOptions(range=ByteRange(wanted.start))
        where = ""

        def opened(store: Store, key: Key, how: GetOptions) -> Reader:
            nonlocal where
            where = store.name
            return store.open(key, how)

        with self._at_a_replica(found.id, extra_file, options, opened) as reader:
            size = reader.stat.size_bytes
            start, stop = (wanted or ByteRange(0)).within(size)
            if wanted is not None and 0 < size <= start:
                raise InvalidKey(f"the dataset has {size} bytes; ask for a range within them", operation="get")
            reader.seek(start)
            digest = blake3() if expected else None
            left = stop - start
            buffer = memoryview(bytearray(min(BLOCK_BYTES, max(left, 1))))
            while left > 0:
                count = reader.readinto(buffer[: min(left, len(buffer))])
                if count == 0:
                    raise Corrupt(f"dataset {found.id} ended {left} bytes early", store=found.object_store_id or "")
                if digest is not None:
                    digest.update(buffer[:count])
                stream.write(buffer[:count])
                left -= count
                if on_progress is not None:
                    on_progress(stop - start - left)
            actual = f"blake3:{digest.hexdigest()}" if digest is not None else None
        if actual is not None and actual != expected:
            self.mismatch(found, actual, where)
        return stop - start

    def mismatch(self, dataset: Dataset, actual: str, pool: str) -> None:
        """The bytes read in that pool are not those recorded: replaced meanwhile, a replace that died, or damage, which
        is `Corrupt`."""
        now = self.find(dataset.id)
        if now.checksum == actual or now.checksum != dataset.checksum:
            return
        for replica in now.replicas:
            if replica.state not in ("present", "retiring") or replica.object_store_id != pool:
                continue
            if self._transfer.finish_replace(now, replica.object_store_id, actual) is not None:
                return
            why = f"damaged: {now.checksum} was stored, {actual} was read"
            self._catalog.fates.doubt(dataset.id, replica.object_store_id, "suspect", why)
            raise Corrupt(
                f"dataset {dataset.id} in pool {replica.object_store_id} is {why}", expected=now.checksum or "",
                actual=actual, store=replica.object_store_id, key=replica.key, operation="read",
            )  # fmt: skip


def _open(store: Store, key: Key, options: GetOptions) -> Reader:
    return store.open(key, options)


def _stat(store: Store, key: Key, _: GetOptions) -> BlobStat:
    return store.stat(key)


def identify(dataset: int | str) -> tuple[int | None, str | None]:
    """(id, None) or (None, uuid) of what the user typed; `InvalidKey` if it is neither."""
    if isinstance(dataset, bool) or not isinstance(dataset, int | str):
        raise InvalidKey(f"{dataset!r} is neither a dataset's id (a number) nor a uuid")
    if isinstance(dataset, int):
        return layout.check_id(dataset), None
    text = dataset.strip()
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 20:
        return layout.check_id(int(text)), None
    try:
        return None, str(uuids.UUID(text))
    except ValueError:
        raise InvalidKey(f"{dataset!r} is neither a dataset's id (a number) nor a uuid") from None


def _preference(row: Row) -> int:
    """Present before missing before suspect, whatever else last."""
    return READ_ORDER.index(row[2]) if row[2] in READ_ORDER else len(READ_ORDER)


def _not_readable(dataset_id: int, state: str) -> HoldfastError:
    if state == "deleted":
        return NotFound(f"dataset {dataset_id} was removed; bring it back with: holdfast restore {dataset_id}")
    if state == "purged":
        return NotFound(f"dataset {dataset_id} was purged: its bytes are gone")
    return Conflict(f"dataset {dataset_id} is still being written; try again when it is ok")


def _nameless(folder: Path, temporary: Path) -> io.BufferedWriter:
    """A new file that has no name yet, so that nothing is left of it if we are killed; on file systems that have
    no such files, one under its temporary name."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
        return open(temporary, "xb")
    return open(fd, "wb")


def _give_name(stream: io.BufferedWriter, temporary: Path) -> None:
    if os.fstat(stream.fileno()).st_nlink:
        return
    here = os.open(temporary.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # with a folder's descriptor, the link in /proc is followed
        os.link(f"/proc/self/fd/{stream.fileno()}", temporary.name, src_dir_fd=here, dst_dir_fd=here)
    finally:
        os.close(here)


def _target_error(error: OSError | ValueError, target: Path) -> HoldfastError:
    code = getattr(error, "errno", None)
    why = getattr(error, "strerror", None) or error
    reason = f"{str(target)!r} could not be written: {why}; it is as it was before"
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(reason, operation="get")
    if code in (errno.EPERM, errno.EACCES, errno.EROFS):
        return Denied(reason, operation="get")
    if code in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"there is no folder {target.parent}", operation="get")
    if code in (None, errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL, errno.EILSEQ, errno.ELOOP):
        return InvalidKey(reason, operation="get")
    return Unavailable(reason, operation="get")
