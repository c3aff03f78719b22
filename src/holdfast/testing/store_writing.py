"""A part of `StoreContract`: old or new but whole, conditions kept, and nothing left of what failed."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from holdfast.blobs import BLOCK_BYTES, BlobStat, BytesBody, FileBody, PutOptions, StreamBody
from holdfast.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    HoldfastError,
    NotFound,
    PreconditionFailed,
    StoreError,
    Unsupported,
)
from holdfast.keys import Key
from holdfast.stores.base import Store
from holdfast.testing.store_kit import (
    KEY,
    Backdoor,
    Breaking,
    Dribble,
    checksum_of,
    content_of,
    race,
    raiser,
    read,
    rest_of,
)


class StoreWriting:
    """Replacing, conditions, bodies."""

    # -- replacing ------------------------------------------------------------------------------------------------

    def test_a_replaced_blob_is_new_and_an_open_reader_old(self, store: Store, backdoor: Backdoor) -> None:
        old, new = content_of(BLOCK_BYTES + 5), content_of(2 * BLOCK_BYTES, 1)
        first = store.put(KEY, BytesBody(old))
        with store.open(KEY) as reader:
            head = reader.read(10)
            second = store.put(KEY, BytesBody(new))
            assert head + rest_of(reader) == old
            assert reader.stat.version == first.version
        assert first.version != second.version
        assert read(store, KEY) == new
        assert backdoor.read(KEY) == new

    def test_the_version_changes_with_the_bytes(self, store: Store) -> None:
        versions = [store.put(KEY, BytesBody(b"same"), PutOptions(durable=False)).version for _ in range(40)]
        assert len(set(versions)) == len(versions)
        assert store.stat(KEY).version == versions[-1]

    def test_readers_see_old_or_new_but_whole(self, store: Store) -> None:
        contents = [content_of(200_000 + 40_000 * number, number) for number in range(4)]
        known = {hashlib.sha256(content).digest() for content in contents}
        store.put(KEY, BytesBody(contents[0]))
        stop = threading.Event()
        seen: list[set[bytes]] = []

        def look() -> None:
            mine = set()
            while not stop.is_set():
                with store.open(KEY) as reader:
                    content = rest_of(reader)
                assert len(content) == reader.stat.size_bytes
                mine.add(hashlib.sha256(content).digest())
            seen.append(mine)

        with ThreadPoolExecutor(3) as pool:
            lookers = [pool.submit(look) for _ in range(3)]
            try:
                for turn in range(24):
                    store.put(KEY, BytesBody(contents[turn % 4]), PutOptions(durable=False))
            finally:
                stop.set()
            for looker in lookers:
                looker.result()
        assert set.union(*seen) <= known

    # -- conditions -----------------------------------------------------------------------------------------------

    def test_if_absent_keeps_what_is_there(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"first"), PutOptions(if_absent=True))
        before = backdoor.names()
        with pytest.raises(AlreadyExists) as caught:
            store.put(KEY, BytesBody(b"second"), PutOptions(if_absent=True))
        assert caught.value.key == KEY
        assert backdoor.read(KEY) == b"first"
        assert backdoor.names() == before

    def test_one_of_many_wins_if_absent(self, store: Store, backdoor: Backdoor) -> None:
        if not store.capabilities.atomic_if_absent:
            return
        for turn in range(3):
            key = Key(f"contract/race-{turn}")
            winners = race(store, key, PutOptions(if_absent=True, durable=False), AlreadyExists)
            assert len(winners) == 1
            assert backdoor.read(key) == winners[0]

    def test_if_version_keeps_what_has_changed(self, store: Store, backdoor: Backdoor) -> None:
        if not store.capabilities.if_version:
            with pytest.raises(Unsupported):
                store.put(KEY, BytesBody(b"x"), PutOptions(if_version="v"))
            return
        first = store.put(KEY, BytesBody(b"first"))
        second = store.put(KEY, BytesBody(b"second"), PutOptions(if_version=first.version))
        before = backdoor.names()
        for version in (first.version, "", "nonsense"):
            with pytest.raises(PreconditionFailed):
                store.put(KEY, BytesBody(b"third"), PutOptions(if_version=version))
        assert backdoor.read(KEY) == b"second"
        assert store.stat(KEY).version == second.version
        store.delete(KEY)
        with pytest.raises(PreconditionFailed):
            store.put(KEY, BytesBody(b"third"), PutOptions(if_version=second.version))
        assert backdoor.names() == before - {KEY}

    def test_one_of_many_wins_if_version(self, store: Store, backdoor: Backdoor) -> None:
        if not store.capabilities.if_version:
            return
        for _ in range(3):
            version = store.put(KEY, BytesBody(b"old")).version
            winners = race(store, KEY, PutOptions(if_version=version, durable=False), PreconditionFailed)
            assert len(winners) == 1, "two replaced the same version: one of them never saw the other's bytes"
            assert backdoor.read(KEY) == winners[0]

    def test_other_bytes_than_announced_are_refused(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()
        right, wrong = checksum_of(b"new"), checksum_of(b"other")
        with pytest.raises(Corrupt) as caught:
            store.put(KEY, BytesBody(b"new"), PutOptions(digest=wrong))
        assert (caught.value.expected, caught.value.actual, caught.value.key) == (wrong, right, KEY)
        assert backdoor.read(KEY) == b"old"
        assert backdoor.names() == before
        store.put(KEY, BytesBody(b"new"), PutOptions(digest=right))
        assert backdoor.read(KEY) == b"new"

    def test_staged_once_before_it_is_visible(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"old"))
        staged: list[tuple[BlobStat, bytes | None]] = []
        stat = store.put(
            KEY, BytesBody(b"newer"), PutOptions(on_staged=lambda one: staged.append((one, backdoor.read(KEY))))
        )
        [(told, there_then)] = staged
        assert there_then == b"old"
        assert (told.size_bytes, told.checksum) == (5, stat.checksum)

    def test_what_staging_raises_abandons_the_put(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()
        for error in (Conflict("no"), KeyboardInterrupt()):
            with pytest.raises(type(error)) as caught:
                store.put(KEY, BytesBody(b"new"), PutOptions(on_staged=raiser(error)))
            assert caught.value is error
            assert backdoor.read(KEY) == b"old"
            assert backdoor.names() == before

    def test_progress_grows_to_the_size_and_may_refuse(self, store: Store, backdoor: Backdoor) -> None:
        told: list[int] = []
        content = content_of(2 * BLOCK_BYTES + 5)
        store.put(KEY, BytesBody(content), PutOptions(on_progress=told.append))
        assert told == sorted(told)
        assert told[-1] == len(content)
        before = backdoor.names()

        def refuse(done_bytes: int) -> None:
            if done_bytes > BLOCK_BYTES:
                raise Conflict("no more room")

        with pytest.raises(Conflict, match="no more room"):
            store.put(KEY, BytesBody(content[::-1]), PutOptions(on_progress=refuse))
        assert backdoor.read(KEY) == content
        assert backdoor.names() == before

    # -- bodies ---------------------------------------------------------------------------------------------------

    def test_a_stream_of_unknown_size(self, store: Store, backdoor: Backdoor) -> None:
        content = content_of(BLOCK_BYTES + 7)
        stat = store.put(KEY, StreamBody(cast("BinaryIO", Dribble(content))))
        assert (stat.size_bytes, stat.checksum) == (len(content), checksum_of(content))
        assert backdoor.read(KEY) == content

    @pytest.mark.parametrize("announced", [0, 9, 11, 10**9])
    def test_a_body_shorter_or_longer_than_it_said(self, store: Store, backdoor: Backdoor, announced: int) -> None:
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()
        with pytest.raises(PreconditionFailed) as caught:
            store.put(KEY, StreamBody(io.BytesIO(b"0123456789"), announced))
        assert caught.value.store == "", "the sender's fault, not the store's"
        assert backdoor.read(KEY) == b"old"
        assert backdoor.names() == before

    def test_a_body_that_breaks_off(self, store: Store, backdoor: Backdoor) -> None:
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()
        errors = (ConnectionResetError(104, "reset by peer"), OSError(5, "the source is broken"), ValueError("odd"))
        for error in errors:
            with pytest.raises(type(error) if isinstance(error, ValueError) else StoreError) as caught:
                store.put(KEY, StreamBody(cast("BinaryIO", Breaking(error)), 1000))
            if isinstance(caught.value, StoreError):
                assert caught.value.store == "", "the sender's fault: another pool would not help"
                assert caught.value.__cause__ is error
            assert backdoor.read(KEY) == b"old"
            assert backdoor.names() == before

    def test_a_source_file_that_cannot_be_read(self, store: Store, backdoor: Backdoor, tmp_path: Path) -> None:
        with pytest.raises(NotFound) as caught:
            store.put(KEY, FileBody(tmp_path / "never was", 5))
        assert caught.value.store == ""
        with pytest.raises(NotFound):
            store.put(KEY, FileBody(tmp_path / "never was", 5, consume=True))
        assert backdoor.read(KEY) is None

    def test_a_file(self, store: Store, backdoor: Backdoor, tmp_path: Path) -> None:
        content = content_of(BLOCK_BYTES + 3)
        (tmp_path / "source").write_bytes(content)
        stat = store.put(KEY, FileBody.of(tmp_path / "source"))
        assert (stat.size_bytes, stat.checksum) == (len(content), checksum_of(content))
        assert backdoor.read(KEY) == content
        assert (tmp_path / "source").read_bytes() == content

    @pytest.mark.parametrize("how", ["grows", "shrinks", "is rewritten"])
    def test_a_file_that_changes_while_it_is_read(
        self, store: Store, backdoor: Backdoor, tmp_path: Path, how: str
    ) -> None:
        source = tmp_path / "source"
        source.write_bytes(content_of(4 * BLOCK_BYTES))
        os.utime(source, (1_000_000_000, 1_000_000_000))
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()

        def change(done_bytes: int) -> None:
            if done_bytes > BLOCK_BYTES:
                with source.open("r+b") as stream:
                    if how == "grows":
                        stream.seek(0, os.SEEK_END)
                        stream.write(b"more")
                    elif how == "shrinks":
                        stream.truncate(2 * BLOCK_BYTES)
                    else:
                        stream.write(b"other")

        with pytest.raises(PreconditionFailed) as caught:
            store.put(KEY, FileBody.of(source), PutOptions(on_progress=change))
        assert caught.value.store == ""
        assert backdoor.read(KEY) == b"old"
        assert backdoor.names() == before

    def test_a_file_that_is_given_away(self, store: Store, backdoor: Backdoor, tmp_path: Path) -> None:
        source, content = tmp_path / "source", content_of(50_000)
        source.write_bytes(content)
        stat = store.put(KEY, FileBody(source, len(content), consume=True))
        assert (stat.size_bytes, stat.checksum) == (len(content), checksum_of(content))
        assert not source.exists()
        assert backdoor.read(KEY) == content
        assert read(store, KEY) == content

    def test_a_file_that_is_given_away_in_vain_stays(
        self, store: Store, backdoor: Backdoor, tmp_path: Path
    ) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"content")
        store.put(KEY, BytesBody(b"old"))
        before = backdoor.names()
        attempts: list[tuple[type[HoldfastError], FileBody, PutOptions]] = [
            (AlreadyExists, FileBody(source, 7, consume=True), PutOptions(if_absent=True)),
            (Corrupt, FileBody(source, 7, consume=True), PutOptions(digest=checksum_of(b"other"))),
            (PreconditionFailed, FileBody(source, 8, consume=True), PutOptions()),
            (Conflict, FileBody(source, 7, consume=True), PutOptions(on_staged=raiser(Conflict("no")))),
        ]
        for error, body, options in attempts:
            with pytest.raises(error):
                store.put(KEY, body, options)
            assert source.read_bytes() == b"content"
            assert backdoor.read(KEY) == b"old"
            assert backdoor.names() == before
