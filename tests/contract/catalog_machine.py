"""Random histories of a catalog: after every step each counter is what a count of the rows gives.

The machine knows what it was told: which writes are open, what became of each dataset. A step that the catalog
refuses must be one that the model would refuse.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.contract.catalog_kit import Placing, adopt, begin, found, recount, register, rows_of, tree_of

from holdfast.catalog.base import ExtraFile, Finished, Prepared
from holdfast.catalog.catalog import Catalog
from holdfast.errors import Conflict, NoSpace
from holdfast.placement.policy import Request

POOLS = ("a", "b", "c")
LIMITS = {"a": 400, "b": 900, "c": 5000}
SIZES = st.integers(0, 120)
OWNERS = st.sampled_from([None, "alice", "bob"])


class CatalogMachine(RuleBasedStateMachine):
    """`make_url` is set by whoever runs it: an address of an empty database for each history."""

    make_url: Any = None

    @initialize(kind=st.sampled_from(["hierarchical", "distributed"]))
    def start(self, kind: str) -> None:
        self.url = type(self).make_url()
        from pathlib import Path

        self.catalog = Catalog.open(self.url, Path("/nonexistent"))
        register(self.catalog, *POOLS)
        self.placing = Placing(tree_of(kind, dict(zip(POOLS, (3, 1, 2), strict=True))), LIMITS)
        self.open_puts: dict[int, tuple[Prepared, int]] = {}
        self.open_replaces: dict[int, Prepared] = {}
        self.states: dict[int, str] = {}
        self.given: set[int] = set()
        self.next_adopted = 1000

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()

    # -- puts ---------------------------------------------------------------------------------------------------

    @rule(size=SIZES, owner=OWNERS, pool=st.sampled_from([None, *POOLS]))
    def begin(self, size: int, owner: str | None, pool: str | None) -> None:
        try:
            prepared = begin(self.catalog, self.placing, size, owner=owner, pool=pool)
        except NoSpace:
            return
        assert prepared.dataset_id not in self.given, "an id was given out twice"
        self.given.add(prepared.dataset_id)
        self.open_puts[prepared.dataset_id] = prepared, size
        self.states[prepared.dataset_id] = "new"

    @precondition(lambda self: self.open_puts)
    @rule(data=st.data(), size=SIZES, extras=st.lists(SIZES, max_size=2))
    def commit(self, data: st.DataObject, size: int, extras: list[int]) -> None:
        which = data.draw(st.sampled_from(sorted(self.open_puts)))
        prepared, _ = self.open_puts.pop(which)
        files = tuple(ExtraFile(f"e{at}", one) for at, one in enumerate(extras))
        self.catalog.writes.commit([Finished(prepared, size, f"blake3:{which}", "v", files)])
        self.states[which] = "ok"

    @precondition(lambda self: self.open_puts)
    @rule(data=st.data(), more=SIZES)
    def extend(self, data: st.DataObject, more: int) -> None:
        prepared, _ = self.open_puts[data.draw(st.sampled_from(sorted(self.open_puts)))]
        try:
            request = Request(more, pool=prepared.object_store_id)
            self.catalog.writes.extend(prepared, more, request, self.placing)
        except NoSpace:
            return

    @precondition(lambda self: self.open_puts)
    @rule(data=st.data(), give_up=st.booleans())
    def fail(self, data: st.DataObject, give_up: bool) -> None:
        which = data.draw(st.sampled_from(sorted(self.open_puts)))
        prepared, _ = self.open_puts.pop(which)
        for _ in range(2):
            if give_up:
                self.catalog.writes.give_up(prepared, "it failed")
            else:
                self.catalog.writes.abandon(prepared)
        self.states[which] = "purged"
        if not give_up:
            del self.states[which]

    @rule(pool=st.sampled_from(POOLS), sizes=st.lists(SIZES, min_size=1, max_size=3), again=st.booleans())
    def adopt(self, pool: str, sizes: list[int], again: bool) -> None:
        those = []
        for size in sizes:
            self.next_adopted += 1
            those.append(found(pool, self.next_adopted, size=size))
        assert adopt(self.catalog, those) == [one.dataset_id for one in those]
        self.states.update({one.dataset_id: "ok" for one in those if one.dataset_id is not None})
        if again:
            assert adopt(self.catalog, those) == []

    # -- fates --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.states)))
        busy = which in self.open_replaces or self.states[which] == "new"
        try:
            self.catalog.fates.remove(which, None)
        except Conflict:
            assert busy
            return
        assert not busy or self.states[which] in ("deleted", "purged")
        if self.states[which] in ("ok", "error"):
            self.states[which] = "deleted"

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.states)))
        try:
            now = self.catalog.fates.restore(which, None)
        except Conflict:
            assert self.states[which] == "purged"
            return
        if self.states[which] == "deleted":
            assert now.state in ("ok", "error")
            self.states[which] = now.state
        assert now.state == self.states[which]

    @precondition(lambda self: self.states)
    @rule(data=st.data(), finish=st.booleans())
    def purge(self, data: st.DataObject, finish: bool) -> None:
        which = data.draw(st.sampled_from(sorted(self.states)))
        try:
            purged = self.catalog.fates.begin_purge(which, None)
        except Conflict:
            assert which in self.open_replaces or self.states[which] == "new"
            return
        self.states[which] = "purged"
        if finish:
            for replica in purged.replicas:
                self.catalog.fates.replica_gone(which, replica.object_store_id)

    @precondition(lambda self: any(state in ("ok", "error") for state in self.states.values()))
    @rule(data=st.data(), size=SIZES)
    def begin_replace(self, data: st.DataObject, size: int) -> None:
        usable = sorted(which for which, state in self.states.items() if state in ("ok", "error"))
        which = data.draw(st.sampled_from(usable))
        dataset = self.catalog.datasets.find(which)
        assert dataset is not None
        try:
            prepared = self.catalog.replaces.begin(which, size, dataset.object_store_id or "")
        except Conflict:
            assert which in self.open_replaces
            return
        self.open_replaces[which] = prepared

    @precondition(lambda self: self.open_replaces)
    @rule(data=st.data(), size=SIZES, end=st.sampled_from(["commit", "abandon", "settled by another", "given up"]))
    def end_replace(self, data: st.DataObject, size: int, end: str) -> None:
        which = data.draw(st.sampled_from(sorted(self.open_replaces)))
        prepared = self.open_replaces.pop(which)
        self.catalog.replaces.stage(prepared, f"blake3:new{size}", size)
        done = Finished(prepared, size, f"blake3:new{size}", "v2")
        if end == "settled by another":
            other = Prepared(which, prepared.uuid, prepared.object_store_id, prepared.key, "", prepared.owner)
            self.catalog.replaces.commit(Finished(other, size, done.checksum, "v2"), None)
        if end in ("abandon", "given up"):
            self.catalog.replaces.abandon(prepared)
        if end == "given up":
            dataset = self.catalog.datasets.find(which)
            assert dataset is not None
            try:
                self.catalog.replaces.commit(done, None)
            except Conflict:
                assert dataset.checksum != done.checksum
        if end in ("commit", "settled by another"):
            assert self.catalog.replaces.commit(done, None).size_bytes == size
            self.states[which] = "ok"

    @precondition(lambda self: self.states)
    @rule(data=st.data(), what=st.sampled_from(["suspect", "missing", "verified"]))
    def look(self, data: st.DataObject, what: str) -> None:
        which = data.draw(st.sampled_from(sorted(self.states)))
        dataset = self.catalog.datasets.find(which)
        assert dataset is not None
        pool = dataset.object_store_id or ""
        if what == "verified":
            self.catalog.fates.verified(which, pool, "v", dataset.checksum or "blake3:first")
        else:
            self.catalog.fates.doubt(which, pool, what, "it looked odd")  # type: ignore[arg-type]
        if self.states[which] in ("ok", "error"):
            self.states[which] = "ok" if what == "verified" else "error"

    # -- what holds ---------------------------------------------------------------------------------------------

    @invariant()
    def it_counts_right(self) -> None:
        if hasattr(self, "catalog"):
            recount(self.url)

    @invariant()
    def it_knows_what_it_was_told(self) -> None:
        if hasattr(self, "catalog"):
            assert dict(rows_of(self.url, "SELECT id, state FROM dataset")) == self.states
            for pool, limit in LIMITS.items():
                row = self.catalog.pools.find(pool)
                assert row.reserved_bytes <= limit
