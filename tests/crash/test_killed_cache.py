"""Processes that use a cache are killed, at every effect and at any moment: nothing wrong is served afterwards, nothing
that was recorded is lost, and no room stays taken."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.unit.cached.cache_kit import MIB, K, Lab, known, read_all, read_at

from holdfast.blobs import ByteRange, BytesBody, FileBody, GetOptions
from holdfast.errors import StoreError
from holdfast.keys import Key
from holdfast.layers.cached import CachedDriver
from holdfast.seams import SystemFiles
from holdfast.testing.store_kit import content_of

BOUND = 12 * MIB
IN_FLIGHT = 9 * MIB  # of the largest blob, when a kill comes just before it is recorded


class KilledAt(SystemFiles):
    """The process is killed just before its `at`-th effect on the cache's files."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at, self._count = at, 0

    def _effect(self) -> None:
        self._count += 1
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def create(self, path: str, mode: int) -> int:
        self._effect()
        return super().create(path, mode)

    def write(self, fd: int, block: bytes | bytearray | memoryview) -> int:
        self._effect()
        return super().write(fd, block)

    def sync(self, fd: int) -> None:
        self._effect()
        super().sync(fd)

    def replace(self, source: str, target: str) -> None:
        self._effect()
        super().replace(source, target)

    def unlink(self, path: str) -> None:
        self._effect()
        super().unlink(path)

    def make_folder(self, path: str, mode: int) -> None:
        self._effect()
        super().make_folder(path, mode)


