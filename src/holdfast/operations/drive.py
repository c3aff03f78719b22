"""One operation while it is worked on: its batches applied, its progress told, its cursor written down."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from holdfast.catalog.operations import Failure, OperationRow, Wanted
from holdfast.catalog.progress import ProgressLedger, Step
from holdfast.errors import Cancelled, CatalogError, HoldfastError
from holdfast.hold.hold import Hold
from holdfast.operations.base import Batch, Operation

BEAT_S = 0.5
ATTEMPTS = 4
FIRST_PAUSE_S = 0.5
NOTE_CHARS_MAX = 500

OnProgress = Callable[[OperationRow], None]


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far an operation is for good: the cursor, and what stands before it."""

    at: str | None = None
    objects: int = 0
    size_bytes: int = 0

    @classmethod
    def of(cls, row: OperationRow) -> _Mark:
        if row.cursor is None:
            return cls()
        found = json.loads(row.cursor)
        return cls(found["at"], found["objects"], found["bytes"])

    def text(self) -> str | None:
        if self.at is None:
            return None
        return json.dumps({"at": self.at, "objects": self.objects, "bytes": self.size_bytes})


class _Left(Exception):
    """Not to be worked on here any longer."""


class Drive:
    """One operation, worked on by this process until it is over, paused, or somebody else's. Is `Progress`."""

    def __init__(
        self,
        hold: Hold,
        ledger: ProgressLedger,
        operation: Operation,
        row: OperationRow,
        *,
        stop: threading.Event,
        on_progress: OnProgress | None,
    ) -> None:
        self._hold, self._ledger, self._operation, self._row = hold, ledger, operation, row
        self._stop, self._on_progress = stop, on_progress
        self._mark = _Mark.of(row)
        self._counts: Counter[str] = Counter(row.result.get("counts_before", row.result.get("counts", {})))
        self._note: str | None = None
        self._wanted: Wanted | None = None
        self._started_s = self._beat_s = hold.clock.monotonic_s()
        self._begin_objects, self._begin_bytes = self._mark.objects, self._mark.size_bytes
        self._lock = threading.Lock()
        self._objects = self._bytes = 0  # what the batch has told so far
        self._more: Counter[str] = Counter()
        self._failures: dict[str, Failure] = {}

    def run(self) -> None:
        """Work, and write down how it ended."""
        try:
            self._work()
        except _Left:
            self._fresh()
            if self._wanted is None:
                self._ledger.let_go(self._row)
            else:
                self._save(self._mark)
                self._ledger.finish(self._row, "paused" if self._wanted == "pause" else "cancelled")
        except CatalogError:
            self._let_go()
            raise
        except HoldfastError as error:
            self._fresh()
            self._note = str(error)
            self._save(self._mark)
            self._ledger.finish(self._row, "failed")
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        with suppress(HoldfastError):  # the catalog may be what is in trouble
            self._ledger.let_go(self._row)

    def _work(self) -> None:
        for batch in self._operation.batches(self._hold, self._row.parameters, self._mark.at):
            self._apply(batch)
            with self._lock:
                done = _Mark(
                    batch.cursor, self._mark.objects + self._objects, self._mark.size_bytes + self._bytes
                )
                self._counts += self._more
                self._mark = done
                failures, self._failures = self._failures, {}
                self._objects = self._bytes = 0
                self._more = Counter()
            self._save(done, list(failures.values()))
            self._obey()
        self._ledger.finish(self._row, "done")

    def _apply(self, batch: Batch) -> None:
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            self._fresh()
            try:
                return batch.apply(self)
            except Cancelled:
                self._obey()
                raise
            except HoldfastError as error:
                if not error.retryable or attempt == ATTEMPTS:
                    raise
                self._note = f"tries again: {error}"
            if self._stop.wait(pause_s):
                raise _Left
            pause_s *= 2
        return None

    def _fresh(self) -> None:
        """Forget what the batch has told so far."""
        with self._lock:
            self._objects = self._bytes = 0
            self._more = Counter()
            self._failures = {}

    def _obey(self) -> None:
        if self._wanted is not None or self._stop.is_set():
            raise _Left

    def _save(self, mark: _Mark, failures: list[Failure] | None = None) -> None:
        """Write down the mark, and what was told since."""
        self._beat_s = self._hold.clock.monotonic_s()
        with self._lock:
            objects, size_bytes = mark.objects + self._objects, mark.size_bytes + self._bytes
            counts, before = dict(self._counts + self._more), dict(self._counts)
        elapsed_s = max(self._beat_s - self._started_s, 0.001)
        result = {
            "counts": counts,
            "counts_before": before,
            "note": self._note,
            "rate_bytes_s": round((size_bytes - self._begin_bytes) / elapsed_s),
            "rate_objects_s": round((objects - self._begin_objects) / elapsed_s, 3),
        }
        step = Step(mark.text(), objects, size_bytes, result, failures or ())
        mine, self._wanted = self._ledger.save(self._row, step)
        if not mine:
            raise _Left
        if self._on_progress is not None:
            row = replace(self._row, objects_done=objects, bytes_done=size_bytes, result=result)
            self._on_progress(row)

    # -- Progress -----------------------------------------------------------------------------------------

    @property
    def operation_id(self) -> int:
        return self._row.id

    def done(self, *, objects: int = 0, size_bytes: int = 0) -> None:
        with self._lock:
            self._objects += objects
            self._bytes += size_bytes
        self._beat()

    def failed(
        self,
        item: int | str,
        error: HoldfastError | str,
        why: str = "",
        *,
        object_store_id: str | None = None,
    ) -> None:
        name = error if isinstance(error, str) else type(error).__name__
        with self._lock:
            self._failures[str(item)] = Failure(str(item), object_store_id, name, why or str(error))

    def count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._more[name] += number

    def note(self, text: str) -> None:
        self._note = text[:NOTE_CHARS_MAX]
        self._beat()

    def check(self) -> None:
        self._beat()
        if self._wanted is not None or self._stop.is_set():
            raise Cancelled("it is to stop here")

    def _beat(self) -> None:
        """Now and then: show that it lives and how far it is, see what is wanted."""
        if self._hold.clock.monotonic_s() - self._beat_s >= BEAT_S:
            self._save(self._mark)


def failed_step(row: OperationRow, why: str) -> Step:
    """The last thing to write down of an operation that could not be worked on."""
    mark = _Mark.of(row)
    result = {**row.result, "counts": row.result.get("counts_before", {}), "note": why}
    return Step(row.cursor, mark.objects, mark.size_bytes, result)
