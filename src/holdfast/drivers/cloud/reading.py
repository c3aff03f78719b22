"""Reading one blob: the first request brings its stat and its first bytes, the rest comes in parallel ranges.

Every later range is asked for with the version that the first one had, and what comes is counted: fewer bytes than were
announced are `Unavailable`, never the end of a file; other bytes are `PreconditionFailed`, never a mix. A server that
answers a range with something else is noticed, and read from the first byte to the last in one stream instead.

Memory: the part that is being read and those on their way, `read_part_bytes * (read_parts_at_once + 1)` at most, which
is 40 MiB.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from holdfast.blobs import BlobStat, ByteRange, GetOptions, Reader
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import Answer, read_answer
from holdfast.drivers.cloud.listing import head, quoted, stat_of
from holdfast.drivers.cloud.mark import Mark
from holdfast.errors import NotFound, PreconditionFailed, Unavailable
from holdfast.keys import Key

FIRST_BYTES = 4 * 1024 * 1024
JUMP_BYTES = 1024 * 1024  # after a jump nobody knows yet how much is wanted
STREAM_BLOCK_BYTES = 4 * 1024 * 1024


class Reading:
    """Opens blobs of one bucket."""

    def __init__(self, clients: Clients, mark: Mark) -> None:
        self._clients, self._mark = clients, mark

    def open(self, key: Key, options: GetOptions) -> Reader:
        """The blob as a stream."""
        self._mark.require("open")
        settings = self._clients.settings
        wanted = options.range or ByteRange(0)
        if wanted.stop is not None and wanted.stop <= wanted.start:
            return self._nothing(key, wanted)
        if not self._clients.here().ranges:
            return self._streamed(key, wanted)
        first = FIRST_BYTES if options.range is None else settings.read_part_bytes
        stop = wanted.start + first if wanted.stop is None else min(wanted.stop, wanted.start + first)
        try:
            stat, content = fetch(self._clients, key, wanted.start, stop, None)
        except NoSuchRange:
            return self._nothing(key, wanted)
        except RangeIgnored:
            self._clients.here().ranges_were_ignored()
            return self._streamed(key, wanted)
        except NotFound:
            raise self._mark.absent(key, "open") from None
        start, end = wanted.within(stat.size_bytes)
        all_wanted = wanted.stop is not None
        return Reader(_as_stream(_Parts(self._clients, stat, Part(start, content), end, all_wanted=all_wanted)), stat)

    def _nothing(self, key: Key, wanted: ByteRange) -> Reader:
        """Nothing of it is wanted, or it is shorter than that: only its stat is asked for."""
        try:
            stat = head(self._clients, key, "open")
        except NotFound:
            raise self._mark.absent(key, "open") from None
        start, end = wanted.within(stat.size_bytes)
        return Reader(_as_stream(_Parts(self._clients, stat, Part(start, b""), end)), stat)

    def _streamed(self, key: Key, wanted: ByteRange) -> Reader:
        """The whole, of which only the range is used. Its size is compared: such a server is not trusted twice."""
        try:
            known = head(self._clients, key, "open")
            stream = _Stream(self._clients, key)
        except NotFound:
            raise self._mark.absent(key, "open") from None
        if stream.stat.size_bytes != known.size_bytes:
            raise cut_off(self._clients, key, known.size_bytes, stream.stat.size_bytes)
        start, stop = wanted.within(stream.stat.size_bytes)
        stream.confine(start, stop)
        return Reader(_as_stream(stream), stream.stat)


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes, and where they stand in the blob."""

    start: int
    content: Any  # bytes, or obstore's own buffer

    @property
    def stop(self) -> int:
        return self.start + len(self.content)


class NoSuchRange(Exception):
    """The range begins behind the end."""


class RangeIgnored(Exception):
    """The server answered with something else than the range."""


def fetch(clients: Clients, key: Key, start: int, stop: int, version: str | None) -> tuple[BlobStat, Any]:
    """One range: the stat that came with it, and all of its bytes (fewer only where the blob ends)."""
    here = clients.here()
    options: dict[str, Any] = {"range": (start, stop)}
    if version:
        options["if_match"] = quoted(version)
    try:
        found = here.obstore.get(here.store, key, options=options)
        stat = stat_of(key, found.meta)
        content = found.bytes()
    except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
        raise _why(clients, read_answer(error), key, version) from None
    if version is not None and stat.version != version:
        raise replaced(clients, key)
    expected = min(stop, stat.size_bytes) - start
    if found.range[0] != start or len(content) != expected:
        raise cut_off(clients, key, expected, len(content))
    return stat, content


