"""Runs: which process looks after which running job, and what it records.

Every change is a compare-and-set on the row's holder: of two runners one is told `None` or False, also when
it was frozen in between and taken for dead. A running job whose holder is dead, or which was let go, may be
taken over; nobody runs it a second time, because the folder of its records lets only one supervisor begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, func, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Row
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.holders import Holder, HolderLedger, this_machine
from holdfast.catalog.jobs import Job, JobLedger, JobState, Output, lease_holder, outputs_json
from holdfast.catalog.leases import LeaseLedger
from holdfast.seams import Clock

_JOB, _HOLDER, _DATASET = schema.job, schema.holder, schema.dataset
_ACCOUNT, _SEQUENCE = schema.account, schema.sequence


class RunLedger:
    """Rows of `job`, as runners claim and end them. Safe from many threads and processes."""

    def __init__(
        self, db: Database, clock: Clock, *, jobs: JobLedger, holders: HolderLedger, leases: LeaseLedger
    ) -> None:
        self._db, self._clock = db, clock
        self._jobs, self._holders, self._leases = jobs, holders, leases
        this = _JOB.c.id == bindparam("which")
        mine = and_(this, _JOB.c.state == "running", _JOB.c.holder == bindparam("me"))
        turn = select(_SEQUENCE.c.next).where(_SEQUENCE.c.name == "job")
        self._wait_turn = db.statement(turn if db.is_sqlite else turn.with_for_update())
        self._running = db.statement(
            select(func.count()).select_from(_JOB).where(_JOB.c.state == "running")
        )
        self._oldest = db.statement(
            select(_JOB.c.id).where(_JOB.c.state == "queued").order_by(_JOB.c.id).limit(1)
        )
        self._claim = db.statement(
            update(_JOB)
            .where(and_(this, _JOB.c.state == "queued"))
            .values(state="running", holder=bindparam("me"), started_us=bindparam("now"))
        )
        self._held = db.statement(
            select(
                _JOB.c.id, _JOB.c.holder, _HOLDER.c.machine, _HOLDER.c.pid, _HOLDER.c.born, _HOLDER.c.kind,
                _HOLDER.c.seen_us,
            )
            .select_from(_JOB.outerjoin(_HOLDER, _HOLDER.c.id == _JOB.c.holder))
            .where(_JOB.c.state == "running")
            .order_by(_JOB.c.id)
        )  # fmt: skip
        self._take_over = db.statement(
            update(_JOB).where(and_(this, _JOB.c.state == "running")).values(holder=bindparam("me"))
        )
        self._let_go = db.statement(update(_JOB).where(mine).values(holder=None))
        self._give_back = db.statement(
            update(_JOB).where(mine).values(state="queued", holder=None, started_us=None)
        )
        self._place = db.statement(
            update(_JOB)
            .where(mine)
            .values(
                object_store_id=bindparam("new_pool"), folder=bindparam("new_folder"),
                born=bindparam("new_born"),
            )
        )
        self._supervised = db.statement(
            update(_JOB).where(mine).values(pid=bindparam("new_pid"), born=bindparam("new_born"))
        )
        self._set_outputs = db.statement(update(_JOB).where(mine).values(outputs=bindparam("new_outputs")))
        self._finish = db.statement(
            update(_JOB)
            .where(mine)
            .values(
                state=bindparam("new_state"), exit_code=bindparam("new_exit_code"),
                note=bindparam("new_note"), finished_us=bindparam("now"),
            )
        )  # fmt: skip
        self._cancel_wanted = db.statement(select(_JOB.c.cancel_wanted).where(mine))
        self._made = db.statement(
            select(_DATASET.c.id)
            .where(_DATASET.c.job_id == bindparam("which"))
            .where(_DATASET.c.name == bindparam("name"))
            .where(_DATASET.c.state == "ok")
            .order_by(_DATASET.c.id)
            .limit(1)
        )
        self._preferred = db.statement(
            select(_ACCOUNT.c.preferred_pool).where(_ACCOUNT.c.email == bindparam("email"))
        )

    # -- who runs what ------------------------------------------------------------------------------------

    def claim(self, running_max: int, *, only: int | None = None) -> Job | None:
        """Take the oldest queued job for this process, unless `running_max` run already.

        `only` takes that job and no other, also out of turn. None if there is nothing to take, or no room.
        """
        with self._db.read() as cursor:  # looking is cheap and takes no lock
            if only is None and self._oldest.one(cursor, {}) is None:
                return None
            if self._count(cursor) >= running_max:
                return None
        me = self._holders.own()
        with self._db.write() as cursor:
            self._wait_turn.one(cursor, {})
            if self._count(cursor) >= running_max:
                return None
            row = (only,) if only is not None else self._oldest.one(cursor, {})
            if row is None:
                return None
            if self._claim.run(cursor, {"which": row[0], "me": me, "now": self._clock.now_us()}) != 1:
                return None
            self._jobs.tell(cursor, row[0], "running", "began")
            return self._jobs.find_in(cursor, row[0])

    def take_over(self, job_id: int) -> Job | None:
        """The running job if this process holds it, or has now taken it from a dead one; else None."""
        me = self._holders.own()
        with self._db.write() as cursor:
            self._wait_turn.one(cursor, {})
            rows = [row for row in self._held.all(cursor, {}) if row[0] == job_id]
            if not rows:
                return None
            held = rows[0][1:]
            if held[0] != me:
                if self._lives(held):
                    return None
                self._take_over.run(cursor, {"which": job_id, "me": me})
            return self._jobs.find_in(cursor, job_id)

    def orphans(self) -> list[int]:
        """Running jobs whose holder is dead, or which were let go; oldest first."""
        with self._db.read() as cursor:
            rows = self._held.all(cursor, {})
        return [row[0] for row in rows if not self._lives(row[1:])]

    def is_orphan(self, job: Job) -> bool:
        """Whether nobody who lives looks after this job, although it is running."""
        with self._db.read() as cursor:
            rows = [row for row in self._held.all(cursor, {}) if row[0] == job.id]
        return bool(rows) and not self._lives(rows[0][1:])

    def running(self) -> int:
        """How many jobs run now."""
        with self._db.read() as cursor:
            return self._count(cursor)

    def first_in_line(self, job_id: int) -> bool:
        """Whether no older job waits."""
        with self._db.read() as cursor:
            row = self._oldest.one(cursor, {})
        return row is None or row[0] >= job_id

    # -- what a runner records: False or None if the job is no longer this process's ----------------------

    def let_go(self, job: Job) -> bool:
        """This process ends; the job goes on, and somebody else may take it over at once."""
        with self._db.write() as cursor:
            return self._let_go.run(cursor, _mine(job)) == 1

    def give_back(self, job: Job) -> bool:
        """A claimed job that was not begun waits in the queue again, in its old place."""
        with self._db.write() as cursor:
            return self._give_back.run(cursor, _mine(job)) == 1

    def place(self, job: Job, object_store_id: str, folder: str) -> Job | None:
        """Record for which pool, and where, the job works. Until it is supervised `born` is the machine."""
        new = {**_mine(job), "new_pool": object_store_id, "new_folder": folder, "new_born": this_machine()}
        with self._db.write() as cursor:
            return self._jobs.find_in(cursor, job.id) if self._place.run(cursor, new) == 1 else None

    def supervised(self, job: Job, pid: int, born: str) -> Job | None:
        """Record the job's supervisor."""
        with self._db.write() as cursor:
            new = {**_mine(job), "new_pid": pid, "new_born": born}
            return self._jobs.find_in(cursor, job.id) if self._supervised.run(cursor, new) == 1 else None

    def cancel_wanted(self, job: Job) -> bool | None:
        """Whether somebody wants the job to stop."""
        with self._db.read() as cursor:
            row = self._cancel_wanted.one(cursor, _mine(job))
        return None if row is None else bool(row[0])

    def stored(self, job: Job, outputs: Sequence[Output]) -> Job | None:
        """Record which outputs are datasets by now."""
        with self._db.write() as cursor:
            new = {**_mine(job), "new_outputs": outputs_json(outputs)}
            return self._jobs.find_in(cursor, job.id) if self._set_outputs.run(cursor, new) == 1 else None

    def finish(self, job: Job, state: JobState, *, exit_code: int | None, note: str | None) -> Job | None:
        """The job is over: its inputs are let go."""
        ending = {"new_state": state, "new_exit_code": exit_code, "new_note": note}
        is_told = exit_code is None or (note or "").startswith(f"exit code {exit_code}")
        words = state if is_told else f"{state}, exit code {exit_code}"
        with self._db.write() as cursor:
            if self._finish.run(cursor, {**_mine(job), **ending, "now": self._clock.now_us()}) != 1:
                return None
            self._leases.release(cursor, lease_holder(job.id))
            text = f"{words}: {note}" if note else words
            self._jobs.tell(cursor, job.id, state, text, object_store_id=job.object_store_id)
            return self._jobs.find_in(cursor, job.id)

    def made(self, job_id: int, name: str) -> int | None:
        """The dataset that an output of the job has become, as the datasets tell."""
        with self._db.read() as cursor:
            row = self._made.one(cursor, {"which": job_id, "name": name})
        return None if row is None else int(row[0])

    def preferred_pool(self, owner: str | None) -> str | None:
        """Where the owner wants new datasets to go, if anywhere."""
        if owner is None:
            return None
        with self._db.read() as cursor:
            row = self._preferred.one(cursor, {"email": owner})
        return None if row is None else row[0]

    # -- inside -------------------------------------------------------------------------------------------

    def _count(self, cursor: Cursor) -> int:
        return int(self._running.one(cursor, {})[0])

    def _lives(self, held: Row) -> bool:
        """Of (holder id, machine, pid, born, kind, seen): whether that process lives."""
        return held[1] is not None and self._holders.alive(Holder(*held))


def _mine(job: Job) -> dict[str, Any]:
    return {"which": job.id, "me": job.holder}
