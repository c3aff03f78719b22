"""`holdfast serve` as a process: it says when it answers, is alone on its state, ends gracefully, comes back."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.api.served import ALICE, make_hold
from tests.api.test_content import until
from tests.api.test_resuming import PIECE, announce, offset_of

from holdfast.catalog.accounts import Accounts

MIB = 1024 * 1024
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}


@dataclass
class Running:
    """A server process."""

    process: subprocess.Popen[bytes]
    url: str
    token: str

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"x-api-key": self.token}, timeout=30)

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def command(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "holdfast",
        "--config",
        str(folder / "holdfast.yml"),
        "serve",
        "--json",
        "--port",
        "0",
        *more,
    ]


@contextlib.contextmanager
def serving(folder: Path, *more: str) -> Iterator[Running]:
    """A server over the folder's document; killed if it is still there at the end."""
    with make_hold(folder) as hold:
        accounts = Accounts(hold.catalog.db, hold.clock, hold.entropy)
        if not accounts.has_any():
            accounts.create(ALICE)
        token = accounts.new_token(ALICE)
    log = open(folder / "log", "a+")  # noqa: SIM115 - closed below
    process = subprocess.Popen(command(folder, *more), stdout=subprocess.PIPE, stderr=log, env=ENVIRONMENT)
    try:
        yield Running(process, said_address(process), token)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        process.stdout.close()
        log.close()


def said_address(process: subprocess.Popen[bytes]) -> str:
    """The address that it says once it answers, in a JSON value of some lines."""
    text = b""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.1)[0]:
            block = os.read(process.stdout.fileno(), 65_536)
            assert block, "the server ended before it said where it is"
            text += block
            with contextlib.suppress(ValueError):
                return json.loads(text)["address"]
    raise AssertionError("the server did not say where it is")


def test_the_address_answers_as_soon_as_it_is_said(tmp_path: Path):
    with serving(tmp_path) as server:
        assert httpx.get(server.url + "/healthz").text == "ok\n"
        assert httpx.get(server.url + "/readyz").json()["ready"] is True
        with server.client() as client:
            assert client.post("/api/datasets?name=a", content=b"x").status_code == 201
        assert server.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_second_server_on_the_same_state_is_refused(tmp_path: Path):
    with serving(tmp_path) as server:
        second = subprocess.run(
            command(tmp_path), capture_output=True, text=True, env=ENVIRONMENT, timeout=30, check=False
        )
        assert second.returncode == 8
        said = second.stdout + second.stderr
        assert str(tmp_path / "state") in said
        assert f"process {server.process.pid}, {server.url}" in said
        assert "Traceback" not in said
        # the first one has not noticed
        assert httpx.get(server.url + "/healthz").status_code == 200
        server.stop(signal.SIGKILL)
    # a dead server holds nothing
    with serving(tmp_path) as again:
        assert httpx.get(again.url + "/healthz").status_code == 200


def test_a_taken_port_is_said_to_be_taken(tmp_path: Path):
    with serving(tmp_path) as server:
        (tmp_path / "b").mkdir()
        make_hold(tmp_path / "b").close()
        port = server.url.rpartition(":")[2]
        second = subprocess.run(
            [*command(tmp_path / "b"), "--port", port],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=30,
            check=False,
        )
    assert second.returncode == 8
    assert f"port {port}" in second.stdout + second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_finished_first(tmp_path: Path, number: int):
    with serving(tmp_path) as server:
        with server.client() as client:
            pieces = slow_pieces(server, number)
            answer = client.post("/api/datasets?name=slow", content=pieces)
            assert answer.status_code == 201
            assert answer.json()["size_bytes"] == 10 * 1000
        code = server.process.wait(20)
        assert code == (0 if number == signal.SIGTERM else 130)
    assert "Traceback" not in (tmp_path / "log").read_text()


def slow_pieces(server: Running, number: int) -> Iterator[bytes]:
    for at in range(10):
        if at == 3:
            server.process.send_signal(number)
        time.sleep(0.1)
        yield bytes(1000)


