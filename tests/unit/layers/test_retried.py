"""What is repeated, what is not, how long it waits, and that a broken stream goes on as if nothing had happened."""

from __future__ import annotations

import io
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.layers.layer_kit import KnownEntropy, QuickClock, failing

from holdfast.blobs import BLOCK_BYTES, BlobStat, ByteRange, BytesBody, FileBody, GetOptions, PutOptions, StreamBody
from holdfast.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    HoldfastError,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StoreError,
    Unavailable,
)
from holdfast.keys import Key
from holdfast.layers.retried import RetriedDriver
from holdfast.stores.streams import piece_of
from holdfast.testing.failing_driver import FailingDriver, unavailable
from holdfast.testing.store_kit import KEY, content_of, listed, read, rest_of

CONTENT = content_of(3 * BLOCK_BYTES + 17)


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def inner(tmp_path: Path) -> FailingDriver:
    return failing(tmp_path)


@pytest.fixture
def driver(inner: FailingDriver, clock: QuickClock) -> RetriedDriver:
    return RetriedDriver(inner, attempts=4, deadline_s=60, clock=clock, entropy=KnownEntropy())


# -- what is repeated ---------------------------------------------------------------------------------------------


def test_it_is_asked_again_until_it_answers(driver: RetriedDriver, inner: FailingDriver, clock: QuickClock):
    driver.put(KEY, BytesBody(b"x"))
    inner.fail("stat", unavailable(), unavailable(), unavailable())
    assert driver.stat(KEY).size_bytes == 1
    assert inner.calls.count("stat") == 4
    assert clock.slept == pytest.approx([0.1, 0.2, 0.4])


def test_every_operation_is_asked_again(driver: RetriedDriver, inner: FailingDriver):
    driver.put(KEY, BytesBody(b"x"))
    target = Key("contract/copy")
    acts = {
        "stat": lambda: driver.stat(KEY).size_bytes == 1,
        "open": lambda: read(driver, KEY) == b"x",
        "put": lambda: driver.put(KEY, BytesBody(b"y")).size_bytes == 1,
        "copy": lambda: driver.copy(KEY, target).key == target,
        "delete": lambda: driver.delete(target) is None,
        "list": lambda: listed(driver) == [KEY],
        "usage": lambda: driver.usage().medium is not None,
        "probe": lambda: not driver.probe(),
        "sync": lambda: driver.sync([KEY]) is None,
        "leftovers": lambda: list(driver.leftovers()) == [],
        "refused": lambda: list(driver.refused()) == [],
        "occupied": lambda: driver.occupied(KEY),
        "prepare": lambda: driver.prepare() is None,
        "identity": lambda: driver.identity() is None,
        "mark": lambda: driver.mark("0a-first") is None,
    }
    for name, act in acts.items():
        inner.calls.clear()
        inner.fail(name, unavailable(), unavailable())
        assert act(), name
        assert inner.calls.count(name) == 3, name


@pytest.mark.parametrize(
    "error",
    [
        NotFound("gone", store="pool"),
        NotFound("gone", store="pool", retryable=True),
        OutcomeUnknown("lost", store="pool"),
        OutcomeUnknown("lost", store="pool", retryable=True),
        NoSpace("full", store="pool"),
        Denied("no", store="pool"),
        AlreadyExists("taken", store="pool"),
        Unavailable("for good", store="pool", retryable=False),
        Unavailable("the sender is gone"),
        Unavailable("the pool that it comes from is gone", store="other"),
        Conflict("being read"),
        ValueError("a bug"),
    ],
    ids=lambda error: f"{type(error).__name__}: {error}",
)
def test_what_would_not_help_is_not_repeated(
    driver: RetriedDriver, inner: FailingDriver, clock: QuickClock, error: Exception
):
    inner.fail("put", error)
    said = str(error)
    with pytest.raises(type(error)) as caught:
        driver.put(KEY, BytesBody(b"x"))
    assert caught.value is error
    assert str(error) == said
    assert inner.calls == ["put"]
    assert clock.slept == []


