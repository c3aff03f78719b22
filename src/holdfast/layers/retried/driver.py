"""Asks again where asking again may help: the one place where Holdfast repeats what a pool could not do.

    RetriedDriver(inner, attempts=8, deadline_s=60.0)

Repeated is what the pool itself failed at with `retryable`: never `NotFound`, never `OutcomeUnknown` (a write that may
have landed), never what is wrong with the sender or with what was asked. It waits as long as the answer said
(`retry_after_s`), else between nothing and twice as long each time, by chance. After `attempts`, or when the next try
would begin later than `deadline_s` after the first failure, the last error is raised, and says how often it was tried.

A reader whose stream breaks is taken up at the byte where it broke, in the same version: `PreconditionFailed` if the
blob is another by then, never bytes of both. A listing goes on after the last key it gave. Each interruption of these
has its own attempts and its own deadline. A put is repeated only if its body can be opened again.

Does not do: counting failures over calls (`tripped`), limits (`limited`). It keeps nothing between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO, Literal, TypeVar, cast

from holdfast.blobs import (
    DEFAULT_GET,
    DEFAULT_PUT,
    BlobStat,
    Body,
    GetOptions,
    PutOptions,
    Reader,
    Usage,
)
from holdfast.errors import StoreError
from holdfast.keys import Key
from holdfast.layers.retried.resumed import Resumed
from holdfast.layers.retried.tries import Tries
from holdfast.seams import Clock, Entropy, SystemClock, SystemEntropy
from holdfast.stores.base import Capabilities, Driver, Leftover

ATTEMPTS = 8
DEADLINE_S = 60.0

_Result = TypeVar("_Result")


class RetriedDriver(Driver):
    """`inner`, asked up to `attempts` times, until `deadline_s` after the first failure."""

    def __init__(
        self,
        inner: Driver,
        *,
        attempts: int = ATTEMPTS,
        deadline_s: float = DEADLINE_S,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self._inner = inner
        self._attempts = max(1, attempts)
        self._deadline_s = deadline_s
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    # -- reading ------------------------------------------------------------------------------------------

    def stat(self, key: Key) -> BlobStat:
        return self._repeat(lambda: self._inner.stat(key))

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        reader = self._repeat(lambda: self._inner.open(key, options))
        if reader.local_path is not None:  # a file in place: there is nothing to take up
            return reader
        stream = Resumed(self._inner, reader, options, self.tries)
        return Reader(cast("BinaryIO", stream), reader.stat)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        tries = self.tries()
        while True:
            try:
                for stat in self._inner.list(prefix, after):
                    after = stat.key
                    yield stat
                    if tries.failures:
                        tries = self.tries()
                return
            except StoreError as error:
                tries.failed(error)

    def usage(self) -> Usage:
        return self._repeat(self._inner.usage)

    def occupied(self, key: Key) -> bool:
        return self._repeat(lambda: self._inner.occupied(key))

    def leftovers(self) -> Iterator[Leftover]:
        return self._until_begun(self._inner.leftovers)

    def refused(self) -> Iterator[tuple[str, str]]:
        return self._until_begun(self._inner.refused)

    def identity(self) -> str | None:
        return self._repeat(self._inner.identity)

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        if body.once:
            return self._inner.put(key, body, options)
        if options.on_staged is not None or options.on_progress is not None:
            options = _told_once(options)
        return self._repeat(lambda: self._inner.put(key, body, options))

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        if options.on_staged is not None or options.on_progress is not None:
            options = _told_once(options)
        return self._repeat(lambda: self._inner.copy(source, target, options))

    def delete(self, key: Key) -> None:
        self._repeat(lambda: self._inner.delete(key))

    def sync(self, keys: Sequence[Key]) -> None:
        self._repeat(lambda: self._inner.sync(keys))

    def discard(self, leftover: Leftover) -> bool:
        return self._repeat(lambda: self._inner.discard(leftover))

    # -- the rest -----------------------------------------------------------------------------------------

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        return self._repeat(lambda: self._inner.sign_url(key, method, expires_s, filename=filename))

    def probe(self) -> Sequence[str]:
        return self._repeat(self._inner.probe)

    def prepare(self) -> None:
        self._repeat(self._inner.prepare)

    def expect(self, identity: str) -> None:
        self._inner.expect(identity)

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self._repeat(lambda: self._inner.mark(identity, replacing=replacing))

    def close(self) -> None:
        self._inner.close()

    # -- inside -------------------------------------------------------------------------------------------

    def tries(self) -> Tries:
        """A fresh count."""
        return Tries(self.name, self._attempts, self._deadline_s, self._clock, self._entropy)

    def _repeat(self, act: Callable[[], _Result]) -> _Result:
        try:
            return act()
        except StoreError as error:
            tries = self.tries()
            tries.failed(error)
        while True:
            try:
                return act()
            except StoreError as error:
                tries.failed(error)

    def _until_begun(self, begin: Callable[[], Iterator[_Result]]) -> Iterator[_Result]:
        """What has no order cannot be taken up: it is repeated only as long as it gave nothing."""
        tries = self.tries()
        while True:
            given = 0
            try:
                for one in begin():
                    given += 1
                    yield one
                return
            except StoreError as error:
                if given:
                    raise
                tries.failed(error)


def _told_once(options: PutOptions) -> PutOptions:
    """The same, where a repeated put tells nothing twice, and progress never goes back."""
    staged: list[tuple[int, str | None]] = []
    reached = 0

    def stage(stat: BlobStat) -> None:
        if staged[-1:] != [(stat.size_bytes, stat.checksum)]:
            staged.append((stat.size_bytes, stat.checksum))
            if options.on_staged is not None:
                options.on_staged(stat)

    def progress(done_bytes: int) -> None:
        nonlocal reached
        reached = max(reached, done_bytes)
        if options.on_progress is not None:
            options.on_progress(reached)

    return replace(
        options,
        on_staged=stage if options.on_staged is not None else None,
        on_progress=progress if options.on_progress is not None else None,
    )
