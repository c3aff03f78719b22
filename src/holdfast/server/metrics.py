"""Numbers for Prometheus: requests by route and status, how long they took, and the pools with their caches.

Requests are counted as they end; the pools are looked at when somebody asks, from the catalog's counters, the caches
from their own; nobody is asked over the network. With several workers each counts requests into files of its own, and
whichever is asked adds them up; a pool's health is that of the worker which is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from holdfast.errors import HoldfastError
from holdfast.hold.facts import PoolInfo
from holdfast.hold.hold import Hold

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_HEALTH = {"ok": 0.0, "failing": 1.0, "paused": 2.0}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Metrics:
    """The numbers of one application."""

    def __init__(self, hold: Hold) -> None:
        own = CollectorRegistry()
        self._requests = Counter(
            "holdfast_requests", "Requests that were answered", ("method", "route", "status"), registry=own
        )
        self._seconds = Histogram(
            "holdfast_request_seconds", "From a request's head to the end of its answer", ("route",),
            registry=own, buckets=_SECONDS,
        )  # fmt: skip
        self._registry = own
        if os.environ.get(SHARED_FOLDER):
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._registry.register(_Pools(hold))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request has ended."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def render(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self._registry)


class _Pools:
    """The pools as gauges, looked up when they are asked for."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        gauges = {
            name: GaugeMetricFamily(f"holdfast_pool_{name}", text, labels=("pool",))
            for name, text in (
                ("datasets", "Datasets in the pool"),
                ("used_bytes", "Bytes of datasets in the pool"),
                ("reserved_bytes", "Bytes kept free for writes under way"),
                ("capacity_bytes", "Bytes that the medium holds"),
                ("free_bytes", "Bytes that nobody has and that were promised to nobody"),
                ("reachable", "1 if the pool answers"),
            )
        }
        health = GaugeMetricFamily(
            "holdfast_pool_health", "Remote pools: 0 it answers, 1 it failed lately, 2 it is left alone for a while",
            labels=("pool",),
        )  # fmt: skip
        try:
            pools = self._hold.pools()
        except HoldfastError:
            pools = []
        for pool in pools:
            for name, gauge in gauges.items():
                value = getattr(pool, name)
                if value is not None:
                    gauge.add_metric([pool.object_store_id], float(value))
            if pool.health is not None:
                health.add_metric([pool.object_store_id], _HEALTH[pool.health.state])
        yield from gauges.values()
        yield health
        yield from _integrity(pools)
        yield from _caches(pools)


_INTEGRITY = (
    ("oldest_unverified_seconds", "oldest_s", "How long ago the byte was verified whose verification is the oldest"),
    ("oldest_unverified_target_seconds", "target_s", "How long ago that may be, by the configuration"),
    ("overdue_bytes", "overdue_bytes", "Bytes of datasets that were verified longer ago (a large number is a minimum)"),
    ("damaged_datasets", "damaged", "Datasets whose bytes here are not what was stored"),
    ("missing_datasets", "missing", "Datasets whose bytes are not here any more"),
)


def _integrity(pools: list[PoolInfo]) -> Iterator[Metric]:
    for name, field, text in _INTEGRITY:
        gauge = GaugeMetricFamily(f"holdfast_pool_{name}", text, labels=("pool",))
        for pool in pools:
            value = None if pool.integrity is None else getattr(pool.integrity, field)
            if value is not None:
                gauge.add_metric([pool.object_store_id], float(value))
        yield gauge


_CACHE_GAUGES = (
    ("held_bytes", "Bytes that the cache holds"),
    ("bound_bytes", "Bytes that it may hold"),
    ("entries", "Blobs of which it holds something"),
    ("pinned", "Blobs that are kept for jobs"),
)
_CACHE_COUNTERS = (
    ("hits", "Blocks that readers asked for and the cache had"),
    ("misses", "Blocks that readers asked for and the cache had to fetch"),
    ("served_bytes", "Bytes that went to readers"),
    ("fetched_bytes", "Bytes that came from the pools"),
    ("evictions", "Blobs that were taken out to make room"),
    ("damaged", "Copies that did not agree with their checksum"),
)


def _caches(pools: list[PoolInfo]) -> Iterator[Metric]:
    """Each cache folder once, whatever the number of pools that share it."""
    folders = {usage.folder: usage for pool in pools for usage in pool.cache or ()}
    kinds = ((GaugeMetricFamily, _CACHE_GAUGES), (CounterMetricFamily, _CACHE_COUNTERS))
    for family, members in kinds:
        for name, text in members:
            metric = family(f"holdfast_cache_{name}", text, labels=("folder",))
            for folder, usage in folders.items():
                value = getattr(usage, name)
                if value is not None:
                    metric.add_metric([folder], float(value))
            yield metric
