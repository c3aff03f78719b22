"""The cloud driver on moto: an S3 that obeys conditions and ranges, and checks no signatures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.drivers.cloud import CloudDriver, CloudSettings
from holdfast.testing.cloud_contract import CloudContract, Place
from holdfast.testing.here import CannotRunHere
from holdfast.testing.object_servers import FOLDER, ObjectServer, running

INSTALLED = Path(__file__).resolve().parents[2] / FOLDER


@pytest.fixture(scope="module")
def moto() -> Iterator[ObjectServer]:
    try:
        with running("moto", INSTALLED) as server:
            yield server
    except CannotRunHere as reason:
        pytest.skip(str(reason))


@pytest.fixture
def place(moto: ObjectServer) -> Place:
    bucket = moto.fresh_bucket()
    settings = CloudSettings(
        "s3", bucket, endpoint=moto.endpoint_url, region=moto.region, access_key=moto.access_key,
        secret_key=moto.secret_key, conditions=True, if_match=True,
    )  # fmt: skip
    return Place(settings, moto.backdoor(bucket))


class TestOnMoto(CloudContract):
    @pytest.fixture
    def place(self, place: Place) -> Place:
        return place


def test_a_bucket_is_made_when_it_is_missing(moto: ObjectServer):
    name = moto.fresh_name()
    driver = CloudDriver(
        "pool",
        CloudSettings(
            "s3", name, endpoint=moto.endpoint_url, access_key=moto.access_key, secret_key=moto.secret_key,
            region="eu-west-1",
        ),
    )  # fmt: skip
    driver.prepare()
    driver.prepare()
    driver.mark("0a-first")
    assert moto.backdoor(name).names() == {".holdfast-pool"}
