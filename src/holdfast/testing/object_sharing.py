"""One object server for all processes of a test run: whoever asks first has it started, the last to go ends it.

    with shared("rgw", installed, run_folder) as server: ...

A keeper, a process of its own, starts the server and waits until nobody holds the lock that each user shares. The
kernel lets go of the lock with whoever dies, so a test run that is killed leaves neither a keeper nor a server.

    <run folder>/<name>/
      starting   locked by whoever looks for the server, or has it started
      users      shared by whoever uses it; the keeper waits to have it alone
      keeper     locked by the keeper while it lives
      ready      the server's address, once it is there
      log        what the keeper said
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from holdfast.seams import SystemClock
from holdfast.testing.daemons import ServerFailed, tail
from holdfast.testing.here import CannotRunHere
from holdfast.testing.object_servers import ObjectServer, missing, running

START_LIMIT_S = 60.0
_SOURCES = str(Path(__file__).resolve().parents[2])


@contextlib.contextmanager
def shared(name: str, installed: Path, run_folder: Path) -> Iterator[ObjectServer]:
    """The run's server of that name, for as long as the block lasts.

    `run_folder` is what the processes of one run have in common and others do not. Raises `CannotRunHere` for what is
    not installed, `ServerFailed` for what does not start.
    """
    if (reason := missing(name, installed)) is not None:
        raise CannotRunHere(reason)
    folder = run_folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("ab") as users:
        with _alone(folder / "starting"):
            fcntl.flock(users, fcntl.LOCK_SH)  # a keeper that is leaving is waited for
            server = _ready(folder) if _is_kept(folder) else None
            if server is None:
                _start_keeper(name, installed, folder)
                server = _ready(folder)
        assert server is not None, "the keeper said that it is ready"
        yield server


def keep(name: str, installed: Path, folder: Path) -> None:
    """What the keeper does: start it, say so, wait for the last user, end it."""
    with _alone(folder / "keeper"), (folder / "users").open("ab") as users, running(name, installed) as server:
        facts = {**dataclasses.asdict(server), "folder": str(server.folder)}
        (folder / "ready.new").write_text(json.dumps(facts))
        (folder / "ready.new").rename(folder / "ready")
        fcntl.flock(users, fcntl.LOCK_EX)
        (folder / "ready").unlink()
        # the lock is held until this process ends: whoever comes now waits, and starts another


def _is_kept(folder: Path) -> bool:
    """Whether there is a keeper that lives: one that was killed leaves what it wrote."""
    with (folder / "keeper").open("ab") as keeper:
        try:
            fcntl.flock(keeper, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _ready(folder: Path) -> ObjectServer | None:
    try:
        facts = json.loads((folder / "ready").read_text())
    except FileNotFoundError:
        return None
    return ObjectServer(**{**facts, "folder": Path(facts["folder"])})


def _start_keeper(name: str, installed: Path, folder: Path) -> None:
    (folder / "ready").unlink(missing_ok=True)
    command = [sys.executable, "-m", "holdfast.testing.object_sharing", name, str(installed), str(folder)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([_SOURCES, os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(folder),  # what a keeper that is killed leaves goes with the run's other files
    }
    # not a Popen: one that is dropped while its process runs says so in a warning, and this one outlives us
    with (folder / "log").open("wb") as log, Path(os.devnull).open("rb") as nothing:
        streams = ((nothing, 0), (log, 1), (log, 2))
        actions = [(os.POSIX_SPAWN_DUP2, source.fileno(), target) for source, target in streams]
        process_id = os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True)
    _await(process_id, folder)


def _await(process_id: int, folder: Path) -> None:
    clock = SystemClock()
    end = clock.monotonic_s() + START_LIMIT_S
    while not (folder / "ready").exists():
        if os.waitpid(process_id, os.WNOHANG) != (0, 0):
            raise ServerFailed(f"{folder.name} did not start:\n{tail(folder)}")
        if clock.monotonic_s() > end:
            os.kill(process_id, signal.SIGKILL)
            os.waitpid(process_id, 0)
            raise ServerFailed(f"{folder.name} was not ready after {START_LIMIT_S} s:\n{tail(folder)}")
        clock.sleep(0.01)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    keep(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
