"""The catalog on SQLite: the suite, and what only a file can do."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.contract.catalog_kit import Placing, begin, put, recount, register, rows_of, tree_of
from tests.contract.catalog_suite import CatalogContract

from holdfast.catalog import database
from holdfast.catalog.catalog import SQLITE_FILE, Catalog
from holdfast.errors import CatalogError, Conflict, ForkedStore, HoldfastError, SchemaMismatch

PLACING = Placing(tree_of("hierarchical", {"a": 1}))


class TestSqliteCatalog(CatalogContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / SQLITE_FILE}"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The file of a closed catalog with some hundred datasets."""
    catalog = Catalog.open(None, tmp_path)
    register(catalog, "a")
    for _ in range(60):
        put(catalog, PLACING)
    catalog.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [SQLITE_FILE]
    return tmp_path / SQLITE_FILE


def test_without_an_address_it_lies_in_the_state_directory(whole: Path):
    again = Catalog.open(None, whole.parent)
    assert again.totals().datasets == 60
    again.close()


@pytest.mark.parametrize("name", ["with space", "100%", "a?b#c", "ü", "it's"])
def test_any_folder_will_do(tmp_path: Path, name: str):
    folder = tmp_path / name
    folder.mkdir()
    for _ in range(2):
        catalog = Catalog.open(None, folder)
        catalog.set("x", "1")
        catalog.close()
    assert [path.name for path in folder.iterdir()] == [SQLITE_FILE]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_damaged_file_is_refused_with_advice_and_left_as_it_is(whole: Path):
    good = whole.read_bytes()
    page = 4096
    assert len(good) > 20 * page
    damages = {
        "empty": b"",
        "garbage": os.urandom(8192),
        "text": b"this is no database\n" * 500,
        "one byte": b"S",
        "header only": good[:100],
        "header torn": good[:60],
        "no last byte": good[:-1],
        "no last page": good[:-page],
        "half": good[: len(good) // 2],
        "half of a page": good[: len(good) // 2 + 100],
        "first page zeros": bytes(page) + good[page:],
        "first page garbage": os.urandom(page) + good[page:],
    }
    for how, damaged in damages.items():
        whole.write_bytes(damaged)
        with pytest.raises(CatalogError) as caught:
            Catalog.open(None, whole.parent)
        said = str(caught.value)
        assert "damaged" in said, (how, said)
        assert "Keep a copy of the file" in said
        assert "holdfast reconcile --adopt" in said
        assert whole.read_bytes() == damaged, how
        logs = {f"{SQLITE_FILE}-wal", f"{SQLITE_FILE}-shm"}
        assert {path.name for path in whole.parent.iterdir()} <= {SQLITE_FILE, *logs}
        with pytest.raises(CatalogError):
            Catalog.upgrade(None, whole.parent)
        assert whole.read_bytes() == damaged, how
    whole.write_bytes(good)
    for stray in whole.parent.glob(f"{SQLITE_FILE}-*"):
        stray.unlink()
    catalog = Catalog.open(None, whole.parent)
    assert catalog.totals().datasets == 60
    catalog.close()


def test_damage_in_the_middle_is_told_when_it_is_met(whole: Path):
    content = bytearray(whole.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 4096] = os.urandom(4096)
    whole.write_bytes(content)
    with (  # noqa: PT012 - at opening, or later
        pytest.raises(CatalogError, match="damaged"),
        contextlib.closing(Catalog.open(None, whole.parent)) as catalog,
    ):
        for dataset_id in range(1, 61):
            catalog.datasets.find(dataset_id)


def test_a_catalog_whose_file_was_taken_away_is_not_recreated(whole: Path):
    catalog = Catalog.open(None, whole.parent)
    catalog.close()
    whole.rename(whole.with_suffix(".away"))
    with pytest.raises(CatalogError, match="cannot be opened"):
        catalog.totals()
    assert not whole.exists()
    (whole.parent / f"{SQLITE_FILE}-wal").write_bytes(b"what was written last")
    with pytest.raises(CatalogError, match="what it wrote last is there"):
        Catalog.open(None, whole.parent)
    assert not whole.exists()


def test_a_folder_that_may_not_be_written(tmp_path: Path):
    with pytest.raises(CatalogError):
        Catalog.open(f"sqlite:///{tmp_path / 'not there' / SQLITE_FILE}", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError):
        Catalog.open(None, tmp_path / "file")


def test_a_creation_that_was_killed_leaves_no_catalog(tmp_path: Path):
    """Killed at any moment of its making: either there is none, or it is whole."""
    program = (
        "import sys, pathlib; from holdfast.catalog.catalog import Catalog; "
        "Catalog.open(None, pathlib.Path(sys.argv[1]))"
    )
    for delay_s in (0.25, 0.35, 0.45, 0.6):
        folder = tmp_path / str(delay_s)
        folder.mkdir()
        child = subprocess.Popen([sys.executable, "-c", program, str(folder)])
        threading.Timer(delay_s, child.kill).start()
        child.wait()
        for attempt in range(2):
            catalog = Catalog.open(None, folder)
            register(catalog, "a")
            assert put(catalog, PLACING).dataset_id == attempt + 1
            catalog.close()


def test_what_was_committed_survives_a_kill(tmp_path: Path):
    child = os.fork()
    if child == 0:
        catalog = Catalog.open(None, tmp_path)
        register(catalog, "a")
        put(catalog, PLACING)
        begin(catalog, PLACING)
        with catalog.db.write() as cursor:
            catalog.events.add(cursor, 1, "test", "never")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    catalog = Catalog.open(None, tmp_path)
    assert catalog.totals().states["ok"] == 1
    assert len(catalog.holders.dead()) == 1
    recount(catalog.db.url)
    catalog.close()


def test_a_catalog_that_is_written_by_another_for_too_long_is_a_conflict(
    whole: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "BUSY_S", 0.2)
    other = sqlite3.connect(whole, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    catalog = Catalog.open(None, whole.parent)
    with pytest.raises(Conflict, match="was busy"):
        catalog.set("x", "1")
    assert catalog.totals().datasets == 60, "readers go on"
    other.execute("ROLLBACK")
    other.close()
    catalog.set("x", "1")
    catalog.close()


def test_a_full_disk_is_told_and_nothing_is_lost(small_disk):
    disk = small_disk(16)
    folder = disk.folder / "state"
    folder.mkdir()
    catalog = Catalog.open(None, folder)
    register(catalog, "a")
    acknowledged = [put(catalog, PLACING).dataset_id for _ in range(5)]
    disk.fill(leave_bytes=64 * 1024)
    with pytest.raises(CatalogError, match=r"full|I/O"):  # noqa: PT012 - as many as fit
        for _ in range(500):
            acknowledged.append(put(catalog, PLACING).dataset_id)  # noqa: PERF401 - kept when it raises
    disk.relieve()
    acknowledged.append(put(catalog, PLACING).dataset_id)
    url = catalog.db.url
    stored = {row[0] for row in rows_of(url, "SELECT id FROM dataset WHERE state = 'ok'")}
    assert set(acknowledged) <= stored
    catalog.close()
    recount(url)


def test_a_child_of_a_torn_moment_says_so(whole: Path):
    """A fork from inside a transaction: the parent goes on, the child is told instead of harming the file."""
    catalog = Catalog.open(None, whole.parent)
    before = hashlib.sha256(whole.read_bytes()).hexdigest()
    with catalog.db.write():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                catalog.set("x", "1")
            except ForkedStore:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    catalog.close()
    assert hashlib.sha256(whole.read_bytes()).hexdigest() == before


def test_a_copy_of_the_file_is_a_backup(whole: Path, tmp_path: Path):
    folder = tmp_path / "backup"
    folder.mkdir()
    shutil.copy(whole, folder / SQLITE_FILE)
    catalog = Catalog.open(None, folder)
    assert catalog.totals().datasets == 60
    catalog.close()


def test_what_lacks_a_column_says_upgrade(whole: Path):
    catalog = Catalog.open(None, whole.parent)
    with sqlite3.connect(whole) as other:
        other.execute("ALTER TABLE dataset RENAME COLUMN note TO remark")
    other.close()
    with pytest.raises(SchemaMismatch, match="holdfast catalog upgrade"):
        catalog.datasets.find(1)
    catalog.close()


def test_all_errors_are_ours(whole: Path):
    catalog = Catalog.open(None, whole.parent)
    with pytest.raises(HoldfastError), catalog.db.write() as cursor:
        cursor.execute("nonsense", ())
    catalog.set("x", "still works")
    catalog.close()
