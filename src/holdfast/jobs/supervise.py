"""The program beside a job: begins the command once, and tells truthfully how it ended.

    python -I -S supervise.py FOLDER

Reads `spec.json` in FOLDER, leaves `started.json` (made exclusively: of two supervisors one begins, the other
ends with code 3), `stdout`, `stderr` and at the end `exit.json`, each written whole or not at all. Runs in a
session of its own, so it outlives whoever started it. SIGTERM asks it to stop the job: every process of the
job gets SIGTERM, and what is left after the grace period SIGKILL; also processes that made sessions of their
own, because all orphans of the job become children of the supervisor. What the command leaves running when
it ends is killed too. If the supervisor itself is killed, the command dies with it.

Imports the standard library alone, and little of it: it starts in some 20 ms.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import Any, Never

SPEC, STARTED, EXIT = "spec.json", "started.json", "exit.json"
STREAMS = ("stdout", "stderr")
BLOCK_BYTES = 65536
LOOK_S = 0.2
KILL_ROUNDS_MAX = 500
KILL_PAUSE_S = 0.01
NOT_FIRST = 3
REPORT_BYTES = 4096
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(folder: str) -> int:
    """Supervise the job of that folder; 0 when its end is written."""
    os.chdir(folder)
    with open(SPEC, encoding="utf-8") as stream:
        spec = json.load(stream)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    bell = Bell()
    report = Report(EXIT)
    me = {"pid": os.getpid(), "born": born(os.getpid()), "boot": boot_id()}
    if not write_first(STARTED, me):
        report.drop()
        return NOT_FIRST
    try:
        end = Supervised(spec, libc, bell).run()
    except OSError as error:
        end = {"exit_code": None, "error": f"the command could not be begun: {error}"}
    report.write({**end, "boot": boot_id()})
    return 0


def size_words(size_bytes: int) -> str:
    """A number of bytes for people, as everywhere in Holdfast; nothing of it is imported here."""
    size, units = float(size_bytes), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if size < 1024 or unit == units[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


class Bell:
    """Signals wake the loop through a pipe: SIGTERM asks to stop, SIGCHLD tells of an end."""

    def __init__(self) -> None:
        self.stop_wanted = False
        self.reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, _ring)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)

    def quiet(self) -> None:
        """Empty the pipe."""
        try:
            while os.read(self.reads, BLOCK_BYTES):
                pass
        except BlockingIOError:
            return

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_wanted = True


def _ring(_number: int, _frame: FrameType | None) -> None:
    """The pipe has told already."""


class Log:
    """One stream of the job: its first bytes, up to a bound, in a file."""

    def __init__(self, name: str, bytes_max: int) -> None:
        self.name = name
        self.reads, self.child_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reads, False)
        self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._room = bytes_max
        self._bytes_max = bytes_max
        self._seen = 0
        self._trouble = ""
        self.open = True

    def pump(self) -> bool:
        """Take what is there now, a block at most; whether there was something."""
        try:
            block = os.read(self.reads, BLOCK_BYTES)
        except BlockingIOError:
            return False
        if not block:
            self.open = False
            return False
        self._seen += len(block)
        self.keep(block)
        return True

    def keep(self, block: bytes) -> None:
        """Write to the file what there is room for."""
        kept = memoryview(block)[: self._room]
        self._room -= len(kept)
        while kept and not self._trouble:
            try:
                kept = kept[os.write(self._file, kept) :]
            except OSError as error:  # a full disk must not stop the job: its output is somewhere else
                self._trouble = error.strerror or str(error)

    def notes(self) -> list[str]:
        """What is missing in the file."""
        found = []
        if self._seen > self._bytes_max:
            found.append(f"{self.name}: the first {size_words(self._bytes_max)} of {size_words(self._seen)} are kept")
        if self._trouble:
            found.append(f"{self.name}: not all of it could be kept: {self._trouble}")
        return found

    def close(self) -> None:
        """No more comes; what is kept survives a power cut."""
        try:
            os.fsync(self._file)
        except OSError as error:
            self._trouble = self._trouble or error.strerror or str(error)
        os.close(self.reads)
        os.close(self._file)


class Report:
    """A file that is there whole, or not at all; its room is taken early, for a disk that fills up."""

    def __init__(self, name: str) -> None:
        self._name, self._draft = name, f".{name}.{os.getpid()}"
        with open(self._draft, "wb") as stream:
            stream.write(b" " * REPORT_BYTES)
            stream.flush()
            os.fsync(stream.fileno())

    def write(self, value: dict[str, Any]) -> None:
        """Publish it."""
        with open(self._draft, "r+b") as stream:
            stream.write(json.dumps(value).encode().ljust(REPORT_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(self._draft, self._name)
        _sync_folder()

    def drop(self) -> None:
        """There is nothing to tell."""
        os.unlink(self._draft)


class Supervised:
    """The command, from its begin to its end."""

    def __init__(self, spec: dict[str, Any], libc: Any, bell: Bell) -> None:
        self._spec, self._libc, self._bell = spec, libc, bell
        self._logs = [Log(name, int(spec["log_bytes_max"])) for name in STREAMS]
        self._main = 0
        self._status: int | None = None
        self._cancelled = False
        self._kill_at: float | None = None

    def run(self) -> dict[str, Any]:
        """Begin the command, wait for it, clear up behind it; what becomes `exit.json`."""
        self._main = self._begin()
        while self._status is None:
            self._wait()
            self._reap()
            if self._bell.stop_wanted and not self._cancelled:
                self._cancelled = True
                self._kill_at = time.monotonic() + float(self._spec["grace_s"])
                signal_all(signal.SIGTERM)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_everything()
        left = self._kill_everything()
        self._drain()
        notes = [note for log in self._logs for note in log.notes()]
        if left:
            notes.append(f"{left} processes of the job could not be killed")
        killed_by = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else None
        code = 128 + killed_by if killed_by is not None else os.WEXITSTATUS(self._status)
        return {"exit_code": code, "signal": killed_by, "cancelled": self._cancelled, "notes": notes}

    def _begin(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # none is lost on the way to exec
        supervisor = os.getpid()
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for log in self._logs:
                os.close(log.child_end)
            return pid
        try:
            self._become_the_command(supervisor)
        except OSError as error:
            command = self._spec["argv"][0]
            missing = os.fsdecode(error.filename or command)
            if os.path.basename(missing) == command:  # the last place of PATH that was looked at
                missing = command
            message = f"holdfast: {missing}: {error.strerror}\n"
            code = 127 if isinstance(error, FileNotFoundError) else 126
        except BaseException as error:  # noqa: BLE001 - the child may not go on as a second supervisor
            message, code = f"holdfast: {error!r}\n", 126
        os.write(2, message.encode(errors="backslashreplace"))
        os._exit(code)

    def _become_the_command(self, supervisor: int) -> Never:
        os.setsid()
        self._libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for number, log in enumerate(self._logs, 1):
            os.dup2(log.child_end, number)
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # also what this interpreter ignores, as SIGPIPE
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(int(self._spec["umask"]))
        os.chdir(self._spec["cwd"])
        os.execvpe(self._spec["argv"][0], self._spec["argv"], self._spec["env"])  # noqa: S606 - no shell on purpose

    def _wait(self) -> None:
        """Until something is to be done; keeps the logs flowing."""
        wait_s = LOOK_S
        if self._kill_at is not None:
            wait_s = max(0.0, min(wait_s, self._kill_at - time.monotonic()))
        sources = [log.reads for log in self._logs if log.open] + [self._bell.reads]
        ready, _, _ = select.select(sources, [], [], wait_s)
        if self._bell.reads in ready:
            self._bell.quiet()
        for log in self._logs:
            if log.reads in ready:
                log.pump()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._main:
                self._status = status

    def _kill_everything(self) -> int:
        """SIGKILL to whatever descends from here until nothing does; how many cannot be killed."""
        left = 0
        for _ in range(KILL_ROUNDS_MAX):
            left = signal_all(signal.SIGKILL)
            self._reap()
            if not left:
                return 0
            for log in self._logs:
                log.pump()
            time.sleep(KILL_PAUSE_S)  # noqa: TID251 - no seam here: see the head of the file
        return left

    def _drain(self) -> None:
        """What the command wrote before it ended is in the pipes still."""
        for log in self._logs:
            while log.open and log.pump():
                pass
            log.close()


def signal_all(number: int) -> int:
    """Send a signal to every descendant that is alive; how many there are."""
    found = descendants(os.getpid())
    for pid in found:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue
    return len(found)


def descendants(top: int) -> list[int]:
    """The living processes below `top`, parents first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields is not None and fields[0] not in (b"Z", b"X"):
                children.setdefault(int(fields[1]), []).append(int(name))
    found = list(children.get(top, ()))
    for pid in found:  # grows while it is walked
        found += children.get(pid, ())
    return found


def stat_fields(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()
    except OSError:
        return None


def born(pid: int) -> str:
    """When the process started, in the kernel's ticks since boot."""
    fields = stat_fields(pid)
    return fields[19].decode() if fields else ""


def boot_id() -> str:
    """Which boot of this machine it is."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def write_first(name: str, value: dict[str, Any]) -> bool:
    """Write a file that did not exist; False if somebody else has made it, even at the same moment."""
    draft = f".{name}.{os.getpid()}"
    _write(draft, value)
    try:
        os.link(draft, name)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    _sync_folder()
    return True


def _write(name: str, value: dict[str, Any]) -> None:
    with open(name, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder() -> None:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
