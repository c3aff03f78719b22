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

from holdfast.errors import NotFound, Unavailable
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


def refused_s(work: Callable[[], Any]) -> float:
    """How long it takes until it is `Unavailable`, by name."""
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"does not answer|cannot be asked now"):
        work()
    return time.monotonic() - start


def settled() -> None:
    """So long that no answer from before counts any more."""
    time.sleep(asking.FRESH_S + 0.05)


READS: list[Callable[[Hold, int], Any]] = [
    lambda hold, known: hold.open(known),
    lambda hold, known: hold.lease(known),
    lambda hold, known: hold.export(known, hold.state_dir / "copy"),
    lambda hold, known: hold.lookout.stat(known),
]


@pytest.mark.parametrize("read", READS, ids=["open", "lease", "export", "stat"])
def test_whoever_reads_from_it_is_told_so(hold: Hold, tmp_path: Path, read: Callable[[Hold, int], Any]):
    known = hold.datasets()[0].id
    settled()
    with hanging(tmp_path / "first") as answer:
        assert PATIENCE_S * 0.8 <= refused_s(lambda: read(hold, known)) < PATIENCE_S + 1
        assert refused_s(lambda: read(hold, known)) < PATIENCE_S / 2, "the second time it is known"
        with ThreadPoolExecutor(16) as threads:
            for one in [threads.submit(refused_s, lambda: read(hold, known)) for _ in range(64)]:
                assert one.result() < PATIENCE_S / 2
        assert busy_askers() == 1
        other = hold.put(b"two", name="two")
        with hold.open(other.id) as stream:
            assert stream.read() == b"two", "other pools are read as ever"
        answer()
        until(lambda: hold.unavailable() == {})
        with hold.open(known) as stream:
            assert stream.read() == b"one"


@pytest.mark.parametrize("wanted", [4711, "0f5e1d0a-6f0e-4a7e-9a53-000000000001"])
def test_what_nobody_knows_is_not_looked_for_in_it_for_ever(hold: Hold, tmp_path: Path, wanted: int | str):
    lying = tmp_path / "second" / "004" / "dataset_4712.dat"
    lying.parent.mkdir(parents=True)
    lying.write_bytes(b"early")
    settled()
    if isinstance(wanted, str):
        with pytest.raises(NotFound):
            hold.find(wanted)  # no pool keeps its data by uuid, so nobody has to be asked
        return
    with hanging(tmp_path / "first"):
        assert refused_s(lambda: hold.find(wanted)) < PATIENCE_S + 1
        assert refused_s(lambda: hold.find(wanted)) < PATIENCE_S / 2
        assert hold.find(4712).object_store_id == "second", "what another pool has is found all the same"
        assert busy_askers() == 1
    until(lambda: hold.unavailable() == {})
    with pytest.raises(NotFound):
        hold.find(wanted)


def test_whether_an_id_is_taken_is_asked_of_the_others(hold: Hold, tmp_path: Path):
    lying = tmp_path / "second" / "000" / "dataset_77.dat"
    lying.parent.mkdir(parents=True, exist_ok=True)
    lying.write_bytes(b"early")
    settled()
    with hanging(tmp_path / "first"):
        assert took_s(lambda: hold.poolset.is_taken(77, "")) < PATIENCE_S + 1
        assert hold.poolset.is_taken(77, "")
        assert took_s(lambda: hold.poolset.is_taken(78, "")) < PATIENCE_S / 2
        assert not hold.poolset.is_taken(78, "")


def test_a_check_names_it_and_proves_the_others(hold: Hold, tmp_path: Path):
    with hanging(tmp_path / "first"):
        assert took_s(hold.check_pools) < PATIENCE_S + 2
        checks = {check.object_store_id: check for check in hold.check_pools()}
        assert (checks["first"].severity, checks["second"].severity) == ("error", "ok")
        assert "does not answer" in checks["first"].detail
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "check"],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "does not answer" in done.stdout + done.stderr


def test_a_medium_that_answers_is_not_asked_for_each_blob(hold: Hold, monkeypatch: pytest.MonkeyPatch):
    """Opening costs a look at the clock; a thread is sent once in a while, however many are opened."""
    sent: list[object] = []
    send = asking._sent
    monkeypatch.setattr(asking, "_sent", lambda round_: (sent.append(round_), send(round_)))
    monkeypatch.setattr(asking, "FRESH_S", 60.0)
    known = hold.datasets()[0].id
    for _ in range(1000):
        hold.open(known).close()
    assert len(sent) <= 1
