"""The suite that every engine fulfils, over a queue of its own (`ticking`).

    class TestInline(EngineContract):
        factory = "tests.jobs.test_engines:inline"
        def make_engine(self, folder, executor_id): return InlineEngine()

The backdoor is the queue's diary: who began which item when, and when it ended.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.operations import engine as engines
from holdfast.operations.engine import Engine
from holdfast.seams import SystemClock
from holdfast.testing.ticking import Elsewhere, Queue

_CLOCK = SystemClock()
LIMIT_S = 30.0
LOOK_S = 0.01


def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait for it; fails after `limit_s`."""
    end_s = _CLOCK.monotonic_s() + limit_s
    while not condition():
        assert _CLOCK.monotonic_s() < end_s, f"it did not come true within {limit_s} s"
        _CLOCK.sleep(LOOK_S)


class EngineContract(ABC):
    """What an engine promises."""

    factory = ""  # MODULE:FUNCTION that makes the engine in another process

    @abstractmethod
    def make_engine(self, folder: Path, executor_id: str) -> Engine:
        """An engine that is not started."""

    @pytest.fixture
    def queue(self, tmp_path: Path) -> Queue:
        """Nothing waits in it."""
        return Queue(tmp_path, "here")

    @pytest.fixture
    def engine(self, tmp_path: Path, queue: Queue) -> Iterator[Engine]:
        """An engine over that queue, not started; stopped after the test."""
        made = self.make_engine(tmp_path, "here")
        made.register(queue)
        yield made
        made.stop()

    @pytest.fixture
    def elsewhere(self, tmp_path: Path, queue: Queue) -> Iterator[Callable[[], Elsewhere]]:
        """Starts engines in other processes; they are killed after the test."""
        made: list[Elsewhere] = []

        def start() -> Elsewhere:
            made.append(Elsewhere(self.factory, tmp_path))
            return made[-1]

        yield start
        for one in made:
            one.kill()

    def test_what_waits_and_what_comes_is_run_once(self, engine: Engine, queue: Queue) -> None:
        queue.add(10)
        engine.start()
        until(queue.is_done)
        queue.add(10)
        engine.wake()
        until(queue.is_done)
        assert sorted(queue.items("end")) == [*range(1, 21)]
        assert sorted(queue.items("begin")) == [*range(1, 21)]

    def test_in_the_order_of_the_queue(self, engine: Engine, queue: Queue) -> None:
        queue.at_once = 1
        queue.add(15)
        engine.start()
        until(queue.is_done)
        assert queue.items("begin") == [*range(1, 16)]

    def test_never_more_than_at_once(self, engine: Engine, queue: Queue) -> None:
        queue.add(8, seconds=0.1)
        engine.start()
        until(queue.is_done)
        running, most = 0, 0
        for entry in queue.diary():
            running += 1 if entry.what == "begin" else -1
            most = max(most, running)
        assert most == queue.at_once, "both places are used, and no third"

    def test_it_is_quick(self, engine: Engine, queue: Queue) -> None:
        engine.start()
        queue.add()
        until(queue.is_done)
        waits_s = []
        for _ in range(5):
            begin_s = _CLOCK.monotonic_s()
            queue.add()
            until(queue.is_done)
            waits_s.append(_CLOCK.monotonic_s() - begin_s)
        assert min(waits_s) < 0.3, f"without `wake` an item waits for a tenth of a second, not {waits_s}"

    def test_an_item_that_raises_is_tried_again(
        self, engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engines, "FIRST_PAUSE_S", 0.01)
        queue.add(failures=3)
        engine.start()
        until(queue.is_done)
        assert (queue.items("begin"), queue.items("end"), queue.given_up) == ([1, 1, 1, 1], [1], [])

    def test_an_item_that_always_raises_is_given_up(
        self, engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engines, "FIRST_PAUSE_S", 0.01)
        monkeypatch.setattr(engines, "ATTEMPTS", 3)
        queue.add(failures=100)
        queue.add()
        engine.start()
        until(queue.is_done)
        assert queue.given_up == [1]
        assert queue.items("begin").count(1) == 3
        assert queue.items("end") == [2], "others are not kept waiting"

    def test_a_stop_is_obeyed_and_another_engine_goes_on(self, tmp_path: Path, engine: Engine, queue: Queue) -> None:
        queue.add(seconds=60)
        engine.start()
        until(lambda: queue.items("begin") == [1])
        assert engine.running() == {"tick": frozenset({1})}
        begin_s = _CLOCK.monotonic_s()
        assert engine.stop(), "everything has left"
        assert _CLOCK.monotonic_s() - begin_s < 10
        assert engine.running() == {"tick": frozenset()}
        queue.add()
        _CLOCK.sleep(0.3)
        assert queue.items("begin") == [1], "a stopped engine begins nothing"
        other = self.make_engine(tmp_path, "there")
        other.register(Queue(tmp_path, "there"))
        other.start()
        try:
            until(lambda: 2 in queue.items("end") and queue.items("begin").count(1) == 2)
        finally:
            other.stop()

    def test_what_was_being_claimed_when_it_was_stopped_is_given_back(
        self, tmp_path: Path, engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, go_on, claim = threading.Event(), threading.Event(), queue.claim

        def slow() -> int | None:
            asked.set()
            assert go_on.wait(LIMIT_S)
            return claim()

        monkeypatch.setattr(queue, "claim", slow)
        queue.add()
        engine.start()
        assert asked.wait(LIMIT_S)
        stopping = threading.Thread(target=engine.stop)
        stopping.start()
        _CLOCK.sleep(0.1)  # long enough to say so; the claim does not return before
        go_on.set()
        stopping.join()
        assert queue.items("begin") == [], "a stopped engine begins nothing"
        other = self.make_engine(tmp_path, "there")
        other.register(Queue(tmp_path, "there"))
        other.start()
        try:
            until(queue.is_done)
        finally:
            other.stop()
        assert [(entry.executor, entry.what) for entry in queue.diary()] == [("there", "begin"), ("there", "end")]

    def test_stopping_twice_or_unstarted_is_fine(self, tmp_path: Path, engine: Engine) -> None:
        engine.start()
        assert engine.stop()
        assert engine.stop()
        assert self.make_engine(tmp_path, "unstarted").stop()

    def test_killed_in_the_middle_another_goes_on(
        self, engine: Engine, queue: Queue, elsewhere: Callable[[], Elsewhere]
    ) -> None:
        queue.add(2, seconds=60)
        victim = elsewhere()
        until(lambda: len(queue.items("begin")) == 2)
        queue.add(3)
        with contextlib.closing(sqlite3.connect(queue.file)) as db, db:
            db.execute("UPDATE item SET seconds = 0")
        victim.kill()
        engine.start()
        until(queue.is_done)
        assert sorted(queue.items("end")) == [1, 2, 3, 4, 5]
        assert {entry.executor for entry in queue.diary() if entry.what == "end"} == {"here"}

    def test_two_processes_never_run_an_item_side_by_side(
        self, engine: Engine, queue: Queue, elsewhere: Callable[[], Elsewhere]
    ) -> None:
        queue.add(60, seconds=0.02)
        other = elsewhere()
        until(lambda: bool(queue.items("begin")))
        engine.start()
        until(queue.is_done)
        assert sorted(queue.items("begin")) == [*range(1, 61)]
        assert {entry.executor for entry in queue.diary()} == {"here", other.executor_id}, "both have worked"
