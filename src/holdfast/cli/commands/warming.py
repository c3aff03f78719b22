"""cache warm, cache drop: copies fetched ahead, and taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render
from holdfast.cli.commands.cache import PAGE, caches_of, each_held, kept_because
from holdfast.cli.commands.storing import DatasetsArgument
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command
from holdfast.errors import Corrupt, NotFound, StoreError

if TYPE_CHECKING:
    from holdfast.catalog.base import Dataset
    from holdfast.hold.hold import Hold
    from holdfast.stores.caching import Cache, CachedBlob

STAYING_SHOWN = 100


@command(example="holdfast cache warm 24 25")
def cache_warm(call: Invocation, datasets: DatasetsArgument) -> None:
    """Fetch datasets into the cache, whole and verified.

    What is there already is not fetched again. A dataset that lies on disk needs no copy. Ends with 4 if the
    cache cannot hold one; the others are fetched all the same.
    """
    with call.hold() as hold:
        caches_of(hold, None, demanded=True)
        found = [hold.find(dataset) for dataset in datasets]  # one that is not there stops it before it begins
        total = sum(dataset.size_bytes for dataset in found)
        shapes: list[dict[str, Any]] = []
        lines: list[str] = []
        failures: list[StoreError] = []
        with call.progress(_title("Fetching", found), total) as progress:
            done_bytes = 0
            for dataset in found:

                def show(more: int, before: int = done_bytes) -> None:
                    progress.update(before + more)

                try:
                    _require_bytes(dataset)
                    fetched_bytes = hold.keeping.warm(dataset, show)
                except StoreError as error:
                    failures.append(error)
                    lines.append(f"dataset {dataset.id} was not fetched: {render.clean(str(error))}")
                    continue
                finally:
                    done_bytes += dataset.size_bytes
                    progress.update(done_bytes)
                shapes.append(_warm_shape(hold, dataset, fetched_bytes))
                lines.append(_warm_line(hold, dataset, fetched_bytes))
        if failures and len(found) == 1:
            raise failures[0]
        call.answer(shapes[0] if len(found) == 1 else shapes, *lines)
    if failures:
        raise failures[0]


def _require_bytes(dataset: Dataset) -> None:
    """Nothing can be fetched of what is known to be damaged or gone."""
    states = {replica.state: replica for replica in dataset.replicas}
    if "present" in states:
        return
    if (bad := states.get("suspect")) is not None:
        raise Corrupt(
            f"dataset {dataset.id} in pool {bad.object_store_id} is damaged: its bytes are not those that were stored",
            store=bad.object_store_id, key=bad.key, operation="warm",
        )  # fmt: skip
    if (lost := states.get("missing")) is not None:
        raise NotFound(
            f"the bytes of dataset {dataset.id} are not in pool {lost.object_store_id} any more",
            store=lost.object_store_id, key=lost.key, operation="warm",
        )  # fmt: skip


def _warm_shape(hold: Hold, dataset: Dataset, fetched_bytes: int) -> dict[str, Any]:
    from holdfast.hold.shapes import cached_json

    held = hold.keeping.look(dataset)
    return {
        "id": dataset.id,
        "uuid": dataset.uuid,
        "object_store_id": dataset.object_store_id,
        "fetched_bytes": fetched_bytes,
        "cached": None if held is None else cached_json(held),
    }


def _warm_line(hold: Hold, dataset: Dataset, fetched_bytes: int) -> str:
    held = hold.keeping.look(dataset)
    name = f"dataset {dataset.id}: {render.clean(dataset.name)} ({render.size(dataset.size_bytes)})"
    if held is None:
        where = f"in {render.clean(dataset.object_store_id)}" if dataset.object_store_id else "nowhere"
        return f"nothing to fetch for {name}: it is {where}, where nothing is cached"
    state = "verified" if held.verified else "whole" if held.whole else f"{render.size(held.held_bytes)} held"
    return f"{f'fetched {render.size(fetched_bytes)} of' if fetched_bytes else 'had all of'} {name}, {state}"


def _title(verb: str, datasets: Sequence[Dataset]) -> str:
    what = render.clean(datasets[0].name) if len(datasets) == 1 else render.count(len(datasets), "dataset")
    return f"{verb} {what}"


# -- drop ----------------------------------------------------------------------------------------------------


@command(example="holdfast cache drop 24\nholdfast cache drop --pool cloud\nholdfast cache drop --all")
def cache_drop(
    call: Invocation,
    datasets: Annotated[list[str] | None, typer.Argument(metavar="DATASET", help="Ids or uuids.")] = None,
    *,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="ID", help="Instead: all that is held of this pool.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Instead: all that is held.")] = False,
) -> None:
    """Take copies out of the cache; datasets stay in their pools.

    What is open, or pinned for a job, stays and is named. Without it they are fetched again when they are read.
    """
    if [bool(datasets), pool is not None, everything].count(True) != 1:
        raise UsageError("say what to drop, in one way: DATASET..., --pool ID, or --all")
    with call.hold() as hold:
        caches = caches_of(hold, pool, demanded=True)
        if datasets:
            dropped = _Dropped()
            for dataset in [hold.find(one) for one in datasets]:
                dropped.note(hold.keeping.drop(dataset), hold.keeping.look(dataset))
        else:
            dropped = _drop_all(caches)
    call.answer(dropped.shape(), *dropped.blocks())


def _drop_all(caches: Sequence[Cache]) -> _Dropped:
    dropped = _Dropped()
    for of in caches:
        for blob in each_held(of):
            dropped.note(of.drop(blob.key), of.look(blob.key))
    return dropped


class _Dropped:
    """What a drop has done so far."""

    def __init__(self) -> None:
        self._freed_bytes = self._freed = self._stays = 0
        self._staying: list[CachedBlob] = []

    def note(self, freed_bytes: int, left: CachedBlob | None) -> None:
        """One blob: so much was freed, and this is what is held of it still."""
        self._freed_bytes += freed_bytes
        self._freed += freed_bytes > 0
        if left is not None:
            self._stays += 1
            if len(self._staying) < PAGE:
                self._staying.append(left)

    def shape(self) -> dict[str, Any]:
        from holdfast.hold.shapes import cached_json

        return {
            "dropped": self._freed,
            "freed_bytes": self._freed_bytes,
            "stays": self._stays,
            "staying": [cached_json(blob) for blob in self._staying],
        }

    def blocks(self) -> list[render.Block]:
        if not self._freed and not self._stays:
            return ["Nothing of it was held."]
        blocks: list[render.Block] = [
            f"dropped {render.count(self._freed, 'copy', 'copies')}, {render.size(self._freed_bytes)}"
        ]
        if self._stays:
            head = f"{render.count(self._stays, 'copy stays', 'copies stay')}, being in use or pinned:"
            rows = [
                (render.clean(blob.key), render.clean(blob.pool), render.size(blob.held_bytes), kept_because(blob))
                for blob in self._staying[:STAYING_SHOWN]
            ]
            columns = (
                render.Column("KEY", wide=True),
                render.Column("POOL"),
                render.Column("HELD", "right"),
                render.Column("KEPT BECAUSE"),
            )
            blocks += [head, render.Table(columns, rows)]
            if self._stays > len(rows):
                blocks.append(f"and {self._stays - len(rows):,} more: holdfast cache ls")
        return blocks
