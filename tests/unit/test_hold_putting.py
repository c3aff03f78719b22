"""Bytes in: from anything, into the right pool, whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from blake3 import blake3
from tests.contract.catalog_kit import in_children, open_to_all, recount
from tests.unit.hold_kit import audit, lay, lying, make_hold, root_of

from holdfast.blobs import BytesBody, FileBody, StreamBody
from holdfast.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    Corrupt,
    Denied,
    HoldfastError,
    InvalidKey,
    NoSpace,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from holdfast.hold import Hold, PutItem
from holdfast.hold import transfer as transfer_module
from holdfast.seams import SystemFiles
from holdfast.testing.failing import FailingFiles


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with make_hold(tmp_path) as made:
        yield made


def read(hold: Hold, dataset: int | str, **more: object) -> bytes:
    with hold.open(dataset, **more) as stream:  # type: ignore[arg-type]
        return stream.read()


class Opened:
    """A body that may be opened again, and does not know its size."""

    once = False
    size_bytes = None

    def __init__(self, content: bytes) -> None:
        self.content, self.opened = content, 0

    def open(self) -> BinaryIO:
        self.opened += 1
        return io.BytesIO(self.content)


# -- from what --------------------------------------------------------------------------------------------------------


def test_from_anything(hold: Hold, tmp_path: Path):
    content = os.urandom(300_000)
    (tmp_path / "reads.fastq").write_bytes(content)
    reader, writer = os.pipe()
    threading.Thread(target=lambda: [os.write(writer, content[at : at + 4096]) for at in range(0, len(content), 4096)]
                     and os.close(writer)).start()  # fmt: skip
    sources = {
        "path": (tmp_path / "reads.fastq", {}),
        "text path": (str(tmp_path / "reads.fastq"), {}),
        "bytes": (content, {"name": "x"}),
        "open file": ((tmp_path / "reads.fastq").open("rb"), {}),
        "pipe": (os.fdopen(reader, "rb"), {"name": "x"}),
        "memory": (io.BytesIO(content), {"name": "x"}),
        "file body": (FileBody.of(tmp_path / "reads.fastq"), {}),
        "bytes body": (BytesBody(content), {"name": "x"}),
        "stream of unknown size": (StreamBody(io.BytesIO(content)), {"name": "x"}),
        "stream of known size": (StreamBody(io.BytesIO(content), len(content)), {"name": "x"}),
        "body of unknown size": (Opened(content), {"name": "x"}),
    }
    for how, (source, more) in sources.items():
        dataset = hold.put(source, **more)
        assert (dataset.state, dataset.size_bytes) == ("ok", len(content)), how
        assert dataset.checksum == f"blake3:{blake3(content).hexdigest()}"
        assert dataset.name == more.get("name", "reads.fastq")
        assert read(hold, dataset.id) == content
        assert Path(hold.full_path(dataset) or "").read_bytes() == content
        if hasattr(source, "close"):
            source.close()
    assert (tmp_path / "reads.fastq").read_bytes() == content
    audit(hold)


def test_an_open_file_is_stored_from_where_it_stands(hold: Hold, tmp_path: Path):
    (tmp_path / "x").write_bytes(b"0123456789")
    with (tmp_path / "x").open("rb") as stream:
        stream.read(4)
        assert read(hold, hold.put(stream).id) == b"456789"


def test_a_piece_by_piece_writer(hold: Hold):
    content = os.urandom(700_000)
    with hold.writer(name="pieces", size_bytes=len(content), owner="alice") as writer:
        for at in range(0, len(content), 65_537):
            piece = bytearray(content[at : at + 65_537])
            assert writer.write(piece) == len(piece)
            piece[:] = bytes(len(piece))  # what was handed over is ours
        dataset = writer.finish()
    assert dataset.owner == "alice"
    assert read(hold, dataset.id) == content
    writer.abandon()
    assert read(hold, dataset.id) == content
    audit(hold)


def test_a_writer_that_is_broken_off_gives_everything_back(hold: Hold):
    with hold.writer(name="pieces") as writer:
        for _ in range(20):
            writer.write(bytes(100_000))
    writer.abandon()
    with pytest.raises(Cancelled):
        writer.write(b"more")
    assert hold.totals().datasets == 0
    assert lying(hold) == {"a": set(), "b": set()}
    audit(hold)


def test_a_writer_tells_what_went_wrong(hold: Hold):
    with hold.writer(name="pieces", size_bytes=10) as writer:
        writer.write(b"12345")
        with pytest.raises(PreconditionFailed):
            writer.finish()
    with hold.writer(name="pieces", size_bytes=3) as writer, pytest.raises(PreconditionFailed):  # noqa: PT012
        for _ in range(100):
            writer.write(bytes(100_000))
    with hold.writer(name="pieces", digest="blake3:00") as writer:
        writer.write(b"12345")
        with pytest.raises(Corrupt):
            writer.finish()
    audit(hold)


BAD_NAMES = ["", " ", "\t", "a\nb", "a\0b", "a\rb", "\x1b[31mred", "a\x7fb", "\udcff", "x" * 256]
GOOD_NAMES = [
    "..", ".", "/etc/passwd", "../../x", "a/b", "a\\b", "\u202egnp.exe", "x" * 255, "🧬", "'; DROP TABLE dataset;--",
    "%s%n", "<script>alert(1)</script>", "${jndi:ldap}", "{{7*7}}", "CON", " spaces ", "é" * 255,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_cannot_be_kept(hold: Hold, name: str, tmp_path: Path):
    with pytest.raises(InvalidKey):
        hold.put(b"x", name=name)
    with pytest.raises(InvalidKey):
        hold.writer(name=name)
    dataset = hold.put(b"x", name="good")
    with pytest.raises(InvalidKey):
        hold.relabel(dataset.id, name=name)
    assert hold.totals().datasets == 1
    audit(hold)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_never_become_paths(hold: Hold, name: str):
    dataset = hold.put(b"x", name=name)
    assert hold.find(dataset.id).name == name
    assert lying(hold)["a"] == {f"000/dataset_{dataset.id}.dat"}


def test_a_file_name_that_is_no_text(hold: Hold, tmp_path: Path):
    path = os.fsencode(tmp_path) + b"/bad\xff\xfename\n.txt"
    with open(path, "wb") as stream:
        stream.write(b"x")
    with pytest.raises(InvalidKey, match="control character"):
        hold.put(Path(os.fsdecode(path)))
    assert hold.put(Path(os.fsdecode(path)), name="good").name == "good"
    os.rename(path, os.fsencode(tmp_path) + b"/bad\xffname")
    assert hold.put(Path(os.fsdecode(tmp_path / os.fsdecode(b"bad\xffname")))).name == r"bad\xffname"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"": "x"}, "printable"),
        ({"a\n": "x"}, "printable"),
        ({"a": "x\0"}, "printable"),
        ({"a": "\udcff"}, "printable"),
        ({"a" * 256: "x"}, "longer"),
        ({"a": "x" * 256}, "longer"),
        ({str(at): "x" for at in range(65)}, "64 labels"),
    ],
)
def test_labels_that_cannot_be_kept(hold: Hold, labels: dict[str, str], message: str):
    with pytest.raises(InvalidKey, match=message):
        hold.put(b"x", name="x", labels=labels)
    assert hold.put(b"x", name="x", labels={"run": "7", "ü": ""}).labels == {"run": "7", "ü": ""}


@pytest.mark.parametrize("owner", ["a\0b", "a\nb", "\udcff", ""])
def test_owners_that_cannot_be_kept(hold: Hold, owner: str):
    with pytest.raises(InvalidKey, match="owner"):
        hold.put(b"x", name="x", owner=owner)
    audit(hold)


def test_sources_that_cannot_be_read(hold: Hold, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "circle").symlink_to("circle")
    attempts = [
        (tmp_path / "nothing", NotFound),
        (tmp_path / "nothing" / "below", NotFound),
        (tmp_path, InvalidKey),
        (tmp_path / "fifo", InvalidKey),
        (Path("/dev/null"), InvalidKey),
        (tmp_path / "circle", HoldfastError),
        (tmp_path / ("x" * 300), HoldfastError),
        (Path("a\0b"), HoldfastError),
    ]
    for source, error in attempts:
        with pytest.raises(error):
            hold.put(source, name="x")
    (tmp_path / "going").write_bytes(b"x")
    body = FileBody.of(tmp_path / "going")
    (tmp_path / "going").unlink()
    with pytest.raises(NotFound):
        hold.put(body)
    assert hold.totals().datasets == 0
    audit(hold)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else: run these tests as root")
def test_a_source_that_may_not_be_read():
    with open_to_all() as place:
        (place / "secret").write_bytes(b"x")
        (place / "secret").chmod(0o600)
        (place / "mine").mkdir(mode=0o777)
        (place / "mine").chmod(0o777)
        (place / "warm").mkdir()
        with make_hold(place / "warm"):
            pass  # the other account may not be able to load what it needs, where the interpreter is root's own

        def child(_: int) -> list[str]:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            own = make_hold(place / "mine")
            said = []
            for source in (place / "secret",):
                try:
                    own.put(source)
                except HoldfastError as error:
                    said.append(type(error).__name__)
            own.put(b"x", name="x")
            recount(own.catalog.db.url)
            return said

        assert in_children(1, child) == [["Denied"]]


def test_other_bytes_than_announced_are_not_stored(hold: Hold):
    right = f"blake3:{blake3(b'content').hexdigest()}"
    assert hold.put(b"content", name="x", digest=right).checksum == right
    with pytest.raises(Corrupt) as caught:
        hold.put(b"other", name="x", digest=right)
    assert caught.value.expected == right
    assert hold.totals().datasets == 1
    audit(hold)


def test_a_source_that_breaks_off(hold: Hold):
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            raise ConnectionResetError(104, "reset by peer")

    for body in (StreamBody(Broken()), StreamBody(Broken(), 5), StreamBody(io.BytesIO(b"123"), 5)):  # type: ignore[arg-type]
        with pytest.raises(HoldfastError):
            hold.put(body, name="x")
        audit(hold)
    assert hold.totals().datasets == 0
    assert [info.reachable for info in hold.pools()] == [True, True]


def test_progress_may_stop_a_put(hold: Hold):
    class Stop(Exception):
        pass

    told: list[int] = []

    def tell(done_bytes: int) -> None:
        told.append(done_bytes)
        if done_bytes > 1_000_000:
            raise Stop

    with pytest.raises(Stop):
        hold.put(bytes(5_000_000), name="x", on_progress=tell)
    assert told == sorted(told)
    audit(hold)
    told.clear()
    hold.put(bytes(900_000), name="x", on_progress=tell)
    assert told[-1] == 900_000


# -- extra files ------------------------------------------------------------------------------------------------------


def test_extra_files_with_their_folders(hold: Hold, tmp_path: Path):
    folder = tmp_path / "extra"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    contents = {"index": b"1", "sub/a": b"22", "sub/deep/b": b"", "sub/dataset_1.dat": b"4", "..odd": b"5"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    dataset = hold.put(b"primary", name="x", extra_files=folder)
    assert (dataset.size_bytes, dataset.total_bytes) == (7, 12)
    assert {one.path: one.size_bytes for one in hold.extra_files(dataset.id)} == {
        name: len(content) for name, content in contents.items()
    }
    assert all(one.checksum for one in hold.extra_files(dataset.id))
    for name, content in contents.items():
        assert read(hold, dataset.id, extra_file=name) == content
        with hold.lease(dataset.id, extra_file=name) as path:
            assert path.read_bytes() == content
    audit(hold)
    hold.remove(dataset.id, purge=True)
    assert lying(hold) == {"a": set(), "b": set()}
    audit(hold)


def test_links_within_extra_files_are_followed_and_none_that_leave(hold: Hold, tmp_path: Path):
    folder = tmp_path / "extra"
    (folder / "sub").mkdir(parents=True)
    (folder / "real").write_bytes(b"content")
    (folder / "sub" / "inside").symlink_to("../real")
    dataset = hold.put(b"x", name="x", extra_files=folder)
    assert read(hold, dataset.id, extra_file="sub/inside") == b"content"
    (tmp_path / "secret").write_bytes(b"secret")
    for target in (tmp_path / "secret", "../../secret", "/etc/passwd", "/etc", "..", ".", "circle", "nothing"):
        link = folder / "sub" / "circle"
        link.symlink_to(target)
        with pytest.raises((Denied, InvalidKey, NotFound)):
            hold.put(b"x", name="x", extra_files=folder)
        link.unlink()
    assert hold.totals().datasets == 1
    audit(hold)


def test_extra_files_that_cannot_be_stored(hold: Hold, tmp_path: Path):
    folder = tmp_path / "extra"
    folder.mkdir()
    for name in (b"new\nline", b"bad\xff", b".holdfast-x.tmp", b"\x7f"):
        path = os.fsencode(folder) + b"/" + name
        with open(path, "wb"):
            pass
        with pytest.raises(InvalidKey):
            hold.put(b"x", name="x", extra_files=folder)
        os.unlink(path)
    os.mkfifo(folder / "fifo")
    with pytest.raises(InvalidKey, match="neither a file nor a folder"):
        hold.put(b"x", name="x", extra_files=folder)
    for missing in (tmp_path / "nothing", folder / "fifo"):
        with pytest.raises(NotFound, match="no folder"):
            hold.put(b"x", name="x", extra_files=missing)
    audit(hold)


@pytest.mark.parametrize("wanted", ["../dataset_2.dat", "/etc/passwd", "..", "", "a/../../x", "a\0b", ".holdfast-pool"])
def test_extra_files_are_asked_for_by_their_names(hold: Hold, wanted: str, tmp_path: Path):
    hold.put(b"x", name="x")
    with pytest.raises(InvalidKey):
        read(hold, 1, extra_file=wanted)
    with pytest.raises(NotFound, match="no extra file"):
        read(hold, 1, extra_file="nothing")
    assert hold.find(1).state == "ok"


# -- where to ---------------------------------------------------------------------------------------------------------


def test_the_first_pool_with_room_and_why(tmp_path: Path):
    with make_hold(tmp_path, {"a": {"capacity_bytes": 100}, "b": {"capacity_bytes": 1000}}) as hold:
        first, second = hold.put(bytes(60), name="x"), hold.put(bytes(60), name="y")
        assert (first.object_store_id, second.object_store_id) == ("a", "b")
        assert [(one.object_store_id, one.chosen) for one in second.placement] == [("b", True), ("a", False)]
        assert second.placement[1].reason == "order 0: it has no room: 60% full, 60 B asked for"
        with pytest.raises(NoSpace, match=r"no pool can take 2000 bytes: a: .*; b: "):
            hold.put(bytes(2000), name="z")
        assert [one.object_store_id for one in hold.explain_put(60)] == ["b", "a"]
        hold.set_pool_state("b", "read-only")
        with pytest.raises(NoSpace, match="b: order 1: it is read-only"):
            hold.put(bytes(60), name="z")
        audit(hold)


def test_a_pool_may_be_demanded_or_preferred(tmp_path: Path):
    with make_hold(tmp_path, {"a": {}, "b": {"capacity_bytes": 100}}) as hold:
        assert hold.put(bytes(60), name="x", pool="b").object_store_id == "b"
        with pytest.raises(NoSpace, match="asked for, but"):
            hold.put(bytes(60), name="x", pool="b")
        dataset = hold.put(bytes(60), name="x", preferred="b")
        assert dataset.object_store_id == "a"
        assert dataset.placement[-1].reason.startswith("preferred by its owner, but order 1: it has no room")
        assert hold.put(bytes(10), name="x", preferred="b").object_store_id == "b"
        for unknown in ("c", "", "a\0", "../a"):
            with pytest.raises(NotFound, match="the pools are: a, b"):
                hold.put(b"x", name="x", pool=unknown)
        audit(hold)


def test_room_is_reserved_before_the_first_byte(tmp_path: Path):
    with make_hold(tmp_path, {"a": {"capacity_bytes": 100}}) as hold:
        seen: list[int] = []

        def look(_: int) -> None:
            seen.append(hold.pool("a").reserved_bytes)
            with pytest.raises(NoSpace):
                hold.put(bytes(50), name="second")

        hold.put(bytes(60), name="first", on_progress=look)
        assert set(seen) == {60}
        assert hold.pool("a").reserved_bytes == 0
        audit(hold)


def test_a_stream_of_unknown_size_that_fills_its_pool_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transfer_module, "STEP_BYTES", 100_000)
    with make_hold(tmp_path, {"a": {"capacity_bytes": 500_000}, "b": {}}) as hold:
        with pytest.raises(NoSpace) as caught:
            hold.put(StreamBody(io.BytesIO(bytes(700_000))), name="x")
        said = str(caught.value)
        assert said.startswith("pool a had room when the upload began, and filled up after ")
        assert said.endswith(
            "KiB; the size was not announced, so another pool could not be chosen: announce it (put --size, "
            "Content-Length)"
        )
        with pytest.raises(NoSpace, match="so it could not be refused at once"):
            hold.put(StreamBody(io.BytesIO(bytes(700_000))), name="x", pool="a")
        assert hold.put(StreamBody(io.BytesIO(bytes(700_000)), 700_000), name="x").object_store_id == "b"
        assert [pool.reserved_bytes for pool in hold.pools()] == [0, 0]
        audit(hold)


def test_a_stream_of_unknown_size_reserves_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transfer_module, "STEP_BYTES", 100_000)
    with make_hold(tmp_path, {"a": {"capacity_bytes": 500_000}, "b": {}}) as hold:
        seen: list[int] = []
        dataset = hold.put(
            StreamBody(io.BytesIO(bytes(450_000))), name="x",
            on_progress=lambda done: seen.append(hold.pool("a").reserved_bytes - done),
        )  # fmt: skip
        assert dataset.object_store_id == "a"
        assert min(seen) >= 0
        assert hold.pool("a").reserved_bytes == 0
        with pytest.raises(NoSpace):
            hold.put(StreamBody(io.BytesIO(bytes(450_000))), name="x", pool="a")
        again = Opened(bytes(450_000))
        dataset = hold.put(again, name="x")
        assert dataset.object_store_id == "b"
        assert again.opened <= 2
        audit(hold)


def test_many_at_once_never_overfill_and_take_turns(tmp_path: Path):
    pools = {"a": {"capacity_bytes": 5000, "weight": 3}, "b": {"capacity_bytes": 3000, "weight": 1}}
    with make_hold(tmp_path, pools, kind="distributed") as hold:
        stored: list[str] = []

        def fill(number: int) -> None:
            for turn in range(100):
                try:
                    dataset = hold.put(bytes(40 + (number + turn) % 7), name=f"{number}-{turn}")
                except NoSpace:
                    return
                stored.append(dataset.object_store_id or "")
            raise AssertionError("it never became full")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fill, range(8)))
        for name, facts in pools.items():
            info = hold.pool(name)
            assert facts["capacity_bytes"] - 50 < info.used_bytes <= facts["capacity_bytes"]
        audit(hold)


def test_two_pools_on_one_disk_share_its_room(small_disk, tmp_path: Path):
    disk = small_disk(16)
    for name in ("a", "b"):
        (disk.folder / name).mkdir()
        (tmp_path / name).symlink_to(disk.folder / name)
    with make_hold(tmp_path) as hold:
        free = hold.pool("a").free_bytes or 0
        big = free * 2 // 3
        seen: list[str] = []

        def look(done_bytes: int) -> None:
            if not seen:
                with pytest.raises(NoSpace):
                    hold.put(bytes(big), name="second", pool="b")
                seen.append("refused")

        hold.put(bytes(big), name="first", pool="a", on_progress=look)
        assert seen == ["refused"]
        audit(hold)


def test_a_limit_in_percent_counts_what_the_other_pool_on_the_disk_has_promised(small_disk, tmp_path: Path):
    disk = small_disk(16)
    for name in ("a", "b"):
        (disk.folder / name).mkdir()
        (tmp_path / name).symlink_to(disk.folder / name)
    with make_hold(tmp_path, {"a": {"max_percent_full": 50.0}, "b": {"max_percent_full": 50.0}}) as hold:
        usage = hold.poolset.configured("a").store().usage()
        room = int((usage.capacity_bytes or 0) * 0.5) - ((usage.capacity_bytes or 0) - (usage.free_bytes or 0))
        seen: list[str] = []

        def look(done_bytes: int) -> None:
            if not seen:
                with pytest.raises(NoSpace):
                    hold.put(bytes(room * 2 // 3), name="second", pool="b")
                seen.append("refused")

        hold.put(bytes(room * 2 // 3), name="first", pool="a", on_progress=look)
        assert seen == ["refused"]
        audit(hold)


# -- pools that fail --------------------------------------------------------------------------------------------------


class BrokenIn(SystemFiles):
    """The machine's files, but nothing can be created below one folder."""

    def __init__(self, folder: Path, code: int) -> None:
        super().__init__()
        self.folder, self.code = str(folder), code

    def create(self, path: str, mode: int) -> int:
        if path.startswith(self.folder + "/0"):
            raise OSError(self.code, os.strerror(self.code), path)
        return super().create(path, mode)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ESTALE])
