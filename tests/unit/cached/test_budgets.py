"""What the pool is asked for, and how many bytes leave it: for every promise of the cache a number."""

from __future__ import annotations

import io
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.contract.catalog_kit import in_children
from tests.unit.cached.cache_kit import MIB, Hours, K, Lab, error_of, known, read_all, read_at, until

from holdfast.blobs import ByteRange, BytesBody, FileBody, GetOptions, PutOptions, StreamBody
from holdfast.errors import NotFound, PreconditionFailed, Unavailable
from holdfast.keys import Key
from holdfast.layers.cached import CachedDriver, CacheFolder, index
from holdfast.layers.cached.entries import NewEntry
from holdfast.layers.cached.ledger import Limits
from holdfast.layers.cached.trouble import NoRoom
from holdfast.seams import SystemClock
from holdfast.stores.base import Capabilities
from holdfast.testing.remote_like import RemoteLike

NEW = PutOptions(if_absent=True)

# -- building ---------------------------------------------------------------------------------------------------------


def test_building_touches_nothing(lab: Lab):
    threads = threading.active_count()
    driver = lab.cache()
    assert driver.capabilities.local_paths
    assert driver.name == "pool"
    assert not lab.folder.exists()
    assert threading.active_count() == threads
    assert lab.asked() == []
    driver.close()
    assert not lab.folder.exists()


# -- cold -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 1, 100 * 1024, MIB])
def test_a_small_cold_object_costs_one_request_in_all(lab: Lab, size_bytes: int):
    content, options = lab.store(size_bytes)
    driver = lab.cache()
    assert read_all(driver, options) == content
    assert [call.operation for call in lab.remote.calls()] == ["open"]
    assert lab.remote.bytes_read() == size_bytes
    assert read_all(driver, options) == content
    with driver.open(K, GetOptions(local=True, version=options.version, digest=options.digest)) as reader:
        assert reader.local_path.read_bytes() == content
    assert len(lab.asked()) == 1


def test_a_small_cold_local_path_costs_one_request(lab: Lab):
    content, options = lab.store(3 * MIB + 5)
    with lab.cache().open(K, GetOptions(local=True, version=options.version, digest=options.digest)) as reader:
        assert reader.local_path.read_bytes() == content
        assert os.pread(reader.fileno(), 5, MIB) == content[MIB : MIB + 5]
    assert len(lab.asked()) == 1


def test_opening_what_is_cold_is_one_request_for_the_first_block(lab: Lab):
    lab.store(20 * MIB)
    with lab.cache().open(K) as reader:
        assert lab.asked() == [("open", 0, MIB)]
        assert reader.stat.size_bytes == 20 * MIB
        reader.read(MIB)
    assert lab.asked() == [("open", 0, MIB)]
    assert lab.remote.bytes_read() == MIB


def test_a_part_fetches_the_blocks_it_touches(lab: Lab):
    content, options = lab.store(20 * MIB)
    driver = lab.cache()
    assert read_at(driver, 7 * MIB + 5, 7 * MIB + 10, options) == content[7 * MIB + 5 : 7 * MIB + 10]
    assert lab.asked() == [("open", 7 * MIB, 8 * MIB)]
    assert read_at(driver, 7 * MIB - 5, 7 * MIB + 5, options) == content[7 * MIB - 5 : 7 * MIB + 5]
    assert lab.asked()[1:] == [("open", 6 * MIB, 7 * MIB)]
    assert read_at(driver, 6 * MIB, 8 * MIB, options) == content[6 * MIB : 8 * MIB]
    assert len(lab.asked()) == 2
    assert lab.remote.bytes_read() == 2 * MIB
    [blob] = driver.contents()
    assert blob.parts == ((6 * MIB, 8 * MIB),)
    assert (blob.held_bytes, blob.whole, blob.size_bytes) == (2 * MIB, False, 20 * MIB)
    assert sum(lab.files().values()) == 2 * MIB, "the file is sparse"


def test_a_range_over_two_blocks_is_one_request(lab: Lab):
    content, options = lab.store(20 * MIB)
    assert read_at(lab.cache(), 3 * MIB - 5, 3 * MIB + 5, options) == content[3 * MIB - 5 : 3 * MIB + 5]
    assert lab.asked() == [("open", 2 * MIB, 4 * MIB)]


def test_the_last_block_is_as_long_as_it_is(lab: Lab):
    content, options = lab.store(2 * MIB + 17)
    driver = lab.cache()
    assert read_at(driver, 2 * MIB + 3, None, options) == content[2 * MIB + 3 :]
    assert lab.remote.bytes_read() == 17
    assert driver.look(K).held_bytes == 17


