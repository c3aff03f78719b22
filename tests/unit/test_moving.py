"""Datasets move between pools: whole, with what belongs to them, and nobody notices. Audited by the backdoor."""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from pathlib import Path

import pytest
from tests.contract.catalog_kit import recount, rows_of
from tests.unit.hold_kit import audit, lay, lying, make_hold, root_of

from holdfast.catalog.catalog import Catalog
from holdfast.catalog.moves import MoveWanted
from holdfast.drivers.disk import DiskDriver
from holdfast.errors import PreconditionFailed, Unavailable
from holdfast.hold import Hold, Pool, PoolFacts
from holdfast.hold.moving import Moved
from holdfast.operations.runner import Operations
from holdfast.placement.policy import Branch, Leaf
from holdfast.seams import SystemFiles
from holdfast.testing.remote_like import RemoteLike
from holdfast.testing.store_kit import content_of

THREE = {"a": {}, "b": {}, "c": {"store_by": "uuid"}}


class Apart(SystemFiles):
    """As if every pool lay on a file system of its own."""

    def link(self, source: str, target: str) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source, None, target)


@pytest.fixture(params=["one disk", "two disks"])
def hold(tmp_path: Path, request: pytest.FixtureRequest):
    files = Apart() if request.param == "two disks" else None
    with make_hold(tmp_path, THREE, files=files) as hold:
        yield hold


def move(hold: Hold, *ids: int, to: str | None = "b", source: str | None = None, **more: object) -> list[Moved]:
    return list(hold.moving.move([MoveWanted(one, to, source) for one in ids], **more))  # type: ignore[arg-type]


def reap(hold: Hold) -> dict[str, object]:
    operations = Operations(hold)
    row = operations.run(operations.submit("reap", {"grace_s": 0}).id)
    return operations.to_json(row)


def states(hold: Hold, dataset_id: int) -> dict[str, str]:
    return {one.object_store_id: one.state for one in hold.find(dataset_id).replicas}


def test_a_moved_dataset_is_in_the_other_pool_and_the_old_one_goes_with_the_grace(hold: Hold):
    dataset = hold.put(b"bytes", name="x", owner="u")
    [moved] = move(hold, dataset.id)
    assert (moved.source, moved.target, moved.size_bytes, moved.checksum) == ("a", "b", 5, dataset.checksum)
    now = hold.find(dataset.id)
    assert (now.object_store_id, now.checksum, now.state) == ("b", dataset.checksum, "ok")
    assert states(hold, dataset.id) == {"a": "retiring", "b": "present"}
    assert "moved from a" in now.placement[0].reason
    assert (root_of(hold, "b") / "000/dataset_1.dat").read_bytes() == b"bytes"
    audit(hold)
    assert reap(hold)["result"]["deleted"] == 1
    assert states(hold, dataset.id) == {"a": "gone", "b": "present"}
    assert lying(hold)["a"] == set()
    with hold.open(dataset.id) as stream:
        assert stream.read() == b"bytes"
    audit(hold)
    pools = {info.object_store_id: (info.datasets, info.used_bytes, info.reserved_bytes) for info in hold.pools()}
    assert pools == {"a": (0, 0, 0), "b": (1, 5, 0), "c": (0, 0, 0)}


def test_on_one_file_system_nothing_is_copied(tmp_path: Path):
    with make_hold(tmp_path, THREE) as hold:
        dataset = hold.put(content_of(100_000), name="x")
        before = (root_of(hold, "a") / "000/dataset_1.dat").stat()
        passed: list[int] = []
        [moved] = move(hold, dataset.id, on_bytes=passed.append)
        after = (root_of(hold, "b") / "000/dataset_1.dat").stat()
        assert (before.st_ino, after.st_nlink) == (after.st_ino, 2)
        assert not moved.proved
        assert passed == []
        assert {one.verified_us for one in hold.find(1).replicas} == {dataset.replicas[0].verified_us}
        with hold.lease(dataset.id) as path:
            assert path == root_of(hold, "b") / "000/dataset_1.dat"


