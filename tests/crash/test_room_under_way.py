"""Room while bytes pass, on a real disk: nothing is promised twice, and what is shown adds up."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.crash.test_disks import Mount
from tests.unit.hold_kit import audit, make_hold

from holdfast.errors import NoSpace
from holdfast.hold import Hold
from holdfast.hold.facts import PoolInfo

MIB = 1024 * 1024


@pytest.fixture
def hold(tmp_path: Path, small_disk: Mount):
    disk = small_disk(64, kind="tmpfs")
    (tmp_path / "first").symlink_to(disk.folder)
    with make_hold(tmp_path, {"first": {}}) as hold:
        yield hold


def adds_up(info: PoolInfo) -> bool:
    assert info.capacity_bytes is not None
    assert info.free_bytes is not None
    assert info.percent_full is not None
    total = info.used_bytes + info.reserved_bytes + info.free_bytes
    return total <= info.capacity_bytes and info.percent_full <= 100


def test_a_large_put_under_way(hold: Hold):
    """40 of 64 MiB, 36 of them written: they are in use and reserved, which would be more than there is."""
    seen: list[PoolInfo] = []
    refused: list[bool] = []

    def look(done_bytes: int) -> None:
        if len(seen) <= done_bytes // (4 * MIB):
            seen.append(hold.pool("first"))
            assert adds_up(seen[-1]), seen[-1]
        if done_bytes > 36 * MIB and not refused:
            with pytest.raises(NoSpace):
                hold.put(b"x" * 26 * MIB, name="does not fit")
            refused.append(True)

    before = hold.pool("first")
    stored = hold.put(b"y" * 40 * MIB, name="large", on_progress=look)
    assert len(seen) == 11
    assert refused == [True]
    assert max(info.percent_full or 0 for info in seen) == 100
    assert all(info.free_bytes <= (before.free_bytes or 0) - 40 * MIB for info in seen if info.free_bytes)
    after = hold.pool("first")
    assert adds_up(after)
    assert (after.used_bytes, after.reserved_bytes) == (40 * MIB, 0)
    assert 62 < (after.percent_full or 0) < 64
    hold.put(b"x" * 20 * MIB, name="fits now")
    assert len(hold.open(stored.id).read()) == 40 * MIB
    audit(hold)


def test_two_pools_on_one_disk_show_what_both_have_promised(tmp_path: Path, small_disk: Mount):
    disk = small_disk(64, kind="tmpfs")
    for name in ("first", "second"):
        (disk.folder / name).mkdir()
        (tmp_path / name).symlink_to(disk.folder / name)
    with make_hold(tmp_path, {"first": {}, "second": {}}) as hold:
        seen: list[PoolInfo] = []

        def look(_: int) -> None:
            if not seen:
                seen.extend(hold.pools())
                assert "it has no room" in hold.explain_put(30 * MIB)[0].reason

        hold.put(b"y" * 40 * MIB, name="large", on_progress=look)
        first, second = seen
        assert (first.reserved_bytes, second.reserved_bytes) == (40 * MIB, 0)
        assert first.free_bytes == second.free_bytes
        assert (second.free_bytes or 0) < 24 * MIB
        assert first.percent_full == second.percent_full
        assert all(adds_up(info) for info in seen)
