"""Who runs a job, and what becomes of it when they die: real workers, killed for real."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.lab import Lab, lab_of, lives, until

from holdfast.jobs import outputs, runner, supervise
from holdfast.jobs.folders import logs_folder
from holdfast.jobs.worker import JobWork
from holdfast.operations.runner import Operations

DIARY = "echo $HOLDFAST_JOB_ID >> {home}/diary; "


def told(lab: Lab, script: str) -> str:
    """`script`, which first writes its job's id into the diary."""
    return DIARY.format(home=lab.home) + script


def ended(lab: Lab, jobs: list[Any]) -> Callable[[], bool]:
    return lambda: all(lab.jobs.get(job.id).is_over for job in jobs)


def states(lab: Lab, jobs: list[Any]) -> set[str]:
    return {lab.jobs.get(job.id).state for job in jobs}


WAITS = "while [ ! -e go ]; do sleep 0.02; done; echo made > o"


def go(lab: Lab, job_id: int) -> None:
    (lab.home / "new_work" / "000" / str(job_id) / "working" / "go").touch()


@pytest.mark.parametrize("engine", ["inline", "dbos"])
def test_killed_with_its_worker_a_job_goes_on_and_is_taken_up(lab: Lab, engine: str):
    dataset = lab.put()
    job = lab.shell(told(lab, WAITS), dataset, outputs=["o"])
    first = lab.worker(engine)
    until(lambda: lab.diary() == ["1"] and lab.jobs.get(job.id).pid)
    pid = lab.jobs.get(job.id).pid
    first.kill()
    assert lab.state(job) == "running"
    assert "is gone" in lab.jobs.to_json(lab.jobs.get(job.id))["note"]
    assert pid is not None
    assert lives(pid), "its supervisor does not care"
    lab.worker(engine)
    until(lambda: lab.jobs.to_json(lab.jobs.get(job.id))["note"] is None)
    assert lab.state(job) == "running"
    go(lab, job.id)
    until(ended(lab, [job]))
    assert lab.state(job) == "ok"
    assert lab.diary() == ["1"], "it was begun once"
    assert lab.files("new")["000/dataset_2.dat"] == b"made\n"
    assert lab.rows("SELECT * FROM lease") == []


def test_ended_while_nobody_looked_its_end_is_told(lab: Lab):
    good, bad = (
        lab.shell(told(lab, WAITS + end), outputs=["o"]) for end in ("", "; echo reason >&2; exit 5")
    )
    worker = lab.worker()
    until(lambda: sorted(lab.diary()) == ["1", "2"])
    worker.kill()
    for job in (good, bad):
        go(lab, job.id)
    until(lambda: all((logs_folder(lab.hold.state_dir, job.id) / supervise.EXIT).exists() for job in (good, bad)))
    assert states(lab, [good, bad]) == {"running"}
    lab.worker()
    until(ended(lab, [good, bad]))
    assert (lab.state(good), lab.state(bad)) == ("ok", "failed")
    assert lab.jobs.get(bad.id).exit_code == 5
    assert lab.jobs.output(bad.id, "stderr") == b"reason\n"
    assert len(lab.rows("SELECT * FROM dataset WHERE state = 'ok'")) == 1
    assert sorted(lab.diary()) == ["1", "2"]


def test_gone_without_a_trace_it_is_lost(lab: Lab):
    dataset = lab.put()
    job = lab.shell(told(lab, "sh -c 'echo $$ > left; sleep 600' & sleep 600"), dataset)
    worker = lab.worker()
    left = lab.home / "new_work" / "000" / "1" / "working" / "left"
    until(lambda: left.exists() and left.read_text() and lab.jobs.get(job.id).pid)
    worker.kill()
    os.kill(lab.jobs.get(job.id).pid or 0, signal.SIGKILL)
    lab.worker()
    until(ended(lab, [job]))
    job = lab.jobs.get(job.id)
    assert (job.state, job.exit_code) == ("lost", None)
    assert f"supervisor (process {job.pid}) was killed" in (job.note or "")
    until(lambda: not lives(int(left.read_text())))
    assert lab.rows("SELECT * FROM lease") == []
    assert job.folder is not None
    assert Path(job.folder).is_dir(), "somebody will want to look"
    assert lab.diary() == ["1"]