def test_reading_on_is_read_ahead_of_and_nothing_twice(lab: Lab):
    content, options = lab.store(40 * MIB + 3)
    driver = lab.cache()
    with driver.open(K, options) as reader:
        got = bytearray(reader.read(4 * MIB))
        until(lambda: lab.remote.bytes_read() >= 6 * MIB)
        assert lab.remote.bytes_read() <= 4 * MIB + 16 * MIB
        while part := reader.read(MIB):
            got += part
    assert got == content
    assert lab.remote.bytes_read() == len(content)
    assert len(lab.asked()) < 30, "several blocks in one request"
    until(lambda: driver.look(K).verified)
    lab.audit()


def test_jumping_about_fetches_only_what_is_touched(lab: Lab):
    content, options = lab.store(40 * MIB)
    with lab.cache().open(K, options) as reader:
        for at in (30, 3, 17, 9, 25):
            reader.seek(at * MIB + 100)
            assert reader.read(1000) == content[at * MIB + 100 : at * MIB + 1100]
    assert lab.remote.bytes_read() == 6 * MIB


def test_a_range_is_not_read_ahead_of_beyond_its_end(lab: Lab):
    _, options = lab.store(40 * MIB)
    with lab.cache().open(K, GetOptions(range=ByteRange(0, 6 * MIB), version=options.version)) as reader:
        while reader.read(100_000):
            pass
    assert lab.remote.bytes_read() == 6 * MIB


# -- warm -------------------------------------------------------------------------------------------------------------


def test_what_is_whole_is_served_without_a_request(lab: Lab):
    content, options = lab.store(3 * MIB)
    first = lab.cache()
    first.warm(K, options)
    first.close()
    lab.remote.forget_calls()
    second = lab.cache()
    for local in (False, True):
        with second.open(K, GetOptions(local=local, version=options.version, digest=options.digest)) as reader:
            assert os.pread(reader.fileno(), 10, MIB) == content[MIB : MIB + 10]
            assert reader.read() == content
            assert reader.local_path.read_bytes() == content
            assert reader.stat.checksum == options.digest
    with second.open(K, GetOptions(version="another", digest=options.digest)) as reader:
        assert reader.read() == content
    assert lab.asked() == []


