"""How long ago a pool's bytes were proved, against its target. Frozen values; `catalog.integrity` has the figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.catalog.integrity import COUNTED_MAX, FOR_EVER_US, Figures, IntegrityLedger
from holdfast.hold.shapes import when


@dataclass(frozen=True, slots=True)
class PoolIntegrity:
    """`oldest_s`: how long ago the byte was verified whose verification is the oldest, None in an empty pool.
    `overdue` replicas, with `overdue_bytes`, are older than `target_s`; `never` were not verified since they were
    recorded. Damaged and missing ones are counted apart. `at_least`: there are more than were counted."""

    oldest_us: int | None
    oldest_s: float | None
    target_s: int | None
    overdue: int
    overdue_bytes: int
    never: int
    damaged: int
    missing: int
    at_least: bool

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target_s is None else self.oldest_s is None or self.oldest_s <= self.target_s

    def to_json(self) -> dict[str, Any]:
        """As part of a pool's shape."""
        return {
            "oldest_verified": when(self.oldest_us), "oldest_unverified_s": self.oldest_s, "target_s": self.target_s,
            "target_met": self.is_met, "overdue": self.overdue, "overdue_bytes": self.overdue_bytes,
            "never_verified": self.never, "damaged": self.damaged, "missing": self.missing, "at_least": self.at_least,
        }  # fmt: skip


def integrity_of(ledger: IntegrityLedger, pool: str, target_s: int | None, now_us: int) -> PoolIntegrity:
    """A pool's figures now, by one query."""
    before_us = -FOR_EVER_US if target_s is None else now_us - target_s * 1_000_000
    found = ledger.figures(pool, before_us)
    oldest_s = None if found.oldest_us is None else round(max(0, now_us - found.oldest_us) / 1e6, 1)
    return PoolIntegrity(
        found.oldest_us, oldest_s, target_s, found.overdue, found.overdue_bytes, found.never, found.suspect,
        found.missing, _is_cut(found),
    )  # fmt: skip


def _is_cut(found: Figures) -> bool:
    return COUNTED_MAX in (found.overdue, found.never, found.suspect, found.missing) or found.overdue > COUNTED_MAX
