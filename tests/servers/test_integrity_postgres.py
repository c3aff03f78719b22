"""Scrub in order of age, figures and repair where the catalog is PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sweeps.test_repair import BAD, GOOD, Apart, aside, file_of, states, twice
from tests.sweeps.test_scrub_order import date, put
from tests.unit.hold_kit import make_hold
from tests.unit.told import run

from holdfast.catalog.integrity import IntegrityLedger
from holdfast.errors import Conflict
from holdfast.hold import Hold
from holdfast.hold.repairing import Repairing

pytestmark = pytest.mark.needs("postgres")


@pytest.fixture
def hold(tmp_path: Path, postgres_url: str) -> Iterator[Hold]:
    with make_hold(tmp_path, url=postgres_url, files=Apart()) as made:
        yield made


def test_in_order_of_age_and_each_once(hold: Hold):
    ids = put(hold, 150)
    for dataset_id in ids:
        date(hold, dataset_id, None if dataset_id % 4 == 0 else dataset_id)
    figures = hold.pool("a").integrity
    assert figures is not None
    assert (round((figures.oldest_s or 0) / 86_400), figures.never) == (150, 37)
    assert run(hold, "scrub", older_than_s=140 * 86_400, concurrency=2).counts == {"verified": 37 + 8}
    assert run(hold, "scrub", older_than_s=140 * 86_400).counts == {}
    assert run(hold, "scrub").counts == {"verified": 150}


def test_repair(hold: Hold):
    which = twice(hold)
    file_of(hold, "a").write_bytes(BAD)
    assert run(hold, "scrub").counts == {"damaged": 1, "repaired": 1, "verified": 1}
    assert (file_of(hold, "a").read_bytes(), aside(hold, "a")) == (GOOD, [BAD])
    assert states(hold, which) == {"a": "present", "b": "present"}
    with pytest.raises(Conflict, match="no damaged"):
        Repairing(hold.catalog, hold.poolset).repair(which, "a")
    assert hold.pool("a").reserved_bytes == 0


def test_many_replicas_cost_no_more_than_a_page(hold: Hold):
    put(hold, 1)
    with hold.catalog.db.write() as cursor:
        cursor.execute(
            "INSERT INTO dataset (id, uuid, name, name_key, state, object_store_id, origin, created_us, updated_us) "
            "SELECT id, id::text, 'x', 'x', 'ok', 'a', 'put', 1, 1 FROM generate_series(2, 100000) AS id"
        )
        cursor.execute(
            "INSERT INTO replica (dataset_id, object_store_id, state, key, size_bytes, verified_us, created_us, "
            "changed_us) SELECT id, 'a', 'present', 'k' || id, 7, 1000 + id, 1, 1 FROM generate_series(2, 100000) AS id"
        )
        cursor.execute("ANALYZE replica")
    ledger = IntegrityLedger(hold.catalog.db)
    spent = []
    for _ in range(5):
        begun = time.perf_counter()
        page = ledger.proved_before(["a", "b"], (80_000, 0), hold.clock.now_us(), 64)
        figures = ledger.figures("a", 1000)
        spent.append(time.perf_counter() - begun)
        assert [one.dataset_id for one in page[:2]] == [79_000, 79_001]
        assert (figures.oldest_us, figures.overdue, figures.never) == (1002, 0, 0)
    assert min(spent) < 0.1, "it looks at the ends of an index"