def test_a_pool_that_fails_is_passed_over_and_the_reason_recorded(tmp_path: Path, code: int):
    files = BrokenIn(tmp_path / "a", code)
    with make_hold(tmp_path, files=files) as hold:
        dataset = hold.put(b"content", name="x")
        assert dataset.object_store_id == "b"
        [verdict] = [one for one in dataset.placement if one.object_store_id == "a"]
        assert not verdict.chosen
        assert os.strerror(code) in verdict.reason
        with pytest.raises(HoldfastError) as caught:
            hold.put(b"content", name="x", pool="a")
        assert os.strerror(code) in str(caught.value)
        with pytest.raises(HoldfastError):
            hold.put(StreamBody(io.BytesIO(b"content")), name="x")
        assert hold.totals().datasets == 1
        datasets = hold.put_many(PutItem(b"x", name=str(at)) for at in range(20))
        assert {one.object_store_id for one in datasets} == {"b"}
        audit(hold)


def test_a_pool_that_vanishes_is_passed_over(tmp_path: Path):
    with make_hold(tmp_path) as hold:
        first = hold.put(b"content", name="x")
        (tmp_path / "a").rename(tmp_path / "away")
        (tmp_path / "a").mkdir()
        dataset = hold.put(b"content", name="x")
        assert dataset.object_store_id == "b"
        assert "is it mounted" in dataset.placement[1].reason
        with pytest.raises(Unavailable, match="is it mounted"):
            read(hold, first.id)
        with pytest.raises(Unavailable, match="a cannot be asked now"):
            hold.find(999)
        with pytest.raises(Unavailable):
            hold.put(b"content", name="x", pool="a")
        assert not hold.pool("a").reachable
        assert hold.find(first.id).state == "ok", "unreachable is not gone"
        assert list((tmp_path / "a").iterdir()) == []
        removed = hold.remove(first.id, purge=True)
        assert (removed.state, removed.replicas[0].state) == ("purged", "retiring")
        assert hold.pool("a").used_bytes == 7
        (tmp_path / "a").rmdir()
        (tmp_path / "away").rename(tmp_path / "a")
        audit(hold)
        assert hold.finish_purge(hold.find(first.id))
        assert hold.pool("a").used_bytes == 0
        with pytest.raises(NotFound):
            hold.find(999)
        audit(hold)


