"""How fast a pool may be asked, how many bytes may pass, how many at once; and that no limit costs nothing."""

from __future__ import annotations

import gc
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.layers.layer_kit import QuickClock, failing

from holdfast.blobs import BLOCK_BYTES, ByteRange, BytesBody, FileBody, GetOptions, PutOptions, StreamBody
from holdfast.errors import Conflict, NotFound, Unavailable
from holdfast.keys import Key
from holdfast.layers.limited import LimitedDriver
from holdfast.stores.streams import piece_of
from holdfast.testing.failing_driver import FailingDriver, unavailable
from holdfast.testing.store_kit import KEY, content_of, listed, read

CONTENT = content_of(3 * BLOCK_BYTES)


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def inner(tmp_path: Path) -> FailingDriver:
    driver = failing(tmp_path)
    driver.put(KEY, BytesBody(CONTENT))
    driver.calls.clear()
    return driver


# -- requests a second --------------------------------------------------------------------------------------------


def test_a_second_may_pass_at_once_and_then_the_rate_holds(inner: FailingDriver, clock: QuickClock):
    driver = LimitedDriver(inner, requests_per_s=10, clock=clock)
    for _ in range(10):
        driver.stat(KEY)
    assert clock.slept == []
    for _ in range(30):
        driver.stat(KEY)
    assert sum(clock.slept) == pytest.approx(3.0)
    clock.at_s += 100
    clock.slept.clear()
    for _ in range(10):
        driver.stat(KEY)
    assert clock.slept == [], "a long quiet is worth one second, "
    driver.stat(KEY)
    assert clock.slept == pytest.approx([0.1]), "and not more"


def test_less_than_one_a_second(inner: FailingDriver, clock: QuickClock):
    driver = LimitedDriver(inner, requests_per_s=0.5, clock=clock)
    for _ in range(4):
        driver.stat(KEY)
    assert clock.slept == pytest.approx([2, 2, 2])


def test_all_threads_share_the_rate(inner: FailingDriver):
    """With the real clock, because each thread waits for itself: 20 at once, then 20 a second."""
    driver = LimitedDriver(inner, requests_per_s=20)
    clock = driver._clock
    began_s = clock.monotonic_s()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: driver.stat(KEY), range(26)))
    took_s = clock.monotonic_s() - began_s
    assert 0.29 <= took_s < 3
    assert inner.calls.count("stat") == 26


def test_every_request_counts_once_and_what_asks_nothing_does_not(inner: FailingDriver, clock: QuickClock):
    driver = LimitedDriver(inner, requests_per_s=1, clock=clock)
    driver.stat(KEY)
    acts: dict[str, Callable[[], object]] = {
        "stat": lambda: driver.stat(KEY),
        "open": lambda: driver.open(KEY).close(),
        "put": lambda: driver.put(Key("contract/b"), BytesBody(b"x")),
        "copy": lambda: driver.copy(KEY, Key("contract/c")),
        "delete": lambda: driver.delete(Key("contract/b")),
        "list": lambda: listed(driver),
        "leftovers": lambda: list(driver.leftovers()),
        "refused": lambda: list(driver.refused()),
        "occupied": lambda: driver.occupied(KEY),
        "probe": driver.probe,
        "prepare": driver.prepare,
        "identity": driver.identity,
        "mark": lambda: driver.mark("0a-first"),
    }
    for name, act in acts.items():
        clock.slept.clear()
        act()
        assert sum(clock.slept) == pytest.approx(1), name
    clock.slept.clear()
    for free in (driver.usage, driver.close, lambda: driver.sync([KEY]), lambda: driver.expect("0a-first")):
        free()
    assert clock.slept == []


def test_a_listing_costs_a_request_for_each_thousand_names(inner: FailingDriver, clock: QuickClock):
    for number in range(2001):
        (Path(inner.inner.root) / "contract" / f"{number:04}").touch()
    driver = LimitedDriver(inner, requests_per_s=1, clock=clock)
    names = driver.list("contract/")
    for _ in range(1000):
        next(names)
    assert clock.slept == []
    assert sum(1 for _ in names) == 1002
    assert sum(clock.slept) == pytest.approx(2.0)


