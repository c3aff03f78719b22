"""Move: these datasets to that pool."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast import layout
from holdfast.catalog.moves import MoveWanted
from holdfast.errors import ConfigError, HoldfastError
from holdfast.hold.hold import Hold
from holdfast.operations.base import Amount, Batch, Blocker, Parameters, Plan
from holdfast.operations.moves import BATCH, Mover, measured_rate, place, pool_of

DATASETS_MAX = 100_000


class Move:
    """Parameters: `datasets` (ids), `to` (a pool), `limit_rate_bytes_s`, `concurrency` (datasets side by side)."""

    kind = "move"

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """How much it is, from where, whether it fits, and what cannot move."""
        ids, target = _asked(hold, parameters)
        sources: dict[str, Amount] = {}
        blockers: list[Blocker] = []
        heaps: list[Amount] = []
        for dataset_id in ids:
            try:
                dataset = hold.find(dataset_id)
            except HoldfastError as error:
                blockers.append(Blocker(str(error), dataset_id))
                continue
            whole = [one.object_store_id for one in dataset.replicas if one.state == "present"]
            if target in whole:
                continue
            if not whole or dataset.state not in ("ok", "error", "deleted"):
                why = f"it is {dataset.state}, and has no whole replica" if not whole else f"it is {dataset.state}"
                blockers.append(Blocker(why, dataset_id))
                continue
            before = sources.get(whole[0], Amount())
            sources[whole[0]] = Amount(before.objects + 1, before.size_bytes + dataset.total_bytes)
            heaps.append(Amount(1, dataset.total_bytes))
        there, nowhere = place(hold, heaps, target=target, leave=None)
        for why, amount in nowhere.items():
            blockers.append(Blocker(f"{amount.objects} datasets, {amount.size_bytes} bytes, find no room: {why}"))
        size = sum(amount.size_bytes for amount in there.values())
        rate = measured_rate(hold, parameters)
        return Plan(
            objects=sum(amount.objects for amount in there.values()), size_bytes=size, by_source=sources,
            by_target=there, blockers=tuple(blockers), seconds_estimate=size / rate if rate else None,
        )  # fmt: skip

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """In the order of their ids. The cursor is the last id."""
        ids, target = _asked(hold, parameters)
        left = [MoveWanted(one, target) for one in ids if one > int(cursor or 0)]
        pages = [left[start : start + BATCH] for start in range(0, len(left), BATCH)]
        return Mover(hold, parameters).batches(pages)


def _asked(hold: Hold, parameters: Parameters) -> tuple[list[int], str]:
    """The ids, ascending and each once, and the target."""
    target = pool_of(hold, parameters, "to", needed=True)
    assert target is not None
    found = parameters.get("datasets")
    if not isinstance(found, list) or not found:
        raise ConfigError("datasets: which ones? Write a list of ids")
    if len(found) > DATASETS_MAX:
        raise ConfigError(f"datasets: {len(found)} are too many at once; {DATASETS_MAX} at most, or drain a pool")
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in found):
        raise ConfigError("datasets: ids are whole numbers")
    return sorted({layout.check_id(one) for one in found}), target
