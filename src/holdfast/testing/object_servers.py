"""Real object stores for tests: Ceph's radosgw, LocalStack, Swift, moto, rclone and Azurite.

    with running("moto", installed) as server:
        bucket = server.fresh_bucket()
        server.backdoor(bucket).write("000/dataset_24.dat", b"ACGT")

Each has a temporary folder and a free loopback port of its own, is stopped by its process id, and dies with the thread
that started it. `object_sharing` starts one for all processes of a test run. What each of them gets wrong is pinned in
tests/servers/test_object_servers.py.

Ceph is taken from the distribution's packages, the others from `installed`, the folder that
tools/setup_test_servers.sh fills. What is missing raises `CannotRunHere` with what to install.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.testing.here import CannotRunHere, program
from holdfast.testing.object_backdoors import AzureBucket, S3Bucket

NAMES = ("rgw", "localstack", "swift", "moto", "rclone", "azurite")
FOLDER = ".servers"  # of a checkout: where tools/setup_test_servers.sh puts them
CEPH_PACKAGES = {
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
    "ceph": "ceph-common",
}


@dataclass(frozen=True, slots=True)
class ObjectServer:
    """An object store that runs, and how to get in.

    Of Azurite, `access_key` is the account and `secret_key` the account's key; its buckets are containers.
    """

    name: str
    protocol: Literal["s3", "azure"]
    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    process_id: int
    folder: Path

    def fresh_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = self.fresh_name()
        self.backdoor(name).make()
        return name

    def fresh_name(self) -> str:
        """A bucket's name that nobody has; the bucket is not there."""
        return f"holdfast-{secrets.token_hex(6)}"

    def backdoor(self, bucket: str) -> S3Bucket | AzureBucket:
        """The way past Holdfast into that bucket, which need not be there."""
        way_in = AzureBucket if self.protocol == "azure" else S3Bucket
        return way_in.at(self.endpoint_url, self.access_key, self.secret_key, self.region, bucket)


@contextlib.contextmanager
def running(name: str, installed: Path) -> Iterator[ObjectServer]:
    """The server of that name, for as long as the block lasts; each takes a second or three."""
    if (reason := missing(name, installed)) is not None:
        raise CannotRunHere(reason)
    from holdfast.testing import object_ceph, object_emulators, object_swift

    place = installed.absolute() / name  # a server has a working folder of its own
    start: contextlib.AbstractContextManager[ObjectServer]
    if name == "rgw":
        start = object_ceph.rgw()
    elif name == "swift":
        start = object_swift.swift(place)
    else:
        start = object_emulators.EMULATORS[name](place)
    with start as server:
        yield server


def missing(name: str, installed: Path) -> str | None:
    """What has to be installed before this server can run, or None."""
    if name not in NAMES:
        raise ValueError(f"there is no server {name!r}; there are: {', '.join(NAMES)}")
    if name != "rgw":
        there = (installed / name / "installed").exists()
        return None if there else f"{name} is not installed below {installed}: tools/setup_test_servers.sh"
    try:
        for binary, package in CEPH_PACKAGES.items():
            program(binary, package=package)
    except CannotRunHere as reason:
        return str(reason)
    return None


def answers(port: int) -> bool:
    """Whether somebody takes connections on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
