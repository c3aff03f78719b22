"""The kit's nginx: real, with the caller's configuration, gone afterwards."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from holdfast.testing import servers
from holdfast.testing.daemons import ServerFailed
from holdfast.testing.servers import Server, free_port

pytestmark = pytest.mark.needs("nginx")


def test_it_serves_ranges_of_a_file_that_only_the_caller_may_read(nginx: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "reads.fastq").write_bytes(b"ACGTACGT")
    (tmp_path / "reads.fastq").chmod(0o600)
    port = free_port()
    server = nginx(f"server {{ listen 127.0.0.1:{port}; root {tmp_path}; }}", port=port)
    answer = httpx.get(f"{server.url}/reads.fastq", headers={"Range": "bytes=2-3"})
    assert (answer.status_code, answer.content) == (206, b"GT")


def test_it_takes_uploads_by_webdav(nginx: Callable[..., Server], tmp_path: Path) -> None:
    port = free_port()
    put = "location / { dav_methods PUT; client_max_body_size 0; }"
    server = nginx(f"server {{ listen 127.0.0.1:{port}; root {tmp_path}; {put} }}", port=port)
    assert httpx.put(f"{server.url}/new", content=b"x" * 100_000).status_code == 201
    assert (tmp_path / "new").read_bytes() == b"x" * 100_000


def test_a_mistake_in_the_configuration_is_told() -> None:
    with pytest.raises(ServerFailed, match="unknown directive"), servers.nginx("sarver {}", port=free_port()):
        raise AssertionError("started with a wrong configuration")


def test_it_is_gone_after_its_block(tmp_path: Path) -> None:
    port = free_port()
    with servers.nginx(f"server {{ listen 127.0.0.1:{port}; root {tmp_path}; }}", port=port) as server:
        folder = server.folder
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        raise AssertionError("somebody still listens")


def test_free_ports_are_free_and_differ() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 10
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