def test_no_pool_at_all_is_unavailable_not_full(tmp_path: Path):
    with make_hold(tmp_path) as hold:
        for name in ("a", "b"):
            (tmp_path / name).rename(tmp_path / f"{name}-away")
        with pytest.raises(Unavailable):
            hold.put(b"x", name="x")
        assert not (tmp_path / "a").exists()


def test_a_full_disk_is_passed_over_though_nobody_knew(small_disk, tmp_path: Path):
    disk = small_disk(16)
    (tmp_path / "a").symlink_to(disk.folder)
    with make_hold(tmp_path) as hold:
        hold.put(b"first", name="x")

        def fill(done_bytes: int) -> None:
            if not (disk.folder / ".filler").exists():
                disk.fill(leave_bytes=50_000)

        disk_filled = hold.put(bytes(3_000_000), name="x", on_progress=fill)
        assert disk_filled.object_store_id == "b"
        assert "No space left" in disk_filled.placement[1].reason
        disk.relieve()
        audit(hold)


def test_what_is_offline_is_not_touched(tmp_path: Path):
    """An administrator takes a pool offline because it hangs: then nothing may ask it any more."""
    with make_hold(tmp_path) as hold:
        first = hold.put(b"content", name="x")
        driver = hold.poolset.configured("a").store()
        hold.set_pool_state("a", "offline")

        def hang(*_: object, **__: object) -> None:
            raise AssertionError("it was asked, and would hang")

        for name in ("usage", "stat", "open", "put", "list", "delete", "occupied", "probe", "leftovers", "sync"):
            setattr(driver, name, hang)
        assert hold.put(b"y", name="y").object_store_id == "b"
        assert len(hold.put_many(PutItem(b"%d" % at, name="z") for at in range(3))) == 3
        assert hold.explain_put(5)[0].object_store_id == "b"
        assert [info.state for info in hold.pools()] == ["offline", "active"]
        assert len(hold.datasets()) == 5
        for act in (hold.open, hold.lease, lambda which: hold.replace(which, b"z"), lambda which: hold.find(999)):
            with pytest.raises(Unavailable):
                act(first.id)
        assert hold.remove(first.id, purge=True).replicas[0].state == "retiring"
        assert [one.severity for one in hold.check_pools()] == ["warning", "ok"]


