"""A job's supervisor, seen from the process that looks after the job.

The supervisor (`supervise`) is a process of its own that outlives ours. Everything that is known of it stands
in the folder of the job's logs, so that any process on this machine can take over: whether one has begun,
whether it lives, how the command ended. It begins at most once, whoever tries, and how often.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.catalog.holders import born
from holdfast.errors import Unavailable
from holdfast.jobs import supervise
from holdfast.seams import Clock

BEGIN_S = 60.0
BEGIN_LOOK_S = 0.002
TROUBLE_BYTES_MAX = 2000
KILL_ROUNDS_MAX = 200
KILL_PAUSE_S = 0.02
_TROUBLE = "supervisor.log"


@dataclass(frozen=True, slots=True)
class Began:
    """A supervisor has begun the command. `pid` 0: none ever will."""

    pid: int
    born: str
    boot: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How the command ended. `exit_code` is a shell's (128 + n for signal n), None if it never ran.

    `lost_because`: nobody knows how it ended, and why that is so.
    """

    exit_code: int | None
    signal: int | None = None
    was_cancelled: bool = False
    notes: tuple[str, ...] = ()
    error: str | None = None
    boot: str = ""
    lost_because: str | None = None


class Supervisor:
    """The one supervisor that a job has. `folder` is that of the job's logs."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self._clock = folder, clock
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None

    # -- beginning ----------------------------------------------------------------------------------------

    def has_spec(self) -> bool:
        """Whether somebody has written what is to be run."""
        return (self.folder / supervise.SPEC).exists()

    def write_spec(
        self,
        *,
        command: Sequence[str],
        working: Path,
        environment: Mapping[str, str],
        umask: int,
        grace_s: float,
        log_bytes_max: int,
    ) -> None:
        """Write down what is to be run. Last before `begin`."""
        spec = {
            "argv": list(command), "cwd": str(working), "env": dict(environment), "umask": umask,
            "grace_s": grace_s, "log_bytes_max": log_bytes_max,
        }  # fmt: skip
        draft = self.folder / f".{supervise.SPEC}.{os.getpid()}"
        draft.write_text(json.dumps(spec), encoding="utf-8")
        draft.replace(self.folder / supervise.SPEC)

    def begin(self) -> Began:
        """Have the command begun, unless that has happened already. `Unavailable` if it cannot be."""
        began = self.began()
        if began is not None:
            return began
        with open(self.folder / _TROUBLE, "ab") as trouble:
            self._child = subprocess.Popen(
                [sys.executable or "python3", "-I", "-S", supervise.__file__, str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=trouble,
                cwd="/",
                env={"LANG": "C.UTF-8"},
                start_new_session=True,
            )
        until_s = self._clock.monotonic_s() + BEGIN_S
        while True:
            is_over = self._child.poll() is not None
            began = self.began()
            if began is not None:
                return began
            if is_over or self._clock.monotonic_s() > until_s:
                raise Unavailable(f"the job's supervisor did not begin: {self._trouble()}", operation="job")
            self._clock.sleep(BEGIN_LOOK_S)

    def forbid(self) -> bool:
        """See to it that the command never begins; False if it has begun."""
        here = os.fspath(self.folder / supervise.STARTED)
        draft = f"{here}.{os.getpid()}"
        Path(draft).write_text(json.dumps({"pid": 0, "born": "", "boot": ""}), encoding="utf-8")
        try:
            os.link(draft, here)
        except FileExistsError:
            began = self.began()
            return began is not None and began.pid == 0
        finally:
            os.unlink(draft)
        return True

    def tidy(self) -> None:
        """The job is over: take away what was only needed to run it (what it was given may be secret)."""
        (self.folder / supervise.SPEC).unlink(missing_ok=True)
        trouble = self.folder / _TROUBLE
        with suppress(OSError):
            if trouble.stat().st_size == 0:
                trouble.unlink()

    # -- looking ------------------------------------------------------------------------------------------

    def began(self) -> Began | None:
        """The supervisor, if one has begun."""
        found = _read(self.folder / supervise.STARTED)
        return None if found is None else Began(int(found["pid"]), str(found["born"]), str(found["boot"]))

    def ended(self) -> Ended | None:
        """How the command ended, if it has and the supervisor could tell."""
        found = _read(self.folder / supervise.EXIT)
        if found is None:
            return None
        return Ended(
            exit_code=found.get("exit_code"),
            signal=found.get("signal"),
            was_cancelled=bool(found.get("cancelled")),
            notes=tuple(str(note) for note in found.get("notes", ())),
            error=found.get("error"),
            boot=str(found.get("boot", "")),
        )

    def lives(self, began: Began) -> bool:
        """Whether the supervisor is still there."""
        if self._child is not None and self._child.pid == began.pid and self._child.poll() is not None:
            return False
        return began.boot == supervise.boot_id() and born(began.pid) == began.born

    def wait(self, began: Began, timeout_s: float) -> None:
        """Until the supervisor ends, or that time has passed."""
        if self._pidfd is None:
            try:
                self._pidfd = os.pidfd_open(began.pid)
            except OSError:  # gone already, or an old kernel
                self._clock.sleep(min(timeout_s, 0.05))
                return
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(int(timeout_s * 1000))

    def close(self) -> None:
        """Give back what looking needed. The supervisor goes on."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        if self._child is not None and self._child.poll() is None:
            self._child.returncode = 0  # it outlives us on purpose: no warning that it was left alone

    # -- stopping -----------------------------------------------------------------------------------------

    def ask_to_stop(self, began: Began) -> None:
        """SIGTERM to all that belongs to the job, SIGKILL after the grace period; the supervisor does it."""
        if self.lives(began):
            _kill(began.pid, signal.SIGTERM)

    def kill(self, began: Began, work_folder: str) -> None:
        """The supervisor does not answer, or is dead: end it, and whatever is left of the job."""
        if began.pid and self.lives(began):
            _kill(began.pid, signal.SIGKILL)
        for _ in range(KILL_ROUNDS_MAX):
            left = _processes_of(work_folder)
            if not left:
                return
            for pid in left:
                _kill(pid, signal.SIGKILL)
            self._clock.sleep(KILL_PAUSE_S)

    def _trouble(self) -> str:
        try:
            text = (self.folder / _TROUBLE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        lines = text[-TROUBLE_BYTES_MAX:].strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Unavailable(f"{path} is damaged: {error}", operation="job", retryable=False) from error
    return found if isinstance(found, dict) else {}


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _processes_of(work_folder: str) -> list[int]:
    """The living processes that were begun with this job's environment."""
    mark = f"\0HOLDFAST_JOB_FOLDER={work_folder}\0".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as stream:
                    environment = stream.read()
            except OSError:
                continue
            if mark in b"\0" + environment and born(int(name)) is not None:
                found.append(int(name))
    return found
