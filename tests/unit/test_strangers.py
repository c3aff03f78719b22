"""Remote pools become known when they are needed, and not before."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest

from holdfast.blobs import GetOptions, Reader
from holdfast.catalog.catalog import Catalog
from holdfast.drivers.disk import DiskDriver
from holdfast.errors import Denied, Unavailable
from holdfast.hold import Hold, Pool, PoolFacts
from holdfast.hold.abreast import in_order
from holdfast.hold.bodies import PutItem
from holdfast.keys import Key
from holdfast.placement.policy import Branch, Leaf
from holdfast.stores.base import Driver
from holdfast.testing.remote_like import RemoteLike


def hold_over(folder: Path, *drivers: Driver, state: str = "state") -> Hold:
    (folder / state).mkdir(exist_ok=True)
    pools = [Pool(PoolFacts(one.name, "disk" if isinstance(one, DiskDriver) else "boto3"), one) for one in drivers]
    tree = Branch("root", "hierarchical", tuple(Leaf(one.name, Fraction(1)) for one in drivers))
    return Hold(catalog=Catalog.open(None, folder / state), pools=pools, tree=tree, state_dir=folder / state)


@pytest.fixture
def remote(tmp_path: Path) -> RemoteLike:
    return RemoteLike("cloud", tmp_path / "bucket")


@pytest.fixture
def disk(tmp_path: Path) -> DiskDriver:
    (tmp_path / "disk").mkdir()
    return DiskDriver("disk", tmp_path / "disk")


def operations(remote: RemoteLike) -> list[str]:
    return [call.operation for call in remote.calls()]


def test_opening_asks_nothing(tmp_path: Path, remote: RemoteLike, disk: DiskDriver):
    with hold_over(tmp_path, remote, disk) as hold:
        assert hold.warnings == []
        assert [pool.reachable for pool in hold.pools()] == [True, True]
    assert operations(remote) == []


def test_the_first_put_makes_it_known_and_the_next_is_one_request(tmp_path: Path, remote: RemoteLike):
    with hold_over(tmp_path, remote) as hold:
        hold.put(b"first", name="a")
        row = hold.catalog.pools.find("cloud")
        assert row.surveyed
        assert row.identity == remote.identity()
        remote.forget_calls()
        dataset = hold.put(b"second", name="b")
        assert operations(remote) == ["put"]
        assert remote.bucket.read(f"000/dataset_{dataset.id}.dat") == b"second"
    with hold_over(tmp_path, remote) as hold:  # another process, later
        remote.forget_calls()
        hold.put(b"third", name="c")
        assert operations(remote) == ["put"]


def test_ids_that_lie_in_a_strange_bucket_are_not_given_out(tmp_path: Path, remote: RemoteLike, disk: DiskDriver):
    remote.bucket.write("000/dataset_7.dat", b"somebody's")
    remote.bucket.write("012/dataset_12345.dat", b"somebody's")
    remote.bucket.write("000/dataset_9_files/x", b"somebody's")
    with hold_over(tmp_path, disk, remote) as hold:
        dataset = hold.put(b"mine", name="a")
        assert (dataset.object_store_id, dataset.id) == ("disk", 12346)
        assert hold.find(7).object_store_id == "cloud"
        with hold.open(7) as stream:
            assert stream.read() == b"somebody's"


def test_a_stranger_that_does_not_answer_delays_nobody_else(tmp_path: Path, remote: RemoteLike, disk: DiskDriver):
    until = threading.Event()
    remote.stall("prepare", until)
    try:
        with hold_over(tmp_path, disk, remote) as hold:
            begun_s = time.monotonic()
            for number in range(10):
                assert hold.put(b"x", name=f"{number}").object_store_id == "disk"
            assert time.monotonic() - begun_s < 4, "only the first waits, and only a moment"
    finally:
        until.set()


def test_a_stranger_that_fails_is_passed_over_and_the_reason_kept(
    tmp_path: Path, remote: RemoteLike, disk: DiskDriver
):
    remote.fail("prepare", Unavailable("no route to host", store="cloud"), times=100)
    with hold_over(tmp_path, remote, disk) as hold:
        dataset = hold.put(b"x", name="a")
        assert dataset.object_store_id == "disk"
        reasons = {choice.object_store_id: choice.reason for choice in dataset.placement}
        assert "no route to host" in reasons["cloud"]


def test_a_stranger_that_was_offline_is_met_when_it_is_active(tmp_path: Path, remote: RemoteLike, disk: DiskDriver):
    remote.bucket.write("000/dataset_7.dat", b"somebody's")
    with hold_over(tmp_path, remote, disk) as hold:
        hold.set_pool_state("cloud", "offline")
        assert hold.put(b"x", name="a").object_store_id == "disk"
        assert operations(remote) == []
        hold.set_pool_state("cloud", "active")
        assert hold.put(b"x", name="b").object_store_id == "cloud"
        row = hold.catalog.pools.find("cloud")
        assert row.surveyed
        assert row.identity == remote.identity()
        assert hold.put(b"x", name="c").id == 8, "7 lies there already"


def test_a_bucket_of_another_catalog_is_read_only_here(tmp_path: Path, remote: RemoteLike, disk: DiskDriver):
    with hold_over(tmp_path, remote, state="theirs") as theirs:
        theirs.put(b"theirs", name="a")
    with hold_over(tmp_path, remote, disk) as hold:
        assert hold.put(b"x", name="a").object_store_id == "disk"
        assert hold.pool("cloud").state == "read-only"
        assert any("another catalog" in warning.message for warning in hold.warnings)
        hold.set_pool_state("cloud", "active")
        assert hold.put(b"x", name="a").object_store_id == "cloud"


def test_the_first_check_of_a_foreign_bucket_says_the_way_out(tmp_path: Path, remote: RemoteLike, disk: DiskDriver):
    with hold_over(tmp_path, remote, state="theirs") as theirs:
        theirs.put(b"theirs", name="a")
    with hold_over(tmp_path, remote, disk) as hold:
        first, second = hold.poolset.check("cloud"), hold.poolset.check("cloud")
        assert first == second
        assert first.severity == "warning"
        assert "pool set cloud --state active" in first.detail


def test_a_bucket_that_may_not_be_marked_says_so(tmp_path: Path, remote: RemoteLike, monkeypatch):
    def refuse(identity: str, *, replacing: str | None = None) -> None:
        raise Denied("AccessDenied", store="cloud")

    monkeypatch.setattr(remote, "mark", refuse)
    with hold_over(tmp_path, remote) as hold:
        with pytest.raises((Denied, Unavailable), match="AccessDenied"):
            hold.put(b"x", name="a")
        assert remote.bucket.names() == set()


def test_many_are_written_side_by_side(tmp_path: Path, remote: RemoteLike):
    remote.latency_s = 0.02
    with hold_over(tmp_path, remote) as hold:
        hold.put(b"first", name="first")
        begun_s = time.monotonic()
        stored = hold.put_many([PutItem(b"%d" % number, name="x") for number in range(64)])
        took_s = time.monotonic() - begun_s
        assert took_s < 0.7 * 64 * 0.02
        assert [remote.bucket.read(f"000/dataset_{one.id}.dat") for one in stored] == [b"%d" % n for n in range(64)]


def test_one_of_many_that_fails_ends_them_there(tmp_path: Path, remote: RemoteLike):
    with hold_over(tmp_path, remote) as hold:
        hold.put(b"first", name="first")
        remote.fail("put", Unavailable("gone", store="cloud"), times=1000, skip=20)
        seen = []
        with pytest.raises(Unavailable):
            hold.put_many(
                [PutItem(b"%d" % number, name="x") for number in range(64)],
                on_stored=lambda one: seen.append(one.id),
            )
        recorded = {f"000/dataset_{one}.dat" for one in [*seen, 1]}
        assert {name for name in remote.bucket.names() if name.endswith(".dat")} == recorded
        assert hold.pool("cloud").reserved_bytes == 0


def test_what_the_catalog_knows_goes_with_the_question(tmp_path: Path, remote: RemoteLike, monkeypatch):
    asked: list[GetOptions] = []
    plain = remote.open

    def watched(key: Key, options: GetOptions = GetOptions()) -> Reader:  # noqa: B008
        asked.append(options)
        return plain(key, options)

    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "x.txt").write_bytes(b"extra")
    with hold_over(tmp_path, remote) as hold:
        dataset = hold.put(b"bytes", name="a", extra_files=tmp_path / "extra")
        monkeypatch.setattr(remote, "open", watched)
        hold.reader(dataset.id).close()
        hold.reader(dataset.id, extra_file="x.txt").close()
    assert (asked[0].version, asked[0].digest) == (dataset.replicas[0].version, dataset.checksum)
    assert asked[1].digest == hold_digest(b"extra")


def hold_digest(content: bytes) -> str:
    from blake3 import blake3

    return f"blake3:{blake3(content).hexdigest()}"


def test_in_order_ends_at_the_first_error():
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    for at_once in (1, 4):
        begun.clear()
        done: list[int] = []
        with pytest.raises(ValueError, match="five"):
            done.extend(in_order(work, range(1000), at_once))
        assert done == [0, 1, 2, 3, 4]
        assert len(begun) < 1000
