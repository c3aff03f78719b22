"""What tests of the cache share: a cache over something like an object store, and looks past it at folder and index."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.blobs import BLOCK_BYTES, DEFAULT_GET, BlobStat, ByteRange, BytesBody, GetOptions
from holdfast.errors import StoreError
from holdfast.keys import Key
from holdfast.layers.cached import CachedDriver, CacheFolder
from holdfast.seams import SystemClock
from holdfast.stores.base import Driver
from holdfast.testing.remote_like import RemoteLike
from holdfast.testing.store_kit import content_of

K = Key("000/dataset_1.dat")
MIB = BLOCK_BYTES


class Lab:
    """A bucket, a folder, and as many caches over them as a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "cache"
        self.remote = RemoteLike("pool", root / "bucket")
        self.opened: list[CachedDriver] = []

    def cache(self, *, inner: Driver | None = None, bound_bytes: int | None = None, keep: bool = False, **more: object):
        """A new cache, as another process would make one."""
        folders = [CacheFolder(self.folder, bound_bytes=bound_bytes, min_free_bytes=0)]
        driver = CachedDriver(inner or self.remote, folders, keep_written=keep, **more)  # type: ignore[arg-type]
        self.opened.append(driver)
        return driver

    def store(self, size_bytes: int, key: Key = K, seed: int = 0) -> tuple[bytes, GetOptions]:
        """A blob in the bucket, put past the cache: its bytes, and what the catalog would know of it."""
        content = content_of(size_bytes, seed)
        stat = self.remote.put(key, BytesBody(content))
        self.remote.forget_calls()
        return content, known(stat)

    def asked(self) -> list[tuple[str, int, int | None]]:
        """The requests so far: what, from where, to where."""
        return [(call.operation, call.start, call.stop) for call in self.remote.calls()]

    def files(self) -> dict[str, int]:
        """The blobs' files in the cache folder: name and bytes on the disk."""
        found = {}
        for path in (self.folder / "blobs").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # evicted in the background
                found[path.name] = path.stat().st_blocks * 512
        return found

    def rows(self, sql: str, *values: object) -> list[tuple]:
        """From the index, by a connection of our own."""
        connection = sqlite3.connect(self.folder / "index.sqlite")
        try:
            found = connection.execute(sql, values).fetchall()
            connection.commit()
            return found
        finally:
            connection.close()

    def close(self) -> None:
        for driver in self.opened:
            driver.close()

    def audit(self) -> None:
        """The index agrees with itself and with the disk, and nothing is lost or left over; at the latest when what is
        done in the background is done."""
        for turn in range(200):
            try:
                self._audit()
                break
            except AssertionError:
                if turn == 199:
                    raise
            time.sleep(0.01)

    def _audit(self) -> None:
        connection = sqlite3.connect(self.folder / "index.sqlite", isolation_level=None)
        try:
            connection.execute("BEGIN")
            [(held, entries)] = connection.execute("SELECT held, entries FROM total").fetchall()
            listed = connection.execute("SELECT file, held, waste, whole, size FROM entry").fetchall()
            [(doomed,)] = connection.execute("SELECT coalesce(sum(size), 0) FROM doomed").fetchall()
        finally:
            connection.close()
        assert entries == len(listed)
        assert held == sum(row[1] + row[2] for row in listed) + doomed
        for file, held_bytes, _, whole, size in listed:
            path = self.folder / "blobs" / file[:2] / file
            assert path.exists(), "an entry without a file"
            assert path.stat().st_size <= size
            assert bool(whole) == (held_bytes == size)
            if whole:
                assert path.stat().st_size == size


class Hours(SystemClock):
    """The machine's clock, put forward by hand."""

    more_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.more_s

    def now_us(self) -> int:
        return super().now_us() + int(self.more_s * 1e6)


def known(stat: BlobStat) -> GetOptions:
    return GetOptions(version=stat.version, digest=stat.checksum)


def read_at(driver: Driver, start: int, stop: int | None, options: GetOptions = DEFAULT_GET, key: Key = K) -> bytes:
    """These bytes of a blob."""
    wanted = GetOptions(range=ByteRange(start, stop), version=options.version, digest=options.digest)
    with driver.open(key, wanted) as reader:
        return reader.read()


def read_all(driver: Driver, options: GetOptions = DEFAULT_GET, key: Key = K, part: int = 100_000) -> bytes:
    """All of it, in order."""
    parts = []
    with driver.open(key, options) as reader:
        while block := reader.read(part):
            parts.append(block)
    return b"".join(parts)


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that happens in the background."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def error_of(act: Callable[[], object]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        act()
    return caught.value


def flip(path: Path, at: int, *, keep_time: bool = False) -> None:
    """Change one byte of a file, as a bad disk or a bad hand does."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 0xFF]))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
