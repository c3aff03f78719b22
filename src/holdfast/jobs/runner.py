"""One job from its claim to its end, by whoever holds it: begin, look after, collect, finish.

Can be taken up at every point: what has happened stands in the catalog's row and in the folder of the job's
logs. A job is begun at most once. Its end is told as it was: with its exit code where the supervisor could
write it, as `lost` where nothing is known, never as running for ever.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from holdfast.catalog.holders import this_machine
from holdfast.catalog.jobs import Job, JobLedger, JobState, Output
from holdfast.catalog.runs import RunLedger
from holdfast.errors import CatalogError, HoldfastError
from holdfast.hold.hold import Hold
from holdfast.jobs import command, inputs, outputs, reasons, supervise
from holdfast.jobs.ahead import Ahead
from holdfast.jobs.choosing import Chooser
from holdfast.jobs.folders import (
    TEMPORARY,
    WORKING,
    logs_folder,
    make_logs_folder,
    make_work_folder,
    remove_work_folder,
)
from holdfast.jobs.supervised import Began, Ended, Supervisor

UMASK = 0o022
LOOK_S = 0.2
WATCH_S = 0.05
UNANSWERED_S = 15.0  # after the grace period: then the supervisor itself is ended
NOTE_CHARS_MAX = 2000

Watch = Callable[[Job], None]

_RUN_HERE: set[tuple[str, int]] = set()  # (holder, job): of two threads of one process one runs it
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """What the configuration says of running jobs. Times in seconds."""

    grace_s: float = 5.0
    log_bytes_max: int = 10 * 1024 * 1024


class _NotOurs(Exception):
    """Somebody else has the job now: leave everything as it is."""


class _NotBegun(Exception):
    """This process is to end before the job began: it waits in the queue again."""


class _Leave(Exception):
    """This process is to end: leave the job to its supervisor and to whoever comes next."""


class Runner:
    """Runs jobs that this process has claimed. Safe from many threads."""

    def __init__(
        self, hold: Hold, jobs: JobLedger, runs: RunLedger, ahead: Ahead, options: RunnerOptions
    ) -> None:
        self._hold, self._jobs, self._runs, self._ahead, self._options = hold, jobs, runs, ahead, options
        self._chooser = Chooser(hold)
        self._clock = hold.clock
        self._inputs: dict[int, tuple[inputs.Input, ...]] = {}  # of jobs that were begun here, until they end

    def run(self, job: Job, stop: threading.Event | None = None, watch: Watch | None = None) -> Job:
        """Bring a job that this process holds to its end; the job as it is then.

        With `stop` set it is left as it is (running, nobody's). `watch` is called while it runs. At once if
        another thread of this process is at it.
        """
        own = (job.holder or "", job.id)
        with _LOCK:
            if own in _RUN_HERE:
                return self._jobs.find(job.id)
            _RUN_HERE.add(own)
        try:
            return self._run(job, stop or threading.Event(), watch)
        finally:
            self._inputs.pop(job.id, None)
            with _LOCK:
                _RUN_HERE.discard(own)

    def _run(self, job: Job, stop: threading.Event, watch: Watch | None) -> Job:
        supervisor = Supervisor(logs_folder(self._hold.state_dir, job.id), self._clock)
        try:
            with ExitStack() as leases:
                try:
                    job = self._to_its_end(job, supervisor, leases, stop, watch)
                except (HoldfastError, OSError) as error:
                    job = self._fail(job, supervisor, error)
            if job.is_over:
                supervisor.tidy()
                self._clear_up(job)
        except _NotOurs:
            return self._jobs.find(job.id)
        except _NotBegun:
            self._runs.give_back(job)
            return self._jobs.find(job.id)
        except _Leave:
            self._runs.let_go(job)
            return self._jobs.find(job.id)
        except BaseException:
            with suppress(HoldfastError):  # the next attempt, here or elsewhere, takes it up
                self._runs.let_go(job)
            raise
        finally:
            supervisor.close()
        return job

    # -- the stages ---------------------------------------------------------------------------------------

    def _to_its_end(
        self,
        job: Job,
        supervisor: Supervisor,
        leases: ExitStack,
        stop: threading.Event,
        watch: Watch | None,
    ) -> Job:
        ended = supervisor.ended()
        began = supervisor.began()
        if began is None:
            if job.folder is not None and not supervisor.has_spec() and job.born != this_machine():
                return self._lost(job, "the machine that it ran on gives no sign of life any more")
            if self._runs.cancel_wanted(job) and (not supervisor.folder.exists() or supervisor.forbid()):
                return self._finish(job, "cancelled", None, "cancelled before it began")
            if stop.is_set() and job.folder is None:
                raise _NotBegun
            job = self._prepare(job, supervisor, leases)
            began = supervisor.begin()
        if began.pid == 0:
            return self._finish(job, "cancelled", None, "cancelled before it began")
        job = ours(self._runs.supervised(job, began.pid, began.born))
        while ended is None:
            ended = self._look_after(job, supervisor, began, stop, watch)
        if watch is not None:
            watch(job)
        return self._conclude(job, ended)

    def _prepare(self, job: Job, supervisor: Supervisor, leases: ExitStack) -> Job:
        """Choose the pool, make the folders, lease the inputs, write down what is to be run."""
        self._ahead.pin(job)  # beyond this process: the job goes on when it ends
        leased = [str(leases.enter_context(self._hold.lease(dataset_id))) for dataset_id in job.inputs]
        self._inputs[job.id] = inputs.look(job.inputs, leased)
        if job.folder is None:
            with self._chooser.lock:
                preferred = self._runs.preferred_pool(job.owner) if job.wanted_pool is None else None
                pool = self._chooser.choose(job, preferred, self._jobs.page(state="running", limit=1000))
                folder = make_work_folder(self._chooser.job_work(pool), job.id)
                job = ours(self._runs.place(job, pool, os.fspath(folder)))
        assert job.folder is not None, "it has just been placed"
        work = Path(job.folder)
        make_logs_folder(self._hold.state_dir, job.id)
        working = work / WORKING
        paths = {output.name: os.fspath(working / output.name) for output in job.outputs}
        supervisor.write_spec(
            command=command.fill(job.command, leased, paths),
            working=working,
            environment=_environment(job, work),
            umask=UMASK,
            grace_s=self._options.grace_s,
            log_bytes_max=self._options.log_bytes_max,
        )
        return job

    def _look_after(
        self, job: Job, supervisor: Supervisor, began: Began, stop: threading.Event, watch: Watch | None
    ) -> Ended | None:
        """Wait for the end, see whether somebody wants a stop. None: look again."""
        asked_s: float | None = None
        while True:
            if not supervisor.lives(began):
                return supervisor.ended() or self._without_trace(job, supervisor, began)
            if stop.is_set():
                raise _Leave
            wanted = self._runs.cancel_wanted(job)
            if wanted is None:
                raise _NotOurs
            if wanted and asked_s is None:
                asked_s = self._clock.monotonic_s()
                supervisor.ask_to_stop(began)
            if asked_s is not None:
                waited_s = self._clock.monotonic_s() - asked_s
                if waited_s > self._options.grace_s + UNANSWERED_S:
                    supervisor.kill(began, job.folder or "")
            if watch is not None:
                watch(job)
            supervisor.wait(began, WATCH_S if watch is not None else LOOK_S)

    def _without_trace(self, job: Job, supervisor: Supervisor, began: Began) -> Ended:
        """The supervisor is gone and has written nothing."""
        if began.boot != supervise.boot_id():
            why = "the machine was restarted while it ran"
        else:
            supervisor.kill(began, job.folder or "")
            why = f"its supervisor (process {began.pid}) was killed while it ran"
        if self._runs.cancel_wanted(job):
            return Ended(None, was_cancelled=True, notes=(why,))
        return Ended(None, lost_because=why)

    def _conclude(self, job: Job, ended: Ended) -> Job:
        """From how the command ended to how the job ended."""
        if ended.lost_because is not None:
            return self._lost(job, ended.lost_because)
        notes = [*inputs.written_to(self._hold, self._inputs.get(job.id, ())), *ended.notes]
        if ended.was_cancelled:
            return self._finish(job, "cancelled", ended.exit_code, "; ".join(["cancelled", *notes]))
        if ended.error is not None or ended.exit_code is None:
            return self._finish(job, "failed", None, ended.error or "the command could not be begun")
        if ended.exit_code != 0:
            reason = f"killed by signal {ended.signal}" if ended.signal else _exit_words(ended.exit_code)
            return self._finish(job, "failed", ended.exit_code, "; ".join([reason, *notes]))
        if ended.boot != supervise.boot_id() and job.outputs:
            return self._lost(job, "the machine was restarted before the outputs of its command were stored")
        try:
            job = self._collect(job)
        except (HoldfastError, OSError) as error:
            return self._finish(job, "failed", 0, "; ".join([reasons.words(error), *notes]))
        return self._finish(job, "ok", 0, "; ".join(notes) or None)

    def _collect(self, job: Job) -> Job:
        """Make the outputs datasets, each once, also if we were killed in the middle of it."""
        assert job.folder is not None, "a job that ran has a folder"
        done = {output.name: output.dataset_id for output in job.outputs if output.dataset_id is not None}
        for output in job.outputs:
            made = self._runs.made(job.id, output.name) if output.name not in done else None
            if made is not None:
                done[output.name] = made
        found = outputs.look(Path(job.folder), [one.name for one in job.outputs if one.name not in done])
        preferred = self._runs.preferred_pool(job.owner)
        for left in found:
            done[left.name] = outputs.take(self._hold, job, left, preferred).id
            job = self._record(job, done)
        for left in found:
            left.path.unlink(missing_ok=True)
        return self._record(job, done)

    def _record(self, job: Job, done: dict[str, int]) -> Job:
        return ours(self._runs.stored(job, [Output(one.name, done.get(one.name)) for one in job.outputs]))

    # -- the end ------------------------------------------------------------------------------------------

    def _finish(self, job: Job, state: JobState, exit_code: int | None, note: str | None) -> Job:
        if note is not None and len(note) > NOTE_CHARS_MAX:
            note = note[:NOTE_CHARS_MAX] + "…"
        over = ours(self._runs.finish(job, state, exit_code=exit_code, note=note))
        self._ahead.unpin(job.id)
        return over

    def _lost(self, job: Job, why: str) -> Job:
        return self._finish(job, "lost", None, why)

    def _fail(self, job: Job, supervisor: Supervisor, error: Exception) -> Job:
        """It could not be begun. One that has begun, or a catalog in trouble, is for the next attempt."""
        began = supervisor.began()
        if isinstance(error, CatalogError) or (began is not None and began.pid):
            raise error
        if supervisor.folder.exists() and not supervisor.forbid():
            raise error
        current = ours(self._runs.take_over(job.id))
        return self._finish(current, "failed", None, reasons.words(error))

    def _clear_up(self, job: Job) -> None:
        """The folder of a job that failed or was lost stays for a while: somebody will want to look."""
        if job.folder is None or job.state not in ("ok", "cancelled"):
            return
        if remove_work_folder(Path(job.folder)):
            self._jobs.forget_folder(job.id)


def ours(job: Job | None) -> Job:
    """The job, if it still is this process's."""
    if job is None:
        raise _NotOurs
    return job


def _exit_words(code: int) -> str:
    if code == 127:
        return "exit code 127: the command was not found"
    if code == 126:
        return "exit code 126: the command cannot be executed"
    return f"exit code {code}"


def _environment(job: Job, work: Path) -> dict[str, str]:
    """The whole environment of a job. Nothing else of the server's reaches it."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        **job.environment,
        "HOME": os.fspath(work / WORKING),
        "TMPDIR": os.fspath(work / TEMPORARY),
        "HOLDFAST_JOB_ID": str(job.id),
        "HOLDFAST_JOB_FOLDER": os.fspath(work),
    }
