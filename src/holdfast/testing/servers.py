"""Real servers for tests: PostgreSQL and nginx from the distribution's packages.

Each has a temporary folder and a free loopback port of its own, is stopped by its process id, and leaves
nothing behind. A server dies with the thread that started it (so that a killed test run leaves none): start
it in a thread that outlives its use. What is missing on the machine raises `CannotRunHere` with the package
to install.

Not for anything that must last: PostgreSQL runs without fsync.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from holdfast.testing.daemons import (
    START_LIMIT_S,
    ServerFailed,
    await_ready,
    spawn,
    stop,
    tail,
    temporary_folder,
)
from holdfast.testing.here import CannotRunHere, program

START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: its address, its process, and the folder with its log."""

    name: str
    url: str
    port: int
    process_id: int
    folder: Path


def free_port() -> int:
    """A TCP port on the loopback address that nobody has at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A PostgreSQL server with as many fresh databases as tests ask for.

    Made by `postgres()`. Safe from many threads.
    """

    def __init__(self, server: Server, password: str) -> None:
        self.server = server
        self._password = password
        self._lock = threading.Lock()
        self._templates: dict[str, str] = {}
        self._made = 0

    def url(self, database: str = "postgres") -> str:
        """`postgresql://user:password@127.0.0.1:port/database`."""
        return f"postgresql://holdfast:{self._password}@127.0.0.1:{self.server.port}/{database}"

    def fresh_database(self, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`. Takes some ten milliseconds."""
        with self._lock:
            return self.url(self._create(template))

    def template(self, name: str, prepare: Callable[[str], None]) -> str:
        """A database to copy from, made once: `prepare(url)` fills it, and closes its connections.

        Returns what `fresh_database` takes. If `prepare` raises, nothing is kept.
        """
        with self._lock:
            known = self._templates.get(name)
            if known is None:
                database = self._create("template1")
                try:
                    prepare(self.url(database))
                except BaseException:
                    self._drop(database)
                    raise
                known = self._templates[name] = database
            return known

    def drop(self, url: str) -> None:
        """Remove a database that `fresh_database` made; whoever is connected to it is thrown out."""
        with self._lock:
            self._drop(url.rpartition("/")[2])

    def _create(self, template: str) -> str:
        self._made += 1
        database = f"fresh_{self._made}"
        # a copy of the files: 3 times as fast as through the log where nothing is synced
        self._administer("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", database, template)
        return database

    def _drop(self, database: str) -> None:
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", database)

    def _administer(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for as long as the block lasts. Ready within a second or so."""
    binaries = postgres_binaries()
    with temporary_folder("holdfast-postgres-") as folder:
        account = _unprivileged_account(folder)
        password = secrets.token_hex(8)
        _make_cluster(binaries, folder, password, account)
        for attempt in range(1, START_ATTEMPTS + 1):
            port = free_port()
            process = spawn(_postgres_command(binaries, folder, port), folder, account)
            try:
                await_ready(process, folder, lambda: _is_ready(folder))
                break
            except ServerFailed:
                if attempt == START_ATTEMPTS:
                    raise
        else:
            raise AssertionError("unreachable: the last attempt raises")
        try:
            url = f"postgresql://holdfast:{password}@127.0.0.1:{port}/postgres"
            yield Postgres(Server("postgres", url, port, process.pid, folder), password)
        finally:
            stop(process, signal.SIGQUIT)  # "immediate": nothing in it is worth a checkpoint


@contextlib.contextmanager
def nginx(http_block: str, *, port: int) -> Iterator[Server]:
    """An nginx for as long as the block lasts, listening on `port` by what `http_block` says.

    `http_block` goes inside `http { }`; it has at least a `server { listen 127.0.0.1:PORT; ... }`. Workers
    run as the caller, so they read what the caller may read. `ServerFailed` says what nginx found wrong.
    """
    binary = program("nginx", package="nginx-light")
    with temporary_folder("holdfast-nginx-") as folder:
        account = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_NGINX_CONF.format(folder=folder, account=account, http=http_block))
        command = [
            str(binary),
            "-e",
            str(folder / "log"),
            "-p",
            str(folder),
            "-c",
            str(folder / "nginx.conf"),
        ]
        process = spawn(command, folder, None)
        try:
            await_ready(process, folder, lambda: _answers(port))
            yield Server("nginx", f"http://127.0.0.1:{port}", port, process.pid, folder)
        finally:
            stop(process, signal.SIGTERM)


def postgres_binaries() -> Path:
    """The folder with `initdb` and `postgres`, newest version first; `CannotRunHere` without one."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version, reverse=True)
    if versions:
        return versions[0].parent
    found = shutil.which("initdb")
    if found is None:
        raise CannotRunHere("there is no PostgreSQL server here: apt-get install postgresql")
    return Path(found).parent


_NGINX_CONF = """\
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/log;
{account}events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type application/octet-stream;
  sendfile on;
{http}
}}
"""


def _version(initdb: Path) -> float:
    try:
        return float(initdb.parts[-3])
    except ValueError:
        return 0.0


def _unprivileged_account(folder: Path) -> str | None:
    """Who PostgreSQL runs as (it refuses root); the folder becomes theirs."""
    if os.geteuid() != 0:
        return None
    try:
        shutil.chown(folder, "postgres")
    except LookupError:
        raise CannotRunHere("PostgreSQL refuses root and there is no account `postgres`: "
                            "apt-get install postgresql") from None  # fmt: skip
    return "postgres"


def _make_cluster(binaries: Path, folder: Path, password: str, account: str | None) -> None:
    secret = folder / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if account is not None:
        shutil.chown(secret, account)
    command = [
        str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "holdfast", f"--pwfile={secret}",
        "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--wal-segsize=1", "--no-sync",
        "--no-instructions",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        made = subprocess.run(
            command, stdout=log, stderr=log, cwd=folder, user=account, check=False, timeout=START_LIMIT_S
        )
    if made.returncode != 0:
        raise ServerFailed(f"initdb failed:\n{tail(folder)}")


def _postgres_command(binaries: Path, folder: Path, port: int) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        "max_connections": "200",
        "shared_buffers": "64MB",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_wal_size": "256MB",
        "autovacuum": "off",
        "jit": "off",
        "log_min_messages": "warning",
    }
    chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port), *chosen]


def _is_ready(folder: Path) -> bool:
    try:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
