"""A part of `StoreContract`: what lies there is there, whole, by its name and in order."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.blobs import BLOCK_BYTES, ByteRange, BytesBody, GetOptions, PutOptions
from holdfast.errors import InvalidKey, NotFound, Unsupported
from holdfast.keys import Key
from holdfast.stores.base import Store
from holdfast.testing.store_kit import KEY, Backdoor, checksum_of, compatible, content_of, is_there, listed, read

SIZES = (0, 1, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17)
ODD_NAMES = (
    "a b",
    " lead and trail ",
    "-rf",
    "..foo",
    "a..b",
    "...",
    "%2e%2e%2fetc",
    "back\\slash",
    "~root",
    "$HOME",
    "${x}",
    "`id`",
    "'quoted'",
    '"double"',
    "*?[x]",
    "semi;colon&amp|pipe",
    "#hash",
    "plus+equals=",
    "CON",
    "nul.txt",
    "Ünïcödé",
    "naïve-nfc-\u00e9",
    "naive-nfd-e\u0301",
    "עברית \u202eltr.txt",
    "日本語",
    "\U0001f9ec",
    "UPPER",
    "upper",
    "x" * 255,
    "é" * 127,
)


class StoreReading:
    """Put, open, stat, list."""

    list_letters = "ab-./0Zé~ "  # of the names that are listed

    # -- put, open, stat ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_what_was_put_is_there(self, store: Store, backdoor: Backdoor, size_bytes: int) -> None:
        content = content_of(size_bytes)
        stat = store.put(KEY, BytesBody(content))
        assert (stat.key, stat.size_bytes, stat.checksum) == (KEY, size_bytes, checksum_of(content))
        assert backdoor.read(KEY) == content
        assert read(store, KEY) == content
        found = store.stat(KEY)
        assert (found.key, found.size_bytes, found.version) == (KEY, size_bytes, stat.version)
        assert found.checksum in (None, stat.checksum)
        with store.open(KEY) as reader:
            assert (reader.stat.size_bytes, reader.stat.version) == (size_bytes, stat.version)

    def test_times_are_microseconds_of_now(self, store: Store) -> None:
        before = time.time_ns() // 1000  # noqa: TID251 - the medium's clock is the machine's
        stat = store.put(KEY, BytesBody(b"x"))
        after = time.time_ns() // 1000  # noqa: TID251 - the medium's clock is the machine's
        assert before - 5_000_000 < stat.modified_us < after + 5_000_000

    def test_what_somebody_else_wrote_is_there(self, store: Store, backdoor: Backdoor) -> None:
        backdoor.write(KEY, b"from outside")
        assert store.stat(KEY).size_bytes == 12
        assert read(store, KEY) == b"from outside"
        assert KEY in listed(store, "contract/")

    def test_absence_is_an_answer(self, store: Store) -> None:
        for operation in ("stat", "open"):
            with pytest.raises(NotFound) as caught:
                getattr(store, operation)(KEY)
            assert caught.value.key == KEY
            assert caught.value.operation == operation
            assert caught.value.store
            assert not caught.value.retryable

    def test_a_part_of_a_name_is_not_the_name(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"x"))
        for part in (Key("contract"), Key("contract/blo"), Key("contract/blob.da"), Key("contract/BLOB.dat")):
            with pytest.raises(NotFound):
                store.stat(part)
            with pytest.raises(NotFound):
                store.open(part)

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_names(self, store: Store, backdoor: Backdoor, name: str) -> None:
        key = Key.parse(f"contract/{name}")
        others = {Key.parse(f"contract/{other}") for other in ODD_NAMES} - {key}
        store.put(key, BytesBody(name.encode()))
        assert backdoor.read(key) == name.encode()
        assert read(store, key) == name.encode()
        assert listed(store, "contract/") == [key]
        assert not [other for other in others if is_there(store, other)], "another name for the same blob"
        store.delete(key)
        assert listed(store, "contract/") == []

    def test_a_name_below_a_blob_works_or_is_refused(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"blob"))
        below = Key(f"{KEY}/below")
        try:
            store.put(below, BytesBody(b"below"))
        except InvalidKey:
            assert not is_there(store, below)
        else:
            assert read(store, below) == b"below"
        assert read(store, KEY) == b"blob"

    def test_a_name_above_a_blob_works_or_is_refused(self, store: Store) -> None:
        above = Key("contract/folder")
        store.put(Key("contract/folder/blob"), BytesBody(b"blob"))
        assert not is_there(store, above)
        store.delete(above)
        try:
            store.put(above, BytesBody(b"above"))
        except InvalidKey:
            assert not is_there(store, above)
        else:
            assert read(store, above) == b"above"
        assert read(store, Key("contract/folder/blob")) == b"blob"

    # -- reading --------------------------------------------------------------------------------------------------

    def test_a_reader_seeks(self, store: Store) -> None:
        content = content_of(100_000)
        store.put(KEY, BytesBody(content))
        with store.open(KEY) as reader:
            for at in (99_990, 0, 50_000, 99_999, 100_000, 200_000):
                assert reader.seek(at) == at
                buffer = bytearray(20)
                count = reader.readinto(buffer)
                assert bytes(buffer[:count]) == content[at : at + count]
                assert (count == 0) == (at >= len(content))
            assert reader.seek(-5, os.SEEK_END) == len(content) - 5
            assert reader.read() == content[-5:]
            assert reader.seek(10) == reader.tell() == 10
            assert reader.read(5) == content[10:15]
            assert reader.seek(5, os.SEEK_CUR) == 20

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            (ByteRange(0, 4), b"0123"),
            (ByteRange(3, 7), b"3456"),
            (ByteRange(3), b"3456789"),
            (ByteRange(0), b"0123456789"),
            (ByteRange(8, 100), b"89"),
            (ByteRange(5, 5), b""),
            (ByteRange(10), b""),
            (ByteRange(50, 60), b""),
        ],
    )
    def test_a_range_is_read_and_nothing_else(self, store: Store, wanted: ByteRange, expected: bytes) -> None:
        store.put(KEY, BytesBody(b"0123456789"))
        with store.open(KEY, GetOptions(range=wanted)) as reader:
            assert reader.read() == expected
            assert reader.read() == b""
            assert reader.stat.size_bytes == 10
        with store.open(KEY, GetOptions(range=wanted)) as reader:
            buffer = bytearray(20)
            count = 0
            while more := reader.readinto(memoryview(buffer)[count:]):
                count += more
            assert bytes(buffer[:count]) == expected
        with store.open(KEY, GetOptions(range=wanted)) as reader:
            assert reader.read(2) == expected[:2]

    def test_a_reader_may_be_closed_twice(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"x"))
        reader = store.open(KEY)
        before = reader.closed
        reader.close()
        reader.close()
        assert (before, reader.closed) == (False, True)
        with pytest.raises(ValueError, match="closed"):
            reader.read()

    def test_a_local_path_if_it_says_so(self, store: Store) -> None:
        store.put(KEY, BytesBody(b"content"))
        if not store.capabilities.local_paths:
            with pytest.raises(Unsupported):
                store.open(KEY, GetOptions(local=True))
            return
        with store.open(KEY, GetOptions(local=True)) as reader:
            assert reader.local_path is not None
            assert reader.local_path.read_bytes() == b"content"

    def test_fresh_reads_what_is_on_the_medium(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"content"))
        assert read(store, KEY) == b"content"
        backdoor.write(KEY, b"damaged")
        with store.open(KEY, GetOptions(fresh=True)) as reader:
            assert reader.read() == b"damaged"

    # -- list -----------------------------------------------------------------------------------------------------

    def test_list_is_ordered_by_bytes_and_can_be_resumed(self, store: Store) -> None:
        names = st.text(st.sampled_from(self.list_letters), min_size=1, max_size=6)
        turn = iter(range(10_000))

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(given_names=st.sets(names, max_size=12), prefix=names, after=names)
        def holds(given_names: set[str], prefix: str, after: str) -> None:
            base = f"contract/{next(turn)}/"
            keys = compatible(base, given_names)
            for key in keys:
                store.put(key, BytesBody(key.encode()), PutOptions(durable=False))
            expected = sorted(keys, key=str.encode)
            whole = list(store.list(base))
            assert [stat.key for stat in whole] == expected
            assert [stat.size_bytes for stat in whole] == [len(key.encode()) for key in expected]
            for start in ["", *expected, base, base + after]:
                left = [key for key in expected if key.encode() > start.encode()]
                assert [stat.key for stat in store.list(base, start)] == left
                inside = [key for key in left if key.startswith(base + prefix)]
                assert [stat.key for stat in store.list(base + prefix, start)] == inside

        holds()

    def test_list_tells_what_stat_tells(self, store: Store) -> None:
        for number in range(5):
            store.put(Key(f"contract/{number}"), BytesBody(bytes(number)))
        for stat in store.list("contract/"):
            found = store.stat(stat.key)
            assert (stat.size_bytes, stat.version, stat.modified_us) == (
                found.size_bytes,
                found.version,
                found.modified_us,
            )

    def test_list_goes_on_while_blobs_come_and_go(self, store: Store) -> None:
        stay = [Key(f"contract/{number:03}/stays") for number in range(0, 60, 2)]
        go = [Key(f"contract/{number:03}/goes") for number in range(1, 60, 2)]
        for key in (*stay, *go):
            store.put(key, BytesBody(b"x"), PutOptions(durable=False))
        seen = []
        for at, stat in enumerate(store.list("contract/")):
            seen.append(stat.key)
            if at == 5:
                for key in go:
                    store.delete(key)
        assert [key for key in seen if key in stay] == stay

    def test_nothing_is_listed_where_nothing_is(self, store: Store) -> None:
        assert listed(store, "contract/") == []
        assert listed(store, "nothing/like/it") == []

    def test_unfinished_pieces_are_not_listed(self, store: Store) -> None:
        during: list[list[Key]] = []
        store.put(KEY, BytesBody(b"x"), PutOptions(on_staged=lambda _: during.append(listed(store, "contract/"))))
        assert during == [[]]
