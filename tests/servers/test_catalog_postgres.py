"""The catalog on PostgreSQL: the suite of tests/contract, and what only a server can do."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contract.catalog_kit import Placing, put, register, rows_of, tree_of
from tests.contract.catalog_machine import CatalogMachine
from tests.contract.catalog_suite import CatalogContract
from tests.contract.moves_suite import MovesContract

from holdfast.catalog import database
from holdfast.catalog.catalog import Catalog
from holdfast.errors import Conflict, HoldfastError, OutcomeUnknown, Unavailable
from holdfast.testing.servers import Postgres, free_port

pytestmark = pytest.mark.needs("postgres")


class TestPostgresCatalog(CatalogContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


class TestMovesOnPostgres(MovesContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


def test_a_server_that_was_restarted_is_connected_anew(postgres_url: str, tmp_path: Path):
    """Connections that waited meanwhile are found out before they are used."""
    catalog = Catalog.open(postgres_url, tmp_path)
    register(catalog, "a")
    placing = Placing(tree_of("hierarchical", {"a": 1}))
    put(catalog, placing)
    barrier = threading.Barrier(4)

    def read(_: int) -> None:
        with catalog.db.read():
            barrier.wait()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert catalog.db.connections_kept == 4
    _throw_out(postgres_url)
    put(catalog, placing)
    assert catalog.totals().datasets == 2
    catalog.close()


def test_a_connection_that_is_lost_before_the_commit_is_unavailable(postgres_url: str, tmp_path: Path):
    catalog = Catalog.open(postgres_url, tmp_path)
    with pytest.raises(Unavailable, match="cannot be reached"), catalog.db.write() as cursor:  # noqa: PT012
        catalog.events.add(cursor, 1, "test", "never")
        _throw_out(postgres_url)
        catalog.events.add(cursor, 2, "test", "never")
    assert catalog.events.newest() == []
    catalog.close()


def test_a_connection_that_is_lost_at_the_commit_leaves_the_outcome_unknown(postgres_url: str, tmp_path: Path):
    catalog = Catalog.open(postgres_url, tmp_path)
    with pytest.raises(OutcomeUnknown, match="look whether it did"), catalog.db.write() as cursor:  # noqa: PT012
        catalog.events.add(cursor, 1, "test", "who knows")
        _throw_out(postgres_url)
    catalog.close()


def test_a_writer_that_went_silent_holds_nobody_up_for_ever(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = "SET lock_timeout = '300ms'; SET idle_in_transaction_session_timeout = '1500ms'"
    monkeypatch.setattr(database, "_POSTGRES_SETTINGS", settings)
    catalog = Catalog.open(postgres_url, tmp_path)
    begun, awake = threading.Event(), threading.Event()
    said: list[Exception] = []

    def go_silent() -> None:
        try:
            with catalog.db.write() as cursor:
                catalog.events.add(cursor, 1, "test", "half done")
                begun.set()
                awake.wait(20)
        except HoldfastError as error:
            said.append(error)

    silent = threading.Thread(target=go_silent)
    silent.start()
    begun.wait(20)
    with pytest.raises(Conflict, match="busy"):
        catalog.set("x", "1")
    deadline = time.monotonic() + 20
    while catalog.setting("x") is None:
        assert time.monotonic() < deadline
        with contextlib.suppress(Conflict):
            catalog.set("x", "2")
    awake.set()
    silent.join()
    assert [type(error) for error in said] in ([OutcomeUnknown], [Unavailable])
    assert catalog.events.newest() == []
    catalog.close()


def test_no_server_is_unavailable(tmp_path: Path):
    with pytest.raises(Unavailable, match="cannot be reached"):
        Catalog.open(f"postgresql://nobody:x@127.0.0.1:{free_port()}/nothing", tmp_path)


def test_a_wrong_password_is_not_shown(postgres_url: str, tmp_path: Path):
    address = postgres_url.partition("@")[2]
    with pytest.raises(HoldfastError) as caught:
        Catalog.open(f"postgresql://holdfast:guessed-secret@{address}", tmp_path)
    assert "guessed-secret" not in str(caught.value)


def _throw_out(url: str) -> None:
    """As a restart of the server: whoever is connected is not any more."""
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    rows_of(url, f"{ended} WHERE datname = current_database() AND pid <> pg_backend_pid()")
    others = "SELECT count(*) FROM pg_stat_activity"
    while rows_of(url, f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()") != [(0,)]:
        time.sleep(0.01)


def test_random_histories(postgres_server: Postgres):
    made: list[str] = []

    def make_url() -> str:
        while made:
            postgres_server.drop(made.pop())
        template = postgres_server.template("catalog", lambda url: Catalog.open(url, Path()).close())
        made.append(postgres_server.fresh_database(template))
        return made[-1]

    machine = type("Machine", (CatalogMachine,), {"make_url": staticmethod(make_url)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
