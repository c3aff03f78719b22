from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.cached.cache_kit import Lab

from holdfast.testing.disks import Disk


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def small_tmpfs(small_disk: Callable[..., Disk]) -> Path:
    """A disk of 32 MiB that a test may fill."""
    return small_disk(32, kind="tmpfs").folder
