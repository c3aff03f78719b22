"""An open blob as a stream: by ranges, or in one piece. Used by the cloud driver alone.

Memory: the part that is being read and those on their way, `read_part_bytes * (read_parts_at_once + 1)`, which is 40
MiB; for a moment more where obstore joins what came into one part.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from holdfast.blobs import BlobStat
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import read_answer
from holdfast.drivers.cloud.listing import quoted, stat_of
from holdfast.drivers.cloud.ranges import Part, cut_off, fetch, replaced, why
from holdfast.keys import Key
from holdfast.stores.streams import Seekable

JUMP_BYTES = 1024 * 1024  # after a jump nobody knows yet how much is wanted
STREAM_BLOCK_BYTES = 4 * 1024 * 1024


class Parts(Seekable):
    """Reads by ranges: what is asked for, and a growing number of parts ahead of a reader that goes on in order."""

    def __init__(self, clients: Clients, stat: BlobStat, first: Part, stop: int, *, all_wanted: bool = False) -> None:
        super().__init__(stat, first.start, stop)
        self._clients, self._part, self._view = clients, first, memoryview(first.content)
        self._coming: deque[tuple[int, int, Future[Any]]] = deque()  # (start, stop, bytes), one after the other
        self._ahead = clients.settings.read_parts_at_once if all_wanted else 1
        self._step = clients.settings.read_part_bytes if all_wanted else JUMP_BYTES
        self._process_id = os.getpid()

    def close(self) -> None:
        for _, _, coming in self._coming:
            coming.cancel()
        self._coming.clear()
        self._view = memoryview(b"")
        self._part = Part(0, b"")
        super().close()

    def piece(self, size_bytes: int) -> memoryview:
        """The next bytes as they came; see `stores.streams`."""
        self._still_open()
        size_bytes = min(size_bytes, self._stop - self._at)
        if size_bytes <= 0:
            return memoryview(b"")
        if not self._part.start <= self._at < self._part.stop:
            self._turn_to(self._at)
        offset = self._at - self._part.start
        view = self._view[offset : offset + size_bytes]
        self._at += len(view)
        return view

    def _some(self, target: memoryview) -> int:
        view = self.piece(len(target))
        target[: len(view)] = view
        return len(view)

    def _turn_to(self, position: int) -> None:
        """Make a part that begins at `position`, or holds it, the current one."""
        if self._process_id != os.getpid():  # the threads that would bring them live in the parent
            self._coming.clear()
            self._process_id = os.getpid()
        while self._coming and not self._coming[0][0] <= position < self._coming[0][1]:
            self._coming.popleft()[2].cancel()
        if not self._coming and position != self._part.stop:
            self._ahead, self._step = 0, JUMP_BYTES
        if not self._coming and self._ahead == 0:
            stop = self._next_stop(position)
            self._take(Part(position, fetch(self._clients, self.stat.key, position, stop, self.stat.version)[1]))
        else:
            if not self._coming:
                self._ask(position)
            start, edge, first = self._coming.popleft()
            edge = self._coming[-1][1] if self._coming else edge
            while len(self._coming) < self._ahead and edge < self._stop:
                edge = self._ask(edge)
            self._take(Part(start, first.result()))
        self._ahead = min(max(1, self._ahead * 2), self._clients.settings.read_parts_at_once)

    def _take(self, part: Part) -> None:
        self._part, self._view = part, memoryview(part.content)

    def _ask(self, start: int) -> int:
        """Have a part brought; where it ends."""
        clients, stat, stop = self._clients, self.stat, self._next_stop(start)
        coming = clients.here().submit(lambda: fetch(clients, stat.key, start, stop, stat.version)[1])
        self._coming.append((start, stop, coming))
        return stop

    def _next_stop(self, start: int) -> int:
        stop = min(self._stop, start + self._step)
        self._step = min(self._step * 2, self._clients.settings.read_part_bytes)
        return stop


_INHERITED: list[Any] = []


class Whole(Seekable):
    """Reads from the first byte to the last in one request, for servers that do not know ranges. To go back is to begin
    anew, to jump ahead is to read what lies between."""

    def __init__(self, clients: Clients, key: Key) -> None:
        self._clients, self._key = clients, key
        self._blocks, stat = self._begin(None)
        super().__init__(stat, 0, stat.size_bytes)
        self._process_id = os.getpid()
        self._block, self._start = memoryview(b""), 0

    def confine(self, start: int, stop: int) -> None:
        """Only this range is read."""
        self._at, self._stop = start, stop

    def close(self) -> None:
        self._leave_to_parent()
        self._blocks = iter(())
        self._block = memoryview(b"")
        super().close()

    def _leave_to_parent(self) -> None:
        """A stream that a parent process began is never let go of in its child: obstore would wait for ever."""
        if self._process_id != os.getpid():
            _INHERITED.append(self._blocks)

    def _some(self, target: memoryview) -> int:
        if self._at < self._start or self._process_id != os.getpid():
            self._leave_to_parent()
            self._blocks, _ = self._begin(self.stat.version)
            self._block, self._start, self._process_id = memoryview(b""), 0, os.getpid()
        while self._at >= self._start + len(self._block):
            self._start += len(self._block)
            self._block = self._next()
        offset = self._at - self._start
        view = self._block[offset : offset + len(target)]
        target[: len(view)] = view
        self._at += len(view)
        return len(view)

    def _begin(self, version: str | None) -> tuple[Iterator[Any], BlobStat]:
        here = self._clients.here()
        try:
            options = {"if_match": quoted(version)} if version else None
            found = here.obstore.get(here.store, self._key, options=options)
            stat = stat_of(self._key, found.meta)
            blocks = iter(found.stream(min_chunk_size=STREAM_BLOCK_BYTES))
        except Exception as error:  # noqa: BLE001 - see `fetch`
            raise why(self._clients, read_answer(error), self._key, version) from None
        if version is not None and stat.version != version:
            raise replaced(self._clients, self._key)
        return blocks, stat

    def _next(self) -> memoryview:
        try:
            block = memoryview(next(self._blocks, b""))
        except Exception as error:  # noqa: BLE001 - see `fetch`
            raise why(self._clients, read_answer(error), self._key, self.stat.version) from None
        if not block:
            raise cut_off(self._clients, self._key, self.stat.size_bytes, self._start)
        return block