@pytest.fixture
def lab(tmp_path: Path):
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def in_child(act: Callable[[], object], *, kill_after_s: float | None = None) -> bool:
    """Whether the child came to its end; False: it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            act()
            code = 0
        os._exit(code)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "the child failed"
    return status == 0


def verify(lab: Lab, blobs: dict[Key, bytes]) -> None:
    """By a new process: every blob is right however it is read, and the books are right."""
    driver = lab.cache(bound_bytes=BOUND)
    usage = driver.cache_usage()[0]
    assert usage.held_bytes <= BOUND + IN_FLIGHT
    assert lab.rows("SELECT count(*) FROM room") == [(0,)], "what the dead had reserved is free"
    for blob in driver.contents():  # what is held is right, before anything else makes it go
        if blob.key in blobs and blob.version == lab.remote.stat(blob.key).version:
            for start, stop in blob.parts:
                found = read_at(driver, start, stop, GetOptions(version=blob.version), blob.key)
                assert found == blobs[blob.key][start:stop]
    for key, content in blobs.items():
        options = known(lab.remote.stat(key))
        assert read_all(driver, options, key) == content
        middle = len(content) // 2
        assert read_at(driver, middle, middle + 100, options, key) == content[middle : middle + 100]
        with driver.open(key, GetOptions(local=True, version=options.version)) as reader:
            assert reader.local_path.read_bytes() == content
    driver.close()  # waits for the sweep
    lab.audit()
    assert {row[0] for row in lab.rows("SELECT file FROM entry")} == set(lab.files()), "a file that nobody knows"


@pytest.mark.needs("fork")
def test_killed_before_every_effect(lab: Lab, tmp_path: Path):
    blobs = {Key(f"000/{number}"): content_of((number + 1) * MIB + number, number) for number in range(5)}
    for key, content in blobs.items():
        lab.remote.put(key, BytesBody(content))
    finished = 0
    for at in range(1, 200):
        lab.folder = tmp_path / f"cache-{at % 7}"  # mostly one that was used, and in which others died

        def scenario(at: int = at) -> None:
            driver = lab.cache(bound_bytes=BOUND, keep=True, files=KilledAt(at))
            for key, content in blobs.items():
                assert read_at(driver, MIB // 2, MIB + MIB // 2, key=key) == content[MIB // 2 : MIB + MIB // 2]
            large = Key("000/4")  # by blocks, the last ones first, so that there are holes in the file
            for first in (4, 2):
                assert read_at(driver, first * MIB, first * MIB + 99, key=large) == blobs[large][first * MIB :][:99]
            with driver.open(large, GetOptions(range=ByteRange(0, 4 * MIB))) as reader:
                assert reader.read() == blobs[large][: 4 * MIB]
            given = tmp_path / "given"
            given.write_bytes(content_of(2 * MIB, at))
            driver.put(K, FileBody(given, 2 * MIB, consume=True))
            driver.warm(Key("000/2"))
            driver.put(Key("000/put"), BytesBody(content_of(MIB, at)))
            driver.drop(Key("000/2"))
            driver.delete(Key("000/put"))
            driver.close()

        ended = in_child(scenario)
        there = {key: lab.remote.bucket.read(key) for key in (*blobs, K, Key("000/put"))}
        verify(lab, {key: content for key, content in there.items() if content is not None})
        finished = finished + 1 if ended else 0
        if finished == 7:
            break
    assert finished == 7, "the scenario has more effects than expected"
    assert at > 40


@pytest.mark.needs("fork")
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(lab: Lab, seed: int):
    """Three processes read, put and delete; one is killed again and again, the others go on."""
    chance = Random(seed)
    blobs = {Key(f"000/{number}"): content_of(number * MIB + 4321, number) for number in range(9)}
    for key, content in blobs.items():
        lab.remote.put(key, BytesBody(content))
    lab.remote.latency_s = 0.002

    def work(worker: int, seconds: float) -> None:
        mine = Random(seed * 100 + worker)
        driver = lab.cache(bound_bytes=BOUND, keep=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _act(driver, mine, blobs)
        driver.close()

    others = []
    for worker in range(2):
        other = os.fork()
        if other == 0:
            code = 1
            with contextlib.suppress(BaseException):
                work(worker, 2.5)
                code = 0
            os._exit(code)
        others.append(other)
    for turn in range(8):
        assert not in_child(lambda turn=turn: work(10 + turn, 60.0), kill_after_s=chance.uniform(0.03, 0.4))
    for other in others:
        assert os.waitpid(other, 0)[1] == 0, "who was not killed saw something wrong"
    verify(lab, blobs)


def _act(driver: CachedDriver, chance: Random, blobs: dict[Key, bytes]) -> None:
    key = chance.choice(list(blobs))
    content = blobs[key]
    kind = chance.randrange(8)
    try:
        if kind < 3:
            start = chance.randrange(len(content))
            stop = min(len(content), start + chance.randrange(1, 3 * MIB))
            assert read_at(driver, start, stop, key=key) == content[start:stop]
        elif kind == 3:
            assert read_all(driver, key=key, part=MIB) == content
        elif kind == 4:
            with driver.open(key, GetOptions(local=True)) as reader:
                assert reader.local_path.read_bytes() == content
        elif kind == 5:
            driver.drop(key)
        elif kind == 6:
            driver.put(key, BytesBody(content))
        else:
            driver.pin(key, str(os.getpid()))
            driver.unpin(str(os.getpid()))
    except StoreError:
        return  # replaced while it was read, no room for all of it: errors, never wrong bytes


@pytest.mark.needs("fork")
def test_who_waits_for_one_that_is_killed_fetches_himself(lab: Lab, tmp_path: Path):
    content, options = lab.store(3 * MIB)
    lab.remote.latency_s = 20.0  # the child hangs in its request until it is killed

    def hang() -> None:
        read_all(lab.cache(), options)

    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            hang()
        os._exit(1)
    while not lab.remote.calls("open"):
        time.sleep(0.01)
    lab.remote.latency_s = 0.0
    waiter = os.fork()
    if waiter == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if read_all(lab.cache(), options) == content else 2
        os._exit(code)
    time.sleep(0.2)
    assert os.waitpid(waiter, os.WNOHANG) == (0, 0), "it waits while somebody is at it"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.waitpid(waiter, 0)[1] == 0
    assert lab.remote.bytes_read() == len(content)
    lab.audit()
