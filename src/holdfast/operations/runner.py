"""Drives operations: plans them, applies their batches, writes down how far they are, obeys pause and cancel.

    operations = Operations(hold)
    row = operations.submit("scrub", {"pool": "newdata"}, actor="alice@example.org")
    operations.run(row.id)                    # in the foreground; or an engine does it (`OperationWork`)

After a kill the same call, or any engine, goes on behind the last batch that was written down. Of two
processes one works on an operation; the other follows its progress.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from holdfast.catalog.operations import (
    OPERATION_STATES,
    Failure,
    OperationLedger,
    OperationRow,
    OperationState,
)
from holdfast.catalog.progress import ProgressLedger
from holdfast.errors import Conflict, HoldfastError, Malformed, NotFound
from holdfast.hold.hold import Hold
from holdfast.hold.shapes import when
from holdfast.operations.base import Amount, Check, Interruptible, Operation, Parameters, carry_on
from holdfast.operations.drive import Drive, OnProgress, failed_step
from holdfast.operations.kinds import KINDS

LOOK_S = 0.1
FAILURES_SHOWN = 100
AT_ONCE = 2
AGAIN_MAX = 100_000  # failures that are tried again at once
_ID_MAX = 2**63 - 1


class Operations:
    """Operations of one hold. Safe from many threads and processes."""

    def __init__(self, hold: Hold, kinds: Mapping[str, Operation] = KINDS) -> None:
        catalog = hold.catalog
        self._hold, self._kinds = hold, kinds
        self.ledger = OperationLedger(
            catalog.db, hold.clock, events=catalog.events, holders=catalog.holders
        )
        self.progress = ProgressLedger(
            catalog.db, hold.clock, operations=self.ledger, holders=catalog.holders
        )

    def plan(self, kind: str, parameters: Parameters, *, check: Check = carry_on) -> dict[str, Any]:
        """What such an operation would do now, in the dry run's shape. Changes nothing.

        `check` is called now and then where that may take long; what it raises ends it.
        """
        operation = self._kind(kind)
        if isinstance(operation, Interruptible):
            return operation.plan_while(self._hold, parameters, check).to_json(kind)
        return operation.plan(self._hold, parameters).to_json(kind)

    def submit(
        self, kind: str, parameters: Parameters, *, actor: str | None = None, expected: Amount | None = None
    ) -> OperationRow:
        """Begin an operation, or find the same one that is not over yet; a paused one goes on.

        It waits for `run`, or for an engine. `expected` is what a plan of a moment ago said of its size; else one
        is made now. `Malformed` for a kind that there is not, `ConfigError` or
        `NotFound` for parameters that make no sense.
        """
        operation = self._kind(kind)
        known = self.ledger.unfinished(kind, parameters)
        if known is not None:
            return self.ledger.resume(known.id, actor) if known.state == "paused" else known
        if expected is None:
            plan = operation.plan(self._hold, parameters)
            expected = Amount(plan.objects, plan.size_bytes)
        return self.ledger.add(
            kind, parameters, actor=actor, objects=expected.objects, size_bytes=expected.size_bytes
        )

    def run(
        self,
        operation_id: int,
        *,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
    ) -> OperationRow:
        """See an operation to its end, or to its pause, from here; whoever works on it. It as it is then.

        With `stop` set, or interrupted, it is left where it is and can be taken up again.
        """
        stop = stop or threading.Event()
        while True:
            row = self.ledger.find(_identify(operation_id))
            if on_progress is not None:
                on_progress(row)
            if row.state != "running" or stop.is_set():
                return row
            claimed = self.progress.claim(row.id)
            if claimed is None:
                stop.wait(LOOK_S)
            else:
                self.drive(claimed, stop, on_progress)

    def drive(
        self, claimed: OperationRow, stop: threading.Event, on_progress: OnProgress | None = None
    ) -> None:
        """Work on an operation that this process has just claimed, until it is over, paused or to be left."""
        kind = self._kind(claimed.kind)
        Drive(self._hold, self.progress, kind, claimed, stop=stop, on_progress=on_progress).run()

    def get(self, operation_id: int | str) -> OperationRow:
        """One operation; `NotFound`."""
        return self.ledger.find(_identify(operation_id))

    def list(
        self, *, state: str | None = None, limit: int = 50, after: int | None = None, oldest_first: bool = False
    ) -> list[OperationRow]:
        """Newest first unless asked otherwise, 1,000 at most; `after` is the last id of the page before."""
        known: OperationState | None = None
        if state is not None:
            known = next((one for one in OPERATION_STATES if one == state), None)
            if known is None:
                states = ", ".join(OPERATION_STATES)
                raise Malformed(f"{state!r} is no state of an operation; use one of: {states}")
        return self.ledger.page(state=known, limit=limit, after=after, oldest_first=oldest_first)

    def pause(self, operation_id: int | str, *, actor: str | None = None) -> OperationRow:
        """It stops after the step that it is at. `Conflict` if it is over."""
        return self.ledger.want(_identify(operation_id), "pause", actor)

    def cancel(self, operation_id: int | str, *, actor: str | None = None) -> OperationRow:
        """It stops for good after the step that it is at. `Conflict` if it is over."""
        return self.ledger.want(_identify(operation_id), "cancel", actor)

    def resume(self, operation_id: int | str, *, actor: str | None = None) -> OperationRow:
        """A paused or failed one waits for somebody to go on with it. `Conflict` if it is over."""
        return self.ledger.resume(_identify(operation_id), actor)

    def again(self, operation_id: int | str, *, actor: str | None = None) -> OperationRow:
        """Begin it again for what is left: a failed or paused one goes on where it was; of a move that is over, what
        could not be moved; else the same again. `Conflict` if it is under way, or a move that left nothing."""
        row = self.get(operation_id)
        if row.state in ("failed", "paused"):
            return self.ledger.resume(row.id, actor)
        if row.state == "running":
            raise Conflict(f"operation {row.id} is under way; it comes back to what is busy by itself")
        parameters = dict(row.parameters)
        if row.kind == "move" and row.state == "done":
            items = [one.item for one in self.ledger.failures(row.id, AGAIN_MAX)]
            parameters["datasets"] = [int(item) for item in items if item.isascii() and item.isdigit()]
            if not parameters["datasets"]:
                raise Conflict(f"operation {row.id} has moved all that it was asked for")
        return self.submit(row.kind, parameters, actor=actor)

    def to_json(self, row: OperationRow, *, failures: int = FAILURES_SHOWN) -> dict[str, Any]:
        """The operation's shape in the API and on the command line, with its first failures."""
        rate = row.result.get("rate_bytes_s")
        is_running = row.state == "running"
        return {
            "id": row.id,
            "kind": row.kind,
            "state": row.state,
            "parameters": dict(row.parameters),
            "objects_total": max(row.objects_total, row.objects_done),
            "objects_done": row.objects_done,
            "bytes_total": max(row.bytes_total, row.bytes_done),
            "bytes_done": row.bytes_done,
            "rate_bytes_s": rate,
            "eta_s": _eta_s(row) if is_running else None,
            "result": dict(row.result.get("counts", {})),
            "note": row.result.get("note"),
            "wanted": row.wanted,
            "actor": row.actor,
            "created": when(row.created_us),
            "updated": when(row.updated_us),
            "finished": when(row.finished_us),
            "failures": [_failure_json(one) for one in self.ledger.failures(row.id, failures)],
        }

    def _kind(self, kind: str) -> Operation:
        found = self._kinds.get(kind)
        if found is None:
            raise Malformed(f"there is no operation {kind!r}; there are: {', '.join(sorted(self._kinds))}")
        return found


