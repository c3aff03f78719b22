"""What was verified longest ago is read first, everything is reached, and nothing twice. Seen by what is opened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.catalog_kit import rows_of
from tests.unit.hold_kit import audit, make_hold
from tests.unit.told import Told, run

from holdfast.catalog.integrity import IntegrityLedger
from holdfast.catalog.moves import MoveWanted
from holdfast.drivers.disk import DiskDriver
from holdfast.errors import ConfigError, HoldfastError
from holdfast.hold import Hold
from holdfast.operations.runner import Operations
from holdfast.operations.scrub import Scrub
from holdfast.seams import SystemClock

DAY_US = 86_400 * 1_000_000


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with make_hold(tmp_path) as made:
        yield made


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`pool/key` of each blob that a driver opens past its caches, in that order."""
    seen: list[str] = []
    ask = DiskDriver.open

    def note(self, key, options=None):
        if options is not None and options.fresh:
            seen.append(f"{self.name}/{key.rpartition('_')[2].removesuffix('.dat')}")
        return ask(self, key, *([] if options is None else [options]))

    monkeypatch.setattr(DiskDriver, "open", note)
    return seen


def date(hold: Hold, dataset_id: int, days_ago: float | None, pool: str | None = None) -> None:
    """Say when a replica was last verified."""
    at = None if days_ago is None else hold.clock.now_us() - int(days_ago * DAY_US)
    with hold.catalog.db.write() as cursor:
        where = f"dataset_id = {dataset_id}" + (f" AND object_store_id = '{pool}'" if pool else "")
        cursor.execute(f"UPDATE replica SET verified_us = {at if at is not None else 'NULL'} WHERE {where}")


def oldest(hold: Hold, pool: str) -> int:
    found = rows_of(hold.catalog.db.url, f"SELECT MIN(COALESCE(verified_us, 0)) FROM replica WHERE state = 'present' "
                    f"AND object_store_id = '{pool}'")  # fmt: skip
    return int(found[0][0])


def put(hold: Hold, count: int, **more) -> list[int]:
    return [hold.put(f"bytes of {n}".encode() * 10, name=str(n), **more).id for n in range(count)]


def test_never_verified_comes_first_then_by_age_over_all_pools(hold: Hold, opened: list[str]):
    put(hold, 3, pool="a")
    put(hold, 3, pool="b")
    for dataset_id, days in ((1, 5), (2, None), (3, 90), (4, 7), (5, 400), (6, None)):
        date(hold, dataset_id, days)
    assert run(hold, "scrub").counts == {"verified": 6}
    assert opened == ["a/2", "b/6", "b/5", "a/3", "b/4", "a/1"]
    opened.clear()
    assert run(hold, "scrub", pool="b").counts == {"verified": 3}
    assert opened == ["b/6", "b/5", "b/4"]


def test_only_what_is_older(hold: Hold, opened: list[str]):
    put(hold, 4)
    for dataset_id, days in ((1, 31), (2, 29), (3, None), (4, 1)):
        date(hold, dataset_id, days)
    plan = Scrub().plan(hold, {"older_than_s": 30 * 86_400})
    assert plan.objects == 2
    assert run(hold, "scrub", older_than_s=30 * 86_400).counts == {"verified": 2}
    assert opened == ["a/3", "a/1"]
    assert run(hold, "scrub", older_than_s=30 * 86_400).counts == {}


def test_a_budget_of_bytes_comes_round_in_some_nights(hold: Hold, opened: list[str]):
    ids = [hold.put(bytes(1000), name=str(n)).id for n in range(10)]
    for dataset_id in ids:
        date(hold, dataset_id, 100 - dataset_id)
    for night in range(4):
        told = run(hold, "scrub", limit_bytes=2500)
        assert told.counts == {"verified": 3}, night
    assert opened == [f"a/{n}" for n in (*range(1, 11), 1, 2)]
    assert Scrub().plan(hold, {"limit_bytes": 2500}).size_bytes == 2500
    assert run(hold, "scrub", limit_bytes=0).counts == {}


