"""The suite that every engine fulfils, over a queue of its own: a small SQLite file with its diary.

    class TestInline(EngineContract):
        def make_engine(self, folder, executor_id): return InlineEngine()

The backdoor is the diary: who began which item when, and when it ended. `python -m holdfast.testing.engines
MODULE:FUNCTION FOLDER` runs an engine over that queue until it is killed; FUNCTION is called with the folder
and the executor id.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.catalog.holders import born
from holdfast.operations import engine as engines
from holdfast.operations.engine import Engine
from holdfast.seams import SystemClock

_CLOCK = SystemClock()
LIMIT_S = 30.0
LOOK_S = 0.01


def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait for it; fails after `limit_s`."""
    end_s = _CLOCK.monotonic_s() + limit_s
    while not condition():
        assert _CLOCK.monotonic_s() < end_s, f"it did not come true within {limit_s} s"
        _CLOCK.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the diary."""

    item: int
    executor: str
    what: str  # begin end
    at_us: int


class Queue:
    """Items that take some time, in an SQLite file; fulfils `Work`."""

    kind = "tick"

    def __init__(self, folder: Path, executor_id: str, *, at_once: int = 2) -> None:
        self.at_once = at_once
        self.given_up: list[int] = []
        self._folder, self._executor_id = folder, executor_id
        with self._database() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, seconds REAL, failures INTEGER, "
                "state TEXT DEFAULT 'waiting', holder TEXT)"
            )
            db.execute("CREATE TABLE IF NOT EXISTS diary (item INTEGER, executor TEXT, what TEXT, at_us INTEGER)")

    # -- what the suite does ------------------------------------------------------------------------------

    def add(self, count: int = 1, *, seconds: float = 0.0, failures: int = 0) -> None:
        """So many more items; each fails so often before it ends."""
        with self._database() as db:
            db.executemany("INSERT INTO item (seconds, failures) VALUES (?, ?)", [(seconds, failures)] * count)

    def diary(self) -> list[Entry]:
        """What has happened, in its order."""
        with self._database() as db:
            return [Entry(*row) for row in db.execute("SELECT item, executor, what, at_us FROM diary ORDER BY rowid")]

    def items(self, what: str) -> list[int]:
        """Which items began, or ended."""
        return [entry.item for entry in self.diary() if entry.what == what]

    def is_done(self) -> bool:
        """Whether every item has come to its end."""
        with self._database() as db:
            return int(db.execute("SELECT count(*) FROM item WHERE state <> 'done'").fetchone()[0]) == 0

    # -- Work ---------------------------------------------------------------------------------------------

    def claim(self) -> int | None:
        with self._database() as db:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute("SELECT id, state, holder FROM item WHERE state <> 'done' ORDER BY id").fetchall()
            for item, state, holder in rows:
                if state == "waiting" or not lives(holder):
                    db.execute("UPDATE item SET state = 'running', holder = ? WHERE id = ?", (me(), item))
                    return int(item)
        return None

    def run(self, item_id: int, stop: threading.Event) -> None:
        with self._database() as db:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute("SELECT seconds, failures, state, holder FROM item WHERE id = ?", (item_id,)).fetchone()
            seconds, failures, state, holder = row
            if state == "done" or (holder != me() and lives(holder)):
                return
            db.execute(
                "UPDATE item SET state = 'running', holder = ?, failures = ? WHERE id = ?",
                (me(), max(0, failures - 1), item_id),
            )
            self._note(db, item_id, "begin")
        if failures:
            raise RuntimeError(f"item {item_id} fails on purpose")
        if stop.wait(seconds):
            with self._database() as db:
                db.execute("UPDATE item SET state = 'waiting', holder = NULL WHERE id = ?", (item_id,))
            return
        with self._database() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE item SET state = 'done' WHERE id = ?", (item_id,))
            self._note(db, item_id, "end")

    def give_up(self, item_id: int, error: BaseException) -> None:
        self.given_up.append(item_id)
        with self._database() as db:
            db.execute("UPDATE item SET state = 'done' WHERE id = ?", (item_id,))

    def _note(self, db: sqlite3.Connection, item: int, what: str) -> None:
        db.execute("INSERT INTO diary VALUES (?, ?, ?, ?)", (item, self._executor_id, what, _CLOCK.now_us()))

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._folder / "queue.sqlite", timeout=30)) as db, db:
            yield db


def me() -> str:
    """This process, so that its death can be seen."""
    return f"{os.getpid()} {born(os.getpid())}"


def lives(holder: str | None) -> bool:
    """Whether the process that wrote `me()` lives."""
    if holder is None:
        return False
    pid, _, since = holder.partition(" ")
    return born(int(pid)) == since


class Elsewhere:
    """An engine over the same queue in a process of its own."""

    def __init__(self, factory: str, folder: Path) -> None:
        command = [sys.executable, "-m", "holdfast.testing.engines", factory, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.executor_id = f"elsewhere-{self.process.pid}"

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


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
        with contextlib.closing(sqlite3.connect(engine_queue(queue))) as db, db:
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


def engine_queue(queue: Queue) -> Path:
    """The file of a queue."""
    return queue._folder / "queue.sqlite"  # noqa: SLF001 - the suite's backdoor


def main(factory: str, folder: str) -> None:
    """Run an engine over the queue in that folder until killed, or until the parent is gone."""
    module, _, name = factory.partition(":")
    executor_id = f"elsewhere-{os.getpid()}"
    engine: Engine = getattr(importlib.import_module(module), name)(Path(folder), executor_id)
    engine.register(Queue(Path(folder), executor_id))
    engine.start()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
