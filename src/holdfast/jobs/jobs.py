"""`Jobs`: a user's commands, run beside the data.

    jobs = Jobs(hold)
    job = jobs.submit(["sort", "-o", "{output:sorted.txt}", "{input1}"], inputs=[24], outputs=["sorted.txt"])
    jobs.wait(job.id)

A job is queued durably with its inputs held; whoever runs an engine over the same catalog runs it (`worker`),
or `run` does it here, in the foreground. Safe from many threads and processes: no job is begun twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from holdfast.catalog.jobs import JOB_STATES, Job, JobLedger, JobState, NewJob
from holdfast.catalog.runs import RunLedger
from holdfast.errors import Malformed, NotFound
from holdfast.hold.hold import Hold
from holdfast.hold.shapes import when
from holdfast.jobs import command as commands
from holdfast.jobs.ahead import Ahead
from holdfast.jobs.folders import logs_folder
from holdfast.jobs.runner import Runner, RunnerOptions
from holdfast.jobs.sweep import expired_folders, expired_logs, sweep_folders, sweep_logs

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
OnOutput = Callable[[Stream, bytes], None]

MAX_RUNNING = 2
KEEP_FAILED_S = 7 * 86_400
KEEP_LOGS_S = 90 * 86_400
TAIL_BYTES = 4096
READ_BYTES_MAX = 1024 * 1024
LOOK_S = 0.05
PATIENCE_S = 1.0  # how long a free place may stand empty before a foreground job takes it out of turn
_ID_MAX = 2**63 - 1


class Jobs:
    """Jobs of one hold."""

    def __init__(self, hold: Hold) -> None:
        catalog = hold.catalog
        self._hold = hold
        self.ledger = JobLedger(catalog.db, hold.clock, events=catalog.events, leases=catalog.leases)
        self.runs = RunLedger(
            catalog.db, hold.clock, jobs=self.ledger, holders=catalog.holders, leases=catalog.leases
        )
        settings = getattr(hold.config, "jobs", None)
        self.max_running: int = getattr(settings, "max_running", MAX_RUNNING)
        self.keep_failed_s: int = getattr(settings, "keep_failed_s", KEEP_FAILED_S)
        self.keep_logs_s: int = getattr(settings, "keep_logs_s", KEEP_LOGS_S)
        default = RunnerOptions()
        options = RunnerOptions(
            grace_s=getattr(settings, "stop_grace_s", default.grace_s),
            log_bytes_max=getattr(settings, "max_log_bytes", default.log_bytes_max),
        )
        self.ahead = Ahead(hold, self.ledger)
        self.runner = Runner(hold, self.ledger, self.runs, self.ahead, options)

    # -- what users do ------------------------------------------------------------------------------------

    def submit(
        self,
        command: Sequence[str],
        *,
        inputs: Iterable[int | str] = (),
        outputs: Sequence[str] = (),
        owner: str | None = None,
        pool: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Job:
        """Queue a job. `inputs` are ids or uuids; `pool` demands where the outputs go.

        Before anything is queued: `Malformed` for a command that makes no sense, `NotFound` for an input or
        a pool that nobody knows, `Conflict` for an input that is not ok.
        """
        ids = [self._hold.find(dataset).id for dataset in inputs]
        extra = dict(environment or {})
        commands.check(command, inputs=len(ids), outputs=outputs, environment=extra)
        if pool is not None:
            self._hold.poolset.configured(pool)
        new = NewJob(tuple(command), tuple(ids), tuple(outputs), owner, pool, extra)
        job = self.ledger.add(new)
        self.ahead.pin(job)
        return job

    def get(self, job_id: int | str) -> Job:
        """One job; `NotFound`."""
        return self.ledger.find(_identify(job_id))

    def list(
        self,
        *,
        owner: str | None = None,
        state: str | None = None,
        limit: int = 50,
        after: int | None = None,
        oldest_first: bool = False,
    ) -> list[Job]:
        """Newest first unless asked otherwise, 1,000 at most; `after` is the last id of the page before."""
        known: JobState | None = None
        if state is not None:
            known = next((one for one in JOB_STATES if one == state), None)
            if known is None:
                raise Malformed(f"{state!r} is no state of a job; use one of: {', '.join(JOB_STATES)}")
        return self.ledger.page(owner=owner, state=known, limit=limit, after=after, oldest_first=oldest_first)

    def cancel(self, job_id: int | str, *, actor: str | None = None) -> Job:
        """A queued job is cancelled at once; a running one is stopped soon, with everything that it began."""
        return self.ledger.cancel(_identify(job_id), actor)

    def output(
        self, job_id: int | str, stream: Stream, *, offset: int = 0, limit: int = READ_BYTES_MAX
    ) -> bytes:
        """What the job has written to `stdout` or `stderr` so far, from a byte offset on, a block at most."""
        if stream not in STREAMS:
            raise NotFound(f"a job has no stream {stream!r}; it has stdout and stderr", operation="job")
        return self._read(_identify(job_id), stream, max(0, offset), max(0, min(limit, READ_BYTES_MAX)))

    def wait(self, job_id: int | str, timeout_s: float | None = None) -> Job:
        """Until the job is over, or that time has passed; the job as it is then."""
        until_s = None if timeout_s is None else self._hold.clock.monotonic_s() + timeout_s
        while True:
            job = self.get(job_id)
            if job.is_over or (until_s is not None and self._hold.clock.monotonic_s() >= until_s):
                return job
            self._hold.clock.sleep(LOOK_S)

    def to_json(self, job: Job, *, tail_bytes: int = TAIL_BYTES) -> dict[str, Any]:
        """The job's shape in the API and on the command line, with the end of what it has written."""
        return {
            "id": job.id,
            "state": job.state,
            "command": [*job.command],
            "inputs": [*job.inputs],
            "outputs": [{"name": one.name, "dataset_id": one.dataset_id} for one in job.outputs],
            "object_store_id": job.object_store_id,
            "wanted_pool": job.wanted_pool,
            "exit_code": job.exit_code,
            "owner": job.owner,
            "created": when(job.created_us),
            "started": when(job.started_us),
            "finished": when(job.finished_us),
            "folder": job.folder,
            "note": job.note or self._orphan_note(job),
            "cancel_wanted": job.cancel_wanted,
            "stdout_tail": self.tail(job.id, "stdout", tail_bytes),
            "stderr_tail": self.tail(job.id, "stderr", tail_bytes),
        }

    def tail(self, job_id: int, stream: Stream, size_bytes: int = TAIL_BYTES) -> str:
        """The last bytes of what the job has written, as text."""
        path = self._log(job_id, stream)
        try:
            size = path.stat().st_size
        except OSError:
            return ""
        return self._read(job_id, stream, max(0, size - size_bytes), size_bytes).decode(errors="replace")

    # -- running here -------------------------------------------------------------------------------------

    def run(self, job_id: int, on_output: OnOutput | None = None) -> Job:
        """See a job to its end from here, whoever runs it, and hand on what it writes while it does.

        A queued job is run by this process as soon as there is a place; one that another process runs is
        followed; one whose runner died is taken up. `KeyboardInterrupt` cancels the job, waits for its end
        and goes on.
        """
        tails = _Tails(self, job_id, on_output)
        interrupted: KeyboardInterrupt | None = None
        while True:
            try:
                job = self._run_on(job_id, tails)
            except KeyboardInterrupt as error:
                if interrupted is not None:
                    raise
                interrupted = error
                self.cancel(job_id)
                continue
            tails.flush()
            if interrupted is not None:
                raise interrupted
            return job

    def _run_on(self, job_id: int, tails: _Tails) -> Job:
        clock = self._hold.clock
        free_since_s: float | None = None
        orphans_seen_s = clock.monotonic_s()
        while True:
            job = self.get(job_id)
            tails.flush()
            if job.is_over:
                return job
            now_s = clock.monotonic_s()
            mine: Job | None = None
            if job.state == "running":
                mine = self.runs.take_over(job_id) if self.runs.is_orphan(job) else None
            elif self.runs.running() >= self.max_running:
                free_since_s = None
                if now_s - orphans_seen_s > PATIENCE_S:
                    orphans_seen_s = now_s
                    self.adopt_orphans()
            else:
                free_since_s = now_s if free_since_s is None else free_since_s
                if now_s - free_since_s > PATIENCE_S or self.runs.first_in_line(job_id):
                    mine = self.runs.claim(self.max_running, only=job_id)
            if mine is not None:
                self.runner.run(mine, watch=lambda _: tails.flush())
            else:
                clock.sleep(LOOK_S)

    def adopt_orphans(self) -> int:
        """Bring jobs to their end whose runner died and whose command is over; how many."""
        done = 0
        for job_id in self.runs.orphans():
            job = self.runs.take_over(job_id)
            if job is None:
                continue
            leave = threading.Event()
            leave.set()  # one that still runs is let go at once
            done += self.runner.run(job, stop=leave).is_over
        return done

    def sweep(self, *, keep_failed_s: int | None = None) -> int:
        """Take away the folders of jobs that are over, of failed ones after their time; how many."""
        keep_s = self.keep_failed_s if keep_failed_s is None else keep_failed_s
        return sweep_folders(self.ledger, self._hold.clock.now_us(), keep_s)

    def sweep_logs(self, *, keep_logs_s: int | None = None) -> int:
        """Take away what jobs have written that ended long ago; of how many. Looks at every job that has logs: once
        a day is enough."""
        return sweep_logs(self._hold.state_dir, self.ledger, self._logs_before_us(keep_logs_s))

    def swept(self) -> dict[str, int]:
        """How many folders and logs `sweep` and `sweep_logs` would take away now."""
        folders = expired_folders(self.ledger, self._hold.clock.now_us(), self.keep_failed_s)
        logs = expired_logs(self._hold.state_dir, self.ledger, self._logs_before_us(None))
        return {"job_folders": sum(1 for _ in folders), "job_logs": sum(1 for _ in logs)}

    def _logs_before_us(self, keep_logs_s: int | None) -> int:
        keep_s = self.keep_logs_s if keep_logs_s is None else keep_logs_s
        return self._hold.clock.now_us() - keep_s * 1_000_000

    # -- inside -------------------------------------------------------------------------------------------

    def _orphan_note(self, job: Job) -> str | None:
        if job.state != "running" or not self.runs.is_orphan(job):
            return None
        return "the process that looked after it is gone; the next `holdfast serve` takes it up"

    def _log(self, job_id: int, stream: str) -> Path:
        return logs_folder(self._hold.state_dir, job_id) / stream

    def _read(self, job_id: int, stream: str, offset: int, size_bytes: int) -> bytes:
        try:
            with open(self._log(job_id, stream), "rb") as log:
                log.seek(offset)
                return log.read(size_bytes)
        except FileNotFoundError:
            return b""


class _Tails:
    """Hands on what a job writes, piece by piece."""

    def __init__(self, jobs: Jobs, job_id: int, on_output: OnOutput | None) -> None:
        self._jobs, self._job_id, self._on_output = jobs, job_id, on_output
        self._at = dict.fromkeys(STREAMS, 0)

    def flush(self) -> None:
        """Hand on what is new."""
        if self._on_output is None:
            return
        for stream in STREAMS:
            while block := self._jobs.output(self._job_id, stream, offset=self._at[stream]):
                self._at[stream] += len(block)
                self._on_output(stream, block)


def _identify(job_id: int | str) -> int:
    if isinstance(job_id, str):
        text = job_id.strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise NotFound(
                f"there is no job {job_id!r}: a job's id is a number; `holdfast jobs` lists them", operation="job"
            )
        job_id = int(text)
    if not 1 <= job_id <= _ID_MAX:
        raise NotFound(f"there is no job {job_id}; `holdfast jobs` lists them", operation="job")
    return job_id
