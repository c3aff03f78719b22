"""How a pool answered lately, and whether it may be asked now. One for each `TrippedDriver`; safe from many threads.

The state is one frozen value, replaced under a lock; whoever only looks needs no lock, and a healthy pool's calls take
none. Each process has a lock of its own: a child is not held up by what its parent was about when it forked.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from holdfast.errors import (
    AlreadyExists,
    Denied,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StoreError,
    Unauthenticated,
    Unavailable,
)
from holdfast.seams import Clock
from holdfast.stores.caching import Health

_SILENCE = (Unavailable, OutcomeUnknown)
_ANSWERS = (NotFound, AlreadyExists, PreconditionFailed, Denied, Unauthenticated, NoSpace)


@dataclass(frozen=True, slots=True)
class State:
    """`failures` in a row, since `since_us`, the last of them `error`. With `until_s` it is not asked before then, but
    by the one call that is `asking`. `pause_s` is how long the present pause is, or the last was."""

    failures: int = 0
    since_us: int = 0
    error: str = ""
    until_s: float | None = None
    pause_s: float = 0.0
    asking: object | None = None


HEALTHY = State()


class Breaker:
    """Counts failures in a row; from `failures` on, or after one that took `silence_s`, it pauses, by `pause_s` at
    first, twice as long each time."""

    def __init__(
        self, name: str, clock: Clock, *, failures: int, pause_s: float, pause_max_s: float, silence_s: float
    ) -> None:
        self._name, self._clock = name, clock
        self._failures, self._pause_s, self._pause_max_s = max(1, failures), pause_s, max(pause_s, pause_max_s)
        self._silence_s = silence_s
        self._state = HEALTHY
        self._silences = 0
        self._locks: dict[int, threading.RLock] = {}  # a reader that is forgotten may be closed anywhere, also in here

    # -- before a call ------------------------------------------------------------------------------------

    def enter(self) -> object | None:
        """May it be asked? `Unavailable` if not; else the mark of the one call that tries after a pause, or None."""
        if self._state.until_s is None:
            return None
        with self._lock():
            state = self._state
            if state.until_s is None:
                return None
            if self._left_s(state) > 0:
                raise self._paused(state)
            trial = object()  # should it take longer than the pause did, another one tries
            self._state = replace(state, asking=trial, until_s=self._clock.monotonic_s() + state.pause_s)
            return trial

    def require(self) -> None:
        """`Unavailable` while it is not asked. For what needs no answer: it does not count."""
        state = self._state
        if self._left_s(state) > 0:
            raise self._paused(state)

    # -- after it -----------------------------------------------------------------------------------------

    def answered(self) -> None:
        """It answered, and all is well again."""
        if self._state is not HEALTHY:
            with self._lock():
                self._state = HEALTHY

    def began(self, trial: object | None) -> int:
        """It began to answer: after a pause all may ask again. Give what this returns to `ended`."""
        if trial is not None:
            with self._lock():
                if self._is_trial(trial):
                    self._state = replace(self._state, until_s=None, asking=None, failures=self._failures - 1)
        return self._silences

    def ended(self, began: int) -> None:
        """What began to answer came to a good end: an answer, unless others got none meanwhile."""
        if self._silences == began:
            self.answered()

    def failed(self, error: BaseException, trial: object | None = None, *, took_s: float = 0.0) -> None:
        """It raised this: no answer, an answer, or nothing that says anything of the pool."""
        if isinstance(error, StoreError) and error.store == self._name:
            if isinstance(error, _SILENCE):
                self._silent(str(error), trial, is_long=took_s >= self._silence_s)
                return
            if isinstance(error, _ANSWERS):
                self.answered()
                return
        if trial is not None:
            with self._lock():
                if self._is_trial(trial):
                    self._state = replace(self._state, asking=None, until_s=0.0)  # the next one tries

    def forget(self) -> None:
        """What failed so far concerns something else."""
        self.answered()

    def health(self) -> Health:
        """In words and numbers, without asking."""
        state = self._state
        if not state.failures:
            return Health("ok")
        left_s = self._left_s(state)
        if left_s > 0:
            return Health("paused", state.failures, state.error, left_s)
        return Health("failing", state.failures, state.error)

    # -- inside -------------------------------------------------------------------------------------------

    def _silent(self, error: str, trial: object | None, *, is_long: bool) -> None:
        with self._lock():
            state = self._state
            self._silences += 1
            if state.until_s is not None and not self._is_trial(trial):
                return  # it was asked before the pause began: that is known
            since_us = state.since_us or self._clock.now_us()
            state = replace(state, failures=state.failures + 1, since_us=since_us, error=error, asking=None)
            if state.failures >= self._failures or is_long:
                pause_s = min(self._pause_max_s, state.pause_s * 2) if state.pause_s else self._pause_s
                state = replace(state, pause_s=pause_s, until_s=self._clock.monotonic_s() + pause_s)
            self._state = state

    def _is_trial(self, trial: object | None) -> bool:
        return trial is not None and self._state.asking is trial

    def _left_s(self, state: State) -> float:
        return 0.0 if state.until_s is None else max(0.0, state.until_s - self._clock.monotonic_s())

    def _paused(self, state: State) -> Unavailable:
        since = datetime.fromtimestamp(state.since_us / 1e6, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
        left_s = max(1.0, self._left_s(state)) if state.asking is None else 1.0
        again = f"it is asked again in {left_s:.0f} s" if state.asking is None else "it is being asked again just now"
        return Unavailable(
            f"pool {self._name} has not answered since {since} UTC ({state.failures} failures in a row); {again}. "
            f"The last failure: {state.error}",
            store=self._name, retry_after_s=left_s,
        )  # fmt: skip

    def _lock(self) -> threading.RLock:
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.RLock())
