"""Jobs: the queue, and the truth about each job's state. Engines only make sure that somebody runs them.

    queued -> running -> ok | failed | cancelled | lost
    queued -> cancelled

What users do stands here; what runners do is in `runs`. From its submission to its end a job holds leases on
its inputs: they are neither purged nor replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Select, and_, bindparam, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.base import Row
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.events import EventLedger
from holdfast.catalog.leases import LeaseLedger
from holdfast.errors import Conflict, NotFound
from holdfast.seams import Clock

JobState = Literal["queued", "running", "ok", "failed", "cancelled", "lost"]
JOB_STATES: tuple[JobState, ...] = ("queued", "running", "ok", "failed", "cancelled", "lost")
OVER: tuple[JobState, ...] = ("ok", "failed", "cancelled", "lost")
LIST_MAX = 1000
EVENT_COMMAND_CHARS_MAX = 200
_JOB, _DATASET, _SEQUENCE = schema.job, schema.dataset, schema.sequence


@dataclass(frozen=True, slots=True)
class Output:
    """A declared output; `dataset_id` once it has become a dataset."""

    name: str
    dataset_id: int | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a user asks for. `inputs` are dataset ids; `environment` is added to the documented minimum."""

    command: tuple[str, ...]
    inputs: tuple[int, ...] = ()
    outputs: tuple[str, ...] = ()
    owner: str | None = None
    wanted_pool: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the catalog knows it. Times are microseconds since 1970, UTC.

    `pid` and `born` are those of the job's supervisor; `holder` is the process that looks after it.
    """

    id: int
    owner: str | None
    state: JobState
    command: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[Output, ...]
    wanted_pool: str | None
    object_store_id: str | None
    folder: str | None
    pid: int | None
    born: str | None
    holder: str | None
    exit_code: int | None
    note: str | None
    environment: Mapping[str, str]
    cancel_wanted: bool
    created_us: int
    started_us: int | None
    finished_us: int | None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in OVER



COLUMNS = (
    _JOB.c.id, _JOB.c.owner, _JOB.c.state, _JOB.c.command, _JOB.c.inputs, _JOB.c.outputs, _JOB.c.wanted_pool,
    _JOB.c.object_store_id, _JOB.c.folder, _JOB.c.pid, _JOB.c.born, _JOB.c.holder, _JOB.c.exit_code,
    _JOB.c.note, _JOB.c.environment, _JOB.c.cancel_wanted, _JOB.c.created_us, _JOB.c.started_us,
    _JOB.c.finished_us,
)  # fmt: skip


class JobLedger:
    """Rows of `job`, as users see and change them. Safe from many threads and processes."""

    def __init__(self, db: Database, clock: Clock, *, events: EventLedger, leases: LeaseLedger) -> None:
        self._db, self._clock, self._events, self._leases = db, clock, events, leases
        this = _JOB.c.id == bindparam("which")
        self._take_id = db.statement(
            update(_SEQUENCE)
            .where(_SEQUENCE.c.name == "job")
            .values(next=_SEQUENCE.c.next + 1)
            .returning(_SEQUENCE.c.next)
        )
        dataset = select(_DATASET.c.state).where(_DATASET.c.id == bindparam("which"))
        self._input = db.statement(dataset if db.is_sqlite else dataset.with_for_update(read=True))
        self._insert = db.statement(
            insert(_JOB),
            columns=[
                "id", "owner", "state", "command", "inputs", "outputs", "wanted_pool", "environment",
                "created_us",
            ],
        )  # fmt: skip
        self._find = db.statement(select(*COLUMNS).where(this))
        self._end_queued = db.statement(
            update(_JOB)
            .where(and_(this, _JOB.c.state == "queued"))
            .values(
                state="cancelled", cancel_wanted=1, note=bindparam("new_note"), finished_us=bindparam("now")
            )
        )
        self._want_cancel = db.statement(
            update(_JOB)
            .where(and_(this, _JOB.c.state == "running", _JOB.c.cancel_wanted == 0))
            .values(cancel_wanted=1)
        )
        self._forget_folder = db.statement(update(_JOB).where(this).values(folder=None))
        self._with_folder = db.statement(
            select(*COLUMNS)
            .where(_JOB.c.folder.is_not(None))
            .where(_JOB.c.finished_us <= bindparam("before"))
            .where(_JOB.c.id > bindparam("after"))
            .order_by(_JOB.c.id)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        self._lists: dict[frozenset[str], Any] = {}

    def add(self, new: NewJob) -> Job:
        """Queue a job, durably, with leases on its inputs.

        `NotFound` or `Conflict` for inputs that cannot be used; then nothing is queued.
        """
        now = self._clock.now_us()
        with self._db.write() as cursor:
            for dataset_id in new.inputs:
                self._check_input(cursor, dataset_id)
            job_id = int(self._take_id.one(cursor, {})[0]) - 1
            for dataset_id in dict.fromkeys(new.inputs):
                self._leases.add(cursor, dataset_id, lease_holder(job_id))
            self._insert.run(
                cursor,
                {
                    "id": job_id, "owner": new.owner, "state": "queued", "command": _json(new.command),
                    "inputs": _json(new.inputs),
                    "outputs": outputs_json([Output(name) for name in new.outputs]),
                    "wanted_pool": new.wanted_pool, "environment": _json(dict(new.environment)),
                    "created_us": now,
                },
            )  # fmt: skip
            self.tell(cursor, job_id, "queued", f"queued: {_short(new.command)}", actor=new.owner)
            return self.find_in(cursor, job_id)

    def find(self, job_id: int) -> Job:
        """Everything that is known of a job. `NotFound`."""
        with self._db.read() as cursor:
            return self.find_in(cursor, job_id)

    def find_in(self, cursor: Cursor, job_id: int) -> Job:
        """The same within a transaction."""
        row = self._find.one(cursor, {"which": job_id})
        if row is None:
            raise NotFound(f"there is no job {job_id}; `holdfast jobs` lists them", operation="job")
        return _job(row)

    def page(
        self,
        *,
        owner: str | None = None,
        state: JobState | None = None,
        limit: int = 50,
        after: int | None = None,
        oldest_first: bool = False,
    ) -> list[Job]:
        """Newest first unless asked otherwise; `after` is an id, the page begins behind it."""
        parameters: dict[str, Any] = {"owner": owner, "state": state, "after": after}
        parameters = {name: value for name, value in parameters.items() if value is not None}
        asked = frozenset(parameters) | ({"oldest_first"} if oldest_first else frozenset())
        statement = self._lists.get(asked)
        if statement is None:
            statement = self._lists[asked] = self._db.statement(_listing(asked))
        with self._db.read() as cursor:
            rows = statement.all(cursor, {**parameters, "limit": max(1, min(limit, LIST_MAX))})
        return [_job(row) for row in rows]

    def cancel(self, job_id: int, actor: str | None = None) -> Job:
        """A queued job is cancelled at once; of a running one it is noted that somebody wants it to stop.

        One that is over stays as it is. `NotFound`.
        """
        now = self._clock.now_us()
        by = f" by {actor}" if actor else ""
        with self._db.write() as cursor:
            words = f"cancelled{by} before it began"
            if self._end_queued.run(cursor, {"which": job_id, "new_note": words, "now": now}) == 1:
                self._leases.release(cursor, lease_holder(job_id))
                self.tell(cursor, job_id, "cancelled", words, actor=actor)
            elif self._want_cancel.run(cursor, {"which": job_id}) == 1:
                self.tell(cursor, job_id, "stopping", f"asked to stop{by}", actor=actor)
            return self.find_in(cursor, job_id)

    def with_folder(self, finished_before_us: int, *, after: int = 0, limit: int = 100) -> list[Job]:
        """Jobs that ended by that time and still have their folder, by id."""
        with self._db.read() as cursor:
            rows = self._with_folder.all(
                cursor, {"before": finished_before_us, "after": after, "limit": limit}
            )
        return [_job(row) for row in rows]

    def forget_folder(self, job_id: int) -> None:
        """The job's folder is gone."""
        with self._db.write() as cursor:
            self._forget_folder.run(cursor, {"which": job_id})

    def tell(
        self,
        cursor: Cursor,
        job_id: int,
        kind: str,
        text: str,
        *,
        actor: str | None = None,
        object_store_id: str | None = None,
    ) -> None:
        """A line in the event log, in the transaction of what it tells."""
        self._events.add(
            cursor,
            self._clock.now_us(),
            f"job.{kind}",
            f"job {job_id} {text}",
            actor=actor,
            object_store_id=object_store_id,
        )

    def _check_input(self, cursor: Cursor, dataset_id: int) -> None:
        row = self._input.one(cursor, {"which": dataset_id})
        if row is None:
            raise NotFound(f"there is no dataset {dataset_id} to be an input", operation="job")
        if row[0] != "ok":
            raise Conflict(f"dataset {dataset_id} is {row[0]}: only one that is ok can be an input")