def test_a_write_that_may_not_survive_is_done_elsewhere(tmp_path: Path):
    """The folder's sync fails: whether the name is durable nobody knows, so it is taken back."""

    class NoSync(SystemFiles):
        def sync_folder(self, path: str) -> None:
            if path.startswith(str(tmp_path / "a" / "0")):
                raise OSError(errno.EIO, "Input/output error")
            super().sync_folder(path)

    with make_hold(tmp_path, files=NoSync()) as hold:
        assert hold.put(b"x", name="x").object_store_id == "b"
        audit(hold)


def test_at_every_effect_a_failure_is_told_or_got_round(tmp_path: Path):
    """One pool: fail the n-th effect for every n. Either it is stored, or an error of ours came; no strays."""
    folder = tmp_path / "extra"
    folder.mkdir()
    (folder / "index").write_bytes(b"1")
    for at in range(1, 200):
        room = tmp_path / str(at)
        room.mkdir()
        make_hold(room, {"a": {}}).close()
        files = FailingFiles(SystemFiles(), at=at)
        with make_hold(room, {"a": {}}, files=files) as hold:
            stored = None
            try:
                stored = hold.put(b"content", name="x", extra_files=folder)
            except HoldfastError:
                assert files.struck
            recount(hold.catalog.db.url)
            if stored is not None:
                assert read(hold, stored.id) == b"content"
            else:
                assert hold.totals().datasets == 0
        with make_hold(room, {"a": {}}) as again:
            for info in again.poolset:
                for piece in info.store().leftovers():
                    info.store().discard(piece)
            for _, pool, _ in again.catalog.fates.retired(2**62, None):
                assert pool == "a"
            for dataset_id in {row[0] for row in again.catalog.fates.retired(2**62, None)}:
                assert again.finish_purge(again.find(dataset_id))
            audit(again)
        if not files.struck:
            return
    raise AssertionError("more than 200 effects")


