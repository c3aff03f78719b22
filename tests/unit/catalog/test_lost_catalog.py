"""A catalog that is taken away under those who work with it, or was lost before they came."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast
from holdfast.catalog.catalog import Catalog
from holdfast.errors import CatalogError, Conflict, NoSpace
from holdfast.hold import Hold

KEPT = "catalog.kept"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    written = tmp_path / "holdfast.yml"
    written.write_text(f"state_dir: {tmp_path}/state\npools:\n  data: {{type: disk, files_dir: {tmp_path}/data}}\n")
    return written


@pytest.fixture
def hold(document: Path) -> Iterator[Hold]:
    with holdfast.open(document) as opened:
        opened.put(b"x", name="first")
        yield opened


def catalog_of(document: Path) -> Path:
    return document.parent / "state" / "catalog.sqlite"


def stored(document: Path) -> list[str]:
    return sorted(path.name for path in (document.parent / "data").rglob("dataset_*.dat"))


def test_deleted_under_a_hold_nothing_is_acknowledged(document: Path, hold: Hold):
    catalog_of(document).unlink()
    with pytest.raises(CatalogError, match="was taken away while this process works with it"):
        hold.put(b"y", name="second")
    with pytest.raises(CatalogError, match="put the file or a backup of it back"):
        hold.remove(1)
    with pytest.raises(CatalogError):
        hold.catalog.db.confirm_place()
    assert stored(document) == ["dataset_1.dat"]


def test_replaced_under_a_hold_nothing_is_acknowledged(document: Path, hold: Hold):
    catalog = catalog_of(document)
    shutil.copy(catalog, catalog.with_name(KEPT))
    os.rename(catalog.with_name(KEPT), catalog)
    with pytest.raises(CatalogError, match="was replaced by another file"):
        hold.put(b"y", name="second")
    # the connection that is kept is in use: a second one is made
    with hold.catalog.db.read(), pytest.raises(CatalogError, match="was replaced"), hold.catalog.db.read():
        pass
    assert stored(document) == ["dataset_1.dat"]


def test_what_was_being_written_is_not_acknowledged(document: Path, hold: Hold):
    with (  # noqa: PT012 - at the end of the transaction
        pytest.raises(CatalogError, match="was taken away"),
        hold.catalog.db.write() as cursor,
    ):
        cursor.execute("UPDATE dataset SET name = 'other'")
        catalog_of(document).rename(catalog_of(document).with_name(KEPT))
    catalog_of(document).with_name(KEPT).rename(catalog_of(document))
    assert hold.find(1).name == "first"


def test_put_back_in_its_place_it_goes_on(document: Path, hold: Hold):
    catalog = catalog_of(document)
    catalog.rename(catalog.with_name(KEPT))
    with pytest.raises(CatalogError):
        hold.put(b"y", name="second")
    catalog.with_name(KEPT).rename(catalog)
    hold.put(b"y", name="second")
    assert stored(document) == ["dataset_1.dat", "dataset_2.dat"]


@pytest.mark.parametrize("left", ["engine.sqlite", "jobs/000/1", "job_logs/000/1", "uploads/a"])
def test_beside_what_a_server_left_no_catalog_is_begun(document: Path, left: str):
    state = document.parent / "state"
    (state / left).parent.mkdir(parents=True, exist_ok=True)
    (state / left).touch()
    for attempt in (lambda: holdfast.open(document), lambda: Catalog.upgrade(None, state)):
        with pytest.raises(CatalogError) as caught:
            attempt()
        said = str(caught.value)
        assert f"is not new (it has {left.partition('/')[0]}), but its catalog is missing" in said
        assert "restore catalog.sqlite from your backup" in said
        assert "holdfast catalog create" in said
    assert not catalog_of(document).exists()
    Catalog.create(None, state)
    with holdfast.open(document) as hold:
        hold.put(b"x", name="first")
    with pytest.raises(Conflict, match="there is a catalog already"):
        Catalog.create(None, state)


def test_empty_folders_are_no_signs_of_life(document: Path):
    (document.parent / "state" / "jobs").mkdir(parents=True)
    with holdfast.open(document) as hold:
        hold.put(b"x", name="first")


def test_a_pool_of_the_lost_catalog_says_why_it_is_read_only(document: Path):
    with holdfast.open(document) as hold:
        hold.put(b"x", name="first")
    shutil.rmtree(document.parent / "state")
    with holdfast.open(document) as hold:
        for _ in range(2):
            with pytest.raises(NoSpace, match="it is read-only: it belongs to another catalog"):
                hold.put(b"y", name="second")
        hold.set_pool_state("data", "active")
        hold.put(b"y", name="second")
        hold.set_pool_state("data", "read-only")
        with pytest.raises(NoSpace) as caught:
            hold.put(b"z", name="third")
        assert "another catalog" not in str(caught.value)
