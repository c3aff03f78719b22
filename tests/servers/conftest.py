"""Object stores that run: one of each for a whole test run, whatever the number of its processes, once it is asked for.

A test that takes one says so: `@pytest.mark.needs("rgw")`. Each fixture is an `ObjectServer`: where it is, how to get
in, `fresh_bucket()`, and `backdoor(bucket)` for looking past Holdfast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.drivers.cloud import CloudSettings
from holdfast.testing import object_servers
from holdfast.testing.cloud_contract import Place
from holdfast.testing.here import CannotRunHere
from holdfast.testing.object_servers import ObjectServer
from holdfast.testing.object_sharing import shared


@pytest.fixture(scope="session")
def object_server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], ObjectServer]]:
    """`object_server("rgw")`: the run's server of that name."""
    installed = pytestconfig.rootpath / object_servers.FOLDER
    own: Path = tmp_path_factory.getbasetemp()
    run_folder = (own.parent if hasattr(pytestconfig, "workerinput") else own) / "object-servers"
    known: dict[str, ObjectServer] = {}
    with contextlib.ExitStack() as stack:

        def of(name: str) -> ObjectServer:
            if name not in known:
                try:
                    known[name] = stack.enter_context(shared(name, installed, run_folder))
                except CannotRunHere as reason:
                    pytest.skip(str(reason))
            return known[name]

        yield of


@pytest.fixture(scope="session")
def rgw(object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    """Ceph's gateway: checks signatures, creates atomically; no checksums, conditions only on puts in one part."""
    return object_server("rgw")


@pytest.fixture(scope="session")
def localstack(object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    """LocalStack: checksums and conditions as in Amazon's S3; takes any credentials."""
    return object_server("localstack")


@pytest.fixture(scope="session")
def swift(object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    """OpenStack Swift's S3 API: creating a name only if it is absent is not atomic."""
    return object_server("swift")


@pytest.fixture(scope="session")
def moto(object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    """moto: in memory, checks neither signatures nor digests."""
    return object_server("moto")


@pytest.fixture(scope="session")
def rclone(object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    """rclone: ignores every condition."""
    return object_server("rclone")


@pytest.fixture(scope="session")
def azurite(object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    """Azurite: Azure's blobs."""
    return object_server("azurite")


@pytest.fixture
def place_on() -> Callable[..., Place]:
    """`place_on(rgw, conditions=True)`: a new bucket there, and what the cloud driver is told about it."""

    def place(server: ObjectServer, **told: bool | None) -> Place:
        bucket = server.fresh_bucket()
        if server.protocol == "azure":
            keys = {"account_name": server.access_key, "account_key": server.secret_key}
            settings = CloudSettings("azure", bucket, endpoint=server.endpoint_url, **keys, **told)
        else:
            keys = {"access_key": server.access_key, "secret_key": server.secret_key, "region": server.region}
            settings = CloudSettings("s3", bucket, endpoint=server.endpoint_url, **keys, **told)
        return Place(settings, server.backdoor(bucket))

    return place
