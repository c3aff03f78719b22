"""The proxy that stands between a client and a server in the tests of faults: it changes nothing, unless told to."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from holdfast.testing.fault_proxy import (
    INTERNAL_ERROR,
    NO_SUCH_BUCKET,
    CutRequest,
    CutResponse,
    FaultProxy,
    LoseAnswer,
    Stall,
    Truncate,
    WrongRequestByte,
    WrongResponseByte,
    slow_down,
)
from holdfast.testing.store_kit import content_of

CONTENT = content_of(3_000_000)
SMALL = b"0123456789"


class Handler(BaseHTTPRequestHandler):
    """A small object store: GET, HEAD, PUT; `?chunked` answers in chunks, `?old` as HTTP/1.0, `?refuse` at once."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        return

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError):
            self.close_connection = True  # the proxy cut it

    def handle_expect_100(self) -> bool:
        self.server.expected += 1
        if self.path.endswith("?refuse"):
            self.answer(403, b"no")
            return False
        return super().handle_expect_100()

    def do_GET(self) -> None:
        self.server.heads.append(self.headers)
        content = self.server.blobs.get(self.path.partition("?")[0])
        if content is None:
            self.answer(404, b"none")
        elif self.path.endswith("?chunked"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(content), 70_000):
                part = content[at : at + 70_000]
                self.wfile.write(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\nX-Trailer: 1\r\n\r\n")
        elif self.path.endswith("?old"):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)
            self.close_connection = True
        else:
            self.answer(200, content)

    do_HEAD = do_GET  # noqa: N815 - the library calls it so

    def do_PUT(self) -> None:
        self.server.heads.append(self.headers)
        if self.path.endswith("?refuse"):
            self.close_connection = True
            self.answer(403, b"no")
            return
        parts: list[bytes] = []
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            parts.append(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Content-Length"] is None or len(parts[0]) == int(self.headers["Content-Length"]):
            self.server.blobs[self.path] = b"".join(parts)
            self.answer(201, b"")
        else:
            self.server.torn.append(parts[0])

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", hashlib.md5(content).hexdigest())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Backend(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # else those who come together are turned away now and then
    disable_nagle_algorithm = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.blobs: dict[str, bytes] = {"/b/large": CONTENT, "/b/small": SMALL, "/b/empty": b""}
        self.heads: list = []
        self.torn: list[bytes] = []
        self.connections = self.expected = 0

    def process_request(self, request, client_address) -> None:
        self.connections += 1
        super().process_request(request, client_address)


@pytest.fixture
def backend() -> Iterator[Backend]:
    server = Backend()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy(backend: Backend) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{backend.server_address[1]}") as proxy:
        yield proxy


class Client:
    """One connection, kept as long as the other side keeps it."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.host = urlsplit(proxy.url).netloc
        self.connection = http.client.HTTPConnection(self.host, timeout=10)

    def ask(self, method: str, target: str, body=None, **headers: str) -> tuple[int, bytes]:
        self.connection.request(method, target, body, headers, encode_chunked=True)
        answer = self.connection.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    client = Client(proxy)
    yield client
    client.connection.close()


# -- without faults -----------------------------------------------------------------------------------------------


def test_it_passes_on_what_it_gets(proxy: FaultProxy, client: Client, backend: Backend):
    assert client.ask("GET", "/b/large") == (200, CONTENT)
    assert client.ask("HEAD", "/b/large") == (200, b"")
    assert client.ask("GET", "/b/empty") == (200, b"")
    assert client.ask("GET", "/b/none?x=1") == (404, b"none")
    assert client.ask("PUT", "/b/new", CONTENT) == (201, b"")
    assert client.ask("PUT", "/b/nothing", b"") == (201, b"")
    assert backend.blobs["/b/new"] == CONTENT
    assert backend.blobs["/b/nothing"] == b""
    passed = [(one.method, one.target, one.status, one.request_bytes, one.response_bytes) for one in proxy.exchanges()]
    assert passed == [
        ("GET", "/b/large", 200, 0, len(CONTENT)), ("HEAD", "/b/large", 200, 0, 0), ("GET", "/b/empty", 200, 0, 0),
        ("GET", "/b/none?x=1", 404, 0, 4), ("PUT", "/b/new", 201, len(CONTENT), 0), ("PUT", "/b/nothing", 201, 0, 0),
    ]  # fmt: skip
    assert (proxy.request_bytes, proxy.response_bytes) == (len(CONTENT), len(CONTENT) + 4)
    assert backend.connections == 1, "one connection, kept"


def test_heads_are_untouched(proxy: FaultProxy, client: Client, backend: Backend):
    """A signature is over the host that the client was given, and over the headers as they are."""
    client.ask("GET", "/b/small", **{"X-Amz-Date": "now", "Authorization": "AWS4 sig=1"})
    [headers] = backend.heads
    assert headers["Host"] == urlsplit(proxy.url).netloc
    assert (headers["X-Amz-Date"], headers["Authorization"]) == ("now", "AWS4 sig=1")
    assert [name for name in headers if name.lower() in ("via", "x-forwarded-for", "connection")] == []


def test_chunks_both_ways(proxy: FaultProxy, client: Client, backend: Backend):
    parts = [CONTENT[at : at + 99_999] for at in range(0, len(CONTENT), 99_999)]
    assert client.ask("PUT", "/b/new", iter(parts), **{"Transfer-Encoding": "chunked"}) == (201, b"")
    assert backend.blobs["/b/new"] == CONTENT
    for _ in range(2):
        assert client.ask("GET", "/b/new?chunked") == (200, CONTENT)
    assert [one.response_bytes for one in proxy.exchanges("GET")] == [len(CONTENT)] * 2
    assert proxy.request_bytes == len(CONTENT)


def test_a_body_that_ends_with_its_connection(proxy: FaultProxy, client: Client):
    for _ in range(2):
        assert client.ask("GET", "/b/large?old") == (200, CONTENT)


def test_what_the_client_waits_for_before_it_sends(proxy: FaultProxy, client: Client, backend: Backend):
    with socket.create_connection(tuple_of(proxy), timeout=10) as connection:
        for turn in range(2):
            connection.sendall(_expecting(f"/b/new{turn}", 10))
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            connection.sendall(SMALL)
            assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
            assert backend.blobs[f"/b/new{turn}"] == SMALL
        connection.sendall(_expecting("/b/x?refuse", 10))
        assert connection.recv(1000).startswith(b"HTTP/1.1 403 "), "an answer instead of 100: nothing is sent"
    assert backend.expected == 3
    assert [one.request_bytes for one in proxy.exchanges()] == [10, 10, 0]


def test_a_client_that_does_not_wait_for_its_100(proxy: FaultProxy, backend: Backend):
    with socket.create_connection(tuple_of(proxy), timeout=10) as connection:
        connection.sendall(_expecting("/b/new", 10) + SMALL)
        got = b""
        while b"HTTP/1.1 201" not in got:
            got += connection.recv(1000)
    assert backend.blobs["/b/new"] == SMALL


def test_a_head_that_comes_in_pieces_with_much_behind_it(proxy: FaultProxy, backend: Backend):
    with socket.create_connection(tuple_of(proxy), timeout=10) as connection:
        connection.sendall(b"PUT /b/new HT")
        time.sleep(0.05)
        connection.sendall(b"TP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
    assert backend.blobs["/b/new"] == CONTENT


def test_an_answer_before_the_whole_body_came(proxy: FaultProxy, backend: Backend):
    with socket.create_connection(tuple_of(proxy), timeout=10) as connection:
        connection.sendall(b"PUT /b/x?refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        _until(lambda: [one.status for one in proxy.exchanges()] == [403])
        for _ in range(5):
            connection.sendall(b"x" * 50_000)  # it has not looked yet
        got, reset = _rest_of(connection)
    assert not reset
    assert got.startswith(b"HTTP/1.1 403 ")
    assert got.endswith(b"no")
    assert proxy.exchanges()[0].status == 403


def test_many_clients_at_once(proxy: FaultProxy, backend: Backend):
    def work(number: int) -> None:
        client = Client(proxy)
        for turn in range(5):
            target = f"/b/{number}-{turn}"
            content = content_of(50_000 + number, number * 10 + turn)
            assert client.ask("PUT", target, content) == (201, b"")
            assert client.ask("GET", target) == (200, content)
        client.connection.close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert len(proxy.exchanges("PUT")) == len(proxy.exchanges("GET", "/b/*")) == 80
    assert backend.connections == 16


def test_a_server_that_ended_a_kept_connection(proxy: FaultProxy, client: Client, backend: Backend):
    class Impatient(Handler):
        timeout = 0.05

    backend.RequestHandlerClass = Impatient
    assert client.ask("GET", "/b/small") == (200, SMALL)
    time.sleep(0.2)
    assert client.ask("GET", "/b/small") == (200, SMALL)
    assert backend.connections == 2


def test_latency(proxy: FaultProxy, client: Client):
    client.ask("GET", "/b/small")
    proxy.latency_s = 0.05
    began = time.monotonic()
    client.ask("GET", "/b/large")
    took = time.monotonic() - began
    assert 0.1 <= took < 1
    proxy.clear()
    assert proxy.latency_s == 0
    assert proxy.exchanges() == []


# -- faults -------------------------------------------------------------------------------------------------------


def test_the_nth_request_that_fits_and_no_other(proxy: FaultProxy, client: Client):
    script = proxy.script(INTERNAL_ERROR, method="GET", target="/b/sm*", nth=2, times=2)
    said = [client.ask(*one)[0] for one in [("GET", "/b/large"), ("HEAD", "/b/small"), *[("GET", "/b/small")] * 5]]
    assert said == [200, 200, 200, 500, 500, 200, 200]
    assert script.struck == 2
    assert [one.fault for one in proxy.exchanges("GET", "*small")] == [None, INTERNAL_ERROR, INTERNAL_ERROR, None, None]


def test_one_fault_for_each_request(proxy: FaultProxy, client: Client):
    first, second = proxy.script(INTERNAL_ERROR), proxy.script(NO_SUCH_BUCKET)
    assert [client.ask("GET", "/b/small")[0] for _ in range(3)] == [500, 404, 200]
    assert (first.struck, second.struck) == (1, 1)


def test_for_ever(proxy: FaultProxy, client: Client):
    proxy.script(INTERNAL_ERROR, times=None)
    assert {client.ask("GET", "/b/small")[0] for _ in range(10)} == {500}
    proxy.clear()
    assert client.ask("GET", "/b/small") == (200, SMALL)


def test_an_answer_that_the_server_knows_nothing_of(proxy: FaultProxy, client: Client, backend: Backend):
    proxy.script(slow_down(7))
    client.connection.request("PUT", "/b/new", CONTENT)
    answer = client.connection.getresponse()
    body = answer.read()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert b"<Code>SlowDown</Code>" in body
    assert backend.heads == []
    proxy.script(NO_SUCH_BUCKET, times=2)
    assert b"<Code>NoSuchBucket</Code>" in client.ask("GET", "/b/small")[1]
    assert client.ask("HEAD", "/b/small") == (404, b"")
    assert client.ask("GET", "/b/small") == (200, SMALL), "the connection goes on"
    proxy.script(slow_down())
    with socket.create_connection(tuple_of(proxy), timeout=10) as connection:
        connection.sendall(_expecting("/b/new", 10**9))
        assert connection.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert "/b/new" not in backend.blobs


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("target", ["/b/large", "/b/large?chunked"])
@pytest.mark.parametrize("at_byte", [0, 1, 2_000_000, len(CONTENT) - 1])
def test_a_cut_answer(proxy: FaultProxy, client: Client, how: str, target: str, at_byte: int):
    proxy.script(CutResponse(at_byte, how))
    with socket.create_connection(tuple_of(proxy), timeout=10) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got, reset = _rest_of(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    body = _payload(body) if "chunked" in target else body
    if how == "close":
        assert head.startswith(b"HTTP/1.1 200 ")
        assert (body, reset) == (CONTENT[:at_byte], False)
    else:
        assert CONTENT[:at_byte].startswith(body)
        assert reset
    assert proxy.exchanges()[0].response_bytes == at_byte
    assert client.ask("GET", target) == (200, CONTENT)


@pytest.mark.parametrize("chunked", ["", "chunked"])
@pytest.mark.parametrize("at_byte", [0, 1, 2_000_000])
def test_a_cut_request(proxy: FaultProxy, client: Client, backend: Backend, at_byte: int, chunked: str):
    proxy.script(CutRequest(at_byte))
    body = iter([CONTENT]) if chunked else CONTENT
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.ask("PUT", "/b/new", body, **({"Transfer-Encoding": "chunked"} if chunked else {}))
    _until(lambda: bool(backend.heads))
    assert "/b/new" not in backend.blobs
    if not chunked:
        _until(lambda: backend.torn == [CONTENT[:at_byte]])
    assert proxy.exchanges()[0].request_bytes == at_byte


@pytest.mark.parametrize("target", ["/b/large", "/b/large?chunked"])
def test_a_truncated_answer_that_looks_whole(proxy: FaultProxy, client: Client, target: str):
    proxy.script(Truncate(1_234_567))
    client.connection.request("GET", target)
    answer = client.connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (200, "1234567")
    assert answer.headers["Transfer-Encoding"] is None
    assert answer.read() == CONTENT[:1_234_567]
    assert client.ask("GET", target) == (200, CONTENT)


@pytest.mark.parametrize("target", ["/b/large", "/b/large?chunked"])
@pytest.mark.parametrize("at_byte", [0, 1_500_000, len(CONTENT) - 1])
def test_a_wrong_byte_in_the_answer(proxy: FaultProxy, client: Client, target: str, at_byte: int):
    proxy.script(WrongResponseByte(at_byte))
    status, got = client.ask("GET", target)
    assert status == 200
    assert [at for at in range(len(CONTENT)) if got[at] != CONTENT[at]] == [at_byte]
    assert client.ask("GET", target) == (200, CONTENT)


@pytest.mark.parametrize("at_byte", [0, 1_500_000, len(CONTENT) - 1])
def test_a_wrong_byte_in_the_request(proxy: FaultProxy, client: Client, backend: Backend, at_byte: int):
    proxy.script(WrongRequestByte(at_byte))
    assert client.ask("PUT", "/b/new", CONTENT) == (201, b"")
    got = backend.blobs["/b/new"]
    assert len(got) == len(CONTENT)
    assert [at for at in range(len(CONTENT)) if got[at] != CONTENT[at]] == [at_byte]


def test_an_answer_that_is_lost(proxy: FaultProxy, client: Client, backend: Backend):
    proxy.script(LoseAnswer())
    with pytest.raises(http.client.RemoteDisconnected):
        client.ask("PUT", "/b/new", CONTENT)
    assert backend.blobs["/b/new"] == CONTENT
    assert proxy.exchanges()[0].status == 201


def test_a_stall(proxy: FaultProxy, client: Client, backend: Backend):
    for fault in (Stall(0.2), Stall(0.2, at_byte=1_000_000)):
        proxy.script(fault)
        began = time.monotonic()
        assert client.ask("GET", "/b/large") == (200, CONTENT)
        assert 0.2 <= time.monotonic() - began < 2
    proxy.script(Stall(60))
    impatient = http.client.HTTPConnection(client.host, timeout=0.05)
    impatient.request("GET", "/b/large")
    with pytest.raises(TimeoutError):
        impatient.getresponse()
    impatient.close()
    assert len(backend.heads) == 2, "the server was not asked"
    began = time.monotonic()
    proxy.close()
    assert time.monotonic() - began < 5, "whoever closes the proxy does not wait for a stall"


def test_refused_connections(proxy: FaultProxy, client: Client):
    client.ask("GET", "/b/small")
    other = Client(proxy)
    for _ in range(3):
        proxy.refuse()
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            client.ask("GET", "/b/small")
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                other.ask("GET", "/b/small")
            other.connection.close()
        client.connection.close()
        proxy.accept()
        proxy.accept()
        assert client.ask("GET", "/b/small") == (200, SMALL)


def test_a_server_that_is_gone(backend: Backend):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # a port on which nobody listens
        with FaultProxy(f"http://127.0.0.1:{held.getsockname()[1]}") as proxy:
            client = Client(proxy)
            with pytest.raises(http.client.RemoteDisconnected):
                client.ask("GET", "/b/small")
            assert [one.status for one in proxy.exchanges()] == [None]
            client.connection.close()


def test_what_is_no_http_ends_its_connection(proxy: FaultProxy, client: Client):
    for junk in (b"\r\n\r\n", b"\x16\x03\x01 hello\r\n\r\n", b"GET /b/small HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection(tuple_of(proxy), timeout=10) as connection:
            connection.sendall(junk)
            assert connection.recv(1000) == b""
    assert client.ask("GET", "/b/small") == (200, SMALL)
    for address in ("https://127.0.0.1:1", "127.0.0.1:1", "ftp://x"):
        with pytest.raises(ValueError, match="no http:// address"):
            FaultProxy(address)


def test_nothing_is_left_of_it(backend: Backend):
    before = threading.active_count()
    with FaultProxy(f"http://127.0.0.1:{backend.server_address[1]}") as proxy:
        clients = [Client(proxy) for _ in range(5)]
        for client in clients:
            client.ask("GET", "/b/small")
        port = urlsplit(proxy.url).port
    _until(lambda: threading.active_count() <= before)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    for client in clients:
        client.connection.close()


def tuple_of(proxy: FaultProxy) -> tuple[str, int]:
    parts = urlsplit(proxy.url)
    return (parts.hostname, parts.port)


def _expecting(target: str, size_bytes: int) -> bytes:
    head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {size_bytes}\r\nExpect: 100-continue\r\n\r\n"
    return head.encode()


def _rest_of(connection: socket.socket) -> tuple[bytes, bool]:
    """All that comes, and whether it ends with a reset."""
    got = b""
    try:
        while part := connection.recv(1 << 20):
            got += part
    except ConnectionResetError:
        return got, True
    return got, False


def _payload(body: bytes) -> bytes:
    """What chunks contain, also if the last one is cut."""
    payload = b""
    while body:
        line, _, body = body.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        payload += body[:size]
        body = body[size + 2 :]
    return payload


def _until(holds, limit_s: float = 5.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)
