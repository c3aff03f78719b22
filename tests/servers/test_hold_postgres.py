"""A hold whose catalog is PostgreSQL: many machines' worth of processes at once, and random histories."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contract.catalog_kit import in_children
from tests.model.test_hold_machine import HoldMachine
from tests.unit.hold_kit import audit, make_hold

from holdfast.catalog.catalog import Catalog
from holdfast.errors import Conflict, HoldfastError, NoSpace, NotFound
from holdfast.hold import Hold, PutItem
from holdfast.testing.servers import Postgres

pytestmark = pytest.mark.needs("postgres")


def read(hold: Hold, dataset: int) -> bytes:
    with hold.open(dataset) as stream:
        return stream.read()


def test_puts_by_processes_and_threads_never_overfill_and_keep_their_shares(tmp_path: Path, postgres_url: str):
    pools = {"a": {"capacity_bytes": 4000, "weight": 2}, "b": {"capacity_bytes": 9000, "weight": 1}}
    make_hold(tmp_path, pools, kind="distributed", url=postgres_url).close()

    def child(number: int) -> list[int]:
        own = make_hold(tmp_path, pools, kind="distributed", url=postgres_url)

        def work(at: int) -> list[int]:
            stored = []
            for turn in range(60):
                try:
                    stored.append(own.put(bytes(50 + (turn + at) % 9), name=f"{number}-{at}-{turn}").id)
                except NoSpace:
                    break
            return stored

        with ThreadPoolExecutor(3) as pool:
            return list(itertools.chain(*pool.map(work, range(3))))

    ids = list(itertools.chain(*in_children(3, child)))
    assert len(ids) == len(set(ids)) > 150
    with make_hold(tmp_path, pools, kind="distributed", url=postgres_url) as hold:
        for name, facts in pools.items():
            info = hold.pool(name)
            assert facts["capacity_bytes"] - 60 < info.used_bytes <= facts["capacity_bytes"]
        audit(hold)


def test_everything_by_processes_at_once(tmp_path: Path, postgres_url: str):
    with make_hold(tmp_path, kind="distributed", url=postgres_url) as hold:
        shared = [hold.put(b"shared", name="x", owner="alice").id for _ in range(3)]

    def child(number: int) -> list[str]:
        own = make_hold(tmp_path, kind="distributed", url=postgres_url)
        odd = []
        for turn in range(25):
            which = shared[(turn + number) % 3]
            try:
                kind = (turn + number) % 5
                if kind == 0:
                    own.put_many(PutItem(b"%d" % at, name="x") for at in range(4))
                elif kind == 1:
                    own.replace(which, b"by %d" % number)
                elif kind == 2:
                    own.remove(own.put(b"gone", name="x").id, purge=True)
                elif kind == 3:
                    own.remove(which)
                    own.restore(which)
                else:
                    read(own, which)
            except (Conflict, NotFound):
                continue
            except HoldfastError as error:
                odd.append(repr(error))
        return odd

    assert list(itertools.chain(*in_children(4, child))) == []
    with make_hold(tmp_path, kind="distributed", url=postgres_url) as hold:
        audit(hold)
        counts = sorted(info.datasets for info in hold.pools())
        assert abs(counts[0] - counts[1]) <= 4


def test_a_fork_of_a_warm_hold(tmp_path: Path, postgres_url: str):
    with make_hold(tmp_path, url=postgres_url) as hold:
        first = hold.put(b"before", name="x").id

        def child(number: int) -> list[int]:
            assert read(hold, first) == b"before"
            return [hold.put(b"%d" % number, name="x").id for _ in range(3)]

        ids = list(itertools.chain(*in_children(3, child)))
        ids.append(hold.put(b"after", name="x").id)
        assert sorted(ids) == list(range(2, 12))
        audit(hold)


def test_random_histories(tmp_path: Path, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch):
    template = postgres_server.template("catalog", lambda url: Catalog.open(url, tmp_path).close())
    urls: dict[Path, str] = {}
    inner = make_hold

    def on_postgres(folder: Path, *given: object, **more: object) -> Hold:
        for other in [other for other in urls if other != folder]:
            postgres_server.drop(urls.pop(other))
        if folder not in urls:
            urls[folder] = postgres_server.fresh_database(template)
        return inner(folder, *given, url=urls[folder], **more)  # type: ignore[arg-type]

    monkeypatch.setattr("tests.model.test_hold_machine.make_hold", on_postgres)
    machine = type("Machine", (HoldMachine,), {"room": tmp_path, "numbers": itertools.count()})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=4, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
