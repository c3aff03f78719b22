"""What the API and the metrics say of remote pools: their health, their caches, and what is cached of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter
from tests.api.served import ALICE, Served, add_people, running
from tests.remote_kit import BOUND_BYTES, clouds_are_folders, remote_of, write_document

from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.errors import Unavailable
from holdfast.server.api import shapes

CONTENT = b"ACGT" * 5000


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server over a disk and a bucket."""
    document = write_document(tmp_path)
    with clouds_are_folders(tmp_path):
        hold = open_hold(read_document(document, environ={}))
    with hold, running(hold, tmp_path) as found:
        add_people(found)
        yield found


@pytest.fixture
def alice(served: Served) -> Iterator[httpx.Client]:
    with served.client(ALICE) as client:
        yield client


def break_pool(served: Served, times: int) -> None:
    """So many requests in a row get no answer from the bucket."""
    dataset = served.hold.put(b"x", name="x", owner=ALICE, pool="cloud")
    remote_of(served.hold).fail("stat", Unavailable("connection refused", store="cloud"), times=times)
    for _ in range(times):
        with pytest.raises(Unavailable):
            served.hold.stat(dataset.id)


def test_a_pool_has_health_and_cache_where_it_is_remote(served: Served, alice: httpx.Client):
    dataset = served.hold.put(CONTENT, name="reads", owner=ALICE, pool="cloud")
    served.hold.keeping.warm(dataset)
    answer = alice.get("/api/pools").json()
    TypeAdapter(list[shapes.Pool]).validate_python(answer, strict=True)
    local, remote = answer
    assert (local["health"], local["cache"]) == (None, None)
    assert remote["health"] == {"state": "ok", "failures": 0, "error": None, "retry_in_s": None}
    [folder] = remote["cache"]
    TypeAdapter(shapes.CacheFolder).validate_python(folder, strict=True)
    assert (folder["folder"], folder["bound_bytes"]) == (str(served.folder / "cache"), BOUND_BYTES)
    assert (folder["entries"], folder["held_bytes"]) == (1, len(CONTENT))
    [again] = alice.get("/api/pools/cloud").json()["cache"]
    assert {**again, "free_bytes": 0} == {**folder, "free_bytes": 0}


def test_health_says_what_failed_and_when_it_is_asked_again(served: Served, alice: httpx.Client):
    break_pool(served, 2)
    health = alice.get("/api/pools/cloud").json()["health"]
    assert health == {"state": "failing", "failures": 2, "error": "connection refused", "retry_in_s": None}
    assert alice.get("/api/pools/cloud").json()["reachable"] is True
    break_pool(served, 5)
    shown = alice.get("/api/pools/cloud").json()
    TypeAdapter(shapes.Pool).validate_python(shown, strict=True)
    assert shown["health"]["state"] == "paused"
    assert 0 < shown["health"]["retry_in_s"] <= 5
    assert shown["reachable"] is False


def test_storage_says_what_is_cached(served: Served, alice: httpx.Client):
    dataset = served.hold.put(CONTENT, name="reads", owner=ALICE, pool="cloud")
    path = f"/api/datasets/{dataset.id}/storage"
    served.hold.keeping.drop(dataset)
    assert alice.get(path).json()["cached"] is None
    served.hold.keeping.warm(dataset)
    served.hold.keeping.pin(dataset, "job 3")
    answer = alice.get(path).json()
    TypeAdapter(shapes.Storage).validate_python(answer, strict=True)
    cached = answer["cached"]
    assert (cached["size_bytes"], cached["held_bytes"]) == (len(CONTENT), len(CONTENT))
    assert (cached["whole"], cached["verified"]) == (True, True)
    assert cached["parts"] == [[0, len(CONTENT)]]
    assert (cached["parts_total"], cached["pins"], cached["in_use"]) == (1, ["job 3"], False)
    assert cached["key"] == dataset.replicas[0].key


def test_another_version_is_not_what_is_cached_of_a_dataset(served: Served, alice: httpx.Client):
    dataset = served.hold.put(CONTENT, name="reads", owner=ALICE, pool="cloud")
    served.hold.keeping.warm(dataset)
    pool = served.hold.keeping.cache_of("cloud")
    before = pool.look(dataset.replicas[0].key)
    served.hold.replace(dataset.id, b"other bytes")
    cached = alice.get(f"/api/datasets/{dataset.id}/storage").json()["cached"]
    assert before is not None
    assert cached is None or cached["version"] != before.version


def test_a_local_dataset_has_nothing_cached(served: Served, alice: httpx.Client):
    dataset = served.hold.put(CONTENT, name="reads", owner=ALICE, pool="newdata")
    assert alice.get(f"/api/datasets/{dataset.id}/storage").json()["cached"] is None


def test_looking_asks_the_bucket_nothing(served: Served, alice: httpx.Client):
    dataset = served.hold.put(CONTENT, name="reads", owner=ALICE, pool="cloud")
    served.hold.keeping.warm(dataset)
    remote = remote_of(served.hold)
    remote.forget_calls()
    apis = ("/api/pools", "/api/pools/cloud", f"/api/datasets/{dataset.id}/storage", "/metrics", "/api/datasets")
    for path in (*apis, "/pools", "/datasets", f"/datasets/{dataset.id}"):
        assert alice.get(path).status_code == 200
    assert list(remote.calls()) == []


def test_metrics_count_each_folder_once(served: Served, alice: httpx.Client):
    dataset = served.hold.put(CONTENT, name="reads", owner=ALICE, pool="cloud")
    served.hold.keeping.warm(dataset)
    folder, usage = str(served.folder / "cache"), served.hold.keeping.cache_of("cloud").cache_usage()[0]
    found = samples(alice)
    assert found["holdfast_cache_held_bytes", folder] == usage.held_bytes == len(CONTENT)
    assert found["holdfast_cache_bound_bytes", folder] == BOUND_BYTES
    for name in ("hits", "misses", "fetched_bytes", "evictions", "served_bytes", "damaged"):
        assert found[f"holdfast_cache_{name}_total", folder] == getattr(usage, name)
    assert found["holdfast_pool_health", "cloud"] == 0
    assert ("holdfast_pool_health", "newdata") not in found
    break_pool(served, 1)
    assert samples(alice)["holdfast_pool_health", "cloud"] == 1
    break_pool(served, 5)
    assert samples(alice)["holdfast_pool_health", "cloud"] == 2


def samples(client: httpx.Client) -> dict[tuple[str, str], float]:
    """(name, pool or folder) -> value."""
    text = client.get("/metrics").text
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (sample.name, sample.labels.get("folder") or sample.labels.get("pool", "")): sample.value for sample in found
    }
