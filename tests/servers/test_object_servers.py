"""The kit's object servers: real, shared by a test run, gone afterwards; and what each of them does with what S3 and
Azure promise.

The table pins what Holdfast's driver has to live with. Where a newer server does better, its line here is what changes.
"""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing import object_servers
from holdfast.testing.object_servers import NAMES, ObjectServer

INSTALLED = Path(__file__).resolve().parents[2] / object_servers.FOLDER
S3_NAMES = tuple(name for name in NAMES if name != "azurite")
PART_BYTES = 5 * 2**20
WRITERS = 12
ROUNDS = 8


def each(names: tuple[str, ...]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.needs(name)) for name in names]


@pytest.fixture
def server(request: pytest.FixtureRequest, object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    return object_server(request.param)


# -- what all of them do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", each(NAMES), indirect=True)
def test_what_is_put_is_there_and_listed(server: ObjectServer) -> None:
    bucket = server.backdoor(server.fresh_bucket())
    assert bucket.names() == set()
    assert bucket.read("000/dataset_24.dat") is None
    bucket.write("000/dataset_24.dat", b"ACGT")
    bucket.write("000/dataset_25.dat", b"")
    bucket.write("000/dataset_24.dat", b"ACGTACGT")
    assert bucket.read("000/dataset_24.dat") == b"ACGTACGT"
    assert bucket.read("000/dataset_25.dat") == b""
    assert bucket.names() == {"000/dataset_24.dat", "000/dataset_25.dat"}
    bucket.remove("000/dataset_24.dat")
    assert bucket.read("000/dataset_24.dat") is None
    assert bucket.names() == {"000/dataset_25.dat"}


@pytest.mark.parametrize("server", each(NAMES), indirect=True)
def test_a_fresh_bucket_is_the_tests_own(server: ObjectServer) -> None:
    first, second = server.fresh_bucket(), server.fresh_bucket()
    server.backdoor(first).write("name", b"x")
    assert first != second
    assert server.backdoor(second).names() == set()


@pytest.mark.parametrize("server", each(NAMES), indirect=True)
def test_it_listens_on_loopback_only(server: ObjectServer) -> None:
    port = urllib.parse.urlsplit(server.endpoint_url).port
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    places = {line[1] for line in listening if line[3] == "0A" and line[1].endswith(f":{port:04X}")}
    assert places == {f"0100007F:{port:04X}"}
