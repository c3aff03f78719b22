"""Uploads that are resumed: what tus 1.0.0 demands, and what bad luck gets."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from blake3 import blake3
from tests.api.served import ADMIN, ALICE, Served, add_people, make_hold, running
from tests.api.test_bringing_in import status_of
from tests.api.test_content import until

from holdfast.errors import Denied
from holdfast.server.api.uploads import UploadDesk
from holdfast.server.housekeeping import Housekeeping
from holdfast.server.settings import ServerSettings
from holdfast.server.spool import create
from holdfast.testing.disks import Disk

MIB = 1024 * 1024
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


def metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


def announce(client: httpx.Client, size: int, *, name: str = "big.bin", **pairs: str) -> str:
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": metadata(filename=name, **pairs)}
    answer = client.post("/api/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.headers["location"]


def offset_of(client: httpx.Client, upload: str) -> int:
    answer = client.head(upload, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def patch(client: httpx.Client, upload: str, offset: int, content: bytes, **headers: str) -> httpx.Response:
    return client.patch(upload, headers={**PIECE, "Upload-Offset": str(offset), **headers}, content=content)


def spools(served: Served) -> list[Path]:
    found = list((served.folder / "state" / "uploads").glob("*"))
    return found + [path for path in served.blobs() if "upload" in path.name]


# -- the protocol -----------------------------------------------------------------------------------------


def test_what_the_server_offers(stranger: httpx.Client):
    answer = stranger.options("/api/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    extensions = answer.headers["tus-extension"].split(",")
    assert {"creation", "creation-with-upload", "termination", "expiration", "checksum"} == set(extensions)
    assert "sha1" in answer.headers["tus-checksum-algorithm"]


def test_an_upload_in_pieces_becomes_a_dataset(served: Served, alice: httpx.Client):
    content = random.Random(1).randbytes(3 * MIB + 5)
    upload = announce(alice, len(content), name="läsungen.fastq", labels="run=7", pool="olddata")
    assert offset_of(alice, upload) == 0
    at = 0
    for size in (1, 999_999, MIB, len(content)):
        piece = content[at : at + size]
        answer = patch(alice, upload, at, piece)
        assert answer.status_code == 204, answer.text
        at += len(piece)
        assert answer.headers["upload-offset"] == str(at)
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert ("upload-expires" in answer.headers) == (at < len(content))
        assert offset_of(alice, upload) == at
    made = alice.get(f"/api/datasets/{answer.headers['holdfast-dataset']}").json()
    assert made["name"] == "läsungen.fastq"
    assert made["object_store_id"] == "olddata"
    assert made["labels"] == {"run": "7"}
    assert made["checksum"] == "blake3:" + blake3(content).hexdigest()
    assert Path(made["full_path"]).read_bytes() == content
    assert spools(served) == []
    assert alice.head(upload, headers=TUS).headers["holdfast-dataset"] == str(made["id"])
    assert alice.get("/api/uploads").json() == []
    # a client that missed the last answer asks, and may send the nothing that is left
    assert patch(alice, upload, len(content), b"").status_code == 204
    assert served.rows("SELECT count(*) FROM dataset") == [(1,)]


def test_the_head_repeats_what_was_announced(alice: httpx.Client):
    upload = announce(alice, 10, colour="red")
    headers = alice.head(upload, headers=TUS).headers
    assert headers["upload-length"] == "10"
    assert headers["upload-metadata"] == metadata(filename="big.bin", colour="red")
    [listed] = alice.get("/api/uploads").json()
    assert (listed["name"], listed["size_bytes"], listed["location"]) == ("big.bin", 10, upload)


def test_a_get_says_what_a_head_does_and_why_not(served: Served, alice: httpx.Client):
    upload = announce(alice, 10)
    patch(alice, upload, 0, b"12345")
    assert alice.get(upload, headers=TUS).headers["upload-offset"] == "5"
    for path in spools(served):
        path.unlink()
    answer = alice.get(upload, headers=TUS)
    assert (answer.status_code, answer.json()["detail"]) == (410, "the bytes of this upload are gone; start it again")


def test_creation_with_upload(alice: httpx.Client):
    headers = {**PIECE, "Upload-Length": "6", "Upload-Metadata": metadata(filename="six")}
    answer = alice.post("/api/uploads", headers=headers, content=b"abc")
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "3")
    answer = patch(alice, answer.headers["location"], 3, b"def")
    assert alice.get(f"/api/datasets/{answer.headers['holdfast-dataset']}/content").content == b"abcdef"
    whole = alice.post("/api/uploads", headers=headers, content=b"ABCDEF")
    assert whole.status_code == 201
    assert alice.get(f"/api/datasets/{whole.headers['holdfast-dataset']}/content").content == b"ABCDEF"


def test_an_empty_upload_is_a_dataset_at_once(alice: httpx.Client):
    answer = alice.post(
        "/api/uploads", headers={**TUS, "Upload-Length": "0", "Upload-Metadata": metadata(filename="e")}
    )
    assert answer.status_code == 201
    assert alice.get(f"/api/datasets/{answer.headers['holdfast-dataset']}").json()["size_bytes"] == 0


@pytest.mark.parametrize("offset", [0, 4, 6, 10])
def test_a_wrong_offset_is_a_conflict_and_says_the_right_one(alice: httpx.Client, offset: int):
    upload = announce(alice, 10)
    patch(alice, upload, 0, b"12345")
    answer = patch(alice, upload, offset, b"x")
    assert answer.status_code == 409
    assert answer.headers["upload-offset"] == "5"
    assert offset_of(alice, upload) == 5


def test_requests_that_are_not_tus(alice: httpx.Client):
    upload = announce(alice, 10)
    for headers, status in (
        ({}, 412),
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({**TUS, "Content-Type": "application/octet-stream", "Upload-Offset": "0"}, 415),
        (PIECE, 400),
        ({**PIECE, "Upload-Offset": "-1"}, 400),
        ({**PIECE, "Upload-Offset": "x"}, 400),
        ({**PIECE, "Upload-Offset": "9" * 30}, 400),
    ):
        answer = alice.patch(upload, headers=headers, content=b"x")
        assert answer.status_code == status, headers
        if status == 412:
            assert answer.headers["tus-version"] == "1.0.0"
    for headers in (
        TUS,
        {**TUS, "Upload-Length": "-5"},
        {**TUS, "Upload-Length": "9" * 30},
        {**TUS, "Upload-Defer-Length": "1"},
        {**TUS, "Upload-Length": "5", "Upload-Metadata": "filename ***"},
        {**TUS, "Upload-Length": "5", "Upload-Metadata": "filename /w=="},
    ):
        assert alice.post("/api/uploads", headers=headers).status_code == 400, headers
    assert offset_of(alice, upload) == 0


def test_programs_that_can_only_post(alice: httpx.Client):
    upload = announce(alice, 5)
    override = {**PIECE, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    answer = alice.post(upload, headers=override, content=b"hello")
    assert answer.status_code == 204
    assert alice.get(f"/api/datasets/{answer.headers['holdfast-dataset']}/content").content == b"hello"
    assert alice.post(upload, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert alice.head(upload, headers=TUS).status_code == 404
    # it is for uploads alone
    made = alice.post("/api/datasets?name=a", content=b"x").json()["id"]
    assert alice.post(f"/api/datasets/{made}", headers={"X-HTTP-Method-Override": "DELETE"}).status_code == 405


def test_names_are_checked_before_the_bytes(served: Served, alice: httpx.Client):
    for name in ("a\nb", "\0", "x" * 300):
        headers = {**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(filename=name)}
        assert alice.post("/api/uploads", headers=headers).status_code == 422
    headers = {**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(filename="a", pool="nowhere")}
    assert alice.post("/api/uploads", headers=headers).status_code == 404
    assert spools(served) == []


def test_more_than_was_announced_is_refused(served: Served, alice: httpx.Client):
    upload = announce(alice, 10)
    answer = patch(alice, upload, 0, b"x" * 11)
    assert answer.status_code == 413
    assert served.rows("SELECT count(*) FROM dataset") == [(0,)]


def test_termination(served: Served, alice: httpx.Client):
    upload = announce(alice, 10)
    patch(alice, upload, 0, b"12345")
    assert len(spools(served)) == 1
    assert alice.delete(upload, headers=TUS).status_code == 204
    assert spools(served) == []
    assert alice.head(upload, headers=TUS).status_code == 404
    assert patch(alice, upload, 5, b"12345").status_code == 404
    # a dataset that it became stays
    upload = announce(alice, 1)
    made = patch(alice, upload, 0, b"x").headers["holdfast-dataset"]
    assert alice.delete(upload, headers=TUS).status_code == 204
    assert alice.get(f"/api/datasets/{made}/content").content == b"x"


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "blake3"])
def test_checksums(alice: httpx.Client, algorithm: str):
    def checksum(content: bytes) -> str:
        digest = blake3(content).digest() if algorithm == "blake3" else hashlib.new(algorithm, content).digest()
        return f"{algorithm} {base64.b64encode(digest).decode()}"

    upload = announce(alice, 10)
    assert patch(alice, upload, 0, b"12345", **{"Upload-Checksum": checksum(b"12345")}).status_code == 204
    answer = patch(alice, upload, 5, b"damag", **{"Upload-Checksum": checksum(b"right")})
    assert answer.status_code == 460
    assert offset_of(alice, upload) == 5
    made = patch(alice, upload, 5, b"right", **{"Upload-Checksum": checksum(b"right")}).headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}/content").content == b"12345right"
    assert alice.get(f"/api/datasets/{made}").json()["checksum"] == "blake3:" + blake3(b"12345right").hexdigest()


def test_unknown_checksums(alice: httpx.Client):
    upload = announce(alice, 10)
    for header in ("crc99 AAAA", "sha1", "sha1 ***"):
        status = patch(alice, upload, 0, b"1", **{"Upload-Checksum": header}).status_code
        assert status in {400, 460}, header
    assert offset_of(alice, upload) == 0


# -- bad luck ---------------------------------------------------------------------------------------------


def begin_piece(served: Served, upload: str, offset: int, announced: int, content: bytes) -> socket.socket:
    """A PATCH of which only the beginning has been sent."""
    return served.raw(
        f"PATCH {upload} HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n"
        f"Upload-Offset: {offset}\r\nContent-Length: {announced}",
        content,
    )


def cut_piece(served: Served, upload: str, offset: int, announced: int, content: bytes, *, reset: bool = False) -> None:
    """A PATCH whose connection is lost after `content`."""
    connection = begin_piece(served, upload, offset, announced, content)
    if reset:
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


@pytest.mark.parametrize("seed", range(6))
def test_cut_at_any_byte_and_resumed(served: Served, alice: httpx.Client, seed: int):
    """Every byte that arrived before an orderly end counts, and the result is the file."""
    pick = random.Random(seed)
    content = pick.randbytes(pick.choice([1, 70_000, 3 * MIB]))
    upload = announce(alice, len(content))
    cuts = sorted(pick.randrange(len(content)) for _ in range(pick.randrange(1, 6)))
    at = 0
    for cut in cuts:
        cut_piece(served, upload, at, len(content) - at, content[at:cut])
        at = cut
        assert until(lambda upto=cut: offset_of(alice, upload) == upto), (offset_of(alice, upload), at)
        # the server notices the end in its own time; until then the upload is somebody's
        assert until(lambda upto=cut: patch(alice, upload, upto, b"").status_code == 204)
    assert patch(alice, upload, at, content[at:]).status_code == 204
    made = alice.head(upload, headers=TUS).headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}").json()["checksum"] == "blake3:" + blake3(content).hexdigest()
    assert alice.get(f"/api/datasets/{made}/content").content == content
    assert spools(served) == []


def test_a_reset_connection_keeps_a_beginning(served: Served, alice: httpx.Client):
    content = random.Random(10).randbytes(4 * MIB)
    upload = announce(alice, len(content))
    cut_piece(served, upload, 0, len(content), content[: 2 * MIB], reset=True)
    assert until(lambda: patch(alice, upload, offset_of(alice, upload), b"").status_code == 204)
    at = offset_of(alice, upload)
    assert at <= 2 * MIB
    made = patch(alice, upload, at, content[at:]).headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}/content").content == content


GIB = 1024 * MIB
_BLOCK = os.urandom(MIB)


def three_gib(start: int, stop: int) -> Iterator[bytes]:
    """That part of a file of 3 GiB and 5 bytes in which no two MiB are the same."""
    for at in range(start // MIB, -(-stop // MIB)):
        block = at.to_bytes(8, "big") + _BLOCK[8:]
        yield block[max(0, start - at * MIB) : stop - at * MIB]


@pytest.mark.timeout(300)
def test_three_gib_cut_and_resumed_survive_the_servers_restart(tmp_path: Path):
    """Behind the numbers of 31 bits too."""
    size = 3 * GIB + 5
    cuts = [700 * MIB + 12, 2 * GIB + 7]
    at = 0
    with make_hold(tmp_path) as hold, running(hold, tmp_path) as served:
        add_people(served)
        with served.client(ALICE) as client:
            client.timeout = httpx.Timeout(120)
            upload = announce(client, size)
            for cut in cuts:
                with begin_piece(served, upload, at, size - at, b"") as connection:
                    for block in three_gib(at, cut):
                        connection.sendall(block)
                # what came is synced first; until then nobody else may add
                assert until(lambda cut=cut: patch(client, upload, cut, b"").status_code == 204, 60)
                at = cut
    with make_hold(tmp_path) as hold, running(hold, tmp_path) as served, served.client(ALICE) as client:
        assert offset_of(client, upload) == cuts[-1]
        client.timeout = httpx.Timeout(120)
        answer = client.patch(upload, headers={**PIECE, "Upload-Offset": str(at)}, content=three_gib(at, size))
        assert answer.status_code == 204
        made = client.get(f"/api/datasets/{answer.headers['holdfast-dataset']}").json()
        assert made["size_bytes"] == size
        told = blake3()
        with open(made["full_path"], "rb") as stream:
            for block in three_gib(0, size):
                assert stream.read(len(block)) == block
                told.update(block)
            assert stream.read() == b""
        assert made["checksum"] == "blake3:" + told.hexdigest()
        os.truncate(made["full_path"], 0)  # pytest keeps the folders of three runs


def test_only_one_request_adds_at_a_time(served: Served, alice: httpx.Client):
    content = os.urandom(100_000)
    upload = announce(alice, len(content))
    first = begin_piece(served, upload, 0, len(content), content[:10])
    assert until(lambda: offset_of(alice, upload) == 10)
    first.sendall(content[10:20])  # it is at work
    answer = patch(alice, upload, 20, b"x")
    assert answer.status_code == 423
    assert int(answer.headers["retry-after"]) > 0
    assert alice.delete(upload, headers=TUS).status_code == 423
    first.sendall(content[20:])
    assert status_of(first) == 204
    first.close()
    made = alice.head(upload, headers=TUS).headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}/content").content == content


def test_many_at_the_same_offset(served: Served, alice: httpx.Client):
    content = os.urandom(200_000)
    upload = announce(alice, len(content))
    statuses: list[int] = []

    def send() -> None:
        with served.client(ALICE) as client:
            statuses.append(patch(client, upload, 0, content).status_code)

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(204) == 1, statuses
    assert set(statuses) <= {204, 409, 423}, statuses
    made = alice.head(upload, headers=TUS).headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}/content").content == content
    assert served.rows("SELECT count(*) FROM dataset") == [(1,)]


def test_a_lost_connection_that_nobody_noticed_gives_way(served: Served, alice: httpx.Client):
    """A laptop that changes its network leaves a connection behind that never ends."""
    content = b"0123456789" * 10
    upload = announce(alice, len(content))
    lost = begin_piece(served, upload, 0, len(content), content[:40])
    assert until(lambda: offset_of(alice, upload) == 40)
    assert until(lambda: patch(alice, upload, 40, content[40:]).status_code == 204, 8)
    made = alice.head(upload, headers=TUS).headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}/content").content == content
    lost.close()


def test_a_silent_piece_keeps_what_came(tmp_path: Path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(piece_idle_s=0.4)) as served:
        add_people(served)
        with served.client(ALICE) as client:
            upload = announce(client, 100)
            with begin_piece(served, upload, 0, 100, b"x" * 40) as silent:
                assert status_of(silent) == 408
            assert offset_of(client, upload) == 40
            assert patch(client, upload, 40, b"y" * 60).status_code == 204


def test_there_is_room_or_it_is_refused_at_once(tmp_path: Path):
    with make_hold(tmp_path, pool=", capacity: 10 MiB") as hold, running(hold, tmp_path) as served:
        add_people(served)
        with served.client(ALICE) as client:
            answer = client.post("/api/uploads", headers={**TUS, "Upload-Length": str(11 * MIB)})
            assert answer.status_code == 507
            assert "no pool can take" in answer.json()["detail"]
            assert spools(served) == []


def test_announced_uploads_are_promised_the_room_of_a_pool_with_a_capacity(tmp_path: Path):
    """Its limit is the catalog's, and no file system keeps it: what is announced must fit beside what was announced."""
    small = make_hold(tmp_path, pools=["small"], pool=", capacity: 10 MiB")
    with small as hold, running(hold, tmp_path) as served:
        add_people(served)
        with served.client(ALICE) as alice, served.client(ADMIN) as admin:
            first, second = announce(alice, 6 * MIB), announce(admin, 4 * MIB)
            headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(filename="a byte too many")}
            refused = alice.post("/api/uploads", headers=headers)
            assert refused.status_code == 507
            assert "promised to uploads that are not finished" in refused.json()["detail"]
            assert alice.delete(first, headers=TUS).status_code == 204, "and its room is given back"
            first = announce(alice, 6 * MIB)
            assert patch(admin, second, 0, b"s" * 4 * MIB).status_code == 204
            assert patch(alice, first, 0, b"f" * 6 * MIB).status_code == 204, "what was promised is there in the end"
            assert sorted(one["size_bytes"] for one in admin.get("/api/datasets").json()) == [4 * MIB, 6 * MIB]
            assert alice.post("/api/uploads", headers=headers).status_code == 507


