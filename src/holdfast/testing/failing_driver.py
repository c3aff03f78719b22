"""A driver that fails on command, over one that works: for tests of layers.

    driver = FailingDriver(DiskDriver("pool", folder))
    driver.fail("stat", unavailable(), unavailable(retry_after_s=3))   # the next two calls of stat, one each
    driver.break_streams(1000, 5000)                                   # the next two readers break at these positions
    driver.down = unavailable()                                        # everything, until it is None again

What fails does not reach the inner driver. `calls` are the operations that were asked, in their order, those that
failed too. Readers have no local path, as those of a remote store, unless `local_paths`. Safe from many threads.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Literal, cast

from holdfast.blobs import DEFAULT_GET, DEFAULT_PUT, BlobStat, Body, ByteRange, GetOptions, PutOptions, Reader, Usage
from holdfast.errors import StoreError, Unavailable, Unsupported
from holdfast.keys import Key
from holdfast.stores.base import Capabilities, Driver, Leftover

POOL = "pool"


def unavailable(message: str = "it does not answer", *, retry_after_s: float | None = None) -> Unavailable:
    """The error of a pool called `pool` that does not answer."""
    return Unavailable(message, store=POOL, retry_after_s=retry_after_s)


class FailingDriver(Driver):
    """`inner`, where it is not told to fail. With `every`, each so-manieth call fails besides, but no put."""

    def __init__(self, inner: Driver, *, every: int = 0, local_paths: bool = False) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.opened: list[GetOptions] = []
        self.down: StoreError | None = None
        self._every, self._local_paths = every, local_paths
        self._errors: dict[str, list[BaseException]] = {}
        self._breaks: list[tuple[int, StoreError]] = []
        self._list_breaks: list[int] = []
        self._lock = threading.RLock()

    # -- commands -----------------------------------------------------------------------------------------

    def fail(self, operation: str, *errors: BaseException) -> None:
        """The next calls of this operation raise these, one each."""
        self._errors.setdefault(operation, []).extend(errors)

    def break_streams(self, *positions: int, error: StoreError | None = None) -> None:
        """The next readers break at these positions of the blob, one each."""
        self._breaks.extend((position, error or unavailable("the connection was cut")) for position in positions)

    def break_lists(self, *counts: int) -> None:
        """The next listings (or leftovers, or refused) break after so many, one each."""
        self._list_breaks.extend(counts)

    # -- the contract -------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, local_paths=self._local_paths)

    def stat(self, key: Key) -> BlobStat:
        self._ask("stat")
        return self.inner.stat(key)

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        self._ask("open")
        self.opened.append(options)
        if self._local_paths:
            return self.inner.open(key, options)
        if options.local:
            raise Unsupported(f"pool {self.name} has no local paths", store=self.name, key=key, operation="open")
        reader = self.inner.open(key, options)
        with self._lock:
            breaks = self._breaks.pop(0) if self._breaks else None
        stream = _Breaking(reader, (options.range or ByteRange(0)).start, breaks)
        return Reader(cast("BinaryIO", stream), reader.stat)

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._ask("put")
        return self.inner.put(key, body, options)

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._ask("copy")
        return self.inner.copy(source, target, options)

    def delete(self, key: Key) -> None:
        self._ask("delete")
        self.inner.delete(key)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        self._ask("list")
        return self._broken(self.inner.list(prefix, after))

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        self._ask("sign_url")
        return self.inner.sign_url(key, method, expires_s, filename=filename)

    def close(self) -> None:
        self.inner.close()

    def usage(self) -> Usage:
        self._ask("usage")
        return self.inner.usage()

    def probe(self) -> Sequence[str]:
        self._ask("probe")
        return self.inner.probe()

    def sync(self, keys: Sequence[Key]) -> None:
        self._ask("sync")
        self.inner.sync(keys)

    def leftovers(self) -> Iterator[Leftover]:
        self._ask("leftovers")
        return self._broken(self.inner.leftovers())

    def discard(self, leftover: Leftover) -> bool:
        self._ask("discard")
        return self.inner.discard(leftover)

    def refused(self) -> Iterator[tuple[str, str]]:
        self._ask("refused")
        return self._broken(self.inner.refused())

    def occupied(self, key: Key) -> bool:
        self._ask("occupied")
        return self.inner.occupied(key)

    def prepare(self) -> None:
        self._ask("prepare")
        self.inner.prepare()

    def expect(self, identity: str) -> None:
        self.inner.expect(identity)

    def identity(self) -> str | None:
        self._ask("identity")
        return self.inner.identity()

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self._ask("mark")
        self.inner.mark(identity, replacing=replacing)

    # -- inside -------------------------------------------------------------------------------------------

    def _ask(self, operation: str) -> None:
        with self._lock:
            self.calls.append(operation)
            if self.down is not None:
                raise self.down
            if errors := self._errors.get(operation):
                raise errors.pop(0)
            if self._every and operation != "put" and len(self.calls) % self._every == 0:
                raise unavailable(f"call {len(self.calls)} fails")

    def _broken(self, items: Iterator[Any]) -> Iterator[Any]:
        with self._lock:
            left = self._list_breaks.pop(0) if self._list_breaks else -1
        for item in items:
            if left == 0:
                raise unavailable("the listing was cut")
            left -= 1
            yield item


class _Breaking(io.RawIOBase):
    """A reader's bytes, up to where it breaks; broken it stays broken."""

    def __init__(self, reader: Reader, start: int, breaks: tuple[int, StoreError] | None) -> None:
        super().__init__()
        self._reader, self._start, self._breaks = reader, start, breaks

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._breaks is None:
            return self._reader.readinto(buffer)
        position, error = self._breaks
        left = position - self._reader.tell()
        if left <= 0:
            raise error
        return self._reader.readinto(memoryview(buffer)[:left])

    def seek(self, offset: int, whence: int = 0, /) -> int:
        at = self._reader.seek(offset, whence)
        if at < self._start:
            raise AssertionError(f"sought to {at}, before the range that was asked for, which starts at {self._start}")
        return at

    def tell(self) -> int:
        return self._reader.tell()

    def fileno(self) -> int:
        return self._reader.fileno()

    def close(self) -> None:
        self._reader.close()
        super().close()
