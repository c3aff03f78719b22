"""What moving operations share: how wanted moves are done in batches, and where a plan thinks they would go.

A dataset that cannot be moved is told with its reason and left where it is; the operation goes on. What is being
written, replaced or moved by others just now is come back to at the end, some times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from holdfast.catalog.moves import MoveWanted
from holdfast.errors import ConfigError
from holdfast.hold.hold import Hold
from holdfast.hold.moving import Moved
from holdfast.operations.base import Amount, Batch, Parameters, Progress
from holdfast.operations.pace import Pace, at_once
from holdfast.placement.policy import Request

BATCH = 500
BUSY = ("later", "changed", "lost")
BUSY_MAX = 100_000
TURNS_MAX = 5
PAUSE_S = 2.0
CHECK_BYTES = 16 * 1024 * 1024  # between two looks whether a pause or a cancel is wanted
GROUPS_MAX = 1000  # a plan places datasets in so many heaps, not one by one


class Mover:
    """Moves what one operation wants, batch by batch."""

    def __init__(self, hold: Hold, parameters: Parameters) -> None:
        at_once(parameters)
        self._hold, self._parameters = hold, parameters
        self._pace = Pace.of(hold.clock, parameters)
        self._busy: dict[int, MoveWanted] = {}
        self.told: set[int] = set()  # why these were not moved was said; some of them, if there are very many

    def batches(self, pages: Iterable[Sequence[MoveWanted]]) -> Iterator[Batch]:
        """A batch for each page, then some more for what was busy, with pauses between. The cursor is the last id."""
        last = 0
        for page in pages:
            last = page[-1].dataset_id
            yield Batch(str(last), self._act(page))
        for turn in range(1, TURNS_MAX + 1):
            again = list(self._busy.values())
            self._busy.clear()
            if not again:
                return
            yield Batch(str(last), self._pause(len(again)))
            for start in range(0, len(again), BATCH):
                yield Batch(str(last), self._act(again[start : start + BATCH], is_last=turn == TURNS_MAX))

    def _pause(self, count: int) -> Callable[[Progress], None]:
        def apply(progress: Progress) -> None:
            progress.note(f"{count} were busy and are tried again")
            progress.check()
            self._hold.clock.sleep(PAUSE_S)

        return apply

    def _act(self, wanted: Sequence[MoveWanted], *, is_last: bool = False) -> Callable[[Progress], None]:
        def apply(progress: Progress) -> None:
            by_id = {one.dataset_id: one for one in wanted}
            for moved in self._hold.moving.move(
                wanted, operation_id=progress.operation_id, at_once=self._parameters.get("concurrency"),
                on_bytes=_Passing(self._pace, progress),
            ):  # fmt: skip
                if moved.code in BUSY and not is_last and len(self._busy) < BUSY_MAX:
                    self._busy[moved.dataset_id] = by_id[moved.dataset_id]
                    continue
                _tell(moved, progress)
                if not moved.is_moved and moved.code != "done" and len(self.told) < BUSY_MAX:
                    self.told.add(moved.dataset_id)

        return apply


def _tell(moved: Moved, progress: Progress) -> None:
    """What became of one."""
    progress.done(objects=1, size_bytes=moved.size_bytes)
    if moved.is_moved:
        progress.count("moved")
    elif moved.code == "done":
        progress.count("there_already")
    else:
        progress.count("not_moved")
        name = "Conflict" if moved.code in BUSY else "Blocked"
        progress.failed(moved.dataset_id, moved.error or name, moved.why)


class _Passing:
    """Bytes that pass: as fast as allowed, and a look now and then whether to go on. Called from several threads."""

    def __init__(self, pace: Pace, progress: Progress) -> None:
        self._pace, self._progress = pace, progress
        self._since_bytes = 0
        self._lock = threading.Lock()

    def __call__(self, size_bytes: int) -> None:
        self._pace.passed(size_bytes)
        with self._lock:
            self._since_bytes += size_bytes
            if self._since_bytes < CHECK_BYTES:
                return
            self._since_bytes = 0
            self._progress.check()


class Heaps:
    """Many sizes as a few heaps of datasets, for a plan. Memory does not grow with their number."""

    def __init__(self, total_bytes: int) -> None:
        self._step_bytes = max(1, total_bytes // GROUPS_MAX)
        self.heaps: list[Amount] = []
        self._open = Amount()

    def add(self, size_bytes: int) -> None:
        """One dataset."""
        self._open = Amount(self._open.objects + 1, self._open.size_bytes + size_bytes)
        if self._open.size_bytes >= self._step_bytes or self._open.objects >= 10_000:
            self.heaps.append(self._open)
            self._open = Amount()

    def all(self) -> list[Amount]:
        """Every heap."""
        return [*self.heaps, self._open] if self._open.objects else self.heaps


def place(
    hold: Hold, heaps: Iterable[Amount], *, target: str | None, leave: str | None
) -> tuple[dict[str, Amount], dict[str, Amount]]:
    """Where placement would put these as things stand now: pool -> amount, and reason -> amount of what finds no room.
    An estimate: other people put and remove datasets meanwhile."""
    rows = {row.object_store_id: row for row in hold.catalog.pools.all()}
    decide = hold.poolset.decide({} if leave is None else {leave: f"it is in pool {leave} now"})
    turns: dict[tuple[str, str], dict[str, int]] = {}
    there: dict[str, Amount] = {}
    nowhere: dict[str, Amount] = {}
    for heap in heaps:
        choices = decide(
            Request(heap.size_bytes, pool=target), rows, lambda node, signature: turns.get((node, signature), {})
        )
        choice = next((one for one in choices if one.possible and one.object_store_id != leave), None)
        if choice is None:
            why = "; ".join(f"{one.object_store_id}: {one.reason}" for one in choices if one.object_store_id != leave)
            nowhere[why] = _sum(nowhere.get(why), heap)
            continue
        for step in choice.rounds:
            counts = turns.setdefault((step.node_id, step.signature), {})
            counts[step.child] = counts.get(step.child, 0) + 1
        name = choice.object_store_id
        rows[name] = replace(rows[name], reserved_bytes=rows[name].reserved_bytes + heap.size_bytes)
        there[name] = _sum(there.get(name), heap)
    return there, nowhere


def measured_rate(hold: Hold, parameters: Parameters) -> float | None:
    """Bytes per second to expect: the limit that is asked for, or what operations of this kind reached lately."""
    limit = parameters.get("limit_rate_bytes_s")
    return float(limit) if limit else hold.catalog.receipts.rate_bytes_s()


def pool_of(hold: Hold, parameters: Mapping[str, Any], name: str, *, needed: bool = False) -> str | None:
    """A pool's id among the parameters; `ConfigError` if it is none, `NotFound` if there is no such pool."""
    found = parameters.get(name)
    if found is None:
        if needed:
            raise ConfigError(f"{name}: which pool? Write its id")
        return None
    if not isinstance(found, str):
        raise ConfigError(f"{name}: {found!r} is no pool's id")
    hold.poolset.configured(found)
    return found


def _sum(before: Amount | None, more: Amount) -> Amount:
    before = before or Amount()
    return Amount(before.objects + more.objects, before.size_bytes + more.size_bytes)
