"""OpenStack Swift for tests: proxy, account, container and object server on one folder, with its S3 API.

The store of the tests that is eventually consistent: of many who create a name only if it is absent, several may be
told that they did. Also speaks Swift's own API, at `/auth/v1.0` and `/v1`.
"""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from holdfast.testing import object_swift_inside
from holdfast.testing.daemons import START_LIMIT_S, ServerFailed, await_ready, spawn, stop, temporary_folder
from holdfast.testing.object_servers import ObjectServer, answers
from holdfast.testing.servers import free_port

ACCOUNT, USER = "test", "tester"
_ROOMS = ("account", "container", "object")
_START_ATTEMPTS = 3


@contextlib.contextmanager
def swift(environment: Path) -> Iterator[ObjectServer]:
    """Swift with one account and one copy of each object, for as long as the block lasts."""
    key = secrets.token_hex(20)
    with temporary_folder("holdfast-swift-") as folder:
        for attempt in range(1, _START_ATTEMPTS + 1):
            ports = {name: free_port() for name in (*_ROOMS, "proxy")}
            _configure(folder, ports, key)
            _make_rings(environment, folder, ports)
            command = [str(environment / "bin/python"), object_swift_inside.__file__, str(folder)]
            process = spawn(command, folder, None, orphaned="KILL")
            try:
                await_ready(process, folder, lambda ports=ports: all(map(answers, ports.values())))  # type: ignore[misc]
                break
            except ServerFailed:
                if attempt == _START_ATTEMPTS:
                    raise
        else:
            raise AssertionError("unreachable: the last attempt raises")
        try:
            yield ObjectServer(
                name="swift",
                protocol="s3",
                endpoint_url=f"http://127.0.0.1:{ports['proxy']}",
                access_key=f"{ACCOUNT}:{USER}",
                secret_key=key,
                region="us-east-1",
                process_id=process.pid,
                folder=folder,
            )
        finally:
            stop(process, signal.SIGKILL)  # its children go with it


def _configure(folder: Path, ports: Mapping[str, int], key: str) -> None:
    etc = folder / "etc"
    for place in (etc, folder / "devices" / "d1", folder / "recon"):
        place.mkdir(parents=True, exist_ok=True)
    facts = {"folder": str(folder), "account": pwd.getpwuid(os.geteuid()).pw_name}
    (etc / "swift.conf").write_text(_SWIFT_CONF)
    for room in _ROOMS:
        (etc / f"{room}-server.conf").write_text(_ROOM_CONF.format(room=room, port=ports[room], **facts))
    facts["fernet_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    users = f"user_{ACCOUNT}_{USER} = {key} .admin"
    (etc / "proxy-server.conf").write_text(_PROXY_CONF.format(port=ports["proxy"], users=users, **facts))


def _make_rings(environment: Path, folder: Path, ports: Mapping[str, int]) -> None:
    """Where each account, container and object belongs: on the one device."""
    words = [f"{room}={ports[room]}" for room in _ROOMS]
    command = [str(environment / "bin/python"), "-c", _RINGS, str(folder / "etc"), *words]
    made = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, cwd=folder, check=False, timeout=START_LIMIT_S
    )
    if made.returncode != 0:
        raise ServerFailed(f"Swift's rings could not be made:\n{made.stderr.decode()[-4000:]}")


_RINGS = """\
import sys
from swift.common.ring import RingBuilder
for word in sys.argv[2:]:
    room, port = word.split("=")
    builder = RingBuilder(4, 1, 0)
    place = dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="d1", weight=1)
    builder.add_dev(dict(place, replication_ip="127.0.0.1", replication_port=int(port), meta=""))
    builder.rebalance(seed=1)
    builder.get_ring().save(f"{sys.argv[1]}/{room}.ring.gz")
"""

_SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = holdfast
swift_hash_path_suffix = holdfast
[storage-policy:0]
name = gold
default = yes
"""

_ROOM_CONF = """\
[DEFAULT]
swift_dir = {folder}/etc
devices = {folder}/devices
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
user = {account}
workers = 0
log_level = WARNING
log_address = /nonexistent
fallocate_reserve = 0
db_preallocation = off
[pipeline:main]
pipeline = healthcheck {room}-server
[app:{room}-server]
use = egg:swift#{room}
[filter:healthcheck]
use = egg:swift#healthcheck
[{room}-replicator]
[{room}-updater]
[{room}-auditor]
recon_cache_path = {folder}/recon
"""

_PROXY_CONF = """\
[DEFAULT]
swift_dir = {folder}/etc
bind_ip = 127.0.0.1
bind_port = {port}
user = {account}
workers = 0
log_level = WARNING
log_address = /nonexistent
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck remember listing_formats bulk tempurl s3api tempauth copy slo
  dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
node_timeout = 30
[filter:tempauth]
use = egg:swift#tempauth
# tokens that carry what they are good for
fernet_key_tests = {fernet_key}
active_fernet_key_id = tests
{users}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
dns_compliant_bucket_names = true
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
[filter:tempurl]
use = egg:swift#tempurl
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:remember]
paste.filter_factory = object_swift_inside:remember
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
"""
