"""`DbosEngine`: work runs as DBOS workflows, in this process, on a database of their own.

An item that is claimed becomes a workflow that DBOS has recorded before the item's first step. If its process
dies, another executor takes the workflow over: every `REAP_S` the dead are looked for among the catalog's
holders, and their workflows resumed. DBOS would do that by itself only for its own executor id, which is
unique here. A workflow that is over is removed from the record.

DBOS is used as it is free: no admin server, no conductor, no enterprise package. It keeps one instance per
process, and so does this engine. Values are stored as JSON, never as pickles. The application version is
fixed: what one version of Holdfast began, the next one ends. Its SQLite file is put in WAL; losing its last
moments in a power cut loses nothing, because the catalog knows what is to be run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import Blocked
from holdfast.operations.engine import Engine
from holdfast.seams import Clock

if TYPE_CHECKING:
    from dbos import DBOS

ENGINE_FILE = "engine.sqlite"
POSTGRES_SCHEMA = "holdfast_engine"
APPLICATION, APPLICATION_VERSION = "holdfast", "1"
WORKFLOW = "holdfast.work"
REAP_S = 15.0
FORGET_AT_ONCE = 100
PENDING_MAX = 1000
LISTEN_S = 1.0

_ACTIVE: list[DbosEngine] = []  # DBOS keeps one instance per process
_WORKFLOWS: list[Callable[[str, int], None]] = []


class DbosEngine(Engine):
    """See the head of the file. `is_alive` tells of an executor id whether its process lives."""

    def __init__(
        self, database_url: str, executor_id: str, is_alive: Callable[[str], bool], clock: Clock | None = None
    ) -> None:
        super().__init__(clock)
        self._database_url, self._executor_id, self._is_alive = database_url, executor_id, is_alive
        self._dbos: type[DBOS] | None = None
        self._number = itertools.count(1)
        self._begun: set[str] = set()
        self._over: deque[str] = deque()
        self._reap_at_s = 0.0

    def _open(self) -> None:
        if _ACTIVE:
            raise Blocked("this process runs an engine already; stop it first")
        _quiet_environment()
        from dbos import DBOS

        url = self._database_url
        options: dict[str, Any] = {}
        if url.startswith("sqlite:"):
            _make_sqlite(Path(url.removeprefix("sqlite:///")))
            options["db_engine_kwargs"] = {"connect_args": {"factory": _Connection}}
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": url,
                "dbos_system_schema": POSTGRES_SCHEMA,
                "executor_id": self._executor_id,
                "application_version": APPLICATION_VERSION,
                "serializer": _serializer(),
                "log_level": "ERROR",
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": LISTEN_S,
                **options,  # type: ignore[typeddict-item]
            }
        )
        if not _WORKFLOWS:
            _WORKFLOWS.append(DBOS.workflow(name=WORKFLOW)(_work))
        _ACTIVE.append(self)
        try:
            DBOS.launch()
        except BaseException:
            _ACTIVE.clear()
            DBOS.destroy()
            raise
        self._dbos = DBOS
        self._forget_old()

    def _begin(self, kind: str, item_id: int) -> None:
        from dbos import SetWorkflowID

        assert self._dbos is not None, "the engine is open"
        workflow_id = f"{kind}-{item_id}-{self._executor_id}-{next(self._number)}"
        self._begun.add(workflow_id)
        with SetWorkflowID(workflow_id):
            self._dbos.start_workflow(_WORKFLOWS[0], kind, item_id)

    def work(self, kind: str, item_id: int) -> None:
        """The body of every workflow, on a thread of DBOS."""
        assert self._dbos is not None, "the engine is open"
        workflow_id = self._dbos.workflow_id
        assert workflow_id is not None, "this is the body of a workflow"
        begun_here = workflow_id in self._begun
        if begun_here or self.admit(kind, item_id):  # one taken over is not counted yet
            self.perform(kind, item_id)
        self._begun.discard(workflow_id)
        self._over.append(workflow_id)

    def _tend(self) -> None:
        assert self._dbos is not None, "the engine is open"
        if self._over:
            self._forget(self._dbos)
        now_s = self._clock.monotonic_s()
        if now_s >= self._reap_at_s:
            self._reap_at_s = now_s + REAP_S
            self._resume_the_orphaned(self._dbos)

    def _close(self) -> None:
        if self._dbos is None:
            return
        if self._over:
            self._forget(self._dbos)
        self._dbos.destroy()
        self._dbos = None
        _ACTIVE.clear()

    def _resume_the_orphaned(self, dbos: type[DBOS]) -> None:
        pending = dbos.list_workflows(
            status="PENDING", name=WORKFLOW, limit=PENDING_MAX, load_input=False, load_output=False
        )
        for one in pending:
            executor = one.executor_id
            if executor is not None and executor != self._executor_id and not self._is_alive(executor):
                dbos.resume_workflow(one.workflow_id)

    def _forget(self, dbos: type[DBOS]) -> None:
        """Remove workflows from the record that are over."""
        ids = [self._over.popleft() for _ in range(min(len(self._over), FORGET_AT_ONCE))]
        found = dbos.list_workflows(workflow_ids=ids, status="PENDING", load_input=False, load_output=False)
        unfinished = {one.workflow_id for one in found}  # the body has returned, DBOS has not noted it yet
        self._over.extend(one for one in ids if one in unfinished)
        over = [one for one in ids if one not in unfinished]
        if over:
            dbos.delete_workflows(over)

    def _forget_old(self) -> None:
        """Those that ended while their process died."""
        assert self._dbos is not None, "the engine is open"
        found = self._dbos.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"], name=WORKFLOW, limit=PENDING_MAX, load_input=False,
            load_output=False,
        )  # fmt: skip
        if found:
            self._dbos.delete_workflows([one.workflow_id for one in found])


def _work(kind: str, item_id: int) -> None:
    if _ACTIVE:
        _ACTIVE[0].work(kind, item_id)


class _Connection(sqlite3.Connection):
    """A connection to the engine's own file, which need not survive a power cut to the last moment."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous=NORMAL")


def _make_sqlite(path: Path) -> None:
    """The file, in WAL: DBOS does not do that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _serializer() -> Any:
    from dbos import Serializer

    class Json(Serializer):
        """Stored values are JSON: readable by people and other programs, and never code."""

        def serialize(self, data: Any) -> str:
            return json.dumps(data)

        def deserialize(self, serialized_data: str) -> Any:
            return json.loads(serialized_data)

        def name(self) -> str:
            return "holdfast_json"

    return Json()


def _quiet_environment() -> None:
    """DBOS reads settings of its own cloud from the environment; none of them is meant for us."""
    for name in [name for name in os.environ if name.startswith("DBOS__")]:
        del os.environ[name]
