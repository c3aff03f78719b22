"""Numbers for Prometheus: requests by route and status, how long they took, bytes moved, and the pools.

Requests are counted as they end; the pools are looked at when somebody asks, from the catalog's counters.
With several workers each counts into files of its own, and whichever is asked adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from holdfast.errors import HoldfastError
from holdfast.hold.hold import Hold

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
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
                ("reserved_bytes", "Bytes reserved for writes under way"),
                ("capacity_bytes", "Bytes that the medium holds"),
                ("free_bytes", "Bytes that are free on the medium"),
                ("reachable", "1 if the pool answers"),
            )
        }
        try:
            pools = self._hold.pools()
        except HoldfastError:
            pools = []
        for pool in pools:
            for name, gauge in gauges.items():
                value = getattr(pool, name)
                if value is not None:
                    gauge.add_metric([pool.object_store_id], float(value))
        yield from gauges.values()
