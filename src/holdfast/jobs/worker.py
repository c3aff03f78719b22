"""The embedded worker: an engine with everything that Holdfast can run, jobs and operations.

    worker = Worker.of(hold)        # in `holdfast serve` and `holdfast worker`
    worker.start()
    ...
    worker.stop()

Starting returns at once; the engine is loaded and opened by a thread, and opened again later if its database
does not answer. Several workers may run over one catalog, in one process tree or on several machines. Stopping
one leaves its jobs running under their supervisors; the next worker takes them up.
"""

from __future__ import annotations

import logging
import threading

from holdfast.hold.hold import Hold
from holdfast.jobs.jobs import Jobs
from holdfast.operations.engine import STOP_S, Engine
from holdfast.operations.engine_dbos import ENGINE_FILE, DbosEngine
from holdfast.operations.reap import recover
from holdfast.operations.runner import Operations, OperationWork

CHORES_S = 60.0
AHEAD_S = 0.5
START_AGAIN_S = 5.0
ORPHANS_S = 2.0
REAPED = "reap.submitted_us"
REAP_EVERY_US = 86_400 * 1_000_000
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
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._ahead = threading.Thread(target=self._fetch_ahead, name="fetch ahead", daemon=True)
        engine.register(JobWork(hold, self.jobs))
        engine.register(OperationWork(self.operations))

    @classmethod
    def of(cls, hold: Hold) -> Worker:
        """A worker on the engine that belongs to the hold's catalog. Not started yet."""
        return cls(hold, engine_of(hold))

    def start(self) -> None:
        """Run what waits, and what comes. Returns at once."""
        self._thread.start()
        if self._hold.keeping.any:
            self._ahead.start()

    def wake(self) -> None:
        """There is something new. Never needed, only quicker by a tenth of a second."""
        self._engine.wake()

    def stop(self) -> None:
        """Begin nothing more and let go of what runs: jobs go on without us, operations wait. Idempotent."""
        self._stop.set()
        for thread in (self._thread, self._ahead):
            if thread.is_alive():
                thread.join(STOP_S)
        if not self._engine.stop(STOP_S):
            _LOG.warning("some work did not leave within %.0f s: %s", STOP_S, dict(self._engine.running()))

    def _run(self) -> None:
        """Start the engine; from then on do the chores."""
        is_started = False
        while True:
            try:
                if not is_started:
                    self._engine.start()
                    is_started = True
                self._do_chores()
            except Exception as error:  # noqa: BLE001 - of our databases' drivers too: the next round tries again
                _LOG.warning("the worker has trouble: %s", error)
            if self._stop.wait(CHORES_S if is_started else START_AGAIN_S):
                return

    def _fetch_ahead(self) -> None:
        """Bring the inputs of queued jobs near, as long as we live."""
        while not self._stop.wait(AHEAD_S):
            try:
                self.jobs.ahead.fetch(self._stop)
            except Exception as error:  # noqa: BLE001 - the next round tries again
                _LOG.warning("inputs cannot be fetched ahead: %s", error)

    def _do_chores(self) -> None:
        """What is due every minute: show that we live, take back what dead processes had begun to write, take
        away the folders of jobs whose time is over; and once a day, reap, and take away what old jobs wrote."""
        self._hold.catalog.holders.touch()
        recover(self._hold)
        self.jobs.sweep()
        self.jobs.ahead.sweep()
        now_us = self._hold.clock.now_us()
        if now_us - int(self._hold.catalog.setting(REAPED) or 0) >= REAP_EVERY_US:
            self._hold.catalog.set(REAPED, str(now_us))
            self.operations.submit("reap", {})
            self.jobs.sweep_logs()


def engine_of(hold: Hold) -> DbosEngine:
    """The engine beside the hold's catalog: a file in the state directory, or a schema of its PostgreSQL."""
    database = hold.catalog.db
    url = f"sqlite:///{(hold.state_dir / ENGINE_FILE).resolve()}" if database.is_sqlite else database.url
    holders = hold.catalog.holders
    return DbosEngine(url, holders.own("worker"), holders.lives, hold.clock)
