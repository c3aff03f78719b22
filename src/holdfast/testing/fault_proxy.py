"""A proxy between an HTTP client and a server that counts what passes, slows it down, and does harm on command.

    with FaultProxy("http://127.0.0.1:9000") as proxy:
        driver = CloudDriver(..., endpoint_url=proxy.url, path_style=True)
        proxy.latency_s = 0.02
        script = proxy.script(CutResponse(at_byte=1000), method="GET", target="/bucket/000/*", nth=2)
        ...
        assert script.struck == 1
        assert len(proxy.exchanges("GET")) == 3

Heads pass byte for byte, `Host` too: what a client signed for `proxy.url` stays signed, because a server computes the
signature over the host that it was sent. So the endpoint that the client is given must be exactly `proxy.url`, with
buckets in the path; a server that demands a host name of its own must be told to accept this one. Plain HTTP only.

Keeps connections, one upstream for each of a client's; understands chunks and `Expect: 100-continue`; starts a thread
for each connection. Two requests at once on one connection (HTTP/2, pipelines) are not for it. Targets are paths with
their queries, as sent, and are matched by `fnmatch` patterns.
"""

from __future__ import annotations

import collections
import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from holdfast.testing.fault_relay import Relay
from holdfast.testing.http_faults import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    NO_SUCH_BUCKET,
    Answer,
    CutRequest,
    CutResponse,
    Exchange,
    Fault,
    LoseAnswer,
    Script,
    Stall,
    Truncate,
    WrongRequestByte,
    WrongResponseByte,
    slow_down,
)
from holdfast.testing.http_wire import Wire, WireError

CONNECTIONS_MAX = 512
EXCHANGES_MAX = 100_000
CONNECT_LIMIT_S = 10.0


class FaultProxy:
    """Listens on a free loopback port from `with` (or `start`) to its end. Safe from many threads."""

    def __init__(self, upstream_url: str) -> None:
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{upstream_url} is no http:// address; the proxy cannot look into anything else")
        self.latency_s = 0.0  # before each request is passed on, and again before its answer is
        self._upstream = (parts.hostname, parts.port or 80)
        self._scripts: list[Script] = []
        self._exchanges: collections.deque[Exchange] = collections.deque(maxlen=EXCHANGES_MAX)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: set[Wire] = set()
        self._threads: set[threading.Thread] = set()
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._holder: socket.socket | None = None  # keeps the port while nobody listens
        self._listener: socket.socket | None = None
        self._port = 0

    # -- commands -----------------------------------------------------------------------------------------

    def script(
        self, fault: Fault, *, method: str = "*", target: str = "*", nth: int = 1, times: int | None = 1
    ) -> Script:
        """From the `nth` such request on, do this to so many of them (None: to all). A request that one script strikes
        is not counted by those after it."""
        script = Script(fault, method, target, nth, times)
        with self._lock:
            self._scripts.append(script)
        return script

    def clear(self) -> None:
        """No more faults, no more latency, and nothing counted."""
        with self._lock:
            self._scripts.clear()
            self._exchanges.clear()
        self.latency_s = 0.0

    def refuse(self) -> None:
        """As a server that is gone: connections are refused, and those that are open end."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            wires = list(self._open)
        for wire in wires:
            wire.end()

    def accept(self) -> None:
        """Undo `refuse`, on the same port."""
        if self._listener is None:
            self._listener = _socket_on(self._port)
            self._listener.listen(128)
            self._begin(threading.Thread(target=self._listen, args=(self._listener,), name="fault-proxy"))

    # -- what happened ------------------------------------------------------------------------------------

    def exchanges(self, method: str = "*", target: str = "*") -> list[Exchange]:
        """The requests so far, in the order in which they came, whatever became of them."""
        with self._lock:
            return [one for one in self._exchanges if one.matches(method, target)]

    @property
    def request_bytes(self) -> int:
        """Bytes of all requests' bodies that were passed on."""
        return sum(one.request_bytes for one in self.exchanges())

    @property
    def response_bytes(self) -> int:
        """Bytes of all answers' bodies that were passed on."""
        return sum(one.response_bytes for one in self.exchanges())

    # -- life ---------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """What a client is given instead of the server's address."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Begin to listen."""
        self._holder = _socket_on(0)
        self._port = self._holder.getsockname()[1]
        self.accept()
        return self

    def close(self) -> None:
        """End all connections, and wait until its threads are gone. Idempotent."""
        self._closing.set()
        self.refuse()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        if self._holder is not None:
            self._holder.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside -------------------------------------------------------------------------------------------

    def _listen(self, listener: socket.socket) -> None:
        while True:
            self._places.acquire()
            try:
                connection, _ = listener.accept()
            except OSError:
                self._places.release()
                return
            self._begin(threading.Thread(target=self._serve, args=(connection, listener), name="fault-proxy"))

    def _begin(self, thread: threading.Thread) -> None:
        thread.daemon = True
        with self._lock:
            self._threads = {one for one in self._threads if one.is_alive() or one.ident is None} | {thread}
        thread.start()

    def _serve(self, connection: socket.socket, listener: socket.socket) -> None:
        """One client's connection, to its end."""
        relay = Relay(Wire(connection), self._connect, self._closing.wait, lambda: self.latency_s)
        try:
            self._enter(relay.wires[0])
            if self._listener is listener:  # else it came in while we stopped listening
                while (exchange := relay.next_request()) is not None:
                    with self._lock:
                        self._exchanges.append(exchange)
                        exchange.fault = next((one.fault for one in self._scripts if one.strikes(exchange)), None)
                    if not relay.answer(exchange):
                        return
        except (OSError, WireError, ValueError):
            return  # one of the two went away, or spoke no HTTP: the other sees its connection end
        finally:
            for wire in relay.wires:
                self._leave(wire)
            self._places.release()

    def _connect(self) -> Wire:
        connection = socket.create_connection(self._upstream, timeout=CONNECT_LIMIT_S)
        connection.settimeout(None)
        return self._enter(Wire(connection))

    def _enter(self, wire: Wire) -> Wire:
        with self._lock:
            self._open.add(wire)
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wire

    def _leave(self, wire: Wire) -> None:
        with self._lock:
            self._open.discard(wire)
        wire.close()


def _socket_on(port: int) -> socket.socket:
    """A socket on this loopback port, which others of ours may have too: only one that listens is connected to."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


__all__: Sequence[str] = [
    "ACCESS_DENIED", "INTERNAL_ERROR", "NO_SUCH_BUCKET", "Answer", "CutRequest", "CutResponse", "Exchange", "Fault",
    "FaultProxy", "LoseAnswer", "Script", "Stall", "Truncate", "WrongRequestByte", "WrongResponseByte", "slow_down",
]  # fmt: skip
