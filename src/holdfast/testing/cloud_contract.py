"""The suite of the cloud driver, to be held on each kind of server: derive from `CloudContract`, say what it cannot do.

    class TestOnCeph(CloudContract):
        @pytest.fixture
        def place(self, rgw): return Place(settings_of(rgw, bucket), rgw.backdoor(bucket))

What a server does wrong is said in the class that is derived for it (`obeys_conditions`, `obeys_ranges`,
`odd_names_refused`), not skipped here: then the other side is tested, that the driver notices.
"""

from __future__ import annotations

import os
import threading
import urllib.request
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from holdfast.blobs import ByteRange, BytesBody, GetOptions, PutOptions, StreamBody
from holdfast.drivers.cloud import MARK_NAME, CloudDriver, CloudSettings
from holdfast.drivers.cloud.settings import MIB
from holdfast.errors import AlreadyExists, Conflict, Corrupt, PreconditionFailed, Unavailable
from holdfast.keys import Key
from holdfast.layers.retried import RetriedDriver
from holdfast.stores.base import Driver, Store
from holdfast.testing.store_contract import DriverContract
from holdfast.testing.store_kit import KEY, Backdoor, Dribble, checksum_of, content_of, listed, raiser, read, rest_of

PART_BYTES = 5 * MIB
LARGE_BYTES = 3 * PART_BYTES + 12_345


@dataclass(frozen=True, slots=True)
class Place:
    """An empty bucket on a server that runs, and the way past the driver into it."""

    settings: CloudSettings
    backdoor: Backdoor