def test_who_knows_nothing_asks_once(lab: Lab):
    content, options = lab.store(2 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    lab.remote.forget_calls()
    assert read_all(driver) == content
    assert [call.operation for call in lab.remote.calls()] == ["stat"]
    assert lab.remote.bytes_read() == 0


def test_a_digest_alone_is_enough(lab: Lab):
    content, options = lab.store(2 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    lab.remote.forget_calls()
    assert read_all(driver, GetOptions(digest=options.digest)) == content
    assert lab.asked() == []


def test_fresh_goes_past(lab: Lab):
    content, options = lab.store(2 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    lab.remote.forget_calls()
    assert read_all(driver, GetOptions(fresh=True, version=options.version)) == content
    assert lab.remote.bytes_read() == 2 * MIB
    with driver.open(K, GetOptions(fresh=True, local=True, version=options.version)) as reader:
        assert reader.local_path.read_bytes() == content
    assert lab.remote.bytes_read() == 4 * MIB
    lab.audit()


def test_warming_fetches_what_is_missing(lab: Lab):
    content, options = lab.store(10 * MIB + 7)
    driver = lab.cache()
    read_at(driver, 4 * MIB, 5 * MIB, options)
    told: list[int] = []
    assert driver.warm(K, options, told.append) == 9 * MIB + 7
    assert told == sorted(told)
    assert told[-1] == 9 * MIB + 7
    assert driver.warm(K, options) == 0
    assert lab.remote.bytes_read() == len(content)
    assert driver.look(K).verified


# -- errors come out of open ------------------------------------------------------------------------------------------


def test_what_the_pool_says_comes_out_of_open(lab: Lab):
    driver = lab.cache()
    error = error_of(lambda: driver.open(K))
    assert isinstance(error, NotFound)
    assert (error.key, error.operation) == (K, "open")
    _, options = lab.store(5 * MIB)
    lab.remote.fail("open", Unavailable("503 slow down", retry_after_s=7))
    error = error_of(lambda: driver.open(K, options))
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 7
    read_at(driver, 0, 1, options)
    lab.remote.fail("open", Unavailable("503"))
    assert isinstance(error_of(lambda: driver.open(K, GetOptions(range=ByteRange(3 * MIB)))), Unavailable)
    assert len(driver.open(K, options).read(10)) == 10, "what is there is served while the pool is away"
    lab.remote.bucket.remove(K)
    assert isinstance(error_of(lambda: driver.open(K)), NotFound)
    assert driver.look(K) is None, "what is gone is not kept"
    lab.audit()


# -- one fetch for all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [False, True])
def test_eight_threads_move_the_bytes_once(lab: Lab, local: bool):
    content, options = lab.store(24 * MIB)
    lab.remote.latency_s = 0.005
    driver = lab.cache()
    barrier = threading.Barrier(8)

    def read(_: int) -> bool:
        barrier.wait()
        return read_all(driver, GetOptions(local=local, version=options.version, digest=options.digest)) == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert lab.remote.bytes_read() <= 1.05 * len(content)
    lab.audit()


@pytest.mark.needs("fork")
@pytest.mark.parametrize("local", [False, True])
def test_four_processes_move_the_bytes_once(lab: Lab, local: bool):
    """Who finds the index busy for too long reads past the cache, as it should be; so one of two times may be worse."""
    if four_processes_move(lab, "000/dataset_1.dat", local=local) > 1.05:
        assert four_processes_move(lab, "000/dataset_2.dat", local=local) <= 1.05
    lab.audit()


def four_processes_move(lab: Lab, name: str, *, local: bool) -> float:
    """How many times a blob's bytes leave the pool when two threads each of four processes read all of it."""
    key = Key(name)
    content, options = lab.store(24 * MIB, key)
    lab.remote.latency_s = 0.005
    driver = lab.cache()

    def child(number: int) -> str:
        with ThreadPoolExecutor(2) as pool:
            wanted = GetOptions(local=local, version=options.version, digest=options.digest)
            found = list(pool.map(lambda _: read_all(driver, wanted, key) == content, range(2)))
        driver.close()
        return str(all(found))

    assert in_children(4, child) == ["True"] * 4
    return lab.remote.bytes_read() / len(content)


def test_a_cold_open_waits_for_the_one_that_asks(lab: Lab):
    content, options = lab.store(100_000)
    go = threading.Event()
    asked = lab.remote.stall("open", go)
    driver = lab.cache()
    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read_all, driver, options) for _ in range(6)]
        assert asked.wait(5)
        go.set()
        assert all(reader.result() == content for reader in readers)
    assert len(lab.asked()) == 1


# -- writing ----------------------------------------------------------------------------------------------------------


def test_what_is_put_is_not_fetched(lab: Lab, tmp_path):
    driver = lab.cache(keep=True)
    content = os.urandom(3 * MIB + 5)
    given = tmp_path / "given"
    (tmp_path / "file").write_bytes(content)
    bodies = {
        "bytes": BytesBody(content),
        "given": FileBody(given, len(content), consume=True),
        "file": FileBody(tmp_path / "file", len(content)),
        "stream": StreamBody(io.BytesIO(content)),
    }
    given.write_bytes(content)
    inode = given.stat().st_ino
    for name, body in bodies.items():
        key = Key(f"000/{name}")
        stat = driver.put(key, body)
        with driver.open(key, GetOptions(local=True, version=stat.version, digest=stat.checksum)) as reader:
            assert reader.read() == content
            assert reader.local_path.read_bytes() == content
            if name == "given":
                assert reader.local_path.stat().st_ino == inode, "moved, not copied"
    assert not given.exists()
    assert lab.remote.calls("open") == []
    assert lab.remote.bytes_read() == 0
    assert all(blob.verified for blob in driver.contents())
    lab.audit()


def test_a_large_plain_file_is_not_copied(lab: Lab, tmp_path):
    (tmp_path / "file").write_bytes(bytes(17 * MIB))
    driver = lab.cache(keep=True)
    driver.put(K, FileBody.of(tmp_path / "file"))
    assert driver.look(K) is None
    assert (tmp_path / "file").exists()


def test_a_failed_put_is_not_kept(lab: Lab, tmp_path):
    driver = lab.cache(keep=True)
    given = tmp_path / "given"
    given.write_bytes(b"x" * 1000)
    for body in (BytesBody(b"x"), FileBody(given, 1000, consume=True), FileBody.of(given)):
        lab.remote.fail("put", Unavailable("503"))
        error_of(lambda body=body: driver.put(K, body))
        assert driver.look(K) is None
        assert lab.files() == {}
    assert given.exists()
    lab.audit()


def test_what_is_not_to_be_kept_is_not(lab: Lab, tmp_path):
    driver = lab.cache(keep=False)
    stat = driver.put(K, BytesBody(b"x" * 1000))
    assert driver.look(K) is None
    assert read_all(driver, known(stat)) == b"x" * 1000
    (tmp_path / "given").write_bytes(b"y")
    driver.put(K, FileBody(tmp_path / "given", 1, consume=True))
    assert not (tmp_path / "given").exists()
    assert driver.look(K) is None, "the old bytes are forgotten"


# -- what the index is asked ------------------------------------------------------------------------------------------


class StillClock(SystemClock):
    """Nothing becomes due."""

    def monotonic_s(self) -> float:
        return 1000.0


class Statements:
    """What the caches of a test say to their indexes, as SQLite hears it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._heard: list[str] = []
        connect = index._connect

        def heard(path: str) -> sqlite3.Connection:
            connection = connect(path)
            connection.set_trace_callback(self._heard.append)
            return connection

        monkeypatch.setattr(index, "_connect", heard)

    def count(self) -> tuple[int, int]:
        """Transactions that write, and questions beside them (but those of the sweep in the background), since it was
        last asked."""
        heard = [one for one in self._heard if "EXISTS" not in one]
        self._heard.clear()
        begun = [number for number, one in enumerate(heard) if one.startswith("BEGIN")]
        inside = sum(heard.index("COMMIT", number) - number + 1 for number in begun)
        return len(begun), len(heard) - inside


def test_a_small_blob_costs_one_transaction_and_few_questions(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    statements = Statements(monkeypatch)
    driver = lab.cache(keep=True, clock=StillClock())
    stats = [driver.put(Key(f"000/{number}"), BytesBody(b"x" * 100_000), NEW) for number in range(3)]
    statements.count()
    stats += [driver.put(Key(f"000/{number}"), BytesBody(b"x" * 100_000), NEW) for number in range(3, 13)]
    transactions, questions = statements.count()
    assert (transactions, questions) == (10, 10), "one to write, one to look what was there before"
    for stat in stats:
        driver.drop(stat.key)
    read_all(driver, known(stats[0]), key=stats[0].key)
    statements.count()
    for stat in stats[1:11]:
        read_all(driver, known(stat), key=stat.key)
    transactions, questions = statements.count()
    assert (transactions, questions) == (10, 20), "it looks again when it is alone with what it fetches"
    for stat in stats[1:11]:
        read_all(driver, known(stat), key=stat.key)
    assert statements.count() == (0, 10)


def test_who_records_at_the_same_time_shares_a_transaction(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    driver = lab.cache(keep=True)
    driver.put(K, BytesBody(b"x"), NEW)
    statements = Statements(monkeypatch)
    other = lab.cache(keep=True)
    other.put(Key("000/0"), BytesBody(b"x"), NEW)
    statements.count()
    slow = sqlite3.connect(lab.folder / "index.sqlite", isolation_level=None)
    slow.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(8) as pool:
        puts = [pool.submit(other.put, Key(f"000/{number}"), BytesBody(b"y"), NEW) for number in range(1, 9)]
        until(lambda: len(lab.files()) == 10)
        slow.rollback()
        slow.close()
        assert all(put.result().size_bytes == 1 for put in puts)
    assert statements.count()[0] <= 4
    assert len(other.contents()) == 10
    lab.audit()


def test_who_finds_no_room_does_not_harm_those_with_whom_it_shares(lab: Lab):
    driver = lab.cache(keep=True, bound_bytes=10 * MIB)
    driver.put(K, BytesBody(b"x"), NEW)
    entries = driver._here().here.spots[0].place.entries
    made = entries.versions("pool", K)[0]
    barrier = threading.Barrier(8)

    def add(number: int) -> str:
        new = NewEntry(replace(made.stat, key=Key(f"000/{number}"), size_bytes=number % 2 * MIB), f"{number:032x}")
        barrier.wait()
        try:
            entries.add("pool", new, (0, 1), Limits(MIB // 2, MIB), boot="", now_us=1)
        except NoRoom:
            return "no room"
        return "added"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(add, range(8))) == ["added", "no room"] * 4
    assert lab.rows("SELECT count(*), sum(held) FROM entry") == [(5, 1)]


# -- several folders --------------------------------------------------------------------------------------------------


def test_keys_are_spread_by_weight_and_stay_when_a_folder_goes(lab: Lab, tmp_path):
    folders = [CacheFolder(tmp_path / name, weight=weight, min_free_bytes=0) for name, weight in (("a", 1), ("b", 3))]
    keys = [Key(f"000/{number}") for number in range(200)]
    driver = CachedDriver(lab.remote, folders, keep_written=True)
    for key in keys:
        driver.put(key, BytesBody(key.encode()))
    held = [usage.entries for usage in driver.cache_usage()]
    assert sum(held) == 200
    assert 25 <= held[0] <= 75
    assert [blob.key for blob in driver.contents(limit=50)] == sorted(keys, key=str.encode)[:50]
    assert len(driver.contents(after=sorted(keys)[49])) == 150
    driver.close()
    (tmp_path / "file").write_text("no folder")
    alone = CachedDriver(lab.remote, [folders[1], CacheFolder(tmp_path / "file" / "x", weight=9)], keep_written=True)
    lab.remote.forget_calls()
    for key in keys:
        assert read_all(alone, GetOptions(version=lab.remote.stat(key).version), key=key) == key.encode()
    assert len(lab.remote.calls("open")) == held[0], "only what lay in the folder that is gone is fetched again"
    alone.close()


def test_pools_share_a_folder(lab: Lab, tmp_path):
    other = RemoteLike("other", tmp_path / "other-bucket")
    one, two = lab.cache(keep=True), lab.cache(inner=other, keep=True)
    first, second = one.put(K, BytesBody(b"one")), two.put(K, BytesBody(b"two"))
    assert read_all(one, known(first)) == b"one"
    assert read_all(two, known(second)) == b"two"
    assert one.look(K).pool == "pool"
    assert len(two.contents()) == 1
    assert one.cache_usage()[0].entries == 2


def test_what_a_long_reader_read_is_told_when_it_is_done(lab: Lab):
    """Another process asks, and nobody opens anything meanwhile."""
    content, options = lab.store(6 * MIB)
    clock = Hours()
    with lab.cache(clock=clock).open(K, options) as reader:
        assert reader.read() == content
        clock.more_s = 3.0
    assert lab.rows("SELECT fetched, served FROM total") == [(len(content), len(content))]


# -- a server that ignores ranges -------------------------------------------------------------------------------------


class WholeOnly(RemoteLike):
    """Answers a part with the whole, from the first byte on: `sent_bytes` is what that costs."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, ranges=False)

    def sent_bytes(self) -> int:
        return sum(call.stop or 0 for call in self.calls("open"))


@pytest.fixture
def whole_only(lab: Lab) -> WholeOnly:
    lab.remote = WholeOnly("pool", lab.root / "bucket")
    return lab.remote


@pytest.mark.parametrize("how", ["in order", "as a file", "backwards", "by many"])
def test_where_ranges_are_ignored_a_blob_moves_once(lab: Lab, whole_only: WholeOnly, how: str):
    content, options = lab.store(30 * MIB + 7)
    driver = lab.cache()
    if how == "in order":
        assert read_all(driver, options) == content
    elif how == "as a file":
        with driver.open(K, replace(options, local=True)) as reader:
            assert reader.local_path.read_bytes() == content
    elif how == "backwards":
        for start in range(30 * MIB, -1, -5 * MIB):
            assert read_at(driver, start, start + 100, options) == content[start : start + 100]
    else:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: read_all(driver, options), range(8)))
        assert found == [content] * 8
    until(lambda: lab.rows("SELECT whole FROM entry") == [(1,)])
    first_bytes = 31 * MIB if how == "backwards" else 4 * MIB  # a cold range lies at the end of what the server sends
    assert whole_only.sent_bytes() <= len(content) + first_bytes
    assert len(whole_only.calls("open")) == 2
    assert lab.rows("SELECT count(*) FROM room") == [(0,)]
    lab.audit()


