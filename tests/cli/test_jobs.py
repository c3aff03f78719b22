"""run, jobs, job show, job cancel: a job's command, as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from tests.cli.lab import ENVIRONMENT, Lab

import holdfast


def test_run_makes_datasets_of_its_outputs(lab: Lab):
    lab.put("numbers.txt", "3\n1\n2\n")
    answer = lab.program(
        "run", "--input", "1", "--output", "sorted.txt", "--user", "alice@example.org", "--pool", "olddata", "--",
        "sort", "-o", "{output:sorted.txt}", "{input1}",
    )  # fmt: skip
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "sorted.txt is dataset 2 in olddata (6 B)\n"
    shape = lab.json("show", "2")
    assert (shape["name"], shape["owner"], shape["object_store_id"]) == ("sorted.txt", "alice@example.org", "olddata")
    assert lab.stored()["data/000/dataset_2.dat"] == b"1\n2\n3\n"
    assert "Job        1" in lab.call("show", "2").out


def test_run_shows_output_and_ends_with_the_commands_code(lab: Lab):
    answer = lab.program("run", "--", "sh", "-c", "echo said; echo moaned >&2; exit 7")
    assert (answer.code, answer.out) == (7, "said\n")
    assert answer.err.splitlines()[0] == "moaned"
    assert "exit code 7" in answer.err


def test_run_without_two_dashes_takes_the_commands_options(lab: Lab):
    answer = lab.program("run", "sh", "-c", "echo $0 $1", "--json", "--pool")
    assert (answer.code, answer.out) == (0, "--json --pool\n")


def test_run_keeps_bytes_as_they_are(lab: Lab):
    command = lab.command("run", "--", "printf", r"\377\000\001")
    done = subprocess.run(command, cwd=lab.home, env=ENVIRONMENT, capture_output=True, check=True)
    assert done.stdout == b"\xff\x00\x01"


def test_run_with_json_prints_one_value(lab: Lab):
    answer = lab.program("run", "--json", "--output", "made.txt", "--", "sh", "-c", "echo hi | tee {output:made.txt}")
    assert answer.code == 0
    assert answer.json["state"] == "ok"
    assert answer.json["stdout_tail"] == "hi\n"
    assert answer.json["outputs"] == [{"name": "made.txt", "dataset_id": 1}]
    assert answer.err == "hi\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--", "nosuchprogram"], 127, "not found"),
        (["--", "sh", "-c", "kill -9 $$"], 137, "signal 9"),
        (["--output", "never.txt", "--", "true"], 1, "never.txt"),
        (["--", "echo", "{input1}"], 2, "{input1}"),
        (["--input", "99", "--", "true"], 3, "99"),
        (["--pool", "nopool", "--", "true"], 3, "nopool"),
        (["--output", "../evil", "--", "true"], 2, "../evil"),
        ([], 2, "CMD"),
    ],
)
def test_run_that_does_not_work(lab: Lab, arguments, code, words):
    answer = lab.program("run", *arguments)
    assert answer.code == code
    assert words in answer.err
    assert answer.out == ""
    assert lab.stored() == {}


def test_run_interrupted_stops_everything_it_began(lab: Lab):
    marker = lab.home / "pid"
    child = subprocess.Popen(
        lab.command("run", "--", "sh", "-c", f"sleep 300 & echo $! > {marker}; wait"),
        cwd=lab.home, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with child:
        deadline = time.monotonic() + 30
        while not (marker.exists() and marker.read_text().endswith("\n")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
        assert child.stderr.read() == b"holdfast: interrupted\n"
    assert not alive(int(marker.read_text()))
    assert lab.json("job", "show", "1")["state"] == "cancelled"


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_jobs_lists_and_filters(lab: Lab):
    lab.begin()
    assert "holdfast run" in lab.call("jobs").out
    lab.program("run", "--user", "alice@example.org", "--", "true")
    lab.program("run", "--", "false")
    assert [job["state"] for job in lab.json("jobs")] == ["failed", "ok"]
    assert [job["id"] for job in lab.json("jobs", "--state", "failed")] == [2]
    assert [job["id"] for job in lab.json("jobs", "--user", "alice@example.org")] == [1]
    assert [job["id"] for job in lab.json("jobs", "--after", "2")] == [1]
    assert lab.call("jobs", "--state", "broken").code == 2
    assert lab.call("jobs").out.splitlines()[1].split() == ["2", "failed", "1", "false", "newdata", "just", "now"]


def test_job_show_tells_what_it_wrote(lab: Lab):
    lab.program("run", "--", "sh", "-c", r"printf 'plain \033[31mred\n'; exit 3")
    shown = lab.call("job", "show", "1").out
    for text in ("State      failed", "Exit code  3", "plain \\x1b[31mred", "newdata"):
        assert text in shown, text
    assert "\x1b" not in shown
    assert lab.call("job", "show", "9").code == 3
    assert lab.call("job", "show", "x").code == 3


def test_a_detached_job_waits_and_can_be_cancelled(lab: Lab):
    answer = lab.call("run", "--detach", "--", "sleep", "300")
    assert (answer.code, answer.out) == (0, "1\n")
    assert lab.json("job", "show", "1")["state"] == "queued"
    assert lab.json("job", "cancel", "1")["state"] == "cancelled"
    assert lab.call("job", "cancel", "9").code == 3
    assert json.loads(lab.call("job", "cancel", "9", "--json").err)["status"] == 404


def test_a_job_that_is_none_is_answered_with_where_to_look(lab: Lab):
    lab.begin()
    for command in ("show", "cancel"):
        answer = lab.call("job", command, "99")
        assert (answer.code, answer.err) == (3, "holdfast: there is no job 99; `holdfast jobs` lists them\n")
    for command in ("show", "pause", "resume", "cancel"):
        answer = lab.call("op", command, "99")
        assert (answer.code, answer.err) == (3, "holdfast: there is no operation 99; `holdfast ops` lists them\n")
    assert "`holdfast jobs` lists them" in lab.call("job", "show", "that one").err
    assert "`holdfast ops` lists them" in lab.call("op", "show", "that one").err


AWAY_AND_CLOSED = [
    # what is done to the pools, then the options of the job, its exit code, words on stderr
    ("away newdata", ["--input", "1"], 6, "Unavailable for the moment"),
    ("away newdata", ["--pool", "newdata", "--output", "made"], 6, "newdata"),
    ("away olddata", ["--pool", "newdata", "--input", "1"], 0, ""),
    ("offline newdata", ["--pool", "newdata", "--output", "made"], 6, "it is offline"),
    ("read-only newdata", ["--pool", "newdata", "--output", "made"], 7, "it is read-only"),
    ("read-only olddata", ["--pool", "newdata", "--output", "made"], 0, ""),
    ("draining newdata", ["--pool", "newdata", "--output", "made"], 7, "it is being drained"),
]


@pytest.mark.parametrize(("harm", "options", "code", "said"), AWAY_AND_CLOSED)
def test_run_ends_with_the_code_of_what_kept_it_from_running(lab: Lab, harm: str, options: list[str], code: int, said):
    lab.put("reads.fastq")
    how, pool = harm.split()
    if how == "away":
        folder = lab.home / {"newdata": "data2", "olddata": "data"}[pool]
        folder.rename(lab.home / "unmounted")
        folder.mkdir()
    else:
        assert lab.call("pool", "set", pool, "--state", how).code == 0
    made = "{output:made}" if "made" in options else "made"
    answer = lab.call("run", *options, "--", "touch", made)
    assert answer.code == code, answer.err
    assert said in answer.err
    assert lab.call("job", "show", "1").code == 0


def test_outputs_that_cannot_be_stored_end_the_command_that_waits(lab: Lab):
    lab.put("reads.fastq")
    command = f"echo made > {{output:made}}; mv {lab.home}/data2 {lab.home}/unmounted; mkdir {lab.home}/data2"
    answer = lab.call("run", "--pool", "newdata", "--output", "made", "--", "sh", "-c", command)
    assert answer.code == 6, answer.err
    assert "failed: Unavailable for the moment: " in answer.err


def test_a_command_that_writes_titles_of_errors_ends_with_its_own_code(lab: Lab):
    answer = lab.call("run", "--", "sh", "-c", "echo 'Not allowed: me' >&2; exit 9")
    assert answer.code == 9


@pytest.mark.parametrize("program", ["nosuchprogram", "/bin/nosuchprogram"])
def test_a_command_that_is_not_there_is_told_without_python(lab: Lab, program: str):
    answer = lab.call("run", "--", program)
    assert answer.code == 127
    assert f"holdfast: {program}: No such file or directory\n" in answer.err
    with holdfast.open(lab.home / "holdfast.yml") as hold:
        [told] = [event.text for event in hold.events() if event.kind == "job.failed"]
    assert told.count("exit code 127") == 1, told
    assert "exit code 127: the command was not found" in told
