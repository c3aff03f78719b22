"""The supervisor: what it begins, what it tells, what it kills. Real processes, looked at in /proc."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.lab import lives, until

from holdfast.jobs import supervise
from holdfast.jobs.supervised import Supervisor
from holdfast.seams import SystemClock


class Bench:
    """A folder with a spec, and supervisors over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "logs"
        self.working = folder / "working"
        self.folder.mkdir()
        self.working.mkdir()
        self.supervisor = Supervisor(self.folder, SystemClock())

    def spec(self, script: str, **options: Any) -> None:
        given: dict[str, Any] = {
            "command": ["sh", "-c", script], "working": self.working, "umask": 0o022, "grace_s": 0.5,
            "environment": {
                "PATH": os.environ["PATH"], "HERE": str(self.working), "HOLDFAST_JOB_FOLDER": str(self.working),
            },
            "log_bytes_max": 10_000,
        }  # fmt: skip
        self.supervisor.write_spec(**{**given, **options})

    def begin(self, script: str, **options: Any) -> None:
        self.spec(script, **options)
        self.began = self.supervisor.begin()

    def end(self) -> Any:
        until(lambda: not self.supervisor.lives(self.began))
        return self.supervisor.ended()

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def pid(self, name: str) -> int:
        path = self.working / name
        until(lambda: path.exists() and path.read_text().strip())
        return int(path.read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.supervisor.close()


def test_output_and_code_are_kept(bench: Bench):
    bench.begin("echo out; echo err >&2; exit 3")
    ended = bench.end()
    assert (ended.exit_code, ended.signal, ended.was_cancelled, ended.notes) == (3, None, False, ())
    assert (bench.text("stdout"), bench.text("stderr")) == ("out\n", "err\n")


def test_a_signal_is_told_as_shells_do(bench: Bench):
    bench.begin("kill -SEGV $$")
    ended = bench.end()
    assert (ended.exit_code, ended.signal) == (128 + signal.SIGSEGV, signal.SIGSEGV)


@pytest.mark.parametrize(("program", "code"), [("no-such-program-here", 127), ("./not-executable", 126)])
def test_what_cannot_be_begun_says_so(bench: Bench, program: str, code: int):
    (bench.working / "not-executable").write_text("#!/bin/sh\n")
    bench.begin("", command=[program])
    assert bench.end().exit_code == code
    assert program in bench.text("stderr")


LIBC_KEEPS = 0b11 << 31  # signals 32 and 33 belong to the C library: nobody else can set them


def test_the_command_has_a_clean_start(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    secret, _ = os.pipe()
    os.set_inheritable(secret, True)
    look = "env; umask; pwd; ls /proc/self/fd; cat; grep SigIgn /proc/self/status; grep SigBlk /proc/self/status"
    bench.begin(look, umask=0o027)
    assert bench.end().exit_code == 0
    text = bench.text("stdout")
    assert "secret" not in text
    assert {line.split("=")[0] for line in text.splitlines() if "=" in line} <= {
        "PATH", "HERE", "HOLDFAST_JOB_FOLDER", "PWD", "OLDPWD", "SHLVL", "_",
    }  # fmt: skip
    assert "0027" in text
    assert str(bench.working) in text
    assert [line for line in text.splitlines() if line.isdigit() and int(line) < 100 and len(line) < 3] == [*"0123"], (
        "only the three, and the one that ls has opened itself"
    )
    [ignored] = [int(line.split()[1], 16) for line in text.splitlines() if line.startswith("SigIgn:")]
    assert ignored & ~LIBC_KEEPS == 0
    assert "SigBlk:\t0000000000000000" in text


def test_the_log_is_bounded_and_says_so(bench: Bench):
    bench.begin("head -c 50000 /dev/zero | tr '\\0' x; echo done >&2", log_bytes_max=1000)
    ended = bench.end()
    assert ended.exit_code == 0, "a full log does not stop the command"
    assert bench.text("stdout") == "x" * 1000
    assert bench.text("stderr") == "done\n"
    assert ended.notes == ("stdout: the first 1000 B of 48.8 KiB are kept",)


def test_the_last_words_are_kept(bench: Bench):
    bench.begin("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done", log_bytes_max=100_000)
    assert bench.end().exit_code == 0
    assert bench.text("stdout").splitlines()[-1] == "line 1999"


def test_of_two_supervisors_one_begins(bench: Bench):
    bench.spec("echo $$ >> $HERE/begun; sleep 0.3")
    command = [sys.executable, "-I", "-S", supervise.__file__, str(bench.folder)]
    both = [subprocess.Popen(command) for _ in range(4)]
    codes = sorted(one.wait() for one in both)
    assert codes == [0, *[supervise.NOT_FIRST] * 3]
    assert len((bench.working / "begun").read_text().splitlines()) == 1


def test_what_is_forbidden_never_begins(bench: Bench):
    bench.spec("touch $HERE/begun")
    assert bench.supervisor.forbid()
    assert bench.supervisor.begin().pid == 0
    command = [sys.executable, "-I", "-S", supervise.__file__, str(bench.folder)]
    assert subprocess.run(command, check=False).returncode == supervise.NOT_FIRST
    assert not (bench.working / "begun").exists()


def test_what_has_begun_cannot_be_forbidden(bench: Bench):
    bench.begin("sleep 0.3")
    assert not bench.supervisor.forbid()
    assert bench.end().exit_code == 0


FAMILY = """
trap '' TERM
echo $$ > $HERE/child
setsid sh -c 'trap "" TERM; echo $$ > $HERE/own-session; while :; do sleep 0.1; done' &
sh -c 'trap "" TERM; (trap "" TERM; echo $(sh -c "echo \\$PPID") > $HERE/orphan; while :; do sleep 0.1; done) & exit 0'
while :; do sleep 0.1; done
"""


def test_stopping_reaches_every_grandchild_that_ignores_sigterm(bench: Bench):
    bench.begin(FAMILY)
    pids = [bench.pid(name) for name in ("child", "own-session", "orphan")]
    assert all(lives(pid) for pid in pids)
    begin_s = time.monotonic()
    bench.supervisor.ask_to_stop(bench.began)
    ended = bench.end()
    assert 0.4 < time.monotonic() - begin_s < 5, "SIGTERM first, SIGKILL after the grace period"
    assert ended.was_cancelled
    assert ended.signal == signal.SIGKILL
    assert not [pid for pid in pids if lives(pid)]


def test_a_command_may_end_in_order_when_asked_to_stop(bench: Bench):
    bench.begin("trap 'echo bye; exit 9' TERM; echo $$ > $HERE/child; while :; do sleep 0.05; done", grace_s=20)
    bench.pid("child")
    bench.supervisor.ask_to_stop(bench.began)
    ended = bench.end()
    assert (ended.exit_code, ended.was_cancelled) == (9, True)
    assert bench.text("stdout") == "bye\n"


def test_what_the_command_leaves_running_is_killed_at_its_end(bench: Bench):
    bench.begin("setsid sh -c 'echo $$ > $HERE/left; sleep 600' & while [ ! -s $HERE/left ]; do sleep 0.02; done")
    assert bench.end().exit_code == 0
    assert not lives(bench.pid("left"))


def test_the_command_dies_with_its_supervisor_and_the_rest_can_be_found(bench: Bench):
    bench.begin(FAMILY)
    pids = [bench.pid(name) for name in ("child", "own-session", "orphan")]
    os.kill(bench.began.pid, signal.SIGKILL)
    until(lambda: not lives(pids[0]))
    assert bench.supervisor.ended() is None
    assert not bench.supervisor.lives(bench.began)
    bench.supervisor.kill(bench.began, str(bench.working))
    until(lambda: not [pid for pid in pids if lives(pid)])


def test_it_outlives_whoever_began_it(bench: Bench, tmp_path: Path):
    bench.spec("sleep 0.5; echo survived")
    script = (
        "import os, sys, signal; from pathlib import Path\n"
        "from holdfast.jobs.supervised import Supervisor; from holdfast.seams import SystemClock\n"
        "Supervisor(Path(sys.argv[1]), SystemClock()).begin()\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(bench.folder)], start_new_session=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    began = bench.supervisor.began()
    assert began is not None
    bench.began = began
    assert bench.end().exit_code == 0
    assert bench.text("stdout") == "survived\n"


def test_signals_of_a_terminal_do_not_reach_it(bench: Bench):
    bench.begin("sleep 0.5; echo calm")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(bench.began.pid, number)
    assert bench.end().exit_code == 0
    assert bench.text("stdout") == "calm\n"


def test_on_a_full_disk_the_end_is_still_told(small_disk: Any, request: pytest.FixtureRequest):
    disk = small_disk(8)
    bench = Bench(disk.folder)
    request.addfinalizer(bench.supervisor.close)
    bench.begin("while [ ! -e $HERE/go ]; do sleep 0.05; done; head -c 3000 /dev/zero; exit 5", log_bytes_max=10**9)
    until((bench.folder / "started.json").exists)
    (bench.working / "go.later").touch()
    disk.fill()
    (bench.working / "go.later").rename(bench.working / "go")
    ended = bench.end()
    assert ended is not None
    assert ended.exit_code == 5
    assert ended.notes == ("stdout: not all of it could be kept: No space left on device",)


def test_it_starts_quickly(bench: Bench):
    """Two commands in a row cost the user little more than the commands."""
    begin_s = time.monotonic()
    bench.begin("true; true")
    bench.end()
    assert time.monotonic() - begin_s < 1


def test_files_are_private_and_whole(bench: Bench):
    bench.begin("echo secret")
    bench.end()
    assert {path.stat().st_mode & 0o077 for path in bench.folder.iterdir() if path.name in ("stdout", "stderr")} == {0}
    assert json.loads(bench.text("exit.json"))["boot"] == supervise.boot_id()
    assert not [path for path in bench.folder.iterdir() if path.name.startswith(".")]