def test_extra_files_follow_under_the_targets_naming_and_back(hold: Hold, tmp_path: Path):
    extra = tmp_path / "extra"
    (extra / "sub").mkdir(parents=True)
    (extra / "sub" / "index.bai").write_bytes(b"index")
    (extra / "empty").touch()
    dataset = hold.put(b"primary", name="x", extra_files=extra)
    move(hold, dataset.id, to="c")
    audit(hold)
    uuid = dataset.uuid
    folder = root_of(hold, "c") / f"{uuid[0]}/{uuid[1]}/{uuid[2]}"
    assert (folder / f"dataset_{uuid}.dat").read_bytes() == b"primary"
    assert (folder / f"dataset_{uuid}_files/sub/index.bai").read_bytes() == b"index"
    reap(hold)
    with hold.open(dataset.id, extra_file="sub/index.bai") as stream:
        assert stream.read() == b"index"
    move(hold, dataset.id, to="a")
    reap(hold)
    audit(hold)
    assert lying(hold)["a"] == {
        "000/dataset_1.dat", "000/dataset_1_files/sub/index.bai", "000/dataset_1_files/empty"
    }  # fmt: skip
    assert lying(hold)["c"] == set()


def test_many_at_once_and_each_is_told(hold: Hold):
    ids = [hold.put(content_of(1000 + n, n), name=f"{n}").id for n in range(40)]
    told = move(hold, *ids, 999, to="b")
    assert {one.dataset_id for one in told if one.is_moved} == set(ids)
    [unknown] = [one for one in told if not one.is_moved]
    assert "no dataset 999" in unknown.why
    assert [one.code for one in move(hold, *ids[:3], to="b")] == ["done"] * 3
    audit(hold)


def test_where_nobody_says_whereto_placement_does(tmp_path: Path):
    pools = {"a": {"weight": 1}, "b": {"weight": 2}, "c": {"weight": 1}}
    with make_hold(tmp_path, pools, kind="distributed") as hold:
        ids = [hold.put(b"x" * 10, name=f"{n}").id for n in range(40)]
        mine = [one for one in ids if hold.find(one).object_store_id == "a"]
        told = move(hold, *mine, to=None, source="a")
        assert all(one.is_moved for one in told)
        there = [one.target for one in told]
        assert 2 * there.count("c") - 1 <= there.count("b") <= 2 * there.count("c") + 2
        audit(hold)


def test_what_does_not_fit_stays_and_says_why(tmp_path: Path):
    with make_hold(tmp_path, {"a": {}, "b": {"capacity_bytes": 100}}) as hold:
        one, two = hold.put(b"x" * 80, name="1"), hold.put(b"x" * 80, name="2")
        told = move(hold, one.id, two.id)
        assert [result.is_moved for result in told].count(True) == 1
        [refused] = [result for result in told if not result.is_moved]
        assert refused.code == "blocked"
        assert "80 bytes" in refused.why or "full" in refused.why or "room" in refused.why
        audit(hold)


def test_replaced_while_it_is_copied_means_copied_again(hold: Hold, monkeypatch: pytest.MonkeyPatch):
    dataset = hold.put(b"old", name="x")
    commit, times = hold.catalog.moves.commit, []

    def between(*arguments, **more):
        if not times:
            hold.replace(dataset.id, b"newer bytes")
        times.append(1)
        return commit(*arguments, **more)

    monkeypatch.setattr(hold.catalog.moves, "commit", between)
    [moved] = move(hold, dataset.id)
    assert moved.is_moved
    assert len(times) == 2
    assert (root_of(hold, "b") / "000/dataset_1.dat").read_bytes() == b"newer bytes"
    audit(hold)


def test_purged_while_it_is_copied_leaves_nothing(hold: Hold, monkeypatch: pytest.MonkeyPatch):
    dataset = hold.put(b"old", name="x")
    commit = hold.catalog.moves.commit

    def between(*arguments, **more):
        hold.remove(dataset.id, purge=True)
        return commit(*arguments, **more)

    monkeypatch.setattr(hold.catalog.moves, "commit", between)
    [moved] = move(hold, dataset.id)
    assert (moved.code, "purged" in moved.why) == ("done", True)
    assert lying(hold) == {"a": set(), "b": set(), "c": set()}
    audit(hold)


