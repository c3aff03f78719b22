"""Preflight: each pool is proved, and what the configuration left behind is named."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.catalog.base import PoolRow
from holdfast.errors import Denied, HoldfastError
from holdfast.hold.facts import Pool, PoolCheck
from holdfast.hold.recognition import Recognition
from holdfast.placement.policy import size_words


def check_pool(pool: Pool, rows: Mapping[str, PoolRow], recognition: Recognition) -> PoolCheck:
    """Prove a pool by writing, reading back and deleting a probe."""
    name = pool.object_store_id
    own = rows.get(name)
    if pool.driver is None:
        return PoolCheck(name, "warning", f"the driver for {pool.facts.type} is not there yet")
    if own is not None and own.state == "offline":
        return PoolCheck(name, "warning", "it is offline and was not touched")
    if own is not None and own.identity is not None and recognition.is_foreign(own.identity):
        return _foreign(name)
    twin = _twin(name, own, rows)
    if twin is not None:
        what = "bucket" if pool.driver.capabilities.remote else "folder"
        return PoolCheck(
            name, "warning",
            f"the {what} is that of pool {twin}, which is no longer in the file; if it only changed its id, "
            f"run: holdfast pool rename {twin} {name}",
            rename_from=twin,
        )  # fmt: skip
    try:
        recognition.ready(name)
        caveats = pool.driver.probe()
    except HoldfastError as error:
        if recognition.is_known_foreign(name):  # it was a stranger until just now
            return _foreign(name)
        readable = isinstance(error, Denied) and own is not None and own.state != "active"
        how = ""
        carried = recognition.carried(name)
        whose = next((row.object_store_id for row in rows.values() if row.identity == carried), None)
        if carried is not None and whose is not None:
            how = f". What lies there is the medium of pool {whose}: put each pool's folder in its own place"
        elif carried is not None:
            how = (
                ". If it is the right one (this catalog was restored from a backup, or the other is gone for good), "
                f"take it over: holdfast pool set {name} --state active; the other catalog does not recognise it then"
            )
        return PoolCheck(name, "warning" if readable else "error", f"{error}{how}")
    if caveats:
        return PoolCheck(name, "warning", "; ".join(caveats))
    usage = pool.driver.usage()
    free = "" if usage.free_bytes is None else f", {size_words(usage.free_bytes)} free"
    return PoolCheck(name, "ok", f"a probe was written, read back and deleted{free}")


def _foreign(name: str) -> PoolCheck:
    how = f"to take it over: holdfast pool set {name} --state active"
    return PoolCheck(name, "warning", f"it belongs to another catalog and is read-only here; {how}")


def _twin(name: str, own: PoolRow | None, rows: Mapping[str, PoolRow]) -> str | None:
    """A pool that is no longer configured and is the same medium."""
    if own is None:
        return None
    for row in rows.values():
        same = (row.identity is not None and row.identity == own.identity) or row.location == own.location
        if row.object_store_id != name and not row.configured and same:
            return row.object_store_id
    return None


def check_left_behind(rows: Mapping[str, PoolRow], configured: frozenset[str]) -> list[PoolCheck]:
    """The pools that hold datasets but are no longer in the configuration."""
    return [
        PoolCheck(
            row.object_store_id, "warning",
            f"it is no longer in the file; datasets that are unavailable until it is back: {row.datasets}",
        )
        for row in rows.values()
        if row.object_store_id not in configured and row.datasets
    ]  # fmt: skip
