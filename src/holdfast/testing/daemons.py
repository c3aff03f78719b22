"""Starting and ending a server's process for tests: in a folder of its own, with its log, by its process id.

The process leads a group of its own and is sent a signal by the kernel when the thread that started it ends, so
a killed test run leaves none behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from holdfast.seams import SystemClock

START_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0


class ServerFailed(Exception):
    """The server did not start, or died. The message ends with its log."""


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder for as long as the block lasts."""
    # not pytest's tmp_path: another account has to reach it, and a socket's path must be short
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def spawn(
    command: Sequence[str], folder: Path, account: str | None, *, orphaned: Literal["INT", "KILL"] = "INT"
) -> subprocess.Popen[bytes]:
    """Start it as the leader of a group of its own, to be sent that signal by the kernel should we die first."""
    guard = shutil.which("setpriv")
    if guard is not None:
        command = [guard, "--pdeathsig", orphaned, "--", *command]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            user=account,
            group=account,
            extra_groups=() if account is not None else None,
            start_new_session=True,
        )


def await_ready(process: subprocess.Popen[bytes], folder: Path, ready: Callable[[], bool]) -> None:
    """Wait until `ready()`; `ServerFailed` with the log if the process ends first or takes too long."""
    clock = SystemClock()
    end = clock.monotonic_s() + START_LIMIT_S
    while not ready():
        if process.poll() is not None:
            raise ServerFailed(f"{_words(process)} ended with {process.returncode}:\n{tail(folder)}")
        if clock.monotonic_s() > end:
            stop(process, signal.SIGKILL)
            raise ServerFailed(f"{_words(process)} was not ready after {START_LIMIT_S} s:\n{tail(folder)}")
        clock.sleep(0.005)


def stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """End this very process, gently first; returns when it is gone."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(timeout=STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=STOP_LIMIT_S)


def tail(folder: Path) -> str:
    """The end of the server's log."""
    return (folder / "log").read_text(errors="replace")[-4000:]


def _words(process: subprocess.Popen[bytes]) -> str:
    return " ".join(map(str, process.args)) if isinstance(process.args, list) else str(process.args)