def test_a_budget_of_time_ends_between_two_replicas(hold: Hold, opened: list[str], monkeypatch: pytest.MonkeyPatch):
    put(hold, 10)
    clock = SystemClock()
    begun = clock.now_us()
    monkeypatch.setattr(hold.clock, "now_us", lambda: clock.now_us() + len(opened) * 1_000_000)
    assert run(hold, "scrub", for_s=4).counts == {"verified": 4}
    assert opened == ["a/1", "a/2", "a/3", "a/4"]
    assert begun < clock.now_us()


def test_what_was_killed_in_one_night_goes_on_in_the_next(
    hold: Hold, opened: list[str], monkeypatch: pytest.MonkeyPatch
):
    put(hold, 100)
    first = next(iter(Scrub().batches(hold, {"for_s": 3600}, None)))
    first.apply(Told())
    clock = SystemClock()
    monkeypatch.setattr(hold.clock, "now_us", lambda: clock.now_us() + DAY_US)
    for batch in Scrub().batches(hold, {"for_s": 3600}, first.cursor):
        batch.apply(Told())
    assert len(opened) == len(set(opened)) == 100


@pytest.mark.parametrize("wrong", [{"limit_bytes": -1}, {"older_than_s": "30d"}, {"for_s": True}])
def test_parameters_that_make_no_sense(hold: Hold, wrong: dict[str, object]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Operations(hold).submit("scrub", wrong)


def test_a_date_in_the_future_hides_nothing(hold: Hold, opened: list[str]):
    put(hold, 3)
    date(hold, 2, -4000)
    assert run(hold, "scrub").counts == {"verified": 3}
    assert opened == ["a/1", "a/3", "a/2"]
    assert oldest(hold, "a") > hold.clock.now_us() - DAY_US


def test_killed_anywhere_it_goes_on_and_reads_nothing_twice(hold: Hold, opened: list[str]):
    ids = put(hold, 200)
    for dataset_id in ids:
        date(hold, dataset_id, None if dataset_id % 3 else dataset_id)
    scrub, cursor, told = Scrub(), None, Told()
    for _ in range(20):  # each time from the last cursor, in a generator of its own
        batch = next(iter(scrub.batches(hold, {}, cursor)), None)
        if batch is None:
            break
        batch.apply(told)
        if len(opened) % 2:
            batch.apply(told)  # as after a kill before the cursor was written
        cursor = batch.cursor
    assert len(opened) == len(set(opened)) == 200
    assert told.counts == {"verified": 200}
    assert list(scrub.batches(hold, {}, "17")), "a cursor of before there was this order: from the beginning"


def test_what_is_damaged_or_away_is_read_once_too(hold: Hold, opened: list[str], tmp_path: Path):
    put(hold, 6)
    (tmp_path / "a/000/dataset_2.dat").write_bytes(b"other")
    (tmp_path / "a/000/dataset_4.dat").unlink()
    for _ in range(2):
        opened.clear()
        told = run(hold, "scrub")
        assert told.counts == {"verified": 4, "damaged": 1, "missing": 1}
        assert sorted(opened) == [f"a/{n}" for n in range(1, 7)]


def test_a_replica_that_comes_by_a_link_where_the_scrub_was_already_is_reached(hold: Hold, opened: list[str]):
    """Moved by a link, it keeps its old date, and its new place is behind the cursor."""
    ids = put(hold, 80)
    for dataset_id in ids:
        date(hold, dataset_id, 100 + dataset_id)
    scrub = iter(Scrub().batches(hold, {}, None))
    began = hold.clock.now_us()
    next(scrub).apply(told := Told())  # 80 to 17
    left = [n for n in ids if f"a/{n}" not in opened][:3]
    for dataset_id in left:
        date(hold, dataset_id, 500)  # behind the cursor already
        [moved] = hold.moving.move([MoveWanted(dataset_id, "b")])
        assert moved.is_moved
    del opened[64:]  # what the move has looked at
    for batch in scrub:
        batch.apply(told)
    assert {f"b/{n}" for n in left} <= set(opened)
    assert oldest(hold, "a") > began
    assert oldest(hold, "b") > began
    assert len(opened) == len(set(opened))


def test_every_replica_is_reached_whatever_others_do_meanwhile(hold: Hold, opened: list[str]):
    ids = put(hold, 150, pool="a")
    for dataset_id in ids:
        date(hold, dataset_id, None if dataset_id % 5 == 0 else dataset_id)
    over = threading.Event()
    errors: list[BaseException] = []

    def others() -> None:
        at = 0
        while not over.is_set():
            at += 1
            try:
                mine = 1 + at * 37 % 150
                if at % 4 == 0:
                    hold.put(f"new {at}".encode(), name="new", pool="b" if at % 8 else "a")
                elif at % 4 == 1 and mine % 10 == 0:
                    hold.remove(mine, purge=True)
                elif at % 4 == 2 and mine % 10 == 1:
                    hold.replace(mine, f"newer {at}".encode())
                else:
                    where = hold.find(mine).object_store_id
                    list(hold.moving.move([MoveWanted(mine, "b" if where == "a" else "a", keep=at % 3 == 0)]))
            except HoldfastError:
                continue
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)
                return

    thread = threading.Thread(target=others)
    began = hold.clock.now_us()
    thread.start()
    try:
        told = Told()
        for batch in Scrub().batches(hold, {"concurrency": 3}, None):
            batch.apply(told)
            time.sleep(0.02)
    finally:
        over.set()
        thread.join()
    assert not errors
    assert not told.failures
    unreached = rows_of(
        hold.catalog.db.url,
        f"SELECT dataset_id, object_store_id FROM replica WHERE state = 'present' "
        f"AND COALESCE(verified_us, 0) < {began} AND changed_us < {began}",
    )
    assert unreached == []
    run(hold, "reap", grace_s=0)
    run(hold, "scrub")
    audit(hold)


