"""Work side by side, its results in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(work: Callable[[In], Out], items: Iterable[In], at_once: int) -> Iterator[Out]:
    """`work` on each item, `at_once` of them at a time, the results in the items' order. The first error is raised
    when its turn comes: what had begun has ended then, the rest is not begun. One at a time needs no thread."""
    if at_once <= 1:
        yield from map(work, items)
        return
    items = list(items)
    with ThreadPoolExecutor(min(at_once, max(1, len(items))), thread_name_prefix="abreast") as threads:
        futures = [threads.submit(work, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