# -- bytes a second -----------------------------------------------------------------------------------------------


def bodies(folder: Path) -> dict[str, object]:
    (folder / "source").write_bytes(CONTENT)
    return {
        "bytes": BytesBody(CONTENT),
        "stream": StreamBody(io.BytesIO(CONTENT)),
        "file": FileBody.of(folder / "source"),
    }


@pytest.mark.parametrize("kind", ["bytes", "stream", "file"])
def test_what_is_put_takes_its_time(inner: FailingDriver, clock: QuickClock, tmp_path: Path, kind: str):
    driver = LimitedDriver(inner, bytes_per_s=BLOCK_BYTES, clock=clock)
    told: list[int] = []
    driver.put(KEY, bodies(tmp_path)[kind], PutOptions(on_progress=told.append))
    assert sum(clock.slept) == pytest.approx(2.0)
    assert max(clock.slept) < 1, "it waits on the way, not at the end"
    assert told[-1] == len(CONTENT)
    assert read(inner, KEY) == CONTENT


def test_who_refuses_by_the_progress_is_heard(inner: FailingDriver, clock: QuickClock):
    driver = LimitedDriver(inner, bytes_per_s=BLOCK_BYTES, clock=clock)

    def refuse(done_bytes: int) -> None:
        if done_bytes > BLOCK_BYTES:
            raise Conflict("no more room")

    with pytest.raises(Conflict):
        driver.put(KEY, BytesBody(CONTENT), PutOptions(on_progress=refuse))


def test_a_file_that_is_given_away_stays_one(inner: FailingDriver, clock: QuickClock, tmp_path: Path):
    """Renamed into place: no byte passes, so none is waited for."""
    driver = LimitedDriver(inner, bytes_per_s=1, clock=clock)
    (tmp_path / "given").write_bytes(CONTENT)
    driver.put(KEY, FileBody(tmp_path / "given", len(CONTENT), consume=True))
    assert not (tmp_path / "given").exists()
    assert clock.slept == []


@pytest.mark.parametrize("how", ["read", "read parts", "readinto", "pieces"])
def test_what_is_read_takes_its_time(inner: FailingDriver, clock: QuickClock, how: str):
    driver = LimitedDriver(inner, bytes_per_s=BLOCK_BYTES, clock=clock)
    with driver.open(KEY, GetOptions(range=ByteRange(10))) as reader:
        assert clock.slept == []
        if how == "read":
            got = reader.read()
        elif how == "read parts":
            got = b"".join(iter(lambda: reader.read(100_000), b""))
        elif how == "pieces":
            got = b"".join(iter(lambda: bytes(piece_of(reader, 100_000)), b""))
        else:
            buffer, got = bytearray(100_000), b""
            while count := reader.readinto(buffer):
                got += buffer[:count]
    assert got == CONTENT[10:]
    assert sum(clock.slept) == pytest.approx(2.0, abs=1e-4)


def test_both_directions_share_the_rate(inner: FailingDriver, clock: QuickClock):
    driver = LimitedDriver(inner, bytes_per_s=BLOCK_BYTES, clock=clock)
    driver.put(KEY, BytesBody(CONTENT))
    assert read(driver, KEY) == CONTENT
    assert sum(clock.slept) == pytest.approx(5.0)


def test_what_is_sought_over_costs_nothing(inner: FailingDriver, clock: QuickClock):
    driver = LimitedDriver(inner, bytes_per_s=1000, clock=clock)
    with driver.open(KEY) as reader:
        assert reader.seek(len(CONTENT) - 1000) == reader.tell()
        assert reader.read() == CONTENT[-1000:]
    assert clock.slept == []


# -- at once ------------------------------------------------------------------------------------------------------


class Counting(FailingDriver):
    """Knows how many were inside at once."""

    def __init__(self, inner: FailingDriver) -> None:
        super().__init__(inner.inner)
        self.inside = self.most = 0
        self.gate = threading.Event()

    def stat(self, key: Key):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.gate.wait(0.02)
        with self._lock:
            self.inside -= 1
        return super().stat(key)


