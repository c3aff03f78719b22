"""One ranking of the pools, to be used within one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.catalog.base import PoolRow
from holdfast.placement.policy import Choice, PoolView, Request, RoundCounts, rank

if TYPE_CHECKING:
    from holdfast.hold.pools import PoolSet


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
