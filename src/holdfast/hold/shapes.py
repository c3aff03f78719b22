"""The JSON shapes that the API and the command line share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from holdfast.catalog.base import Dataset, Event, Replica
from holdfast.stores.caching import CachedBlob, CacheUsage, Health

PARTS_MAX = 1000


def when(at_us: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601 in UTC, with seconds."""
    if at_us is None:
        return None
    try:
        return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return None


def why_unavailable(dataset: Dataset, unavailable: Mapping[str, str]) -> str | None:
    """Why none of a dataset's replicas can be read now, given why each pool cannot; None if one can, or if there is
    nothing to be read in any case."""
    wanted = [one for one in dataset.replicas if one.state in ("present", "suspect", "missing")]
    if not wanted or any(one.object_store_id not in unavailable for one in wanted):
        return None
    return unavailable[wanted[0].object_store_id]


def dataset_json(dataset: Dataset, full_path: str | None, unavailable_because: str | None = None) -> dict[str, Any]:
    """A dataset as users see it."""
    return {
        "id": dataset.id, "uuid": dataset.uuid, "name": dataset.name, "owner": dataset.owner,
        "state": dataset.state, "size_bytes": dataset.size_bytes, "total_bytes": dataset.total_bytes,
        "checksum": dataset.checksum, "created": when(dataset.created_us), "updated": when(dataset.updated_us),
        "deleted": when(dataset.deleted_us), "object_store_id": dataset.object_store_id, "full_path": full_path,
        "available": unavailable_because is None, "unavailable_because": unavailable_because,
        "origin": dataset.origin, "job_id": dataset.job_id, "note": dataset.note,
        "replicas": [_replica_json(replica) for replica in dataset.replicas],
        "placement": [
            {"object_store_id": verdict.object_store_id, "chosen": verdict.chosen, "reason": verdict.reason}
            for verdict in dataset.placement
        ],
        "labels": dataset.labels,
    }  # fmt: skip


def _replica_json(replica: Replica) -> dict[str, Any]:
    return {
        "object_store_id": replica.object_store_id, "state": replica.state, "key": str(replica.key),
        "size_bytes": replica.size_bytes, "verified": when(replica.verified_us), "note": replica.note,
    }  # fmt: skip


def event_json(event: Event) -> dict[str, Any]:
    """A line of the event log."""
    return {
        "id": event.id, "at": when(event.at_us), "kind": event.kind, "dataset_id": event.dataset_id,
        "object_store_id": event.object_store_id, "actor": event.actor, "text": event.text,
    }  # fmt: skip


def health_json(health: Health) -> dict[str, Any]:
    """How a pool answered lately."""
    left_s = health.retry_in_s
    return {
        "state": health.state, "failures": health.failures, "error": health.error or None,
        "retry_in_s": None if left_s is None else round(left_s, 1),
    }  # fmt: skip


def health_words(health: Health | None) -> str | None:
    """What is wrong with how a pool answers, as a part of a sentence; None if nothing is known to be."""
    if health is None or health.state == "ok":
        return None
    failures = "1 failure" if health.failures == 1 else f"{health.failures} failures in a row"
    again = "" if health.retry_in_s is None else f", asked again in {max(1, round(health.retry_in_s))} s"
    return f"{health.state} after {failures}{again}; the last: {health.error}"


def cache_json(usage: CacheUsage) -> dict[str, Any]:
    """One cache folder."""
    ratio = usage.hit_ratio
    return {
        "folder": usage.folder, "bound_bytes": usage.bound_bytes, "held_bytes": usage.held_bytes,
        "free_bytes": usage.free_bytes, "entries": usage.entries, "pinned": usage.pinned, "hits": usage.hits,
        "misses": usage.misses, "hit_ratio": None if ratio is None else round(ratio, 4),
        "served_bytes": usage.served_bytes, "fetched_bytes": usage.fetched_bytes, "evictions": usage.evictions,
        "evicted_bytes": usage.evicted_bytes, "damaged": usage.damaged,
    }  # fmt: skip


def cached_json(blob: CachedBlob) -> dict[str, Any]:
    """What a cache has of one blob. `parts` are [first byte, byte after the last] each; at most the first 1000."""
    return {
        "object_store_id": blob.pool, "key": str(blob.key), "version": blob.version, "size_bytes": blob.size_bytes,
        "held_bytes": blob.held_bytes, "whole": blob.whole, "verified": blob.verified, "used": when(blob.used_us),
        "uses": blob.uses, "in_use": blob.in_use, "pins": list(blob.pins),
        "parts": [[start, stop] for start, stop in blob.parts[:PARTS_MAX]], "parts_total": len(blob.parts),
    }  # fmt: skip
