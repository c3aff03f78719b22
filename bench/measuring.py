"""What a timing is here: two things done in turn, A B A B ..., and the median of the ratios pair by pair.

A ratio holds when the machine's speed drifts; a time in seconds does not. `Row.met` compares with the target.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table. `target` says what `ratio` has to be: at least, or at most, that."""

    name: str
    ours: float
    peer: float
    ratio: float
    target: str
    met: bool
    unit: str = "s"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def faster(
    name: str, ours: Callable[[], object], peer: Callable[[], object], *, at_least: float, rounds: int = 5,
    before: Callable[[], object] | None = None,
) -> Row:
    """How many times faster than the peer: peer's time over ours."""
    mine, theirs = _pairs(ours, peer, rounds, before)
    ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
    return Row(
        name, statistics.median(mine), statistics.median(theirs), round(ratio, 2), f">= {at_least}",
        ratio >= at_least,
    )


def costs(
    name: str, ours: Callable[[], object], peer: Callable[[], object], *, at_most: float, rounds: int = 5,
    before: Callable[[], object] | None = None,
) -> Row:
    """What it costs in units of the peer: our time over the peer's."""
    mine, theirs = _pairs(ours, peer, rounds, before)
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    return Row(
        name, statistics.median(mine), statistics.median(theirs), round(ratio, 2), f"<= {at_most}", ratio <= at_most
    )


def bounded(name: str, value: float, *, at_most: float, unit: str = "s") -> Row:
    """A plain bound, where there is no peer to run."""
    return Row(name, value, at_most, round(value / at_most, 2), f"<= {at_most:g} {unit}", value <= at_most, unit)


def _pairs(
    ours: Callable[[], object], peer: Callable[[], object], rounds: int, before: Callable[[], object] | None
) -> tuple[list[float], list[float]]:
    mine: list[float] = []
    theirs: list[float] = []
    for at in range(rounds + 1):
        for work, times in ((ours, mine), (peer, theirs)):
            if before is not None:
                before()
            took = seconds(work)
            if at > 0:  # the first round warms up
                times.append(took)
    return mine, theirs
