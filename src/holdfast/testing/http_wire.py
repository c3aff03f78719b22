"""HTTP/1.1 as it stands on a socket: heads, and bodies by their framing. For the fault proxy, which passes both on.

Understands what one needs to know where a message ends, and nothing else: lengths, chunks, answers without a body.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEAD_BYTES_MAX = 128 * 1024
PIECE_BYTES = 256 * 1024
CHUNKED = -1  # framings that are no length
UNTIL_CLOSE = -2


class WireError(Exception):
    """What came is no HTTP, or ended in the middle."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's or an answer's first line and headers; `raw` is all of it as it came."""

    raw: bytes

    @property
    def first(self) -> list[str]:
        """The words of the first line."""
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    def header(self, name: str) -> str:
        """The value of the first header of that name; empty if there is none."""
        wanted = name.lower()
        for line in self.raw.decode("latin-1").split("\r\n")[1:]:
            found, _, value = line.partition(":")
            if found.strip().lower() == wanted:
                return value.strip()
        return ""

    def with_length(self, size_bytes: int) -> Head:
        """The same for a body of that length."""
        lines = self.raw.rstrip(b"\r\n").split(b"\r\n")
        gone = (b"content-length:", b"transfer-encoding:")
        kept = [line for line in lines if not line.lower().startswith(gone)]
        return Head(b"\r\n".join([*kept, b"Content-Length: %d" % size_bytes, b"", b""]))

    @property
    def framing(self) -> int:
        """How long the body of a request is: a length, or `CHUNKED`."""
        if "chunked" in self.header("transfer-encoding").lower():
            return CHUNKED
        return int(self.header("content-length") or 0)

    # -- of answers ---------------------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The number."""
        return int(self.first[1])

    def answer_framing(self, method: str) -> int:
        """How long the body of this answer to a `method` is: a length, `CHUNKED` or `UNTIL_CLOSE`."""
        if method == "HEAD" or self.status in (204, 304) or self.status < 200:
            return 0
        if self.header("content-length") or self.framing == CHUNKED:
            return self.framing
        return UNTIL_CLOSE

    @property
    def closes(self) -> bool:
        """Whether nothing follows on this connection."""
        return "close" in self.header("connection").lower() or "HTTP/1.0" in self.first


class Wire:
    """A connected socket, read through a buffer. Not for several threads at once."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._start = self._stop = 0
        self.before_waiting: Callable[[], None] | None = None  # called when bytes are wanted and none are here

    @property
    def has_more(self) -> bool:
        """Whether bytes are here already that nobody took."""
        return self._start < self._stop

    def head(self) -> Head | None:
        """The next head; None if the other side closed instead."""
        raw = bytearray()
        while (end := raw.find(b"\r\n\r\n")) < 0:
            if len(raw) > HEAD_BYTES_MAX:
                raise WireError("a head without an end")
            piece = self.some(HEAD_BYTES_MAX)
            if not piece:
                if raw:
                    raise WireError("the connection ended in the middle of a head")
                return None
            raw += piece
        self._start -= len(raw) - (end + 4)  # what was read beyond the head lies in the buffer still
        return Head(bytes(raw[: end + 4]))

    def body(self, framing: int) -> Iterator[tuple[memoryview, bool]]:
        """The body in pieces as they come, to be used before the next; False for the bytes that only frame it."""
        if framing == CHUNKED:
            yield from self._chunks()
            return
        left = framing
        while left:
            piece = self.some(left if left > 0 else PIECE_BYTES)
            if not piece:
                if framing == UNTIL_CLOSE:
                    return
                raise WireError(f"the connection ended {left} bytes early")
            if left > 0:
                left -= len(piece)
            yield piece, True

    def some(self, most_bytes: int) -> memoryview:
        """At least one byte, or none at the end; writable, and valid until the next call."""
        if self._start == self._stop:
            if self.before_waiting is not None:
                self.before_waiting()
            self._start, self._stop = 0, self.socket.recv_into(self._buffer)
        start = self._start
        self._start = min(self._stop, start + most_bytes)
        return self._buffer[start : self._start]

    def end(self) -> None:
        """Nothing passes any more; wakes whoever waits for bytes of this connection."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Idempotent; only by the thread that reads."""
        self.end()
        self.socket.close()

    def reset(self) -> None:
        """Close so that the other side sees a broken connection and no end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _chunks(self) -> Iterator[tuple[memoryview, bool]]:
        while True:
            line = self._line()
            yield memoryview(line), False
            size_bytes = int(bytes(line).split(b";", 1)[0], 16)
            if size_bytes == 0:
                break
            for piece, _ in self.body(size_bytes):
                yield piece, True
            yield memoryview(self._line()), False
        while True:  # the trailer
            line = self._line()
            yield memoryview(line), False
            if line == b"\r\n":
                return

    def _line(self) -> bytearray:
        line = bytearray()
        while not line.endswith(b"\n"):
            piece = self.some(1)
            if not piece or len(line) > HEAD_BYTES_MAX:
                raise WireError("the connection ended in the middle of a line")
            line += piece
        return line


def readable(*wires: Wire, wait: bool = True) -> list[Wire]:
    """Those of which the other side has said something, or ended; waits until there is one."""
    found = [wire for wire in wires if wire.has_more]
    poll = select.poll()
    by_number = {wire.socket.fileno(): wire for wire in wires}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return found + [by_number[number] for number, _ in poll.poll(None if wait and not found else 0)]