class OperationWork:
    """Operations, as an engine runs them."""

    kind = "operation"
    at_once = AT_ONCE

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._claimed: dict[int, OperationRow] = {}

    def claim(self) -> int | None:
        """The oldest one that nobody works on."""
        for operation_id in self._operations.ledger.waiting():
            row = self._operations.progress.claim(operation_id)
            if row is not None:
                self._claimed[row.id] = row
                return row.id
        return None

    def run(self, item_id: int, stop: threading.Event) -> None:
        """Until it is over, paused, or to be left."""
        row = self._claimed.pop(item_id, None) or self._operations.progress.claim(item_id)
        if row is not None:
            self._operations.drive(row, stop)

    def give_up(self, item_id: int, error: BaseException) -> None:
        """It failed; it can be resumed."""
        progress = self._operations.progress
        row = progress.claim(item_id)
        if row is not None:
            with suppress(HoldfastError):
                progress.save(row, failed_step(row, str(error)))
            progress.finish(row, "failed")


def _failure_json(one: Failure) -> dict[str, Any]:
    dataset: int | str = int(one.item) if one.item.isascii() and one.item.isdigit() else one.item
    return {"dataset": dataset, "object_store_id": one.object_store_id, "error": one.error, "why": one.why}


def _eta_s(row: OperationRow) -> float | None:
    for total, done, rate in (
        (row.bytes_total, row.bytes_done, row.result.get("rate_bytes_s")),
        (row.objects_total, row.objects_done, row.result.get("rate_objects_s")),
    ):
        if total and rate:
            return float(round(max(0, total - done) / rate, 1))
    return None


def _identify(operation_id: int | str) -> int:
    if isinstance(operation_id, str):
        text = operation_id.strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise NotFound(
                f"there is no operation {operation_id!r}: its id is a number; `holdfast ops` lists them", operation="op"
            )
        operation_id = int(text)
    if not 1 <= operation_id <= _ID_MAX:
        raise NotFound(f"there is no operation {operation_id}; `holdfast ops` lists them", operation="op")
    return operation_id
