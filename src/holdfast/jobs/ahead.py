"""Inputs of jobs, kept near: pinned in the cache from submission to the end, and fetched before the job begins.

Only for inputs in pools that have a cache. A pin that cannot be made, and a fetch that fails, are logged and change
nothing: the job opens its inputs itself when it begins, and says what is wrong then.
"""

from __future__ import annotations

import logging
import threading

from holdfast.catalog.jobs import Job, JobLedger
from holdfast.errors import HoldfastError, NotFound
from holdfast.hold.hold import Hold

QUEUE_LOOKED_AT = 32  # queued jobs whose inputs are fetched ahead
_PREFIX = "job "
_LOG = logging.getLogger("holdfast.ahead")


class Ahead:
    """Pins and fetches for jobs. Safe from many threads and processes."""

    def __init__(self, hold: Hold, jobs: JobLedger) -> None:
        self._hold, self._jobs = hold, jobs
        self._done: set[int] = set()

    def pin(self, job: Job) -> None:
        """Keep the inputs until `unpin`. Idempotent."""
        if not self._hold.keeping.any:
            return
        for dataset_id in job.inputs:
            try:
                self._hold.keeping.pin(self._hold.find(dataset_id), f"{_PREFIX}{job.id}")
            except (HoldfastError, OSError) as error:
                _LOG.warning("input %s of job %s could not be pinned in the cache: %s", dataset_id, job.id, error)

    def unpin(self, job_id: int) -> None:
        """The job is over."""
        self._done.discard(job_id)
        try:
            self._hold.keeping.unpin(f"{_PREFIX}{job_id}")
        except (HoldfastError, OSError) as error:
            _LOG.warning("the inputs of job %s stay pinned until the next sweep: %s", job_id, error)

    def fetch(self, stop: threading.Event) -> None:
        """Fetch the inputs of jobs that wait in the queue, the oldest first; each job once."""
        if not self._hold.keeping.any:
            return
        waiting = self._jobs.page(state="queued", limit=QUEUE_LOOKED_AT)
        self._done &= {job.id for job in waiting}
        for job in sorted(waiting, key=lambda one: one.id):
            if job.id in self._done:
                continue
            self._done.add(job.id)
            self.pin(job)
            for dataset_id in job.inputs:
                if stop.is_set():
                    return
                try:
                    self._hold.keeping.warm(self._hold.find(dataset_id))
                except (HoldfastError, OSError) as error:
                    _LOG.info("input %s of job %s was not fetched ahead: %s", dataset_id, job.id, error)

    def sweep(self) -> None:
        """Let go of what was pinned for jobs that are over: whoever ran them may have died before."""
        for holder in self._hold.keeping.holders():
            number = holder.removeprefix(_PREFIX)
            if number == holder or not number.isdigit():
                continue
            try:
                is_over = self._jobs.find(int(number)).is_over
            except NotFound:
                is_over = True
            if is_over:
                self.unpin(int(number))
