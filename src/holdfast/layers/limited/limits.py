"""The limits of one pool in one process: tokens that come in at a rate, and places for what is under way."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from holdfast.errors import Unavailable
from holdfast.seams import Clock


class Limits:
    """The limits of one process. As a context: one request."""

    def __init__(
        self, name: str, clock: Clock, *, requests_per_s: float | None, bytes_per_s: float | None,
        concurrency: int | None, permit_wait_s: float,
    ) -> None:  # fmt: skip
        self._name, self._concurrency, self._permit_wait_s = name, concurrency, permit_wait_s
        self._pid = os.getpid()
        self._requests = None if requests_per_s is None else _Bucket(requests_per_s, clock)
        self._bytes = None if bytes_per_s is None else _Bucket(bytes_per_s, clock)
        self._permits: queue.SimpleQueue[None] | None = None
        if concurrency is not None:
            self._permits = queue.SimpleQueue()  # no semaphore: a reader that is forgotten gives back within anything
            for _ in range(concurrency):
                self._permits.put(None)

    def begin(self, requests: int = 1) -> None:
        """Wait until it may be asked; `end` follows."""
        if self._permits is not None:
            try:
                self._permits.get(timeout=self._permit_wait_s)
            except queue.Empty:
                raise Unavailable(
                    f"pool {self._name} may be asked {self._concurrency} things at once, and for "
                    f"{self._permit_wait_s:g} s none of them ended; try again, or raise its concurrency",
                    store=self._name,
                ) from None
        if self._requests is not None and requests:
            try:
                self._requests.take(requests)
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """Give the place back. In a forked child this reaches nobody: it has places of its own."""
        if self._permits is not None:
            self._permits.put(None)

    def pay(self, size_bytes: int) -> None:
        """Wait until so many bytes may have passed."""
        if self._bytes is not None and size_bytes > 0 and self._pid == os.getpid():
            self._bytes.take(size_bytes)

    def paying(self, tell: Callable[[int], None] | None) -> Callable[[int], None]:
        """A put's progress, which waits as long as its bytes take."""
        reached = 0
        lock = threading.Lock()

        def progress(done_bytes: int) -> None:
            nonlocal reached
            if tell is not None:
                tell(done_bytes)
            with lock:
                more_bytes, reached = done_bytes - reached, max(reached, done_bytes)
            self.pay(more_bytes)

        return progress

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()


class _Bucket:
    """Tokens that come in at a rate, at most one second's (and at least one). Taking more than there are is a debt, and
    whoever takes waits until it is paid: so they leave in the order in which they came."""

    def __init__(self, rate_per_s: float, clock: Clock) -> None:
        self._rate_per_s, self._clock = rate_per_s, clock
        self._most = max(1.0, rate_per_s)
        self._tokens = self._most
        self._filled_s = clock.monotonic_s()
        self._lock = threading.Lock()

    def take(self, count: float) -> None:
        with self._lock:
            now_s = self._clock.monotonic_s()
            self._tokens = min(self._most, self._tokens + (now_s - self._filled_s) * self._rate_per_s) - count
            self._filled_s = now_s
            wait_s = -self._tokens / self._rate_per_s
        if wait_s > 0:
            self._clock.sleep(wait_s)
