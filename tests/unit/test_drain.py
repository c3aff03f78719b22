"""Moving and draining as operations: what is told, what is left, and when a pool is safe to unplug."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.unit.hold_kit import audit, lay, lying, make_hold, root_of

from holdfast.errors import Cancelled, ConfigError, Conflict, Malformed, NotFound
from holdfast.hold import Hold
from holdfast.operations import moves
from holdfast.operations.base import Amount
from holdfast.operations.runner import Operations
from holdfast.testing.store_kit import content_of

THREE: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(moves, "PAUSE_S", 0.01)


@pytest.fixture
def hold(tmp_path: Path):
    with make_hold(tmp_path, THREE) as hold:
        yield hold


def operate(hold: Hold, kind: str, **parameters: object) -> dict[str, Any]:
    operations = Operations(hold)
    return operations.to_json(operations.run(operations.submit(kind, parameters).id))


def test_a_drained_pool_can_be_thrown_away_under_a_running_hold(hold: Hold):
    contents = {hold.put(content_of(5000 + n, n), name=f"{n}").id: content_of(5000 + n, n) for n in range(30)}
    removed = hold.put(b"removed, not purged", name="r").id
    hold.remove(removed)
    plan = Operations(hold).plan("drain", {"pool": "a"})
    assert (plan["objects"], plan["from"]["a"]["objects"], plan["blockers"]) == (31, 31, [])
    assert plan["to"]["b"]["bytes"] == plan["bytes"] == sum(map(len, contents.values())) + 19
    told = operate(hold, "drain", pool="a")
    assert (told["state"], told["objects_done"], told["failures"]) == ("done", 31, [])
    assert told["result"] == {"moved": 31, "safe_to_unplug": 1}
    assert "safe to unplug" in told["note"]
    assert hold.pool("a").state == "draining"
    audit(hold)
    shutil.rmtree(root_of(hold, "a"))
    for dataset_id, content in contents.items():
        with hold.open(dataset_id) as stream:
            assert stream.read() == content
    hold.restore(removed)
    with hold.open(removed) as stream:
        assert stream.read() == b"removed, not purged"
    assert hold.put(b"x", name="new").object_store_id == "b"


def test_what_cannot_leave_is_named_and_the_pool_is_not_safe(tmp_path: Path):
    with make_hold(tmp_path, {"a": {}, "b": {"capacity_bytes": 25}}) as hold:
        ids = [hold.put(b"x" * 10, name=f"{n}").id for n in range(4)]
        plan = Operations(hold).plan("drain", {"pool": "a"})
        assert sum(amount["objects"] for amount in plan["to"].values()) == 2
        assert "2 datasets, 20 bytes, find no room" in plan["blockers"][0]["why"]
        told = operate(hold, "drain", pool="a")
        assert "NOT safe to unplug: 2 datasets are left in it" in told["note"]
        assert {one["dataset"] for one in told["failures"]} == set(ids[2:])
        audit(hold)


def test_files_that_nobody_recorded_are_not_thrown_away_unseen(hold: Hold):
    hold.put(b"x", name="x")
    lay(hold, "a", "004/dataset_4711.dat", b"before Holdfast")
    told = operate(hold, "drain", pool="a")
    assert "1 file in it is nobody's" in told["note"]
    assert told["failures"][0]["dataset"] == "a/004/dataset_4711.dat"
    operate(hold, "reconcile", pool="a", adopt=True)
    assert "safe to unplug" in operate(hold, "drain", pool="a")["note"]
    assert (root_of(hold, "b") / "004/dataset_4711.dat").read_bytes() == b"before Holdfast"


def test_galaxys_metadata_files_keep_their_names(hold: Hold):
    lay(hold, "a", "_metadata_files/000/metadata_12.dat", b"index")
    told = operate(hold, "drain", pool="a")
    assert told["result"] == {"metadata_files": 1, "safe_to_unplug": 1}
    assert (root_of(hold, "b") / "_metadata_files/000/metadata_12.dat").read_bytes() == b"index"
    operate(hold, "drain", pool="a", to="b")


def test_an_input_of_a_job_keeps_the_pool_from_being_unplugged(hold: Hold):
    dataset = hold.put(b"input", name="x")
    with hold.catalog.db.write() as cursor:
        hold.catalog.leases.add(cursor, dataset.id, "job:7")
    told = operate(hold, "drain", pool="a")
    assert "NOT safe to unplug: 1 is in use by a job" in told["note"]
    with hold.catalog.db.write() as cursor:
        hold.catalog.leases.release(cursor, "job:7")
    assert "NOT" not in operate(hold, "drain", pool="a", to="b")["note"]


def test_a_receipt_for_every_blob(hold: Hold, tmp_path: Path):
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "i.bai").write_bytes(b"index")
    dataset = hold.put(b"bytes", name="x", extra_files=tmp_path / "extra")
    told = operate(hold, "move", datasets=[dataset.id], to="c")
    receipts = list(hold.catalog.receipts.of(told["id"]))
    assert [(one.path, one.source, one.target, one.size_bytes) for one in receipts] == [
        ("", "a", "c", 5), ("i.bai", "a", "c", 5)
    ]  # fmt: skip
    assert receipts[0].checksum == dataset.checksum


def test_a_move_of_what_is_not_there_and_of_nonsense(hold: Hold):
    dataset = hold.put(b"x", name="x")
    told = operate(hold, "move", datasets=[dataset.id, 4711], to="b")
    assert told["result"] == {"moved": 1, "not_moved": 1}
    assert told["failures"][0]["dataset"] == 4711
    operations = Operations(hold)
    for error, parameters in (
        (ConfigError, {"datasets": [1]}), (NotFound, {"datasets": [1], "to": "z"}),
        (ConfigError, {"datasets": [], "to": "b"}), (ConfigError, {"datasets": ["x"], "to": "b"}),
        (ConfigError, {"datasets": [True], "to": "b"}),
    ):  # fmt: skip
        with pytest.raises(error):
            operations.plan("move", parameters)
        with pytest.raises(error):
            operations.submit("move", parameters)
    with pytest.raises(Malformed):
        operations.submit("drain", {"pool": "a", "to": "a"})
    with pytest.raises(NotFound):
        operations.submit("drain", {"pool": "z"})


def test_it_goes_on_where_it_was(hold: Hold):
    ids = [hold.put(content_of(100, n), name=f"{n}").id for n in range(20)]
    operations = Operations(hold)
    row = operations.submit("drain", {"pool": "a"})
    operations.pause(row.id)
    assert operations.run(row.id).state == "paused"
    operations.resume(row.id)
    assert operations.run(row.id).state == "done"
    assert {hold.find(one).object_store_id for one in ids} == {"b"}
    assert lying(hold)["b"] == {f"000/dataset_{one}.dat" for one in ids}
    audit(hold)


def test_a_plan_is_given_up_when_nobody_wants_it(hold: Hold):
    for n in range(3):
        hold.put(b"x" * 10, name=f"{n}")
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        raise Cancelled("nobody waits")

    operations = Operations(hold)
    with pytest.raises(Cancelled, match="nobody waits"):
        operations.plan("drain", {"pool": "a"}, check=check)
    assert asked == 1
    assert operations.plan("drain", {"pool": "a"}, check=lambda: None)["objects"] == 3


def test_again_is_what_is_left(hold: Hold):
    ids = [hold.put(b"x" * 100, name=f"{n}").id for n in range(3)]
    body = root_of(hold, "a") / "000" / f"dataset_{ids[1]}.dat"
    body.rename(body.with_suffix(".away"))
    operations = Operations(hold)
    row = operations.run(operations.submit("move", {"datasets": ids, "to": "b"}).id)
    assert [one["dataset"] for one in operations.to_json(row)["failures"]] == [ids[1]]
    body.with_suffix(".away").rename(body)
    operate(hold, "scrub")
    again = operations.again(row.id)
    assert dict(again.parameters) == {"datasets": [ids[1]], "to": "b"}
    with pytest.raises(Conflict, match="under way"):
        operations.again(again.id)
    told = operations.to_json(operations.run(again.id))
    assert (told["state"], told["result"], told["failures"]) == ("done", {"moved": 1}, [])
    with pytest.raises(Conflict, match="moved all"):
        operations.again(again.id)
    drain = operations.run(operations.submit("drain", {"pool": "a"}).id)
    assert operations.again(drain.id).id != drain.id
    audit(hold)
    moved = hold.catalog.receipts.between(row.id)
    assert [(one.source, one.target, one.blobs, one.size_bytes) for one in moved] == [("a", "b", 2, 200)]


def test_what_a_plan_said_a_moment_ago_is_not_worked_out_again(hold: Hold):
    hold.put(b"x" * 10, name="n")
    row = Operations(hold).submit("drain", {"pool": "a"}, expected=Amount(7, 70))
    assert (row.objects_total, row.bytes_total) == (7, 70)


def test_why_something_could_not_leave_is_not_said_over(hold: Hold):
    number = hold.put(b"x" * 10, name="n").id
    operate(hold, "move", datasets=[number], to="b")  # its old bytes in a are retiring: it cannot go back there yet
    told = operate(hold, "drain", pool="b", to="a")
    assert told["result"]["left"] == 1
    assert len(told["failures"]) == 1
    assert "still in pool" not in told["failures"][0]["why"]
