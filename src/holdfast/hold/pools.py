"""The pools that are open: their facts, their stores, and how full they are now.

`PoolFacts` is what the configuration says. `PoolSet` knows the pools and the tree over them, and gives placement
its snapshots; `recognition` makes them known to the catalog. No pool that cannot be reached stops another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast import layout
from holdfast.blobs import BlobStat, Usage
from holdfast.catalog.base import PoolRow
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.integrity import IntegrityLedger
from holdfast.errors import HoldfastError, NotFound, Unavailable
from holdfast.hold.asking import Medium, ask, ask_one
from holdfast.hold.decision import Decision
from holdfast.hold.facts import Pool, PoolCheck, PoolInfo, offline
from holdfast.hold.integrity import integrity_of
from holdfast.hold.preflight import check_left_behind, check_pool
from holdfast.hold.recognition import Recognition
from holdfast.keys import Key
from holdfast.placement.locator import Place
from holdfast.placement.policy import Node, PoolView, leaves
from holdfast.seams import Entropy

PROBE_PATIENCE_S = 30.0  # a probe is synced, which a busy disk does not do at once


class PoolSet:
    """The pools of one hold. Naming for the catalog, snapshots for placement."""

    def __init__(self, pools: Sequence[Pool], tree: Node, catalog: Catalog, entropy: Entropy) -> None:
        self.tree = tree
        self._catalog = catalog
        self._integrity = IntegrityLedger(catalog.db)
        self._pools = {pool.object_store_id: pool for pool in pools}
        self.order = [leaf.object_store_id for leaf in leaves(tree)]
        self.places = [
            Place(name, self._pools[name].facts.store_by, self._pools[name].facts.check_old_style)
            for name in self.order
        ]
        self._media = {pool.object_store_id: Medium(pool.driver) for pool in pools if pool.driver is not None}
        self._silent: frozenset[str] = frozenset()  # the pools that did not answer when they were last asked
        self._by_id = [  # what is remote is surveyed instead, once
            (self._media[pool.object_store_id], pool.facts.check_old_style)
            for pool in pools
            if pool.driver is not None and pool.facts.store_by == "id" and not pool.driver.capabilities.remote
        ]
        self.recognition = Recognition(self._pools, catalog, entropy)

    def __iter__(self) -> Any:
        return (self._pools[name] for name in self.order)

    def get(self, object_store_id: str) -> Pool | None:
        """The pool, or None if the configuration has none of that name."""
        return self._pools.get(object_store_id)

    def configured(self, object_store_id: str) -> Pool:
        """The pool; `NotFound` if the configuration has none of that name."""
        pool = self._pools.get(object_store_id)
        if pool is None:
            known = ", ".join(self.order)
            raise NotFound(
                f"there is no pool {object_store_id!r} in the configuration; the pools are: {known}",
                store=object_store_id,
            )
        return pool

    def online(self, object_store_id: str) -> Pool:
        """The same, for work that is no read of a dataset; `Unavailable` while an administrator keeps it offline."""
        pool = self.configured(object_store_id)
        if self._catalog.pools.find(object_store_id).state == "offline":
            raise offline(object_store_id)
        return pool

    def writable(self, object_store_id: str) -> Pool:
        """The same, for taking bytes away: `Unavailable` also while the pool is read-only."""
        pool = self.configured(object_store_id)
        state = self._catalog.pools.find(object_store_id).state
        if state == "offline":
            raise offline(object_store_id)
        if state == "read-only":
            raise Unavailable(
                f"pool {object_store_id} is read-only: what is to be deleted in it waits until it is active again",
                store=object_store_id, operation="delete", retryable=False,
            )  # fmt: skip
        return pool

    # -- naming -------------------------------------------------------------------------------------------

    def key(self, object_store_id: str, dataset_id: int, uuid: str) -> Key:
        """The key that a dataset's primary blob gets in that pool."""
        return layout.primary_key(self._pools[object_store_id].facts.store_by, dataset_id, uuid)

    def is_taken(self, dataset_id: int, uuid: str) -> bool:
        """Whether something lies under that id in any pool that could be looked into just now, known or not."""
        if not self._by_id:
            return False
        key = layout.primary_key("id", dataset_id, uuid)
        names = [key, Key(layout.extra_files_prefix_of(key)[:-1])]
        old = layout.old_style_key(dataset_id)
        old_names = [old, Key(layout.extra_files_prefix_of(old)[:-1])]
        return any(
            medium.driver.occupied(name)
            for medium, check_old_style in self._by_id
            if medium.driver.name not in self._silent and _answers(medium)
            for name in (names + old_names if check_old_style else names)
        )

    def stat(self, pool: Pool, key: Key) -> BlobStat:
        """What the pool says of a blob; `Unavailable` if it hangs. Costs a hand-over to a thread where it could."""
        store = pool.store()
        if store.capabilities.remote:
            return store.stat(key)
        return ask_one(self._media[pool.object_store_id], lambda driver: driver.stat(key))

    def confirm(self, pool: Pool) -> None:
        """`Unavailable` if the pool hangs, before somebody goes there. Free if it has answered a moment ago; what is
        remote has time-outs of its own."""
        if not pool.store().capabilities.remote:
            self._media[pool.object_store_id].confirm()

    def unavailable(self) -> dict[str, str]:
        """pool -> why nothing in it can be read now. Asks each medium, but none that is offline, and waits for none
        that hangs."""
        found: dict[str, str] = {}
        asked: list[Medium] = []
        for row in self._catalog.pools.all():
            name, pool = row.object_store_id, self._pools.get(row.object_store_id)
            if pool is None:
                found[name] = f"pool {name} is no longer in the configuration"
            elif row.state == "offline":
                found[name] = f"pool {name} is offline"
            else:
                try:
                    pool.store()
                    asked.append(self._media[name])
                except HoldfastError as error:
                    found[name] = str(error)
        answers = ask(asked)
        found |= {name: str(answer) for name, answer in answers.items() if isinstance(answer, HoldfastError)}
        self._silent = frozenset(found)
        return found

    # -- snapshots ----------------------------------------------------------------------------------------

    def decide(
        self, passed_over: Mapping[str, str] | None = None, given: tuple[str, int] | None = None
    ) -> Decision:
        """A ranking to be used within one transaction. `passed_over`: pools that failed just now, and why. `given`:
        (medium, bytes) of a file that is to be taken over, and takes no more room where it lies already."""
        return Decision(self, passed_over or {}, given)

    def view(self, pool: Pool, row: PoolRow, *, is_patient: bool = True) -> PoolView:
        """A snapshot of one pool. What is offline is not asked. Without `is_patient` one that hangs is not waited
        for; that costs a hand-over to a thread."""
        facts = pool.facts
        if row.state == "offline":
            return self.view_failed(pool, row, "it is offline, and was not asked")
        try:
            usage = pool.store().usage() if is_patient else self._usage(pool)
        except HoldfastError as error:
            return self.view_failed(pool, row, str(error))
        if facts.capacity_bytes is not None or usage.capacity_bytes is None or usage.free_bytes is None:
            capacity, used = facts.capacity_bytes, row.used_bytes
        else:
            capacity, used = usage.capacity_bytes, usage.capacity_bytes - usage.free_bytes
        return PoolView(
            row.object_store_id, state=row.state, private=facts.private, capacity_bytes=capacity, used_bytes=used,
            reserved_bytes=row.reserved_bytes, free_bytes=usage.free_bytes, medium=usage.medium,
            max_percent_full=facts.max_percent_full, unwritable_because=usage.unwritable_because,
            state_because=self._state_because(row),
        )  # fmt: skip

    def _usage(self, pool: Pool) -> Usage:
        pool.store()
        return ask_one(self._media[pool.object_store_id], lambda driver: driver.usage())

    def view_failed(self, pool: Pool, row: PoolRow, why: str) -> PoolView:
        """The same of a pool that cannot be used now."""
        facts = pool.facts
        return PoolView(
            row.object_store_id, state=row.state, reachable=False, unreachable_because=why,
            private=facts.private, used_bytes=row.used_bytes, reserved_bytes=row.reserved_bytes,
            capacity_bytes=facts.capacity_bytes, max_percent_full=facts.max_percent_full,
            state_because=self._state_because(row),
        )  # fmt: skip

    def _state_because(self, row: PoolRow) -> str:
        if row.state != "read-only" or row.identity is None or not self.recognition.is_foreign(row.identity):
            return ""
        how = f"holdfast pool set {row.object_store_id} --state active"
        return f"it belongs to another catalog (to take it over: {how})"

    def infos(self, rows: Sequence[PoolRow]) -> list[PoolInfo]:
        """Pools as users see them, also those that the configuration no longer has. What pools that share a medium have
        promised of it counts for each of them, if all are among `rows`. Health and caches are told without a word to
        the pools."""
        views: dict[str, PoolView] = {}
        promised: dict[str, int] = {}
        for row in rows:
            pool = self._pools.get(row.object_store_id)
            if pool is not None:
                view = views[row.object_store_id] = self.view(pool, row, is_patient=False)
                if view.medium is not None:
                    promised[view.medium] = promised.get(view.medium, 0) + row.reserved_bytes
        return [self._info(row, views.get(row.object_store_id), promised) for row in rows]

    def _info(self, row: PoolRow, view: PoolView | None, promised: Mapping[str, int]) -> PoolInfo:
        pool = self._pools.get(row.object_store_id)
        if pool is None or view is None:
            return PoolInfo(
                row.object_store_id, row.type, None, None, row.state, None, None, row.datasets, row.used_bytes,
                row.reserved_bytes, None, None, None, None, private=False, reachable=False,
                unreachable_because="it is no longer in the configuration; put it back to read its datasets",
                configured=False, location=row.location,
            )  # fmt: skip
        facts, own = pool.facts, view
        if view.medium is not None:
            everybodys = promised[view.medium]
            own = view.updated(medium_reserved_bytes=everybodys)
            view = own if facts.capacity_bytes is not None else own.updated(reserved_bytes=everybodys)
        return PoolInfo(
            row.object_store_id, facts.type, facts.name, facts.description, row.state, facts.order, facts.weight,
            row.datasets, row.used_bytes, own.kept_bytes(), view.capacity_bytes, own.open_bytes(),
            view.percent_full(), facts.max_percent_full, private=facts.private, reachable=view.reachable,
            unreachable_because=view.unreachable_because, unwritable_because=view.unwritable_because,
            configured=True, location=facts.location, device=facts.device, quota_source=facts.quota_source,
            badges=facts.badges, allow_selection=facts.allow_selection, store_by=facts.store_by,
            health=None if pool.guard is None else pool.guard.health(),
            cache=None if pool.cache is None else tuple(pool.cache.cache_usage()),
            integrity=integrity_of(
                self._integrity, row.object_store_id, facts.verify_every_s, self._catalog.clock.now_us()
            ),
        )  # fmt: skip

    # -- preflight ----------------------------------------------------------------------------------------

    def check(self, object_store_id: str) -> PoolCheck:
        """Prove a pool by writing, reading back and deleting a probe. One that hangs is not waited for."""
        rows = {row.object_store_id: row for row in self._catalog.pools.all()}
        pool = self._pools[object_store_id]
        is_kept_off = object_store_id in rows and rows[object_store_id].state == "offline"
        if pool.driver is None or is_kept_off or pool.driver.capabilities.remote:
            return check_pool(pool, rows, self.recognition)
        medium = self._media[object_store_id]
        try:
            medium.confirm(fresh_s=0.0)
            return ask_one(medium, lambda _: check_pool(pool, rows, self.recognition), PROBE_PATIENCE_S)
        except Unavailable as error:
            return PoolCheck(object_store_id, "error", str(error))

    def left_behind(self) -> list[PoolCheck]:
        """The pools that hold datasets but are no longer in the configuration."""
        rows = {row.object_store_id: row for row in self._catalog.pools.all()}
        return check_left_behind(rows, frozenset(self._pools))


def _answers(medium: Medium) -> bool:
    """Whether one can look into it now."""
    try:
        medium.confirm()
    except Unavailable:
        return False
    return True