def test_where_ranges_are_ignored_and_the_stream_breaks_nothing_is_lost(lab: Lab, whole_only: WholeOnly):
    content, options = lab.store(30 * MIB)
    driver = lab.cache()
    whole_only.truncate(13 * MIB, skip=1)
    with pytest.raises(Unavailable, match="cut off"):
        read_all(driver, options)
    assert lab.rows("SELECT count(*) FROM room") == [(0,)]
    assert read_all(driver, options) == content
    lab.audit()


def test_where_ranges_are_ignored_and_there_is_no_room_it_streams_past(lab: Lab, whole_only: WholeOnly):
    content, options = lab.store(30 * MIB)
    driver = lab.cache(bound_bytes=20 * MIB)
    assert read_all(driver, options) == content
    assert whole_only.sent_bytes() <= len(content) + 4 * MIB
    lab.audit()


def test_where_ranges_are_ignored_and_the_blob_is_replaced_nobody_gets_a_mix(lab: Lab, whole_only: WholeOnly):
    _, options = lab.store(30 * MIB)
    driver = lab.cache()
    with driver.open(K, options) as reader:
        assert len(reader.read(MIB)) == MIB
        whole_only.put(K, BytesBody(b"another"))
        with pytest.raises(PreconditionFailed, match="open it again"):
            reader.read()
    lab.audit()
