"""scrub, reconcile, reap, ops, op: what they find, and what they leave alone."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.cli.lab import ENVIRONMENT, Lab


def damage(lab: Lab, path: str, content: bytes) -> None:
    stored = lab.home / path
    stored.chmod(0o644)
    stored.write_bytes(content)


def test_scrub_of_what_is_whole(lab: Lab):
    lab.put("a.txt", b"aaaa")
    lab.put("b.txt", b"bbbb", "--pool", "olddata")
    shape = lab.json("scrub")
    assert (shape["kind"], shape["state"], shape["failures"]) == ("scrub", "done", [])
    assert (shape["objects_done"], shape["bytes_done"]) == (2, 8)
    assert lab.call("scrub").out.startswith("scrub 2 done: 2 objects, 8 B")


def test_scrub_finds_damage_and_says_so_with_its_exit_code(lab: Lab):
    lab.put("a.txt", b"aaaa")
    lab.put("b.txt", b"bbbb")
    damage(lab, "data2/000/dataset_1.dat", b"axaa")
    answer = lab.call("scrub")
    assert answer.code == 5
    assert "Corrupt" in answer.out
    (lab.home / "data2/000/dataset_1.dat").unlink()
    assert lab.call("scrub").code == 3
    assert lab.json("show", "1")["replicas"][0]["state"] == "missing"
    assert lab.stored() == {"data2/000/dataset_2.dat": b"bbbb"}


def test_scrub_of_one_pool(lab: Lab):
    lab.put("a.txt", b"aaaa")
    lab.put("b.txt", b"bbbb", "--pool", "olddata")
    assert lab.json("scrub", "--pool", "olddata")["bytes_done"] == 4


def test_reconcile_names_and_adopts(lab: Lab):
    lab.put("a.txt", b"aaaa")
    for dataset_id in (7, 8):
        path = lab.home / f"data/000/dataset_{dataset_id}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"old")
    found = lab.json("reconcile")
    assert found["result"]["unknown"] == 2
    assert [shape["id"] for shape in lab.json("ls")] == [1]
    adopted = lab.json("reconcile", "--adopt")
    assert adopted["result"]["adopted"] == 2
    assert [shape["id"] for shape in lab.json("ls")] == [8, 7, 1]
    assert lab.json("reconcile")["failures"] == []
    assert lab.put("b.txt", b"bbbb")["id"] not in (7, 8)


def test_reap_takes_what_a_killed_put_left(lab: Lab):
    child = subprocess.Popen(
        lab.command("put", "-", "--name", "killed"), cwd=lab.home, env=ENVIRONMENT, stdin=subprocess.PIPE
    )
    with child:
        child.stdin.write(b"x" * 3 * 1024 * 1024)
        child.stdin.flush()
        deadline = time.monotonic() + 30
        while not big_files(lab):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        assert child.wait(timeout=30) == -signal.SIGKILL
        child.stdin.close()
    assert big_files(lab), "nobody has cleaned up yet"
    plan = lab.json("reap", "--dry-run")
    assert plan["kind"] == "reap"
    assert plan["objects"] >= 1
    assert big_files(lab), "a dry run changes nothing"
    assert lab.json("reap")["failures"] == []
    assert not big_files(lab)
    assert lab.json("ls") == []
    assert all(pool["reserved_bytes"] == 0 for pool in lab.json("pools"))


def test_reap_takes_the_folders_of_jobs_after_their_time(lab: Lab):
    with (lab.home / "holdfast.yml").open("a") as document:
        document.write("jobs: {keep_failed: 1 s, keep_logs: 1 s}\n")
    assert lab.call("run", "--", "sh", "-c", "echo half > o; exit 4").code == 4
    folder = Path(lab.json("job", "show", "1")["folder"])
    assert (folder / "working" / "o").exists()
    time.sleep(1.1)
    assert "and take away 1 job folder and 1 job log\n" in lab.call("reap", "--dry-run").out
    assert folder.exists(), "a dry run changes nothing"
    assert lab.json("reap")["result"] == {"job_folders": 1, "job_logs": 1}
    assert not folder.exists()
    assert lab.json("job", "show", "1")["exit_code"] == 4
    assert "job_folders" not in lab.json("reap")["result"]


def test_reap_says_what_holds_it_up_and_where(lab: Lab):
    first, second = (lab.put(name, b"x", "--pool", pool) for name, pool in (("a", "newdata"), ("b", "olddata")))
    with open(first["full_path"], "rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert lab.call("rm", "--purge", str(first["id"])).code == 0
        lab.json("pool", "set", "olddata", "--state", "read-only")
        assert lab.call("rm", "--purge", str(second["id"])).code == 0
        answer = lab.call("reap", "--grace", "0s", "--json")
    assert answer.code == 6
    why = {failure["dataset"]: (failure["object_store_id"], failure["why"]) for failure in answer.json["failures"]}
    assert why[first["id"]][0] == "newdata"
    assert "000/dataset_1.dat in pool newdata is being read" in why[first["id"]][1]
    assert why[second["id"]][0] == "olddata"
    assert "pool olddata is read-only" in why[second["id"]][1]
    assert all(text.endswith("it stays on the list") for _, text in (why[first["id"]], why[second["id"]]))
    lab.json("pool", "set", "olddata", "--state", "active")
    assert lab.json("reap", "--grace", "0s")["result"]["deleted"] == 2
    assert lab.stored() == {}


def big_files(lab: Lab) -> list[str]:
    return [path for path in (lab.home / "data2").rglob("*") if path.is_file() and path.stat().st_size > 1000]


def test_a_dry_run_is_a_plan(lab: Lab):
    lab.put("a.txt", b"aaaa")
    plan = lab.json("scrub", "--dry-run", "--limit-rate", "2B/s")
    assert plan.keys() == {"kind", "objects", "bytes", "from", "to", "blockers", "seconds_estimate"}
    assert (plan["objects"], plan["bytes"], plan["seconds_estimate"]) == (1, 4, 2.0)
    assert lab.json("ops") == []
    assert "scrub would look at 1 object, 4 B" in lab.call("scrub", "--dry-run").out


def test_operations_in_the_list(lab: Lab):
    lab.begin()
    assert "holdfast scrub" in lab.call("ops").out
    lab.json("scrub")
    lab.json("reconcile")
    assert [shape["kind"] for shape in lab.json("ops")] == ["reconcile", "scrub"]
    assert [shape["kind"] for shape in lab.json("ops", "--limit", "1")] == ["reconcile"]
    assert [shape["kind"] for shape in lab.json("ops", "--after", "2")] == ["scrub"]
    assert lab.json("ops", "--state", "running") == []
    assert "Kind       scrub" in lab.call("op", "show", "1").out


def test_a_detached_operation_can_be_paused_resumed_and_cancelled(lab: Lab):
    lab.put("a.txt", b"aaaa")
    assert lab.call("scrub", "--detach").out == "1\n"
    assert lab.json("scrub", "--detach")["id"] == 1, "the same command finds the same operation"
    lab.call("op", "pause", "1")
    assert lab.json("op", "show", "1")["state"] == "paused"
    assert lab.json("op", "resume", "1")["state"] == "done"
    assert lab.json("scrub", "--detach")["id"] == 2
    lab.call("op", "cancel", "2")
    assert lab.json("op", "show", "2")["state"] == "cancelled"
    assert lab.call("op", "resume", "2").code == 8


def test_an_interrupted_scrub_goes_on_where_it_was(lab: Lab):
    for at in range(70):  # more than one batch
        lab.file(f"many/{at}.bin", os.urandom(2000))
    lab.json("put", *sorted((lab.home / "many").iterdir()))
    child = subprocess.Popen(
        lab.command("scrub", "--limit-rate", "100KiB/s", "--progress=plain"),
        cwd=lab.home, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with child:
        child.stderr.readline()
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
        assert b"the same command goes on" in child.stderr.read()
    shape = lab.json("scrub", "--limit-rate", "100KiB/s")
    assert (shape["id"], shape["state"], shape["objects_done"]) == (1, "done", 70)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["scrub", "--limit-rate", "0"], 2),
        (["scrub", "--limit-rate", "fast"], 2),
        (["scrub", "--concurrency", "0"], 2),
        (["scrub", "--pool", "nopool"], 3),
        (["scrub", "--dry-run", "--detach"], 2),
        (["reap", "--grace", "tomorrow"], 2),
        (["op", "show", "9"], 3),
        (["op", "pause", "x"], 3),
        (["ops", "--state", "broken"], 2),
    ],
)
def test_refused(lab: Lab, arguments, code):
    lab.begin()
    answer = lab.call(*arguments)
    assert (answer.code, answer.out) == (code, "")
    assert json.loads(lab.call(*arguments, "--json").err)["exit_code"] == code


def test_a_rate_that_is_none_is_answered_with_a_rate(lab: Lab):
    lab.begin()
    answer = lab.call("scrub", "--limit-rate", "foo")
    assert answer.code == 2
    assert "100MiB/s" in answer.err


def test_reconcile_names_pool_and_key_once_and_counts_what_is_not_shown(lab: Lab):
    lab.begin()
    folder = lab.home / "data/000"
    folder.mkdir(parents=True)
    for number in range(1, 104):
        (folder / f"dataset_{number}.dat").write_bytes(b"x")
    answer = lab.call("reconcile")
    lines = [line for line in answer.out.splitlines() if "dataset_" in line]
    assert len(lines) == 100
    assert all(line.count("olddata") == 1 and line.count(".dat") == 1 for line in lines), lines[0]
    assert answer.out.splitlines()[-1] == "and 3 more; holdfast op show 1 --json lists 1,000"
    assert len(lab.json("op", "show", "1")["failures"]) == 103
