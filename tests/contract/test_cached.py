"""The cache over something that behaves like an object store: the suite, and the suite over that thing itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.layers.cached import CachedDriver, CacheFolder
from holdfast.testing.remote_bucket import Bucket
from holdfast.testing.remote_like import RemoteLike
from holdfast.testing.store_contract import DriverContract


class TestRemoteLike(DriverContract):
    """What the tests put behind the cache is held to the contract too."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> RemoteLike:
        return RemoteLike("pool", tmp_path / "bucket")

    @pytest.fixture
    def backdoor(self, tmp_path: Path) -> Bucket:
        return Bucket(tmp_path / "bucket")


class TestCached(DriverContract):
    """Over a cold cache that keeps what is written."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[CachedDriver]:
        remote = RemoteLike("pool", tmp_path / "bucket")
        driver = CachedDriver(remote, [CacheFolder(tmp_path / "cache", min_free_bytes=0)], keep_written=True)
        yield driver
        driver.close()

    @pytest.fixture
    def backdoor(self, tmp_path: Path) -> Bucket:
        return Bucket(tmp_path / "bucket")


class TestCachedWithLittleRoom(DriverContract):
    """Two folders, one of them unusable, and little room; nothing written is kept: much goes past."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[CachedDriver]:
        (tmp_path / "file").write_text("no folder")
        folders = [
            CacheFolder(tmp_path / "cache", bound_bytes=1_500_000, min_free_bytes=0),
            CacheFolder(tmp_path / "file" / "cache", weight=3),
        ]
        driver = CachedDriver(RemoteLike("pool", tmp_path / "bucket"), folders, keep_written=False)
        yield driver
        driver.close()

    @pytest.fixture
    def backdoor(self, tmp_path: Path) -> Bucket:
        return Bucket(tmp_path / "bucket")
