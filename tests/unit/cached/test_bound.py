"""The bound is kept, what is in use is kept, and where there is no room reads go past."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.cached.cache_kit import MIB, Hours, K, Lab, error_of, known, read_all, read_at, until

from holdfast.blobs import ByteRange, BytesBody, FileBody, GetOptions, StreamBody
from holdfast.errors import NoSpace, Unavailable
from holdfast.keys import Key
from holdfast.layers.cached import CachedDriver, CacheFolder
from holdfast.seams import SystemFiles
from holdfast.testing.failing import FailingFiles
from holdfast.testing.store_kit import content_of


def key(number: int) -> Key:
    return Key(f"000/dataset_{number}.dat")


def fill(lab: Lab, driver: CachedDriver, numbers: range, size_bytes: int = MIB) -> dict[int, GetOptions]:
    """Blobs that are read once each, in this order."""
    made = {}
    for number in numbers:
        _, made[number] = lab.store(size_bytes, key(number), seed=number)
        read_all(driver, made[number], key(number))
    return made


def fill_up(filler: Path) -> None:
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(MIB // 4))
    assert os.statvfs(filler).f_bavail == 0


def held(driver: CachedDriver) -> set[Key]:
    return {blob.key for blob in driver.contents()}


def on_disk(lab: Lab) -> int:
    return sum(lab.files().values())


# -- eviction ---------------------------------------------------------------------------------------------------------


def test_the_bound_is_kept_and_the_oldest_go_first(lab: Lab):
    driver = lab.cache(bound_bytes=20 * MIB, clock=Hours())
    for number in range(60):
        fill(lab, driver, range(number, number + 1))
        assert on_disk(lab) <= 20 * MIB
        assert driver.cache_usage()[0].held_bytes <= 20 * MIB
    until(lambda: driver.cache_usage()[0].held_bytes <= 19 * MIB)
    kept = held(driver)
    assert kept == {key(number) for number in range(60 - len(kept), 60)}
    assert len(kept) >= 17
    usage = driver.cache_usage()[0]
    assert usage.evictions == 60 - len(kept)
    assert usage.evicted_bytes == usage.evictions * MIB
    lab.audit()


def test_what_is_used_again_survives_a_scan(lab: Lab):
    driver = lab.cache(bound_bytes=20 * MIB)
    often = fill(lab, driver, range(5))
    for number, options in often.items():
        read_all(driver, options, key(number))
    fill(lab, driver, range(100, 160))
    assert {key(number) for number in often} <= held(driver)
    lab.audit()


def test_what_was_used_often_does_not_stay_forever(lab: Lab):
    driver = lab.cache(bound_bytes=20 * MIB)
    old = fill(lab, driver, range(18))
    for number, options in old.items():
        read_all(driver, options, key(number))
    new = fill(lab, driver, range(100, 103))
    for _ in range(3):
        for number, options in new.items():
            read_all(driver, options, key(number))
    fill(lab, driver, range(200, 220))
    assert {key(number) for number in new} <= held(driver)
    assert len({key(number) for number in old} & held(driver)) <= 16
    lab.audit()


def test_what_is_open_is_not_evicted(lab: Lab):
    driver, another = lab.cache(bound_bytes=10 * MIB), lab.cache(bound_bytes=10 * MIB)
    content, options = lab.store(2 * MIB)
    partly, partly_options = lab.store(4 * MIB, key(2), seed=2)
    wanted = GetOptions(local=True, version=options.version, digest=options.digest)
    with driver.open(K, wanted) as reader, driver.open(key(2), partly_options) as part:
        part.read(MIB)
        fill(lab, another, range(10, 40))
        assert reader.local_path.read_bytes() == content
        assert {K, key(2)} <= held(another)
        assert another.look(K).in_use
        assert on_disk(lab) <= 10 * MIB
        assert part.read() == partly[MIB:]
    assert not another.look(K).in_use
    fill(lab, another, range(50, 80))
    assert not {K, key(2)} & held(another)
    lab.audit()


def test_what_is_pinned_stays_until_it_is_let_go(lab: Lab):
    driver = lab.cache(bound_bytes=10 * MIB)
    driver.pin(K, "job 7")
    driver.pin(K, "job 7")
    driver.pin(K, "job 8")
    _, options = lab.store(2 * MIB)
    driver.warm(K, options)
    assert driver.holders() == ["job 7", "job 8"]
    driver.close()
    driver = lab.cache(bound_bytes=10 * MIB)
    fill(lab, driver, range(10, 40))
    assert driver.look(K).pins == ("job 7", "job 8")
    assert driver.drop(K) == 0
    assert driver.cache_usage()[0].pinned == 1
    driver.unpin("job 7")
    fill(lab, driver, range(50, 70))
    assert K in held(driver)
    driver.unpin("job 8")
    assert driver.holders() == []
    fill(lab, driver, range(50, 90))
    assert K not in held(driver)
    lab.audit()


def test_dropping_frees(lab: Lab):
    driver = lab.cache()
    fill(lab, driver, range(2, 4))
    _, options = lab.store(3 * MIB)
    driver.warm(K, options)
    assert driver.drop(K) == 3 * MIB
    assert driver.drop(K) == 0
    assert held(driver) == {key(2), key(3)}
    lab.audit()


# -- no room ----------------------------------------------------------------------------------------------------------


def test_a_blob_larger_than_the_bound_streams_past(lab: Lab):
    driver = lab.cache(bound_bytes=5 * MIB)
    kept = fill(lab, driver, range(2, 5))
    content, options = lab.store(12 * MIB)
    assert read_all(driver, options) == content
    assert len(lab.asked()) == 2, "the first request said how large it is"
    assert lab.remote.bytes_read() == len(content)
    assert read_at(driver, 7 * MIB, 7 * MIB + 10, options) == content[7 * MIB : 7 * MIB + 10]
    assert isinstance(error_of(lambda: driver.warm(K, options)), NoSpace)
    error = error_of(lambda: driver.open(K, GetOptions(local=True, version=options.version)))
    assert isinstance(error, NoSpace)
    assert "room" in str(error)
    assert held(driver) == {key(number) for number in kept}
    lab.audit()


def test_a_bound_of_nothing_keeps_nothing(lab: Lab):
    driver = lab.cache(bound_bytes=0, keep=True)
    content = content_of(100_000)
    stat = driver.put(K, BytesBody(content))
    assert read_all(driver, known(stat)) == content
    assert on_disk(lab) == 0


def test_when_all_is_in_use_reads_stream_past(lab: Lab):
    driver = lab.cache(bound_bytes=8 * MIB)
    _, first = lab.store(7 * MIB)
    driver.warm(K, first)
    content, options = lab.store(6 * MIB, key(2), seed=2)
    with driver.open(K, first):
        with driver.open(key(2), options) as reader:
            assert reader.read() == content
        assert on_disk(lab) <= 8 * MIB
        wanted = GetOptions(local=True, version=options.version)
        assert isinstance(error_of(lambda: driver.open(key(2), wanted)), NoSpace)
    with driver.open(key(2), wanted) as reader:
        assert reader.local_path.read_bytes() == content
    lab.audit()


def test_a_reader_that_finds_no_room_half_way_goes_on_past(lab: Lab):
    driver = lab.cache(bound_bytes=8 * MIB)
    content, options = lab.store(7 * MIB)
    other, other_options = lab.store(6 * MIB, key(2), seed=2)
    with driver.open(K, options) as one, driver.open(key(2), other_options) as two:
        got, more = bytearray(), bytearray()
        while len(got) < len(content) or len(more) < len(other):
            got += one.read(MIB // 2)
            more += two.read(MIB // 2)
            assert on_disk(lab) <= 8 * MIB
    assert (got, more) == (content, other)
    assert lab.remote.bytes_read() <= 15 * MIB, "hardly anything twice"
    lab.audit()


def test_a_disk_that_is_to_be_kept_free(lab: Lab, tmp_path: Path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    folders = [CacheFolder(lab.folder, min_free_bytes=free + 10**12)]
    driver = CachedDriver(lab.remote, folders, keep_written=True)
    content, options = lab.store(3 * MIB)
    assert read_all(driver, options) == content
    stat = driver.put(key(2), BytesBody(content))
    assert read_all(driver, known(stat), key(2)) == content
    assert lab.files() == {}
    driver.close()


def test_a_small_disk_is_not_filled(lab: Lab, tmp_path: Path, small_tmpfs: Path):
    """Unbounded but for the disk: what must be left free is left free, by evicting."""
    driver = CachedDriver(lab.remote, [CacheFolder(small_tmpfs / "cache", min_free_bytes=8 * MIB)], keep_written=True)
    for number in range(60):
        content, options = lab.store(MIB, key(number), seed=number)
        assert read_all(driver, options, key(number)) == content
        found = os.statvfs(small_tmpfs)
        assert found.f_bavail * found.f_frsize >= 7 * MIB
    assert driver.cache_usage()[0].evictions > 0
    found = os.statvfs(small_tmpfs)
    _, options = lab.store(found.f_blocks * found.f_frsize, K, seed=99)
    error = error_of(lambda: driver.warm(K, options))
    assert isinstance(error, NoSpace)
    assert "its disk has" in str(error), "and not that somebody reads or has pinned what is held"
    driver.close()


def test_a_full_disk_breaks_nothing(lab: Lab, small_tmpfs: Path):
    """Somebody else fills the cache's disk: reads and puts go past, and all is well again when there is room."""
    clock = Hours()
    driver = CachedDriver(
        lab.remote, [CacheFolder(small_tmpfs / "cache", min_free_bytes=0)], keep_written=True, clock=clock
    )
    content, options = lab.store(6 * MIB)
    half, half_options = lab.store(6 * MIB, key(2), seed=2)
    driver.warm(K, options)
    with driver.open(key(2), half_options) as reader:
        got = bytearray(reader.read(MIB))
        filler = small_tmpfs / "filler"
        fill_up(filler)
        while part := reader.read(MIB):
            got += part
    assert got == half
    for number in range(5, 10):
        stat = driver.put(key(number), BytesBody(content_of(2 * MIB, number)))
        assert read_all(driver, known(stat), key(number)) == content_of(2 * MIB, number)
    assert read_all(driver, options) == content
    error = error_of(lambda: driver.open(key(2), GetOptions(local=True, version=half_options.version)))
    assert isinstance(error, NoSpace | Unavailable)
    filler.unlink()
    clock.more_s = 20.0
    with driver.open(key(2), GetOptions(local=True, version=half_options.version)) as reader:
        assert reader.local_path.read_bytes() == half
    driver.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_effect_on_the_disk_may_fail(lab: Lab, code: int, tmp_path: Path):
    """Whatever write, create or rename of the cache fails: what is read is right, and what is put is in the pool."""
    content, options = lab.store(3 * MIB)
    for at in range(1, 60):
        lab.folder = tmp_path / f"cache-{at}"
        files = FailingFiles(SystemFiles(), at=at, error=OSError(code, os.strerror(code)))
        given = tmp_path / "given"
        given.write_bytes(content)
        driver = lab.cache(files=files, keep=True)
        assert read_at(driver, MIB, 2 * MIB, options) == content[MIB : 2 * MIB]
        assert read_all(driver, options) == content
        stat = driver.put(key(2), FileBody(given, len(content), consume=True))
        assert read_all(driver, known(stat), key(2)) == content
        stat = driver.put(key(3), BytesBody(b"bytes" * 1000))
        assert read_all(driver, known(stat), key(3)) == b"bytes" * 1000
        driver.drop(key(3))
        driver.delete(key(2))
        driver.close()
        if not files.struck:
            assert at > 12
            return
    raise AssertionError("the scenario has more effects than expected")