def test_what_fails_otherwise_at_the_second_try_ends_it(driver: RetriedDriver, inner: FailingDriver):
    inner.fail("stat", unavailable(), Denied("wrong password", store="pool"))
    with pytest.raises(Denied, match=r"^wrong password$"):
        driver.stat(KEY)
    assert inner.calls == ["stat", "stat"]


# -- how long -----------------------------------------------------------------------------------------------------


def test_after_so_many_attempts_the_last_error_is_raised(driver: RetriedDriver, inner: FailingDriver):
    inner.fail("stat", *(unavailable(f"failure {number}") for number in range(10)))
    with pytest.raises(Unavailable, match=r"^failure 3 \(tried 4 times in 0\.7 s\)$") as caught:
        driver.stat(KEY)
    assert (caught.value.store, caught.value.retryable) == ("pool", True)
    assert len(inner.calls) == 4


def test_one_attempt_says_nothing_of_attempts(inner: FailingDriver, clock: QuickClock):
    inner.fail("stat", unavailable())
    with pytest.raises(Unavailable, match=r"^it does not answer$"):
        RetriedDriver(inner, attempts=1, clock=clock).stat(KEY)
    assert clock.slept == []


def test_it_waits_as_long_as_the_answer_said(driver: RetriedDriver, inner: FailingDriver, clock: QuickClock):
    driver.put(KEY, BytesBody(b"x"))
    inner.fail("stat", unavailable(retry_after_s=7), unavailable(retry_after_s=0), unavailable())
    driver.stat(KEY)
    assert clock.slept == pytest.approx([7, 0, 0.4])


def test_nothing_is_begun_after_the_deadline(inner: FailingDriver, clock: QuickClock):
    driver = RetriedDriver(inner, attempts=1000, deadline_s=30, clock=clock, entropy=KnownEntropy())
    began_s = clock.at_s
    inner.down = unavailable()
    with pytest.raises(Unavailable, match=r"tried 9 times in 22\.7 s"):
        driver.stat(KEY)
    assert clock.at_s - began_s <= 30
    assert max(clock.slept) == 10


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    driver: RetriedDriver, inner: FailingDriver, clock: QuickClock
):
    inner.fail("stat", unavailable(retry_after_s=3600))
    with pytest.raises(Unavailable) as caught:
        driver.stat(KEY)
    assert caught.value.retry_after_s == 3600
    assert clock.slept == []


def test_the_deadline_counts_from_the_first_failure(driver: RetriedDriver, inner: FailingDriver, clock: QuickClock):
    """A put of three hours that fails at its end may be put once more."""
    once = [unavailable()]

    def slow(stat: BlobStat) -> None:
        clock.at_s += 3 * 3600
        if once:
            raise once.pop()

    assert driver.put(KEY, BytesBody(b"x"), PutOptions(on_staged=slow)).size_bytes == 1


@pytest.mark.parametrize(("digit", "share"), [("0", 0.0), ("8", 0.5333), ("f", 1.0)])
def test_waits_are_spread_by_chance(inner: FailingDriver, clock: QuickClock, digit: str, share: float):
    driver = RetriedDriver(inner, attempts=4, clock=clock, entropy=KnownEntropy(digit))
    inner.down = unavailable()
    with pytest.raises(Unavailable):
        driver.stat(KEY)
    assert clock.slept == pytest.approx([0.1 * share, 0.2 * share, 0.4 * share], abs=1e-4)


# -- puts ---------------------------------------------------------------------------------------------------------


class Refusing(FailingDriver):
    """Reads the whole body, then fails: as a server that says 503 when it has everything."""

    failures = 1

    def put(self, key, body, options=PutOptions()):  # noqa: B008
        if self.failures:
            self.failures -= 1
            self.calls.append("put")
            with body.open() as stream:
                content = stream.read()
            for done in (1, len(content)):
                if options.on_progress:
                    options.on_progress(done)
            if options.on_staged:
                options.on_staged(BlobStat(key, len(content), "", 0, None))
            raise unavailable("slow down")
        return super().put(key, body, options)


