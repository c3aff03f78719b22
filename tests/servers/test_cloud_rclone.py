"""The cloud driver on rclone: it ignores every condition and answers a part with 200; both are noticed and named."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.servers.replaced import MixesWhatIsReplaced
from tests.servers.stack_kit import MIB, content_of, stacked

from holdfast.blobs import BytesBody
from holdfast.errors import AlreadyExists, Unavailable
from holdfast.keys import Key
from holdfast.layers.retried import RetriedDriver
from holdfast.stores.base import Driver, Store
from holdfast.testing.cloud_contract import CloudContract, Place
from holdfast.testing.object_servers import ObjectServer
from holdfast.testing.store_kit import KEY, Backdoor, is_there, read


@pytest.mark.needs("rclone")
class TestOnRclone(MixesWhatIsReplaced, CloudContract):
    obeys_conditions = False
    obeys_ranges = False

    @pytest.fixture
    def place(self, rclone: ObjectServer, place_on: Callable[..., Place]) -> Place:
        return place_on(rclone)

    def test_many_threads_at_once(self, store: Store, backdoor: Backdoor) -> None:
        # it removes a folder that became empty while another blob is put there, and answers the put with a 500
        super().test_many_threads_at_once(RetriedDriver(store), backdoor)

    def test_one_of_many_marks(self, driver: Driver) -> None:
        # where creating is never refused, several may believe that they were first; but the mark is one of theirs
        barrier = threading.Barrier(4)

        def attempt(number: int) -> str | None:
            barrier.wait()
            with contextlib.suppress(AlreadyExists):
                driver.mark(f"0{number}-mark")
                return f"0{number}-mark"
            return None

        with ThreadPoolExecutor(4) as pool:
            told = set(pool.map(attempt, range(4)))
        assert driver.identity() in told

    # its blobs are files: a name cannot be a file and a folder, what it answers then is a 500, and once a put over a
    # folder was refused it shows nothing of that folder until it is started again: not asked for here

    def test_a_name_below_a_blob_works_or_is_refused(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"blob"))
        below = Key(f"{KEY}/below")
        with pytest.raises(Unavailable, match="not stored"):
            store.put(below, BytesBody(b"below"))
        assert not is_there(store, below)
        assert read(store, KEY) == b"blob"

    def test_a_name_above_a_blob_works_or_is_refused(self, store: Store) -> None:
        above = Key("contract/folder")
        store.put(Key("contract/folder/blob"), BytesBody(b"blob"))
        assert not is_there(store, above)
        with pytest.raises(Unavailable):
            store.delete(above)
        assert read(store, Key("contract/folder/blob")) == b"blob"


@pytest.mark.needs("rclone")
@pytest.mark.parametrize("how", ["read", "leased"])
def test_a_whole_blob_moves_once_through_the_cache(rclone: ObjectServer, tmp_path: Path, how: str) -> None:
    content = content_of(40 * MIB)
    with stacked(tmp_path, rclone) as stack:
        dataset = stack.put_cold(content)
        found = stack.read(dataset) if how == "read" else stack.leased(dataset)
        assert found == content
        # the first request is broken off when its range has come: by then the server has sent some MiB more
        assert stack.moved() <= len(content) + 24 * MIB
        assert len(stack.asked("GET")) <= 4
        stack.sound()
