"""Holds a pool back: so many requests a second, so many bytes a second, so many requests at once.

    LimitedDriver(inner, requests_per_s=100, bytes_per_s=50 * 1024**2, concurrency=32)

Each limit is shared by all threads of the process; None is no limit and costs nothing. What may pass in one second may
pass at once after a quiet one; beyond that callers wait, those who came first go first. Bytes are counted as they pass:
those of a put before they are sent, those of a reader when they were read. A reader counts among the requests at once
until it is closed; a listing only while it fetches, so that its caller may ask for what was listed. Whoever finds no
place among them for `permit_wait_s` gets `Unavailable`.

Does not do: limits over several processes; looking into calls. A call counts as one request, a listing as one for each
1000 names; what a driver sends in parts is held back by its bytes. Bytes read from a `local_path` pass unseen.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Literal, TypeVar, cast

from holdfast.blobs import DEFAULT_GET, DEFAULT_PUT, BlobStat, Body, GetOptions, PutOptions, Reader, Usage
from holdfast.keys import Key
from holdfast.layers.limited.limits import Limits
from holdfast.seams import Clock, SystemClock
from holdfast.stores.base import Capabilities, Driver, Leftover
from holdfast.stores.streams import piece_of

NAMES_PER_REQUEST = 1000  # a page of S3's listing
PERMIT_WAIT_S = 60.0

_Item = TypeVar("_Item")
_FREE = contextlib.nullcontext()


class LimitedDriver(Driver):
    """`inner`, asked no more than it may be."""

    def __init__(
        self,
        inner: Driver,
        *,
        requests_per_s: float | None = None,
        bytes_per_s: float | None = None,
        concurrency: int | None = None,
        permit_wait_s: float = PERMIT_WAIT_S,
        clock: Clock | None = None,
    ) -> None:
        for limit in (requests_per_s, bytes_per_s, concurrency):
            if limit is not None and limit <= 0:
                raise ValueError(f"a limit of {limit} lets nothing pass; leave it out for no limit")
        self._inner = inner
        self._requests_per_s, self._bytes_per_s, self._concurrency = requests_per_s, bytes_per_s, concurrency
        self._permit_wait_s = permit_wait_s
        self._clock = clock or SystemClock()
        self._limited = any(limit is not None for limit in (requests_per_s, bytes_per_s, concurrency))
        self._by_process: dict[int, Limits] = {}

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    # -- reading ------------------------------------------------------------------------------------------

    def stat(self, key: Key) -> BlobStat:
        with self._request():
            return self._inner.stat(key)

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        if not self._limited:
            return self._inner.open(key, options)
        limits = self._limits()
        limits.begin()
        try:
            reader = self._inner.open(key, options)
        except BaseException:
            limits.end()
            raise
        stream = _Paced(reader, limits)
        return Reader(cast("BinaryIO", stream), reader.stat, local_path=reader.local_path)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        return self._paged(lambda: self._inner.list(prefix, after))

    def usage(self) -> Usage:
        return self._inner.usage()

    def occupied(self, key: Key) -> bool:
        with self._request():
            return self._inner.occupied(key)

    def leftovers(self) -> Iterator[Leftover]:
        return self._paged(self._inner.leftovers)

    def refused(self) -> Iterator[tuple[str, str]]:
        return self._paged(self._inner.refused)

    def identity(self) -> str | None:
        with self._request():
            return self._inner.identity()

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        with self._request():
            if self._bytes_per_s is not None:
                options = replace(options, on_progress=self._limits().paying(options.on_progress))
            return self._inner.put(key, body, options)

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        with self._request():
            return self._inner.copy(source, target, options)

    def delete(self, key: Key) -> None:
        with self._request():
            self._inner.delete(key)

    def sync(self, keys: Sequence[Key]) -> None:
        self._inner.sync(keys)

    def discard(self, leftover: Leftover) -> bool:
        with self._request():
            return self._inner.discard(leftover)

    # -- the rest -----------------------------------------------------------------------------------------

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        return self._inner.sign_url(key, method, expires_s, filename=filename)

    def probe(self) -> Sequence[str]:
        with self._request():
            return self._inner.probe()

    def prepare(self) -> None:
        with self._request():
            self._inner.prepare()

    def expect(self, identity: str) -> None:
        self._inner.expect(identity)

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        with self._request():
            self._inner.mark(identity, replacing=replacing)

    def close(self) -> None:
        self._inner.close()

    # -- inside -------------------------------------------------------------------------------------------

    def _request(self) -> contextlib.AbstractContextManager[object]:
        return self._limits() if self._limited else _FREE

    def _limits(self) -> Limits:
        """This process's: after a fork a child begins with its own, whoever held the parent's locks and permits."""
        pid = os.getpid()
        found = self._by_process.get(pid)
        if found is not None:
            return found
        fresh = Limits(
            self.name, self._clock, requests_per_s=self._requests_per_s, bytes_per_s=self._bytes_per_s,
            concurrency=self._concurrency, permit_wait_s=self._permit_wait_s,
        )  # fmt: skip
        return self._by_process.setdefault(pid, fresh)

    def _paged(self, begin: Callable[[], Iterator[_Item]]) -> Iterator[_Item]:
        if not self._limited:
            yield from begin()
            return
        limits, items = self._limits(), begin()
        for number in itertools.count():
            limits.begin(1 if number % NAMES_PER_REQUEST == 0 else 0)
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                limits.end()
            yield item


class _Paced(io.RawIOBase):
    """A reader's bytes, as fast as they may pass. Gives its place back when it is closed or forgotten."""

    def __init__(self, reader: Reader, limits: Limits) -> None:
        super().__init__()
        self._reader, self._limits = reader, limits
        self._ended = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        content = self._reader.read(-1 if size is None else size)
        self._limits.pay(len(content))
        return content

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        count = self._reader.readinto(buffer)
        self._limits.pay(count)
        return count

    def piece(self, size_bytes: int) -> bytes | memoryview:
        content = piece_of(self._reader, size_bytes)
        self._limits.pay(len(content))
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def fileno(self) -> int:
        return self._reader.fileno()

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._reader.close()
        finally:
            super().close()
            self._limits.end()