def test_endless_answers_do_not_hold_it_up(tmp_path: Path):
    with serving(tmp_path) as server, server.client() as client:
        with client.stream("GET", "/api/events") as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines()
            next(lines)
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            for _ in lines:
                pass
        assert server.process.wait(20) == 0
        assert time.monotonic() - begin < 5


def test_killed_in_the_middle_of_an_upload_it_goes_on_where_it_was(tmp_path: Path):
    content = os.urandom(20 * MIB)
    with serving(tmp_path) as server, server.client() as client:
        upload = announce(client, len(content))
        with contextlib.suppress(httpx.HTTPError):
            client.patch(upload, headers={**PIECE, "Upload-Offset": "0"}, content=killing(server, content))
        assert server.process.wait(10) == -signal.SIGKILL
    with serving(tmp_path) as server, server.client() as client:
        at = offset_of(client, upload)
        assert 0 < at <= len(content)
        answer = client.patch(upload, headers={**PIECE, "Upload-Offset": str(at)}, content=content[at:])
        assert answer.status_code == 204
        made = answer.headers["holdfast-dataset"]
        assert client.get(f"/api/datasets/{made}/content").content == content


def killing(server: Running, content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), MIB):
        yield content[at : at + MIB]
        if at == 12 * MIB:
            time.sleep(0.2)
            server.process.kill()


def test_killed_in_the_middle_of_a_put_nothing_is_left_behind(tmp_path: Path):
    with serving(tmp_path) as server, server.client() as client:
        kept = client.post("/api/datasets?name=kept", content=b"kept").json()
        with contextlib.suppress(httpx.HTTPError):
            client.post("/api/datasets?name=x", content=killing(server, os.urandom(20 * MIB)))
        assert server.process.wait(10) == -signal.SIGKILL
    with serving(tmp_path) as server, server.client() as client:
        assert until(lambda: [one["id"] for one in client.get("/api/datasets").json()] == [kept["id"]])
        assert until(lambda: {pool["reserved_bytes"] for pool in client.get("/api/pools").json()} == {0})
        assert client.get(f"/api/datasets/{kept['id']}/content").content == b"kept"


def test_several_processes(tmp_path: Path):
    with serving(tmp_path, "--workers", "3") as server:
        assert until(lambda: len(server.children()) >= 3)
        with server.client() as client:
            made = [client.post(f"/api/datasets?name=n{at}", content=b"x" * at).json()["id"] for at in range(20)]
            assert len(set(made)) == 20
            listed = client.get("/api/datasets").json()
            assert sorted(one["id"] for one in listed) == sorted(made)
            # numbers are added up, whichever process is asked
            seen = client.get("/metrics").text
            head = 'holdfast_requests_total{method="POST",route="/api/datasets",status="201"} '
            assert [line.removeprefix(head) for line in seen.splitlines() if line.startswith(head)] == ["20.0"]
        # an upload may go on in another process
        content = os.urandom(3 * MIB)
        with server.client() as client:
            upload = announce(client, len(content))
        at = 0
        for size in [100_000] * 20 + [len(content)]:
            with server.client() as client:  # a connection of its own: perhaps to another process
                piece = content[at : at + size]
                answer = client.patch(upload, headers={**PIECE, "Upload-Offset": str(at)}, content=piece)
                assert answer.status_code == 204, answer.text
                at += len(piece)
        with server.client() as client:
            assert client.get(f"/api/datasets/{answer.headers['holdfast-dataset']}/content").content == content
        assert server.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_process_that_dies_is_started_again(tmp_path: Path):
    with serving(tmp_path, "--workers", "2") as server:
        before = set(server.children())
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: len(set(server.children()) - before) >= 2, 15)
        with server.client() as client:
            assert until(lambda: answers(client), 15)
        children = server.children()
        assert server.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_processes_end_with_the_one_that_watches_them(tmp_path: Path):
    with serving(tmp_path, "--workers", "2") as server:
        children = server.children()
        assert len(children) >= 2
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 15)
        # neither the state directory nor the port is held
        with serving(tmp_path) as again, again.client() as client:
            assert answers(client)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/whoami").status_code == 200
    except httpx.HTTPError:
        return False
