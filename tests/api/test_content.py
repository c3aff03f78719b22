"""Downloads: every range is the bytes it says, conditions hold, names are safe, and nothing is held too long."""

from __future__ import annotations

import email
import os
import random
import re
import time
from pathlib import Path

import httpx
import pytest
from tests.api.served import ALICE, Served, add_people, make_hold, running

from holdfast.server.settings import ServerSettings

SIZE = 3 * 1024 * 1024 + 12_345


@pytest.fixture
def content() -> bytes:
    return random.Random(7).randbytes(SIZE)


@pytest.fixture
def dataset(alice: httpx.Client, content: bytes) -> str:
    return f"/api/datasets/{alice.post('/api/datasets?name=reads.fastq', content=content).json()['id']}"


def test_the_whole(alice: httpx.Client, dataset: str, content: bytes):
    answer = alice.get(dataset + "/content")
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == 'attachment; filename="reads.fastq"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    checksum = alice.get(dataset).json()["checksum"]
    assert answer.headers["etag"] == f'"{checksum.replace(":", "-")}"'


def test_head_says_all_and_sends_nothing(alice: httpx.Client, dataset: str):
    head, get = alice.head(dataset + "/content"), alice.get(dataset + "/content")
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "etag", "last-modified", "content-type", "content-disposition", "accept-ranges"):
        assert head.headers[name] == get.headers[name]
    part = alice.head(dataset + "/content", headers={"Range": "bytes=0-9"})
    assert part.status_code == 206
    assert part.headers["content-length"] == "10"


def test_every_range_is_what_it_says(alice: httpx.Client, dataset: str, content: bytes):
    pick = random.Random(11)
    edges = [0, 1, 2, 65_535, 65_536, 1_048_575, 1_048_576, 1_048_577, SIZE - 2, SIZE - 1]
    for _ in range(150):
        a, b = sorted(pick.choice(edges) if pick.random() < 0.5 else pick.randrange(SIZE) for _ in range(2))
        header, expected = pick.choice(
            [
                (f"bytes={a}-{b}", content[a : b + 1]),
                (f"bytes={a}-", content[a:]),
                (f"bytes=-{b + 1}", content[SIZE - b - 1 :]),
                (f"bytes={a}-{SIZE + b}", content[a:]),
            ]
        )
        answer = alice.get(dataset + "/content", headers={"Range": header})
        assert answer.status_code == 206, header
        assert answer.content == expected, header
        start = SIZE - len(expected) if header.startswith("bytes=-") else a
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{SIZE}"


def test_several_ranges_come_as_parts(alice: httpx.Client, dataset: str, content: bytes):
    answer = alice.get(dataset + "/content", headers={"Range": f"bytes=100-199,1000000-2100000,-50,{SIZE + 5}-"})
    assert answer.status_code == 206
    assert "content-range" not in answer.headers
    assert len(answer.content) == int(answer.headers["content-length"])
    message = email.message_from_bytes(
        b"Content-Type: " + answer.headers["content-type"].encode() + b"\n\n" + answer.content
    )
    parts = message.get_payload()
    seen = [(part["Content-Range"], part.get_payload(decode=True)) for part in parts]
    assert [one[0] for one in seen] == [
        f"bytes 100-199/{SIZE}", f"bytes 1000000-2100000/{SIZE}", f"bytes {SIZE - 50}-{SIZE - 1}/{SIZE}",
    ]  # fmt: skip
    boundary = re.search("boundary=(.*)", answer.headers["content-type"])[1]
    raw = [piece.partition(b"\r\n\r\n")[2] for piece in answer.content.split(f"\r\n--{boundary}".encode())[1:-1]]
    assert raw == [content[100:200], content[1_000_000:2_100_001], content[-50:]]


def test_overlapping_ranges_are_sent_once(alice: httpx.Client, dataset: str, content: bytes):
    header = "bytes=" + ",".join(["0-1048575"] * 20)
    answer = alice.get(dataset + "/content", headers={"Range": header})
    assert answer.content == content[:1_048_576]
    many = "bytes=" + ",".join(f"{n * 10_000}-{n * 10_000 + 1}" for n in range(200))
    assert alice.get(dataset + "/content", headers={"Range": many}).status_code == 200