def test_a_body_that_can_be_opened_again_is_sent_again(inner: FailingDriver, clock: QuickClock, tmp_path: Path):
    driver = RetriedDriver(Refusing(inner.inner), clock=clock)
    driver.put(KEY, BytesBody(b"whole"))
    assert read(driver, KEY) == b"whole"
    (tmp_path / "file").write_bytes(CONTENT)
    driver = RetriedDriver(Refusing(inner.inner), clock=clock)
    driver.put(KEY, FileBody(tmp_path / "file", len(CONTENT), consume=True))
    assert read(driver, KEY) == CONTENT
    assert not (tmp_path / "file").exists()


def test_a_body_that_cannot_be_opened_again_is_sent_once(inner: FailingDriver, clock: QuickClock):
    refusing = Refusing(inner.inner)
    with pytest.raises(Unavailable, match=r"^slow down$"):
        RetriedDriver(refusing, clock=clock).put(KEY, StreamBody(io.BytesIO(b"once"), 4))
    assert refusing.calls == ["put"]
    assert listed(inner) == []


def test_progress_never_goes_back_and_staging_is_told_once_for_the_same_bytes(inner: FailingDriver, clock: QuickClock):
    told: list[int] = []
    staged: list[BlobStat] = []
    refusing = Refusing(inner.inner)
    refusing.failures = 3
    driver = RetriedDriver(refusing, clock=clock)
    driver.put(KEY, BytesBody(CONTENT), PutOptions(on_progress=told.append, on_staged=staged.append))
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert [one.checksum for one in staged] == [None, driver.put(KEY, BytesBody(CONTENT)).checksum]


# -- streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["read", "pieces"])
def test_a_broken_stream_goes_on_where_it_broke(driver: RetriedDriver, inner: FailingDriver, how: str):
    version = driver.put(KEY, BytesBody(CONTENT)).version
    inner.break_streams(0, 1, 70_000, BLOCK_BYTES, 2 * BLOCK_BYTES + 5, len(CONTENT) - 1)
    with driver.open(KEY) as reader:
        got = reader.read() if how == "read" else b"".join(iter(lambda: bytes(piece_of(reader, BLOCK_BYTES)), b""))
    assert got == CONTENT
    assert [one.range for one in inner.opened] == [
        None, ByteRange(0, len(CONTENT)), ByteRange(1, len(CONTENT)), ByteRange(70_000, len(CONTENT)),
        ByteRange(BLOCK_BYTES, len(CONTENT)), ByteRange(2 * BLOCK_BYTES + 5, len(CONTENT)),
        ByteRange(len(CONTENT) - 1, len(CONTENT)),
    ]  # fmt: skip
    assert [one.version for one in inner.opened] == [None] + [version] * 6


def test_each_interruption_has_its_own_attempts(driver: RetriedDriver, inner: FailingDriver, clock: QuickClock):
    driver.put(KEY, BytesBody(CONTENT))
    inner.break_streams(*range(0, 40_000, 1000))
    with driver.open(KEY) as reader:
        assert rest_of(reader) == CONTENT
    assert len(clock.slept) == 40
    assert max(clock.slept) == pytest.approx(0.1)


def test_a_stream_that_stays_broken_fails_and_may_be_read_on_later(driver: RetriedDriver, inner: FailingDriver):
    driver.put(KEY, BytesBody(CONTENT))
    inner.break_streams(1000)
    with driver.open(KEY) as reader:
        assert len(reader.read(5000)) == 1000
        inner.down = unavailable()
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"it does not answer \(tried 4 times"):
                reader.read(10)
            assert reader.tell() == 1000
        inner.down = None
        assert rest_of(reader) == CONTENT[1000:]


