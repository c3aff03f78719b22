"""A put that is pushed: for callers that get their bytes piece by piece and cannot be read from.

The put itself runs in a thread of its own and pulls the pieces out of a short queue, so that one slow disk
holds its sender back instead of filling the memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self, cast

from holdfast.blobs import StreamBody
from holdfast.catalog.base import Dataset
from holdfast.errors import Cancelled

PIECES_MAX = 4


class _Pieces:
    """The reading end of the queue, as a binary stream."""

    def __init__(self, pieces: queue.Queue[memoryview | BaseException | None]) -> None:
        self._pieces = pieces
        self._current: memoryview = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._current:
                piece = self._pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    self._pieces.put(None)
                    break
                self._current = piece
            count = min(len(buffer) - filled, len(self._current))
            buffer[filled : filled + count] = self._current[:count]
            self._current = self._current[count:]
            filled += count
        return filled

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Writer:
    """`write` pieces, then `finish`. Leaving the `with` block without finishing gives everything back."""

    def __init__(self, put: Callable[[StreamBody], Dataset], size_bytes: int | None) -> None:
        self._pieces: queue.Queue[memoryview | BaseException | None] = queue.Queue(PIECES_MAX)
        self._result: Dataset | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        body = StreamBody(cast("BinaryIO", _Pieces(self._pieces)), size_bytes)
        self._thread = threading.Thread(target=self._run, args=(put, body), name="holdfast-put", daemon=True)
        self._thread.start()

    def write(self, piece: bytes | bytearray | memoryview) -> int:
        """Hand on a piece; waits while the disk is behind. Raises what the put raised."""
        view = memoryview(bytes(piece) if isinstance(piece, bytearray) else piece)
        while not self._done.is_set():
            try:
                self._pieces.put(view, timeout=0.5)
                return len(view)
            except queue.Full:
                continue
        self._join()
        raise Cancelled("this put has ended already")

    def finish(self) -> Dataset:
        """No more pieces: store durably, record, and answer with the dataset."""
        self._send(None)
        self._join()
        assert self._result is not None, "a put either answers or raises"
        return self._result

    def abandon(self) -> None:
        """Give everything back. Idempotent; does nothing after `finish`."""
        if not self._done.is_set():
            self._send(Cancelled("the upload was broken off"))
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _run(self, put: Callable[[StreamBody], Dataset], body: StreamBody) -> None:
        try:
            self._result = put(body)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the pieces come from
            self._error = error
        finally:
            self._done.set()

    def _send(self, last: BaseException | None) -> None:
        while not self._done.is_set():
            try:
                self._pieces.put(last, timeout=0.5)
                return
            except queue.Full:
                continue

    def _join(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
