"""docs/reference/metrics.md: what `/metrics` has, from what a server without guests prints."""

from __future__ import annotations

from collections.abc import Iterator

from docs.making.throwaway import throwaway_hold

_HEAD = """\
# Metrics

<!-- Made from src/holdfast/server/metrics.py by `make docs`. Edit that file, not this page. -->

`GET /metrics` answers in Prometheus' text format. Requests are counted as they end; the pools are looked up
when somebody asks, from the catalog's counters, so a scrape scans nothing and asks no remote pool. With several
workers the answer adds all of them up; a pool's health is that of the worker which answers. Pools are known by
their id in the label `pool`, caches by their folder in the label `folder`.

"""


def page() -> str:
    """The whole page."""
    rows = [f"| `{name}` | {kind} | {labels} | {words} |" for name, kind, labels, words in metrics()]
    return "\n".join([_HEAD + "| metric | type | labels | |", "|---|---|---|---|", *rows]) + "\n"


def metrics() -> Iterator[tuple[str, str, str, str]]:
    """(name, type, labels, meaning) of each metric."""
    from prometheus_client.parser import text_string_to_metric_families

    from holdfast.server.metrics import Metrics

    with throwaway_hold() as hold:
        numbers = Metrics(hold)
        numbers.observe("GET", "/api/pools", 200, 0.1)
        text = numbers.render().decode()
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created") or not family.samples:
            continue
        labels = sorted({name for sample in family.samples for name in sample.labels if name != "le"})
        suffix = "_total" if family.type == "counter" else ""
        yield family.name + suffix, family.type, " ".join(f"`{name}`" for name in labels), family.documentation
