"""Why bytes of a purged dataset are still there, in words. Looks at the catalog alone."""

from __future__ import annotations

from holdfast.catalog.base import Dataset
from holdfast.catalog.catalog import Catalog
from holdfast.errors import NotFound


def why_bytes_wait(catalog: Catalog, dataset: Dataset) -> str | None:
    """A sentence for the pools in which bytes wait to be taken away; None if none do."""
    waiting = [replica.object_store_id for replica in dataset.replicas if replica.state == "retiring"]
    closed = [name for name in waiting if _state(catalog, name) in ("read-only", "offline")]
    gone = [name for name in waiting if name not in closed and _state(catalog, name) == "gone"]
    rest = [name for name in waiting if name not in closed and name not in gone]
    said = []
    if closed:
        said.append(f"{_those_in(closed)} until {_pools(closed)} active again")
    if gone:
        said.append(f"{_those_in(gone)} until {_pools(gone)} in the configuration again")
    if rest:
        said.append(f"{_those_in(rest)} until nothing reads them any more and the pool answers")
    return f"Its bytes are still there: {'; '.join(said)}. A reap takes them away then." if said else None


def _state(catalog: Catalog, name: str) -> str:
    try:
        row = catalog.pools.find(name)
    except NotFound:
        return "gone"
    return row.state if row.configured else "gone"


def _those_in(names: list[str]) -> str:
    return f"those in {', '.join(names)} wait"


def _pools(names: list[str]) -> str:
    return f"pool {names[0]} is" if len(names) == 1 else f"pools {', '.join(names)} are"
