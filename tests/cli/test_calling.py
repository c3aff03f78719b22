"""How commands are called and how they end: shared options, JSON, exit codes, terminals, pipes, Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.cli.lab import ENVIRONMENT, Lab

from holdfast import errors
from holdfast.cli import failure, render

ESCAPE, RIGHT_TO_LEFT = "\x1b", "\u202e"


# -- shared options -----------------------------------------------------------------------------------------


def test_config_and_state_before_and_after_the_command(lab: Lab):
    lab.put("reads.fastq")
    os.chdir("/")
    config, state = lab.home / "holdfast.yml", lab.home / "elsewhere"
    for arguments in (("--config", config, "ls"), ("ls", "--config", config)):
        assert [shape["id"] for shape in lab.json(*arguments)] == [1]
    for arguments in (
        ("--config", config, "--state", state, "pools"),
        ("--config", config, "pools", "--state", state),
        ("user", "--state", state, "add", "alice@example.org", "--config", config),
    ):
        assert lab.call(*arguments).code == 0
        assert (state / "catalog.sqlite").exists()
        (state / "catalog.sqlite").unlink()


def test_the_nearer_option_wins(lab: Lab):
    lab.call("--state", lab.home / "far", "pools", "--state", lab.home / "near")
    assert (lab.home / "near/catalog.sqlite").exists()
    assert not (lab.home / "far").exists()


def test_the_environment_says_where(lab: Lab):
    lab.put("reads.fastq")
    environment = {"HOLDFAST_CONFIG": str(lab.home / "holdfast.yml")}
    done = subprocess.run(
        lab.command("ls", "--json"), cwd="/", env=ENVIRONMENT | environment, capture_output=True, check=True
    )
    assert [shape["id"] for shape in json.loads(done.stdout)] == [1]
    environment["HOLDFAST_STATE"] = str(lab.home / "other")
    assert lab.program("pools", environment=environment).code == 0
    assert lab.program("ls", "--json", environment=environment).json == []


def test_behind_ls_state_is_a_state_and_before_it_the_directory(lab: Lab):
    lab.put("reads.fastq")
    lab.json("rm", "1")
    assert len(lab.json("ls", "--state", "deleted")) == 1
    lab.json("--state", lab.home / "other", "pools")
    assert lab.json("--state", lab.home / "other", "ls", "--state", "deleted") == []
    answer = lab.call("ls", "--state", "delted")
    assert answer.code == 2
    assert "deleted" in answer.err
    answer = lab.call("ls", "--state", lab.home / "other")
    assert answer.code == 2
    assert f"holdfast --state {lab.home / 'other'} ls" in answer.err


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (("--state", "deleted", "ls"), "holdfast ls --state deleted"),
        (("--state", "ok", "check"), "holdfast ls --state ok or holdfast jobs --state ok"),
        (("pools", "--state", "draining"), "holdfast pool set ID --state draining"),
        (("pool", "--state", "read-only", "set", "newdata"), "holdfast pool set ID --state read-only"),
        (("put", "here.txt", "--state", "paused"), "holdfast ops --state paused"),
    ],
)
def test_a_state_is_not_taken_for_the_state_directory(lab: Lab, arguments, instead):
    lab.put("reads.fastq")
    lab.file("here.txt")
    before = sorted(os.listdir(lab.home))
    answer = lab.call(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert instead in answer.err
    assert sorted(os.listdir(lab.home)) == before
    assert lab.json("--state", "./ok", "pools"), "a path is a path"
    assert lab.json("--state", "ok", "pools"), "and so is the name of a folder that is there"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",), ("show", "1"), ("path", "1"), ("get", "1"), ("explain", "1"), ("explain", "--put", "1"),
        ("rm", "1"), ("pool", "show", "newdata"), ("ops",), ("op", "show", "1"), ("jobs",), ("job", "show", "1"),
        ("user", "ls"), ("scrub",), ("reap",),
    ],
)  # fmt: skip
def test_what_only_looks_makes_no_catalog(lab: Lab, arguments):
    for where in ("state", "typo"):
        answer = lab.call("--state", where, *arguments)
        assert (answer.code, answer.out) == (2, "")
        assert f"there is no catalog in {lab.home / where} yet" in answer.err
        assert "holdfast check" in answer.err
    assert os.listdir(lab.home) == ["holdfast.yml"]


@pytest.mark.parametrize("arguments", [("pools",), ("check",), ("reconcile",), ("run", "true")])
def test_what_may_be_the_first_makes_one(lab: Lab, arguments):
    lab.home.joinpath("data").mkdir()
    lab.home.joinpath("data2").mkdir()
    assert lab.call(*arguments).code == 0
    assert (lab.home / "state/catalog.sqlite").exists()
    assert lab.json("ls") == []


def test_without_a_document_it_says_how_to_get_one(lab: Lab):
    (lab.home / "holdfast.yml").unlink()
    answer = lab.call("ls")
    assert (answer.code, answer.out) == (2, "")
    assert "holdfast init" in answer.err


def test_progress_in_plain_lines(lab: Lab):
    answer = lab.call("put", lab.file("reads.fastq", b"x" * 4096), "--progress=plain")
    assert answer.code == 0
    assert answer.err.splitlines()[0] == "Storing reads.fastq: 0 B of 4.0 KiB (0%)"
    assert "4.0 KiB done in" in answer.err.splitlines()[-1]
    assert lab.call("put", lab.file("reads.fastq"), "--progress=none").err == ""
    assert lab.call("put", lab.file("reads.fastq"), "--progress=loud").code == 2


def test_get_and_replace_show_progress_too(lab: Lab):
    lab.put("reads.fastq", b"x" * 4096)
    for arguments in (("get", "1", "-o", "x"), ("replace", "1", lab.file("new", b"y" * 4096))):
        answer = lab.call(*arguments, "--progress=plain")
        assert answer.code == 0
        assert "4.0 KiB done in" in answer.err.splitlines()[-1]


# -- JSON ---------------------------------------------------------------------------------------------------


def test_an_error_with_json_is_a_problem_on_stderr(lab: Lab):
    lab.begin()
    for arguments in (("show", "9", "--json"), ("--json", "show", "9")):
        answer = lab.call(*arguments)
        assert (answer.code, answer.out) == (3, "")
        problem = json.loads(answer.err)
        assert problem["title"] == "Not found"
        assert problem["status"] == 404
        assert problem["exit_code"] == 3
        assert "9" in problem["detail"]
        assert problem["type"] == "urn:holdfast:error:not-found"


def test_wrong_usage_with_json_is_a_problem_too(lab: Lab):
    for arguments in (("show", "--json"), ("--json", "shw"), ("ls", "--limit", "many", "--json")):
        answer = lab.call(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert json.loads(answer.err)["exit_code"] == 2


def test_json_behind_two_dashes_is_not_for_us(lab: Lab):
    answer = lab.call("show", "--", "--json")
    assert answer.code == 2
    assert not answer.err.startswith("{")


def test_every_problem_of_the_document_at_once(lab: Lab):
    (lab.home / "holdfast.yml").write_text(
        "pools:\n  a: {type: dsk, files_dir: d}\n  b: {type: disk, files_dri: d}\nplacement: hierarchical\n"
    )
    answer = lab.call("check")
    lines = answer.err.splitlines()
    assert answer.code == 2
    assert all(re.match(r"holdfast\.yml:\d+: ", line) for line in lines), lines
    assert any(":2: " in line and "dsk" in line for line in lines)
    assert any(":3: " in line and "files_dir" in line for line in lines)
    problem = json.loads(lab.call("check", "--json").err)
    assert {found["line"] for found in problem["problems"]} == {2, 3}


# -- exit codes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.InvalidKey("x"), 2),
        (errors.NotFound("x"), 3),
        (errors.NoSpace("x"), 4),
        (errors.QuotaExceeded("x"), 4),
        (errors.Corrupt("x"), 5),
        (errors.Unavailable("x"), 6),
        (errors.OutcomeUnknown("x"), 6),
        (errors.Denied("x"), 7),
        (errors.Unauthenticated("x"), 7),
        (errors.Conflict("x"), 8),
        (errors.Blocked("x"), 8),
        (errors.AlreadyExists("x"), 8),
        (failure.UsageError("x"), 2),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 4),
        (OSError(errno.EACCES, "Permission denied", "f"), 7),
        (OSError(errno.EROFS, "Read-only file system", "f"), 7),
        (OSError(errno.ENOENT, "No such file", "f"), 3),
        (OSError(errno.EIO, "Input/output error", "f"), 6),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_each_error_has_its_exit_code(error, code):
    assert failure.failure_of(error).exit_code == code


def test_a_bug_is_short_and_the_traceback_is_there_when_asked(lab: Lab):
    (lab.home / "sitecustomize.py").write_text(
        "import holdfast.cli.words\n"
        "def broken(*_): raise ZeroDivisionError('this is broken')\n"
        "holdfast.cli.words.labels = broken\n"
    )
    lab.file("reads.fastq")
    environment = {"PYTHONPATH": str(lab.home)}
    answer = lab.program("put", "reads.fastq", environment=environment)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.count("\n") == 1
    assert "this is broken" in answer.err
    assert "HOLDFAST_DEBUG=1" in answer.err
    answer = lab.program("put", "reads.fastq", environment=environment | {"HOLDFAST_DEBUG": "1"})
    assert answer.code == 1
    assert "Traceback" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "--after", str(2**64)),
        ("ls", "--after", "-5"),
        ("ls", "--limit", "0"),
        ("ls", "--state", ""),
        ("ls", "--user", ""),
        ("ls", "--user", "a\nb"),
        ("ls", "--pool", "\udcff"),
        ("jobs", "--after", str(2**64)),
        ("ops", "--after", str(2**64)),
        ("get", "1", "-o", ""),
        ("show", "\udcff"),
        ("put", "source.txt", "--user", " "),
        ("put", "source.txt", "--name", ""),
        ("explain", "--put", "-5"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(lab: Lab, arguments):
    lab.put("a.txt")
    lab.file("source.txt")
    answer = lab.call(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert len(lab.stored()) == 1
    assert not (lab.home / "catalog.sqlite").exists()


def test_owners_are_written_as_accounts_are(lab: Lab):
    assert lab.put("a.txt", b"x", "--user", " Alice@Example.org ")["owner"] == "alice@example.org"
    assert [shape["id"] for shape in lab.json("ls", "--user", "ALICE@example.org")] == [1]


def test_a_damaged_catalog_is_not_taken_for_an_empty_one(lab: Lab):
    lab.put("a.txt")
    catalog = lab.home / "state/catalog.sqlite"
    os.truncate(catalog, 20_000)
    answer = lab.call("ls")
    assert (answer.code, answer.out) == (6, "")
    assert "damaged" in answer.err


# -- streams that are closed, and Ctrl-C at once ------------------------------------------------------------


def closed(lab: Lab, arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a call in a shell, with whatever the shell does to the streams."""
    program = " ".join(lab.command())
    done = subprocess.run(
        ["sh", "-c", f"{program} {arguments}"], cwd=lab.home, env=ENVIRONMENT, stderr=subprocess.PIPE, check=False
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("arguments", ["ls >&-", "ls --json >&-", "--help >&-", "ls <&- >&-", "show 1 >&- 2>&-"])
def test_closed_streams_are_no_bug(lab: Lab, arguments):
    lab.put("reads.fastq")
    assert closed(lab, arguments) == (0, "")
    assert closed(lab, "show 9 2>&- >&-") == (3, "")
    assert lab.json("show", "1")["name"] == "reads.fastq", "nothing was written over the catalog"


def test_bytes_are_not_sent_to_a_closed_stream(lab: Lab):
    lab.put("reads.fastq")
    assert closed(lab, "get 1 -o - >&-") == (2, "holdfast: standard output is closed; give -o PATH\n")


def test_ctrl_c_while_it_is_still_loading(lab: Lab):
    lab.file("typer.py", "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n")
    answer = lab.program("ls", environment={"PYTHONPATH": str(lab.home)})
    assert (answer.code, answer.out, answer.err) == (130, "", "holdfast: interrupted\n")


# -- terminals and pipes ------------------------------------------------------------------------------------


def test_names_cannot_steer_a_terminal(lab: Lab):
    name = f"report{RIGHT_TO_LEFT}fdp.exe\u2028"
    lab.json("put", lab.file("source.txt"), "--name", name)
    for arguments in (
        ("ls",),
        ("show", "1"),
        ("explain", "1"),
        ("rm", "1"),
        ("ls", "--state", "deleted", "--json"),
    ):
        answer = lab.call(*arguments)
        assert RIGHT_TO_LEFT not in answer.out
        assert "\u2028" not in answer.out
        assert "\\u202e" in answer.out, arguments


def test_what_is_typed_wrong_cannot_steer_a_terminal(lab: Lab):
    evil = f"x{ESCAPE}]0;owned\x07"
    for arguments in (("show", evil), ("put", evil), (evil,), ("ls", f"--{evil}"), ("pool", "show", evil)):
        answer = lab.call(*arguments)
        assert answer.code != 0
        assert ESCAPE not in answer.err, arguments
        assert "\x07" not in answer.err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain.txt", "plain.txt"),
        ("Übersicht 表 🧬.csv", "Übersicht 表 🧬.csv"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\ufeffx\u200b", "\\ufeffx\\u200b"),
        (
            "\u0645\u06cc\u200c\u062e",
            "\u0645\u06cc\u200c\u062e",
        ),  # Persian, with a joiner that is part of the word
        ("\udcff", "\\udcff"),
    ],
)
def test_clean(text, shown):
    assert render.clean(text) == shown


