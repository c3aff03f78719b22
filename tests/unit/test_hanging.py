"""A medium that hangs whoever asks it, though its pool is active: one thread stays with it, and nobody else waits.

The hang is a real one: the pool's mark is a pipe that nobody writes to, so that opening it never returns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract.catalog_kit import in_children
from tests.unit.told import open_at

from holdfast.hold import asking
from holdfast.hold.hold import Hold

PATIENCE_S = 0.4


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    monkeypatch.setattr(asking, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(asking, "MORE_PATIENCE_S", PATIENCE_S)
    with open_at(tmp_path, "first", "second") as found:
        found.put(b"one", name="one")
        yield found


@contextmanager
def hanging(pool: Path) -> Iterator[Callable[[], None]]:
    """The pool's medium hangs until the block ends, or until what it gives is called."""
    mark = pool / ".holdfast-pool"
    kept = mark.rename(mark.with_name(".holdfast-kept"))  # its inode stays taken: the pipe must be another
    os.mkfifo(mark)

    def answer() -> None:
        if mark.is_fifo():
            with mark.open("r+b", buffering=0) as pipe:  # lets go whoever waits, and nobody has to be there
                pipe.write(kept.read_bytes())
                kept.replace(mark)
                time.sleep(0.05)

    try:
        yield answer
    finally:
        answer()


def took_s(work: Callable[[], Any]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def busy_askers() -> int:
    return sum(thread.name == "asks media" for thread in threading.enumerate()) - len(asking._IDLE)


def test_nobody_waits_for_it_and_the_other_pool_is_used(hold: Hold, tmp_path: Path):
    with hanging(tmp_path / "first") as answer:
        assert PATIENCE_S <= took_s(hold.unavailable) < PATIENCE_S + 1
        assert took_s(hold.unavailable) < PATIENCE_S / 2, "the second time it is known"
        assert list(hold.unavailable()) == ["first"]
        assert "pool first is unavailable: it does not answer; look at its mount" in hold.unavailable()["first"]
        first, second = hold.pools()
        assert (first.reachable, second.reachable) == (False, True)
        assert "does not answer" in (first.unreachable_because or "")
        stored = hold.put(b"two", name="two")
        assert stored.object_store_id == "second"
        why = {choice.object_store_id: choice.reason for choice in hold.explain(stored.id).placement}
        assert "does not answer" in why["first"]
        shape = hold.to_json(hold.datasets()[1])
        assert "does not answer" in shape["unavailable_because"]
        answer()
        until(lambda: hold.unavailable() == {})
        assert hold.put(b"three", name="three").object_store_id == "first"


def test_however_many_ask_one_thread_stays_with_it(hold: Hold, tmp_path: Path):
    with hanging(tmp_path / "first") as answer:
        with ThreadPoolExecutor(16) as threads:
            every = [threads.submit(hold.unavailable) for _ in range(64)]
            found = [sorted(one.result()) for one in every]
            assert found == [["first"]] * 64
        until(lambda: busy_askers() == 1)
        assert took_s(hold.unavailable) < PATIENCE_S / 2
        answer()
        until(lambda: busy_askers() == 0)
    assert hold.unavailable() == {}


def test_two_that_hang_take_little_longer_than_one(hold: Hold, tmp_path: Path):
    with hanging(tmp_path / "first"), hanging(tmp_path / "second"):
        assert took_s(hold.unavailable) < PATIENCE_S + asking.MORE_PATIENCE_S + 1
        assert sorted(hold.unavailable()) == ["first", "second"]
    until(lambda: hold.unavailable() == {})


def test_a_child_asks_with_a_thread_of_its_own(hold: Hold, tmp_path: Path):
    with hanging(tmp_path / "first") as answer:
        hold.unavailable()
        assert in_children(2, lambda _: sorted(hold.unavailable())) == [["first"], ["first"]]
        answer()
        until(lambda: hold.unavailable() == {})
        assert in_children(2, lambda _: sorted(hold.unavailable())) == [[], []]


def test_a_command_comes_to_its_end(hold: Hold, tmp_path: Path):
    with hanging(tmp_path / "first"):
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "ls"],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "one" in done.stdout
