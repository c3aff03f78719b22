"""Nothing wrong is served: other versions, other bytes, cut-off streams, files and indexes that somebody damaged."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.unit.cached.cache_kit import MIB, Hours, K, Lab, error_of, flip, known, read_all, read_at, until

from holdfast.blobs import ByteRange, BytesBody, GetOptions
from holdfast.errors import Corrupt, PreconditionFailed, Unavailable, Unsupported
from holdfast.keys import Key
from holdfast.layers.cached import CachedDriver, CacheFolder, locks
from holdfast.layers.cached import folder as folder_module
from holdfast.testing.remote_like import RemoteLike
from holdfast.testing.store_kit import content_of

HOLD_BLOCKS = """
import os, sys, time
from holdfast.layers.cached.locks import alone_in
from holdfast.seams import SystemClock
with alone_in(os.open(sys.argv[1], os.O_RDWR), 1 << 20, 2 << 20, SystemClock()):
    print("held", flush=True)
    time.sleep(60)
"""


def local(options: GetOptions) -> GetOptions:
    return GetOptions(local=True, version=options.version, digest=options.digest)


def whole_file(lab: Lab):
    [file] = (lab.folder / "blobs").glob("*/*")
    return file


# -- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guards", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_what_was_replaced_is_fetched_anew_and_never_mixed(lab: Lab, guards: bool, whole: bool):
    remote = RemoteLike("pool", lab.root / "bucket", guards_version=guards)
    driver = lab.cache(inner=remote)
    old, old_options = lab.store(5 * MIB)
    if whole:
        driver.warm(K, old_options)
    else:
        read_at(driver, MIB, 2 * MIB, old_options)
    new, new_options = lab.store(6 * MIB, seed=1)
    assert read_all(driver, new_options) == new
    assert read_all(driver) == new
    with driver.open(K, local(new_options)) as reader:
        assert reader.local_path.read_bytes() == new
    with driver.open(K, old_options) as reader:
        got = reader.read()
        assert (got, reader.stat.version) in ((old, old_options.version), (new, new_options.version))
    lab.audit()


@pytest.mark.parametrize("guards", [True, False])
def test_a_catalog_that_is_behind_gets_what_is_there_with_its_version(lab: Lab, guards: bool):
    remote = RemoteLike("pool", lab.root / "bucket", guards_version=guards)
    driver = lab.cache(inner=remote)
    _, stale = lab.store(3 * MIB)
    new, fresh = lab.store(4 * MIB, seed=1)
    for options in (stale, local(stale), stale):
        with driver.open(K, options) as reader:
            assert reader.read() == new
            assert reader.stat.version == fresh.version
    lab.audit()


def test_a_blob_that_is_replaced_while_it_is_read_is_an_error_not_a_mix(lab: Lab):
    old, options = lab.store(6 * MIB)
    driver = lab.cache()
    with driver.open(K, options) as reader:
        assert reader.read(MIB) == old[:MIB]
        lab.store(6 * MIB, seed=1)
        with pytest.raises(PreconditionFailed, match="open it again"):
            reader.read()
    assert read_all(driver) == content_of(6 * MIB, 1)


@pytest.mark.parametrize("how", ["put", "delete", "copy"])
def test_who_reads_what_we_replace_gets_the_old_whole(lab: Lab, how: str):
    old, options = lab.store(12 * MIB)
    driver, another = lab.cache(), lab.cache(keep=True)
    with driver.open(K, options) as reader, driver.open(K, options) as at_end:
        at_end.seek(11 * MIB)
        got = bytearray(reader.read(MIB))
        if how == "put":
            another.put(K, BytesBody(b"new"))
        elif how == "delete":
            another.delete(K)
        else:
            lab.store(10, Key("000/other"), seed=1)
            another.copy(Key("000/other"), K)
        while part := reader.read(MIB):
            got += part
        assert got == old
        assert at_end.read() == old[11 * MIB :]
        found = lab.rows("SELECT count(*) FROM entry WHERE pool<>'' AND version=?", options.version)
        assert found == [(0,)], "nobody else is served it"
    another.cache_usage()
    lab.audit()


def test_a_leased_path_stays_when_its_blob_is_deleted(lab: Lab):
    content, options = lab.store(3 * MIB)
    driver = lab.cache(bound_bytes=10 * MIB)
    with driver.open(K, local(options)) as reader:
        driver.delete(K)
        assert reader.local_path.read_bytes() == content
        assert driver.drop(K) == 0
        assert driver.look(K) is None
    _, more = lab.store(9 * MIB, Key("000/next"))
    driver.warm(Key("000/next"), more)
    assert len(lab.files()) == 1, "the first to go when room is needed"
    lab.audit()


# -- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [100_000, 9 * MIB, 30 * MIB])
@pytest.mark.parametrize("times", [1, 2])
def test_wrong_bytes_are_fetched_once_more_then_corrupt(lab: Lab, size_bytes: int, times: int, caplog):
    content, options = lab.store(size_bytes)
    lab.remote.corrupt(50_000, times=times)
    driver = lab.cache()
    if times == 1:
        with driver.open(K, local(options)) as reader:
            assert reader.local_path.read_bytes() == content
    else:
        error = error_of(lambda: driver.open(K, local(options)))
        assert isinstance(error, Corrupt)
        assert error.expected == options.digest
        assert error.actual not in ("", options.digest)
        assert driver.look(K) is None
        assert lab.files() == {}
    assert driver.cache_usage()[0].damaged == times
    lab.audit()


def test_a_small_blob_with_wrong_bytes_is_not_even_streamed(lab: Lab):
    content, options = lab.store(100_000)
    lab.remote.corrupt(50_000, times=1)
    driver = lab.cache()
    assert read_all(driver, options) == content
    lab.remote.forget_calls()
    driver.drop(K)
    lab.remote.corrupt(50_000, times=2)
    assert isinstance(error_of(lambda: driver.open(K, options)), Corrupt)
    lab.audit()


def test_wrong_bytes_in_blocks_are_found_out_when_all_are_there(lab: Lab, caplog):
    content, options = lab.store(5 * MIB)
    driver = lab.cache()
    lab.remote.corrupt(3 * MIB + 5)
    for block in (3, 0, 4, 1, 2):
        read_at(driver, block * MIB, (block + 1) * MIB, options)
    until(lambda: driver.look(K) is None)
    assert "damaged" in caplog.text
    with driver.open(K, local(options)) as reader:
        assert reader.read() == content


@pytest.mark.parametrize("size_bytes", [100_000, 9 * MIB])
def test_a_stream_that_is_cut_off_is_no_blob(lab: Lab, size_bytes: int):
    content, options = lab.store(size_bytes)
    driver = lab.cache()
    for wanted in (options, local(options)):
        lab.remote.truncate(50_000)
        error = error_of(lambda wanted=wanted: driver.open(K, wanted))
        assert isinstance(error, Unavailable)
        assert error.retryable
        assert lab.files() == {}
    with driver.open(K, options) as reader:
        got = bytearray(reader.read(MIB))
        if size_bytes > MIB:
            lab.remote.truncate(50_000)
            reader.seek(6 * MIB)
            assert isinstance(error_of(reader.read), Unavailable)
            reader.seek(MIB)
        while part := reader.read(MIB):  # the same reader, asked again
            got += part
    assert got == content
    lab.audit()


@pytest.mark.parametrize("damage", ["flipped", "cut", "grown", "removed"])
@pytest.mark.parametrize("wants_path", [True, False])
def test_a_file_that_somebody_changed_is_fetched_again(lab: Lab, damage: str, wants_path: bool, caplog):
    content, options = lab.store(3 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    file = whole_file(lab)
    if damage == "flipped":
        os.utime(file, ns=(1, 1))
        flip(file, 2 * MIB)
    elif damage == "removed":
        file.unlink()
    else:
        os.truncate(file, {"cut": MIB, "grown": 4 * MIB}[damage])
    with driver.open(K, local(options) if wants_path else options) as reader:
        assert reader.read() == content
    assert "damaged" in caplog.text
    assert driver.cache_usage()[0].damaged == 1
    lab.audit()


@pytest.mark.parametrize("wants_path", [True, False])
def test_a_bit_that_flipped_silently_is_found_out_after_the_next_start(lab: Lab, wants_path: bool):
    content, options = lab.store(3 * MIB)
    first = lab.cache()
    first.warm(K, options)
    first.close()
    flip(whole_file(lab), 2 * MIB, keep_time=True)
    another_boot(lab, synced=True)
    driver = lab.cache()
    if wants_path:
        with driver.open(K, local(options)) as reader:
            assert reader.local_path.read_bytes() == content
    else:
        read_all(driver, options)
        until(lambda: driver.look(K) is None)
        assert read_all(driver, options) == content
    lab.audit()


def another_boot(lab: Lab, *, synced: bool) -> None:
    """As if the machine had been started since: what is in the index was written under another boot's name."""
    lab.rows("UPDATE entry SET boot='before', synced=?", synced)
    lab.rows("UPDATE total SET boot='before'")


