"""`put_many`: as a whole where it can be, one by one where it must, and honest about what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.errors import NoSpace, NotFound
from holdfast.hold import Hold, PutItem


@pytest.fixture
def hold(tmp_path: Path):
    document = tmp_path / "holdfast.yml"
    document.write_text(
        "placement: distributed\nstate_dir: state\npools:\n"
        "  a: {type: disk, files_dir: a, capacity: 2 KiB}\n  b: {type: disk, files_dir: b, capacity: 2 KiB}\n"
    )
    with open_hold(read_document(document, environ={})) as made:
        yield made


def _files(tmp_path: Path, count: int, size_bytes: int = 10) -> list[Path]:
    made = []
    for at in range(count):
        path = tmp_path / f"file{at}"
        path.write_bytes(bytes([at]) * size_bytes)
        made.append(path)
    return made


def test_those_before_one_that_is_not_there_are_stored(hold: Hold, tmp_path: Path):
    files = _files(tmp_path, 5)
    files.insert(3, tmp_path / "missing")
    stored = []
    with pytest.raises(NotFound, match="missing"):
        hold.put_many(files, on_stored=stored.append)
    assert [one.name for one in stored] == ["file0", "file1", "file2"]
    assert [Path(hold.full_path(one)).read_bytes() for one in stored] == [bytes([at]) * 10 for at in range(3)]
    assert hold.totals().datasets == 3
    assert sum(info.reserved_bytes for info in hold.pools()) == 0


def test_a_batch_that_does_not_fit_is_stored_as_far_as_it_does(hold: Hold, tmp_path: Path):
    stored = []
    with pytest.raises(NoSpace, match="no room"):
        hold.put_many(_files(tmp_path, 6, 1000), on_stored=stored.append)
    assert len(stored) == 4
    assert sorted(info.used_bytes for info in hold.pools()) == [2000, 2000]
    assert len(list(tmp_path.glob("[ab]/000/dataset_*.dat"))) == 4
    assert sum(info.reserved_bytes for info in hold.pools()) == 0


def test_a_whole_batch_keeps_the_shares(hold: Hold):
    stored = hold.put_many(PutItem(b"x", name=str(at)) for at in range(9))
    assert sorted(one.object_store_id for one in stored) == ["a"] * 5 + ["b"] * 4
    assert [one.name for one in stored] == [str(at) for at in range(9)]
