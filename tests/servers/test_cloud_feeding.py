"""A body may itself be read from a bucket, however large: nothing asks obstore where obstore is at work."""

from __future__ import annotations

import os

import pytest
from blake3 import blake3

from holdfast.blobs import BytesBody, PutOptions, StreamBody
from holdfast.drivers.cloud import CloudDriver, CloudSettings
from holdfast.errors import AlreadyExists
from holdfast.keys import Key
from holdfast.testing.object_servers import ObjectServer

SIZE_BYTES = 40 * 1024 * 1024
SOURCE, TARGET = Key("000/dataset_1.dat"), Key("000/dataset_2.dat")


def driver_on(server: ObjectServer, name: str) -> CloudDriver:
    settings = CloudSettings(
        service="s3", bucket=server.fresh_bucket(), endpoint=server.endpoint_url, region=server.region,
        access_key=server.access_key, secret_key=server.secret_key,
    )  # fmt: skip
    return CloudDriver(name, settings)


@pytest.mark.needs("moto")
@pytest.mark.parametrize("size_known", [True, False])
def test_from_bucket_to_bucket_in_parts(moto: ObjectServer, size_known: bool):
    here, there = driver_on(moto, "here"), driver_on(moto, "there")
    content = os.urandom(SIZE_BYTES)
    here.put(SOURCE, BytesBody(content))
    with here.open(SOURCE) as reader:
        body = StreamBody(reader, SIZE_BYTES if size_known else None)  # type: ignore[arg-type]
        stat = there.put(TARGET, body, PutOptions(if_absent=True))
    assert stat.checksum == f"blake3:{blake3(content).hexdigest()}"
    assert moto.backdoor(there.settings.bucket).read(TARGET) == content
    with here.open(SOURCE) as reader, pytest.raises(AlreadyExists):
        there.put(TARGET, StreamBody(reader, SIZE_BYTES), PutOptions(if_absent=True))  # type: ignore[arg-type]
    here.close()
    there.close()
