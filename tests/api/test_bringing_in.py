"""Uploads in one request: whole or not at all, refused before the body where they can be."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from blake3 import blake3
from tests.api.served import ALICE, Served, add_people, make_hold, running
from tests.api.test_content import peak_mib, until

from holdfast.server.settings import ServerSettings
from holdfast.testing.disks import Disk

MIB = 1024 * 1024


def test_a_raw_body_becomes_a_dataset(served: Served, alice: httpx.Client):
    content = random.Random(3).randbytes(5 * MIB + 17)
    answer = alice.post("/api/datasets?name=reads.fastq&labels=run=7,lane=2", content=content)
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"/api/datasets/{made['id']}"
    assert made["state"] == "ok"
    assert made["owner"] == ALICE
    assert made["size_bytes"] == len(content)
    assert made["checksum"] == "blake3:" + blake3(content).hexdigest()
    assert made["labels"] == {"run": "7", "lane": "2"}
    assert Path(made["full_path"]).read_bytes() == content
    assert served.rows("SELECT reserved_bytes FROM pool") == [(0,), (0,)]


def test_a_chunked_body_of_unknown_size(alice: httpx.Client):
    pieces = [random.Random(n).randbytes(100_000) for n in range(20)]
    made = alice.post("/api/datasets?name=x", content=iter(pieces)).json()
    assert Path(made["full_path"]).read_bytes() == b"".join(pieces)


def test_a_form_becomes_a_dataset(served: Served, alice: httpx.Client):
    content = random.Random(4).randbytes(3 * MIB) + b"\r\n--not the end" + b"\r\n"
    made = alice.post(
        "/api/datasets",
        data={"name": "mine.txt", "pool": "olddata", "labels": "a=b"},
        files={"file": ("f.txt", content)},
    ).json()
    assert made["name"] == "mine.txt"
    assert made["object_store_id"] == "olddata"
    assert made["labels"] == {"a": "b"}
    assert Path(made["full_path"]).read_bytes() == content
    named = alice.post("/api/datasets", files={"file": ("C:\\dir\\g.txt", b"")}).json()
    assert (named["name"], named["size_bytes"]) == ("g.txt", 0)
    assert served.rows("SELECT sum(reserved_bytes) FROM pool") == [(0,)]


def form(*parts: tuple[str, str | None, bytes]) -> dict:
    body = b""
    for name, filename, content in parts:
        said = f'; filename="{filename}"' if filename is not None else ""
        body += f'--B\r\nContent-Disposition: form-data; name="{name}"{said}\r\n\r\n'.encode() + content + b"\r\n"
    return {"content": body + b"--B--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=B"}}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (form(), 422),
        (form(("name", None, b"x")), 422),
        (form(("file", "a", b"1"), ("file", "b", b"2")), 422),
        (form(("file", "a", b"1"), ("pool", None, b"olddata")), 422),
        (form(("colour", None, b"red"), ("file", "a", b"1")), 422),
        (form(("labels", None, b"nonsense"), ("file", "a", b"1")), 422),
        (form(("pool", None, b"nowhere"), ("file", "a", b"1")), 404),
        (form(("file", "a\nb", b"1")), 422),
        (form(("name", None, b"a\nb"), ("file", "a", b"1")), 422),
        ({"content": b"junk", "headers": {"Content-Type": "multipart/form-data; boundary=B"}}, 400),
        ({"content": b"--B\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": form(("file", "a", b"1"))["content"][:-6], "headers": form()["headers"]}, 400),
    ],
)
def test_forms_that_cannot_be_taken_leave_nothing(served: Served, alice: httpx.Client, request_: dict, status: int):
    answer = alice.post("/api/datasets", **request_)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert_nothing_left(served)


def assert_nothing_left(served: Served) -> None:
    """No dataset, no reservation, no file: as if nobody had asked."""
    assert until(lambda: served.rows("SELECT count(*) FROM reservation") == [(0,)])
    assert served.rows("SELECT count(*) FROM dataset WHERE state != 'purged'") == [(0,)]
    assert served.rows("SELECT sum(reserved_bytes), sum(used_bytes), sum(datasets) FROM pool") == [(0, 0, 0)]
    assert served.blobs() == []


def status_of(connection: socket.socket) -> int:
    data = b""
    while b"\r\n" not in data:
        block = connection.recv(65536)
        assert block, "the connection was closed without an answer"
        data += block
    return int(data.split(b" ", 2)[1])


@pytest.mark.parametrize("kind", ["raw", "form", "chunked"])
def test_a_cut_connection_leaves_nothing(served: Served, kind: str):
    pick = random.Random(5)
    for _ in range(6):
        size = pick.randrange(1, 4 * MIB)
        headers = {
            "raw": f"POST /api/datasets?name=x HTTP/1.1\r\nContent-Length: {5 * MIB}",
            "form": f"POST /api/datasets HTTP/1.1\r\nContent-Length: {5 * MIB}\r\n"
            "Content-Type: multipart/form-data; boundary=B",
            "chunked": "POST /api/datasets?name=x HTTP/1.1\r\nTransfer-Encoding: chunked",
        }
        body = pick.randbytes(size)
        if kind == "form":
            body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + body
        if kind == "chunked":
            body = b"%x\r\n" % (5 * MIB) + body
        connection = served.raw(headers[kind], body)
        if pick.random() < 0.5:
            # a reset instead of an orderly end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    assert_nothing_left(served)


def test_a_refusal_needs_no_body(tmp_path: Path):
    """The room is reserved before the first byte: whoever waits with the body hears it at once."""
    settings = ServerSettings(upload_bytes_max=100 * MIB)
    with make_hold(tmp_path, pool=", capacity: 10 MiB") as hold, running(hold, tmp_path, settings) as served:
        add_people(served)
        for size, status in ((50 * MIB, 507), (101 * MIB, 413), (2**62, 413)):
            for kind in ("", "\r\nExpect: 100-continue"):
                head = f"POST /api/datasets?name=x HTTP/1.1\r\nContent-Length: {size}{kind}"
                with served.raw(head) as connection:
                    assert status_of(connection) == status
        # one that fits is invited to send
        head = "POST /api/datasets?name=x HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue"
        with served.raw(head) as connection:
            assert status_of(connection) == 100
            connection.sendall(b"hello")
            assert status_of(connection) == 201
        assert served.rows("SELECT count(*), sum(size_bytes) FROM dataset") == [(1, 5)]
        assert served.rows("SELECT sum(reserved_bytes) FROM pool") == [(0,)]


def test_a_client_that_sends_on_still_reads_why(tmp_path: Path):
    with make_hold(tmp_path, pool=", capacity: 10 MiB") as hold, running(hold, tmp_path) as served:
        add_people(served)
        with served.client(ALICE) as client:
            answer = client.post("/api/datasets?name=x", content=bytes(30 * MIB))
            assert answer.status_code == 507
            assert "no pool can take" in answer.json()["detail"]
            assert answer.headers["connection"] == "close"
            # nobody says how much it is: refused as soon as it is too much
            answer = client.post("/api/datasets?name=x", content=(bytes(MIB) for _ in range(30)))
            assert answer.status_code == 507
        assert_nothing_left(served)


def test_chunked_bodies_have_a_limit_too(tmp_path: Path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(upload_bytes_max=MIB)) as served:
        add_people(served)
        with served.client(ALICE) as client:
            answer = client.post("/api/datasets?name=x", content=(bytes(MIB) for _ in range(5)))
            assert answer.status_code == 413
            assert client.post("/api/datasets?name=x", content=bytes(MIB)).status_code == 201
            answer = client.post("/api/datasets", files={"file": ("f", bytes(MIB))})
            assert answer.status_code == 201


def test_a_silent_client_is_given_up(tmp_path: Path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(body_idle_s=0.5)) as served:
        add_people(served)
        with served.raw("POST /api/datasets?name=x HTTP/1.1\r\nContent-Length: 1000", b"some") as connection:
            begin = time.monotonic()
            assert status_of(connection) == 408
            assert time.monotonic() - begin < 5
        assert_nothing_left(served)


def test_a_slow_client_is_not(tmp_path: Path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(body_idle_s=0.8)) as served:
        add_people(served)
        with served.raw("POST /api/datasets?name=x HTTP/1.1\r\nContent-Length: 10") as connection:
            for _ in range(10):
                time.sleep(0.2)
                connection.sendall(b"x")
            assert status_of(connection) == 201


def test_a_full_disk_in_the_middle(tmp_path: Path, small_disk: Callable[..., Disk]):
    disk = small_disk(32)
    with make_hold(Path(disk.folder), pools=["only"]) as hold, running(hold, Path(disk.folder)) as served:
        add_people(served)
        with served.client(ALICE) as client:
            keep = client.post("/api/datasets?name=keep", content=b"k" * 1000).json()
            answer = client.post("/api/datasets?name=x", content=(os.urandom(MIB) for _ in range(60)))
            assert answer.status_code == 507, answer.text
            assert client.get(f"/api/datasets/{keep['id']}/content").content == b"k" * 1000
            assert [one["id"] for one in client.get("/api/datasets").json()] == [keep["id"]]
            # the room is there again
            assert client.post("/api/datasets?name=y", content=bytes(MIB)).status_code == 201
        assert len(served.blobs()) == 2


def test_replacing_is_whole_or_not_at_all(served: Served, alice: httpx.Client):
    made = alice.post("/api/datasets?name=x", content=b"old bytes").json()
    path = f"/api/datasets/{made['id']}/content"
    with served.raw(f"PUT {path} HTTP/1.1\r\nContent-Length: {5 * MIB}", bytes(2 * MIB)):
        pass
    assert alice.get(path).content == b"old bytes"
    # while the server has not noticed the end, the dataset is being replaced
    answers = [alice.put(path, content=b"new")]
    assert until(lambda: answers[-1].status_code == 200 or bool(answers.append(alice.put(path, content=b"new"))))
    assert {answer.status_code for answer in answers[:-1]} <= {409}
    answer = answers[-1]
    assert answer.json()["checksum"] == "blake3:" + blake3(b"new").hexdigest()
    assert alice.get(path).content == b"new"
    assert len(served.blobs()) == 1
    assert alice.put(path, content=b"x", headers={"Content-Range": "bytes 0-0/3"}).status_code == 400
    assert alice.put(path, files={"file": ("a", b"b")}).status_code == 415


def test_more_uploads_at_once_than_there_are_places(tmp_path: Path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(uploads_at_once=2)) as served:
        add_people(served)
        head = "POST /api/datasets?name=x HTTP/1.1\r\nContent-Length: 10"
        waiting = [served.raw(head, b"12345") for _ in range(2)]
        assert until(lambda: served.rows("SELECT count(*) FROM reservation") == [(2,)])
        with served.client(ALICE) as client:
            answer = client.post("/api/datasets?name=y", content=b"z")
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["retry_after_s"] > 0
            # whoever only looks is not kept waiting
            assert client.get("/api/datasets").status_code == 200
            for connection in waiting:
                connection.sendall(b"67890")
                assert status_of(connection) == 201
                connection.close()
            assert client.post("/api/datasets?name=y", content=b"z").status_code == 201


def test_memory_does_not_grow_with_the_size(alice: httpx.Client):
    block = os.urandom(MIB)
    alice.post("/api/datasets?name=warm", content=(block for _ in range(8)))
    before = peak_mib()
    made = alice.post("/api/datasets?name=big", content=(block for _ in range(400))).json()
    assert made["size_bytes"] == 400 * MIB
    assert peak_mib() - before < 80


def test_a_head_that_never_ends_is_cut_off(served: Served):
    with served.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        try:
            for at in range(2000):
                connection.sendall(b"X-%d: %s\r\n" % (at, b"y" * 1000))
            data = connection.recv(100)
        except ConnectionError:
            data = b""
    assert data == b"" or data.startswith(b"HTTP/1.1 400")