def test_a_replace_retires_the_replicas_with_the_old_bytes(hold: Hold):
    dataset = hold.put(b"old", name="x")
    list(hold.moving.move([MoveWanted(dataset.id, "b", keep=True)]))
    assert states(hold, dataset.id) == {"a": "present", "b": "present"}
    assert hold.find(dataset.id).object_store_id == "a"
    hold.replace(dataset.id, b"new")
    assert sorted(states(hold, dataset.id).values()) == ["present", "retiring"]
    reap(hold)
    with hold.open(dataset.id) as stream:
        assert stream.read() == b"new"
    audit(hold)


def test_the_input_of_a_job_is_not_deleted_under_it(hold: Hold):
    dataset = hold.put(b"input", name="x")
    with hold.catalog.db.write() as cursor:
        hold.catalog.leases.add(cursor, dataset.id, "job:7")
    with hold.lease(dataset.id) as path:
        assert move(hold, dataset.id)[0].is_moved
        assert "job:7" in str(reap(hold)["failures"])
        assert path.read_bytes() == b"input"
    with hold.catalog.db.write() as cursor:
        hold.catalog.leases.release(cursor, "job:7")
    reap(hold)
    assert lying(hold)["a"] == set()
    audit(hold)


def test_what_is_left_when_the_new_one_is_lost_is_kept(hold: Hold):
    dataset = hold.put(b"bytes", name="x")
    move(hold, dataset.id)
    (root_of(hold, "b") / "000/dataset_1.dat").unlink()
    with hold.open(dataset.id) as stream:
        assert stream.read() == b"bytes"
    operations = Operations(hold)
    operations.run(operations.submit("scrub", {}).id)
    reap(hold)
    assert list(states(hold, dataset.id).values()).count("present") == 1, "one is kept, or mended from the other"
    with hold.open(dataset.id) as stream:
        assert stream.read() == b"bytes"
    audit(hold)


def test_strange_bytes_under_the_targets_name_are_not_touched(hold: Hold):
    dataset = hold.put(b"mine", name="x")
    theirs = lay(hold, "b", "000/dataset_1.dat", b"somebody else's")
    [refused] = move(hold, dataset.id)
    assert not refused.is_moved
    assert theirs.read_bytes() == b"somebody else's"
    recount(hold.catalog.db.url)
    assert states(hold, 1) == {"a": "present"}


def test_the_same_bytes_under_the_targets_name_are_taken_over(hold: Hold):
    dataset = hold.put(b"mine", name="x")
    lay(hold, "b", "000/dataset_1.dat", b"mine")
    assert move(hold, dataset.id)[0].is_moved
    audit(hold)


def test_a_damaged_source_is_named_and_nothing_moves(tmp_path: Path):
    with make_hold(tmp_path, THREE, files=Apart()) as hold:
        dataset = hold.put(b"bytes", name="x")
        path = root_of(hold, "a") / "000/dataset_1.dat"
        path.write_bytes(b"bytEs")
        [refused] = move(hold, dataset.id)
        assert "not those that were stored" in refused.why
        assert states(hold, 1) == {"a": "present"}
        assert lying(hold)["b"] == set()
        recount(hold.catalog.db.url)


# -- to and from object stores --------------------------------------------------------------------------------------


@pytest.fixture
def cloudy(tmp_path: Path):
    remote = RemoteLike("cloud", tmp_path / "bucket")
    (tmp_path / "disk").mkdir()
    (tmp_path / "state").mkdir()
    disk = DiskDriver("disk", tmp_path / "disk")
    pools = [Pool(PoolFacts("disk", "disk"), disk), Pool(PoolFacts("cloud", "boto3"), remote)]
    tree = Branch("root", "hierarchical", (Leaf("disk", Fraction(1)), Leaf("cloud", Fraction(1))))
    catalog = Catalog.open(None, tmp_path / "state")
    with Hold(catalog=catalog, pools=pools, tree=tree, state_dir=tmp_path / "state") as hold:
        yield hold, remote


