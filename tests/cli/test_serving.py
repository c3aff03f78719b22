"""serve, worker, serve --demo: started as users start them, asked over HTTP, stopped by signals."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.lab import ENVIRONMENT, Lab

import holdfast
from holdfast.cli.commands.accounts import accounts_of

START_S = 60.0
ADMIN = "admin@example.org"


class Running:
    """A server that answers. `told` is what it printed about itself."""

    def __init__(self, child: subprocess.Popen[bytes], told: dict[str, Any]) -> None:
        self.child, self.told = child, told

    def get(self, path: str, token: str | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.told["address"] + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()

    def post(self, path: str, body: bytes, token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(self.told["address"] + path, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def end(self, number: int = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        return self.child.wait(timeout=60)


@contextlib.contextmanager
def running(lab: Lab, *arguments: str | Path) -> Iterator[Running]:
    """`holdfast ARGUMENTS --json`, from its first answer on."""
    log = (lab.home / "server.log").open("wb")
    child = subprocess.Popen(
        lab.command(*arguments, "--json"), cwd=lab.home, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=log
    )
    try:
        lines = []
        for line in child.stdout:
            lines.append(line)
            if line == b"}\n":
                break
        assert lines, (lab.home / "server.log").read_text()
        yield Running(child, json.loads(b"".join(lines)))
    finally:
        if child.poll() is None:
            child.kill()
        child.stdout.close()
        child.wait(timeout=60)
        log.close()


def test_serve_answers_and_ends_with_sigterm(lab: Lab):
    with running(lab, "serve", "--port", "0") as server:
        assert server.get("/healthz")[0] == 200
        assert server.end() == 0
        assert "Traceback" not in (lab.home / "server.log").read_text()


def test_serve_shares_its_catalog_with_the_command_line(lab: Lab):
    lab.json("user", "add", ADMIN, "--admin")
    token = lab.json("token", "new", ADMIN)["token"]
    with running(lab, "serve", "--port", "0") as server:
        shape = server.post("/api/datasets?name=up.txt", b"uploaded", token)
        assert lab.json("show", str(shape["id"]))["full_path"] == str(lab.home / "data2/000/dataset_1.dat")
        lab.put("down.txt", b"put", "--user", ADMIN)
        assert server.get("/api/datasets/2/content", token)[1] == b"put"
        assert server.end(signal.SIGINT) == 130


def test_serve_runs_jobs_that_were_detached(lab: Lab):
    lab.put("numbers.txt", "2\n1\n")
    assert (
        lab.call(
            "run", "--detach", "--input", "1", "--output", "sorted", "--", "sort", "-o", "{output:sorted}", "{input1}"
        ).out
        == "1\n"
    )
    with running(lab, "serve", "--port", "0") as server:
        until = time.monotonic() + 60
        while lab.json("job", "show", "1")["state"] in ("queued", "running"):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert lab.json("job", "show", "1")["state"] == "ok"
        assert lab.stored()["data2/000/dataset_2.dat"] == b"1\n2\n"
        assert server.end() == 0


def test_serve_with_several_processes(lab: Lab):
    with running(lab, "serve", "--port", "0", "--workers", "2") as server:
        assert server.get("/healthz")[0] == 200
        assert server.end() == 0


def test_two_servers_on_one_state_directory(lab: Lab):
    with running(lab, "serve", "--port", "0") as server:
        second = lab.program("serve", "--port", "0")
        assert second.code == 8
        assert "another server" in second.err
        assert "Traceback" not in second.err
        assert server.end() == 0


def test_serve_on_a_port_that_is_taken(lab: Lab):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = lab.program("serve", "--port", str(taken.getsockname()[1]))
    assert answer.code == 8
    assert "--port" in answer.err


def test_a_newcomer_is_told_how_to_sign_in(lab: Lab):
    child = subprocess.Popen(
        lab.command("serve", "--port", "0"), cwd=lab.home, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with child:
        assert child.stdout.readline().startswith(b"Holdfast serves at http://127.0.0.1:")
        assert b"holdfast user add EMAIL --admin" in child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 0


def test_worker_on_sqlite_says_what_it_needs(lab: Lab):
    answer = lab.program("worker")
    assert (answer.code, answer.out) == (2, "")
    assert "PostgreSQL" in answer.err


@pytest.mark.needs("postgres")
def test_a_worker_on_postgresql_runs_what_others_queue(lab: Lab, postgres_url: str):
    document = lab.home / "holdfast.yml"
    document.write_text(document.read_text() + f"catalog: {postgres_url}\n")
    lab.call("run", "--detach", "--output", "made", "--", "sh", "-c", "echo made > {output:made}")
    with running(lab, "worker") as worker:
        until = time.monotonic() + 60
        while lab.json("job", "show", "1")["state"] in ("queued", "running"):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert lab.json("job", "show", "1")["state"] == "ok"
        assert worker.end() == 0
    assert lab.stored() == {"data2/000/dataset_1.dat": b"made\n"}


# -- the demonstration --------------------------------------------------------------------------------------


@pytest.fixture
def empty(lab: Lab) -> Lab:
    (lab.home / "holdfast.yml").unlink()
    return lab


def demo_hold(lab: Lab):
    folder = lab.home / "holdfast-demo"
    return holdfast.open(folder / "holdfast.yml", state=folder / "state")


def test_demo_is_the_tutorial_in_its_own_folder(empty: Lab):
    with running(empty, "serve", "--demo", "--port", "0") as server:
        told = server.told
        assert server.get("/healthz")[0] == 200
        assert {path.name for path in empty.home.iterdir()} == {"holdfast-demo", "server.log"}
        with demo_hold(empty) as hold:
            assert accounts_of(hold).check_password(told["email"], told["password"]).is_admin
            token = accounts_of(hold).new_token(told["email"])
            assert accounts_of(hold).redeem(told["link"].rpartition("/")[2]).email == ADMIN
        datasets = json.loads(server.get("/api/datasets", token)[1])
        paths = {shape["name"]: shape["full_path"] for shape in datasets}
        folder = empty.home / "holdfast-demo"
        assert paths.pop("sample_sheet_2021.csv") == f"{folder}/data/000/dataset_1.dat"
        assert len(paths) == 4
        assert all(path.startswith(f"{folder}/data2/000/dataset_") for path in paths.values())
        uploaded = server.post("/api/datasets?name=new.txt", b"new", token)
        assert uploaded["full_path"].startswith(f"{folder}/data2/")
        assert server.end() == 0
    assert (empty.home / "holdfast-demo/login.txt").stat().st_mode & 0o777 == 0o600
    config = empty.json("config", "show", "--config", folder / "holdfast.yml")
    assert list(config["pools"]) == ["newdata", "olddata"]
    assert "hierarchical" in config["placement"]


def test_demo_goes_on_with_what_is_there(empty: Lab):
    with running(empty, "serve", "--demo", "--port", "0") as server:
        first = server.told
        with demo_hold(empty) as hold:
            hold.put(b"mine", name="mine.txt", owner=ADMIN)
        assert server.end() == 0
    with running(empty, "serve", "--demo", "--port", "0") as server:
        second = server.told
        assert (second["email"], second["password"]) == (first["email"], first["password"])
        assert second["link"].rpartition("/")[2] != first["link"].rpartition("/")[2]
        with demo_hold(empty) as hold:
            assert sorted(dataset.id for dataset in hold.datasets()) == [1, 2, 3, 4, 5, 6]
            accounts_of(hold).set_password(ADMIN, "another password")
        assert server.end() == 0
    with running(empty, "serve", "--demo", "--port", "0") as server:
        assert server.told["password"] is None
        with demo_hold(empty) as hold:
            assert accounts_of(hold).check_password(ADMIN, "another password") is not None
        assert server.end() == 0


def test_demo_killed_while_it_was_made_is_finished_by_the_next_start(empty: Lab):
    for wait_s in (0.3, 0.8, 1.2):
        child = subprocess.Popen(
            empty.command("serve", "--demo", "--port", "0"), cwd=empty.home, env=ENVIRONMENT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(wait_s)
        child.kill()
        child.wait(timeout=60)
    with running(empty, "serve", "--demo", "--port", "0") as server:
        with demo_hold(empty) as hold:
            assert len(hold.datasets()) == 5
            assert hold.find(1).name == "sample_sheet_2021.csv"
            assert accounts_of(hold).check_password(ADMIN, server.told["password"]) is not None
        assert server.end() == 0


def test_demo_takes_another_port_when_8080_is_taken(empty: Lab):
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        child = subprocess.Popen(
            empty.command("serve", "--demo"), cwd=empty.home, env=ENVIRONMENT, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with child:
            assert child.stdout.readline() == b"Port 8080 is taken; this is another one.\n"
            address = child.stdout.readline().split()[-1].decode()
            assert not address.endswith(":8080")
            with urllib.request.urlopen(address + "/healthz", timeout=30) as answer:
                assert answer.status == 200
            child.send_signal(signal.SIGTERM)
            assert child.wait(timeout=60) == 0


def test_demo_refuses_another_document(empty: Lab):
    answer = empty.program("serve", "--demo", "--config", "mine.yml")
    assert answer.code == 2
    assert "--demo-dir" in answer.err
    assert not (empty.home / "holdfast-demo").exists()