def test_its_supervisor_killed_under_a_living_worker_it_is_lost(lab: Lab):
    job = lab.shell("sleep 600")
    lab.worker()
    until(lambda: lab.jobs.get(job.id).pid)
    os.kill(lab.jobs.get(job.id).pid or 0, signal.SIGKILL)
    until(ended(lab, [job]))
    assert lab.state(job) == "lost"


@pytest.mark.parametrize(
    ("file", "declared", "state"),
    [(supervise.STARTED, ["o"], "lost"), (supervise.EXIT, ["o"], "lost"), (supervise.EXIT, [], "ok")],
)
def test_after_a_restart_of_the_machine(lab: Lab, file: str, declared: list[str], state: str):
    """What was written before the last boot is told as far as it can be known."""
    job = lab.shell(WAITS, outputs=declared)
    worker = lab.worker()
    until(lambda: lab.jobs.get(job.id).pid)
    worker.kill()
    path = logs_folder(lab.hold.state_dir, job.id) / file
    if file == supervise.STARTED:
        os.kill(lab.jobs.get(job.id).pid or 0, signal.SIGKILL)
    else:
        go(lab, job.id)
        until(path.exists)
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))
    lab.worker()
    until(ended(lab, [job]))
    assert lab.state(job) == state
    if state == "lost":
        assert "restarted" in (lab.jobs.get(job.id).note or "")
        assert lab.rows("SELECT * FROM dataset") == [], "bytes that were not synced are not believed"


@pytest.mark.parametrize("engine", ["inline", "dbos"])
def test_a_stopped_worker_leaves_its_jobs_to_the_next(lab: Lab, engine: str):
    job = lab.shell(told(lab, WAITS), outputs=["o"])
    worker = lab.worker(engine)
    until(lambda: lab.diary() == ["1"])
    begin_s = time.monotonic()
    worker.terminate()
    assert time.monotonic() - begin_s < 15
    assert worker.process.returncode == 0
    assert lab.state(job) == "running"
    lab.worker(engine)
    go(lab, job.id)
    until(ended(lab, [job]))
    assert lab.state(job) == "ok"
    assert lab.diary() == ["1"]


def test_cancelled_while_nobody_looked_it_is_stopped_by_the_next(lab: Lab):
    job = lab.shell("sleep 600")
    worker = lab.worker()
    until(lambda: lab.jobs.get(job.id).pid)
    worker.kill()
    assert lab.jobs.cancel(job.id).state == "running"
    lab.worker()
    until(ended(lab, [job]))
    assert lab.state(job) == "cancelled"
    assert not lives(lab.jobs.get(job.id).pid or 0)


def test_a_frozen_worker_is_not_taken_for_dead(lab: Lab):
    job = lab.shell(told(lab, WAITS), outputs=["o"])
    frozen = lab.worker()
    until(lambda: lab.diary() == ["1"])
    frozen.freeze()
    lab.worker()
    go(lab, job.id)
    time.sleep(3)
    assert lab.state(job) == "running", "nobody else touches it"
    frozen.thaw()
    until(ended(lab, [job]))
    assert lab.state(job) == "ok"


# -- the queue ----------------------------------------------------------------------------------------------


def most_at_once(lab: Lab) -> int:
    rows = lab.rows("SELECT started_us, finished_us FROM job WHERE started_us IS NOT NULL")
    moments = sorted([(start, 1) for start, _ in rows] + [(end, -1) for _, end in rows])
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


@pytest.mark.parametrize("engine", ["inline", "dbos"])
def test_fifty_jobs_through_two_places_in_their_order(lab: Lab, engine: str):
    jobs = [lab.shell(told(lab, "")) for _ in range(50)]
    lab.worker(engine)
    until(ended(lab, jobs), 90)
    assert states(lab, jobs) == {"ok"}
    assert most_at_once(lab) == 2
    assert sorted(map(int, lab.diary())) == [*range(1, 51)]
    started = [row[0] for row in lab.rows("SELECT id FROM job ORDER BY started_us")]
    assert started == [*range(1, 51)]


