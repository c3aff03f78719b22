"""The kit's PostgreSQL: real, fresh for every test, gone afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from holdfast.testing import servers
from holdfast.testing.servers import Postgres

pytestmark = pytest.mark.needs("postgres")


def test_a_fresh_database_is_empty_and_writable(postgres_url: str) -> None:
    assert postgres_url.startswith("postgresql://")
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE dataset (id bigint PRIMARY KEY)")
        connection.execute("INSERT INTO dataset VALUES (24)")
        version = connection.execute("SHOW server_version_num").fetchone()
    assert version is not None
    assert int(version[0]) >= 130000
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT id FROM dataset").fetchall() == [(24,)]


def test_two_databases_know_nothing_of_each_other(postgres_server: Postgres) -> None:
    first, second = postgres_server.fresh_database(), postgres_server.fresh_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE only_here (id int)")
    with psycopg.connect(second) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM only_here")
    postgres_server.drop(first)
    postgres_server.drop(second)


def test_a_template_is_prepared_once_and_copied(postgres_server: Postgres) -> None:
    prepared = []

    def prepare(url: str) -> None:
        prepared.append(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE schema_version AS SELECT 7 AS version")

    for _ in range(3):
        url = postgres_server.fresh_database(postgres_server.template("seven", prepare))
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT version FROM schema_version").fetchall() == [(7,)]
        postgres_server.drop(url)
    assert len(prepared) == 1


def test_a_template_that_fails_is_not_kept(postgres_server: Postgres) -> None:
    def fail(url: str) -> None:
        raise RuntimeError(f"cannot prepare {url}")

    with pytest.raises(RuntimeError, match="cannot prepare"):
        postgres_server.template("broken", fail)
    assert postgres_server.template("broken", lambda url: None)


def test_dropping_throws_out_whoever_is_connected(postgres_server: Postgres) -> None:
    url = postgres_server.fresh_database()
    with psycopg.connect(url, autocommit=True) as connection:
        postgres_server.drop(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_wrong_password_is_refused(postgres_server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.url(), password="guessed")


def test_it_is_gone_after_its_block() -> None:
    with servers.postgres() as running:
        server = running.server
        assert (server.folder / "data" / "PG_VERSION").exists()
        assert _is_alive(server.process_id)
    assert not _is_alive(server.process_id)
    assert not server.folder.exists()


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1][:3]
