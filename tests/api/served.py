"""A real server for tests: the application on a socket of its own, in this process, over a fresh hold."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from holdfast.catalog.accounts import Accounts
from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.hold.hold import Hold
from holdfast.server.app import HoldfastApp, create_app
from holdfast.server.serve import listen, uvicorn_config
from holdfast.server.settings import ServerSettings

ADMIN, ALICE, BOB = "admin@example.org", "alice@example.org", "bob@example.org"
PASSWORD = "correct horse battery"


def make_hold(folder: Path, *, pools: Sequence[str] = ("newdata", "olddata"), more: str = "", pool: str = "") -> Hold:
    """A hold over disk pools below `folder`. `pool`: keys for each pool, `more`: lines of the document."""
    lines = ["state_dir: " + str(folder / "state"), "placement: hierarchical", "pools:"]
    for at, name in enumerate(pools):
        (folder / name).mkdir(exist_ok=True)
        lines.append(f"  {name}: {{type: disk, files_dir: {folder / name}, order: {at}{pool}}}")
    document = folder / "holdfast.yml"
    document.write_text("\n".join(lines) + "\n" + more)
    return open_hold(read_document(document, environ={}))


@dataclass
class Served:
    """The server, its hold, and who may talk to it."""

    url: str
    hold: Hold
    accounts: Accounts
    app: HoldfastApp
    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, email: str | None = ALICE, **more: Any) -> httpx.Client:
        """A client with somebody's token; None: a stranger."""
        if email is not None and "headers" not in more:
            more["headers"] = {"Authorization": f"Bearer {self.token(email)}"}
        return httpx.Client(base_url=self.url, timeout=30, **more)

    def token(self, email: str) -> str:
        if email not in self.tokens:
            self.tokens[email] = self.accounts.new_token(email)
        return self.tokens[email]

    def connect(self) -> socket.socket:
        """A bare connection, for what no client would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, head: str, body: bytes = b"", *, slow_reader: bool = False) -> socket.socket:
        """A connection on which alice has sent a request: its line and headers, her token, and so much of a body."""
        connection = self.connect()
        if slow_reader:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(f"{head}\r\nHost: x\r\nx-api-key: {self.token(ALICE)}\r\n\r\n".encode() + body)
        return connection

    def blobs(self) -> list[Path]:
        """Every file in the pools but their marks: what lies on disk, whoever knows of it."""
        roots = [Path(pool.driver.root) for pool in self.hold.poolset]  # type: ignore[union-attr]
        files = [path for root in roots for path in root.rglob("*") if path.is_file()]
        return [path for path in files if path.name != ".holdfast-pool"]

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the catalog's file says, past the code under test."""
        with sqlite3.connect(self.folder / "state" / "catalog.sqlite") as connection:
            return connection.execute(statement, values).fetchall()


class Server(uvicorn.Server):
    """uvicorn in a thread: no signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.ready.set()


class running:  # noqa: N801 - reads as a verb: `with running(hold) as served`
    """The application on a free port for as long as the block lasts."""

    def __init__(self, hold: Hold, folder: Path, settings: ServerSettings | None = None) -> None:
        self.hold = hold
        self.folder = folder
        self.app = create_app(hold, settings=settings)
        self.listener = listen("127.0.0.1", 0)
        self.server = Server(uvicorn_config(self.app))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],), daemon=True)

    def __enter__(self) -> Served:
        self.thread.start()
        assert self.server.ready.wait(20), "the server did not start"
        accounts = Accounts(self.hold.catalog.db, self.hold.clock, self.hold.entropy)
        url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        return Served(url, self.hold, accounts, self.app, self.folder)

    def __exit__(self, *_: object) -> None:
        self.server.loop.call_soon_threadsafe(self.app.stop_soon)
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive(), "the server did not stop"


def add_people(served: Served) -> None:
    """An administrator and two users."""
    served.accounts.create(ADMIN, password=PASSWORD, is_admin=True)
    for email in (ALICE, BOB):
        served.accounts.create(email, password=PASSWORD)