def lease_holder(job_id: int) -> str:
    """Under which name a job holds its inputs."""
    return f"job:{job_id}"


def outputs_json(outputs: Sequence[Output]) -> str:
    """As they stand in the row."""
    return _json([{"name": one.name, "dataset_id": one.dataset_id} for one in outputs])


def _listing(asked: frozenset[str]) -> Select[Any]:
    upwards = "oldest_first" in asked
    order = _JOB.c.id if upwards else _JOB.c.id.desc()
    clause = select(*COLUMNS).order_by(order).limit(bindparam("limit", type_=schema.Whole))
    if "owner" in asked:
        clause = clause.where(_JOB.c.owner == bindparam("owner"))
    if "state" in asked:
        clause = clause.where(_JOB.c.state == bindparam("state"))
    if "after" in asked:
        beyond = bindparam("after", type_=schema.Whole)
        clause = clause.where(_JOB.c.id > beyond if upwards else _JOB.c.id < beyond)
    return clause


def _job(row: Row) -> Job:
    given = dict(zip((column.name for column in COLUMNS), row, strict=True))
    for name in ("command", "inputs"):
        given[name] = tuple(json.loads(given[name]))
    given["outputs"] = tuple(Output(one["name"], one["dataset_id"]) for one in json.loads(given["outputs"]))
    given["environment"] = json.loads(given["environment"])
    given["cancel_wanted"] = bool(given["cancel_wanted"])
    return Job(**given)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(command: Sequence[str]) -> str:
    text = " ".join(command)
    return text if len(text) <= EVENT_COMMAND_CHARS_MAX else f"{text[:EVENT_COMMAND_CHARS_MAX]}…"
