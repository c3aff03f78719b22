"""The layers before a remote pool, held to the contract: over a real folder, and over one that often fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.layers.layer_kit import QuickClock, failing

from holdfast.drivers.disk import DiskDriver
from holdfast.layers.limited import LimitedDriver
from holdfast.layers.retried import RetriedDriver
from holdfast.layers.tripped import TrippedDriver
from holdfast.stores.base import Driver
from holdfast.testing.store_contract import DriverContract


class Folder:
    """The backdoor: the folder itself."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, key: str, content: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(content)

    def names(self) -> set[str]:
        return {
            os.path.relpath(os.path.join(folder, name), self.root)
            for folder, _, names in os.walk(self.root)
            for name in names
        }


class OverAFolder(DriverContract):
    """A layer over a folder, without syncs."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> DiskDriver:
        (tmp_path / "pool").mkdir()
        return DiskDriver("pool", tmp_path / "pool", durable=False)

    @pytest.fixture
    def backdoor(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path / "pool")


class TestRetried(OverAFolder):
    @pytest.fixture
    def store(self, disk: DiskDriver) -> Driver:
        return RetriedDriver(disk, clock=QuickClock())


class TestRetriedOverOneThatOftenFails(OverAFolder):
    """Without local paths, so that its streams are ours; every third call fails, and none of the tests notices."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Driver:
        return RetriedDriver(failing(tmp_path, every=3), attempts=40, deadline_s=1e9, clock=QuickClock())


class TestLimited(OverAFolder):
    @pytest.fixture
    def store(self, disk: DiskDriver) -> Driver:
        return LimitedDriver(disk, requests_per_s=1e6, bytes_per_s=1e12, concurrency=32)


class TestLimitedWithoutLimits(OverAFolder):
    @pytest.fixture
    def store(self, disk: DiskDriver) -> Driver:
        return LimitedDriver(disk)


class TestTripped(OverAFolder):
    @pytest.fixture
    def store(self, disk: DiskDriver) -> Driver:
        return TrippedDriver(disk)


class TestAllThree(OverAFolder):
    """As a remote pool has them, over one that often fails."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Driver:
        clock = QuickClock()
        limited = LimitedDriver(failing(tmp_path, every=3), bytes_per_s=1e12, concurrency=32, clock=clock)
        return TrippedDriver(RetriedDriver(limited, attempts=40, deadline_s=1e9, clock=clock), clock=clock)
