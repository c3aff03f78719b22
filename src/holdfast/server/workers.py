"""Several processes that accept from one socket.

The parent only watches: it forks before anything was started, passes signals on, and starts again what dies.
One that dies as soon as it has begun is given more and more time; after `DEATHS_MAX` in a row all stop.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from holdfast.errors import HoldfastError
from holdfast.seams import Clock, SystemClock

LOOK_S = 0.2
STOP_S = 20.0
DEATHS_MAX = 5
SHORT_LIFE_S = 5.0
_PR_SET_PDEATHSIG = 1

Work = Callable[[int, Callable[[], None]], None]
"""work(number, on_started): serve until SIGTERM. Called in a process of its own."""


class Workers:
    """The parent's knowledge of its children."""

    def __init__(self, work: Work, count: int, clock: Clock) -> None:
        self._work = work
        self._count = count
        self._clock = clock
        self._children: dict[int, tuple[int, float]] = {}
        self._stop_signal = 0
        self._ready, self._tell = os.pipe()
        self._deaths = 0

    def run(self, on_ready: Callable[[], None]) -> int:
        """Until a signal comes; which one, or 0 if the processes could not be kept alive."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in range(self._count):
                self._fork(number)
            if self._await_ready():
                on_ready()
                self._watch()
            self._end()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._ready)
            os.close(self._tell)
        return self._stop_signal

    def _note(self, number: int, _: FrameType | None) -> None:
        self._stop_signal = number

    def _fork(self, number: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children[pid] = (number, self._clock.monotonic_s())
            return
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(self._ready)
            _end_with_the_parent(parent)
            self._work(number, lambda: _say(self._tell))
            code = 0
        except KeyboardInterrupt:
            code = 0
        except HoldfastError as error:
            print(error, file=sys.stderr)  # noqa: T201 - nobody else will
        except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _await_ready(self) -> bool:
        """Wait until every process listens; False if one died first, or a signal came."""
        waiting = self._count
        while waiting and not self._stop_signal:
            if select.select([self._ready], [], [], LOOK_S)[0]:
                waiting -= len(os.read(self._ready, waiting))
            if self._reap():
                return False
        return not self._stop_signal

    def _watch(self) -> None:
        while not self._stop_signal:
            self._clock.sleep(LOOK_S)
            for number, lived_s in self._reap():
                self._deaths = self._deaths + 1 if lived_s < SHORT_LIFE_S else 0
                if self._deaths >= DEATHS_MAX:
                    return
                self._clock.sleep(0.1 * 2**self._deaths)
                self._fork(number)

    def _reap(self) -> list[tuple[int, float]]:
        gone = []
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._children:
                number, began_s = self._children.pop(pid)
                gone.append((number, self._clock.monotonic_s() - began_s))
        return gone

    def _end(self) -> None:
        for pid in self._children:
            _send(pid, signal.SIGTERM)
        until_s = self._clock.monotonic_s() + STOP_S
        while self._children and self._clock.monotonic_s() < until_s:
            self._reap()
            self._clock.sleep(0.02)
        for pid in self._children:
            _send(pid, signal.SIGKILL)
        while self._children:
            self._reap()
            self._clock.sleep(0.02)


def run_workers(work: Work, count: int, *, on_ready: Callable[[], None], clock: Clock | None = None) -> None:
    """Run `count` processes until SIGTERM (returns) or SIGINT (`KeyboardInterrupt`).

    `on_ready` is called once, when all of them listen. `HoldfastError` if they cannot be kept alive.
    """
    stopped_by = Workers(work, count, clock or SystemClock()).run(on_ready)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if not stopped_by:
        raise HoldfastError("the server's processes die as soon as they begin; what they said is above")


def _end_with_the_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies, also if it is killed: nobody would stop us then, and
    nobody else could serve."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)  # it was dead before we had asked


def _say(tell: int) -> None:
    os.write(tell, b".")


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
