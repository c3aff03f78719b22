"""A pool whose file system turns read-only is passed over, and says so wherever one looks."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.crash.test_disks import Mount
from tests.unit.hold_kit import audit, make_hold

from holdfast.errors import Unavailable


class Pipe(io.BytesIO):
    """Bytes that can be read once, like a request's."""

    def seekable(self) -> bool:
        return False


@pytest.fixture
def hold(tmp_path: Path, small_disk: Mount):
    disk = small_disk(32, kind="ext4")
    (tmp_path / "first").symlink_to(disk.folder)
    with make_hold(tmp_path, {"first": {}, "second": {}}) as hold:
        yield hold, disk


def test_new_data_goes_elsewhere_with_the_reason(hold):
    hold, disk = hold
    old = hold.put(b"old", name="old")
    assert old.object_store_id == "first"
    disk.become_read_only()
    for number, source in enumerate([b"bytes", Pipe(b"of a request"), b"more"]):
        dataset = hold.put(source, name=f"{number}")
        assert dataset.object_store_id == "second"
        reasons = {choice.object_store_id: choice.reason for choice in dataset.placement}
        assert "mounted read-only" in reasons["first"]
    assert [one.object_store_id for one in hold.put_many([Path(__file__)] * 10)] == ["second"] * 10
    assert hold.explain_put(1024)[0].object_store_id == "second"
    info = hold.pool("first")
    assert info.reachable
    assert "mounted read-only" in info.unwritable_because
    with hold.open(old.id) as stream:
        assert stream.read() == b"old"
    with pytest.raises(Unavailable, match="mounted read-only"):
        hold.put(b"x", name="x", pool="first")
    with pytest.raises(Unavailable, match="mounted read-only"):
        hold.replace(old.id, b"new")
    disk.become_writable()
    assert hold.put(b"x", name="x").object_store_id == "first"
    assert hold.pool("first").unwritable_because == ""
    audit(hold, strangers={"lost+found"})
