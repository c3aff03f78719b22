"""What becomes of datasets: removed, restored, purged, replaced; also by many at once, also when it is cut short."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.contract.catalog_kit import in_children, recount
from tests.unit.hold_kit import audit, lying, make_hold

from holdfast.blobs import StreamBody
from holdfast.catalog.replaces import ReplaceLedger
from holdfast.errors import Conflict, Corrupt, HoldfastError, InvalidKey, NoSpace, NotFound, OutcomeUnknown, Unavailable
from holdfast.hold import Hold
from holdfast.operations.reap import recover
from holdfast.seams import SystemFiles


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with make_hold(tmp_path) as made:
        yield made


def read(hold: Hold, dataset: int) -> bytes:
    with hold.open(dataset) as stream:
        return stream.read()


def test_remove_and_restore(hold: Hold):
    which = hold.put(b"content", name="x", owner="alice").id
    removed = hold.remove(which, actor="bob")
    assert removed.state == "deleted"
    assert removed.deleted_us is not None
    assert hold.remove(which) == removed
    assert hold.datasets() == []
    audit(hold)
    assert hold.restore(which).state == "ok"
    assert hold.restore(which).state == "ok"
    assert read(hold, which) == b"content"
    assert [event.kind for event in hold.events(dataset_id=which)] == ["dataset.ok", "dataset.deleted", "dataset.put"]
    audit(hold)


def test_purge(hold: Hold):
    which = hold.put(b"content", name="x", owner="alice").id
    for _ in range(2):
        purged = hold.remove(which, purge=True)
        assert (purged.state, purged.replicas[0].state) == ("purged", "gone")
        assert lying(hold) == {"a": set(), "b": set()}
        assert hold.pool("a").used_bytes == 0
        audit(hold)
    with pytest.raises(Conflict, match="cannot be restored"):
        hold.restore(which)
    with pytest.raises(Conflict):
        hold.replace(which, b"new")


def test_replace(hold: Hold):
    first = hold.put(b"old", name="x", owner="alice")
    now = hold.replace(first.id, b"newer bytes", actor="bob")
    assert (now.id, now.uuid, now.name, now.size_bytes) == (first.id, first.uuid, "x", 11)
    assert now.checksum != first.checksum
    assert read(hold, first.id) == b"newer bytes"
    assert hold.events()[0].kind == "dataset.replace"
    assert hold.replace(first.id, StreamBody(io.BytesIO(b"stream"))).size_bytes == 6
    audit(hold)


def test_a_replace_that_fails_leaves_the_old(tmp_path: Path):
    with make_hold(tmp_path, {"a": {"capacity_bytes": 1000}}) as hold:
        which = hold.put(bytes(400), name="x").id
        before = hold.find(which)
        attempts = [
            (lambda: hold.replace(which, bytes(601)), NoSpace),
            (lambda: hold.replace(which, b"x", digest="blake3:00"), Corrupt),
            (lambda: hold.replace(which, StreamBody(io.BytesIO(b"123"), 5)), HoldfastError),
            (lambda: hold.replace(which, tmp_path / "nothing"), NotFound),
            (lambda: hold.replace(which, tmp_path), InvalidKey),
        ]
        for act, error in attempts:
            with pytest.raises(error):
                act()
            assert hold.find(which) == before
            assert read(hold, which) == bytes(400)
            assert hold.pool("a").reserved_bytes == 0
            audit(hold)
        assert hold.replace(which, bytes(600)).size_bytes == 600
        hold.set_pool_state("a", "read-only")
        with pytest.raises(HoldfastError, match="read-only"):
            hold.replace(which, b"x")
        audit(hold)


def test_one_replace_at_a_time_and_no_purge_meanwhile(hold: Hold):
    which = hold.put(b"old", name="x").id
    seen: list[str] = []

    def look(done_bytes: int) -> None:
        for act in (
            lambda: hold.replace(which, b"other"),
            lambda: hold.remove(which),
            lambda: hold.remove(which, purge=True),
        ):
            with pytest.raises(Conflict, match="being written"):
                act()
        assert read(hold, which) == b"old"
        seen.append("looked")

    hold.replace(which, b"new", on_progress=look)
    assert seen
    assert read(hold, which) == b"new"
    audit(hold)


def test_a_replace_that_died_after_publishing_is_settled_by_who_comes_next(
    hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed between the rename and the record: the bytes are new, the catalog says old, and knows why."""
    which = hold.put(b"old", name="x", owner="alice").id
    for way in ("export", "reap"):
        content = b"newer " + way.encode()

        def child(_: int, content: bytes = content) -> None:
            monkeypatch.setattr(ReplaceLedger, "commit", lambda *_: os._exit(0))
            hold.replace(which, content)

        pid = os.fork()
        if pid == 0:
            child(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert Path(hold.full_path(hold.find(which)) or "").read_bytes() == content
        assert hold.find(which).checksum is not None
        if way == "export":
            hold.export(which, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == content
        assert recover(hold) == 1
        now = hold.find(which)
        assert (now.state, now.size_bytes) == ("ok", len(content))
        assert hold.pool("a").reserved_bytes == 0
        audit(hold)


def test_a_replace_that_died_before_publishing_is_forgotten(hold: Hold):
    which = hold.put(b"old", name="x").id

    def child(_: int) -> None:
        class Dies(SystemFiles):
            def replace(self, source: str, target: str) -> None:
                os._exit(0)

        own = hold.poolset.configured("a").store()
        own._putting._files = Dies()  # type: ignore[attr-defined]
        hold.replace(which, b"never")

    pid = os.fork()
    if pid == 0:
        child(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    with pytest.raises(Conflict, match="being written"):
        hold.replace(which, b"other")
    assert recover(hold) == 1
    assert read(hold, which) == b"old"
    assert hold.replace(which, b"other").size_bytes == 5
    for piece in hold.poolset.configured("a").store().leftovers():
        hold.poolset.configured("a").store().discard(piece)
    audit(hold)


def test_a_replace_whose_outcome_is_unknown_is_read_back(tmp_path: Path):
    """The rename was done, the folder's sync failed: the dataset is what lies there, and can be used on."""

    class NoSync(SystemFiles):
        broken = False

        def sync_folder(self, path: str) -> None:
            if self.broken:
                raise OSError(errno.EIO, "Input/output error")
            super().sync_folder(path)

    files = NoSync()
    with make_hold(tmp_path, {"a": {}}, files=files) as hold:
        which = hold.put(b"old", name="x").id
        files.broken = True
        with pytest.raises(OutcomeUnknown):
            hold.replace(which, b"newer")
        files.broken = False
        now = hold.find(which)
        assert read(hold, which) == b"newer"
        assert now.size_bytes == 5, "recorded as what it is"
        assert hold.pool("a").reserved_bytes == 0, "and nobody is at work on it"
        assert hold.replace(which, b"newest").size_bytes == 6
        audit(hold)


def test_32_at_the_same_dataset(hold: Hold):
    """Replace, remove, restore and read by 32 threads: each succeeds or is told of the conflict."""
    contents = [bytes([at]) * (1000 + at) for at in range(32)]
    which = hold.put(contents[0], name="x", owner="alice").id
    barrier, odd = threading.Barrier(32), list[str]()

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(4):
            try:
                kind = (number + turn) % 4
                if kind == 0:
                    hold.replace(which, contents[number])
                elif kind == 1:
                    hold.remove(which)
                elif kind == 2:
                    hold.restore(which)
                elif read(hold, which) not in contents:
                    odd.append("torn")
            except (Conflict, NotFound):
                continue
            except HoldfastError as error:
                odd.append(repr(error))

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert odd == []
    hold.restore(which)
    assert hold.find(which).state == "ok"
    audit(hold)
    with ThreadPoolExecutor(32) as pool:
        purges = [pool.submit(hold.remove, which, purge=True) for _ in range(32)]
        assert {one.result().state for one in purges} == {"purged"}
    assert lying(hold) == {"a": set(), "b": set()}
    audit(hold)


def test_puts_and_removes_by_many_processes(tmp_path: Path):
    make_hold(tmp_path, kind="distributed").close()

    def child(number: int) -> int:
        own = make_hold(tmp_path, kind="distributed")
        for turn in range(8):
            which = own.put(b"%d-%d" % (number, turn), name="x").id
            if turn % 2:
                own.remove(which, purge=turn % 4 == 1)
            if turn % 3 == 0:
                own.find(1 + turn)
        return number

    in_children(4, child)
    with make_hold(tmp_path, kind="distributed") as hold:
        audit(hold)
        assert hold.totals().states == {"new": 0, "ok": 16, "deleted": 8, "purged": 8}


def test_a_write_that_was_taken_for_dead_leaves_nothing(hold: Hold):
    """The process was silent for too long, somebody gave its write up, and then it comes to its end after all."""

    def give_up(done_bytes: int) -> None:
        [(prepared, _)] = hold.catalog.reservations.unfinished(hold.catalog.holders.own())
        hold.catalog.writes.abandon(prepared)

    with pytest.raises(Conflict, match="given up"):
        hold.put(b"content", name="x", on_progress=give_up)
    assert lying(hold) == {"a": set(), "b": set()}
    assert hold.totals().datasets == 0
    audit(hold)


def test_a_replace_that_was_taken_for_dead_leaves_the_old(hold: Hold):
    which = hold.put(b"old", name="x").id

    def give_up(done_bytes: int) -> None:
        [(prepared, _)] = hold.catalog.reservations.unfinished(hold.catalog.holders.own())
        hold.catalog.replaces.abandon(prepared)

    with pytest.raises(Conflict, match="taken for dead"):
        hold.replace(which, b"new", on_progress=give_up)
    assert read(hold, which) == b"old"
    audit(hold)


def test_the_state_of_a_pool_holds_for_every_process(hold: Hold, tmp_path: Path):
    which = hold.put(b"x", name="x").id

    def child(_: int) -> list[str]:
        own = make_hold(tmp_path)
        said = [own.put(b"x", name="x").object_store_id or ""]
        try:
            own.open(which).close()
            said.append("read")
        except Unavailable:
            said.append("unavailable")
        return said

    hold.set_pool_state("a", "draining")
    assert in_children(1, child) == [["b", "read"]]
    hold.set_pool_state("a", "offline")
    assert in_children(1, child) == [["b", "unavailable"]]
    hold.set_pool_state("a", "active")
    assert in_children(1, child) == [["a", "read"]]
    for odd in ("", "Active", "gone"):
        with pytest.raises(InvalidKey, match="active, read-only, draining, offline"):
            hold.set_pool_state("a", odd)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        hold.set_pool_state("nowhere", "active")
    assert sum(event.kind == "pool.state" for event in hold.events()) == 3


def test_a_closed_hold_may_be_used_again(hold: Hold):
    which = hold.put(b"x", name="x").id
    hold.close()
    hold.close()
    assert read(hold, which) == b"x"
    recount(hold.catalog.db.url)