def test_the_rate_holds_for_all_threads_together(hold: Hold):
    for n in range(8):
        hold.put(bytes(100_000), name=str(n))
    begun = time.monotonic()
    assert run(hold, "scrub", limit_rate_bytes_s=1_000_000, concurrency=4).counts == {"verified": 8}
    assert time.monotonic() - begun > 0.65


def test_many_replicas_cost_no_more_than_a_page(hold: Hold):
    """What a page and a pool's figures cost does not grow with the number of replicas."""
    put(hold, 1)
    many = 200_000
    with hold.catalog.db.write() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(id) AS (SELECT 2 UNION ALL SELECT id + 1 FROM n WHERE id < ?) "
            "INSERT INTO dataset (id, uuid, name, name_key, state, object_store_id, origin, created_us, updated_us) "
            "SELECT id, id, 'x', 'x', 'ok', 'a', 'put', 1, 1 FROM n",
            (many,),
        )
        cursor.execute(
            "INSERT INTO replica (dataset_id, object_store_id, state, key, size_bytes, verified_us, created_us, "
            "changed_us) SELECT id, 'a', 'present', 'k' || id, 7, 1000 + id, 1, 1 FROM dataset WHERE id > 1"
        )
    ledger = IntegrityLedger(hold.catalog.db)
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        page = ledger.proved_before(["a", "b"], (150_000, 0), hold.clock.now_us(), 64)
        figures = ledger.figures("a", 1000)
        ledger.figures("b", 1000)
        spent.append(time.perf_counter() - begun)
        assert [one.dataset_id for one in page[:3]] == [149_000, 149_001, 149_002]
        assert (figures.oldest_us, figures.overdue, figures.never) == (1002, 0, 0)
    assert min(spent) < 0.05, "it looks at the ends of an index"
    late = ledger.figures("a", hold.clock.now_us())
    assert (late.overdue, late.overdue_bytes >= 69_000) == (10_000, True)
