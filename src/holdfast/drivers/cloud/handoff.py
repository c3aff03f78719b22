"""Blocks from one thread to another, a few at a time.

obstore takes what it uploads from an iterator, and runs that inside its own runtime: whoever asks obstore for something
there (a body that is read from another bucket, a callback that looks at one) stops the process. So the body is read by
the thread that called, and the upload runs in another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

BLOCKS_MAX = 8

T = TypeVar("T")


class Handoff(Generic[T]):
    """Runs `take(blocks)` in a thread of its own, and is given the blocks by the one that made it.

    Give until `give` says False, then `finish` or `break_off`; both wait for the thread. So does the end of the
    process: a native call that is still under way then would abort it.
    """

    def __init__(self, take: Callable[[Iterator[bytes]], T]) -> None:
        self._take = take
        self._blocks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = self._gone = False
        self._failure: BaseException | None = None
        self._result: list[T] = []
        self._thread = threading.Thread(target=self._run, name="holdfast-put")
        self._thread.start()

    def give(self, block: bytes) -> bool:
        """Hand over a block, when there is room; False if nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._blocks) < BLOCKS_MAX or self._gone)
            self._blocks.append(block)
            self._changed.notify_all()
            return not self._gone

    def finish(self) -> T:
        """That was the last: what `take` returned, or what it raised."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._result[0]

    def break_off(self) -> None:
        """There is no more, and what was given is not to be used: the iterator raises."""
        with self._changed:
            self._failure = _BrokenOff()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._result.append(self._take(self._given()))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for it
            if not isinstance(self._failure, _BrokenOff):
                self._failure = error
        finally:
            with self._changed:
                self._gone = True
                self._changed.notify_all()

    def _given(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._blocks or self._ended or self._failure is not None)
                if self._failure is not None:
                    raise self._failure
                if not self._blocks:
                    return
                block = self._blocks.popleft()
                self._changed.notify_all()
            yield block


class _BrokenOff(Exception):
    """Whoever gave the blocks has given up."""
