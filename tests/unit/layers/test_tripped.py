"""When a pool is left alone, for how long, who may try again, and what counts as an answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.layers.layer_kit import QuickClock, failing

from holdfast.blobs import BLOCK_BYTES, BytesBody, GetOptions, Reader
from holdfast.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    Denied,
    InvalidKey,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from holdfast.keys import Key
from holdfast.layers.tripped import TrippedDriver
from holdfast.stores.caching import Guard, Health
from holdfast.stores.streams import piece_of
from holdfast.testing.failing_driver import FailingDriver, unavailable
from holdfast.testing.store_kit import KEY, content_of, every_method, listed, read, rest_of

CONTENT = content_of(BLOCK_BYTES)
DOWN = unavailable("connection refused")


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def inner(tmp_path: Path) -> FailingDriver:
    driver = failing(tmp_path)
    driver.put(KEY, BytesBody(CONTENT))
    driver.calls.clear()
    return driver


@pytest.fixture
def driver(inner: FailingDriver, clock: QuickClock) -> TrippedDriver:
    return TrippedDriver(inner, failures=5, pause_s=5, pause_max_s=60, clock=clock)


def fails(driver: TrippedDriver, times: int = 1) -> Unavailable:
    for _ in range(times):
        with pytest.raises(Unavailable) as caught:
            driver.stat(KEY)
    return caught.value


def trip(driver: TrippedDriver, inner: FailingDriver) -> None:
    inner.down = DOWN
    fails(driver, 5)
    inner.calls.clear()


# -- pausing ------------------------------------------------------------------------------------------------------


def test_after_five_failures_in_a_row_it_is_left_alone(driver: TrippedDriver, inner: FailingDriver):
    inner.down = DOWN
    for number in range(1, 6):
        assert fails(driver) is DOWN
        assert driver.health().failures == number
    assert len(inner.calls) == 5
    error = fails(driver, 20)
    assert len(inner.calls) == 5
    assert str(error) == (
        "pool pool has not answered since 2023-11-14 22:30:00 UTC (5 failures in a row); it is asked again in 5 s. "
        "The last failure: connection refused"
    )
    assert (error.store, error.retryable, error.retry_after_s) == ("pool", True, 5)


@pytest.mark.parametrize("operation", ["stat", "open"])
def test_who_hangs_is_left_alone_after_one_call(
    driver: TrippedDriver, inner: FailingDriver, clock: QuickClock, operation: str
):
    """Each call to a server that hangs takes a minute or more with its repetitions: five would be five minutes."""
    ask = inner._ask

    def hang(asked: str) -> None:
        clock.at_s += 21
        ask(asked)

    inner._ask, inner.down = hang, DOWN
    with pytest.raises(Unavailable):
        getattr(driver, operation)(KEY)
    assert driver.health().state == "paused"
    asked = len(inner.calls)
    with pytest.raises(Unavailable, match="has not answered since"):
        driver.stat(KEY)
    assert len(inner.calls) == asked
    inner._ask, inner.down = ask, None
    clock.at_s += 5.1
    assert driver.stat(KEY).size_bytes == len(CONTENT)
    assert driver.health() == Health("ok")


def test_an_answer_in_between_begins_the_count_anew(driver: TrippedDriver, inner: FailingDriver):
    for _ in range(5):
        inner.fail("stat", *[unavailable()] * 4)
        fails(driver, 4)
        driver.stat(KEY)
        assert driver.health() == Health("ok")
    assert len(inner.calls) == 25


def test_one_call_tries_and_each_failure_doubles_the_pause(
    driver: TrippedDriver, inner: FailingDriver, clock: QuickClock
):
    trip(driver, inner)
    for pause_s in (5, 10, 20, 40, 60, 60):
        clock.at_s += pause_s - 0.01
        fails(driver, 3)
        assert inner.calls == [], "it is too early"
        clock.at_s += 0.02
        assert fails(driver) is DOWN
        assert fails(driver) is not DOWN
        assert inner.calls == ["stat"]
        inner.calls.clear()
    inner.down = None
    clock.at_s += 61
    assert driver.stat(KEY).size_bytes == len(CONTENT)
    assert driver.health() == Health("ok")
    trip(driver, inner)
    assert driver.health().retry_in_s == 5, "healthy again means the short pause again"


def test_exactly_one_of_many_tries(driver: TrippedDriver, inner: FailingDriver, clock: QuickClock):
    trip(driver, inner)
    clock.at_s += 6
    inner.down = None
    entered, go_on = threading.Event(), threading.Event()
    ask = inner._ask

    def slow(operation: str) -> None:
        ask(operation)
        entered.set()
        go_on.wait(10)

    inner._ask = slow
    with ThreadPoolExecutor(9) as pool:
        trial = pool.submit(driver.stat, KEY)
        assert entered.wait(10)
        others = [pool.submit(driver.stat, KEY) for _ in range(8)]
        errors = [one.exception(10) for one in others]
        assert all(isinstance(error, Unavailable) for error in errors)
        assert "it is being asked again just now" in str(errors[0])
        assert driver.health().state == "paused"
        go_on.set()
        assert trial.result(10).size_bytes == len(CONTENT)
    assert inner.calls == ["stat"]
    assert driver.health() == Health("ok")


def test_a_try_that_does_not_come_back_does_not_keep_the_pool_away(
    driver: TrippedDriver, inner: FailingDriver, clock: QuickClock
):
    """An upload of hours that happens to be the one that tries."""
    trip(driver, inner)
    inner.down = None
    clock.at_s += 6
    with pytest.raises(Conflict, match="enough"):
        driver.put(Key("contract/x"), BytesBody(CONTENT), _during(lambda: (fails(driver), _later(clock, driver))))
    assert driver.health() == Health("ok")


def _later(clock: QuickClock, driver: TrippedDriver) -> None:
    clock.at_s += 6
    assert driver.stat(KEY).size_bytes == len(CONTENT)
    raise Conflict("enough")


def _during(act: Callable[[], object]):
    from holdfast.blobs import PutOptions

    return PutOptions(on_progress=lambda _: act() and None)


def test_a_try_that_ends_without_an_answer_lets_the_next_one_try(
    driver: TrippedDriver, inner: FailingDriver, clock: QuickClock
):
    trip(driver, inner)
    clock.at_s += 6
    inner.down = None
    for error in (ValueError("a bug"), KeyboardInterrupt(), Unsupported("cannot", store="pool"), unavailable_of("")):
        inner.fail("stat", error)
        with pytest.raises(type(error)) as caught:
            driver.stat(KEY)
        assert caught.value is error
    assert driver.stat(KEY).size_bytes == len(CONTENT)


def unavailable_of(store: str) -> Unavailable:
    return Unavailable("the sender is gone", store=store)


def test_failures_that_were_under_way_when_the_pause_began_do_not_lengthen_it(
    driver: TrippedDriver, inner: FailingDriver
):
    inner.down = DOWN
    barrier = threading.Barrier(16)
    ask = inner._ask

    def together(operation: str) -> None:
        barrier.wait(10)
        ask(operation)

    inner._ask = together
    with ThreadPoolExecutor(16) as pool:
        results = [pool.submit(driver.stat, KEY) for _ in range(16)]
        assert all(one.exception(10) is DOWN for one in results)
    assert driver.health() == Health("paused", 5, "connection refused", 5.0)


def test_every_method_is_refused_while_it_is_paused(driver: TrippedDriver, inner: FailingDriver, clock: QuickClock):
    trip(driver, inner)
    acts = every_method(driver)
    acts |= {
        "identity": driver.identity,
        "mark": lambda: driver.mark("0a-first"),
        "prepare": driver.prepare,
        "occupied": lambda: driver.occupied(KEY),
        "refused": lambda: list(driver.refused()),
        "sign_url": lambda: driver.sign_url(KEY, "GET", 60),
    }
    acts = {name: act for name, act in acts.items() if not name.startswith("sync")}
    for name, act in acts.items():
        with pytest.raises(Unavailable, match="has not answered since"):
            act()
        assert inner.calls == [], name
    driver.close()
    assert driver.name == "pool"
    assert driver.capabilities == inner.capabilities
    inner.down = None
    driver.sync([KEY])


# -- what counts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [Unavailable("x", store="pool"), Unavailable("x", store="pool", retryable=False),
              OutcomeUnknown("x", store="pool")], ids=repr,
)  # fmt: skip
def test_silence(driver: TrippedDriver, inner: FailingDriver, error: Exception):
    for _ in range(5):
        inner.fail("put", error)
        with pytest.raises(type(error)):
            driver.put(KEY, BytesBody(b"x"))
    assert driver.health().state == "paused"


@pytest.mark.parametrize("cls", [NotFound, AlreadyExists, PreconditionFailed, Denied, Unauthenticated, NoSpace])
def test_an_answer_that_one_does_not_like_is_one(driver: TrippedDriver, inner: FailingDriver, cls: type[Exception]):
    inner.fail("stat", *[unavailable()] * 4)
    fails(driver, 4)
    inner.fail("put", cls("no", store="pool"))
    with pytest.raises(cls):
        driver.put(KEY, BytesBody(b"x"))
    assert driver.health() == Health("ok")


@pytest.mark.parametrize(
    "error",
    [Unavailable("the sender is gone"), Unavailable("another pool is gone", store="other"),
     Unsupported("cannot", store="pool"), InvalidKey("bad", store="pool"), Corrupt("bad", store="pool"),
     NotFound("the source is gone"), Conflict("being read"), ValueError("a bug")],
    ids=lambda error: f"{type(error).__name__}: {error}",
)  # fmt: skip
def test_what_says_nothing_of_the_pool(driver: TrippedDriver, inner: FailingDriver, error: Exception):
    inner.fail("stat", *[unavailable()] * 4)
    fails(driver, 4)
    before = driver.health()
    for _ in range(10):
        inner.fail("put", error)
        with pytest.raises(type(error)):
            driver.put(KEY, BytesBody(b"x"))
        assert driver.health() == before
    driver.usage()
    with pytest.raises(Unsupported):
        driver.sign_url(KEY, "GET", 60)
    assert driver.health() == before


# -- readers and listings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "take",
    [
        lambda reader: len(reader.read(600)),
        lambda reader: reader.readinto(bytearray(600)),
        lambda reader: len(piece_of(reader, 600)),
    ],
    ids=["read", "readinto", "pieces"],
)
def test_readers_that_break_count_although_they_could_be_opened(
    driver: TrippedDriver, inner: FailingDriver, take: Callable[[Reader], int]
):
    inner.break_streams(*[1000] * 5)
    for number in range(1, 6):
        with driver.open(KEY) as reader:
            assert take(reader) == 600
            assert len(reader.read(600)) == 400
            with pytest.raises(Unavailable, match="cut"):
                take(reader)
        assert driver.health().failures == number
    with pytest.raises(Unavailable, match="has not answered"):
        driver.open(KEY)


def test_a_reader_that_comes_to_a_good_end_is_an_answer(driver: TrippedDriver, inner: FailingDriver):
    inner.fail("stat", *[unavailable()] * 4)
    fails(driver, 4)
    with driver.open(KEY) as reader:
        assert rest_of(reader) == CONTENT
        assert driver.health().failures == 4
    assert driver.health() == Health("ok")


def test_a_reader_from_before_the_failures_is_none(driver: TrippedDriver, inner: FailingDriver):
    """It may have had all its bytes already: closing it must not send everybody to a dead pool."""
    reader = driver.open(KEY)
    trip(driver, inner)
    assert rest_of(reader) == CONTENT
    reader.close()
    assert driver.health().state == "paused"


def test_the_reader_that_tries_lets_all_ask_and_is_watched_all_the_same(
    driver: TrippedDriver, inner: FailingDriver, clock: QuickClock
):
    trip(driver, inner)
    clock.at_s += 6
    inner.down = None
    inner.break_streams(10)
    with driver.open(KEY) as reader:
        driver.open(KEY).close()
        driver.usage()
        assert driver.health() == Health("ok"), "another reader came to its end"
    trip(driver, inner)
    clock.at_s += 6
    inner.down = None
    inner.break_streams(10)
    with driver.open(KEY) as reader:
        assert driver.health() == Health("failing", 4, "connection refused")
        with pytest.raises(Unavailable, match="cut"):
            rest_of(reader)
    assert driver.health() == Health("paused", 5, "the connection was cut", 10.0), "one failure is enough now"


def test_listings(driver: TrippedDriver, inner: FailingDriver, clock: QuickClock):
    driver.put(Key("contract/second"), BytesBody(b"x"))
    for count in (0, 1, 1, 0, 1):
        inner.break_lists(count)
        with pytest.raises(Unavailable, match="cut"):
            listed(driver)
    assert driver.health().failures == 5
    with pytest.raises(Unavailable, match="has not answered"):
        listed(driver)
    clock.at_s += 6
    names = driver.list()
    next(names)
    assert driver.health().state == "failing", "the first name is an answer: others may ask"
    list(names)
    assert driver.health() == Health("ok")


def test_a_listing_that_is_broken_off_harms_nothing(driver: TrippedDriver, inner: FailingDriver, clock: QuickClock):
    trip(driver, inner)
    clock.at_s += 6
    inner.down = None
    names = driver.list()
    next(names)
    names.close()
    driver.stat(KEY)
    assert driver.health() == Health("ok")


# -- usage, health, marks -----------------------------------------------------------------------------------------


def test_usage_answers_from_the_state(driver: TrippedDriver, inner: FailingDriver, clock: QuickClock):
    assert driver.usage().capacity_bytes
    trip(driver, inner)
    with pytest.raises(Unavailable, match="has not answered"):
        driver.usage()
    assert inner.calls == []
    inner.down = None
    clock.at_s += 6
    for _ in range(2):
        assert driver.usage().capacity_bytes, "so that placement offers the pool again, and a put tries it"
    assert driver.health().state == "failing"
    assert driver.put(Key("contract/x"), BytesBody(b"x")).size_bytes == 1
    assert driver.health() == Health("ok")


def test_health(driver: TrippedDriver, inner: FailingDriver, clock: QuickClock):
    guard: Guard = driver
    assert guard.health() == Health("ok")
    inner.down = DOWN
    fails(driver)
    assert guard.health() == Health("failing", 1, "connection refused")
    fails(driver, 4)
    clock.at_s += 2
    assert guard.health() == Health("paused", 5, "connection refused", 3.0)
    clock.at_s += 4
    assert guard.health() == Health("failing", 5, "connection refused")
    assert inner.calls == ["stat"] * 5


def test_another_mark_begins_anew_and_the_same_does_not(driver: TrippedDriver, inner: FailingDriver):
    driver.expect("0a-first")
    trip(driver, inner)
    driver.expect("0a-first")
    assert driver.health().state == "paused"
    driver.expect("0b-second")
    assert driver.health() == Health("ok")


def test_two_pools_do_not_know_each_other(tmp_path: Path, inner: FailingDriver, clock: QuickClock):
    one, other = TrippedDriver(inner, clock=clock), TrippedDriver(inner, clock=clock)
    trip(one, inner)
    inner.down = None
    other.stat(KEY)
    assert (one.health().state, other.health().state) == ("paused", "ok")


# -- processes and files ------------------------------------------------------------------------------------------


@pytest.mark.needs("fork")
def test_a_child_is_not_held_up_by_a_lock_of_its_parent(driver: TrippedDriver, inner: FailingDriver, clock: QuickClock):
    trip(driver, inner)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with driver._breaker._lock():
            locked.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(10)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            fails(driver)
            clock.at_s += 6
            inner.down = None
            code = 0 if read(driver, KEY) == CONTENT and driver.health() == Health("ok") else 2
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    done.set()
    holder.join()
    assert status == 0
    assert driver.health().state == "paused", "each process knows what it has seen"


def test_a_reader_that_is_forgotten_is_closed_wherever_that_happens(driver: TrippedDriver, inner: FailingDriver):
    """Also while this very thread holds the lock."""
    inner.fail("stat", unavailable())
    fails(driver)
    reader = driver.open(KEY)
    with driver._breaker._lock():
        del reader
    assert driver.health() == Health("ok")


def test_a_local_path_stays_one(tmp_path: Path):
    inner = failing(tmp_path, local_paths=True)
    driver = TrippedDriver(inner)
    driver.put(KEY, BytesBody(b"content"))
    with driver.open(KEY, GetOptions(local=True)) as reader:
        assert reader.local_path is not None
        assert reader.local_path.read_bytes() == b"content"