def _why(clients: Clients, answer: Answer, key: Key, version: str | None) -> Exception:
    if answer.trouble == "ranges":
        return RangeIgnored() if version is None else cut_off(clients, key, 0, 0)
    if answer.status == 416 and version is None:
        return NoSuchRange()
    if answer.absent:
        if version is not None:
            return replaced(clients, key)
        return NotFound(f"{key} is not there", store=clients.name, key=key, operation="open")
    if answer.status in (412, 416) and version is not None:
        return replaced(clients, key)
    return clients.error(answer, key, "open")


def cut_off(clients: Clients, key: Key, expected: int, came: int) -> Unavailable:
    """Other bytes came than were announced. It can be read again."""
    return Unavailable(
        f"{key} in pool {clients.name} was cut off: {expected} bytes were announced, {came} came; read it again",
        store=clients.name, key=key, operation="open",
    )  # fmt: skip


def replaced(clients: Clients, key: Key) -> PreconditionFailed:
    """Somebody replaced or deleted it while it was read."""
    return PreconditionFailed(
        f"{key} in pool {clients.name} was replaced or deleted while it was read; open it again",
        store=clients.name, key=key, operation="open",
    )  # fmt: skip


class _Seekable(io.RawIOBase):
    """Positions are those of the blob; reading ends at `stop`."""

    def __init__(self, stat: BlobStat, start: int, stop: int) -> None:
        super().__init__()
        self.stat = stat
        self._at, self._stop = start, stop

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._still_open()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._still_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.stat.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"there is nothing before the first byte (asked for {base + offset})")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        self._still_open()
        left = max(0, self._stop - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        blocks: list[bytes] = []
        while wanted and (view := self._some(wanted)):
            blocks.append(bytes(view))
            wanted -= len(view)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        self._still_open()
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), max(0, self._stop - self._at))
        done = 0
        while done < wanted and (view := self._some(wanted - done)):
            target[done : done + len(view)] = view
            done += len(view)
        return done

    def _some(self, wanted: int) -> memoryview:
        """Between one and `wanted` bytes from the position on, and the position after them. `wanted` is not beyond
        the end."""
        raise NotImplementedError

    def _still_open(self) -> None:
        if self.closed:
            raise ValueError("this reader is closed")


def _as_stream(raw: _Seekable) -> BinaryIO:
    return cast("BinaryIO", raw)


class _Parts(_Seekable):
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

    def _some(self, wanted: int) -> memoryview:
        if not self._part.start <= self._at < self._part.stop:
            self._turn_to(self._at)
        offset = self._at - self._part.start
        view = self._view[offset : offset + wanted]
        self._at += len(view)
        return view

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


class _Stream(_Seekable):
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
        self._blocks = iter(())
        self._block = memoryview(b"")
        super().close()

    def _some(self, wanted: int) -> memoryview:
        if self._at < self._start or self._process_id != os.getpid():
            self._blocks, _ = self._begin(self.stat.version)
            self._block, self._start, self._process_id = memoryview(b""), 0, os.getpid()
        while self._at >= self._start + len(self._block):
            self._start += len(self._block)
            self._block = self._next()
        offset = self._at - self._start
        view = self._block[offset : offset + wanted]
        self._at += len(view)
        return view

    def _begin(self, version: str | None) -> tuple[Iterator[Any], BlobStat]:
        here = self._clients.here()
        try:
            options = {"if_match": quoted(version)} if version else None
            found = here.obstore.get(here.store, self._key, options=options)
            stat = stat_of(self._key, found.meta)
            blocks = iter(found.stream(min_chunk_size=STREAM_BLOCK_BYTES))
        except Exception as error:  # noqa: BLE001 - see `fetch`
            raise _why(self._clients, read_answer(error), self._key, version) from None
        if version is not None and stat.version != version:
            raise replaced(self._clients, self._key)
        return blocks, stat

    def _next(self) -> memoryview:
        try:
            block = memoryview(next(self._blocks, b""))
        except Exception as error:  # noqa: BLE001 - see `fetch`
            raise _why(self._clients, read_answer(error), self._key, self.stat.version) from None
        if not block:
            raise cut_off(self._clients, self._key, self.stat.size_bytes, self._start)
        return block