def test_an_upload_that_would_be_promised_too_much_goes_to_the_next_pool(tmp_path: Path):
    with make_hold(tmp_path, pool=", capacity: 10 MiB") as hold, running(hold, tmp_path) as served:
        add_people(served)
        with served.client(ALICE) as alice:
            uploads = [announce(alice, 6 * MIB, name=f"{at}") for at in range(2)]
            headers = {**TUS, "Upload-Length": str(6 * MIB), "Upload-Metadata": metadata(filename="third")}
            assert alice.post("/api/uploads", headers=headers).status_code == 507
            for upload in uploads:
                assert patch(alice, upload, 0, b"x" * 6 * MIB).status_code == 204
            pools = sorted(one["object_store_id"] for one in alice.get("/api/datasets").json())
            assert pools == ["newdata", "olddata"]


def test_many_announce_at_once_and_are_promised_what_there_is(tmp_path: Path):
    small = make_hold(tmp_path, pools=["small"], pool=", capacity: 10 MiB")
    with small as hold, running(hold, tmp_path) as served:
        add_people(served)
        answers: list[int] = []

        def one(at: int) -> None:
            headers = {**TUS, "Upload-Length": str(3 * MIB), "Upload-Metadata": metadata(filename=f"{at}")}
            with served.client(ALICE) as alice:
                answers.append(alice.post("/api/uploads", headers=headers).status_code)

        threads = [threading.Thread(target=one, args=(at,)) for at in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [201] * 3 + [507] * 9


def test_announced_uploads_take_their_room_on_the_disk(small_disk: Callable[..., Disk]):
    """Two uploads that do not fit together: the second one hears it before its first byte."""
    disk = small_disk(64)
    folder = Path(disk.folder)
    with make_hold(folder, pools=["only"]) as hold, running(hold, folder) as served:
        add_people(served)
        with served.client(ALICE) as client:
            first = announce(client, 30 * MIB)
            refused = client.post("/api/uploads", headers={**TUS, "Upload-Length": str(30 * MIB)})
            assert refused.status_code == 507, refused.text
            assert offset_of(client, first) == 0
            client.delete(first, headers=TUS)
            announce(client, 30 * MIB)


def test_one_upload_may_take_nearly_the_whole_disk(small_disk: Callable[..., Disk]):
    """It lies in the pool already: it does not need its room twice to become a dataset."""
    disk = small_disk(64)
    folder = Path(disk.folder)
    with make_hold(folder, pools=["only"]) as hold, running(hold, folder) as served:
        add_people(served)
        with served.client(ALICE) as client:
            content = os.urandom(40 * MIB)
            upload = announce(client, len(content))
            answer = patch(client, upload, 0, content)
            assert answer.status_code == 204, answer.text
            assert client.get(f"/api/datasets/{answer.headers['holdfast-dataset']}").json()["size_bytes"] == 40 * MIB


def test_a_disk_that_fills_up_keeps_what_came(small_disk: Callable[..., Disk]):
    disk = small_disk(48)
    folder = Path(disk.folder)
    with make_hold(folder, pools=["only"]) as hold, running(hold, folder) as served:
        add_people(served)
        with served.client(ALICE) as client:
            content = os.urandom(8 * MIB)
            upload = announce(client, len(content))
            patch(client, upload, 0, content[: 4 * MIB])
            ballast = folder / "ballast"
            with open(ballast, "wb") as stream:
                try:
                    while True:
                        stream.write(bytes(MIB))
                        stream.flush()
                except OSError:
                    pass
            at = offset_of(client, upload)
            assert at == 4 * MIB
            patch(client, upload, at, content[at:])
            ballast.unlink()
            at = offset_of(client, upload)
            answer = patch(client, upload, at, content[at:])
            assert answer.status_code == 204, answer.text
            made = answer.headers["holdfast-dataset"]
            assert client.get(f"/api/datasets/{made}/content").content == content


def test_uploads_expire(tmp_path: Path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(upload_lasts_s=1)) as served:
        add_people(served)
        with served.client(ALICE) as client:
            upload = announce(client, 10)
            done = announce(client, 1)
            made = patch(client, done, 0, b"x").headers["holdfast-dataset"]
            assert len(spools(served)) == 1
            time.sleep(1.2)
            assert client.head(upload, headers=TUS).status_code == 410
            assert patch(client, upload, 0, b"1").status_code == 410
            assert Housekeeping(served.app.house).reap() >= 2
            assert spools(served) == []
            assert client.head(upload, headers=TUS).status_code == 404
            assert client.get(f"/api/datasets/{made}/content").content == b"x"
    assert not list((tmp_path / "state" / "uploads").iterdir())


def test_nobody_has_too_many_open_uploads(tmp_path: Path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(uploads_per_owner_max=3)) as served:
        add_people(served)
        with served.client(ALICE) as client, served.client(ADMIN) as other:
            kept = [announce(client, 10) for _ in range(3)]
            assert client.post("/api/uploads", headers={**TUS, "Upload-Length": "1"}).status_code == 507
            announce(other, 10)
            client.delete(kept[0], headers=TUS)
            announce(client, 10)


def test_a_spool_that_vanished_is_said_to_be_gone(served: Served, alice: httpx.Client):
    upload = announce(alice, 10)
    [spool] = spools(served)
    spool.unlink()
    assert alice.head(upload, headers=TUS).status_code == 410
    assert patch(alice, upload, 0, b"1234567890").status_code == 410
    assert alice.delete(upload, headers=TUS).status_code == 204


def test_a_folder_that_is_away_is_not_an_upload_that_is_gone(served: Served, alice: httpx.Client):
    upload = announce(alice, 10)
    patch(alice, upload, 0, b"12345")
    folder = served.folder / "state" / "uploads"
    folder.rename(folder.with_name("elsewhere"))
    for answer in (alice.head(upload, headers=TUS), patch(alice, upload, 5, b"67890")):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    assert alice.delete(upload, headers=TUS).status_code == 503
    folder.with_name("elsewhere").rename(folder)
    assert offset_of(alice, upload) == 5
    made = patch(alice, upload, 5, b"67890").headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}/content").content == b"1234567890"