def test_a_folder_that_cannot_be_written_is_passed_over(lab: Lab, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    folders = [CacheFolder(tmp_path / "file" / "cache"), CacheFolder(tmp_path / "file")]
    driver = CachedDriver(lab.remote, folders, keep_written=True)
    content, options = lab.store(3 * MIB)
    assert read_all(driver, options) == content
    stat = driver.put(key(2), BytesBody(content))
    assert read_all(driver, known(stat), key(2)) == content
    assert driver.cache_usage() == []
    assert driver.contents() == []
    assert driver.look(K) is None
    assert driver.drop(K) == 0
    driver.pin(K, "x")
    driver.unpin("x")
    error = error_of(lambda: driver.open(K, GetOptions(local=True)))
    assert isinstance(error, Unavailable)
    assert isinstance(error_of(lambda: driver.warm(K, options)), Unavailable)
    driver.close()


# -- writing ----------------------------------------------------------------------------------------------------------


def test_what_is_put_keeps_the_bound_too(lab: Lab, tmp_path: Path):
    driver = lab.cache(bound_bytes=10 * MIB, keep=True)
    for number in range(30):
        given = tmp_path / "given"
        given.write_bytes(content_of(MIB, number))
        body = [BytesBody(given.read_bytes()), FileBody.of(given), FileBody(given, MIB, consume=True)][number % 3]
        driver.put(key(number), body)
        assert on_disk(lab) <= 10 * MIB
    driver.put(key(99), BytesBody(content_of(11 * MIB)))
    assert driver.look(key(99)) is None
    lab.audit()


def test_a_stream_whose_size_nobody_knows(lab: Lab):
    driver = lab.cache(bound_bytes=10 * MIB, keep=True)
    small, large = content_of(3 * MIB, 1), content_of(12 * MIB, 2)

    def stream(content: bytes) -> StreamBody:
        reading, writing = os.pipe()

        def write() -> None:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(content)

        threading.Thread(target=write).start()
        return StreamBody(os.fdopen(reading, "rb"))

    bodies = [stream(small), stream(large)]
    driver.put(key(1), bodies[0])
    driver.put(key(2), bodies[1])
    for body in bodies:
        body.stream.close()
    assert driver.look(key(1)).verified
    assert driver.look(key(2)) is None
    assert lab.rows("SELECT count(*) FROM room") == [(0,)]
    lab.audit()


def test_a_file_with_other_names_is_copied_not_moved(lab: Lab, tmp_path: Path):
    given, other = tmp_path / "given", tmp_path / "other"
    given.write_bytes(b"content")
    os.link(given, other)
    driver = lab.cache(keep=True)
    stat_now = driver.put(K, FileBody(given, 7, consume=True))
    assert not given.exists()
    other.write_bytes(b"changed")
    assert read_all(driver, known(stat_now)) == b"content"
    assert lab.remote.calls("open") == []


def test_a_moved_file_may_be_read_by_those_who_may_read_the_others(lab: Lab, tmp_path: Path):
    given = tmp_path / "given"
    given.write_bytes(b"content")
    given.chmod(0o600)
    driver = lab.cache(keep=True)
    driver.put(K, FileBody(given, 7, consume=True))
    with driver.open(K, GetOptions(local=True)) as reader:
        assert stat.S_IMODE(reader.local_path.stat().st_mode) & 0o444 == 0o444


# -- counting ---------------------------------------------------------------------------------------------------------


def test_hits_and_misses_are_counted_over_processes(lab: Lab):
    _, options = lab.store(4 * MIB)
    driver = lab.cache()
    read_all(driver, options)
    first = driver.cache_usage()[0]
    assert (first.hits, first.misses) == (0, 4)
    assert (first.fetched_bytes, first.served_bytes) == (4 * MIB, 4 * MIB)
    another = lab.cache()
    read_all(another, options)
    read_at(another, MIB, 2 * MIB, options)
    another.close()
    second = driver.cache_usage()[0]
    assert (second.hits, second.misses) == (5, 4)
    assert second.served_bytes == 9 * MIB
    assert second.hit_ratio == 5 / 9
    assert driver.look(K).uses == 3


def test_the_bound_holds_with_many_at_once(lab: Lab):
    """Threads of two processes' worth of caches; the disk is watched all the while."""
    drivers = [lab.cache(bound_bytes=12 * MIB, keep=True) for _ in range(2)]
    made = {number: lab.store(MIB + number, key(number), seed=number) for number in range(24)}
    stop = threading.Event()
    most: list[int] = []

    def watch() -> None:
        while not stop.is_set():
            if (lab.folder / "blobs").exists():
                most.append(on_disk(lab))

    def work(worker: int) -> None:
        for turn in range(24):
            number = (turn * 7 + worker * 5) % 24
            content, options = made[number]
            assert read_all(drivers[worker % 2], options, key(number)) == content

    with ThreadPoolExecutor(5) as pool:
        watcher = pool.submit(watch)
        for worker in [pool.submit(work, worker) for worker in range(4)]:
            worker.result()
        stop.set()
        watcher.result()
    assert max(most) <= 12 * MIB + 24 * 4096 * 2 + 4 * (MIB + 24), "more than the bound and what is in flight"
    for driver in drivers:
        driver.close()
    assert lab.rows("SELECT count(*) FROM room") == [(0,)]
    lab.audit()


def test_pages_of_what_is_held(lab: Lab):
    driver = lab.cache(keep=True)
    keys = [Key(f"000/é{number}") for number in range(5)] + [Key(f"000/z{number}") for number in range(5)]
    for one in keys:
        driver.put(one, BytesBody(one.encode()))
    expected = sorted(keys, key=str.encode)
    assert [blob.key for blob in driver.contents()] == expected
    found, after = [], ""
    while page := driver.contents(after=after, limit=3):
        found += [blob.key for blob in page]
        after = page[-1].key
    assert found == expected


def test_a_range_of_a_whole_blob_is_a_file_that_ends(lab: Lab):
    content, options = lab.store(2 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    wanted = GetOptions(range=ByteRange(100, 200), version=options.version, local=True)
    with driver.open(K, wanted) as reader:
        assert reader.tell() == 100
        buffer = bytearray(500)
        assert reader.readinto(buffer) == 100
        assert bytes(buffer[:100]) == content[100:200]
        assert reader.local_path.stat().st_size == 2 * MIB
