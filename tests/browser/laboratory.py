"""A server of its own, in a process of its own, with the tutorial's two pools; and backdoors to look behind it.

Run as a program it is that server: `python -m tests.browser.laboratory DOCUMENT PORT`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

ADMIN, ADMIN_PASSWORD = "ada@example.org", "analytical engine"
USER, USER_PASSWORD = "grace@example.org", "nanoseconds of wire"
STARTS_WITHIN_S = 30
DOCUMENT = """\
state_dir: {folder}/state
pools:
  newdata: {{type: disk, files_dir: {folder}/data2, order: 0, name: New data,
            description: "The new shelf in room 4. Fast, not backed up.",
            extra_dirs: {{job_work: {folder}/data2/job_work_dir}}}}
  olddata: {{type: disk, files_dir: {folder}/data, order: 1, max_percent_full: 97,
            extra_dirs: {{job_work: {folder}/data/job_work_dir}}}}
placement: hierarchical
"""


class Laboratory:
    """One server and its folders. With `document`, another one than the tutorial's; its buckets are folders."""

    def __init__(self, folder: Path, document: str = DOCUMENT) -> None:
        self.folder = folder
        self.newdata, self.olddata = folder / "data2", folder / "data"
        for pool in (self.newdata, self.olddata):
            pool.mkdir(parents=True, exist_ok=True)
        self.document = folder / "holdfast.yml"
        self.document.write_text(document.format(folder=folder), encoding="utf-8")
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    # -- the process --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.browser.laboratory", str(self.document), str(self.port)],
                stdout=log, stderr=log, env={**os.environ, "TZ": "UTC"},
            )  # fmt: skip
        until = time.monotonic() + STARTS_WITHIN_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/healthz").status_code == 200:
                    return
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the server does not answer: {self.log()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As by a power cut: nothing is ended in order."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """In order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def log(self) -> str:
        """What the server has written."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    # -- backdoors ----------------------------------------------------------------------------------------

    def rows(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        """From the catalog's own file."""
        with contextlib.closing(sqlite3.connect(self.folder / "state" / "catalog.sqlite", timeout=30)) as catalog:
            catalog.row_factory = sqlite3.Row
            return catalog.execute(query, parameters).fetchall()

    def dataset(self, name: str) -> sqlite3.Row:
        """The newest dataset of that name."""
        found = self.rows("SELECT * FROM dataset WHERE name = ? ORDER BY id DESC", name)
        assert found, f"no dataset is called {name!r}"
        return found[0]

    def put(self, name: str, body: bytes, **fields: str) -> int:
        """Store a dataset through the API; its id."""
        with self.api() as api:
            answer = api.post("/api/datasets", params={"name": name, **fields}, content=body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    def api(self, email: str = ADMIN) -> httpx.Client:
        """The API, asked with a token."""
        token = (self.folder / f"token-{email}").read_text(encoding="utf-8")
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


@contextlib.contextmanager
def laboratory(folder: Path, document: str = DOCUMENT) -> Iterator[Laboratory]:
    """A laboratory with its server running."""
    lab = Laboratory(folder, document)
    lab.start()
    try:
        yield lab
    finally:
        lab.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(document: str, port: str) -> None:
    """Serve, with an administrator and a user whose tokens lie beside the document."""
    from tests.remote_kit import clouds_are_folders

    with clouds_are_folders(Path(document).parent):
        _serve(document, port)


def _serve(document: str, port: str) -> None:
    import holdfast
    from holdfast.catalog.accounts import Accounts
    from holdfast.jobs.worker import Worker
    from holdfast.operations.engine import InlineEngine
    from holdfast.server.serve import serve

    with holdfast.open(document) as hold:
        accounts = Accounts(hold.catalog.db, hold.clock, hold.entropy)
        if not accounts.has_any():
            for email, password, is_admin in ((ADMIN, ADMIN_PASSWORD, True), (USER, USER_PASSWORD, False)):
                accounts.create(email, password=password, is_admin=is_admin)
                token = accounts.new_token(email, label="backdoor of the tests")
                (Path(document).parent / f"token-{email}").write_text(token, encoding="utf-8")
    serve(
        lambda: holdfast.open(document),
        port=int(port),
        services=lambda hold: [Worker(hold, InlineEngine(hold.clock))],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
