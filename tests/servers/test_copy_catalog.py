"""A catalog goes from SQLite to PostgreSQL and back, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Table

import holdfast
from holdfast.catalog import copying, schema
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.copying import copy_catalog
from holdfast.catalog.database import Database
from holdfast.errors import CatalogError, SchemaMismatch

pytestmark = pytest.mark.needs("postgres")

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
FURNISH = """\
from holdfast.cli.main import main
open("first", "w").write("first")
assert main(["put", "first", "--user", "alice@example.org", "--label", "k=\u00fc \U0001f9ec"]) == 0
assert main(["put", "holdfast.yml"]) == 0
assert main(["user", "add", "alice@example.org", "--admin"]) == 0
assert main(["rm", "2", "--purge"]) == 0
"""
Rows = dict[str, list[tuple]]


class Laboratory:
    """A folder with a document; commands run as processes of their own, so that they are gone when the copy begins."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "state" / "catalog.sqlite"
        (home / "data").mkdir()
        self.write("sqlite")

    def write(self, catalog: str) -> None:
        (self.home / "holdfast.yml").write_text(
            f"state_dir: state\ncatalog: {catalog}\npools:\n  data: {{type: disk, files_dir: data}}\n"
        )

    def call(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments], cwd=self.home, env=ENVIRONMENT, input="",
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def put(self, name: str, *more: str) -> None:
        (self.home / name).write_text(name)
        self.call("put", name, *more)


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    made = Laboratory(tmp_path)
    command = [sys.executable, "-c", FURNISH]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return made


def all_of(table: Table) -> str:
    return f"SELECT {', '.join(column.name for column in table.columns)} FROM {table.name}"


def rows_of_postgres(url: str) -> Rows:
    with psycopg.connect(url) as db:
        return {
            table.name: sorted(db.execute(all_of(table)).fetchall(), key=repr)
            for table in schema.metadata.sorted_tables
        }


def rows_of_sqlite(file: Path) -> Rows:
    with contextlib.closing(sqlite3.connect(file)) as db:
        return {
            table.name: sorted(db.execute(all_of(table)).fetchall(), key=repr)
            for table in schema.metadata.sorted_tables
        }


def test_to_postgresql_and_back(lab: Laboratory, postgres_url: str):
    before = rows_of_sqlite(lab.file)
    assert len(before["event"]) > 3
    told = json.loads(lab.call("catalog", "copy", "--to", postgres_url, "--json"))
    assert told["rows"] == {name: len(rows) for name, rows in before.items()}
    assert rows_of_postgres(postgres_url) == before
    assert rows_of_sqlite(lab.file) == before, "the source is as it was"

    lab.file.rename(lab.home / "old.sqlite")
    lab.write(postgres_url)
    assert [one["name"] for one in json.loads(lab.call("ls", "--json"))] == ["first"]
    lab.put("third")
    after = rows_of_postgres(postgres_url)
    assert len({row[0] for row in after["event"]}) == len(after["event"]) > len(before["event"])
    assert (lab.home / "data/000/dataset_3.dat").read_text() == "third", "ids go on"
    lab.call("check")

    lab.call("catalog", "copy", "--to", "sqlite")
    assert rows_of_sqlite(lab.file) == after
    lab.write("sqlite")
    lab.put("fourth")
    assert (lab.home / "data/000/dataset_4.dat").read_text() == "fourth"


def test_in_many_batches(lab: Laboratory, postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 2)
    before = rows_of_sqlite(lab.file)
    source, target = Database(f"sqlite:///{lab.file}"), Database(postgres_url)
    back = Database(f"sqlite:///{lab.home / 'back.sqlite'}")
    seen: list[int] = []
    with contextlib.closing(source), contextlib.closing(target), contextlib.closing(back):
        copy_catalog(source, target, seen.append)
        assert seen == sorted(seen)
        assert seen[-1] == sum(len(rows) for rows in before.values())
        copy_catalog(target, back)
    assert rows_of_postgres(postgres_url) == rows_of_sqlite(lab.home / "back.sqlite") == before


def test_a_target_that_is_not_empty_is_refused(lab: Laboratory, postgres_url: str, tmp_path: Path):
    catalog = Catalog.open(postgres_url, tmp_path)
    with catalog.db.write() as cursor:
        catalog.events.add(cursor, 1, "a", "somebody's")
    catalog.close()
    there = rows_of_postgres(postgres_url)
    assert "the target is not empty: it has rows in event" in lab.call("catalog", "copy", "--to", postgres_url, code=8)
    assert rows_of_postgres(postgres_url) == there
    with psycopg.connect(postgres_url) as db:
        db.execute("DROP SCHEMA public CASCADE")
        db.execute("CREATE SCHEMA public")
        db.execute("CREATE TABLE theirs (x int)")
    assert "are not a catalog of Holdfast" in lab.call("catalog", "copy", "--to", postgres_url, code=2)


def test_an_empty_catalog_is_a_good_target(lab: Laboratory, postgres_url: str, tmp_path: Path):
    catalog = Catalog.open(postgres_url, tmp_path)
    catalog.instance()
    catalog.close()
    lab.call("catalog", "copy", "--to", postgres_url)
    assert rows_of_postgres(postgres_url) == rows_of_sqlite(lab.file)


def test_while_somebody_works_with_it_nothing_is_copied(lab: Laboratory, postgres_url: str):
    with holdfast.open(lab.home / "holdfast.yml") as hold:
        hold.put(b"x", name="x")
        said = lab.call("catalog", "copy", "--to", postgres_url, code=8)
    assert f"the catalog is in use: client {os.getpid()} on" in said
    with psycopg.connect(postgres_url) as db:
        assert db.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_what_goes_wrong_in_the_middle_leaves_the_target_empty(
    lab: Laboratory, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    source, target = Database(f"sqlite:///{lab.file}"), Database(postgres_url)
    real = copying._rows

    def lossy(database, cursor, table):
        for rows in real(database, cursor, table):
            yield rows[:-1] if table.name == "event" else rows

    with contextlib.closing(source), contextlib.closing(target):
        monkeypatch.setattr(copying, "_rows", lossy)
        with pytest.raises(CatalogError, match="rows of event were copied"):
            copy_catalog(source, target)
        assert rows_of_postgres(postgres_url)["dataset"] == []

        def stop(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(copying, "_rows", real)
        with pytest.raises(KeyboardInterrupt):
            copy_catalog(source, target, stop)
        assert rows_of_postgres(postgres_url)["dataset"] == []
        copy_catalog(source, target)
    assert rows_of_postgres(postgres_url) == rows_of_sqlite(lab.file)


def test_what_cannot_be_meant(lab: Laboratory, postgres_url: str, tmp_path: Path):
    assert "is there already" in lab.call("catalog", "copy", "--to", "sqlite", code=2)
    assert "is no catalog" in lab.call("catalog", "copy", "--to", "mysql://x/y", code=2)
    nothing = Database(postgres_url)
    with contextlib.closing(nothing), pytest.raises(SchemaMismatch, match="there is no catalog to copy"):
        copy_catalog(nothing, Database(f"sqlite:///{tmp_path / 'x'}"))
    with contextlib.closing(sqlite3.connect(lab.file)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = '0000'")
    assert "holdfast catalog upgrade" in lab.call("catalog", "copy", "--to", postgres_url, code=2)
