"""A hold of two pools on disk with its jobs, looked at from behind; workers in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import holdfast
from holdfast.catalog.holders import born
from holdfast.catalog.jobs import Job
from holdfast.hold.hold import Hold
from holdfast.jobs.jobs import Jobs

LIMIT_S = 40.0
DOCUMENT = """\
state_dir: ./state
catalog: {catalog}
placement: {placement}
jobs: {{max_running: {max_running}, stop_grace: {grace}, max_log: 20 kB}}
pools:
  newdata: {{type: disk, files_dir: ./new{newdata}, extra_dirs: {{{job_work}: ./new_work}}}}
  olddata: {{type: disk, files_dir: ./old, extra_dirs: {{job_work: ./old_work}}}}
"""


def until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"it did not come true within {limit_s} s"
        time.sleep(0.02)


class Worker:
    """`holdfast serve` without its pages: a worker in a process of its own."""

    def __init__(self, lab: Lab, engine: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.work", str(lab.document), engine],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=lab.environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._gone()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self._gone()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _gone(self) -> None:
        self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Lab:
    """What a test holds."""

    def __init__(
        self, home: Path, *, max_running: int = 2, placement: str = "hierarchical", catalog: str = "sqlite",
        grace: str = "1 s", newdata: str = "", job_work: str = "job_work",
    ) -> None:  # fmt: skip
        self.home = home
        for name in ("new", "old"):
            (home / name).mkdir(exist_ok=True)
        self.document = home / "holdfast.yml"
        self.document.write_text(
            DOCUMENT.format(
                max_running=max_running, placement=placement, catalog=catalog, grace=grace, newdata=newdata,
                job_work=job_work,
            )
        )  # fmt: skip
        root = Path(__file__).resolve().parents[2]
        self.environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "SECRET_OF_SERVER": "1"}
        self.hold: Hold = holdfast.open(self.document)
        self.jobs = Jobs(self.hold)
        self.workers: list[Worker] = []

    def worker(self, engine: str = "inline") -> Worker:
        self.workers.append(Worker(self, engine))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.thaw()
                worker.kill()
        for job in self.jobs.list(limit=1000):
            if not job.is_over:
                self.jobs.cancel(job.id)
        for job_id in self.jobs.runs.orphans():
            self.jobs.run(job_id)
        self.hold.close()

    # -- doing --------------------------------------------------------------------------------------------

    def shell(self, script: str, *more: int, **options: Any) -> Job:
        """Submit `sh -c script`; `more` are inputs."""
        return self.jobs.submit(["sh", "-c", script], inputs=more, **options)

    def run(self, script: str, *more: int, **options: Any) -> Job:
        """The same, run to its end here."""
        return self.jobs.run(self.shell(script, *more, **options).id)

    def put(self, content: bytes = b"x", name: str = "input") -> int:
        return self.hold.put(content, name=name).id

    # -- looking from behind ------------------------------------------------------------------------------

    def rows(self, query: str, *parameters: Any) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.home / "state" / "catalog.sqlite")) as db:
            return db.execute(query, parameters).fetchall()

    def state(self, job: Job) -> str:
        return self.jobs.get(job.id).state

    def files(self, folder: str) -> dict[str, bytes]:
        """Everything below a folder but our own marks."""
        top = self.home / folder
        return {
            path.relative_to(top).as_posix(): path.read_bytes()
            for path in sorted(top.rglob("*"))
            if path.is_file() and not path.name.startswith(".holdfast")
        }

    def diary(self) -> list[str]:
        """Lines that commands have appended to `$DIARY`."""
        path = self.home / "diary"
        return path.read_text().split() if path.exists() else []


@contextlib.contextmanager
def lab_of(home: Path, **options: Any) -> Iterator[Lab]:
    lab = Lab(home, **options)
    try:
        yield lab
    finally:
        lab.close()


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    return born(pid) is not None
