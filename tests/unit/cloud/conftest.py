"""A bucket on a very small S3, and drivers for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.cloud.small_s3 import SmallS3

from holdfast.drivers.cloud import CloudDriver, CloudSettings
from holdfast.seams import SystemClock

MIB = 1024 * 1024


class QuickClock(SystemClock):
    """Does not wait for servers that settle."""

    def sleep(self, seconds: float) -> None:
        return


@pytest.fixture
def server() -> Iterator[SmallS3]:
    s3 = SmallS3()
    yield s3
    s3.close()


@pytest.fixture
def driver_of(server: SmallS3) -> Iterator[Callable[..., CloudDriver]]:
    """`driver_of(part_bytes=…)`: a driver, closed after the test."""
    made: list[CloudDriver] = []

    def make(**given: Any) -> CloudDriver:
        told: dict[str, Any] = {
            "endpoint": server.url, "region": "us-east-1", "access_key": "k", "secret_key": "s3cr3t",
            "part_bytes": 5 * MIB, "multipart_from_bytes": 5 * MIB, "read_timeout_s": 1.0, **given,
        }  # fmt: skip
        made.append(CloudDriver("pool", CloudSettings("s3", "b", **told), clock=QuickClock()))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def driver(driver_of: Callable[..., CloudDriver]) -> CloudDriver:
    return driver_of()
