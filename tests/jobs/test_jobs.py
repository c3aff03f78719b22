"""Jobs from submission to their datasets, run in the foreground, looked at on the disk."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from tests.jobs.lab import Lab, lab_of, until

from holdfast.catalog.accounts import Accounts
from holdfast.errors import Conflict, Malformed, NotFound
from holdfast.jobs.folders import logs_folder


def test_inputs_become_outputs(lab: Lab):
    first, second = lab.put(b"b\na\n"), lab.put(b"c\n")
    job = lab.run("cat {inputs} | sort > {output:sorted.txt}; echo said; echo moaned >&2", first, second,
                  outputs=["sorted.txt"], owner="alice@example.org")  # fmt: skip
    assert (job.state, job.exit_code, job.note, job.object_store_id) == ("ok", 0, None, "newdata")
    [output] = job.outputs
    dataset = lab.hold.find(output.dataset_id or 0)
    assert (dataset.name, dataset.owner, dataset.origin, dataset.job_id) == (
        "sorted.txt", "alice@example.org", "job", job.id,
    )  # fmt: skip
    assert lab.files("new")["000/dataset_3.dat"] == b"a\nb\nc\n"
    assert lab.files("new_work") == {}, "the folder of a job that went well is gone"
    shape = lab.jobs.to_json(job)
    assert (shape["stdout_tail"], shape["stderr_tail"]) == ("said\n", "moaned\n")
    assert shape["outputs"] == [{"name": "sorted.txt", "dataset_id": 3}]
    assert shape["folder"] is None
    assert shape["created"] <= shape["started"] <= shape["finished"]
    json.dumps(shape)


def test_a_command_that_writes_to_its_input_is_told(lab: Lab):
    dataset = lab.put(b"a\n")
    job = lab.run("echo more >> {input1}", dataset)
    assert (job.state, job.exit_code) == ("ok", 0)
    assert job.note == f"the command wrote to input1 (dataset {dataset}), which is damaged now"
    assert lab.hold.find(dataset).state == "error"
    assert lab.files("new")["000/dataset_1.dat"] == b"a\nmore\n", "what is there is left for somebody to look at"


def test_an_input_that_is_replaced_or_touched_while_the_job_runs_is_no_damage(lab: Lab):
    dataset = lab.put(b"a\n")
    path = lab.home / "new" / "000" / f"dataset_{dataset}.dat"
    job = lab.run(f"cp {{input1}} copy; cp copy other; mv other {path}; cat {{input1}}", dataset)
    assert (job.state, job.note) == ("ok", None), "another file under the name: somebody replaced the dataset"
    job = lab.run("touch {input1}", dataset)
    assert job.note == f"the command wrote to input1 (dataset {dataset}), which has its old content"
    assert lab.hold.find(dataset).state == "ok"


def test_it_works_in_the_job_work_folder_of_its_pool(lab: Lab):
    job = lab.run("pwd; echo $HOME; echo $TMPDIR; echo $HOLDFAST_JOB_ID; echo {output:o}; touch o", outputs=["o"],
                  pool="olddata")  # fmt: skip
    folder = lab.home / "old_work" / "000" / str(job.id)
    said = lab.jobs.output(job.id, "stdout").decode().splitlines()
    assert said == [f"{folder}/working", f"{folder}/working", f"{folder}/tmp", str(job.id), f"{folder}/working/o"]
    assert "000/dataset_1.dat" in lab.files("old")
    assert lab.hold.find(1).object_store_id == "olddata"


def test_the_users_preference_comes_before_the_tree_and_after_the_demand(lab: Lab):
    accounts = Accounts(lab.hold.catalog.db, lab.hold.clock, lab.hold.entropy)
    account = accounts.create("alice@example.org")
    with lab.hold.catalog.db.write() as cursor:
        cursor.execute("UPDATE account SET preferred_pool = 'olddata' WHERE id = :id", {"id": account.id})
    mine = {"outputs": ["o"], "owner": "alice@example.org"}
    assert lab.run("touch o", **mine).object_store_id == "olddata"
    assert lab.run("touch o", **mine, pool="newdata").object_store_id == "newdata"
    assert lab.run("touch o", outputs=["o"]).object_store_id == "newdata"
    lab.hold.set_pool_state("olddata", "read-only")
    assert lab.run("touch o", **mine).object_store_id == "newdata"
    datasets = [lab.hold.find(number) for number in (1, 2, 3, 4)]
    assert [dataset.object_store_id for dataset in datasets] == ["olddata", "newdata", "newdata", "newdata"]
    why = [dataset.placement[0].reason.partition(";")[0] for dataset in datasets]
    assert why == ["preferred by its owner", "asked for", "chosen when job 3 began", "chosen when job 4 began"]


def test_a_pool_that_takes_nothing_is_passed_over_or_named(lab: Lab):
    lab.hold.set_pool_state("newdata", "read-only")
    assert lab.run("touch o", outputs=["o"]).object_store_id == "olddata"
    job = lab.run("touch o", outputs=["o"], pool="newdata")
    assert (job.state, job.exit_code) == ("failed", None)
    assert "read-only" in (job.note or "")
    assert not (lab.home / "new_work").exists(), "nothing was begun"


def test_jobs_side_by_side_share_a_distributed_tree(tmp_path: Path):
    with lab_of(tmp_path, placement="distributed", max_running=4) as lab:
        submitted = [lab.shell("sleep 0.2; touch o", outputs=["o"]) for _ in range(8)]
        lab.worker()
        until(lambda: all(lab.jobs.get(job.id).is_over for job in submitted))
        pools = [lab.jobs.get(job.id).object_store_id for job in submitted]
        assert sorted(pools) == ["newdata"] * 4 + ["olddata"] * 4
        assert {dataset.object_store_id for dataset in lab.hold.datasets()} == {"newdata", "olddata"}
        for n in range(2, 9):
            assert abs(pools[:n].count("newdata") - n / 2) <= 1, f"after {n} jobs: {pools}"


def test_jobs_one_after_another_share_a_distributed_tree_and_demands_do_not_count(tmp_path: Path):
    with lab_of(tmp_path, placement="distributed") as lab:
        pools = []
        for _ in range(6):
            pools.append(lab.run("touch o", outputs=["o"]).object_store_id)
            assert lab.run("touch o", outputs=["o"], pool="olddata").object_store_id == "olddata"
        assert pools[::2] == [pools[0]] * 3
        assert pools[1::2] == [pools[1]] * 3
        assert {*pools} == {"newdata", "olddata"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("true", "did not make its output o"),
        ("ln -s /etc/passwd o", "link that leaves the working folder"),
        ("ln -s ../../../../holdfast.yml o", "link that leaves the working folder"),
        ("ln -s nowhere o", "link to nothing: nowhere"),
        ("ln -s o o", "cannot be looked at"),
        ("mkdir o", "is a folder"),
        ("mkfifo o", "no regular file"),
        ("ln -s /dev/zero o", "link that leaves"),
        ("touch o; ln -s /etc o_files", "o_files is no folder"),
        ("touch o o_files", "o_files is no folder"),
        ("touch o; mkdir o_files; ln -s /etc/passwd o_files/x", "leads out of the folder"),
        ("touch o; mkdir o_files; mkfifo o_files/x", "neither a file nor a folder"),
        ("touch o; mkdir o_files; touch 'o_files/a\nb'", "control character"),
    ],
)
def test_an_output_that_cannot_be_stored_fails_the_job_and_is_kept_to_be_looked_at(lab: Lab, script: str, reason: str):
    job = lab.run(script, outputs=["o"])
    assert (job.state, job.exit_code) == ("failed", 0)
    assert reason in (job.note or "")
    assert lab.rows("SELECT count(*) FROM dataset WHERE state <> 'purged'") == [(0,)]
    assert lab.files("new") == {}
    assert job.folder is not None
    assert os.path.isdir(job.folder)


def test_one_bad_output_stores_none(lab: Lab):
    job = lab.run("touch a c", outputs=["a", "b", "c"])
    assert job.state == "failed"
    assert [output.dataset_id for output in job.outputs] == [None, None, None]
    assert lab.rows("SELECT count(*) FROM dataset") == [(0,)]


def test_links_that_stay_inside_and_names_twice_are_stored_as_files(lab: Lab):
    job = lab.run("echo one > real; ln -s real soft; ln real hard", outputs=["real", "soft", "hard"])
    assert job.state == "ok", job.note
    stored = [lab.home / "new" / f"000/dataset_{number}.dat" for number in (1, 2, 3)]
    assert [path.read_bytes() for path in stored] == [b"one\n"] * 3
    assert len({path.stat().st_ino for path in stored}) == 3, "each has bytes of its own"
    assert {path.stat().st_nlink for path in stored} == {1}


def test_an_input_linked_as_output_is_copied(lab: Lab):
    dataset = lab.put(b"shared")
    job = lab.run("ln {input1} o", dataset, outputs=["o"])
    assert job.state == "ok", job.note
    first, second = (lab.home / "new" / f"000/dataset_{number}.dat" for number in (1, 2))
    assert first.read_bytes() == second.read_bytes() == b"shared"
    assert first.stat().st_ino != second.stat().st_ino


def test_an_output_is_renamed_not_copied(lab: Lab):
    job = lab.run("head -c 100000 /dev/urandom > o; stat -c %i o", outputs=["o"])
    inode = int(lab.jobs.output(job.id, "stdout"))
    stored = lab.home / "new" / "000" / "dataset_1.dat"
    assert (stored.stat().st_ino, stored.stat().st_nlink) == (inode, 1)


def test_extra_files_go_along(lab: Lab):
    job = lab.run("echo p > o; mkdir -p o_files/sub; echo e > o_files/sub/e.txt", outputs=["o"])
    assert job.state == "ok", job.note
    assert lab.files("new")["000/dataset_1_files/sub/e.txt"] == b"e\n"
    assert lab.hold.find(1).total_bytes == 4


def test_a_failed_job_keeps_its_folder_for_its_time(lab: Lab):
    job = lab.run("echo half > o; exit 4", outputs=["o"])
    assert (job.state, job.exit_code, job.note) == ("failed", 4, "exit code 4")
    assert lab.files("new_work") == {f"000/{job.id}/working/o": b"half\n"}
    assert lab.jobs.sweep() == 0
    assert lab.jobs.sweep(keep_failed_s=0) == 1
    assert lab.files("new_work") == {}
    assert lab.jobs.get(job.id).folder is None
    assert not (lab.home / "new_work" / "000" / str(job.id)).exists()
    assert lab.jobs.output(job.id, "stdout") == b"", "what it wrote is kept beside"
    assert logs_folder(lab.hold.state_dir, job.id).is_dir()


def test_what_a_job_wrote_is_kept_for_its_time(lab: Lab):
    ended = lab.run("echo said")
    queued = lab.jobs.submit(["true"])
    for unknown in (4711, 4712):
        logs_folder(lab.hold.state_dir, unknown).mkdir(parents=True)
    (lab.hold.state_dir / "job_logs" / "notes").mkdir()
    hour_ago_s = time.time() - 3600
    os.utime(logs_folder(lab.hold.state_dir, 4711), (hour_ago_s, hour_ago_s))
    assert lab.jobs.sweep_logs() == 0
    assert lab.jobs.tail(ended.id, "stdout") == "said\n"
    assert lab.jobs.sweep_logs(keep_logs_s=1800) == 1, "nobody knows job 4711, and nobody has touched it"
    assert not logs_folder(lab.hold.state_dir, 4711).exists()
    time.sleep(0.01)
    assert lab.jobs.sweep_logs(keep_logs_s=0) == 2
    assert lab.jobs.tail(ended.id, "stdout") == ""
    assert lab.jobs.get(ended.id).exit_code == 0
    assert lab.jobs.run(queued.id).state == "ok"
    assert lab.jobs.swept() == {"job_folders": 0, "job_logs": 0}


def test_folders_that_cannot_be_entered_are_taken_away(lab: Lab):
    job = lab.run("mkdir -p a/b; touch a/b/c; chmod 0 a/b a; ln -s /etc l; true")
    assert job.state == "ok"
    assert job.folder is None
    assert not (lab.home / "new_work" / "000" / str(job.id)).exists()
    assert os.path.exists("/etc/passwd")


def test_somebody_elses_folder_is_left_alone(lab: Lab):
    theirs = lab.home / "new_work" / "000" / "1" / "working"
    theirs.mkdir(parents=True)
    (theirs / "o").write_text("precious")
    job = lab.run("pwd; echo mine > o", outputs=["o"])
    assert job.state == "ok", job.note
    assert lab.jobs.output(job.id, "stdout").decode() == f"{lab.home}/new_work/000/1_1/working\n"
    assert lab.files("new_work") == {"000/1/working/o": b"precious"}


def test_a_pool_without_job_work_has_its_jobs_in_the_state_directory(tmp_path: Path):
    with lab_of(tmp_path, job_work="temp") as lab:
        job = lab.run("pwd")
        assert lab.jobs.output(job.id, "stdout").decode() == f"{tmp_path}/state/jobs/000/{job.id}/working\n"


def test_a_pool_that_fills_up_meanwhile_fails_whoever_demanded_it(tmp_path: Path):
    with lab_of(tmp_path, newdata=", capacity_bytes: 2000") as lab:
        job = lab.run("head -c 3000 /dev/zero > o", outputs=["o"], pool="newdata")
        assert (job.state, job.exit_code) == ("failed", 0)
        assert "no room" in (job.note or "")
        assert lab.files("new_work") == {f"000/{job.id}/working/o": bytes(3000)}, "the output is still there"
        job = lab.run("head -c 3000 /dev/zero > o", outputs=["o"])
        assert (job.state, job.object_store_id) == ("ok", "newdata")
        assert lab.hold.find(job.outputs[0].dataset_id or 0).object_store_id == "olddata", "nobody had asked for it"
        assert lab.hold.pool("newdata").reserved_bytes == 0


def test_a_folder_that_cannot_be_made_fails_the_job_with_the_reason(lab: Lab):
    (lab.home / "new_work").write_text("in the way")
    job = lab.run("true")
    assert job.state == "failed"
    assert f"{lab.home}/new_work could not be made" in (job.note or "")


# -- before anything is queued ------------------------------------------------------------------------------


def test_nothing_is_queued_that_cannot_be_run(lab: Lab):
    dataset = lab.put()
    removed = lab.put()
    lab.hold.remove(removed)
    for error, options in (
        (Malformed, {"command": ["tool", "{input2}"], "inputs": [dataset]}),
        (Malformed, {"command": ["tool", "{output:x}"]}),
        (Malformed, {"command": []}),
        (NotFound, {"command": ["tool"], "inputs": [999]}),
        (NotFound, {"command": ["tool"], "pool": "nopool"}),
        (Conflict, {"command": ["tool"], "inputs": [dataset, removed]}),
    ):
        with pytest.raises(error):
            lab.jobs.submit(**options)
    assert lab.jobs.list() == []
    assert lab.rows("SELECT * FROM lease") == []


@pytest.mark.parametrize("job_id", [0, -1, 2**63, 2**70, "x", "-1", "9" * 30, "1e3", 77])
def test_a_job_that_is_not_there(lab: Lab, job_id: int | str):
    for ask in (lab.jobs.get, lab.jobs.cancel, lab.jobs.wait):
        with pytest.raises(NotFound):
            ask(job_id)
    if job_id == 77:
        assert lab.jobs.output(job_id, "stdout") == b""
    else:
        with pytest.raises(NotFound):
            lab.jobs.output(job_id, "stdout")


# -- inputs are held ----------------------------------------------------------------------------------------


def test_a_queued_jobs_input_cannot_be_purged_or_replaced(lab: Lab):
    dataset = lab.put(b"precious")
    job = lab.shell("cat {input1}", dataset)
    for attempt in (
        lambda: lab.hold.remove(dataset, purge=True),
        lambda: lab.hold.replace(dataset, b"other"),
    ):
        with pytest.raises(Conflict, match=f"job {job.id}"):
            attempt()
    assert lab.files("new")["000/dataset_1.dat"] == b"precious"
    assert lab.jobs.run(job.id).state == "ok"
    assert lab.rows("SELECT * FROM lease") == []
    lab.hold.remove(dataset, purge=True)
    assert lab.files("new") == {}


def test_a_cancelled_or_failed_job_lets_its_inputs_go(lab: Lab):
    dataset = lab.put()
    lab.jobs.cancel(lab.shell("cat {input1}", dataset).id)
    lab.run("exit 1", dataset)
    assert lab.rows("SELECT * FROM lease") == []


def test_an_input_removed_meanwhile_fails_the_job_with_the_reason(lab: Lab):
    dataset = lab.put()
    job = lab.shell("cat {input1}", dataset)
    lab.hold.remove(dataset)
    job = lab.jobs.run(job.id)
    assert (job.state, job.exit_code) == ("failed", None)
    assert "was removed" in (job.note or "")


def test_the_same_input_twice(lab: Lab):
    dataset = lab.put(b"x")
    job = lab.run("cat {input1} {input2}", dataset, dataset)
    assert lab.jobs.output(job.id, "stdout") == b"xx"


# -- stopping, waiting, looking -----------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once(lab: Lab):
    job = lab.shell("touch {output:o}", outputs=["o"])
    job = lab.jobs.cancel(job.id, actor="bob@example.org")
    assert (job.state, job.note, job.started_us) == ("cancelled", "cancelled by bob@example.org before it began", None)
    assert lab.jobs.run(job.id).state == "cancelled", "it is not run any more"
    assert lab.files("new_work") == {}


def test_a_running_job_is_stopped_with_its_family(lab: Lab):
    script = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 600\" & echo $! > pid; while :; do sleep 0.1; done"
    job = lab.shell(script)
    runner = threading.Thread(target=lab.jobs.run, args=(job.id,))
    runner.start()
    pid_file = lab.home / "new_work" / "000" / "1" / "working" / "pid"
    until(lambda: pid_file.exists() and pid_file.read_text())
    pid = int(pid_file.read_text())
    begin_s = time.monotonic()
    lab.jobs.cancel(job.id)
    done = lab.jobs.wait(job.id, 20)
    runner.join()
    assert done.state == "cancelled"
    assert time.monotonic() - begin_s < 10
    assert not os.path.exists(f"/proc/{pid}/exe")
    assert lab.files("new_work") == {}, "nobody will want its folder"


def test_cancelling_what_is_over_changes_nothing(lab: Lab):
    job = lab.run("exit 3")
    assert lab.jobs.cancel(job.id) == job


def test_waiting_ends_with_its_time(lab: Lab):
    job = lab.shell("true")
    begin_s = time.monotonic()
    assert lab.jobs.wait(job.id, 0.2).state == "queued"
    assert time.monotonic() - begin_s < 2


def test_pages_owners_states(lab: Lab):
    alice = [lab.run("true", owner="alice@example.org").id for _ in range(3)]
    bob = lab.shell("false", owner="bob@example.org").id
    assert [job.id for job in lab.jobs.list()] == [bob, *reversed(alice)]
    assert [job.id for job in lab.jobs.list(owner="alice@example.org", limit=2)] == [alice[2], alice[1]]
    assert [job.id for job in lab.jobs.list(owner="alice@example.org", after=alice[1])] == [alice[0]]
    assert [job.id for job in lab.jobs.list(state="queued")] == [bob]
    with pytest.raises(Malformed, match="queued, running"):
        lab.jobs.list(state="quick")


def test_output_is_handed_on_while_it_runs(lab: Lab):
    job = lab.shell("echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; echo err >&2")
    seen: list[tuple[str, bytes]] = []

    def take(stream: str, block: bytes) -> None:
        seen.append((stream, block))
        if b"one" in block:
            (lab.home / "new_work" / "000" / "1" / "working" / "go").touch()

    assert lab.jobs.run(job.id, take).state == "ok"
    assert b"".join(block for stream, block in seen if stream == "stdout") == b"one\ntwo\n"
    assert ("stdout", b"one\n") in seen
    assert b"".join(block for stream, block in seen if stream == "stderr") == b"err\n"


def test_output_by_offset_and_its_bound(lab: Lab):
    job = lab.run("head -c 50000 /dev/zero | tr '\\0' x; echo bad >&2; exit 1")
    assert lab.jobs.output(job.id, "stdout", offset=19_990, limit=5) == b"xxxxx"
    assert lab.jobs.output(job.id, "stdout", offset=20_000) == b""
    assert lab.jobs.output(job.id, "stderr", offset=1) == b"ad\n"
    assert job.note == "exit code 1; stdout: the first 19.5 KiB of 48.8 KiB are kept"
    with pytest.raises(NotFound, match="stdout and stderr"):
        lab.jobs.output(job.id, "../spec.json")


def test_a_jobs_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_DATABASE_PASSWORD", "secret")
    job = lab.run("env", environment={"THREADS": "4"})
    said = dict(line.split("=", 1) for line in lab.jobs.output(job.id, "stdout").decode().splitlines())
    assert said["THREADS"] == "4"
    assert "HOLDFAST_DATABASE_PASSWORD" not in said
    kept = {path.name for path in logs_folder(lab.hold.state_dir, job.id).iterdir()}
    assert kept == {"stdout", "stderr", "started.json", "exit.json"}, "what the job was given is not kept"
    assert set(said) - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "PATH", "LANG", "THREADS", "HOME", "TMPDIR", "HOLDFAST_JOB_ID", "HOLDFAST_JOB_FOLDER",
    }  # fmt: skip


def test_what_happens_stands_in_the_event_log(lab: Lab):
    job = lab.run("exit 2", owner="alice@example.org")
    told = [(event.kind, event.actor) for event in lab.hold.events_since(0) if event.kind.startswith("job.")]
    assert told == [("job.queued", "alice@example.org"), ("job.running", None), ("job.failed", None)]
    assert lab.hold.events(1)[0].text == f"job {job.id} failed: exit code 2"


def test_a_two_command_job_costs_little_more_than_its_commands(lab: Lab):
    lab.run("true")
    begin_s = time.monotonic()
    assert lab.run("true; true", outputs=[]).state == "ok"
    assert time.monotonic() - begin_s < 1
