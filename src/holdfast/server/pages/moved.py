"""What an operation's page says more where datasets were moved: from where to where, how it ended, its receipt."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from fastapi import Request

from holdfast.catalog.operations import OperationRow
from holdfast.catalog.receipts import MovedBetween
from holdfast.operations.receipts import KINDS
from holdfast.operations.runner import Operations
from holdfast.server.context import hold_of, house_of
from holdfast.server.pages import words

REMEMBERED_MAX = 50
ASKED_AGAIN_S = 2.0
COST_SHARE = 20  # figures that took a second are shown for twenty
SAFE = "safe to unplug"


@dataclass(frozen=True, slots=True)
class Ending:
    """The last word, to be said loudly."""

    is_good: bool
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class More:
    """What an operation's page shows besides progress. `again` is the words of the button that begins what is left."""

    asked: str
    between: tuple[MovedBetween, ...]
    ending: Ending | None
    receipt: str | None
    again: str | None


class Figures:
    """How much operations have moved between pools, not asked for more often than it costs. Safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[float, int, tuple[MovedBetween, ...]]] = {}

    def of(self, request: Request, row: OperationRow) -> tuple[MovedBetween, ...]:
        """From where to where, as it was a moment ago; as it is, once the operation is over."""
        hold = hold_of(request)
        now_s = hold.clock.monotonic_s()
        with self._lock:
            until_s, seen_us, found = self._known.get(row.id, (0.0, 0, ()))
        if row.updated_us == seen_us or (row.state == "running" and now_s < until_s):
            return found
        found = tuple(hold.catalog.receipts.between(row.id))
        took_s = hold.clock.monotonic_s() - now_s
        with self._lock:
            self._known[row.id] = (now_s + max(ASKED_AGAIN_S, COST_SHARE * took_s), row.updated_us, found)
            while len(self._known) > REMEMBERED_MAX:
                del self._known[next(iter(self._known))]
        return found


def more_of(request: Request, operations: Operations, row: OperationRow) -> More:
    """For the page of this operation."""
    if row.kind not in KINDS:
        return More("", (), None, None, None)
    parts = house_of(request).parts
    figures: Figures = parts.get(Figures) or parts.setdefault(Figures, Figures())
    between = figures.of(request, row)
    return More(
        asked=_asked(row),
        between=between,
        ending=_ending(row),
        receipt=f"/api/operations/{row.id}/receipt" if between or row.state == "done" else None,
        again=_again(operations, row),
    )


def _asked(row: OperationRow) -> str:
    """What was asked for, in words."""
    given = row.parameters
    said = {
        "move": f"{words.counted(len(given.get('datasets', ())), 'dataset')} to {given.get('to')}",
        "drain": f"out of {given.get('pool')}, to {given.get('to') or 'where new data goes'}",
        "rebalance": "all equally full" if given.get("by") == "percent" else "to their shares",
    }[row.kind]
    rate = given.get("limit_rate_bytes_s")
    return said + (f", not faster than {words.size_words(rate)}/s" if rate else "")


def _ending(row: OperationRow) -> Ending | None:
    """How a drain ended; of the others their state says enough."""
    note = str(row.result.get("note") or "")
    if row.kind != "drain" or row.state != "done" or SAFE not in note:
        return None
    is_good = note.startswith(SAFE)
    text = words.sentence(note.partition(": ")[2] or note)
    return Ending(is_good, "Safe to unplug" if is_good else "Not safe to unplug", text)


def _again(operations: Operations, row: OperationRow) -> str | None:
    if row.state == "cancelled":
        return "Begin it again"
    if row.state == "done" and operations.ledger.failures(row.id, 1):
        return "Try these again" if row.kind == "move" else "Try again what is left"
    return None