def test_a_crash_between_storing_and_recording_makes_no_second_dataset(served: Served, alice: httpx.Client):
    upload = announce(alice, 5)
    made = patch(alice, upload, 0, b"hello").headers["holdfast-dataset"]
    # as if the server had died after the rename, before it wrote down what the upload became
    with served.hold.catalog.db.write() as cursor:
        cursor.execute("UPDATE upload SET dataset_id = NULL")
    answer = alice.head(upload, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["holdfast-dataset"] == made
    assert patch(alice, upload, 5, b"").headers["holdfast-dataset"] == made
    assert served.rows("SELECT count(*) FROM dataset") == [(1,)]


def test_a_crash_before_the_file_lost_its_second_name_makes_no_second_dataset(served: Served, alice: httpx.Client):
    upload = announce(alice, 5)
    made = patch(alice, upload, 0, b"hello").headers["holdfast-dataset"]
    # as if the server had died after the record, before it wrote down what the upload became
    spool = served.folder / "state" / "uploads" / f".holdfast-upload-{upload.rpartition('/')[2]}.part"
    os.link(alice.get(f"/api/datasets/{made}").json()["full_path"], spool)
    with served.hold.catalog.db.write() as cursor:
        cursor.execute("UPDATE upload SET dataset_id = NULL")
    assert patch(alice, upload, 5, b"").headers["holdfast-dataset"] == made
    assert served.rows("SELECT count(*) FROM dataset") == [(1,)]
    assert spools(served) == []


def test_what_is_left_of_a_finished_upload_goes_with_it(served: Served, alice: httpx.Client):
    upload = announce(alice, 5)
    made = patch(alice, upload, 0, b"hello").headers["holdfast-dataset"]
    folder = served.folder / "state" / "uploads"
    for suffix in (".part", ".whole"):  # as a power cut leaves them, that undoes a removal
        os.link(
            alice.get(f"/api/datasets/{made}").json()["full_path"],
            folder / f".holdfast-upload-{upload.rpartition('/')[2]}{suffix}",
        )
    assert alice.delete(upload, headers=TUS).status_code == 204
    assert spools(served) == []
    assert alice.get(f"/api/datasets/{made}/content").content == b"hello"


def test_the_same_bytes_twice_are_two_uploads(served: Served, alice: httpx.Client):
    first, second = announce(alice, 5), announce(alice, 5)
    for upload in (first, second):
        patch(alice, upload, 0, b"hell")
    served.hold.set_pool_state("newdata", "offline")
    served.hold.set_pool_state("olddata", "offline")
    assert patch(alice, first, 4, b"o").status_code == 507  # whole, but there is no pool for it now
    served.hold.set_pool_state("newdata", "active")
    other = patch(alice, second, 4, b"o").headers["holdfast-dataset"]
    assert patch(alice, first, 5, b"").headers["holdfast-dataset"] != other
    assert served.rows("SELECT count(*) FROM dataset WHERE state = 'ok'") == [(2,)]


def test_after_another_boot_only_what_was_synced_is_believed(served: Served, alice: httpx.Client):
    content = random.Random(3).randbytes(300_000)
    upload = announce(alice, len(content))
    patch(alice, upload, 0, content[:100_000])
    [spool] = spools(served)
    with spool.open("r+b") as file:  # as ext4 may leave it: the size survived a power cut, the bytes did not
        file.truncate(250_000)
    assert offset_of(alice, upload) == 250_000, "the test must do what a power cut does"
    of_another_boot(served, upload)
    assert offset_of(alice, upload) == 100_000
    assert patch(alice, upload, 250_000, content[250_000:]).status_code == 409
    assert os.stat(spool).st_blocks * 512 >= len(content), "its room was given up"
    made = patch(alice, upload, 100_000, content[100_000:]).headers["holdfast-dataset"]
    assert alice.get(f"/api/datasets/{made}/content").content == content


def test_a_long_piece_is_made_durable_on_its_way(served: Served, alice: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("holdfast.server.tus.SETTLE_EVERY_S", 0.05)
    content = random.Random(4).randbytes(3 * MIB)
    upload = announce(alice, len(content))

    def slowly():
        for at in range(0, 2 * MIB, 64 * 1024):
            time.sleep(0.01)
            yield content[at : at + 64 * 1024]
        seen.append(served.rows("SELECT offset_bytes FROM upload")[0][0])
        yield content[2 * MIB :]

    seen: list[int] = []
    answer = alice.patch(upload, headers={**PIECE, "Upload-Offset": "0"}, content=slowly())
    assert answer.status_code == 204
    assert 0 < seen[0] <= 2 * MIB


def of_another_boot(served: Served, upload: str) -> None:
    """As if all that came of an upload had come before the machine was started anew."""
    uploads = served.hold.catalog.db
    with uploads.write() as cursor:
        cursor.execute("SELECT parameters FROM upload WHERE id = ?", (upload.rpartition("/")[2],))
        parameters = json.loads(cursor.fetchone()[0])
        assert parameters[5].count(" ") == 1, "host and boot"
        parameters[5] = parameters[5].partition(" ")[0] + " 00000000-0000-4000-8000-000000000000"
        cursor.execute("UPDATE upload SET parameters = ?", (json.dumps(parameters),))


def test_bytes_gather_in_the_pool_where_the_state_lies_elsewhere(tmp_path: Path, small_disk: Callable[..., Disk]):
    disk = small_disk(64)
    pool = Path(disk.folder)
    document = tmp_path / "holdfast.yml"
    document.write_text(
        f"state_dir: {tmp_path / 'state'}\nplacement: hierarchical\npools:\n  far: {{type: disk, files_dir: {pool}}}\n"
    )
    from holdfast.config.build import open_hold
    from holdfast.config.read import read_document

    with open_hold(read_document(document, environ={})) as hold, running(hold, tmp_path) as served:
        add_people(served)
        with served.client(ALICE) as client:
            content = os.urandom(5 * MIB)
            upload = announce(client, len(content))
            patch(client, upload, 0, content[:MIB])
            [spool] = spools(served)
            assert spool.parent == pool
            inode = spool.stat().st_ino
            # unfinished uploads are nobody's blobs
            assert [stat.key for stat in hold.poolset.configured("far").store().list()] == []
            made = patch(client, upload, MIB, content[MIB:]).headers["holdfast-dataset"]
            path = Path(client.get(f"/api/datasets/{made}").json()["full_path"])
            assert path.stat().st_ino == inode, "it was copied, not renamed"
            assert path.read_bytes() == content


@pytest.fixture
def forbidden(small_disk: Callable[..., Disk]) -> Iterator[Path]:
    """A pool's folder in which not even root may make anything."""
    folder = Path(small_disk(64, kind="ext4").folder)
    yield folder
    subprocess.run(["chattr", "-i", str(folder)], check=True)


def test_a_folder_that_is_forbidden_is_passed_over(tmp_path: Path, forbidden: Path, small_disk: Callable[..., Disk]):
    second = Path(small_disk(64, kind="ext4").folder)
    document = tmp_path / "holdfast.yml"
    document.write_text(
        f"state_dir: {tmp_path / 'state'}\nplacement: hierarchical\npools:\n"
        f"  first: {{type: disk, files_dir: {forbidden}, order: 0}}\n"
        f"  second: {{type: disk, files_dir: {second}, order: 1}}\n"
    )
    from holdfast.config.build import open_hold
    from holdfast.config.read import read_document

    with open_hold(read_document(document, environ={})) as hold, running(hold, tmp_path) as served:
        add_people(served)
        subprocess.run(["chattr", "+i", str(forbidden)], check=True)
        with served.client(ALICE) as client:
            upload = announce(client, 6)
            [spool] = spools(served)
            assert spool.parent == second
            made = patch(client, upload, 0, b"abcdef").headers["holdfast-dataset"]
            assert client.get(f"/api/datasets/{made}").json()["object_store_id"] == "second"
            assert spools(served) == []
            headers = {**TUS, "Upload-Length": "6", "Upload-Metadata": metadata(filename="x", pool="first")}
            answer = client.post("/api/uploads", headers=headers)
            assert answer.status_code == 503
            assert str(forbidden) in answer.json()["detail"]
            # who looked before it was forbidden is told too
            [row] = served.rows("SELECT id FROM upload")
            announced = served.app.house.parts[UploadDesk].uploads.ledger.find(row[0])
            with pytest.raises(Denied, match="may not write uploads into"):
                create(replace(announced, folder=str(forbidden)))


def test_a_disk_that_becomes_read_only_on_the_way_is_said(tmp_path: Path, small_disk: Callable[..., Disk]):
    disk = small_disk(64, kind="ext4")
    document = tmp_path / "holdfast.yml"
    document.write_text(
        f"state_dir: {tmp_path / 'state'}\nplacement: hierarchical\npools:\n"
        f"  far: {{type: disk, files_dir: {disk.folder}}}\n"
    )
    from holdfast.config.build import open_hold
    from holdfast.config.read import read_document

    with open_hold(read_document(document, environ={})) as hold, running(hold, tmp_path) as served:
        add_people(served)
        with served.client(ALICE) as client:
            upload = announce(client, 6)
            patch(client, upload, 0, b"abc")
            disk.become_read_only()
            for answer in (patch(client, upload, 3, b"def"), client.delete(upload, headers=TUS)):
                assert answer.status_code == 403, answer.text
                assert "may not write uploads into" in answer.json()["detail"]
                assert "Read-only file system" in answer.json()["detail"]
            disk.become_writable()
            made = patch(client, upload, 3, b"def").headers["holdfast-dataset"]
            assert client.get(f"/api/datasets/{made}/content").content == b"abcdef"
