"""A pool that an administrator has taken offline is neither read nor written, and nothing in it is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.told import open_at, run

from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.errors import Unavailable
from holdfast.hold import Hold
from holdfast.hold.waiting import why_bytes_wait

DOCUMENT = """\
placement: hierarchical
state_dir: state
pools:
  a: {type: disk, files_dir: a}
  b: {type: disk, files_dir: b}
"""


@pytest.fixture
def hold(tmp_path: Path):
    (tmp_path / "holdfast.yml").write_text(DOCUMENT)
    with open_hold(read_document(tmp_path / "holdfast.yml", environ={})) as made:
        yield made


def test_reads_are_refused_and_come_back(hold: Hold):
    dataset = hold.put(b"bytes", name="x")
    hold.set_pool_state("a", "offline")
    for refused in (hold.open, hold.lease, hold.reader):
        with pytest.raises(Unavailable, match=r"pool a is offline.*--state active"):
            refused(dataset.id)
    assert hold.find(dataset.id).state == "ok"
    assert hold.put(b"more", name="y").object_store_id == "b"
    hold.set_pool_state("a", "active")
    assert hold.open(dataset.id).read() == b"bytes"


def test_a_purge_waits_until_it_is_back(hold: Hold, tmp_path: Path):
    dataset = hold.put(b"bytes", name="x")
    hold.set_pool_state("a", "offline")
    assert hold.remove(dataset.id, purge=True).replicas[0].state == "retiring"
    assert (tmp_path / "a/000/dataset_1.dat").exists()
    assert run(hold, "reap", grace_s=0).failures
    assert (tmp_path / "a/000/dataset_1.dat").exists()
    hold.set_pool_state("a", "active")
    assert run(hold, "reap", grace_s=0).counts == {"deleted": 1}
    assert not (tmp_path / "a/000/dataset_1.dat").exists()


def test_scrub_and_reconcile_say_that_they_could_not_look(hold: Hold, tmp_path: Path):
    dataset = hold.put(b"bytes", name="x")
    hold.set_pool_state("a", "offline")
    (tmp_path / "a/000/dataset_1.dat").unlink()  # nobody may conclude anything from this now
    for kind in ("scrub", "reconcile"):
        assert [why for _, why in run(hold, kind).failures if "offline" in why]
        assert hold.find(dataset.id).replicas[0].state == "present"


def test_unknown_data_may_be_there(hold: Hold, tmp_path: Path):
    (tmp_path / "a/000").mkdir(exist_ok=True)
    (tmp_path / "a/000/dataset_77.dat").write_bytes(b"old")
    hold.set_pool_state("a", "offline")
    with pytest.raises(Unavailable, match="cannot be asked"):
        hold.find(77)
    hold.set_pool_state("a", "active")
    assert hold.open(77).read() == b"old"


@pytest.mark.parametrize("concurrency", [1, 8])
def test_many_at_once_come_to_the_same_end(hold: Hold, tmp_path: Path, concurrency: int):
    made = [hold.put(bytes([at]) * 1000, name=str(at)) for at in range(40)]
    for dataset in made[::10]:
        Path(hold.full_path(dataset)).write_bytes(b"damage")
    told = run(hold, "scrub", concurrency=concurrency)
    assert (told.objects, told.counts) == (40, {"verified": 36, "damaged": 4})
    assert sorted(item for item, _ in told.failures) == [dataset.id for dataset in made[::10]]
    for dataset in made:
        hold.remove(dataset.id, purge=True)
    assert not list((tmp_path / "a").rglob("*.dat"))


def test_what_is_purged_in_a_pool_that_takes_nothing_away_says_what_it_waits_for(tmp_path: Path):
    with open_at(tmp_path, "a", "b") as hold:
        one, two = hold.put(b"x", name="x", pool="a"), hold.put(b"y", name="y", pool="b")
        hold.set_pool_state("a", "read-only")
        said = why_bytes_wait(hold.catalog, hold.remove(one.id, purge=True))
        assert said == (
            "Its bytes are still there: those in a wait until pool a is active again. A reap takes them away then."
        )
        assert (tmp_path / "a/000/dataset_1.dat").exists()
        assert why_bytes_wait(hold.catalog, hold.remove(two.id, purge=True)) is None
        assert not (tmp_path / "b/000/dataset_2.dat").exists()
        hold.set_pool_state("a", "active")
        hold.remove(one.id, purge=True)
        assert why_bytes_wait(hold.catalog, hold.find(one.id)) is None
        assert not (tmp_path / "a/000/dataset_1.dat").exists()
