"""Plans for pages: shared, few at a time, given up when nobody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.errors import Malformed
from holdfast.seams import SystemClock
from holdfast.server.pages.previewing import AT_ONCE, KEPT_MAX, KEPT_S, LEFT_S, Previews


class Late(SystemClock):
    """A clock that a test puts on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class Planner:
    """Plans that take until they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.given_up: list[str] = []
        self.go = threading.Event()

    def plan(self, kind: str, parameters: Mapping[str, Any], *, check: Callable[[], None]) -> dict[str, Any]:
        self.begun.append(kind)
        if kind == "wrong":
            raise Malformed("that makes no sense")
        if kind == "bug":
            raise ZeroDivisionError
        try:
            while not self.go.wait(0.005):
                check()
        except BaseException:
            self.given_up.append(kind)
            raise
        return {"objects": 3, "bytes": 7}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_who_asks_for_the_same_shares_one_plan():
    planner = Planner()
    previews = Previews(planner, Late())  # type: ignore[arg-type]
    assert not previews.ask("drain", {"pool": "a"}, wait_s=0.01).is_ready
    assert not previews.ask("drain", {"pool": "a"}, wait_s=0.01).is_ready
    assert previews.known("drain", {"pool": "a"}) is None
    planner.go.set()
    assert previews.ask("drain", {"pool": "a"}, wait_s=10).plan == {"objects": 3, "bytes": 7}
    known = previews.known("drain", {"pool": "a"})
    assert known is not None
    assert (known.objects, known.size_bytes) == (3, 7)
    assert planner.begun == ["drain"]
    previews.forget()
    assert previews.known("drain", {"pool": "a"}) is None


def test_no_more_than_some_at_once():
    planner = Planner()
    previews = Previews(planner, Late())  # type: ignore[arg-type]
    for at in range(AT_ONCE + 3):
        assert not previews.ask("drain", {"pool": at}, wait_s=0.01).is_ready
    assert len(planner.begun) == AT_ONCE
    planner.go.set()
    for at in range(AT_ONCE + 3):
        until(lambda at=at: previews.ask("drain", {"pool": at}, wait_s=0.1).is_ready)
    for at in range(3 * KEPT_MAX):
        previews.ask("drain", {"pool": f"x{at}"}, wait_s=10)
    assert len(previews._kept) <= KEPT_MAX


def test_a_plan_that_nobody_asks_for_is_given_up_and_made_anew_if_somebody_does():
    planner, clock = Planner(), Late()
    previews = Previews(planner, clock)  # type: ignore[arg-type]
    previews.ask("drain", {}, wait_s=0.01)
    clock.ahead_s += LEFT_S + 1
    until(lambda: planner.given_up == ["drain"])
    planner.go.set()
    until(lambda: previews.ask("drain", {}, wait_s=0.1).is_ready)
    assert planner.begun == ["drain", "drain"]
    clock.ahead_s += KEPT_S + 1
    assert previews.known("drain", {}) is None
    assert previews.ask("drain", {}, wait_s=10).is_ready
    assert len(planner.begun) == 3, "an old plan is not shown"


def test_what_goes_wrong_is_told():
    previews = Previews(Planner(), Late())  # type: ignore[arg-type]
    assert previews.ask("wrong", {}, wait_s=10).problem == "That makes no sense."
    assert "log" in (previews.ask("bug", {}, wait_s=10).problem or "")
