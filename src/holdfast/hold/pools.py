"""The pools that are open: their facts, their stores, and how full they are now.

`PoolFacts` is what the configuration says. `PoolSet` knows the pools and the tree over them; it recognises a
pool by its mark, makes new ones known to the catalog, and gives placement its snapshots. No pool that cannot
be reached stops another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from holdfast import layout
from holdfast.catalog.base import PoolRow
from holdfast.catalog.catalog import Catalog
from holdfast.errors import AlreadyExists, Denied, HoldfastError, NotFound, Problem, StoreError, Unavailable
from holdfast.hold.facts import Pool, PoolCheck, PoolFacts, PoolInfo, offline
from holdfast.keys import Key
from holdfast.placement.locator import Place
from holdfast.placement.policy import (
    Choice,
    Node,
    PoolView,
    Request,
    RoundCounts,
    leaves,
    rank,
    size_words,
)
from holdfast.seams import Entropy
from holdfast.stores.base import Driver


class PoolSet:
    """The pools of one hold. Naming for the catalog, snapshots for placement."""

    def __init__(self, pools: Sequence[Pool], tree: Node, catalog: Catalog, entropy: Entropy) -> None:
        self.tree = tree
        self._catalog, self._entropy = catalog, entropy
        self._pools = {pool.object_store_id: pool for pool in pools}
        self.order = [leaf.object_store_id for leaf in leaves(tree)]
        self.places = [
            Place(name, self._pools[name].facts.store_by, self._pools[name].facts.check_old_style)
            for name in self.order
        ]
        self._silent: frozenset[str] = frozenset()  # the pools that did not answer when they were last asked
        self._by_id = [
            (pool.driver, pool.facts.check_old_style)
            for pool in pools
            if pool.driver is not None and pool.facts.store_by == "id"
        ]
        self.warnings: list[Problem] = []

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

    # -- becoming known -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the catalog and the media agree on who is who. Touches only media that are new or unmarked."""
        rows = {row.object_store_id: row for row in self._catalog.pools.all()}
        changed = [pool for pool in self._pools.values() if not _same(pool.facts, rows.get(pool.object_store_id))]
        removed = [row for row in rows.values() if row.configured and row.object_store_id not in self._pools]
        if changed or removed:
            now = self._catalog.clock.now_us()
            with self._catalog.db.write() as cursor:
                for pool in changed:
                    self._catalog.pools.register(
                        cursor, pool.object_store_id, kind=pool.facts.type, location=pool.facts.location,
                        configured=True, now_us=now,
                    )  # fmt: skip
                    if pool.object_store_id not in rows:
                        self._catalog.events.add(
                            cursor, now, "pool.add", f"pool {pool.object_store_id} was added",
                            object_store_id=pool.object_store_id,
                        )  # fmt: skip
                for row in removed:
                    self._catalog.pools.register(
                        cursor, row.object_store_id, kind=row.type, location=row.location, configured=False,
                        now_us=now,
                    )  # fmt: skip
                    self._catalog.events.add(
                        cursor, now, "pool.remove",
                        f"pool {row.object_store_id} is no longer in the configuration; its {row.datasets} datasets "
                        "are unavailable until it is back",
                        object_store_id=row.object_store_id,
                    )  # fmt: skip
        for pool in self._pools.values():
            if pool.driver is not None:
                self._recognise(pool, rows.get(pool.object_store_id), rows)

    def take_over(self, object_store_id: str) -> None:
        """Mark a pool of another catalog as this one's. The other does not recognise it any more."""
        pool = self.configured(object_store_id)
        identity = self._catalog.pools.find(object_store_id).identity
        if pool.driver is not None and identity is not None and self._is_foreign(identity):
            own = self._fresh_identity()
            pool.driver.mark(own, replacing=identity)
            self._catalog.pools.identify(object_store_id, own)

    def _fresh_identity(self) -> str:
        """A mark: the pool's own name for ever, and the catalog that it belongs to."""
        return f"{self._entropy.uuid()}@{self._catalog.instance()}"

    def _is_foreign(self, identity: str) -> bool:
        """Whether a mark says that the pool belongs to another catalog."""
        owner = identity.partition("@")[2]
        return bool(owner) and owner != self._catalog.instance()

    def _warn_of_foreign(self, name: str) -> None:
        self._warn(
            name,
            "it belongs to another catalog, and is read-only here: two catalogs would delete each other's data. If the "
            f"other one is gone for good, take the pool over: holdfast pool set {name} --state active",
        )

    def _recognise(self, pool: Pool, row: PoolRow | None, rows: Mapping[str, PoolRow]) -> None:
        driver, name = pool.store(), pool.object_store_id
        if row is not None and row.identity is not None:
            driver.expect(row.identity)
            if self._is_foreign(row.identity):
                self._warn_of_foreign(name)
            return
        try:
            driver.prepare()
            identity = driver.identity()
            if identity is None:
                identity = self._marked(driver)
            driver.expect(identity)
        except Denied as error:
            self._warn(name, f"its medium cannot be marked, so a vanished mount would not be noticed: {error}")
            return
        except StoreError as error:
            self._warn(name, str(error))
            return
        twin = next((one for one in rows.values() if one.identity == identity and one.object_store_id != name), None)
        if twin is not None:
            other = twin.object_store_id
            gone = f", which is no longer in the file; if only the id changed: holdfast pool rename {other} {name}"
            self._warn(name, f"its folder is the one of pool {other}" + ("" if other in self._pools else gone))
        self._catalog.pools.identify(name, identity)
        if self._is_foreign(identity):
            self._warn_of_foreign(name)
            with self._catalog.db.write() as cursor:
                self._catalog.pools.set_state(cursor, name, "read-only")
                self._catalog.events.add(
                    cursor, self._catalog.clock.now_us(), "pool.state",
                    f"pool {name} belongs to another catalog and is read-only here", object_store_id=name,
                )  # fmt: skip

    def _marked(self, driver: Driver) -> str:
        """Mark a new medium; the mark that it carries then, ours or that of a process that was quicker."""
        identity = self._fresh_identity()
        try:
            driver.mark(identity)
        except AlreadyExists:
            return driver.identity() or identity
        return identity

    def _warn(self, name: str, message: str) -> None:
        self.warnings.append(Problem("pools", None, f"pool {name}", message, severity="warning"))

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
            driver.occupied(name)
            for driver, check_old_style in self._by_id
            if driver.name not in self._silent
            for name in (names + old_names if check_old_style else names)
        )

    def unavailable(self) -> dict[str, str]:
        """pool -> why nothing in it can be read now. Asks each medium, but none that is offline: an administrator
        takes a pool offline also because it hangs whoever asks it."""
        found: dict[str, str] = {}
        for row in self._catalog.pools.all():
            name, pool = row.object_store_id, self._pools.get(row.object_store_id)
            try:
                if pool is None:
                    found[name] = f"pool {name} is no longer in the configuration"
                elif row.state == "offline":
                    found[name] = f"pool {name} is offline"
                else:
                    pool.store().usage()
            except HoldfastError as error:
                found[name] = str(error)
        self._silent = frozenset(found)
        return found

    # -- snapshots ----------------------------------------------------------------------------------------

    def decide(
        self, passed_over: Mapping[str, str] | None = None, given: tuple[str, int] | None = None
    ) -> Decision:
        """A ranking to be used within one transaction. `passed_over`: pools that failed just now, and why. `given`:
        (medium, bytes) of a file that is to be taken over, and takes no more room where it lies already."""
        return Decision(self, passed_over or {}, given)

    def view(self, pool: Pool, row: PoolRow) -> PoolView:
        """A snapshot of one pool. What is offline is not asked."""
        facts = pool.facts
        if row.state == "offline":
            return self.view_failed(pool, row, "it is offline, and was not asked")
        try:
            usage = pool.store().usage()
        except HoldfastError as error:
            return self.view_failed(pool, row, str(error))
        if facts.capacity_bytes is not None or usage.capacity_bytes is None or usage.free_bytes is None:
            capacity, used = facts.capacity_bytes, row.used_bytes
        else:
            capacity, used = usage.capacity_bytes, usage.capacity_bytes - usage.free_bytes
        return PoolView(
            row.object_store_id, state=row.state, private=facts.private, capacity_bytes=capacity, used_bytes=used,
            reserved_bytes=row.reserved_bytes, free_bytes=usage.free_bytes, medium=usage.medium,
            max_percent_full=facts.max_percent_full,
        )  # fmt: skip

    def view_failed(self, pool: Pool, row: PoolRow, why: str) -> PoolView:
        """The same of a pool that cannot be used now."""
        facts = pool.facts
        return PoolView(
            row.object_store_id, state=row.state, reachable=False, unreachable_because=why,
            private=facts.private, used_bytes=row.used_bytes, reserved_bytes=row.reserved_bytes,
            capacity_bytes=facts.capacity_bytes, max_percent_full=facts.max_percent_full,
        )  # fmt: skip

    def info(self, row: PoolRow) -> PoolInfo:
        """A pool as users see it, also one that the configuration no longer has."""
        pool = self._pools.get(row.object_store_id)
        if pool is None:
            return PoolInfo(
                row.object_store_id, row.type, None, None, row.state, None, None, row.datasets, row.used_bytes,
                row.reserved_bytes, None, None, None, None, private=False, reachable=False,
                unreachable_because="it is no longer in the configuration; put it back to read its datasets",
                configured=False, location=row.location,
            )  # fmt: skip
        facts, view = pool.facts, self.view(pool, row)
        return PoolInfo(
            row.object_store_id, facts.type, facts.name, facts.description, row.state, facts.order, facts.weight,
            row.datasets, row.used_bytes, row.reserved_bytes, view.capacity_bytes, view.free_bytes,
            view.percent_full(), facts.max_percent_full, private=facts.private, reachable=view.reachable,
            unreachable_because=view.unreachable_because, configured=True, location=facts.location,
            device=facts.device, quota_source=facts.quota_source, badges=facts.badges,
            allow_selection=facts.allow_selection, store_by=facts.store_by,
        )  # fmt: skip

    # -- preflight ----------------------------------------------------------------------------------------

    def check(self, object_store_id: str) -> PoolCheck:
        """Prove a pool by writing, reading back and deleting a probe."""
        pool = self._pools[object_store_id]
        rows = {row.object_store_id: row for row in self._catalog.pools.all()}
        own = rows.get(object_store_id)
        if pool.driver is None:
            return PoolCheck(object_store_id, "warning", f"the driver for {pool.facts.type} is not there yet")
        if own is not None and own.state == "offline":
            return PoolCheck(object_store_id, "warning", "it is offline and was not touched")
        if own is not None and own.identity is not None and self._is_foreign(own.identity):
            how = f"to take it over: holdfast pool set {object_store_id} --state active"
            return PoolCheck(object_store_id, "warning", f"it belongs to another catalog and is read-only here; {how}")
        twin = next(
            (
                row.object_store_id
                for row in rows.values()
                if own is not None and row.object_store_id != object_store_id and not row.configured
                and ((row.identity is not None and row.identity == own.identity) or row.location == own.location)
            ),
            None,
        )  # fmt: skip
        if twin is not None:
            return PoolCheck(
                object_store_id, "warning",
                f"the folder is that of pool {twin}, which is no longer in the file; if it only changed its id, "
                f"run: holdfast pool rename {twin} {object_store_id}",
                rename_from=twin,
            )  # fmt: skip
        try:
            pool.driver.probe()
        except HoldfastError as error:
            readable = isinstance(error, Denied) and own is not None and own.state != "active"
            return PoolCheck(object_store_id, "warning" if readable else "error", str(error))
        usage = pool.driver.usage()
        free = "" if usage.free_bytes is None else f", {size_words(usage.free_bytes)} free"
        return PoolCheck(object_store_id, "ok", f"a probe was written, read back and deleted{free}")


    def left_behind(self) -> list[PoolCheck]:
        """The pools that hold datasets but are no longer in the configuration."""
        return [
            PoolCheck(
                row.object_store_id, "warning",
                f"it is no longer in the file; datasets that are unavailable until it is back: {row.datasets}",
            )
            for row in self._catalog.pools.all()
            if row.object_store_id not in self._pools and row.datasets
        ]  # fmt: skip


