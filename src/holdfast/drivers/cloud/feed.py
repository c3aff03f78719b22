"""Blocks that another thread makes ahead: for obstore, which asks for them where nothing of ours may ask obstore.

obstore takes the blocks of an upload on a thread that drives its own work; whatever is asked of obstore there (the body
may be a reader of another bucket, the end of the body asks whether the name is taken) would stop the interpreter. A
thread of ours makes them, a few ahead, so that reading and hashing go on while others are sent.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Self

AHEAD = 8  # blocks


class Feed:
    """An iterator over `blocks`, made in a thread. Close it: the thread has ended then."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._ready: queue.Queue[bytes | BaseException | None] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._make, name="holdfast-feed", daemon=True)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        found = self._ready.get()
        if isinstance(found, bytes):
            return found
        self._ready.put(found)  # whoever asks again hears the same
        if found is None:
            raise StopIteration
        raise found

    def close(self) -> None:
        """Make no more. Idempotent."""
        self._closed.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                while True:
                    self._ready.get_nowait()
            self._thread.join(0.01)

    def _make(self) -> None:
        try:
            for block in self._blocks:
                if not self._hand_over(block):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised where the blocks are wanted
            self._hand_over(error)
        else:
            self._hand_over(None)

    def _hand_over(self, made: bytes | BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._ready.put(made, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
