"""The cloud driver on moto: an S3 that obeys conditions and ranges, and checks no signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.servers.replaced import FailsWhileReplaced

from holdfast.drivers.cloud import CloudDriver
from holdfast.testing.cloud_contract import CloudContract, Place
from holdfast.testing.object_servers import ObjectServer

pytestmark = pytest.mark.needs("moto")


class TestOnMoto(FailsWhileReplaced, CloudContract):
    @pytest.fixture
    def place(self, moto: ObjectServer, place_on: Callable[..., Place]) -> Place:
        return place_on(moto, conditions=True)


def test_a_bucket_is_made_when_it_is_missing(moto: ObjectServer, place_on: Callable[..., Place]) -> None:
    name = moto.fresh_name()
    driver = CloudDriver("pool", replace(place_on(moto).settings, bucket=name, region="eu-west-1"))
    driver.prepare()
    driver.prepare()
    driver.mark("0a-first")
    assert moto.backdoor(name).names() == {".holdfast-pool"}
