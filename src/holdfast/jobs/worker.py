"""The embedded worker: an engine with everything that Holdfast can run, jobs and operations.

    worker = start(hold)        # in `holdfast serve` and `holdfast worker`
    ...
    worker.stop()

Several workers may run over one catalog, in one process tree or on several machines. Stopping one leaves its
jobs running under their supervisors; the next worker takes them up.
"""

from __future__ import annotations

import logging
import threading

from holdfast.catalog.jobs import Job
from holdfast.errors import HoldfastError
from holdfast.hold.hold import Hold
from holdfast.jobs.jobs import Jobs
from holdfast.operations.engine import STOP_S, Engine
from holdfast.operations.engine_dbos import ENGINE_FILE, DbosEngine
from holdfast.operations.runner import Operations, OperationWork

CHORES_S = 60.0
ORPHANS_S = 2.0
_LOG = logging.getLogger("holdfast.worker")


class JobWork:
    """Jobs, as an engine runs them."""

    kind = "job"

    def __init__(self, hold: Hold, jobs: Jobs) -> None:
        self._hold, self._jobs = hold, jobs
        self.at_once = jobs.max_running
        self._orphans_at_s = 0.0

    def claim(self) -> int | None:
        """One whose runner died, else the oldest in the queue if there is a place."""
        now_s = self._hold.clock.monotonic_s()
        if now_s >= self._orphans_at_s:
            for job_id in self._jobs.runs.orphans():
                taken = self._jobs.runs.take_over(job_id)
                if taken is not None:
                    return taken.id
            self._orphans_at_s = now_s + ORPHANS_S
        claimed = self._jobs.runs.claim(self.at_once)
        return None if claimed is None else claimed.id

    def run(self, item_id: int, stop: threading.Event) -> None:
        """Until the job is over, or to be left."""
        job = self._jobs.runs.take_over(item_id)
        if job is not None:
            self._jobs.runner.run(job, stop)

    def give_up(self, item_id: int, error: BaseException) -> None:
        """Nobody can tell how it ended."""
        job = self._jobs.runs.take_over(item_id)
        if job is not None:
            note = f"Holdfast could not look after it: {error}"
            self._jobs.runs.finish(job, "lost", exit_code=None, note=note)


class Worker:
    """An engine and the chores around it. Start once, stop once."""

    def __init__(self, hold: Hold, engine: Engine) -> None:
        self._hold, self._engine = hold, engine
        self.jobs = Jobs(hold)
        self.operations = Operations(hold)
        self._stop = threading.Event()
        self._chores = threading.Thread(target=self._do_chores, name="chores", daemon=True)
        engine.register(JobWork(hold, self.jobs))
        engine.register(OperationWork(self.operations))

    def start(self) -> None:
        """Run what waits, and what comes."""
        self._engine.start()
        self._chores.start()

    def wake(self) -> None:
        """There is something new. Never needed, only quicker by a tenth of a second."""
        self._engine.wake()

    def submitted(self, job: Job) -> Job:
        """The same, said with the job that is new."""
        self._engine.wake()
        return job

    def stop(self, timeout_s: float = STOP_S) -> bool:
        """Begin nothing more and let go of what runs: jobs go on without us, operations wait. Idempotent."""
        self._stop.set()
        if self._chores.is_alive():
            self._chores.join(timeout_s)
        return self._engine.stop(timeout_s)

    def _do_chores(self) -> None:
        """Show that we live; take away folders of jobs whose time is over."""
        while True:
            try:
                self._hold.catalog.holders.touch()
                self.jobs.sweep()
            except (HoldfastError, OSError) as error:
                _LOG.warning("chores: %s", error)
            if self._stop.wait(CHORES_S):
                return


def start(hold: Hold, engine: Engine | None = None) -> Worker:
    """A worker that runs, by default on DBOS."""
    worker = Worker(hold, engine or engine_of(hold))
    worker.start()
    return worker


def engine_of(hold: Hold) -> DbosEngine:
    """The engine beside the hold's catalog: a file in the state directory, or a schema of its PostgreSQL."""
    database = hold.catalog.db
    url = f"sqlite:///{(hold.state_dir / ENGINE_FILE).resolve()}" if database.is_sqlite else database.url
    holders = hold.catalog.holders
    return DbosEngine(url, holders.own("worker"), holders.lives, hold.clock)
