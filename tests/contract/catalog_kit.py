"""What tests of the catalog share: a tree to place by, names, children that are forked, and a recount by hand.

`recount` is the backdoor: it looks at the tables with a connection of its own and counts everything anew.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg

from holdfast import layout
from holdfast.catalog.adoptions import Found
from holdfast.catalog.base import Finished, NewDataset, PoolRow, Prepared
from holdfast.catalog.catalog import Catalog
from holdfast.keys import Key
from holdfast.placement.policy import Branch, Choice, Leaf, Node, PoolView, Request, RoundCounts, rank

COUNTED = ("present", "suspect", "missing", "retiring")


def tree_of(kind: str, weights: Mapping[str, int]) -> Branch:
    return Branch("root", kind, tuple(Leaf(name, Fraction(weight)) for name, weight in weights.items()))  # type: ignore[arg-type]


class Placing:
    """Decides and names as a hold does, over pools that are only rows in the catalog."""

    def __init__(self, tree: Node, capacities: Mapping[str, int] | None = None, taken: set[int] = frozenset()):
        self.tree = tree
        self.capacities = dict(capacities or {})
        self.taken = set(taken)
        self.asked = 0

    def __call__(self, request: Request, rows: Mapping[str, PoolRow], rounds: RoundCounts) -> list[Choice]:
        views = {
            name: PoolView(
                name,
                state=row.state,
                capacity_bytes=self.capacities.get(name),
                used_bytes=row.used_bytes,
                reserved_bytes=row.reserved_bytes,
            )
            for name, row in rows.items()
        }
        return rank(request, self.tree, views, rounds)

    def key(self, object_store_id: str, dataset_id: int, uuid: str) -> Key:
        return layout.primary_key("id", dataset_id, uuid)

    def is_taken(self, dataset_id: int, uuid: str) -> bool:
        self.asked += 1
        return dataset_id in self.taken


def register(catalog: Catalog, *names: str) -> None:
    with catalog.db.write() as cursor:
        for name in names:
            catalog.pools.register(
                cursor, name, kind="disk", location=f"/{name}", configured=True, now_us=catalog.clock.now_us()
            )


def begin(
    catalog: Catalog, placing: Placing, size: int = 10, *, owner: str | None = None, pool: str | None = None
) -> Prepared:
    wanted = NewDataset(f"dataset of {size}", size, owner), Request(size, owner, pool)
    [prepared] = catalog.writes.begin([wanted], placing, placing)
    return prepared


def finished(prepared: Prepared, size: int = 10) -> Finished:
    return Finished(prepared, size, f"blake3:{prepared.dataset_id:064x}", f"v{size}")


def put(catalog: Catalog, placing: Placing, size: int = 10, **more: Any) -> Prepared:
    prepared = begin(catalog, placing, size, **more)
    catalog.writes.commit([finished(prepared, size)])
    return prepared


def found(pool: str, dataset_id: int | None, *, uuid: str | None = None, size: int = 7) -> Found:
    own = uuid or f"00000000-0000-4000-8000-{dataset_id:012x}"
    key = layout.primary_key("id" if dataset_id is not None else "uuid", dataset_id or 0, own)
    return Found(pool, key, dataset_id, own, size, "v", 1_600_000_000_000_000)


def adopt(catalog: Catalog, those: list[Found]) -> list[int]:
    return catalog.adoptions.adopt(those, is_taken=lambda dataset_id, uuid: False)


# -- the backdoor ---------------------------------------------------------------------------------------------------


def rows_of(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Ask the database itself, with a connection of one's own."""
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()
    with psycopg.connect(url) as other:
        return other.execute(statement).fetchall()  # type: ignore[arg-type]


def execute(url: str, statement: str) -> None:
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        with connection:
            connection.execute(statement)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(statement)  # type: ignore[arg-type]


