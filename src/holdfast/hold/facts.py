"""What is known of one pool: what the configuration says, its store, and what users see of it. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast import layout
from holdfast.catalog.base import PoolState
from holdfast.errors import Unavailable
from holdfast.hold.integrity import PoolIntegrity
from holdfast.hold.shapes import cache_json, health_json
from holdfast.stores.base import Driver
from holdfast.stores.caching import Cache, CacheUsage, Guard, Health


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What the configuration says of a pool."""

    object_store_id: str
    type: str
    store_by: layout.StoreBy = "id"
    name: str | None = None
    description: str | None = None
    location: str | None = None
    order: int | None = None
    weight: float | None = None
    max_percent_full: float | None = None
    capacity_bytes: int | None = None
    private: bool = False
    device: str | None = None
    quota_source: str | None = None
    verify_every_s: int | None = None
    badges: tuple[tuple[str, str | None], ...] = ()
    allow_selection: bool = False
    check_old_style: bool = False
    search_for_missing: bool = True
    direct_download: bool = False
    extra_dirs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pool:
    """An open pool. `driver` is None where Holdfast has none for its type yet.

    `cache` and `guard` are those of the driver's layers that can be asked more than a store, where there are such.
    """

    facts: PoolFacts
    driver: Driver | None
    cache: Cache | None = None
    guard: Guard | None = None

    @property
    def object_store_id(self) -> str:
        return self.facts.object_store_id

    def store(self) -> Driver:
        """The pool's store; `Unavailable` if there is no driver for its type."""
        if self.driver is None:
            raise Unavailable(
                f"pool {self.object_store_id}: the driver for its type, {self.facts.type}, is not there yet",
                store=self.object_store_id, retryable=False,
            )  # fmt: skip
        return self.driver


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """Everything that users see of a pool. Sizes in bytes; None where there is no such number.

    `used_bytes` is what its datasets have, `reserved_bytes` the room that is kept for writes under way, `free_bytes`
    what nobody has and was promised to nobody: together never more than the capacity, and less by what others have on
    the medium. Bytes that have arrived of a write under way are among those of others until it is done.

    `health` is what this process knows of a pool that can be away; `cache` its cache folders, where it has a cache.
    """

    object_store_id: str
    type: str
    name: str | None
    description: str | None
    state: PoolState
    order: int | None
    weight: float | None
    datasets: int
    used_bytes: int
    reserved_bytes: int
    capacity_bytes: int | None
    free_bytes: int | None
    percent_full: float | None
    max_percent_full: float | None
    private: bool
    reachable: bool
    unreachable_because: str
    configured: bool
    location: str | None
    device: str | None = None
    quota_source: str | None = None
    badges: tuple[tuple[str, str | None], ...] = ()
    allow_selection: bool = False
    store_by: str = "id"
    unwritable_because: str = ""
    health: Health | None = None
    cache: tuple[CacheUsage, ...] | None = None
    integrity: PoolIntegrity | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape of the API and of `holdfast pools --json`."""
        return {
            "object_store_id": self.object_store_id, "type": self.type, "name": self.name,
            "description": self.description, "state": self.state, "order": self.order, "weight": self.weight,
            "datasets": self.datasets, "used_bytes": self.used_bytes, "reserved_bytes": self.reserved_bytes,
            "capacity_bytes": self.capacity_bytes, "free_bytes": self.free_bytes,
            "percent_full": None if self.percent_full is None else round(self.percent_full, 2),
            "max_percent_full": self.max_percent_full, "private": self.private, "reachable": self.reachable,
            "unreachable_because": self.unreachable_because or None,
            "unwritable_because": self.unwritable_because or None, "configured": self.configured,
            "location": self.location, "device": self.device, "quota_source": self.quota_source,
            "store_by": self.store_by, "allow_selection": self.allow_selection,
            "badges": [{"type": kind, "message": message} for kind, message in self.badges],
            "health": None if self.health is None else health_json(self.health),
            "cache": None if self.cache is None else [cache_json(usage) for usage in self.cache],
            "integrity": None if self.integrity is None else self.integrity.to_json(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class PoolCheck:
    """What the preflight found out about one pool. `severity` is ok, warning or error."""

    object_store_id: str
    severity: str
    detail: str
    rename_from: str | None = None

    @property
    def ok(self) -> bool:
        return self.severity != "error"


def offline(object_store_id: str) -> Unavailable:
    """What an administrator has taken offline is neither read nor written."""
    return Unavailable(
        f"pool {object_store_id} is offline; set it active again with: holdfast pool set {object_store_id} "
        "--state active",
        store=object_store_id, operation="open", retryable=False,
    )  # fmt: skip
