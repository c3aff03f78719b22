"""One client's connection through the fault proxy: passes requests and answers on, or does them harm."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from holdfast.testing.http_faults import (
    Answer,
    CutRequest,
    CutResponse,
    Exchange,
    LoseAnswer,
    Stall,
    Truncate,
    WrongRequestByte,
    WrongResponseByte,
)
from holdfast.testing.http_wire import UNTIL_CLOSE, Head, Wire, WireError, readable

LINGER_LIMIT_S = 2.0
REASONS = {403: "Forbidden", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


class _SaidEarlyError(Exception):
    """The server answered before it had the whole request."""

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self.head = head


class Relay:
    """`next_request`, then `answer`, as long as that is True. Used by one thread."""

    def __init__(
        self, client: Wire, connect: Callable[[], Wire], wait: Callable[[float], bool], latency_s: Callable[[], float]
    ) -> None:
        self._client, self._connect, self._closing, self._latency_s = client, connect, wait, latency_s
        self._upstream: Wire | None = None
        self._request = Head(b"")
        self.wires = [client]

    def next_request(self) -> Exchange | None:
        """The head of the next request; None when the client is done."""
        head = self._client.head()
        if head is None:
            return None
        self._request = head
        method, target = head.first[:2]
        return Exchange(method, target)

    def answer(self, exchange: Exchange) -> bool:
        """Do with it what its fault says. Whether the client's connection goes on."""
        fault = exchange.fault
        self._wait(self._latency_s())
        if isinstance(fault, Stall) and fault.at_byte is None:
            self._wait(fault.stall_s)
        if isinstance(fault, Answer):
            return self._answer_ourselves(exchange, fault)
        upstream = self._upstream_ready()
        upstream.socket.sendall(self._request.raw)
        early, cut = self._send_body(upstream, exchange)
        if cut:
            return False
        head = early or self._final_head(upstream)
        exchange.status = head.status
        self._wait(self._latency_s())
        goes_on = self._pass_answer(upstream, head, exchange)
        if early is not None:
            self._linger()
        ends = head.closes or self._request.closes or head.answer_framing(exchange.method) == UNTIL_CLOSE
        return goes_on and early is None and not ends

    # -- the request --------------------------------------------------------------------------------------

    def _send_body(self, upstream: Wire, exchange: Exchange) -> tuple[Head | None, bool]:
        """Pass the body on. An answer that came before its end, if one did, and whether the fault cut it."""

        def listen() -> None:
            while upstream in readable(self._client, upstream):
                said = self._head_of(upstream)
                if said.status >= 200:
                    raise _SaidEarlyError(said)
                self._client.socket.sendall(said.raw)  # 100: go on

        self._client.before_waiting = listen
        try:
            return None, self._send_pieces(upstream, exchange)
        except _SaidEarlyError as early:
            return early.head, False
        finally:
            self._client.before_waiting = None

    def _send_pieces(self, upstream: Wire, exchange: Exchange) -> bool:
        fault, at = exchange.fault, 0
        for piece, is_payload in self._client.body(self._request.framing):
            if is_payload:
                if isinstance(fault, CutRequest) and at + len(piece) >= fault.at_byte:
                    exchange.request_bytes = fault.at_byte
                    upstream.socket.sendall(piece[: fault.at_byte - at])
                    return True
                if isinstance(fault, WrongRequestByte) and 0 <= fault.at_byte - at < len(piece):
                    piece[fault.at_byte - at] ^= 1
                exchange.request_bytes = at = at + len(piece)  # before it is sent: who has the answer may count
            try:
                upstream.socket.sendall(piece)
            except OSError:  # it does not want the rest: perhaps it said why
                raise _SaidEarlyError(self._head_of(upstream)) from None
        return False

    def _head_of(self, upstream: Wire) -> Head:
        head = upstream.head()
        if head is None:
            raise WireError("the server ended the connection without an answer")
        return head

    def _final_head(self, upstream: Wire) -> Head:
        while (head := self._head_of(upstream)).status < 200:
            self._client.socket.sendall(head.raw)
        return head

    def _answer_ourselves(self, exchange: Exchange, fault: Answer) -> bool:
        if not self._expects:
            for _ in self._client.body(self._request.framing):
                continue
        exchange.status = fault.status
        body = f'<?xml version="1.0"?><Error><Code>{fault.code}</Code><Message>told to</Message></Error>'.encode()
        if exchange.method == "HEAD":
            body = b""
        lines = [
            f"HTTP/1.1 {fault.status} {REASONS.get(fault.status, 'Told To')}",
            "Content-Type: application/xml",
            f"Content-Length: {len(body)}",
            *([f"Retry-After: {fault.retry_after_s}"] if fault.retry_after_s is not None else []),
            *(["Connection: close"] if self._expects else []),
        ]
        self._wait(self._latency_s())
        exchange.response_bytes = len(body)
        self._client.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        if self._expects:
            self._linger()
        return not self._expects and not self._request.closes

    # -- the answer ---------------------------------------------------------------------------------------

    def _pass_answer(self, upstream: Wire, head: Head, exchange: Exchange) -> bool:
        """Hand it to the client, but for the fault. Whether anything may follow."""
        fault, framing = exchange.fault, head.answer_framing(exchange.method)
        if isinstance(fault, LoseAnswer):
            for _ in upstream.body(framing):
                continue
            return False
        if isinstance(fault, Truncate) and framing:
            return self._truncate(upstream, head, exchange, fault.to_bytes)
        self._client.socket.sendall(head.raw)
        at = 0
        for piece, is_payload in upstream.body(framing):
            part = piece
            if is_payload:
                if isinstance(fault, CutResponse) and at + len(piece) >= fault.at_byte:
                    exchange.response_bytes = fault.at_byte
                    self._client.socket.sendall(piece[: fault.at_byte - at])
                    if fault.how == "reset":
                        self._client.reset()
                    return False
                if isinstance(fault, WrongResponseByte) and 0 <= fault.at_byte - at < len(piece):
                    piece[fault.at_byte - at] ^= 1
                if isinstance(fault, Stall) and fault.at_byte is not None and 0 <= fault.at_byte - at < len(piece):
                    self._client.socket.sendall(piece[: fault.at_byte - at])
                    self._wait(fault.stall_s)
                    part = piece[fault.at_byte - at :]
                exchange.response_bytes = at = at + len(piece)
            self._client.socket.sendall(part)
        return True

    def _truncate(self, upstream: Wire, head: Head, exchange: Exchange, to_bytes: int) -> bool:
        kept = bytearray()
        for piece, is_payload in upstream.body(head.answer_framing(exchange.method)):
            if is_payload and len(kept) < to_bytes:
                kept += piece[: to_bytes - len(kept)]
        exchange.response_bytes = len(kept)
        self._client.socket.sendall(head.with_length(len(kept)).raw + kept)
        return True

    # -- connections --------------------------------------------------------------------------------------

    @property
    def _expects(self) -> bool:
        return "100-continue" in self._request.header("expect").lower()

    def _upstream_ready(self) -> Wire:
        """The connection to the server: the one before, unless it was ended meanwhile."""
        if self._upstream is not None and readable(self._upstream, wait=False):
            self._upstream.end()
            self._upstream = None
        if self._upstream is None:
            self._upstream = self._connect()
            self.wires.append(self._upstream)
        return self._upstream

    def _linger(self) -> None:
        """Let the client read an answer that came while it was still sending: a reset would swallow it."""
        with contextlib.suppress(OSError):
            self._client.socket.shutdown(socket.SHUT_WR)
            self._client.socket.settimeout(LINGER_LIMIT_S)
            while self._client.some(1 << 30):
                continue

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self._closing(seconds):
            raise WireError("the proxy ends")
