"""The suite that every store fulfils: derive from `StoreContract`, from `DriverContract` for a leaf.

    class TestMyDriver(DriverContract):
        @pytest.fixture
        def store(self, tmp_path): return MyDriver(...)
        @pytest.fixture
        def backdoor(self, tmp_path): return ...      # looks at the medium directly, see `Backdoor`

Each test is a sentence of `stores.base`. What a store says in its `capabilities` is demanded of it; what it does
not claim has to be refused with `Unsupported`. Keys begin with `contract/`; the medium may hold other things too.
"""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.blobs import BLOCK_BYTES, BytesBody, PutOptions
from holdfast.errors import AlreadyExists, Conflict, NotFound, Unavailable, Unsupported
from holdfast.keys import QUARANTINE, Key
from holdfast.stores.base import Driver, Store
from holdfast.testing.store_kit import (
    KEY,
    Backdoor,
    checksum_of,
    content_of,
    every_method,
    is_there,
    listed,
    read,
    rest_of,
)
from holdfast.testing.store_reading import StoreReading
from holdfast.testing.store_writing import StoreWriting


class StoreContract(StoreReading, StoreWriting, ABC):
    """What all stores have in common."""

    @pytest.fixture
    @abstractmethod
    def store(self) -> Store:
        """The store to test."""

    @pytest.fixture
    @abstractmethod
    def backdoor(self) -> Backdoor:
        """The way past it."""

    # -- delete ---------------------------------------------------------------------------------------------------

    def test_delete_is_idempotent(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"x"))
        store.put(Key("contract/other"), BytesBody(b"y"))
        for _ in range(2):
            store.delete(KEY)
            assert backdoor.read(KEY) is None
            assert not is_there(store, KEY)
        assert listed(store, "contract/") == ["contract/other"]
        store.delete(Key("contract/never/was/there"))
        store.put(KEY, BytesBody(b"again"), PutOptions(if_absent=True))
        assert read(store, KEY) == b"again"

    def test_delete_while_it_is_read(self, store: Store) -> None:
        content = content_of(BLOCK_BYTES)
        store.put(KEY, BytesBody(content))
        with store.open(KEY) as reader:
            head = reader.read(10)
            with contextlib.suppress(Conflict):
                store.delete(KEY)
            assert head + rest_of(reader) == content
        store.delete(KEY)
        assert not is_there(store, KEY)

    # -- copy -----------------------------------------------------------------------------------------------------

    def test_copy(self, store: Store, backdoor: Backdoor) -> None:
        content, target = content_of(BLOCK_BYTES + 1), Key("contract/deep/er/copy")
        store.put(KEY, BytesBody(content))
        if not store.capabilities.server_side_copy:
            with pytest.raises(Unsupported):
                store.copy(KEY, target)
            return
        stat = store.copy(KEY, target)
        assert (stat.key, stat.size_bytes) == (target, len(content))
        assert stat.checksum in (None, checksum_of(content))
        assert backdoor.read(KEY) == backdoor.read(target) == content
        with pytest.raises(AlreadyExists):
            store.copy(KEY, target, PutOptions(if_absent=True))
        with pytest.raises(NotFound):
            store.copy(Key("contract/never"), Key("contract/x"))
        store.put(KEY, BytesBody(b"other"))
        assert backdoor.read(target) == content, "a copy is a blob of its own"

    # -- the rest -------------------------------------------------------------------------------------------------

    def test_a_signed_url_if_it_says_so(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"x"))
        if store.capabilities.signed_urls:
            assert store.sign_url(KEY, "GET", 60).startswith(("http://", "https://"))
            return
        with pytest.raises(Unsupported):
            store.sign_url(KEY, "GET", 60)

    def test_a_closed_store_may_be_used_again(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"x"))
        for _ in range(2):
            store.close()
            store.close()
            assert read(store, KEY) == b"x"
            store.put(KEY, BytesBody(b"x"))

    def test_many_threads_at_once(self, store: Store, backdoor: Backdoor) -> None:
        def work(number: int) -> None:
            for turn in range(6):
                key = Key(f"contract/{number % 3}/{number}-{turn}")
                content = content_of(20_000 + number, number * 10 + turn)
                store.put(key, BytesBody(content), PutOptions(durable=False))
                assert read(store, key) == content
                assert store.stat(key).size_bytes == len(content)
                if turn % 2:
                    store.delete(key)

        before = backdoor.names()
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(work, range(12)))
        expected = {f"contract/{number % 3}/{number}-{turn}" for number in range(12) for turn in (0, 2, 4)}
        assert set(listed(store, "contract/")) == expected
        assert backdoor.names() == before | expected

    @pytest.mark.needs("fork")
    def test_a_fork_of_a_warm_store(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"before"))
        with store.open(KEY) as reader:
            child = os.fork()
            if child == 0:
                code = 1
                with contextlib.suppress(BaseException):
                    store.put(Key("contract/child"), BytesBody(b"child"))
                    code = 0 if read(store, KEY) == b"before" else 2
                os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert reader.read() == b"before"
        assert read(store, Key("contract/child")) == b"child"
        store.put(KEY, BytesBody(b"after"))
        assert read(store, KEY) == b"after"


