"""How fast, and how many at once: what a piece of work keeps to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from holdfast.errors import ConfigError, HoldfastError
from holdfast.operations.base import Parameters, Progress
from holdfast.seams import Clock

CONCURRENCY_MAX = 64
T = TypeVar("T")


class Pace:
    """Waits after each block so that the average stays at `bytes_per_s`; None means as fast as it goes. Shared by
    all threads of a piece of work."""

    def __init__(self, clock: Clock, bytes_per_s: float | None) -> None:
        self._clock, self._rate = clock, bytes_per_s
        self._due_s = clock.monotonic_s()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, clock: Clock, parameters: Parameters) -> Pace:
        """The pace that `limit_rate_bytes_s` asks for."""
        return cls(clock, parameters.get("limit_rate_bytes_s"))

    def passed(self, size_bytes: int) -> None:
        """So many bytes went by."""
        if not self._rate:
            return
        with self._lock:
            now_s = self._clock.monotonic_s()
            self._due_s = max(self._due_s, now_s - 1.0) + size_bytes / self._rate
            wait_s = self._due_s - now_s
        if wait_s > 0:
            self._clock.sleep(wait_s)


def at_once(parameters: Parameters) -> int:
    """How many items `concurrency` asks for side by side; one unless it says more."""
    wanted = parameters.get("concurrency")
    count = 1 if wanted is None else int(wanted)
    if not 1 <= count <= CONCURRENCY_MAX:
        raise ConfigError(f"--concurrency {count}: how many things are done at once; write 1 to {CONCURRENCY_MAX}")
    return count


def side_by_side(
    items: Iterable[T], work: Callable[[T, Progress], None], progress: Progress, concurrency: int
) -> None:
    """`work` on each item, so many at a time. The first that raises is raised, when those under way have ended."""
    if concurrency == 1:
        for item in items:
            progress.check()
            work(item, progress)
        return
    shared = _Shared(progress)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="operation") as threads:

        def one(item: T) -> None:
            shared.check()
            work(item, shared)

        for done in [threads.submit(one, item) for item in items]:
            done.result()


class _Shared:
    """One progress for many threads."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()

    @property
    def operation_id(self) -> int:
        return self._progress.operation_id

    def done(self, *, objects: int = 0, size_bytes: int = 0) -> None:
        with self._lock:
            self._progress.done(objects=objects, size_bytes=size_bytes)

    def failed(
        self, item: int | str, error: HoldfastError | str, why: str = "", *, object_store_id: str | None = None
    ) -> None:
        with self._lock:
            self._progress.failed(item, error, why, object_store_id=object_store_id)

    def count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._progress.count(name, number)

    def note(self, text: str) -> None:
        with self._lock:
            self._progress.note(text)

    def check(self) -> None:
        with self._lock:
            self._progress.check()
