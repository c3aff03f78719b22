"""In which order a scrub reads: what was proved longest ago first (docs/design/0015-scrub-and-repair.md).

    turn = Turn(ledger, pools, place, ...)
    while (page := turn.next_page()) is not None: ...   # turn.place is then the cursor behind that page

One page is in memory. Looks only; knows nothing of reading.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from holdfast.catalog.integrity import FOR_EVER_US, Due, IntegrityLedger

PAGE_REPLICAS = 64
PAGE_BYTES = 256 * 1024 * 1024  # or fewer replicas, when they are so large together

Phase = Literal["never", "aged", "ahead", "late", "over"]
_NEXT: dict[Phase, Phase] = {"never": "aged", "aged": "ahead", "ahead": "late", "late": "over", "over": "over"}


@dataclass(frozen=True, slots=True)
class Place:
    """How far a scrub is: a phase, what it goes by there, and what was taken since it began (`started_us`)."""

    started_us: int
    phase: Phase = "never"
    at_us: int = -1
    dataset_id: int = 0
    taken_bytes: int = 0

    @classmethod
    def of(cls, cursor: str | None, now_us: int) -> Place:
        """What a cursor says; the beginning for none, and for one of before there was this order."""
        if cursor is None or not cursor.startswith("{"):
            return cls(now_us)
        return cls(**json.loads(cursor))

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a scrub keeps to. `older_than_s`: what was proved since is left out. `limit_bytes`: it ends when so many
    were taken. `at_once`: so many replicas a page has at least, if there are so many."""

    older_than_s: float = 0
    limit_bytes: int | None = None
    at_once: int = 1


class Turn:
    """One walk over the replicas of some pools."""

    def __init__(
        self, ledger: IntegrityLedger, pools: Sequence[str], place: Place, bounds: Bounds, now_us: Callable[[], int]
    ) -> None:
        self._ledger, self._pools, self._bounds, self._now_us = ledger, tuple(pools), bounds, now_us
        self.place = place
        self._before_us = place.started_us + 1 - int(bounds.older_than_s * 1_000_000)

    def next_page(self) -> list[Due] | None:
        """The next some dozens; None when all is done, or the budget is spent."""
        limit = self._bounds.limit_bytes
        while self.place.phase != "over" and (limit is None or self.place.taken_bytes < limit):
            found = self._look()
            if found:
                return self._take(found)
            self.place = self._begin(_NEXT[self.place.phase])
        return None

    def _look(self) -> list[Due]:
        place, many = self.place, PAGE_REPLICAS
        spot = (place.at_us, place.dataset_id)
        if place.phase == "never":
            return self._ledger.never_proved(self._pools, place.dataset_id, many)
        if place.phase == "aged":
            return self._ledger.proved_before(self._pools, spot, self._before_us, many)
        if place.phase == "ahead":
            return self._ledger.proved_before(self._pools, spot, FOR_EVER_US, many)
        return self._ledger.changed_since(self._pools, spot, self._before_us, many)

    def _begin(self, phase: Phase) -> Place:
        """The first place of a phase."""
        at_us = {"ahead": self._now_us() + 1, "late": self.place.started_us}.get(phase, -1)
        return replace(self.place, phase=phase, at_us=at_us, dataset_id=0)

    def _take(self, found: list[Due]) -> list[Due]:
        """As many of these as make a page; all replicas of one dataset with one date are taken or left together."""
        limit = self._bounds.limit_bytes
        page: list[Due] = []
        size_bytes = 0
        for one in found:
            if page and (one.at_us, one.dataset_id) != (page[-1].at_us, page[-1].dataset_id):
                is_large = size_bytes >= PAGE_BYTES and len(page) >= 2 * self._bounds.at_once
                is_spent = limit is not None and self.place.taken_bytes + size_bytes >= limit
                if len(page) >= PAGE_REPLICAS or is_large or is_spent:
                    break
            page.append(one)
            size_bytes += one.replica.size_bytes
        last = page[-1]
        self.place = replace(
            self.place, at_us=last.at_us, dataset_id=last.dataset_id, taken_bytes=self.place.taken_bytes + size_bytes
        )
        return page