# -- the machine ------------------------------------------------------------------------------------------------------


def test_after_a_power_cut_only_what_was_synced_is_believed(lab: Lab):
    content, options = lab.store(3 * MIB)
    second, more = lab.store(4 * MIB, Key("000/synced"), seed=1)
    lab.remote.forget_calls()
    driver = lab.cache()
    driver.warm(K, options)
    driver.warm(Key("000/synced"), more)
    driver.close()
    lab.rows("UPDATE entry SET synced=(key='000/synced'), boot='before'")
    lab.rows("UPDATE total SET boot='before'")
    stranger = lab.folder / "blobs" / "ab" / ("ab" + "0" * 30)
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_bytes(bytes(5000))
    lab.remote.forget_calls()
    driver = lab.cache()
    assert driver.look(K) is None
    assert read_all(driver, more, Key("000/synced")) == second
    assert lab.asked() == []
    until(lambda: len(lab.files()) == 1)
    lab.audit()
    assert read_all(driver, options) == content


def test_what_is_whole_is_synced_in_the_background(lab: Lab):
    content, options = lab.store(3 * MIB)
    clock = Hours()
    driver = lab.cache(clock=clock)
    driver.warm(K, options)
    assert lab.rows("SELECT synced FROM entry") == [(0,)]
    clock.more_s = 40.0
    assert read_all(driver, options) == content
    until(lambda: lab.rows("SELECT synced FROM entry") == [(1,)])