class Decision:
    """Ranks pools over their rows in a transaction.

    Each medium is asked once before, so that one that hangs holds up its own put and not the catalog; and once
    inside, because what is free must be looked at after what is reserved: bytes that have just arrived would
    else be counted as room twice.
    """

    def __init__(self, pools: PoolSet, passed_over: Mapping[str, str], given: tuple[str, int] | None) -> None:
        self._pools, self._given = pools, given
        self._failed = {**pools.unavailable(), **passed_over}
        self._media: dict[str, PoolView] = {}

    def __call__(self, request: Request, rows: Mapping[str, PoolRow], rounds: RoundCounts) -> list[Choice]:
        if request.pool is not None:
            self._pools.configured(request.pool)
        views: dict[str, PoolView] = {}
        promised: dict[str | None, int] = {}
        for name in self._pools.order:
            row = rows.get(name)
            pool = self._pools.get(name)
            if row is None or pool is None:
                continue
            seen = self._media.get(name)
            if seen is None:
                failed = self._failed.get(name)
                seen = self._pools.view(pool, row) if failed is None else self._pools.view_failed(pool, row, failed)
                seen = self._media[name] = self._without_given(seen)
            views[name] = seen.updated(reserved_bytes=row.reserved_bytes)
            promised[seen.medium] = promised.get(seen.medium, 0) + row.reserved_bytes
        for name, view in views.items():  # several pools may share a medium, its room and its limit
            if view.medium is not None:
                everybodys = promised[view.medium]
                limited_alone = self._pools.configured(name).facts.capacity_bytes is not None
                reserved = view.reserved_bytes if limited_alone else everybodys
                views[name] = view.updated(medium_reserved_bytes=everybodys, reserved_bytes=reserved)
        return rank(request, self._pools.tree, views, rounds)

    def _without_given(self, view: PoolView) -> PoolView:
        """The medium as it is without the file that is to be taken over."""
        if self._given is None or view.medium != self._given[0] or view.free_bytes is None:
            return view
        size_bytes = self._given[1]
        limited_alone = self._pools.configured(view.object_store_id).facts.capacity_bytes is not None
        used_bytes = view.used_bytes if limited_alone else view.used_bytes - size_bytes
        return replace(view, used_bytes=used_bytes, free_bytes=view.free_bytes + size_bytes)


def _same(facts: PoolFacts, row: PoolRow | None) -> bool:
    return (
        row is not None and row.configured and row.type == facts.type and row.location == facts.location
    )