def test_no_more_than_so_many_at_once(inner: FailingDriver):
    counting = Counting(inner)
    driver = LimitedDriver(counting, concurrency=3)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: driver.stat(KEY), range(24)))
    assert counting.most == 3


def test_a_reader_keeps_its_place_until_it_is_closed(inner: FailingDriver):
    driver = LimitedDriver(inner, concurrency=2, permit_wait_s=0.02)
    first, second = driver.open(KEY), driver.open(KEY)
    with pytest.raises(Unavailable, match=r"2 things at once, and for 0\.02 s none of them ended") as caught:
        driver.stat(KEY)
    assert (caught.value.store, caught.value.retryable) == ("pool", True)
    assert inner.calls == ["open", "open"]
    first.close()
    first.close()
    driver.stat(KEY)
    with driver.open(KEY), pytest.raises(Unavailable):
        driver.open(KEY)
    second.close()
    del second
    driver.open(KEY)  # forgotten, and never closed
    gc.collect()
    with driver.open(KEY), driver.open(KEY):
        pass


def test_what_fails_gives_its_place_back(inner: FailingDriver):
    driver = LimitedDriver(inner, concurrency=1, permit_wait_s=0.02)
    for _ in range(3):
        inner.fail("open", unavailable())
        with pytest.raises(Unavailable, match="it does not answer"):
            driver.open(KEY)
        with pytest.raises(NotFound):
            driver.stat(Key("contract/never"))
        inner.break_lists(0)
        with pytest.raises(Unavailable, match="cut"):
            listed(driver)
    driver.stat(KEY)


def test_whoever_lists_may_ask_for_what_was_listed(inner: FailingDriver):
    driver = LimitedDriver(inner, concurrency=1, permit_wait_s=0.02)
    driver.put(Key("contract/other"), BytesBody(b"x"))
    assert [driver.stat(one.key).size_bytes for one in driver.list()] == [len(CONTENT), 1]


@pytest.mark.needs("fork")
def test_a_child_begins_with_places_of_its_own(inner: FailingDriver):
    """Also when the parent's locks were held by other threads, and its readers are closed in the child."""
    driver = LimitedDriver(inner, concurrency=1, requests_per_s=1e6, bytes_per_s=1e12, permit_wait_s=0.02)
    reader = driver.open(KEY)
    limits = driver._limits()
    with limits._requests._lock, limits._bytes._lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with driver.open(KEY) as own:
                    code = 0 if own.read() == CONTENT and reader.read() == CONTENT else 2
                reader.close()
                with driver.open(KEY):
                    try:
                        driver.stat(KEY)
                        code = 3
                    except Unavailable:
                        pass
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(Unavailable):
        driver.stat(KEY)
    reader.close()
    driver.stat(KEY)


# -- none ---------------------------------------------------------------------------------------------------------


def test_without_limits_nothing_is_wrapped(tmp_path: Path, inner: FailingDriver):
    class Same(FailingDriver):
        def open(self, key, options=GetOptions()):  # noqa: B008
            self.last = super().open(key, options)
            return self.last

    same = Same(inner.inner)
    driver = LimitedDriver(same)
    with driver.open(KEY) as reader:
        assert reader is same.last
    assert driver._by_process == {}


@pytest.mark.parametrize("limit", ["requests_per_s", "bytes_per_s", "concurrency"])
def test_a_limit_of_nothing_is_refused(inner: FailingDriver, limit: str):
    for value in (0, -1):
        with pytest.raises(ValueError, match="leave it out for no limit"):
            LimitedDriver(inner, **{limit: value})


def test_a_local_path_stays_one(tmp_path: Path, clock: QuickClock):
    inner = failing(tmp_path, local_paths=True)
    driver = LimitedDriver(inner, concurrency=1, bytes_per_s=10, clock=clock)
    driver.put(KEY, BytesBody(b"content"))
    with driver.open(KEY, GetOptions(local=True)) as reader:
        assert reader.local_path is not None
        assert reader.local_path.read_bytes() == b"content"
        with pytest.raises(Conflict, match="being read"):
            driver._inner.delete(KEY)
    driver.delete(KEY)