class CloudContract(DriverContract):
    """`DriverContract`, and what is true of buckets only."""

    obeys_conditions = True
    obeys_ranges = True
    tags_are_md5 = True  # the same bytes have the same version

    @pytest.fixture
    @abstractmethod
    def place(self) -> Place:
        """The bucket to test in."""

    @pytest.fixture
    def store(self, place: Place) -> Store:
        return CloudDriver("bucket", replace(place.settings, part_bytes=PART_BYTES, multipart_from_bytes=PART_BYTES))

    @pytest.fixture
    def backdoor(self, place: Place) -> Backdoor:
        return place.backdoor

    def test_the_version_changes_with_the_bytes(self, store: Store) -> None:
        contents = [str(number).encode() for number in range(12)] + [b"0"]
        versions = [store.put(KEY, BytesBody(content)).version for content in contents]
        assert len(set(versions)) == len(contents) - (1 if self.tags_are_md5 else 0)
        assert store.stat(KEY).version == versions[-1]

    def test_readers_see_old_or_new_but_whole(self, store: Store) -> None:
        """Servers that stumble over readers of what is being replaced (500) are asked again, as they are in a pool."""
        super().test_readers_see_old_or_new_but_whole(RetriedDriver(store))  # type: ignore[arg-type]

    # -- parts ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("announced", [True, False])
    def test_a_large_blob_goes_in_parts_and_comes_back(
        self, store: Store, backdoor: Backdoor, *, announced: bool
    ) -> None:
        content = content_of(LARGE_BYTES)
        told: list[int] = []
        body = BytesBody(content) if announced else StreamBody(Dribble(content))  # type: ignore[arg-type]
        stat = store.put(KEY, body, PutOptions(on_progress=told.append, digest=checksum_of(content)))
        assert (stat.size_bytes, stat.checksum) == (len(content), checksum_of(content))
        assert told[-1] == len(content)
        assert backdoor.read(KEY) == content
        assert store.stat(KEY).version == stat.version
        with store.open(KEY) as reader:
            assert rest_of(reader) == content
        with store.open(KEY) as reader:
            assert reader.read() == content

    def test_a_large_blob_is_read_from_anywhere(self, store: Store, backdoor: Backdoor) -> None:
        content = content_of(LARGE_BYTES, 7)
        backdoor.write(KEY, content)
        with store.open(KEY) as reader:
            for at, size in ((LARGE_BYTES - 5, 100), (0, 10), (9 * MIB, 6 * MIB), (8 * MIB - 1, 2), (5 * MIB, 3)):
                reader.seek(at)
                assert reader.read(size) == content[at : at + size]
        for start, stop in ((6 * MIB, 6 * MIB + 10), (1, LARGE_BYTES - 1), (LARGE_BYTES - 1, None), (3, None)):
            with store.open(KEY, GetOptions(range=ByteRange(start, stop))) as reader:
                assert rest_of(reader) == content[start:stop]

    @pytest.mark.parametrize("why", ["staging", "progress", "digest", "short", "long", "broken"])
    def test_a_large_put_that_fails_leaves_nothing(self, store: Store, backdoor: Backdoor, why: str) -> None:
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()
        content, stop = content_of(LARGE_BYTES), Conflict("no")
        announced = len(content) + {"short": 1, "long": -1}.get(why, 0)
        options = {
            "staging": PutOptions(on_staged=raiser(stop)),
            "progress": PutOptions(on_progress=lambda done: None if done < 12 * MIB else raiser(stop)(done)),
            "digest": PutOptions(digest=checksum_of(b"other")),
        }.get(why, PutOptions())
        expected = {"digest": Corrupt, "short": PreconditionFailed, "long": PreconditionFailed, "broken": Unavailable}
        body = StreamBody(Dribble(content), announced)  # type: ignore[arg-type]
        if why == "broken":
            body = StreamBody(_BreaksLate(content, 11 * MIB), announced)  # type: ignore[arg-type]
        with pytest.raises(expected.get(why, Conflict)) as caught:
            store.put(KEY, body, options)
        if why in ("staging", "progress"):
            assert caught.value is stop
        assert backdoor.read(KEY) == b"old"
        assert backdoor.names() == before, "also no unfinished upload"

    def test_a_large_blob_is_staged_before_it_is_visible(self, store: Store, backdoor: Backdoor) -> None:
        content = content_of(LARGE_BYTES)
        staged: list[tuple[int, str | None, bytes | None]] = []
        store.put(
            KEY,
            BytesBody(content),
            PutOptions(on_staged=lambda one: staged.append((one.size_bytes, one.checksum, backdoor.read(KEY)))),
        )
        assert staged == [(len(content), checksum_of(content), None)]

    def test_a_large_blob_keeps_what_is_there(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()
        with pytest.raises(AlreadyExists):
            store.put(KEY, BytesBody(content_of(LARGE_BYTES)), PutOptions(if_absent=True))
        assert backdoor.read(KEY) == b"old"
        assert backdoor.names() == before

    # -- readers --------------------------------------------------------------------------------------------------

    def test_a_large_blob_that_is_replaced_while_it_is_read(self, store: Store, backdoor: Backdoor) -> None:
        old, new = content_of(LARGE_BYTES), content_of(LARGE_BYTES, 1)
        backdoor.write(KEY, old)
        blocks: list[bytes] = []
        refused = ""
        with store.open(KEY) as reader:
            blocks.append(reader.read(10))
            backdoor.write(KEY, new)
            try:
                while block := reader.read(MIB):
                    blocks.append(block)
            except (PreconditionFailed, Unavailable) as error:
                refused = str(error)
        assert old.startswith(b"".join(blocks)), "what was read is of the old one"
        if self.obeys_ranges:
            assert "open it again" in refused
        else:
            assert refused or b"".join(blocks) == old

    def test_many_readers_and_a_jumping_one(self, store: Store, backdoor: Backdoor) -> None:
        content = content_of(LARGE_BYTES, 3)
        backdoor.write(KEY, content)

        def one(number: int) -> bool:
            with store.open(KEY) as reader:
                if number % 2:
                    return rest_of(reader) == content
                good = True
                for at in range(number, LARGE_BYTES, 3 * MIB):
                    reader.seek(at)
                    good = good and reader.read(1000) == content[at : at + 1000]
                return good

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(one, range(6)))

    # -- the bucket -----------------------------------------------------------------------------------------------

    def test_a_bucket_that_is_not_there_says_nothing_of_its_blobs(self, place: Place) -> None:
        gone = CloudDriver("gone", replace(place.settings, bucket=f"{place.settings.bucket}-no"))
        gone.expect("0a-mark")
        for act in (
            lambda: gone.stat(KEY),
            lambda: gone.open(KEY),
            lambda: gone.put(KEY, BytesBody(b"x")),
            lambda: gone.delete(KEY),
            lambda: list(gone.list()),
            gone.identity,
            gone.probe,
        ):
            with pytest.raises(Unavailable) as caught:
                act()
            assert caught.value.store == "gone"
        assert not gone.occupied(KEY)

    def test_the_mark_that_is_taken_away_makes_it_unavailable(self, driver: Driver, place: Place) -> None:
        driver.mark("0a-first")
        driver.put(KEY, BytesBody(b"x"))
        other = CloudDriver("bucket", place.settings)
        other.delete(Key(MARK_NAME))
        with pytest.raises(Unavailable, match="mark"):
            driver.stat(Key("contract/never"))
        driver.mark("0a-first")
        assert read(driver, KEY) == b"x"

    def test_the_layout_is_the_key(self, store: Store, backdoor: Backdoor) -> None:
        key = Key("000/dataset_24.dat")
        store.put(key, BytesBody(b"ACGT"))
        assert key in backdoor.names()

    def test_what_the_server_does_not_obey_is_named(self, driver: Driver) -> None:
        words = " ".join(driver.probe())
        assert ("ignores conditions" in words) is not self.obeys_conditions
        assert ("ignores ranges" in words) is not self.obeys_ranges
        assert driver.capabilities.ranges is self.obeys_ranges

    def test_if_absent_on_a_marked_bucket(self, driver: Driver, backdoor: Backdoor) -> None:
        driver.mark("0a-first")
        driver.put(KEY, BytesBody(b"first"), PutOptions(if_absent=True))
        with pytest.raises(AlreadyExists):
            driver.put(KEY, BytesBody(b"second"), PutOptions(if_absent=True))
        assert backdoor.read(KEY) == b"first"
        assert driver.identity() == "0a-first", "finding out left it alone"

    # -- addresses ------------------------------------------------------------------------------------------------

    def test_a_signed_address_gives_the_bytes(self, store: Store) -> None:
        key = Key("contract/a b+ü.dat")
        store.put(key, BytesBody(b"content"))
        with urllib.request.urlopen(store.sign_url(key, "GET", 60)) as answer:  # noqa: S310 - ours
            assert answer.read() == b"content"

    def test_a_signed_address_has_the_files_name(self, driver: Driver) -> None:
        driver.put(KEY, BytesBody(b"content"))
        url = driver.sign_url(KEY, "GET", 60, filename='Grüße "1".fastq')
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - ours
            assert answer.read() == b"content"
            told = answer.headers["Content-Disposition"]
        assert told.startswith("attachment; filename=")
        assert "filename*=UTF-8''Gr%C3%BC%C3%9Fe" in told

    def test_a_signed_address_takes_bytes(self, store: Store, backdoor: Backdoor) -> None:
        url = store.sign_url(KEY, "PUT", 60)
        headers = {"Content-Type": "application/octet-stream", "x-ms-blob-type": "BlockBlob"}  # the latter is Azure's
        asked = urllib.request.Request(url, data=b"put", method="PUT", headers=headers)  # noqa: S310 - ours
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 - ours
            assert answer.status in (200, 201)
        assert backdoor.read(KEY) == b"put"

    # -- processes ------------------------------------------------------------------------------------------------

    @pytest.mark.needs("fork")
    def test_forks_of_forks_while_others_read(self, store: Store, backdoor: Backdoor) -> None:
        content = content_of(LARGE_BYTES)
        backdoor.write(KEY, content)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                assert read(store, KEY) == content

        with ThreadPoolExecutor(2) as pool:
            workers = [pool.submit(work) for _ in range(2)]
            try:
                with store.open(KEY) as reader:
                    head = reader.read(6 * MIB)
                    child = os.fork()
                    if child == 0:
                        _in_child(store, reader, content)
                    assert os.waitpid(child, 0)[1] == 0
                    assert head + rest_of(reader) == content
            finally:
                stop.set()
            for worker in workers:
                worker.result()
        assert listed(store, "contract/") == [KEY, "contract/child", "contract/grandchild"]


def _in_child(store: Store, reader: object, content: bytes) -> None:
    """A child, and its child, use what was warm in the parent. Does not return."""
    code = 1
    try:
        good = rest_of(reader) == content[6 * MIB :] and read(store, KEY) == content
        store.put(Key("contract/child"), BytesBody(b"child"))
        grandchild = os.fork()
        if grandchild == 0:
            store.put(Key("contract/grandchild"), BytesBody(b"grandchild"))
            os._exit(0 if read(store, KEY) == content else 3)
        code = 0 if good and os.waitpid(grandchild, 0)[1] == 0 else 2
    finally:
        os._exit(code)


class _BreaksLate(Dribble):
    """A stream that breaks after some megabytes."""

    def __init__(self, content: bytes, after_bytes: int) -> None:
        super().__init__(content)
        self._left_bytes = after_bytes

    def readinto(self, buffer: object, /) -> int:
        count = super().readinto(buffer)
        self._left_bytes -= count
        if self._left_bytes < 0:
            raise OSError(5, "the source is broken")
        return count