def test_output_in_a_pipe_is_plain(lab: Lab):
    lab.put("a" * 200 + ".txt")
    answer = lab.program("ls", environment={"COLUMNS": "40", "TERM": "xterm-256color"})
    assert ESCAPE not in answer.out
    assert "a" * 200 in answer.out, "nothing is cut"


def test_output_on_a_terminal_fits_and_is_coloured(lab: Lab):
    lab.put("a" * 200 + ".txt")
    text = on_a_terminal(lab, "ls")
    assert ESCAPE in text
    assert "…" in text
    assert "a" * 100 not in text


def test_a_progress_bar_on_a_terminal(lab: Lab):
    lab.file("reads.fastq", os.urandom(1024 * 1024))
    text = on_a_terminal(lab, "put", "reads.fastq")
    assert "Storing reads.fastq" in text
    assert "stored dataset 1" in text


def on_a_terminal(lab: Lab, *arguments: str) -> str:
    """What a person sees who types this in a terminal of 80 columns."""
    leader, follower = pty.openpty()
    environment = ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    child = subprocess.Popen(
        lab.command(*arguments),
        cwd=lab.home,
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:
            break
        if not block:
            break
        seen += block
    os.close(leader)
    assert child.wait(timeout=60) == 0, seen
    return seen.decode()


def test_a_reader_that_goes_away_is_no_error(lab: Lab):
    lab.put("blob.bin", os.urandom(4 * 1024 * 1024))
    for arguments in (("get", "1", "-o", "-"), ("ls",), ("--help",), ("ls", "--json")):
        child = subprocess.Popen(
            lab.command(*arguments),
            cwd=lab.home,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        child.stdout.close()
        _, err = child.communicate(timeout=60)
        assert err == b"", arguments
        assert child.returncode == failure.EXIT_PIPE_CLOSED


def test_a_full_target_is_no_space(lab: Lab):
    lab.put("blob.bin", b"x" * 100_000)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            lab.command("get", "1", "-o", "-"), cwd=lab.home, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE,
            check=False,
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert done.stderr.count(b"\n") == 1


def test_ctrl_c_leaves_nothing_half_done(lab: Lab):
    """A put from a pipe that never ends is interrupted: no dataset, no bytes, no room spoken for."""
    child = subprocess.Popen(
        lab.command("put", "-", "--name", "endless"), cwd=lab.home, env=ENVIRONMENT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with child:
        child.stdin.write(b"x" * 3 * 1024 * 1024)
        child.stdin.flush()
        deadline = time.monotonic() + 30
        while not written(lab):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
        assert child.stdout.read() == b""
        assert child.stderr.read() == b"holdfast: interrupted\n"
        child.stdin.close()
    assert lab.json("ls") == []
    assert not written(lab)
    assert all(pool["reserved_bytes"] == 0 for pool in lab.json("pools"))


def written(lab: Lab) -> list[Path]:
    """Files in the first pool that hold a part of what is being put."""
    return [path for path in (lab.home / "data2").rglob("*") if path.is_file() and path.stat().st_size > 1000]
