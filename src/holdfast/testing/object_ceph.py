"""Ceph's radosgw for tests: one monitor, one OSD in a sparse file, one gateway, all on loopback, as any user.

The store of the tests that is nearest to what laboratories run: it checks signatures, and creates a name only once
however many try. Made anew for each start, so nothing of an earlier one is in it.

Not for anything that must last: its disk is gone with it.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.testing.daemons import START_LIMIT_S, ServerFailed, await_ready, spawn, stop, temporary_folder
from holdfast.testing.here import program
from holdfast.testing.object_servers import CEPH_PACKAGES, ObjectServer, answers
from holdfast.testing.servers import free_port

DISK_BYTES = 16 * 2**30  # of a sparse file


@contextlib.contextmanager
def rgw() -> Iterator[ObjectServer]:
    """A gateway with one user, for as long as the block lasts. Ready within some three seconds."""
    programs = {name: str(program(name, package=package)) for name, package in CEPH_PACKAGES.items()}
    with temporary_folder("holdfast-rgw-") as folder, contextlib.ExitStack() as stack:
        cluster = _Cluster(folder, programs, stack, access_key=secrets.token_hex(10), secret_key=secrets.token_hex(20))
        yield cluster.start()


@dataclass(frozen=True, slots=True)
class _Cluster:
    folder: Path
    programs: dict[str, str]
    stack: contextlib.ExitStack
    access_key: str
    secret_key: str

    def start(self) -> ObjectServer:
        monitor_port, old_monitor_port, port = free_port(), free_port(), free_port()
        monitors = f"[v2:127.0.0.1:{monitor_port},v1:127.0.0.1:{old_monitor_port}]"
        identity = _uuid()
        (self.folder / "ceph.conf").write_text(
            _CONF.format(folder=self.folder, identity=identity, monitors=monitors, disk_bytes=DISK_BYTES)
        )
        self._monitor(identity, monitors, old_monitor_port)
        self._disk()
        self._run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test",
                  f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")  # fmt: skip
        frontend = f"beast endpoint=127.0.0.1:{port} tcp_nodelay=1"
        gateway = self._spawn("radosgw", "-f", "-n", "client.rgw", "--rgw_frontends", frontend)
        await_ready(gateway, self.folder / "radosgw", lambda: answers(port))
        return ObjectServer(
            name="rgw",
            protocol="s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            access_key=self.access_key,
            secret_key=self.secret_key,
            region="us-east-1",
            process_id=gateway.pid,
            folder=self.folder,
        )

    def _monitor(self, identity: str, monitors: str, port: int) -> None:
        monitor_map = str(self.folder / "monmap")
        maker = str(Path(self.programs["ceph-mon"]).with_name("monmaptool"))
        self._succeed([maker, "--create", "--fsid", identity, "--addv", "a", monitors, monitor_map])
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitor_map)
        monitor = self._spawn("ceph-mon", "-f", "-i", "a")
        await_ready(monitor, self.folder / "ceph-mon", lambda: answers(port))

    def _disk(self) -> None:
        identity = _uuid()
        (self.folder / "osd").mkdir()
        self._run("ceph", "osd", "new", identity, "0")
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", identity)
        disk = self._spawn("ceph-osd", "-f", "-i", "0")
        log = self.folder / "ceph-osd" / "log"
        await_ready(disk, log.parent, lambda: b"booting -> active" in log.read_bytes())

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        process = spawn([*self._command(name), *arguments], folder, None, orphaned="KILL")
        self.stack.callback(stop, process, signal.SIGKILL)  # nothing in it is worth a goodbye
        return process

    def _run(self, name: str, *arguments: str) -> None:
        self._succeed([*self._command(name), *arguments])

    def _command(self, name: str) -> list[str]:
        return [self.programs[name], "-c", str(self.folder / "ceph.conf")]

    def _succeed(self, command: list[str]) -> None:
        made = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=self.folder, check=False, timeout=START_LIMIT_S
        )
        if made.returncode != 0:
            raise ServerFailed(f"{' '.join(command)} ended with {made.returncode}:\n{made.stderr.decode()[-4000:]}")


def _uuid() -> str:
    return Path("/proc/sys/kernel/random/uuid").read_text().strip()


_CONF = """\
[global]
fsid = {identity}
mon host = {monitors}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms bind ipv4 = true
run dir = {folder}
admin socket =
log file =
log to stderr = true
err to stderr = true
pid file =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pg autoscale mode = off
mon max pg per osd = 2000
mon allow pool size one = true
osd crush chooseleaf type = 0
mon data avail crit = 1
mon data avail warn = 2
mon osd full ratio = .97
mon osd backfillfull ratio = .96
mon osd nearfull ratio = .95
auth allow insecure global id reclaim = false
paxos propose interval = 0.02
paxos min wait = 0.01
[mon]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = {disk_bytes}
bdev aio poll ms = 10
bluestore fsck on mkfs = false
bluestore fsck on mount = false
osd memory target = 939524096
osd memory cache min = 67108864
[client.rgw]
rgw data = {folder}/rgw
# without cephx the gateway waits for ever on a secure connection to the monitor
ms mon client mode = crc secure
rgw enable usage log = false
rgw gc obj min wait = 60
rgw crypt require ssl = false
"""