def test_the_blob_was_replaced_meanwhile(driver: RetriedDriver, inner: FailingDriver):
    driver.put(KEY, BytesBody(CONTENT))
    inner.break_streams(1000)
    with driver.open(KEY) as reader:
        assert reader.read(1000) == CONTENT[:1000]
        driver.put(KEY, BytesBody(CONTENT[::-1]))
        for _ in range(2):
            with pytest.raises(PreconditionFailed, match="was replaced while it was read; read it again"):
                reader.read(1000)


def test_the_blob_was_removed_meanwhile(driver: RetriedDriver, inner: FailingDriver):
    driver.put(KEY, BytesBody(CONTENT))
    inner.break_streams(1000)
    with driver.open(KEY) as reader:
        assert reader.read(1000) == CONTENT[:1000]
        os.unlink(inner.inner.root + "/" + KEY)
        with pytest.raises(NotFound):
            reader.read(1000)


def test_what_is_no_break_is_not_taken_up(driver: RetriedDriver, inner: FailingDriver):
    driver.put(KEY, BytesBody(CONTENT))
    inner.break_streams(1000, error=Denied("the key was withdrawn", store="pool"))
    with driver.open(KEY) as reader, pytest.raises(Denied):
        rest_of(reader)
    assert inner.calls.count("open") == 1


def test_an_end_that_comes_early_is_a_break(driver: RetriedDriver, inner: FailingDriver):
    """A reader that says 'end' before the size of its stat: never an end of the file."""
    driver.put(KEY, BytesBody(CONTENT))
    with driver.open(KEY) as reader:
        os.truncate(inner.inner.root + "/" + KEY, 1000)
        with pytest.raises((PreconditionFailed, Unavailable)):
            rest_of(reader)


def test_seeking_after_a_break(inner: FailingDriver):
    """Also to before the byte where it was taken up: the inner reader would not know it."""
    driver = RetriedDriver(inner, attempts=10, clock=QuickClock())
    driver.put(KEY, BytesBody(CONTENT))
    for seed in range(20):
        chance = random.Random(seed)
        inner.break_streams(*(chance.randrange(len(CONTENT)) for _ in range(5)))
        with driver.open(KEY) as reader:
            for _ in range(30):
                at = chance.randrange(len(CONTENT) + 100)
                whence, offset = chance.choice(
                    [(os.SEEK_SET, at), (os.SEEK_END, at - len(CONTENT)), (os.SEEK_CUR, at - reader.tell())]
                )
                assert reader.seek(offset, whence) == reader.tell() == at
                size = chance.choice([0, 1, 1000, BLOCK_BYTES])
                if chance.random() < 0.5:
                    got = reader.read(size)
                else:
                    buffer = bytearray(size)
                    got = bytes(buffer[: reader.readinto(buffer)])
                assert got == CONTENT[at : at + len(got)]
                assert got or not size or at >= len(CONTENT)
        inner._breaks.clear()


@pytest.mark.parametrize("part", [ByteRange(10, 20), ByteRange(5, 2 * BLOCK_BYTES), ByteRange(100), ByteRange(9, 9)])
def test_a_part_stays_a_part(driver: RetriedDriver, inner: FailingDriver, part: ByteRange):
    driver.put(KEY, BytesBody(CONTENT))
    start, stop = part.within(len(CONTENT))
    inner.break_streams(start, start + 3, start + 5)
    with driver.open(KEY, GetOptions(range=part)) as reader:
        assert reader.tell() == start
        assert rest_of(reader) == CONTENT[start:stop]
        assert reader.read(5) == b""
    assert all(one.range is not None and one.range.stop == stop for one in inner.opened[1:])


