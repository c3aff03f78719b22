"""What becomes of the contract's readers on servers where replacing a blob is not one step for those who read it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from holdfast.blobs import BytesBody
from holdfast.drivers.cloud import CloudDriver
from holdfast.errors import StoreError
from holdfast.layers.retried import RetriedDriver
from holdfast.stores.base import Store
from holdfast.testing.cloud_contract import Place
from holdfast.testing.store_kit import KEY, content_of, rest_of

TURNS = 24


class FailsWhileReplaced:
    """The server answers 500 or 503 now and then: what the retrying layer is for, and it makes the promise whole."""

    def test_readers_see_old_or_new_but_whole(self, store: Store) -> None:
        super().test_readers_see_old_or_new_but_whole(RetriedDriver(store))


class MixesWhatIsReplaced:
    """The server sends the new bytes under the old one's head, or stops in the middle.

    No driver can tell the first from what is whole: the hold compares digests. The second is never taken for an end.
    """

    def test_readers_see_old_or_new_but_whole(self, place: Place) -> None:
        driver = CloudDriver("bucket", replace(place.settings, read_timeout_s=2.0))
        contents = [content_of(200_000 + 40_000 * number, number) for number in range(4)]
        driver.put(KEY, BytesBody(contents[0]))
        stop = threading.Event()

        def look() -> int:
            whole = 0
            while not stop.is_set():
                try:
                    with driver.open(KEY) as reader:
                        content = rest_of(reader)
                except StoreError as error:
                    if not error.retryable:
                        raise
                    continue
                assert len(content) == reader.stat.size_bytes
                whole += content in contents
            return whole

        with ThreadPoolExecutor(3) as pool:
            lookers = [pool.submit(look) for _ in range(3)]
            try:
                for turn in range(TURNS):
                    RetriedDriver(driver).put(KEY, BytesBody(contents[turn % 4]))  # it resets connections meanwhile
            finally:
                stop.set()
            assert sum(looker.result() for looker in lookers) > 0
        with driver.open(KEY) as reader:
            assert rest_of(reader) == contents[(TURNS - 1) % 4]
