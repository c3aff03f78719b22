"""Which pool a job's outputs go to, decided before the job begins: it works in that pool's `job_work` folder.

The order is: the pool that the job demands, the one that its owner prefers, the tree. What running jobs will
still put is counted as if it were there, so that jobs side by side share the pools of a distributed tree as
jobs one after another do.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.catalog.jobs import Job
from holdfast.catalog.writes import no_pool
from holdfast.hold.hold import Hold
from holdfast.placement.policy import Choice, Request, RoundStep

JOB_WORK = "job_work"
_ONE_AT_A_TIME = threading.Lock()


class Chooser:
    """Chooses pools for jobs. Safe from many threads."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self.lock = _ONE_AT_A_TIME  # hold it from choosing to recording the choice

    def choose(self, job: Job, preferred: str | None, running: Sequence[Job]) -> str:
        """The pool for the job's outputs. `NotFound` for one that is not configured, `NoSpace`,
        `Unavailable`."""
        if job.wanted_pool is not None:
            self._hold.poolset.configured(job.wanted_pool)
        request = Request(0, job.owner, job.wanted_pool, preferred)
        ranked = self._rank(request, Counter())
        expected = _expected(ranked, [one for one in running if one.id != job.id])
        if expected:
            ranked = self._rank(request, expected)
        if not ranked or not ranked[0].possible:
            raise no_pool(request, ranked)
        return ranked[0].object_store_id

    def job_work(self, object_store_id: str) -> Path:
        """Where jobs work whose outputs go to that pool."""
        folder = self._hold.poolset.configured(object_store_id).facts.extra_dirs.get(JOB_WORK)
        if folder is None:
            return self._hold.state_dir / "jobs"
        return self._hold.state_dir / folder  # an absolute path stays what it is

    def _rank(self, request: Request, expected: Counter[RoundStep]) -> list[Choice]:
        hold = self._hold
        rows = {row.object_store_id: row for row in hold.catalog.pools.all()}
        with hold.catalog.db.read() as cursor:

            def rounds(node_id: str, signature: str) -> Mapping[str, int]:
                counts = hold.catalog.writes.read_rounds(cursor, node_id, signature)
                for step, more in expected.items():
                    if (step.node_id, step.signature) == (node_id, signature):
                        counts[step.child] = counts.get(step.child, 0) + more
                return counts

            return hold.poolset.decide()(request, rows, rounds)


def _expected(ranked: Sequence[Choice], running: Sequence[Job]) -> Counter[RoundStep]:
    """What the outputs of the running jobs will add to the rounds."""
    steps = {choice.object_store_id: choice.rounds for choice in ranked if choice.possible}
    more: Counter[RoundStep] = Counter()
    for job in running:
        if job.wanted_pool is not None:
            continue  # what was asked for stands outside the rounds
        count = sum(1 for output in job.outputs if output.dataset_id is None)
        for step in steps.get(job.object_store_id or "", ()):
            more[step] += count
    return more
