"""Operations: planned, worked on, paused, killed, taken up. The work itself is seen in a file."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.counting import operations_of
from tests.jobs.lab import Lab, lab_of, until

from holdfast.catalog.operations import OperationRow
from holdfast.errors import Conflict, Malformed, NotFound
from holdfast.operations import drive
from holdfast.operations.engine import InlineEngine
from holdfast.operations.runner import Operations, OperationWork


class Counting:
    """A hold with an operation that counts."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.operations: Operations = operations_of(lab.hold)
        self.elsewhere: list[subprocess.Popen[bytes]] = []

    def submit(self, objects: int, **parameters: Any) -> OperationRow:
        return self.operations.submit("count", {"objects": objects, **parameters})

    def counted(self) -> list[int]:
        path = self.lab.home / "state" / "counted"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def work_elsewhere(self, operation_id: int) -> subprocess.Popen[bytes]:
        self.elsewhere.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.counting", str(self.lab.document), str(operation_id)],
                stdin=subprocess.PIPE, env=self.lab.environment,
            )
        )  # fmt: skip
        return self.elsewhere[-1]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def state(self, row: OperationRow) -> str:
        return self.operations.get(row.id).state


@pytest.fixture
def counting(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    monkeypatch.setattr(drive, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(drive, "BEAT_S", 0.05)
    made = Counting(lab)
    yield made
    for process in made.elsewhere:
        made.kill(process)


def test_a_plan_changes_nothing(counting: Counting):
    assert counting.operations.plan("count", {"objects": 3}) == {
        "kind": "count", "objects": 3, "bytes": 30, "from": {"newdata": {"objects": 3, "bytes": 30}}, "to": {},
        "blockers": [{"dataset": 7, "why": "seven is shy"}], "seconds_estimate": 1.0,
    }  # fmt: skip
    assert counting.operations.list() == []
    assert counting.counted() == []


def test_from_submission_to_its_end(counting: Counting):
    row = counting.submit(12, bad=4)
    assert (row.state, row.objects_total, row.bytes_total) == ("running", 12, 120)
    seen: list[int] = []
    row = counting.operations.run(row.id, on_progress=lambda one: seen.append(one.objects_done))
    shape = counting.operations.to_json(row)
    assert shape["state"] == "done"
    assert (shape["objects_done"], shape["bytes_done"], shape["objects_total"]) == (12, 120, 12)
    assert shape["result"] == {"even": 6, "odd": 6}
    assert shape["failures"] == [
        {"dataset": 4, "object_store_id": "newdata", "error": "Corrupt", "why": "it is bad"}
    ]
    assert shape["rate_bytes_s"] > 0
    assert shape["eta_s"] is None
    assert counting.counted() == [*range(1, 13)]
    assert seen == sorted(seen)
    assert seen[-1] == 12


def test_what_makes_no_sense_is_not_begun(counting: Counting):
    for kind, parameters in (("juggle", {}), ("count", {})):
        with pytest.raises(Malformed):
            counting.operations.submit(kind, parameters)
    assert counting.operations.list() == []


def test_killed_in_the_middle_it_goes_on_and_counts_nothing_twice(counting: Counting):
    row = counting.submit(40, seconds=0.02, bad=3)
    victim = counting.work_elsewhere(row.id)
    until(lambda: len(counting.counted()) >= 13)
    counting.kill(victim)
    before = counting.operations.get(row.id)
    assert before.state == "running"
    done = counting.operations.run(row.id)
    counted = counting.counted()
    assert sorted(set(counted)) == [*range(1, 41)], "nothing was left out"
    again = [number for number in set(counted) if counted.count(number) > 1]
    assert len(again) <= 5, "at most one batch was done again"
    assert (done.state, done.objects_done, done.bytes_done) == ("done", 40, 400)
    assert done.result["counts"] == {"even": 20, "odd": 20}
    assert len(counting.operations.to_json(done)["failures"]) == 1


def test_the_same_again_takes_up_what_is_not_over(counting: Counting):
    first = counting.submit(10)
    assert counting.submit(10).id == first.id
    assert counting.submit(11).id != first.id
    counting.operations.pause(first.id)
    assert counting.submit(10).state == "running", "and it goes on"
    counting.operations.run(first.id)
    assert counting.submit(10).id != first.id


def test_of_two_processes_one_works_and_the_other_follows(counting: Counting):
    row = counting.submit(60, seconds=0.02)
    counting.work_elsewhere(row.id)
    until(lambda: bool(counting.counted()))
    seen: list[int] = []
    done = counting.operations.run(row.id, on_progress=lambda one: seen.append(one.objects_done))
    assert done.state == "done"
    assert counting.counted() == [*range(1, 61)], "each once"
    assert len(set(seen)) > 2, "its progress was seen from here"


def test_threads_of_one_process_do_not_double_the_work(counting: Counting):
    row = counting.submit(30, seconds=0.005)
    threads = [threading.Thread(target=counting.operations.run, args=(row.id,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counting.counted() == [*range(1, 31)]


def test_pause_resume_cancel_while_it_runs(counting: Counting):
    row = counting.submit(2000, seconds=0.01)
    worker = threading.Thread(target=counting.operations.run, args=(row.id,))
    worker.start()
    until(lambda: len(counting.counted()) > 7)
    assert counting.operations.pause(row.id).wanted == "pause"
    worker.join(20)
    paused = counting.operations.get(row.id)
    assert (paused.state, paused.wanted) == ("paused", None)
    assert paused.objects_done % 5 == 0, "what stands before the cursor is counted, no more"
    standing = len(counting.counted())
    time.sleep(0.2)
    assert len(counting.counted()) == standing
    assert counting.operations.run(row.id).state == "paused", "running a paused one is not enough"
    counting.operations.resume(row.id)
    worker = threading.Thread(target=counting.operations.run, args=(row.id,))
    worker.start()
    until(lambda: len(counting.counted()) > standing + 7)
    counting.operations.cancel(row.id, actor="alice@example.org")
    worker.join(20)
    assert counting.state(row) == "cancelled"
    assert set(counting.counted()) == set(range(1, max(counting.counted()) + 1))
    for attempt in (counting.operations.resume, counting.operations.pause, counting.operations.cancel):
        with pytest.raises(Conflict):
            attempt(row.id)


def test_what_nobody_works_on_obeys_at_once(counting: Counting):
    row = counting.submit(10)
    assert counting.operations.pause(row.id).state == "paused"
    assert counting.operations.cancel(row.id).state == "cancelled"
    assert counting.counted() == []


def test_a_dead_worker_does_not_keep_anybody_from_pausing(counting: Counting):
    row = counting.submit(400, seconds=0.02)
    victim = counting.work_elsewhere(row.id)
    until(lambda: bool(counting.counted()))
    counting.kill(victim)
    assert counting.operations.pause(row.id).state == "paused"


def test_what_breaks_fails_and_can_be_resumed(counting: Counting):
    row = counting.submit(20, breaks=12)
    failed = counting.operations.run(row.id)
    assert (failed.state, failed.objects_done) == ("failed", 10)
    assert counting.operations.to_json(failed)["note"] == "12 breaks everything"
    (counting.lab.home / "state" / "mended").touch()
    counting.operations.resume(row.id)
    done = counting.operations.run(row.id)
    assert (done.state, done.objects_done, done.result["counts"]) == ("done", 20, {"even": 10, "odd": 10})


def test_what_may_work_later_is_tried_again(counting: Counting):
    row = counting.submit(10, shaky=7)
    done = counting.operations.run(row.id)
    assert (done.state, done.objects_done, done.result["counts"]) == ("done", 10, {"even": 5, "odd": 5})
    assert counting.counted().count(6) == 3, "the batch as a whole"


def test_interrupted_it_can_be_taken_up(counting: Counting):
    row = counting.submit(20)

    def interrupt(now: OperationRow) -> None:
        if now.objects_done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        counting.operations.run(row.id, on_progress=interrupt)
    assert counting.state(row) == "running"
    done = counting.operations.run(row.id)
    assert (done.state, done.objects_done) == ("done", 20)
    assert counting.counted() == [*range(1, 21)]


def test_an_engine_runs_what_waits(counting: Counting):
    rows = [counting.submit(number) for number in (7, 8, 9)]
    engine = InlineEngine()
    engine.register(OperationWork(counting.operations))
    engine.start()
    try:
        until(lambda: {counting.state(row) for row in rows} == {"done"})
    finally:
        engine.stop()
    assert sorted(counting.counted()) == sorted([*range(1, 8), *range(1, 9), *range(1, 10)])


def test_a_stopped_engine_leaves_it_to_the_next(counting: Counting):
    row = counting.submit(100, seconds=0.02)
    engine = InlineEngine()
    engine.register(OperationWork(counting.operations))
    engine.start()
    until(lambda: len(counting.counted()) > 7)
    assert engine.stop()
    assert counting.state(row) == "running"
    assert counting.operations.run(row.id).objects_done == 100


def test_looking_for_what_is_not_there(counting: Counting):
    for operation_id in (0, -1, 2**64, "x", 99):
        with pytest.raises(NotFound):
            counting.operations.get(operation_id)
    with pytest.raises(Malformed, match="running, paused"):
        counting.operations.list(state="quick")


def test_pages(counting: Counting):
    ids = [counting.submit(number).id for number in range(1, 6)]
    assert [row.id for row in counting.operations.list(limit=2)] == [ids[4], ids[3]]
    assert [row.id for row in counting.operations.list(limit=2, after=ids[3])] == [ids[2], ids[1]]
    counting.operations.run(ids[0])
    assert [row.id for row in counting.operations.list(state="done")] == [ids[0]]


@pytest.mark.needs("postgres")
def test_on_postgres(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drive, "FIRST_PAUSE_S", 0.01)
    with lab_of(tmp_path, catalog=postgres_url) as lab:
        counting = Counting(lab)
        row = counting.submit(40, bad=3, seconds=0.02)
        assert counting.submit(40, bad=3, seconds=0.02).id == row.id
        victim = counting.work_elsewhere(row.id)
        until(lambda: len(counting.counted()) >= 8)
        counting.kill(victim)
        done = counting.operations.run(row.id)
        assert (done.state, done.objects_done) == ("done", 40)
        assert len(counting.operations.to_json(done)["failures"]) == 1