def recount(url: str) -> None:
    """Every counter is what a count of the rows gives, and no row contradicts another."""
    replicas = rows_of(url, "SELECT dataset_id, object_store_id, state, size_bytes FROM replica")
    known = "SELECT id, state, hidden, owner, size_bytes, total_bytes, object_store_id FROM dataset"
    datasets = {row[0]: row[1:] for row in rows_of(url, known)}
    reservations = rows_of(url, "SELECT dataset_id, object_store_id, size_bytes, kind FROM reservation")
    moving = rows_of(url, "SELECT dataset_id, object_store_id, size_bytes FROM moving")
    kept = {
        row[0]: row[1:]
        for row in rows_of(url, "SELECT object_store_id, datasets, used_bytes, reserved_bytes FROM pool")
    }
    counted = {
        name: (
            sum(1 for _, pool, state, _ in replicas if pool == name and state in COUNTED),
            sum(size for _, pool, state, size in replicas if pool == name and state in COUNTED),
            sum(row[2] for row in [*reservations, *moving] if row[1] == name),
        )
        for name in kept
    }
    assert kept == counted, "(datasets, used, reserved) of each pool"
    assert all(number >= 0 for numbers in kept.values() for number in numbers)

    said = {
        (which, key, value)
        for which, labels in rows_of(url, "SELECT id, labels FROM dataset")
        for key, value in json.loads(labels).items()
    }
    assert said == set(rows_of(url, "SELECT dataset_id, key, value FROM label")), "what is shown is what is found"

    states: dict[str, int] = {}
    owners: dict[str, tuple[int, int]] = {}
    for state, hidden, owner, _, total, _ in datasets.values():
        states[state] = states.get(state, 0) + 1
        assert bool(hidden) == (state in ("deleted", "purged"))
        if owner is not None and state not in ("new", "purged"):
            used, count = owners.get(owner, (0, 0))
            owners[owner] = used + total, count + 1
    kept_states = {state: count for state, count in rows_of(url, "SELECT state, count FROM state_count") if count}
    assert kept_states == states
    kept_owners = {
        owner: (used, count)
        for owner, used, count in rows_of(url, "SELECT owner, used_bytes, datasets FROM owner_usage")
        if (used, count) != (0, 0)
    }
    assert kept_owners == {owner: numbers for owner, numbers in owners.items() if numbers != (0, 0)}

    writing = {dataset_id for dataset_id, _, _, kind in reservations if kind == "put"}
    assert writing == {dataset_id for dataset_id, row in datasets.items() if row[0] == "new"}
    under_way = {row[:2] for row in moving}
    standing = {dataset_id for dataset_id, _, state, _ in replicas if state in ("present", "suspect", "missing")}
    for dataset_id, pool, state, size in replicas:
        owner_state, total = datasets[dataset_id][0], datasets[dataset_id][4]
        is_written = owner_state == "new" or (dataset_id, pool) in under_way
        assert (state == "writing") == is_written, (dataset_id, pool, state, owner_state)
        is_over = state in ("retiring", "gone")
        is_over_or_copied = is_over or (dataset_id, pool) in under_way
        assert is_over_or_copied or owner_state != "purged", (dataset_id, pool, state, owner_state)
        assert not is_over or owner_state == "purged" or dataset_id in standing, (dataset_id, pool, state, owner_state)
        if state in ("present", "suspect", "missing"):
            assert size == total, (dataset_id, pool, state)
    numbers = [row[0] for row in rows_of(url, "SELECT id FROM event ORDER BY id")]
    assert len(set(numbers)) == len(numbers)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder into which other accounts come too. Not one of pytest's own: every run that begins closes those."""
    with tempfile.TemporaryDirectory(prefix="holdfast-open-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


# -- children -------------------------------------------------------------------------------------------------------


def in_children(count: int, work: Callable[[int], Any]) -> list[Any]:
    """`work(number)` in `count` forked processes at once; what each answers (as JSON), or its traceback."""
    running: list[tuple[int, int]] = []
    for number in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            code = 0
            try:
                answer = json.dumps(work(number)).encode()
            except BaseException:  # noqa: BLE001 - the parent shows it
                answer, code = traceback.format_exc().encode(), 1
            while answer:
                answer = answer[os.write(writer, answer) :]
            sys.stdout.flush()
            os._exit(code)
        os.close(writer)
        running.append((child, reader))
    answers = []
    for child, reader in running:
        with open(reader, "rb") as stream:
            said = stream.read().decode()
        _, status = os.waitpid(child, 0)
        assert status == 0, said
        answers.append(json.loads(said))
    return answers