def test_ranges_that_are_not_there(alice: httpx.Client, dataset: str):
    answer = alice.get(dataset + "/content", headers={"Range": f"bytes={SIZE}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.json()["status"] == 416
    empty = alice.post("/api/datasets?name=empty", content=b"").json()["id"]
    assert alice.get(f"/api/datasets/{empty}/content").content == b""
    assert alice.get(f"/api/datasets/{empty}/content", headers={"Range": "bytes=0-"}).status_code == 416


def test_conditions(alice: httpx.Client, dataset: str):
    first = alice.get(dataset + "/content", headers={"Range": "bytes=0-0"})
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for headers, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"', "If-Modified-Since": modified}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Match": '"other"'}, 412),
        ({"If-Range": etag, "Range": "bytes=0-9"}, 206),
        ({"If-Range": '"other"', "Range": "bytes=0-9"}, 200),
        ({"If-Range": modified, "Range": "bytes=0-9"}, 200),
    ):
        answer = alice.get(dataset + "/content", headers=headers)
        assert answer.status_code == status, headers
        if status == 304:
            assert answer.content == b""
            assert answer.headers["etag"] == etag


def test_the_etag_tells_when_bytes_were_changed_behind_the_catalogs_back(
    served: Served, alice: httpx.Client, dataset: str
):
    before = alice.head(dataset + "/content").headers["etag"]
    path = Path(alice.get(dataset).json()["full_path"])
    path.chmod(0o644)
    other = bytes(path.stat().st_size)  # of another size they would be damage that is seen: tests/api/test_said.py
    path.write_bytes(other)
    answer = alice.get(dataset + "/content", headers={"If-None-Match": before})
    assert answer.status_code == 200
    assert answer.content == other
    assert answer.headers["etag"] != before
    assert "blake3" not in answer.headers["etag"]


def test_replaced_bytes_have_another_etag(alice: httpx.Client, dataset: str):
    etag = alice.head(dataset + "/content").headers["etag"]
    assert alice.put(dataset + "/content", content=b"new", headers={"If-Match": '"x"'}).status_code == 412
    assert alice.put(dataset + "/content", content=b"new", headers={"If-Match": etag}).status_code == 200
    answer = alice.get(dataset + "/content", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (200, b"new")


@pytest.mark.parametrize(
    "name",
    ["a/b.txt", "../x", 'quote".txt', "semi;colon", "ü€😀.txt", "x\u202etxt.exe", "%0d%0aX: y", "..", "a" * 255],
)  # fmt: skip
def test_hostile_names_make_safe_headers(served: Served, alice: httpx.Client, name: str):
    made = alice.post("/api/datasets", params={"name": name}, content=b"x").json()
    assert made["name"] == name
    with served.raw(f"GET /api/datasets/{made['id']}/content HTTP/1.1\r\nConnection: close") as connection:
        raw = b""
        while block := connection.recv(65536):
            raw += block
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"x"
    [header] = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition")]
    assert header.isascii()
    assert not re.search(rb'filename="[^"]*[/\\;][^"]*"', header) or b"colon" in header
    assert b"\xe2\x80\xae" not in header
    assert b"%E2%80%AE" not in header


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "", " ", "x" * 256, "a\rb", "\x1b[31m"])
def test_names_that_cannot_be_are_refused_with_the_reason(alice: httpx.Client, name: str):
    answer = alice.post("/api/datasets", params={"name": name}, content=b"x")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert alice.get("/api/datasets").json() == []


def test_a_page_that_somebody_uploaded_is_not_run(alice: httpx.Client):
    page = b"<html><script>alert(1)</script>"
    made = alice.post("/api/datasets?name=evil.html", content=page).json()["id"]
    answer = alice.get(f"/api/datasets/{made}/content", headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    preview = alice.get(f"/api/datasets/{made}/content?preview=true")
    assert preview.headers["content-type"] == "text/plain; charset=utf-8"
    assert preview.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in preview.headers["content-security-policy"]
    assert preview.text == page.decode()


def test_previews_are_short_and_only_of_texts(alice: httpx.Client):
    text = ("ä" * 50_000).encode()
    made = alice.post("/api/datasets?name=long.txt", content=text).json()["id"]
    preview = alice.get(f"/api/datasets/{made}/content?preview=true")
    assert 60_000 < len(preview.content) <= 65_536
    assert text.startswith(preview.content)
    binary = alice.post("/api/datasets?name=x.bam", content=bytes(range(256)) * 100).json()["id"]
    assert alice.get(f"/api/datasets/{binary}/content?preview=true").status_code == 415


def test_extra_files(served: Served, alice: httpx.Client):
    folder = served.folder / "extras"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "index.bai").write_bytes(b"index")
    made = served.hold.put(b"primary", name="x.bam", owner=ALICE, extra_files=folder).id
    answer = alice.get(f"/api/datasets/{made}/content", params={"extra_file": "sub/index.bai"})
    assert answer.content == b"index"
    for wrong in ("../../../etc/passwd", "/etc/passwd", "sub/../../x", "nothing", "sub", "a\0b"):
        refused = alice.get(f"/api/datasets/{made}/content", params={"extra_file": wrong})
        assert refused.status_code in {404, 422}, wrong
    # what Galaxy's stores take, nobody takes here
    for other in ({"extra_dir": "/etc"}, {"extra_dir": "/etc", "extra_file": "passwd"}, {"alt_name": "../x"}):
        answer = alice.get(f"/api/datasets/{made}/content", params=other)
        assert (answer.status_code, b"root:" in answer.content) == (422, False), other
    [extra] = alice.get(f"/api/datasets/{made}/storage").json()["extra_files"]
    assert extra["path"] == "sub/index.bai"