# -- many -------------------------------------------------------------------------------------------------------------


def test_many_together(hold: Hold, tmp_path: Path):
    paths = []
    for at in range(30):
        path = tmp_path / f"f{at}"
        path.write_bytes(os.urandom(at * 100))
        paths.append(path)
    stored = hold.put_many(paths, owner="alice", labels={"run": "7"})
    assert [one.name for one in stored] == [path.name for path in paths]
    assert [one.id for one in stored] == sorted(one.id for one in stored)
    assert all(one.owner == "alice" and one.labels == {"run": "7"} for one in stored)
    assert [Path(hold.full_path(one) or "").read_bytes() for one in stored] == [path.read_bytes() for path in paths]
    assert hold.put_many([]) == []
    audit(hold)


def test_those_before_the_one_that_fails_are_stored(hold: Hold, tmp_path: Path):
    (tmp_path / "good").write_bytes(b"good")
    bad = [
        PutItem(b"x", name="bad", digest="blake3:00"),
        PutItem(StreamBody(io.BytesIO(b"123"), 5), name="short"),
        PutItem(tmp_path / "nothing"),
        PutItem(b"x", name="\n"),
        PutItem(b"x"),
    ]
    for one in bad:
        stored: list[object] = []
        before = hold.totals().datasets
        items = [
            PutItem(b"1", name="1"), PutItem(tmp_path / "good"), PutItem(StreamBody(io.BytesIO(b"2"), 1), name="2"),
            PutItem(b"3", name="3"), one, PutItem(b"4", name="4"),
        ]  # fmt: skip
        with pytest.raises(HoldfastError):
            hold.put_many(items, on_stored=stored.append)
        assert len(stored) == 4, one
        assert hold.totals().datasets == before + 4
        audit(hold)


