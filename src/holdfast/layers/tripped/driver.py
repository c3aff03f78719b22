"""Leaves a pool alone that does not answer, so that nobody waits for it and it comes back by itself.

    TrippedDriver(inner, failures=5, pause_s=5.0, pause_max_s=60.0)

After so many failures in a row (`Unavailable`, or a lost answer, of this pool; also while a reader is read), or after
one call that waited 20 seconds and more for nothing (a server that hangs), the pool is not asked for `pause_s`: every
call is answered with `Unavailable` at once, which says since when, what failed last, and when it is asked again
(`retry_after_s`). Then one call goes through. If it fails the next pause is twice as long, up to `pause_max_s`; one
that succeeds ends it. "Not there", "not allowed", "full" are answers too. What is wrong with the sender, or is refused
before the pool is asked, says nothing.

An `open` that succeeds lets everybody ask again; what failed before is forgotten when its reader comes to a good end,
so that a pool whose readers all break is paused too.

`usage` and `sign_url` answer from this state and are not counted. `health` tells it. Each process keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Literal, TypeVar, cast

from holdfast.blobs import DEFAULT_GET, DEFAULT_PUT, BlobStat, Body, GetOptions, PutOptions, Reader, Usage
from holdfast.keys import Key
from holdfast.layers.tripped.breaker import Breaker
from holdfast.layers.tripped.watched import Watched
from holdfast.seams import Clock, SystemClock
from holdfast.stores.base import Capabilities, Driver, Leftover
from holdfast.stores.caching import Health

FAILURES = 5
PAUSE_S = 5.0
PAUSE_MAX_S = 60.0
SILENCE_S = 20.0

_Result = TypeVar("_Result")


class TrippedDriver(Driver):
    """`inner`, while it answers. Fulfils `stores.caching.Guard`."""

    def __init__(
        self,
        inner: Driver,
        *,
        failures: int = FAILURES,
        pause_s: float = PAUSE_S,
        pause_max_s: float = PAUSE_MAX_S,
        clock: Clock | None = None,
    ) -> None:
        self._inner = inner
        self._clock = clock or SystemClock()
        self._breaker = Breaker(
            inner.name, self._clock, failures=failures, pause_s=pause_s, pause_max_s=pause_max_s, silence_s=SILENCE_S
        )
        self._expected: str | None = None

    def health(self) -> Health:
        """How the pool answered lately, as far as this process knows. Asks nothing."""
        return self._breaker.health()

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    # -- reading ------------------------------------------------------------------------------------------

    def stat(self, key: Key) -> BlobStat:
        return self._ask(lambda: self._inner.stat(key))

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        trial, began_s = self._breaker.enter(), self._clock.monotonic_s()
        try:
            reader = self._inner.open(key, options)
        except BaseException as error:
            self._breaker.failed(error, trial, took_s=self._clock.monotonic_s() - began_s)
            raise
        stream = Watched(reader, self._breaker, self._breaker.began(trial))
        return Reader(cast("BinaryIO", stream), reader.stat, local_path=reader.local_path)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        return self._ask_each(lambda: self._inner.list(prefix, after))

    def usage(self) -> Usage:
        self._breaker.require()
        return self._inner.usage()

    def occupied(self, key: Key) -> bool:
        return self._ask(lambda: self._inner.occupied(key))

    def leftovers(self) -> Iterator[Leftover]:
        return self._ask_each(self._inner.leftovers)

    def refused(self) -> Iterator[tuple[str, str]]:
        return self._ask_each(self._inner.refused)

    def identity(self) -> str | None:
        return self._ask(self._inner.identity)

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        return self._ask(lambda: self._inner.put(key, body, options))

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        return self._ask(lambda: self._inner.copy(source, target, options))

    def delete(self, key: Key) -> None:
        self._ask(lambda: self._inner.delete(key))

    def sync(self, keys: Sequence[Key]) -> None:
        self._inner.sync(keys)  # where each put is durable this asks nothing: what is stored is not refused

    def discard(self, leftover: Leftover) -> bool:
        return self._ask(lambda: self._inner.discard(leftover))

    # -- the rest -----------------------------------------------------------------------------------------

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        self._breaker.require()  # nobody is sent to where there is no answer
        return self._inner.sign_url(key, method, expires_s, filename=filename)

    def probe(self) -> Sequence[str]:
        return self._ask(self._inner.probe)

    def prepare(self) -> None:
        self._ask(self._inner.prepare)

    def expect(self, identity: str) -> None:
        if self._expected != identity:  # what failed so far was another medium, or the wrong expectation
            self._expected = identity
            self._breaker.forget()
        self._inner.expect(identity)

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self._ask(lambda: self._inner.mark(identity, replacing=replacing))

    def close(self) -> None:
        self._inner.close()

    # -- inside -------------------------------------------------------------------------------------------

    def _ask(self, act: Callable[[], _Result]) -> _Result:
        trial, began_s = self._breaker.enter(), self._clock.monotonic_s()
        try:
            result = act()
        except BaseException as error:
            self._breaker.failed(error, trial, took_s=self._clock.monotonic_s() - began_s)
            raise
        self._breaker.answered()
        return result

    def _ask_each(self, begin: Callable[[], Iterator[_Result]]) -> Iterator[_Result]:
        """Each item of what is listed; the first is an answer already."""
        trial = self._breaker.enter()
        try:
            for item in begin():
                if trial is not None:
                    self._breaker.began(trial)
                    trial = None
                yield item
        except GeneratorExit:  # enough was listed
            raise
        except BaseException as error:
            self._breaker.failed(error, trial)
            raise
        self._breaker.answered()
