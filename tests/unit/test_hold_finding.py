"""Bytes out, and data that was there before: found by its id or uuid, in one query or by looking once."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.catalog_kit import in_children
from tests.contract.catalog_suite import _counting
from tests.unit.hold_kit import audit, lay, make_hold, root_of

from holdfast import layout
from holdfast.blobs import ByteRange
from holdfast.catalog.base import Filter
from holdfast.errors import Conflict, Corrupt, Denied, HoldfastError, InvalidKey, NotFound, Unavailable
from holdfast.hold import Hold

UUID = "135ee48a-4f51-470c-ae2f-ce8bd78799e6"


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with make_hold(tmp_path) as made:
        yield made


def read(hold: Hold, dataset: int | str, **more: object) -> bytes:
    with hold.open(dataset, **more) as stream:  # type: ignore[arg-type]
        return stream.read()


# -- asking -----------------------------------------------------------------------------------------------------------


def test_by_id_by_uuid_and_as_text(hold: Hold):
    dataset = hold.put(b"x", name="x")
    spelled = [
        dataset.id, str(dataset.id), f" {dataset.id}\n", dataset.uuid, dataset.uuid.upper(),
        dataset.uuid.replace("-", ""), "{" + dataset.uuid + "}",
    ]  # fmt: skip
    for one in spelled:
        assert hold.find(one) == dataset
        assert read(hold, one) == b"x"


BAD_ASKED = [
    0, -1, 2**63, -(2**63), 2**64, 10**30, "0", "-1", str(2**63), "9" * 40, "", " ", "x", "1.5", "1e3", "0x1", "٢٤",
    "1 2", "../1", "1\0", "\udcff", "12345678-1234", "None",
]  # fmt: skip


@pytest.mark.parametrize("asked", BAD_ASKED, ids=repr)
def test_what_no_dataset_can_be_called(hold: Hold, asked: int | str, tmp_path: Path):
    for act in (
        lambda: hold.find(asked),
        lambda: hold.open(asked),
        lambda: hold.lease(asked),
        lambda: hold.reader(asked),
        lambda: hold.export(asked, tmp_path / "out"),
        lambda: hold.extra_files(asked),
        lambda: hold.replace(asked, b"x"),
        lambda: hold.remove(asked),
        lambda: hold.remove(asked, purge=True),
        lambda: hold.restore(asked),
        lambda: hold.relabel(asked, name="x"),
        lambda: hold.explain(asked),
    ):
        with pytest.raises(InvalidKey):
            act()
    assert not (tmp_path / "out").exists()


def test_what_there_is_not(hold: Hold):
    for asked in (1, 2**63 - 1, UUID):
        for act in (hold.find, hold.open, hold.lease, hold.remove, hold.restore):
            with pytest.raises(NotFound, match="there is no dataset"):
                act(asked)


def test_finding_and_leasing_cost_one_query_each(tmp_path: Path):
    costs = []
    for count in (2, 50):
        room = tmp_path / str(count)
        room.mkdir()
        with make_hold(room, {f"p{at}": {} for at in range(count)}) as hold:
            dataset = hold.put(b"x", name="x", pool=f"p{count - 1}")
            for look in (
                lambda hold=hold, dataset=dataset: hold.find(dataset.id),
                lambda hold=hold, dataset=dataset: hold.lease(dataset.id).close(),
                lambda hold=hold, dataset=dataset: hold.open(dataset.id).close(),
            ):
                with _counting() as ran:
                    look()
                costs.append(len(ran))
    assert costs == [1] * 6


def test_lists(hold: Hold):
    ids = [hold.put(b"x", name=f"n{at}", owner="alice" if at % 2 else "bob").id for at in range(7)]
    assert [one.id for one in hold.datasets()] == ids[::-1]
    assert [one.id for one in hold.datasets(Filter(owner="alice", limit=2))] == [ids[5], ids[3]]
    assert [one.id for one in hold.datasets(Filter(name_has="N3"))] == [ids[3]]
    for odd in ("%", "_", "\\", "'", "\0", "\udcff"):
        assert hold.datasets(Filter(name_has=odd)) == []
    for odd in (2**63, 2**70, -(2**70)):
        hold.datasets(Filter(after=odd))


# -- reading ----------------------------------------------------------------------------------------------------------


def test_streams_and_ranges(hold: Hold):
    content = os.urandom(400_000)
    which = hold.put(content, name="x").id
    with hold.open(which) as stream:
        assert stream.readable()
        assert stream.seekable()
        assert stream.read(10) == content[:10]
        assert stream.seek(-10, os.SEEK_END) == 399_990
        assert stream.read() == content[-10:]
        assert stream.seek(5) == 5
        assert stream.read(5) == content[5:10]
        assert stream.tell() == 10
    for start, stop in [(0, 10), (100, 300_000), (399_999, None), (0, None), (5, 5), (399_000, 500_000)]:
        assert read(hold, which, range=ByteRange(start, stop)) == content[start:stop]
    assert read(hold, which, range=ByteRange(400_000)) == b""
    assert read(hold, which, range=ByteRange(500_000, 600_000)) == b""
    with hold.open(which, range=ByteRange(100, 200)) as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == content[190:200]
        stream.seek(50)
        assert stream.read(10) == content[150:160]
    lines = hold.put(b"one\ntwo\nthree", name="lines").id
    with hold.open(lines) as stream:
        assert list(stream) == [b"one\n", b"two\n", b"three"]


def test_a_lease_is_a_path_that_stays(hold: Hold):
    which = hold.put(b"content", name="x").id
    with hold.lease(which) as path:
        assert path.read_bytes() == b"content"
        assert str(path) == hold.full_path(hold.find(which))
        purged = hold.remove(which, purge=True)
        assert purged.state == "purged"
        assert path.read_bytes() == b"content"
        assert hold.pool("a").used_bytes == 7
        with pytest.raises(NotFound, match="purged"):
            hold.lease(which)
    assert hold.find(which).replicas[0].state == "retiring"
    assert hold.finish_purge(hold.find(which))
    assert not path.exists()
    assert hold.pool("a").used_bytes == 0
    audit(hold)
    lease = hold.lease(hold.put(b"y", name="y").id)
    lease.close()
    lease.close()


def test_what_another_process_leases_stays(hold: Hold):
    which = hold.put(b"content", name="x").id
    with hold.lease(which) as path:

        def child(_: int) -> str:
            return hold.remove(which, purge=True).replicas[0].state

        assert in_children(1, child) == ["retiring"]
        assert path.read_bytes() == b"content"
    assert hold.finish_purge(hold.find(which))
    audit(hold)


def test_export_is_whole_or_not_at_all(hold: Hold, tmp_path: Path):
    content = os.urandom(3_000_000)
    which, target = hold.put(content, name="x").id, tmp_path / "out"
    told: list[int] = []
    assert hold.export(which, target, on_progress=told.append) == len(content)
    assert target.read_bytes() == content
    assert told[-1] == len(content)
    target.write_bytes(b"old")
    assert hold.export(which, target, range=ByteRange(10, 20)) == 10
    assert target.read_bytes() == content[10:20]
    target.write_bytes(b"old")

    def stop(done_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold.export(which, target, on_progress=stop)
    assert target.read_bytes() == b"old"
    with pytest.raises(InvalidKey, match="3000000 bytes"):
        hold.export(which, target, range=ByteRange(3_000_000))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out", "state"]


def test_export_to_where_it_cannot_be(hold: Hold, tmp_path: Path):
    which = hold.put(b"x", name="x").id
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "nothing" / "out", tmp_path / "folder", tmp_path / ("x" * 300), Path("/proc/x")):
        with pytest.raises(HoldfastError):
            hold.export(which, target)
    assert list((tmp_path / "folder").iterdir()) == []
    assert hold.find(which).state == "ok"


def test_export_over_a_full_disk(hold: Hold, small_disk):
    disk = small_disk(16)
    which = hold.put(os.urandom(2_000_000), name="x").id
    target = disk.folder / "out"
    target.write_bytes(b"old")
    disk.fill(leave_bytes=100_000)
    with pytest.raises(HoldfastError, match="No space left"):
        hold.export(which, target)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in disk.folder.iterdir()) == [".filler", "out"]
    assert hold.find(which).state == "ok"


def test_damaged_bytes_are_told_and_marked(hold: Hold, tmp_path: Path):
    dataset = hold.put(b"content", name="x")
    path = Path(hold.full_path(dataset) or "")
    path.write_bytes(b"c0ntent")
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(Corrupt) as caught:
        hold.export(dataset.id, tmp_path / "out")
    assert caught.value.expected == dataset.checksum
    assert (tmp_path / "out").read_bytes() == b"old"
    now = hold.find(dataset.id)
    assert (now.state, now.replicas[0].state) == ("error", "suspect")
    assert "damaged" in (now.note or "")
    for act in (hold.open, hold.lease):
        with pytest.raises(Corrupt, match="damaged"):
            act(dataset.id)
    healed = hold.replace(dataset.id, b"new content")
    assert (healed.state, healed.replicas[0].state) == ("ok", "present")
    assert read(hold, dataset.id) == b"new content"
    audit(hold)


def test_bytes_that_are_gone_are_missing_and_come_back(hold: Hold):
    dataset = hold.put(b"content", name="x")
    path = Path(hold.full_path(dataset) or "")
    path.rename(path.with_suffix(".away"))
    with pytest.raises(NotFound, match="not in pool a any more"):
        hold.open(dataset.id)
    now = hold.find(dataset.id)
    assert (now.state, now.replicas[0].state) == ("error", "missing")
    assert hold.pool("a").datasets == 1
    path.with_suffix(".away").rename(path)
    assert read(hold, dataset.id) == b"content"
    audit(hold)


def test_reading_what_is_being_written_or_was_removed(hold: Hold):
    def look(done_bytes: int) -> None:
        with pytest.raises(Conflict, match="still being written"):
            hold.open(1)

    which = hold.put(b"x", name="x", on_progress=look).id
    hold.remove(which)
    with pytest.raises(NotFound, match=f"holdfast restore {which}"):
        hold.open(which)
    hold.remove(which, purge=True)
    with pytest.raises(NotFound, match="its bytes are gone"):
        hold.open(which)


def test_readers_of_a_replaced_dataset_see_old_or_new(hold: Hold):
    contents = [bytes([at]) * (200_000 + at) for at in range(4)]
    which = hold.put(contents[0], name="x").id
    stop, wrong = threading.Event(), list[str]()

    def look() -> None:
        while not stop.is_set():
            content = read(hold, which)
            if content not in contents:
                wrong.append(f"{len(content)} bytes")

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    for turn in range(12):
        hold.replace(which, contents[turn % 4])
    stop.set()
    for looker in lookers:
        looker.join()
    assert wrong == []
    audit(hold)


# -- what was there before --------------------------------------------------------------------------------------------

POOLS = {"new": {}, "old": {"check_old_style": True}, "uuid": {"store_by": "uuid"}}


@pytest.fixture
def laid(tmp_path: Path) -> Iterator[Hold]:
    """Pools with data of a Galaxy that was there before."""
    with make_hold(tmp_path, POOLS) as made:
        lay(made, "new", "000/dataset_24.dat", b"new 24")
        lay(made, "old", "000/dataset_24.dat", b"old 24")
        lay(made, "old", "dataset_7.dat", b"old style 7")
        lay(made, "old", "000/123/dataset_123456.dat", b"123456")
        lay(made, "old", "000/123/dataset_123456_files/sub/index", b"extra")
        lay(made, "uuid", f"1/3/5/dataset_{UUID}.dat", b"by uuid")
        lay(made, "uuid", f"1/3/5/dataset_{UUID}_files/x", b"extra")
        yield made


def test_it_is_found_by_its_id_on_first_use_and_recorded(laid: Hold):
    assert laid.totals().datasets == 0
    found = laid.find(123456)
    assert (found.object_store_id, found.origin, found.state, found.checksum) == ("old", "adopted", "ok", None)
    assert (found.size_bytes, found.total_bytes, found.name) == (6, 11, "dataset_123456.dat")
    assert [one.path for one in laid.extra_files(123456)] == ["sub/index"]
    assert read(laid, 123456) == b"123456"
    assert read(laid, 123456, extra_file="sub/index") == b"extra"
    assert laid.totals().datasets == 1
    with _counting() as ran:
        laid.find(123456)
    assert len(ran) == 1
    assert laid.events()[0].kind == "dataset.adopt"
    assert laid.find(found.uuid) == laid.find(123456)


def test_the_first_pool_in_order_has_it(laid: Hold):
    assert read(laid, 24) == b"new 24"
    assert laid.find(24).object_store_id == "new"


def test_old_style_names_where_a_pool_says_so(laid: Hold):
    assert read(laid, 7) == b"old style 7"
    assert laid.find(7).replicas[0].key == "dataset_7.dat"
    lay(laid, "new", "dataset_8.dat", b"not looked for")
    with pytest.raises(NotFound):
        laid.find(8)


def test_it_is_found_by_its_uuid(laid: Hold):
    found = laid.find(UUID)
    assert (found.object_store_id, found.uuid, found.total_bytes) == ("uuid", UUID, 12)
    assert found.id not in (7, 24, 123456)
    assert read(laid, found.id) == b"by uuid"
    assert read(laid, UUID.upper(), extra_file="x") == b"extra"
    removed = laid.remove(UUID, purge=True)
    assert removed.replicas[0].state == "gone"
    assert not (root_of(laid, "uuid") / "1/3/5" / f"dataset_{UUID}.dat").exists()


def test_many_find_it_at_once_and_it_is_recorded_once(laid: Hold):
    def child(_: int) -> int:
        return laid.find(UUID).id

    assert len(set(in_children(4, child))) == 1
    barrier, ids = threading.Barrier(8), list[int]()

    def look() -> None:
        barrier.wait()
        ids.append(laid.find(123456).id)
        ids.append(laid.find(7).id)

    lookers = [threading.Thread(target=look) for _ in range(8)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert set(ids) == {123456, 7}
    assert laid.totals().datasets == 3


def test_every_use_finds_it(tmp_path: Path):
    uses = {
        "open": lambda hold: hold.open(24).close(),
        "lease": lambda hold: hold.lease(24).close(),
        "reader": lambda hold: hold.reader(24).close(),
        "export": lambda hold: hold.export(24, tmp_path / "out"),
        "remove": lambda hold: hold.remove(24),
        "purge": lambda hold: hold.remove(24, purge=True),
        "replace": lambda hold: hold.replace(24, b"new"),
        "relabel": lambda hold: hold.relabel(24, name="reads"),
        "extra files": lambda hold: hold.extra_files(24),
        "explain": lambda hold: hold.explain("24"),
    }
    for name, use in uses.items():
        room = tmp_path / name
        room.mkdir()
        with make_hold(room, POOLS) as hold:
            lay(hold, "old", "000/dataset_24.dat", b"old 24")
            use(hold)
            assert hold.find(24).object_store_id == "old"
            audit(hold)


def test_special_files_and_folders_are_no_datasets(laid: Hold):
    folder = root_of(laid, "new") / "000"
    (folder / "dataset_30.dat").mkdir()
    os.mkfifo(folder / "dataset_31.dat")
    (folder / "dataset_32.dat").symlink_to("/etc/passwd")
    (folder / "dataset_33.dat").symlink_to("nothing")
    for dataset_id in (30, 31, 33):
        with pytest.raises(NotFound):
            laid.find(dataset_id)
    with pytest.raises(Denied, match="leads out of"):
        laid.find(32)
    assert laid.totals().datasets == 0
    ids = {laid.put(b"x", name="x").id for _ in range(5)}
    assert not ids & {30, 31, 32, 33}


# -- another configuration, the same folders --------------------------------------------------------------------------


def test_hierarchical_to_distributed_and_back_keeps_all_readable(tmp_path: Path):
    contents: dict[int, bytes] = {}
    where: dict[int, str] = {}
    for kind in ("hierarchical", "distributed", "hierarchical", "distributed"):
        with make_hold(tmp_path, kind=kind) as hold:
            for dataset_id, content in contents.items():
                assert read(hold, dataset_id) == content
                assert hold.find(dataset_id).object_store_id == where[dataset_id]
            went = []
            for _ in range(4):
                content = os.urandom(100)
                dataset = hold.put(content, name="x")
                contents[dataset.id], where[dataset.id] = content, dataset.object_store_id or ""
                went.append(dataset.object_store_id)
            assert went == ["a"] * 4 if kind == "hierarchical" else sorted(went) == ["a", "a", "b", "b"]
            audit(hold)


def test_a_pool_that_left_the_configuration_is_named_and_comes_back(tmp_path: Path):
    with make_hold(tmp_path) as hold:
        which = hold.put(b"content", name="x", pool="b").id
    with make_hold(tmp_path, {"a": {}}) as hold:
        for act in (hold.open, hold.lease, lambda one: hold.replace(one, b"y")):
            with pytest.raises(Unavailable, match="pool b, which is no longer in the configuration"):
                act(which)
        dataset = hold.find(which)
        assert (dataset.state, dataset.object_store_id) == ("ok", "b")
        assert [one.id for one in hold.datasets()] == [which]
        info = hold.pool("b")
        assert (info.configured, info.reachable, info.datasets) == (False, False, 1)
        assert {one.object_store_id for one in hold.pools()} == {"a", "b"}
        assert hold.put(b"new", name="y").object_store_id == "a"
        purged = hold.remove(which, purge=True)
        assert (purged.state, purged.replicas[0].state) == ("purged", "retiring")
        assert any("no longer in the configuration" in event.text for event in hold.events())
        with pytest.raises(NotFound):
            hold.put(b"x", name="x", pool="b")
    with make_hold(tmp_path) as hold:
        assert hold.pool("b").configured
        assert hold.finish_purge(hold.find(which))
        audit(hold)


def test_a_pool_with_another_name_is_offered_as_a_rename(tmp_path: Path):
    with make_hold(tmp_path) as hold:
        which = hold.put(b"content", name="x", pool="b").id
    with make_hold(tmp_path, {"a": {}, "c": {"folder": "b"}}) as hold:
        assert any("holdfast pool rename b c" in str(one) for one in hold.warnings)
        [check] = [one for one in hold.check_pools() if one.object_store_id == "c"]
        assert check.rename_from == "b"
        assert "holdfast pool rename b c" in check.detail
        with pytest.raises(Unavailable):
            hold.open(which)
        with pytest.raises(Conflict, match="still in the configuration"):
            hold.rename_pool("a", "c")
        with pytest.raises(NotFound):
            hold.rename_pool("b", "d")
        hold.rename_pool("b", "c")
        assert read(hold, which) == b"content"
        assert hold.find(which).object_store_id == "c"
        assert [one.severity for one in hold.check_pools()] == ["ok", "ok"]
        with pytest.raises(NotFound):
            hold.pool("b")
        audit(hold)


def test_an_empty_folder_in_the_place_of_a_pool_is_not_a_pool(tmp_path: Path):
    with make_hold(tmp_path) as hold:
        which = hold.put(b"content", name="x").id
    (tmp_path / "a").rename(tmp_path / "away")
    with make_hold(tmp_path) as hold:
        with pytest.raises(Unavailable, match="does not carry the pool's mark"):
            hold.open(which)
        assert hold.put(b"y", name="y").object_store_id == "b"
        assert list((tmp_path / "a").iterdir()) == []
        assert [one.severity for one in hold.check_pools()] == ["error", "ok"]


def test_another_state_directory_finds_the_same_data(tmp_path: Path):
    with make_hold(tmp_path) as hold:
        which = hold.put(b"content", name="x").id
    (tmp_path / "state").rename(tmp_path / "state-lost")
    with make_hold(tmp_path) as hold:
        assert read(hold, which) == b"content"
        assert layout.primary_key("id", which, "") == hold.find(which).replicas[0].key


def test_files_of_text_are_no_sources_of_bytes(hold: Hold):
    with pytest.raises(HoldfastError):
        hold.put(io.StringIO("text"), name="x")  # type: ignore[arg-type]
    audit(hold)