def test_a_deleted_folder_is_begun_anew(lab: Lab):
    content, options = lab.store(5 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    with driver.open(K, options) as warm, driver.open(K, GetOptions(version=options.version)) as other:
        shutil.rmtree(lab.folder)
        assert warm.read() == content
        assert read_all(driver, options) == content
        assert other.read() == content
    with driver.open(K, local(options)) as reader:
        assert reader.local_path.read_bytes() == content
    assert driver.cache_usage()[0].entries == 1
    lab.audit()


def test_a_folder_that_is_deleted_under_a_cold_reader(lab: Lab):
    content, options = lab.store(8 * MIB)
    driver = lab.cache()
    with driver.open(K, options) as reader:
        got = bytearray(reader.read(MIB))
        shutil.rmtree(lab.folder)
        while part := reader.read(MIB):
            got += part
    assert got == content
    assert read_all(driver, options) == content
    lab.audit()


@pytest.mark.parametrize("damage", ["garbage", "empty", "torn", "another database"])
def test_a_damaged_index_is_set_aside(lab: Lab, damage: str, caplog):
    content, options = lab.store(5 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    driver.close()
    index = lab.folder / "index.sqlite"
    for suffix in ("-wal", "-shm"):
        (lab.folder / f"index.sqlite{suffix}").unlink(missing_ok=True)
    if damage == "garbage":
        index.write_bytes(b"nonsense" * 1000)
    elif damage == "empty":
        index.write_bytes(b"")
    elif damage == "torn":
        index.write_bytes(index.read_bytes()[:4096] + b"\xff" * 30_000)
    else:
        index.unlink()
        shutil.copy(_another_database(lab), index)
    with caplog.at_level(logging.WARNING):
        driver = lab.cache()
        for _ in range(3):
            assert read_all(driver, options) == content
            with driver.open(K, local(options)) as reader:
                assert reader.local_path.read_bytes() == content
    if damage != "empty":
        assert caplog.text.count("set aside") == 1
        assert (lab.folder / "index.sqlite.damaged").exists()
    until(lambda: len(lab.files()) == 1)
    lab.audit()


def _another_database(lab: Lab):
    path = lab.root / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE entry (x)")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    return path


def test_an_index_that_is_damaged_while_it_is_used(lab: Lab):
    content, options = lab.store(5 * MIB)
    driver = lab.cache()
    driver.warm(K, options)
    driver.close()
    driver = lab.cache()
    assert read_all(driver, options) == content
    size = (lab.folder / "index.sqlite").stat().st_size
    with (lab.folder / "index.sqlite").open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * (size - 4096))
    for number in range(5):
        more, known_more = lab.store(10_000 + number, Key(f"000/{number}"))
        assert read_all(driver, known_more, Key(f"000/{number}")) == more
        assert read_all(driver, options) == content
    assert (lab.folder / "index.sqlite.damaged").exists()
    lab.remote.forget_calls()
    assert read_all(driver, options) == content
    assert lab.asked() == [], "kept again, in a new index"
    lab.audit()


def test_a_folder_of_another_format_is_left_alone(lab: Lab, caplog):
    content, options = lab.store(1000)
    lab.folder.mkdir()
    (lab.folder / "holdfast-cache").write_text("99\n")
    driver = lab.cache()
    assert read_all(driver, options) == content
    assert "format 99" in caplog.text
    error = error_of(lambda: driver.open(K, local(options)))
    assert isinstance(error, Unavailable)
    assert "format 99" in str(error)
    assert sorted(path.name for path in lab.folder.iterdir() if path.name != "sessions") == ["blobs", "holdfast-cache"]


def test_a_stopped_process_that_holds_a_block_delays_a_reader_once(lab: Lab, monkeypatch):
    """A stopped process keeps its locks: who wants the same bytes reads past the cache, others go through it."""
    monkeypatch.setattr(locks, "PATIENCE_S", 0.5)
    content, options = lab.store(4 * MIB)
    other, other_options = lab.store(2 * MIB, Key("000/dataset_2.dat"), seed=1)
    with lab.cache().open(K, options) as reader:
        assert reader.read(10) == content[:10]
    [name] = lab.files()
    file = next((lab.folder / "blobs").glob(f"*/{name}"))
    holder = subprocess.Popen([sys.executable, "-c", HOLD_BLOCKS, str(file)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        cache = lab.cache()
        begun_s = time.monotonic()
        with cache.open(K, options) as reader:
            assert reader.read() == content
        assert 0.5 < time.monotonic() - begun_s < 5
        with cache.open(Key("000/dataset_2.dat"), other_options) as reader:
            assert reader.read() == other
        assert len(lab.files()) == 2, "another blob is kept meanwhile"
    finally:
        holder.kill()
        holder.communicate()


def test_a_network_file_system_is_refused(lab: Lab, monkeypatch):
    _, options = lab.store(1000)
    monkeypatch.setattr(folder_module, "file_system_of", lambda path: 0x6969)
    driver = lab.cache()
    for act in (lambda: driver.open(K, options), lambda: driver.put(K, BytesBody(b"x")), driver.cache_usage):
        error = error_of(act)
        assert isinstance(error, Unsupported)
        assert "NFS" in str(error)
        assert str(lab.folder) in str(error)
    assert folder_module.file_system_of(str(lab.root)) == 0x6969
    monkeypatch.undo()
    assert folder_module.file_system_of("/proc") == 0x9FA0
    assert folder_module.file_system_of(str(lab.root)) not in (0, 0x6969)


@pytest.mark.needs("fork")
def test_a_child_of_a_warm_process_has_its_own_index(lab: Lab):
    content, options = lab.store(12 * MIB)
    driver = lab.cache()
    with driver.open(K, options) as reader:
        got = bytearray(reader.read(2 * MIB))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                rest = bytearray()
                while part := reader.read(MIB):
                    rest += part
                if bytes(rest) == content[2 * MIB :] and read_all(driver, options) == content:
                    driver.close()
                    code = 0
            finally:
                os._exit(code)
        while part := reader.read(MIB):
            got += part
        assert os.waitpid(child, 0)[1] == 0
    assert got == content
    assert read_all(driver, options) == content
    lab.audit()


def test_threads_that_read_replace_and_drop(lab: Lab):
    """Whoever got a reader reads one version, whole; nobody ever gets a mix."""
    content = content_of(3 * MIB)
    contents = {lab.remote.put(K, BytesBody(content)).version: content}
    driver = lab.cache(keep=True, bound_bytes=20 * MIB)
    stop = threading.Event()
    wrong: list[str] = []
    lock = threading.Lock()

    def look(number: int) -> None:
        while not stop.is_set():
            try:
                options = GetOptions(local=number == 0, range=ByteRange(MIB) if number == 1 else None)
                with driver.open(K, options) as reader:
                    got, version = reader.read(), reader.stat.version
            except (PreconditionFailed, Unavailable):
                continue
            with lock:
                expected = contents.get(version)
            if expected is not None and got != (expected[MIB:] if number == 1 else expected):
                wrong.append(version)

    with ThreadPoolExecutor(3) as pool:
        lookers = [pool.submit(look, number) for number in range(3)]
        for number in range(1, 25):
            content = content_of(3 * MIB + number, number)
            stat = driver.put(K, BytesBody(content)) if number % 3 else lab.remote.put(K, BytesBody(content))
            with lock:
                contents[stat.version] = content
            if number % 5 == 0:
                driver.drop(K)
        stop.set()
        for looker in lookers:
            looker.result()
    assert wrong == []
    assert read_all(driver) == content
    assert known(stat).version == driver.stat(K).version
    lab.audit()


def test_a_probe_says_when_the_cache_cannot_be_used(lab: Lab, tmp_path):
    assert lab.cache().probe() == []
    (tmp_path / "file").write_text("no folder")
    driver = CachedDriver(lab.remote, [CacheFolder(tmp_path / "file" / "cache")])
    [caveat] = driver.probe()
    assert str(tmp_path / "file" / "cache") in caveat
    assert "local paths" in caveat
    driver.close()
