"""A dataset that cannot be read now says so wherever it is shown, with its pool's name; it is never lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.told import open_at

from holdfast.drivers.disk.medium import MARK_NAME
from holdfast.errors import Conflict, Unavailable
from holdfast.hold import Hold


def shown(hold: Hold) -> list[tuple[str, str, bool, str]]:
    shapes = [hold.to_json(one, hold.unavailable()) for one in hold.datasets()]
    return [(one["name"], one["state"], one["available"], one["unavailable_because"] or "") for one in shapes]


def test_a_pool_that_was_taken_out_of_the_file(tmp_path: Path):
    with open_at(tmp_path, "new", "old") as hold:
        lost = hold.put(b"in old", name="lost", pool="old")
        hold.put(b"in new", name="kept")
    with open_at(tmp_path, "new") as hold:
        [kept, gone] = shown(hold)
        assert kept == ("kept", "ok", True, "")
        assert gone == ("lost", "ok", False, "pool old is no longer in the configuration")
        with pytest.raises(Unavailable, match="pool old"):
            hold.open(lost.id)
        assert "no longer in the file" in hold.check_pools()[-1].detail
    with open_at(tmp_path, "new", "old") as hold:
        assert all(available for *_, available, _ in shown(hold))
        assert hold.open(lost.id).read() == b"in old"


def test_a_pool_whose_mount_vanished(tmp_path: Path):
    with open_at(tmp_path, "new") as hold:
        hold.put(b"x", name="x")
        (tmp_path / "new").rename(tmp_path / "unmounted")
        (tmp_path / "new").mkdir()
        [(_, state, available, why)] = shown(hold)
        assert (state, available) == ("ok", False)
        assert "does not carry the pool's mark" in why
        (tmp_path / "new").rmdir()
        (tmp_path / "unmounted").rename(tmp_path / "new")
        assert shown(hold) == [("x", "ok", True, "")]


def test_lists_tell_why_each_is_where_it_is(tmp_path: Path):
    with open_at(tmp_path, "new", "old") as hold:
        made = [hold.put(b"x", name=str(at)) for at in range(3)]
        assert [one.placement for one in reversed(hold.datasets())] == [hold.find(one.id).placement for one in made]


def test_two_catalogs_on_one_pool(tmp_path: Path):
    with open_at(tmp_path, "new") as first:
        dataset = first.put(b"precious", name="x")
    (tmp_path / "state").rename(tmp_path / "mislaid")
    with open_at(tmp_path, "new") as second:
        assert "belongs to another catalog" in str(second.warnings[0])
        assert second.open(dataset.id).read() == b"precious"
        second.remove(dataset.id, purge=True)
        assert (tmp_path / "new/000/dataset_1.dat").read_bytes() == b"precious"
        assert second.explain_put(1)[0].code == "state"
    with open_at(tmp_path, "new") as second:
        assert "belongs to another catalog" in str(second.warnings[0])
        second.set_pool_state("new", "active")
        assert second.put(b"y", name="y").object_store_id == "new"
    (tmp_path / "state").rename(tmp_path / "second")
    (tmp_path / "mislaid").rename(tmp_path / "state")
    with open_at(tmp_path, "new") as first:
        with pytest.raises(Unavailable, match="another catalog has taken it over"):
            first.put(b"z", name="z")
        assert (tmp_path / "new/000/dataset_2.dat").read_bytes() == b"y"


def test_a_restored_catalog_takes_over_what_another_had_taken(tmp_path: Path):
    with open_at(tmp_path, "new", "old") as first:
        first.put(b"precious", name="x")
    shutil.copytree(tmp_path / "state", tmp_path / "backup")
    (tmp_path / "state").rename(tmp_path / "mislaid")
    with open_at(tmp_path, "new", "old") as second:
        second.set_pool_state("new", "active")
        assert second.put(b"y", name="y").id == 2
    (tmp_path / "state").rename(tmp_path / "second")
    (tmp_path / "backup").rename(tmp_path / "state")
    with open_at(tmp_path, "new", "old") as first:
        [said] = [check.detail for check in first.check_pools() if check.object_store_id == "new"]
        assert "holdfast pool set new --state active" in said
        assert first.set_pool_state("new", "active").reachable
        assert [one.ok for one in first.check_pools()] == [True, True]
        assert first.open(1).read() == b"precious"
        assert first.put(b"z", name="z").id == 3
        assert "was taken over from another catalog" in first.events()[2].text
        first.set_pool_state("new", "active")
        assert sum(event.kind == "pool.takeover" for event in first.events()) == 1, "nothing was left to take over"
    with open_at(tmp_path, "new", "old") as first:
        assert [pool.reachable for pool in first.pools()] == [True, True]
    (tmp_path / "state").rename(tmp_path / "first")
    (tmp_path / "second").rename(tmp_path / "state")
    with open_at(tmp_path, "new", "old") as second, pytest.raises(Unavailable, match="another catalog has taken it"):
        second.open(2).read()


def test_media_that_were_mixed_up_are_not_taken_over(tmp_path: Path):
    with open_at(tmp_path, "new", "old") as hold:
        hold.put(b"x", name="x")
    (tmp_path / "new").rename(tmp_path / "between")
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "between").rename(tmp_path / "old")
    marks = {name: (tmp_path / name / MARK_NAME).read_bytes() for name in ("new", "old")}
    with open_at(tmp_path, "new", "old") as hold:
        with pytest.raises(Conflict, match="is the medium of pool old"):
            hold.set_pool_state("new", "active")
        with pytest.raises(Unavailable):
            hold.open(1).read()
    assert {name: (tmp_path / name / MARK_NAME).read_bytes() for name in ("new", "old")} == marks


def test_a_folder_without_a_mark_is_not_taken_over(tmp_path: Path):
    with open_at(tmp_path, "new") as hold:
        hold.put(b"x", name="x")
        (tmp_path / "new").rename(tmp_path / "unmounted")
        (tmp_path / "new").mkdir()
        assert not hold.set_pool_state("new", "active").reachable
        assert list((tmp_path / "new").iterdir()) == []
