"""Asking media how full they are, or anything else, without waiting for those that hang.

A mount whose server is gone may hold whoever asks it for ever. So a thread is sent to ask, and waited for
`PATIENCE_S` at most; what has not answered then counts as unavailable until it answers after all. One thread for each
medium stays with it, never more. A round costs one hand-over to a thread, whatever the number of media.

Opening a blob is too quick for a hand-over each. `Medium.confirm` costs a look at the clock, and sends a thread only if
the medium has not answered for `FRESH_S`: of those who open, only they hang who come between a medium's last answer
and the next look at it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from holdfast.blobs import Usage
from holdfast.errors import HoldfastError, Unavailable
from holdfast.seams import SystemClock
from holdfast.stores.base import Driver

PATIENCE_S = 2.0
MORE_PATIENCE_S = 1.0  # for those behind one that hangs
FRESH_S = 1.0  # an answer that young says that it answers now
IDLE_MAX = 8
_CLOCK = SystemClock()

Answer = TypeVar("Answer")


class Medium:
    """One medium, which one thread at a time asks. May be used from many threads, and in a child after a fork."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._since_s: float | None = None  # since when the one who has the lock waits
        self._heard_s = float("-inf")  # when it answered last, whatever it said

    def confirm(self, fresh_s: float | None = None) -> None:
        """`Unavailable` if it does not answer: at once if that is known, else after `PATIENCE_S`. Free if it has
        answered within `fresh_s` (default `FRESH_S`). That it answers with an error is no matter here."""
        now_s, since_s = _CLOCK.monotonic_s(), self._since_s
        if since_s is None and now_s - self._heard_s < (FRESH_S if fresh_s is None else fresh_s):
            return
        if self._pid == os.getpid() and since_s is not None and now_s - since_s >= PATIENCE_S:
            raise self.silence()
        ask([self])
        if self.is_silent():
            raise self.silence()

    def is_silent(self) -> bool:
        """Whether somebody has been waiting for its answer for too long."""
        since_s = self._since_s
        waits = self._pid == os.getpid() and since_s is not None
        return waits and _CLOCK.monotonic_s() - (since_s or 0.0) >= PATIENCE_S * 0.9

    def answer(self, question: Callable[[Driver], Answer]) -> Answer:
        """What the driver answers; `Unavailable` at once if somebody has been waiting for it for too long."""
        if self._pid != os.getpid():  # whoever had the lock stayed behind
            self._pid, self._lock, self._since_s = os.getpid(), threading.Lock(), None
        since_s = self._since_s
        patience_s = PATIENCE_S if since_s is None else PATIENCE_S - (_CLOCK.monotonic_s() - since_s)
        if patience_s <= 0 or not self._lock.acquire(timeout=patience_s):
            raise self.silence()
        try:
            self._since_s = _CLOCK.monotonic_s()
            return question(self.driver)
        finally:
            self._since_s, self._heard_s = None, _CLOCK.monotonic_s()
            self._lock.release()

    def silence(self) -> Unavailable:
        """It does not answer."""
        return Unavailable(
            f"pool {self.driver.name} is unavailable: it does not answer; look at its mount, or take it out: "
            f"holdfast pool set {self.driver.name} --state offline",
            store=self.driver.name, operation="usage",
        )  # fmt: skip


def ask(media: Iterable[Medium]) -> dict[str, Usage | HoldfastError]:
    """pool -> its usage, or why there is none. Takes little more than `PATIENCE_S`, whatever hangs."""
    return _ask(media, _usage, PATIENCE_S)


def ask_one(medium: Medium, question: Callable[[Driver], Answer], patience_s: float | None = None) -> Answer:
    """What one medium answers, or its error; `Unavailable` after `patience_s` (default `PATIENCE_S`)."""
    [answer] = _ask([medium], question, PATIENCE_S if patience_s is None else patience_s).values()
    if isinstance(answer, HoldfastError):
        raise answer
    return answer


def _usage(driver: Driver) -> Usage:
    return driver.usage()


def _ask(
    media: Iterable[Medium], question: Callable[[Driver], Answer], patience_s: float
) -> dict[str, Answer | HoldfastError]:
    answers: dict[str, Answer | HoldfastError] = {}
    left = [*media]
    while left:
        round_ = _Round(left, question)
        _sent(round_)
        while not round_.over.wait(patience_s):
            if round_.leave(patience_s):
                patience_s = MORE_PATIENCE_S
                break
        found = dict(round_.answers)
        answers |= found
        left = [medium for medium in left if medium.driver.name not in found]
    return answers


class _Round(Generic[Answer]):
    """One thread's way from medium to medium, until it is over or left alone with one that hangs."""

    def __init__(self, media: Sequence[Medium], question: Callable[[Driver], Answer]) -> None:
        self.answers: dict[str, Answer | HoldfastError] = {}
        self.over = threading.Event()
        self._media, self._question = media, question
        self._lock = threading.Lock()
        self._is_left = False
        self._at, self._at_since_s = media[0], _CLOCK.monotonic_s()

    def go(self) -> None:
        """In the thread."""
        for medium in self._media:
            with self._lock:
                self._at, self._at_since_s = medium, _CLOCK.monotonic_s()
            answer: Answer | HoldfastError
            try:
                answer = medium.answer(self._question)
            except HoldfastError as error:
                answer = error
            except Exception as error:  # noqa: BLE001 - a bug is one pool's, and is told as its trouble
                answer = Unavailable(f"pool {medium.driver.name}: {error!r}", store=medium.driver.name)
            with self._lock:
                if self._is_left:
                    return
                self.answers[medium.driver.name] = answer
        self.over.set()

    def leave(self, patience_s: float) -> bool:
        """Wait no longer, if the thread has been at one medium for so long: that one does not answer."""
        with self._lock:
            if self.over.is_set() or _CLOCK.monotonic_s() - self._at_since_s < patience_s * 0.9:
                return False
            self._is_left = True
            self.answers.setdefault(self._at.driver.name, self._at.silence())
            return True


class _Asker(threading.Thread):
    """A thread that asks, one round after another."""

    def __init__(self) -> None:
        super().__init__(name="asks media", daemon=True)
        self.rounds: SimpleQueue[_Round[Any]] = SimpleQueue()

    def run(self) -> None:
        while True:
            self.rounds.get().go()
            if len(_IDLE) >= IDLE_MAX:
                return
            _IDLE.append(self)


_IDLE: deque[_Asker] = deque()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDLE.clear)  # the threads are the parent's


def _sent(round_: _Round[Any]) -> None:
    """Have a thread go the round."""
    try:
        asker = _IDLE.pop()
    except IndexError:
        asker = _Asker()
        asker.start()
    asker.rounds.put(round_)
