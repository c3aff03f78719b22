"""HTTP/1.1 on a connection: uvicorn's protocol on httptools, with the limits that it leaves out.

A head has `HEAD_BYTES_MAX` at most and must be complete within `HEAD_S`. A body is taken in larger steps than
uvicorn's own, which halves the work of an upload. What arrived before a connection was lost is given to the
application before the news that it was lost: an upload that is resumed goes on just there.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024
HEAD_S = 30.0
BODY_AHEAD_BYTES = 512 * 1024


class _TooMuch(Exception):
    """The head is too large: the parser turns it into a 400 and closes."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end_timer()
        super().on_headers_complete()
        _keep_what_came(self.cycle)

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > BODY_AHEAD_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _TooMuch

    def _end_timer(self) -> None:
        timer, self._head_timer = self._head_timer, None
        if timer is not None:
            timer.cancel()


def _keep_what_came(cycle: Any) -> None:
    """Let a request's `receive` give what lies in its buffer also after the connection was lost."""
    receive = cycle.receive

    def left() -> dict[str, Any]:
        body, cycle.body = bytes(cycle.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": cycle.more_body}

    async def receive_all() -> dict[str, Any]:
        message: dict[str, Any] = {"type": "http.disconnect"}
        if not cycle.disconnected:
            message = await receive()
        if message["type"] == "http.disconnect" and cycle.body and not cycle.response_complete:
            return left()
        return message

    cycle.receive = receive_all