def test_what_was_queued_is_run_after_a_restart(lab: Lab):
    jobs = [lab.shell(told(lab, "sleep 0.3")) for _ in range(6)]
    worker = lab.worker()
    until(lambda: len(lab.diary()) >= 2)
    worker.kill()
    assert "queued" in states(lab, jobs)
    lab.worker()
    until(ended(lab, jobs))
    assert states(lab, jobs) == {"ok"}
    assert sorted(lab.diary()) == [*"123456"]


def test_several_workers_and_a_foreground_never_run_a_job_twice(tmp_path: Path):
    with lab_of(tmp_path, max_running=4) as lab:
        jobs = [lab.shell(told(lab, "sleep 0.05; echo x > o"), outputs=["o"]) for _ in range(24)]
        for engine in ("inline", "dbos", "inline"):
            lab.worker(engine)
        here = [threading.Thread(target=lab.jobs.run, args=(job.id,)) for job in jobs[::5]]
        for thread in here:
            thread.start()
        until(ended(lab, jobs), 90)
        for thread in here:
            thread.join()
        assert states(lab, jobs) == {"ok"}
        assert sorted(map(int, lab.diary())) == [*range(1, 25)]
        assert most_at_once(lab) <= 4
        assert lab.rows("SELECT count(*), count(DISTINCT job_id) FROM dataset WHERE state = 'ok'") == [(24, 24)]


@pytest.mark.needs("postgres")
def test_workers_on_postgres_never_run_a_job_twice(tmp_path: Path, postgres_url: str):
    with lab_of(tmp_path, max_running=2, catalog=postgres_url) as lab:
        dataset = lab.put(b"in")
        jobs = [lab.shell(told(lab, "cp {input1} o"), dataset, outputs=["o"]) for _ in range(16)]
        for engine in ("dbos", "inline"):
            lab.worker(engine)
        until(ended(lab, jobs), 90)
        assert states(lab, jobs) == {"ok"}
        assert sorted(map(int, lab.diary())) == [*range(1, 17)]
        every = [lab.jobs.get(job.id) for job in jobs]
        for start in (job.started_us or 0 for job in every):
            assert sum((one.started_us or 0) <= start < (one.finished_us or 0) for one in every) <= 2


def test_a_job_behind_others_that_nobody_runs_is_run_all_the_same(lab: Lab):
    forgotten = lab.shell(told(lab, ""))
    job = lab.shell(told(lab, ""))
    assert lab.jobs.run(job.id).state == "ok"
    assert lab.state(forgotten) == "queued"
    assert lab.diary() == ["2"]


def test_in_the_foreground_a_job_waits_for_a_place(tmp_path: Path):
    with lab_of(tmp_path, max_running=1) as lab:
        first = lab.shell(told(lab, WAITS), outputs=["o"])
        lab.worker()
        until(lambda: lab.diary() == ["1"])
        second = lab.shell(told(lab, ""))
        waiting = threading.Thread(target=lab.jobs.run, args=(second.id,))
        waiting.start()
        time.sleep(1)
        assert lab.state(second) == "queued"
        go(lab, first.id)
        waiting.join(30)
        assert states(lab, [first, second]) == {"ok"}


def test_a_place_held_by_a_dead_runner_is_freed_by_whoever_needs_it(tmp_path: Path):
    with lab_of(tmp_path, max_running=1) as lab:
        first = lab.shell(told(lab, "sleep 0.2"))
        worker = lab.worker()
        until(lambda: lab.diary() == ["1"])
        worker.kill()
        second = lab.shell(told(lab, ""))
        assert lab.jobs.run(second.id).state == "ok"
        assert lab.state(first) == "ok"


