"""Rebalance: datasets go from pools that have too much to those that have too little, and no byte more than that.

How much each should have is worked out once, at the start: by the tree's weights, or so that all are equally full. A
dataset moves only if that brings both pools nearer to their goals; so a second run finds nothing to do. Pools that are
read-only, draining, offline or away neither give nor take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.catalog.moves import MoveWanted
from holdfast.errors import ConfigError, Malformed
from holdfast.hold.hold import Hold
from holdfast.operations.base import Amount, Batch, Blocker, Check, Parameters, Plan, carry_on, watched
from holdfast.operations.moves import BATCH, Mover, measured_rate
from holdfast.placement.balance import Part, by_percent, by_weights
from holdfast.placement.policy import Branch

WAYS = ("weights", "percent")
TOLERANCE = 0.01  # of its goal: nobody notices


@dataclass(slots=True)
class _Scales:
    """How far each pool is from its goal, in bytes; changes as moves are chosen."""

    over: dict[str, int]
    under: dict[str, int]

    def target_for(self, source: str, size_bytes: int) -> str | None:
        """Where a dataset should go, or None: it would not fit into what is missing there, or is more than is too much
        here."""
        if size_bytes > self.over[source] or not self.under:
            return None
        name = max(self.under, key=lambda one: (self.under[one], one))
        if size_bytes > self.under[name] or not size_bytes:
            return None
        self.over[source] -= size_bytes
        self.under[name] -= size_bytes
        return name


class Rebalance:
    """Parameters: `by` (weights or percent; the default is weights under a distributed root, else percent),
    `limit_rate_bytes_s`, `concurrency`."""

    kind = "rebalance"

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """What would move where, and how full each pool is before and after."""
        return self.plan_while(hold, parameters, carry_on)

    def plan_while(self, hold: Hold, parameters: Parameters, check: Check) -> Plan:
        """The same, as long as `check` lets it go on."""
        parts, goals = _goals(hold, parameters)
        sources: dict[str, Amount] = {}
        targets: dict[str, Amount] = {}
        after = {name: part.used_bytes for name, part in parts.items()}
        for wanted, size in _choose(hold, _scales(parts, goals), check):
            assert wanted.source is not None, "a rebalance says from where"
            assert wanted.target is not None, "and where to"
            sources[wanted.source] = _more(sources.get(wanted.source), size)
            targets[wanted.target] = _more(targets.get(wanted.target), size)
            after[wanted.source] -= size
            after[wanted.target] += size
        size = sum(amount.size_bytes for amount in sources.values())
        rate = measured_rate(hold, parameters)
        return Plan(
            objects=sum(amount.objects for amount in sources.values()), size_bytes=size, by_source=sources,
            by_target=targets, blockers=tuple(_aside(hold, parts)), seconds_estimate=size / rate if rate else None,
            before={name: _words(part, part.used_bytes) for name, part in parts.items()},
            after={name: _words(part, after[name]) for name, part in parts.items()},
        )  # fmt: skip

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """Pool by pool, by dataset id. Resumed, it is worked out anew: what has moved already counts where it is."""
        parts, goals = _goals(hold, parameters)
        return Mover(hold, parameters).batches(_pages(hold, _scales(parts, goals)))


def _pages(hold: Hold, scales: _Scales) -> Iterator[list[MoveWanted]]:
    page: list[MoveWanted] = []
    for wanted, _ in _choose(hold, scales):
        page.append(wanted)
        if len(page) == BATCH:
            yield page
            page = []
    if page:
        yield page


def _choose(hold: Hold, scales: _Scales, check: Check = carry_on) -> Iterator[tuple[MoveWanted, int]]:
    """The datasets that should move, with their bytes."""
    for source in sorted(scales.over, key=lambda name: -scales.over[name]):
        for dataset_id, replica in watched(hold.catalog.datasets.walk(pool=source, states=("present",)), check):
            if scales.over[source] <= 0:
                break
            target = scales.target_for(source, replica.size_bytes)
            if target is not None:
                yield MoveWanted(dataset_id, target, source, why="rebalanced"), replica.size_bytes


def _goals(hold: Hold, parameters: Parameters) -> tuple[dict[str, Part], dict[str, int]]:
    """The pools that take part, and how much each should have."""
    way = parameters.get("by")
    if way is None:
        root = hold.poolset.tree
        way = "weights" if isinstance(root, Branch) and root.kind == "distributed" else "percent"
    if way not in WAYS:
        raise ConfigError(f"by: {way!r}; write one of: {', '.join(WAYS)}")
    standing = hold.catalog.datasets.standing_bytes()
    parts: dict[str, Part] = {}
    for info in hold.pools():
        if not info.configured or info.state != "active" or not info.reachable or info.unwritable_because:
            continue
        used = standing.get(info.object_store_id, 0)
        taken = 0
        if info.capacity_bytes is not None and info.free_bytes is not None:
            taken = max(0, info.capacity_bytes - info.free_bytes - info.used_bytes)
        limit = info.capacity_bytes
        if limit is not None and info.max_percent_full is not None:
            limit = int(limit * info.max_percent_full / 100)
        parts[info.object_store_id] = Part(used, taken, info.capacity_bytes, limit)
    if len(parts) < 2:
        raise Malformed("fewer than two pools can take part: a rebalance needs two that are active and answer")
    return parts, by_weights(hold.poolset.tree, parts) if way == "weights" else by_percent(parts)


def _scales(parts: dict[str, Part], goals: dict[str, int]) -> _Scales:
    apart = {name: part.used_bytes - goals[name] for name, part in parts.items()}
    allowed = {name: int(goals[name] * TOLERANCE) for name in parts}
    return _Scales(
        {name: bytes_ for name, bytes_ in apart.items() if bytes_ > allowed[name]},
        {name: -bytes_ for name, bytes_ in apart.items() if bytes_ < 0},
    )


def _aside(hold: Hold, parts: dict[str, Part]) -> Iterator[Blocker]:
    """The pools that take no part, and why."""
    for info in hold.pools():
        if info.object_store_id not in parts and info.datasets:
            why = info.unwritable_because or info.unreachable_because or f"it is {info.state}"
            yield Blocker(f"pool {info.object_store_id} takes no part: {why}")


def _words(part: Part, used_bytes: int) -> dict[str, float | int | None]:
    percent = None
    if part.capacity_bytes:
        percent = round(100 * (used_bytes + part.others_bytes) / part.capacity_bytes, 2)
    return {"bytes": used_bytes, "percent_full": percent}


def _more(before: Amount | None, size_bytes: int) -> Amount:
    before = before or Amount()
    return Amount(before.objects + 1, before.size_bytes + size_bytes)
