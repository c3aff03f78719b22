"""A replica that is damaged or missing is repaired from one that is whole, and nothing is lost on the way.

Looked at through the folders: what lies in the pools, and what was set aside.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from tests.contract.catalog_kit import rows_of
from tests.unit.hold_kit import audit, lying, make_hold, root_of
from tests.unit.told import Told, run

from holdfast.blobs import BytesBody
from holdfast.catalog.base import Prepared
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.moves import MoveWanted
from holdfast.errors import Cancelled, Conflict, HoldfastError
from holdfast.hold import Hold, Pool, PoolFacts
from holdfast.hold.repairing import Repairing
from holdfast.keys import QUARANTINE
from holdfast.layers.cached import CachedDriver, CacheFolder
from holdfast.operations.runner import Operations
from holdfast.operations.scrub import Scrub
from holdfast.placement.policy import Branch, Leaf
from holdfast.seams import SystemFiles
from holdfast.testing.failing import DyingFiles, FailingFiles, Killed
from holdfast.testing.remote_like import RemoteLike
from holdfast.testing.store_kit import content_of

GOOD = b"the right bytes " * 100
BAD = b"some other bytes" * 99


class Apart(SystemFiles):
    """As if every pool lay on a file system of its own; within one there are links."""

    def link(self, source: str, target: str) -> None:
        if QUARANTINE not in target:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source, None, target)
        super().link(source, target)


class NoLinks(SystemFiles):
    """A file system that has none."""

    def link(self, source: str, target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)


class Kept:
    """A repair that died gives nothing back."""

    def __init__(self, hold: Hold, files: FailingFiles | DyingFiles) -> None:
        self._files, self._release = files, hold.catalog.repairs.abandon

    def __call__(self, row: Prepared) -> None:
        if not self._files.struck:
            self._release(row)


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with make_hold(tmp_path, files=Apart()) as made:
        yield made


def twice(hold: Hold, content: bytes = GOOD, **more) -> int:
    """A dataset that is in both pools."""
    dataset = hold.put(content, name="x", **more)
    [moved] = hold.moving.move([MoveWanted(dataset.id, "b", keep=True)])
    assert moved.is_moved
    return dataset.id


def file_of(hold: Hold, pool: str, dataset_id: int = 1) -> Path:
    return root_of(hold, pool) / f"000/dataset_{dataset_id}.dat"


def aside(hold: Hold, pool: str) -> list[bytes]:
    folder = root_of(hold, pool) / QUARANTINE
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def states(hold: Hold, dataset_id: int) -> dict[str, str]:
    return {one.object_store_id: one.state for one in hold.find(dataset_id).replicas}


def strangers(hold: Hold) -> set[str]:
    return {name for names in lying(hold).values() for name in names if name.startswith(QUARANTINE)}


@pytest.mark.parametrize(("pool", "other"), [("a", "b"), ("b", "a")])
def test_a_damaged_replica_is_repaired_and_its_bytes_are_set_aside(hold: Hold, pool: str, other: str):
    which = twice(hold)
    file_of(hold, pool).write_bytes(BAD)
    told = run(hold, "scrub")
    assert told.counts == {"damaged": 1, "repaired": 1, "verified": 1}
    assert [(item, error) for item, error in told.failures] == [(which, "Repaired")]
    assert file_of(hold, pool).read_bytes() == GOOD
    assert aside(hold, pool) == [BAD]
    assert aside(hold, other) == []
    assert states(hold, which) == {"a": "present", "b": "present"}
    kinds = [(event.kind, event.object_store_id) for event in hold.events(dataset_id=which)]
    assert ("replica.repaired", pool) in kinds
    [event] = [event for event in hold.events(dataset_id=which) if event.kind == "replica.repaired"]
    assert f"repaired from pool {other}" in event.text
    assert QUARANTINE in event.text
    assert hold.pool(pool).reserved_bytes == 0
    assert run(hold, "scrub").counts == {"verified": 2}
    audit(hold, strangers=strangers(hold))


def test_the_report_says_from_where(hold: Hold):
    which = twice(hold)
    file_of(hold, "a").unlink()
    operations = Operations(hold)
    shape = operations.to_json(operations.run(operations.submit("scrub", {}).id))
    [failure] = shape["failures"]
    assert (failure["dataset"], failure["error"]) == (which, "Repaired")
    assert "repaired from pool b" in failure["why"]
    assert shape["result"] == {"missing": 1, "repaired": 1, "verified": 1}
    assert file_of(hold, "a").read_bytes() == GOOD
    assert aside(hold, "a") == []


def test_extra_files_are_repaired_one_by_one(hold: Hold, tmp_path: Path):
    extra = tmp_path / "extra"
    (extra / "sub").mkdir(parents=True)
    (extra / "sub/one").write_bytes(b"one")
    (extra / "two").write_bytes(b"two")
    which = twice(hold, extra_files=extra)
    folder = root_of(hold, "a") / "000/dataset_1_files"
    before = file_of(hold, "a").stat().st_ino
    (folder / "sub/one").write_bytes(b"eno")
    (folder / "two").unlink()
    assert run(hold, "scrub").counts == {"damaged": 1, "repaired": 1, "verified": 1}
    assert ((folder / "sub/one").read_bytes(), (folder / "two").read_bytes()) == (b"one", b"two")
    assert aside(hold, "a") == [b"eno"]
    assert file_of(hold, "a").stat().st_ino == before, "what is right is not touched"
    assert states(hold, which)["a"] == "present"
    audit(hold, strangers=strangers(hold))


def test_another_version_of_the_right_bytes_is_not_touched(hold: Hold):
    twice(hold)
    path = file_of(hold, "a")
    path.write_bytes(GOOD)
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    assert run(hold, "scrub").counts == {"verified": 2}
    assert (path.stat().st_ino, aside(hold, "a")) == (inode, [])


def test_without_a_whole_replica_nothing_changes_and_it_is_named(hold: Hold):
    which = twice(hold)
    alone = hold.put(GOOD, name="alone").id
    file_of(hold, "a").write_bytes(BAD)
    file_of(hold, "b").write_bytes(b"worse")
    file_of(hold, "a", alone).write_bytes(BAD)
    operations = Operations(hold)
    shape = operations.to_json(operations.run(operations.submit("scrub", {}).id))
    named = {failure["dataset"]: failure["why"] for failure in shape["failures"]}
    assert "not repaired: no whole bytes are left" in named[which]
    assert "there is no other replica" in named[alone]
    assert "repaired" not in shape["result"]
    assert states(hold, which) == {"a": "suspect", "b": "suspect"}
    assert hold.find(which).state == hold.find(alone).state == "error"
    assert (file_of(hold, "a").read_bytes(), file_of(hold, "b").read_bytes()) == (BAD, b"worse")
    assert aside(hold, "a") == aside(hold, "b") == []
    file_of(hold, "b").write_bytes(GOOD)  # from a backup
    run(hold, "scrub")
    run(hold, "scrub")
    assert states(hold, which) == {"a": "present", "b": "present"}
    assert hold.find(which).state == "ok"


def test_no_repair_only_looks(hold: Hold):
    which = twice(hold)
    file_of(hold, "a").write_bytes(BAD)
    assert run(hold, "scrub", repair=False).counts == {"damaged": 1, "verified": 1}
    assert (file_of(hold, "a").read_bytes(), states(hold, which)["a"]) == (BAD, "suspect")
    assert run(hold, "reconcile").counts == {"damaged": 1}
    assert aside(hold, "a") == []


def test_a_pool_that_takes_nothing_is_not_repaired(hold: Hold):
    which = twice(hold)
    file_of(hold, "a").write_bytes(BAD)
    hold.set_pool_state("a", "read-only")
    assert run(hold, "scrub").counts == {"damaged": 1, "verified": 1}
    assert file_of(hold, "a").read_bytes() == BAD
    hold.set_pool_state("a", "active")
    assert run(hold, "scrub").counts == {"damaged": 1, "repaired": 1, "verified": 1}
    assert states(hold, which) == {"a": "present", "b": "present"}


def test_while_it_is_repaired_nobody_replaces_it_and_while_it_is_replaced_nobody_repairs_it(hold: Hold):
    which = twice(hold)
    file_of(hold, "a").write_bytes(BAD)
    run(hold, "scrub", repair=False)
    seen: list[str] = []

    def look(_: int) -> None:
        for act in (lambda: hold.replace(which, b"new"), lambda: hold.remove(which, purge=True)):
            with pytest.raises(Conflict, match=r"being written now \(repair\)"):
                act()
        seen.append("looked")

    repairing = Repairing(hold.catalog, hold.poolset)
    assert repairing.repair(which, "a", look).source == "pool b"
    assert seen
    with pytest.raises(Conflict, match="no damaged"):
        repairing.repair(which, "a")
    file_of(hold, "a").write_bytes(BAD)
    run(hold, "scrub", repair=False)

    def meanwhile(_: int) -> None:
        with pytest.raises(Conflict, match=r"being written now \(replace\)"):
            repairing.repair(which, "a")

    hold.replace(which, b"newer", on_progress=meanwhile)
    with hold.open(which) as stream:
        assert stream.read() == b"newer"


def test_whoever_was_taken_for_dead_changes_nothing(hold: Hold):
    """It froze before it wrote; meanwhile it was taken for dead, and the dataset was replaced."""
    which = twice(hold)
    file_of(hold, "a").write_bytes(BAD)
    run(hold, "scrub", repair=False)
    frozen: list[int] = []

    def freeze(_: int) -> None:
        if not frozen:
            frozen.append(1)
            [(row, kind)] = hold.catalog.reservations.silent(hold.clock.now_us() + 1)
            assert kind == "repair"
            hold.catalog.repairs.abandon(row)
            hold.replace(which, b"newer")

    with pytest.raises(HoldfastError):
        Repairing(hold.catalog, hold.poolset).repair(which, "a", freeze)
    with hold.open(which) as stream:
        assert stream.read() == b"newer"
    assert aside(hold, "a") == []
    run(hold, "reap", grace_s=0)
    audit(hold)


def test_without_links_the_bad_bytes_are_copied(tmp_path: Path):
    with make_hold(tmp_path, files=NoLinks()) as hold:
        twice(hold)
        file_of(hold, "a").write_bytes(BAD)
        assert run(hold, "scrub").counts == {"damaged": 1, "repaired": 1, "verified": 1}
        assert (file_of(hold, "a").read_bytes(), aside(hold, "a")) == (GOOD, [BAD])


@pytest.mark.parametrize("damage", ["other bytes", "gone"])
@pytest.mark.parametrize("kind", [FailingFiles, DyingFiles])
def test_every_effect_fails_once_and_a_scrub_later_all_is_whole(tmp_path: Path, damage: str, kind: type):
    for at in itertools.count(1):
        folder = tmp_path / str(at)
        folder.mkdir()
        with make_hold(folder, files=Apart()) as hold:
            which = twice(hold)
            path = file_of(hold, "a")
            path.write_bytes(BAD) if damage == "other bytes" else path.unlink()
            run(hold, "scrub", repair=False)
        files = kind(Apart(), at=at)
        with make_hold(folder, files=files) as hold:
            hold.catalog.repairs.abandon = Kept(hold, files)  # type: ignore[method-assign]
            try:
                Repairing(hold.catalog, hold.poolset).repair(which, "a")
            except (HoldfastError, Killed):
                assert files.struck
        with make_hold(folder) as hold:
            if damage == "other bytes":
                assert BAD in [path.read_bytes(), *aside(hold, "a")], "the bad bytes are there, under one name or two"
            if path.exists():
                assert path.read_bytes() in (BAD, GOOD)
            with hold.catalog.db.write() as cursor:
                cursor.execute("UPDATE reservation SET touched_us = 0")
            run(hold, "reap")
            run(hold, "scrub")
            assert (path.read_bytes(), states(hold, which)) == (GOOD, {"a": "present", "b": "present"})
            assert hold.pool("a").reserved_bytes == 0
            if damage == "other bytes":
                assert set(aside(hold, "a")) == {BAD}
            audit(hold, strangers=strangers(hold))
        if not files.struck:
            break
    assert at > 4


def test_what_the_medium_cannot_read_is_kept_and_repaired(hold: Hold, monkeypatch: pytest.MonkeyPatch):
    which = twice(hold)
    broken = os.stat(file_of(hold, "a")).st_ino
    readinto = io.FileIO.readinto

    class Failing(io.FileIO):
        def readinto(self, buffer):
            if os.fstat(self.fileno()).st_ino == broken:
                raise OSError(errno.EIO, "the disk cannot read it")
            return readinto(self, buffer)

    monkeypatch.setattr(io, "FileIO", Failing)
    assert run(hold, "scrub").counts == {"damaged": 1, "repaired": 1, "verified": 1}
    monkeypatch.undo()
    assert file_of(hold, "a").read_bytes() == GOOD
    [kept] = (root_of(hold, "a") / QUARANTINE).iterdir()
    assert kept.stat().st_ino == broken
    assert states(hold, which)["a"] == "present"


def test_reap_gives_up_what_was_set_aside_when_its_time_is_over(hold: Hold):
    twice(hold)
    file_of(hold, "a").write_bytes(BAD)
    run(hold, "scrub")
    assert run(hold, "reap").counts == {}
    assert aside(hold, "a") == [BAD]
    reap = Operations(hold).plan("reap", {"grace_s": 0})
    assert reap["from"] == {"a": {"objects": 1, "bytes": len(BAD)}}
    assert run(hold, "reap", grace_s=0).counts == {"set_aside_deleted": 1}
    assert aside(hold, "a") == []
    assert run(hold, "reconcile").counts == {}
    audit(hold)


# -- remote pools and their caches --------------------------------------------------------------------------


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[Hold, RemoteLike]]:
    bucket = RemoteLike("cloud", tmp_path / "bucket")
    cached = CachedDriver(bucket, [CacheFolder(tmp_path / "cache", min_free_bytes=0)], keep_written=True)
    (tmp_path / "state").mkdir()
    catalog = Catalog.open(None, tmp_path / "state")
    pool = Pool(PoolFacts("cloud", "generic_s3"), cached, cache=cached)
    tree = Branch("root", "hierarchical", (Leaf("cloud", Fraction(1)),))
    with Hold(catalog=catalog, pools=[pool], tree=tree, state_dir=tmp_path / "state") as hold:
        yield hold, bucket


def in_bucket(bucket: RemoteLike) -> dict[str, bytes]:
    return {str(stat.key): bucket.open(stat.key).read() for stat in bucket.bucket.stats()}


@pytest.mark.parametrize("damage", ["other bytes", "gone"])
def test_a_remote_blob_is_repaired_from_the_cache(remote: tuple[Hold, RemoteLike], damage: str):
    hold, bucket = remote
    content = content_of(3_000_000)
    which = hold.put(content, name="x").id
    with hold.lease(which) as path:
        assert path.read_bytes() == content  # whole, and verified
    key = hold.find(which).replicas[0].key
    if damage == "gone":
        bucket.delete(key)
    else:
        bucket.put(key, BytesBody(BAD))
    told = run(hold, "scrub")
    assert told.counts["repaired"] == 1
    found = in_bucket(bucket)
    assert found.pop(key) == content
    kept = [value for name, value in found.items() if name.startswith(QUARANTINE)]
    assert kept == ([] if damage == "gone" else [BAD])
    assert hold.find(which).state == "ok"
    assert run(hold, "scrub").counts == {"verified": 1}
    assert [stat.key for stat in hold.poolset.get("cloud").store().list()] == [key]
    run(hold, "reap", grace_s=0)
    assert not [name for name in in_bucket(bucket) if name.startswith(QUARANTINE)]


def test_a_cache_that_has_only_parts_or_other_bytes_repairs_nothing(remote: tuple[Hold, RemoteLike], tmp_path: Path):
    hold, bucket = remote
    which = hold.put(content_of(3_000_000), name="x").id
    key = hold.find(which).replicas[0].key
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file() and path.stat().st_size >= 3_000_000:
            with path.open("r+b") as stream:
                stream.seek(1000)
                stream.write(b"damage")
    bucket.delete(key)
    told = run(hold, "scrub")
    assert "repaired" not in told.counts
    assert hold.find(which).replicas[0].state == "missing"
    assert in_bucket(bucket).keys() <= {".holdfast-pool"}


def test_a_run_that_is_cancelled_while_it_repairs_leaves_it_as_it_was(hold: Hold):
    which = twice(hold)
    file_of(hold, "a").write_bytes(BAD)

    class Stopping(Told):
        def check(self) -> None:
            if rows_of(hold.catalog.db.url, "SELECT kind FROM reservation"):
                raise Cancelled("stop")

    batch = next(iter(Scrub().batches(hold, {}, None)))
    with pytest.raises(Cancelled):
        batch.apply(Stopping())
    assert (file_of(hold, "a").read_bytes(), aside(hold, "a")) == (BAD, [])
    assert rows_of(hold.catalog.db.url, "SELECT kind FROM reservation") == []
    run(hold, "scrub")
    assert states(hold, which) == {"a": "present", "b": "present"}