def open_files(path: Path) -> int:
    """How often this process has the file open."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}") == str(path)
        except OSError:
            continue
    return found


def until(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_the_lease_ends_with_the_answer_or_with_the_client(served: Served, alice: httpx.Client, tmp_path: Path):
    big = tmp_path / "big"
    with open(big, "wb") as stream:
        stream.truncate(256 * 1024 * 1024)
    dataset = served.hold.put(big, name="big", owner=ALICE)
    path = Path(served.hold.full_path(dataset))
    connection = served.raw(f"GET /api/datasets/{dataset.id}/content HTTP/1.1", slow_reader=True)
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert open_files(path) == 1
    # while it is read, its bytes are not taken away
    purged = alice.delete(f"/api/datasets/{dataset.id}?purge=true")
    assert purged.status_code == 200
    assert path.exists()
    connection.close()
    assert until(lambda: open_files(path) == 0), "the client is gone, and its file is still open"


def test_memory_does_not_grow_with_the_size(served: Served, alice: httpx.Client, tmp_path: Path):
    big = tmp_path / "big"
    with open(big, "wb") as stream:
        stream.truncate(512 * 1024 * 1024)
    dataset = served.hold.put(big, name="big", owner=ALICE)
    with alice.stream("GET", f"/api/datasets/{dataset.id}/content") as answer:
        before = peak_mib()
        total = sum(len(block) for block in answer.iter_raw(1024 * 1024))
    assert total == 512 * 1024 * 1024
    assert peak_mib() - before < 60


def peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def test_a_client_that_reads_slowly_gets_all_of_it(served: Served, alice: httpx.Client, dataset: str, content: bytes):
    connection = served.raw(f"GET {dataset}/content HTTP/1.1\r\nConnection: close", slow_reader=True)
    raw = bytearray()
    while block := connection.recv(100_000):
        raw += block
        time.sleep(0.005)
    connection.close()
    assert raw.partition(b"\r\n\r\n")[2] == content


def test_a_file_cut_while_it_is_sent_breaks_the_connection(served: Served, alice: httpx.Client, tmp_path: Path):
    """The length was promised: an answer that ends early must not look whole."""
    big = tmp_path / "big"
    with open(big, "wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    dataset = served.hold.put(big, name="big", owner=ALICE)
    path = Path(served.hold.full_path(dataset))
    connection = served.raw(f"GET /api/datasets/{dataset.id}/content HTTP/1.1", slow_reader=True)
    total = len(connection.recv(1000))
    path.chmod(0o644)
    os.truncate(path, 1024 * 1024)
    while True:
        try:
            block = connection.recv(1024 * 1024)
        except ConnectionResetError:
            break
        if not block:
            break
        total += len(block)
    connection.close()
    assert total < 64 * 1024 * 1024


def test_removed_datasets_have_no_content(alice: httpx.Client, dataset: str):
    assert alice.delete(dataset).json()["state"] == "deleted"
    answer = alice.get(dataset + "/content")
    assert answer.status_code == 404
    assert alice.post(dataset + "/restore").json()["state"] == "ok"
    assert alice.get(dataset + "/content").status_code == 200
    assert alice.delete(dataset + "?purge=true").json()["state"] == "purged"
    assert alice.get(dataset + "/content").status_code == 404
    assert alice.post(dataset + "/restore").status_code in {404, 409}


def test_x_accel_names_a_place_inside_the_prefix(tmp_path: Path):
    settings = ServerSettings(direct="x-accel", x_accel_prefix={"newdata": "/internal/newdata/"})
    with make_hold(tmp_path) as hold, running(hold, tmp_path, settings) as served:
        add_people(served)
        with served.client(ALICE) as client:
            made = client.post("/api/datasets?name=a%20b.txt", content=b"x").json()
            answer = client.get(f"/api/datasets/{made['id']}/content")
            assert answer.headers["x-accel-redirect"] == f"/internal/newdata/000/dataset_{made['id']}.dat"
            assert answer.content == b""
            assert answer.headers["content-disposition"] == 'attachment; filename="a b.txt"'
            etag = answer.headers["etag"]
            assert client.get(f"/api/datasets/{made['id']}/content", headers={"If-None-Match": etag}).status_code == 304
            elsewhere = client.post("/api/datasets?name=b&pool=olddata", content=b"y").json()["id"]
            assert client.get(f"/api/datasets/{elsewhere}/content").content == b"y"