class DriverContract(StoreContract):
    """What leaves have beyond that. `store` is a `Driver` whose medium is new and carries no mark."""

    @pytest.fixture
    def driver(self, store: Store) -> Driver:
        """The store, known to be a leaf."""
        assert isinstance(store, Driver)
        return store

    def test_usage_is_a_number_or_unknown(self, driver: Driver) -> None:
        usage = driver.usage()
        if usage.capacity_bytes is not None:
            assert usage.capacity_bytes > 0
        if usage.free_bytes is not None:
            assert usage.free_bytes >= 0
            assert usage.capacity_bytes is None or usage.free_bytes <= usage.capacity_bytes
        assert driver.usage().medium == usage.medium

    def test_a_probe_leaves_nothing(self, driver: Driver, backdoor: Backdoor) -> None:
        before = backdoor.names()
        driver.probe()
        assert backdoor.names() == before

    def test_prepare_is_idempotent_and_harms_nothing(self, driver: Driver, backdoor: Backdoor) -> None:
        driver.put(KEY, BytesBody(b"x"))
        before = backdoor.names()
        driver.prepare()
        driver.prepare()
        assert backdoor.names() == before
        assert backdoor.read(KEY) == b"x"

    @pytest.mark.parametrize("count", [0, 1, 3, 40])
    def test_a_batch_is_synced_together(self, driver: Driver, backdoor: Backdoor, count: int) -> None:
        keys = [Key(f"contract/{number % 4}/{number}") for number in range(count)]
        for key in keys:
            driver.put(key, BytesBody(key.encode()), PutOptions(durable=not driver.capabilities.batch_sync))
        driver.sync(keys)
        driver.sync(keys)
        assert all(backdoor.read(key) == key.encode() for key in keys)

    def test_what_is_set_aside_is_kept_apart(self, driver: Driver) -> None:
        name = Key(f"{QUARANTINE}20261122T080000Z-24-x.dat")
        driver.put(KEY, BytesBody(b"bytes"))
        driver.put(name, BytesBody(b"bad"), PutOptions(if_absent=True))
        assert [stat.key for stat in driver.list()] == [KEY]
        assert [(stat.key, stat.size_bytes) for stat in driver.list(QUARANTINE)] == [(name, 3)]
        assert list(driver.list(QUARANTINE, after=name)) == []
        assert list(driver.refused()) == []
        assert [one for one in driver.leftovers() if not one.in_use] == []
        assert read(driver, name) == b"bad"
        driver.delete(name)
        assert list(driver.list(QUARANTINE)) == []
        assert read(driver, KEY) == b"bytes"

    def test_occupied(self, driver: Driver, backdoor: Backdoor) -> None:
        assert not driver.occupied(KEY)
        backdoor.write(KEY, b"x")
        assert driver.occupied(KEY)

    def test_nothing_is_left_over_where_nothing_was_interrupted(self, driver: Driver) -> None:
        driver.put(KEY, BytesBody(b"x"))
        driver.delete(KEY)
        assert list(driver.leftovers()) == []

    def test_the_mark(self, driver: Driver, backdoor: Backdoor) -> None:
        assert driver.identity() is None
        driver.put(KEY, BytesBody(b"x"))
        driver.mark("0a-first")
        assert driver.identity() == "0a-first"
        driver.mark("0a-first")
        assert read(driver, KEY) == b"x"
        assert listed(driver) == [KEY], "the mark is no blob"
        driver.expect("0a-first")
        assert read(driver, KEY) == b"x"
        assert [one for one in backdoor.names() if one != KEY], "it lies on the medium"

    def test_a_medium_that_is_marked_is_not_marked_over(self, driver: Driver) -> None:
        driver.mark("0a-first")
        with pytest.raises(AlreadyExists, match="0a-first"):
            driver.mark("0b-second")
        assert driver.identity() == "0a-first"
        driver.probe()

    def test_one_of_many_marks(self, driver: Driver) -> None:
        barrier = threading.Barrier(8)

        def attempt(number: int) -> str | None:
            barrier.wait()
            try:
                driver.mark(f"0{number}-mark")
            except AlreadyExists:
                return None
            return f"0{number}-mark"

        with ThreadPoolExecutor(8) as pool:
            winners = [mark for mark in pool.map(attempt, range(8)) if mark is not None]
        assert winners == [driver.identity()]

    def test_another_medium_is_not_believed(self, driver: Driver, backdoor: Backdoor) -> None:
        driver.put(KEY, BytesBody(b"x"))
        driver.mark("0a-first")
        driver.expect("0b-second")
        before = backdoor.names()
        for name, act in every_method(driver).items():
            with pytest.raises(Unavailable) as caught:
                act()
            assert caught.value.store == driver.name, name
            assert caught.value.retryable, name
        assert backdoor.names() == before
        assert backdoor.read(KEY) == b"x"
        driver.expect("0a-first")
        assert read(driver, KEY) == b"x"
