"""The cache over something that behaves like an object store: the suite, and the suite over that thing itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.testing.remote_like import Bucket, RemoteLike
from holdfast.testing.store_contract import DriverContract


class TestRemoteLike(DriverContract):
    """What the tests put behind the cache is held to the contract too."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> RemoteLike:
        return RemoteLike("pool", tmp_path / "bucket")

    @pytest.fixture
    def backdoor(self, tmp_path: Path) -> Bucket:
        return Bucket(tmp_path / "bucket")