def test_what_the_caller_knows_goes_with_the_second_question(driver: RetriedDriver, inner: FailingDriver):
    stat = driver.put(KEY, BytesBody(CONTENT))
    inner.break_streams(7)
    with driver.open(KEY, GetOptions(fresh=True, version="another", digest=stat.checksum)) as reader:
        assert rest_of(reader) == CONTENT
    expected = GetOptions(fresh=True, range=ByteRange(7, len(CONTENT)), version=stat.version, digest=stat.checksum)
    assert inner.opened[1] == expected


def test_every_inner_reader_is_closed(driver: RetriedDriver, inner: FailingDriver, tmp_path: Path):
    driver.put(KEY, BytesBody(CONTENT))
    before = len(os.listdir("/proc/self/fd"))
    inner.break_streams(*range(0, 20_000, 1000))
    reader = driver.open(KEY)
    rest_of(reader)
    reader.close()
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)
    with pytest.raises(ValueError, match="closed"):
        reader.seek(0)


def test_a_file_in_place_is_handed_on_as_it_is(tmp_path: Path):
    inner = failing(tmp_path, local_paths=True)
    driver = RetriedDriver(inner)
    driver.put(KEY, BytesBody(b"content"))
    with driver.open(KEY, GetOptions(local=True)) as reader:
        assert reader.local_path is not None
        assert reader.local_path.read_bytes() == b"content"


# -- listings -----------------------------------------------------------------------------------------------------


def test_a_listing_goes_on_after_the_last_key(driver: RetriedDriver, inner: FailingDriver, clock: QuickClock):
    keys = [Key(f"contract/{number:02}") for number in range(30)]
    for key in keys:
        driver.put(key, BytesBody(b"x"))
    inner.break_lists(0, 1, 5, 0, 0, 10)
    inner.fail("list", unavailable())
    assert listed(driver, "contract/") == keys
    assert len(clock.slept) == 7
    inner.break_lists(0, 0, 0, 0)
    with pytest.raises(Unavailable, match="tried 4 times"):
        listed(driver)


def test_a_listing_is_not_asked_before_it_is_read(driver: RetriedDriver, inner: FailingDriver):
    driver.list()
    assert inner.calls == []


def test_what_has_no_order_is_not_given_twice(driver: RetriedDriver, inner: FailingDriver, tmp_path: Path):
    for number in range(5):
        (tmp_path / "pool" / f".holdfast-{number:016x}.tmp").write_bytes(b"x")
    inner.break_lists(0, 0)
    assert len(list(driver.leftovers())) == 5
    inner.break_lists(3)
    given = driver.leftovers()
    with pytest.raises(Unavailable):
        list(given)
    assert inner.calls.count("leftovers") == 4


# -- many at once -------------------------------------------------------------------------------------------------


def test_many_threads_over_a_driver_that_fails_every_third_time(tmp_path: Path):
    """Each gets its own answer: every failure is the driver's third call of all, and is repeated."""
    inner = failing(tmp_path, every=3)
    driver = RetriedDriver(inner, attempts=50, deadline_s=1e9, clock=QuickClock())
    begin = threading.Barrier(8)

    def work(number: int) -> list[str]:
        begin.wait()
        wrong: list[str] = []
        for turn in range(20):
            key, content = Key(f"t/{number}/{turn}"), content_of(1000, number * 100 + turn)
            try:
                driver.put(key, BytesBody(content))
                if read(driver, key) != content:
                    wrong.append(key)
            except HoldfastError as error:
                wrong.append(f"{key}: {error!r}")
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert [wrong for each in pool.map(work, range(8)) for wrong in each] == []
    assert inner.calls.count("open") > 160


def test_the_error_is_the_inner_drivers_own(driver: RetriedDriver, inner: FailingDriver):
    error = StoreError("odd", store="pool", key=KEY, operation="stat", retryable=True)
    inner.fail("stat", *[error] * 4)
    with pytest.raises(StoreError) as caught:
        driver.stat(KEY)
    assert caught.value is error
    assert str(error) == "odd (tried 4 times in 0.7 s)"
    assert (error.key, error.operation) == (KEY, "stat")
