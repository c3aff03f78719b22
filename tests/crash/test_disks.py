"""The kit's disks: they are full, read-only and gone when they say so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.testing import disks
from holdfast.testing.disks import Disk

Mount = Callable[..., Disk]
BOTH = pytest.mark.parametrize("kind", ["ext4", "tmpfs"])


@BOTH
def test_a_full_disk_takes_what_was_left_and_no_more(small_disk: Mount, kind: str) -> None:
    disk = small_disk(16, kind=kind)
    disk.fill(leave_bytes=200_000)
    _write(disk.folder / "fits", 100_000)
    with pytest.raises(OSError, match="No space left on device"):
        _write(disk.folder / "too large", 200_000)
    (disk.folder / "too large").unlink()
    disk.relieve()
    _write(disk.folder / "large", 1_000_000)


@BOTH
def test_a_disk_may_have_bytes_and_no_names(small_disk: Mount, kind: str) -> None:
    disk = small_disk(16, kind=kind, inodes=128)
    disk.take_every_inode()
    assert os.statvfs(disk.folder).f_bavail > 0
    with pytest.raises(OSError, match="No space left on device"):
        (disk.folder / "name").touch()


@BOTH
def test_a_read_only_disk_can_be_read(small_disk: Mount, kind: str) -> None:
    disk = small_disk(16, kind=kind)
    (disk.folder / "old").write_bytes(b"old")
    disk.become_read_only()
    with pytest.raises(OSError, match="Read-only") as caught:
        (disk.folder / "new").touch()
    assert caught.value.errno == errno.EROFS
    assert (disk.folder / "old").read_bytes() == b"old"
    disk.become_writable()
    (disk.folder / "new").touch()


def test_an_aborted_disk_fails_writes_through_open_files(small_disk: Mount) -> None:
    disk = small_disk(16, kind="ext4")
    with (disk.folder / "open").open("wb", buffering=0) as file:
        file.write(b"before")
        disk.abort()
        with pytest.raises(OSError, match=r"Read-only|Input/output"):
            _write_and_sync(file.fileno(), b"after")


@BOTH
def test_a_vanished_disk_leaves_an_empty_folder_and_comes_back_whole(small_disk: Mount, kind: str) -> None:
    disk = small_disk(16, kind=kind)
    (disk.folder / "blob").write_bytes(b"content")
    with (disk.folder / "blob").open("rb") as still_open:
        disk.vanish()
        assert list(disk.folder.iterdir()) == []
        assert still_open.read() == b"content"
    disk.come_back()
    assert (disk.folder / "blob").read_bytes() == b"content"


def test_nothing_stays_mounted_though_a_file_is_open() -> None:
    with disks.small_disk(16) as disk:
        file = (disk.folder / "open").open("wb")
        place = disk.folder
    try:
        assert str(place.parent) not in Path("/proc/mounts").read_text()
        assert not place.parent.exists()
    finally:
        file.close()


@pytest.fixture(autouse=True)
def _may_mount(small_disk: Mount) -> None:
    small_disk(8, kind="tmpfs")


def _write(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        _write_and_sync(file.fileno(), os.urandom(size_bytes))


def _write_and_sync(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
    os.fsync(fd)