def test_a_failure_in_the_middle_of_a_batch_that_is_not_ours_passes_through(hold: Hold):
    class Odd(Exception):
        pass

    class Raises:
        once, size_bytes = False, 5

        def open(self) -> BinaryIO:
            raise Odd

    stored: list[object] = []
    with pytest.raises(Odd):
        hold.put_many(
            [PutItem(b"1", name="1"), PutItem(b"2", name="2"), PutItem(Raises(), name="3"), PutItem(b"4", name="4")],
            on_stored=stored.append,
        )
    assert len(stored) == 2
    audit(hold)


def test_a_batch_of_streams_goes_on_in_another_pool(tmp_path: Path):
    """What can be read once only is lost when its pool fails under it; the others are stored."""
    with make_hold(tmp_path, files=BrokenIn(tmp_path / "a", errno.EIO)) as hold:
        stored: list[object] = []
        items = [PutItem(StreamBody(io.BytesIO(b"1"), 1), name=str(at)) for at in range(5)]
        with pytest.raises(Unavailable):
            hold.put_many(items, on_stored=stored.append)
        audit(hold)


def test_a_file_is_taken_over(hold: Hold, tmp_path: Path):
    source = tmp_path / "output"
    source.write_bytes(b"content")
    dataset = hold.adopt_file(source, name="out", owner="alice", checksum=f"blake3:{blake3(b'content').hexdigest()}")
    assert not source.exists()
    assert read(hold, dataset.id) == b"content"
    source.write_bytes(b"kept")
    with pytest.raises(HoldfastError):
        hold.adopt_file(source, name="out", pool="nowhere")
    with pytest.raises(InvalidKey):
        hold.adopt_file(source, name="\0")
    assert source.read_bytes() == b"kept"
    with pytest.raises(NotFound):
        hold.adopt_file(tmp_path / "nothing", name="x")
    audit(hold)


