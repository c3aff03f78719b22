"""The server against nginx, on the same disk, with the same client: 1 GiB up and down, memory, small uploads.

Ratios are nginx's time over ours: 1.0 is as fast, 0.8 takes a quarter longer. Ours hashes, syncs and records what
nginx only writes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import Row, bounded, faster
from holdfast.catalog.accounts import Accounts
from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.testing.servers import free_port, nginx

GIB = 2**30
EMAIL = "bench@example.org"
BLOCK = 1024 * 1024
OCTETS = "application/octet-stream"
BOUNDARY = "----HoldfastBench7MA4YWxkTrZu0gW"
SERVE = """\
import sys
from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.server.serve import serve
serve(lambda: open_hold(read_document(__import__("pathlib").Path(sys.argv[1]), environ={})), port=int(sys.argv[2]))
"""


@dataclass(frozen=True)
class Place:
    """Our server, nginx before it and beside it, and a file of 1 GiB."""

    ours: int
    nginx: int
    process_id: int
    token: str
    big: Path
    dataset: int


def main(folder: Path) -> list[Row]:
    """All rows about HTTP."""
    with _place(folder) as place:
        idle_mib = _status_mib(place.process_id, "VmRSS")
        return [*_big(place), _memory(place, idle_mib), *_small(place)]


def _big(place: Place) -> list[Row]:
    form = _Form(place.big)
    up = "/api/datasets?name=big.bin"
    whole = f"/api/datasets/{place.dataset}/content"

    def upload() -> None:
        status = _send(place.ours, "POST", up, place.big, place.token)
        assert status == 201, status

    def upload_form() -> None:
        status = _send(place.ours, "POST", "/api/datasets", place.big, place.token, form)
        assert status == 201, status

    def nginx_put() -> None:
        status = _send(place.nginx, "PUT", "/dav/up.bin", place.big, place.token)
        assert status in {201, 204}, status

    def settle() -> None:
        os.sync()

    return [
        faster("http: upload 1 GiB, over nginx DAV", upload, nginx_put, at_least=0.8, rounds=3, before=settle),
        faster("http: form upload 1 GiB, over raw", upload_form, upload, at_least=0.5, rounds=3, before=settle),
        faster(
            "http: download 1 GiB, over nginx sendfile",
            lambda: _take(place.ours, whole, place.token), lambda: _take(place.nginx, "/files/big.bin", place.token),
            at_least=0.8, rounds=7,
        ),
        faster(
            "http: download 1 GiB by X-Accel, over nginx sendfile",
            lambda: _take(place.nginx, f"/ours{whole}", place.token),
            lambda: _take(place.nginx, "/files/big.bin", place.token), at_least=0.9, rounds=7,
        ),
    ]  # fmt: skip


def _memory(place: Place, idle_mib: float) -> Row:
    grown = _status_mib(place.process_id, "VmHWM") - idle_mib
    return bounded("http: memory over idle while 1 GiB passes", grown, at_most=150, unit="MiB")


def _small(place: Place) -> list[Row]:
    body = os.urandom(1024)
    times = []
    with socket.create_connection(("127.0.0.1", place.ours)) as connection:
        for at in range(110):
            begin = time.perf_counter()
            head = _head("POST", f"/api/datasets?name=small{at}", place.token, len(body), "keep-alive")
            connection.sendall(head + body)
            answer = _answer(connection)
            times.append(time.perf_counter() - begin)
            assert b'"state":"ok"' in answer, answer[:300]
    times = times[10:]
    return [
        bounded("http: 1 KiB, from its end to ok (median)", statistics.median(times), at_most=0.05),
        bounded("http: 100 small uploads one after another", sum(times), at_most=5),
    ]


# -- the place --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[Place]:
    big = folder / "files" / "big.bin"
    (folder / "files").mkdir()
    (folder / "dav").mkdir()
    (folder / "a").mkdir()
    block = os.urandom(BLOCK)
    with open(big, "wb") as stream:
        stream.writelines(at.to_bytes(8, "big") + block[8:] for at in range(GIB // BLOCK))
    ours, theirs = free_port(), free_port()
    document = folder / "holdfast.yml"
    # the server that streams and the one behind nginx are one: only pool `a` is given to nginx, on request
    document.write_text(
        f"state_dir: {folder / 'state'}\nplacement: hierarchical\n"
        f"pools:\n  a: {{type: disk, files_dir: {folder / 'a'}}}\n"
    )
    with open_hold(read_document(document, environ={})) as hold:
        accounts = Accounts(hold.catalog.db, hold.clock, hold.entropy)
        accounts.create(EMAIL)
        token = accounts.new_token(EMAIL)
        dataset = hold.put(big, name="big.bin", owner=EMAIL).id
    behind = free_port()
    with _server(document, ours) as process_id, _server_behind(folder, behind), nginx(
        _nginx_block(folder, theirs, behind), port=theirs
    ):
        yield Place(ours, theirs, process_id, token, big, dataset)


def _nginx_block(folder: Path, port: int, behind: int) -> str:
    return f"""
  client_max_body_size 0;
  client_body_buffer_size 1m;
  server {{
    listen 127.0.0.1:{port};
    location /files/ {{ alias {folder}/files/; }}
    location /dav/ {{ alias {folder}/dav/; dav_methods PUT; client_body_temp_path {folder}/dav/tmp; }}
    location /ours/ {{ proxy_pass http://127.0.0.1:{behind}/; proxy_set_header Host $host; }}
    location /internal/a/ {{ internal; alias {folder}/a/; }}
  }}
"""


@contextlib.contextmanager
def _server(document: Path, port: int) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(document), str(port)])
    try:
        _await(port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextlib.contextmanager
def _server_behind(folder: Path, port: int) -> Iterator[None]:
    """A second server over the same catalog and pool, for what goes through nginx: only one may have the state."""
    state = folder / "behind"
    state.mkdir()
    (state / "catalog.sqlite").symlink_to(folder / "state" / "catalog.sqlite")
    document = folder / "behind.yml"
    document.write_text(
        f"state_dir: {state}\nplacement: hierarchical\n"
        f"pools:\n  a: {{type: disk, files_dir: {folder / 'a'}}}\n"
        "server: {direct: x-accel, x_accel_prefix: {a: /internal/a/}}\n"
    )
    with _server(document, port):
        yield


def _await(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def _status_mib(process_id: int, field: str) -> float:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


# -- the client -------------------------------------------------------------------------------------------


class _Form:
    """What stands around a file in a form."""

    def __init__(self, path: Path) -> None:
        self.head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self.tail = f"\r\n--{BOUNDARY}--\r\n".encode()


def _head(method: str, path: str, token: str, size_bytes: int, keep: str, kind: str = OCTETS) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: {keep}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {size_bytes}\r\n\r\n"
    ).encode()


def _send(port: int, method: str, path: str, source: Path, token: str, form: _Form | None = None) -> int:
    size = source.stat().st_size
    kind = OCTETS if form is None else f"multipart/form-data; boundary={BOUNDARY}"
    before, after = (b"", b"") if form is None else (form.head, form.tail)
    with socket.create_connection(("127.0.0.1", port)) as connection, open(source, "rb") as stream:
        connection.sendall(_head(method, path, token, size + len(before) + len(after), "close", kind) + before)
        connection.sendfile(stream)
        connection.sendall(after)
        return int(_answer(connection).split(b" ", 2)[1])


def _answer(connection: socket.socket) -> bytes:
    """Head and body of an answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            return data
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _take(port: int, path: str, token: str) -> None:
    buffer = bytearray(BLOCK)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(_head("GET", path, token, 0, "close"))
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 200"), head
        total = len(head) - head.index(b"\r\n\r\n") - 4
        while count := connection.recv_into(buffer):
            total += count
    assert total == GIB, total