def test_interrupted_in_the_foreground_it_is_cancelled(lab: Lab):
    job = lab.shell("echo ready; sleep 600")

    def interrupt(_stream: str, _block: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.jobs.run(job.id, interrupt)
    job = lab.jobs.get(job.id)
    assert job.state == "cancelled"
    assert not lives(job.pid or 0)


def test_threads_that_ask_at_once_are_one_holder(lab: Lab):
    found: set[str] = set()
    threads = [threading.Thread(target=lambda: found.add(lab.hold.catalog.holders.own())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


# -- kill -9 at every effect --------------------------------------------------------------------------------


class Deadly:
    """Counts effects; at the chosen one the process kills itself, before or after it."""

    def __init__(self, number: int, moment: str) -> None:
        self.number, self.moment, self.seen = number, moment, 0

    def wrap(self, holder: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(holder, name)

        def effect(*arguments: Any, **options: Any) -> Any:
            self.seen += 1
            mine = self.seen == self.number
            if mine and self.moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = original(*arguments, **options)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        monkeypatch.setattr(holder, name, effect)


def deadly(lab: Lab, number: int, moment: str, monkeypatch: pytest.MonkeyPatch) -> Deadly:
    made = Deadly(number, moment)
    for name in ("claim", "place", "supervised", "stored", "finish"):
        made.wrap(lab.jobs.runs, name, monkeypatch)
    for name in ("make_work_folder", "make_logs_folder", "remove_work_folder"):
        made.wrap(runner, name, monkeypatch)
    for name in ("write_spec", "begin"):
        made.wrap(runner.Supervisor, name, monkeypatch)
    made.wrap(outputs, "_second_name", monkeypatch)
    made.wrap(lab.hold, "adopt_file", monkeypatch)
    made.wrap(lab.hold.catalog.writes, "begin", monkeypatch)
    made.wrap(lab.hold.catalog.writes, "commit", monkeypatch)
    made.wrap(lab.jobs.ledger, "forget_folder", monkeypatch)
    return made


EFFECTS = 21


@pytest.mark.needs("fork")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_effect_a_job_is_run_once_and_told_truthfully(lab: Lab, moment: str):
    """`EFFECTS` is how many a job with two outputs has: the last number is not reached."""
    survived: list[int] = []
    for number in range(1, EFFECTS + 2):
        dataset = lab.put(b"in")
        script = told(lab, "cp {input1} a; echo $HOLDFAST_JOB_ID > b; mkdir b_files; echo e > b_files/e")
        job = lab.shell(script, dataset, outputs=["a", "b"])
        child = os.fork()
        if child == 0:
            try:
                deadly(lab, number, moment, pytest.MonkeyPatch())
                lab.jobs.run(job.id)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            survived.append(number)
        job = lab.jobs.run(job.id)
        where = f"{moment} effect {number}"
        assert (job.state, job.exit_code) == ("ok", 0), f"{where}: {job.note}"
        assert lab.diary().count(str(job.id)) == 1, where
        assert lab.rows("SELECT * FROM lease") == [], where
        lab.jobs.sweep()
        assert lab.files("new_work") == {}, where
        stored = {output.name: output.dataset_id for output in job.outputs}
        made = lab.rows("SELECT name, id FROM dataset WHERE job_id = ? AND state = 'ok' ORDER BY name", job.id)
        assert dict(made) == stored, where
        assert len(made) == 2, where
        with lab.hold.open(stored["b"] or 0) as stream:
            assert stream.read() == f"{job.id}\n".encode(), where
    assert survived == [EFFECTS + 1], "every effect was tried, and none is missing in the list"
    tidy_and_whole(lab)


def tidy_and_whole(lab: Lab) -> None:
    """After a reap nothing is left that the catalog does not know, and nothing it knows is missing."""
    operations = Operations(lab.hold)
    for kind, parameters in (("reap", {"grace_s": 0}), ("reconcile", {}), ("scrub", {})):
        row = operations.run(operations.submit(kind, parameters).id)
        assert row.state == "done", row
        assert operations.ledger.failures(row.id) == [], kind
    known = {f"{key}" for (key,) in lab.rows("SELECT key FROM replica WHERE state = 'present'")}
    assert known == {name for name in lab.files("new") if name.endswith(".dat")}
    assert lab.rows("SELECT * FROM reservation") == []
    assert lab.hold.pool("newdata").reserved_bytes == 0


def test_a_job_that_is_claimed_while_its_worker_stops_waits_again(lab: Lab):
    job = lab.shell(told(lab, "true"), lab.put())
    work, stopped = JobWork(lab.hold, lab.jobs), threading.Event()
    stopped.set()
    claimed = work.claim()
    assert claimed == job.id
    work.run(claimed, stopped)
    assert (lab.state(job), lab.jobs.get(job.id).folder, lab.diary()) == ("queued", None, [])
    assert not logs_folder(lab.hold.state_dir, job.id).exists()
    lab.worker("inline")
    until(ended(lab, [job]))
    assert (lab.state(job), lab.diary()) == ("ok", ["1"])