# -- names that are taken ---------------------------------------------------------------------------------------------


def test_a_new_dataset_never_takes_what_lies_in_a_pool(tmp_path: Path):
    pools = {"a": {}, "old": {"check_old_style": True}, "u": {"store_by": "uuid"}}
    with make_hold(tmp_path, pools, kind="distributed") as hold:
        strangers = {
            "000/dataset_1.dat": "a", "000/dataset_2_files/index": "old", "dataset_3.dat": "old",
            "dataset_4_files/index": "old", "000/dataset_6.dat": "old",
        }  # fmt: skip
        for key, pool in strangers.items():
            lay(hold, pool, key, b"before us")
        ids = [hold.put(b"new", name=str(at)).id for at in range(9)]
        assert not {1, 2, 3, 4, 6} & set(ids)
        assert len(set(ids)) == 9
        for key, pool in strangers.items():
            assert (root_of(hold, pool) / key).read_bytes() == b"before us"
        for dataset_id in (1, 3, 6):
            assert read(hold, dataset_id) == b"before us"
        audit(hold, strangers={"000/dataset_2_files/index", "dataset_4_files/index"})


def test_what_comes_between_the_look_and_the_write_is_kept(tmp_path: Path):
    """Somebody else puts a file there in that very moment."""

    class Between(SystemFiles):
        left, ending = 3, ".dat"

        def rename_new(self, source: str, target: str) -> None:
            if target.endswith(self.ending) and self.left:
                self.left -= 1
                Path(target).write_bytes(b"theirs")
            super().rename_new(source, target)

    files = Between()
    folder = tmp_path / "extra"
    folder.mkdir()
    (folder / "index").write_bytes(b"1")
    with make_hold(tmp_path, {"a": {}}, files=files) as hold:
        dataset = hold.put(b"mine", name="x")
        assert dataset.id == 4
        assert read(hold, dataset.id) == b"mine"
        strangers = {f"000/dataset_{at}.dat" for at in (1, 2, 3)}
        audit(hold, strangers=strangers)
        files.left = 1
        hold.put(b"mine", name="x", extra_files=folder)
        strangers |= {"000/dataset_5.dat"}
        audit(hold, strangers=strangers)
        files.left, files.ending = 1, "index"
        hold.put(b"mine", name="x", extra_files=folder)
        strangers |= {"000/dataset_7_files/index"}
        audit(hold, strangers=strangers)
        assert (root_of(hold, "a") / "000/dataset_7_files/index").read_bytes() == b"theirs"
        files.left, files.ending = 1, ".dat"
        with pytest.raises(Conflict, match="send it again"):
            hold.put(io.BytesIO(b"once"), name="x")
        audit(hold, strangers=strangers | {"000/dataset_9.dat"})