def test_to_a_bucket_and_back(cloudy):
    hold, remote = cloudy
    content = content_of(3_000_000)
    dataset = hold.put(content, name="x")
    assert move(hold, dataset.id, to="cloud")[0].proved
    assert remote.bucket.read("000/dataset_1.dat") == content
    reap(hold)
    assert not (Path(hold.poolset.configured("disk").driver.root) / "000/dataset_1.dat").exists()
    assert move(hold, dataset.id, to="disk")[0].is_moved
    reap(hold)
    with hold.open(dataset.id) as stream:
        assert stream.read() == content
    assert {name for name in remote.bucket.names() if name.endswith(".dat")} == set()
    recount(hold.catalog.db.url)


def test_wrong_bytes_at_the_target_are_found_by_reading_back(cloudy):
    hold, remote = cloudy
    dataset = hold.put(content_of(100_000), name="x")
    remote.corrupt(50_000, times=2)
    [refused] = move(hold, dataset.id, to="cloud")
    assert "other bytes" in refused.why
    assert states(hold, 1) == {"disk": "present"}
    assert not [name for name in remote.bucket.names() if name.endswith(".dat")], "what was written wrong is taken back"
    recount(hold.catalog.db.url)


def test_a_bucket_that_fails_in_the_middle_leaves_the_source(cloudy):
    hold, remote = cloudy
    ids = [hold.put(content_of(1000, n), name=f"{n}").id for n in range(20)]
    remote.fail("put", Unavailable("gone", store="cloud"), times=5, skip=7)
    told = move(hold, *ids, to="cloud")
    assert [one.is_moved for one in told].count(True) == 15
    assert all("gone" in one.why for one in told if not one.is_moved)
    recount(hold.catalog.db.url)
    assert {one.is_moved for one in move(hold, *ids, to="cloud") if one.code != "done"} == {True}
    recount(hold.catalog.db.url)
    assert rows_of(hold.catalog.db.url, "SELECT count(*) FROM moving") == [(0,)]


def test_a_reader_that_asked_before_a_replace_reads_the_new_bytes(cloudy, monkeypatch: pytest.MonkeyPatch):
    hold, _ = cloudy
    dataset = hold.put(b"old", name="x", pool="cloud")
    locate, asked = hold.catalog.datasets.locate, []

    def and_replace(dataset_id: int):
        rows = locate(dataset_id)
        asked.append(dataset_id)
        if len(asked) == 1:
            hold.replace(dataset.id, b"newer")
        return rows

    monkeypatch.setattr(hold.catalog.datasets, "locate", and_replace)
    with hold.open(dataset.id) as stream:
        assert stream.read() == b"newer"
    assert len(asked) == 2


def test_while_a_replace_is_published_and_not_recorded_the_new_bytes_are_read(cloudy, monkeypatch: pytest.MonkeyPatch):
    hold, remote = cloudy
    dataset = hold.put(b"old", name="x", pool="cloud")
    commit, seen = hold.catalog.replaces.commit, []

    def look(*arguments, **more):
        with hold.open(dataset.id) as stream:
            seen.append(stream.read())
        return commit(*arguments, **more)

    monkeypatch.setattr(hold.catalog.replaces, "commit", look)
    hold.replace(dataset.id, b"newer")
    assert seen == [b"newer"]
    remote.bucket.write("000/dataset_1.dat", b"a stranger's")
    with pytest.raises(PreconditionFailed):
        hold.open(dataset.id)


def test_a_damaged_replica_is_told_apart_and_the_other_is_given(hold: Hold, tmp_path: Path):
    dataset = hold.put(b"bytes that count", name="x")
    (root_of(hold, "b") / "000").mkdir()
    (root_of(hold, "b") / "000/dataset_1.dat").write_bytes(b"bytes that count")  # a file of its own
    list(hold.moving.move([MoveWanted(dataset.id, "b", keep=True)]))
    assert states(hold, 1) == {"a": "present", "b": "present"}
    for damaged, whole in (("a", "b"), ("b", "a")):
        (root_of(hold, damaged) / "000/dataset_1.dat").write_bytes(b"bytes that COUNT")
        for _ in range(2):  # whichever is read first
            hold.export(dataset.id, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == b"bytes that count"
        operations = Operations(hold)
        operations.run(operations.submit("scrub", {}).id)
        assert states(hold, 1) == {"a": "present", "b": "present"}, f"{damaged} is mended from {whole}"
