"""A queue to try engines with: items in a small SQLite file, and the diary of what happened to them.

`python -m holdfast.testing.ticking MODULE:FUNCTION FOLDER` runs an engine over the queue of a folder until its
starter is gone; FUNCTION makes it, called with the folder and the executor id.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.catalog.holders import born
from holdfast.operations.engine import Engine
from holdfast.seams import SystemClock

_CLOCK = SystemClock()


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
        self.file = folder / "queue.sqlite"
        self._executor_id = executor_id
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
        if stop.is_set():
            self._give_back(item_id)
            return
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
            self._give_back(item_id)
            return
        with self._database() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE item SET state = 'done' WHERE id = ?", (item_id,))
            self._note(db, item_id, "end")

    def give_up(self, item_id: int, error: BaseException) -> None:
        self.given_up.append(item_id)
        with self._database() as db:
            db.execute("UPDATE item SET state = 'done' WHERE id = ?", (item_id,))

    def _give_back(self, item_id: int) -> None:
        with self._database() as db:
            db.execute(
                "UPDATE item SET state = 'waiting', holder = NULL WHERE id = ? AND holder = ?", (item_id, me())
            )

    def _note(self, db: sqlite3.Connection, item: int, what: str) -> None:
        db.execute("INSERT INTO diary VALUES (?, ?, ?, ?)", (item, self._executor_id, what, _CLOCK.now_us()))

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.file, timeout=30)) as db, db:
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
        command = [sys.executable, "-m", "holdfast.testing.ticking", factory, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.executor_id = f"elsewhere-{self.process.pid}"

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


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