def test_many_processes_and_threads_on_one_catalog(tmp_path: Path):
    make_hold(tmp_path, kind="distributed").close()

    def child(number: int) -> list[list[int]]:
        own = make_hold(tmp_path, kind="distributed")
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda at: [own.put(b"%d" % at, name="x").id for _ in range(5)], range(3)))

    answers = in_children(3, child)
    ids = [which for answer in answers for thread in answer for which in thread]
    assert sorted(ids) == list(range(1, 46))
    with make_hold(tmp_path, kind="distributed") as hold:
        assert sorted(info.datasets for info in hold.pools()) == [22, 23]
        audit(hold)


def test_puts_from_forked_children_of_a_warm_hold(hold: Hold):
    first = hold.put(b"before", name="x").id

    def child(number: int) -> list[int]:
        assert read(hold, first) == b"before"
        return [hold.put(b"%d" % number, name="x").id for _ in range(3)]

    ids = [which for answer in in_children(3, child) for which in answer]
    ids += [hold.put(b"after", name="x").id]
    assert sorted(ids) == list(range(2, 12))
    audit(hold)


def test_two_holds_are_opened_on_new_pools_at_once(tmp_path: Path):
    for turn in range(4):
        room = tmp_path / str(turn)
        room.mkdir()
        (room / "a").mkdir()
        (room / "b").mkdir()

        def child(_: int, room: Path = room) -> list[str]:
            own = make_hold(room)
            own.put(b"x", name="x")
            own.put(b"x", name="x", pool="b")
            return [str(own.poolset.configured(name).store().identity()) for name in ("a", "b")]

        answers = in_children(4, child)
        assert all(answer == answers[0] for answer in answers)
        with make_hold(room) as hold:
            assert hold.warnings == []
            assert hold.totals().datasets == 8
            audit(hold)


def test_conflicts_are_ours(hold: Hold):
    for error in (AlreadyExists, Conflict):
        assert issubclass(error, HoldfastError)
