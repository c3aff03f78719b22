"""The disk on which the catalog lies: full, read-only, too small for a new catalog. Real disks, by mounting them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import holdfast
from holdfast.errors import CatalogError, CatalogFull
from holdfast.testing.disks import Disk


def written(tmp_path: Path, state: Path) -> Path:
    (tmp_path / "data").mkdir(exist_ok=True)
    document = tmp_path / "holdfast.yml"
    document.write_text(f"state_dir: {state}\npools:\n  data: {{type: disk, files_dir: {tmp_path}/data}}\n")
    return document


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    continue
            except OSError:
                continue
    return filler


def put_many(document: Path) -> None:
    with holdfast.open(document) as hold:
        for number in range(100):
            hold.put(b"x", name=f"{number}")


def test_a_full_disk_is_told_as_full_and_nothing_is_lost(tmp_path: Path, small_disk: Callable[..., Disk]):
    disk = small_disk(16, kind="tmpfs").folder
    document = written(tmp_path, disk / "state")
    with holdfast.open(document) as hold:
        hold.put(b"first", name="a")
    filler = fill(disk)
    with pytest.raises(CatalogFull, match="full"):
        put_many(document)
    filler.unlink()
    with holdfast.open(document) as hold:
        assert hold.put(b"second", name="b").state == "ok"
        with hold.open(1) as stream:
            assert stream.read() == b"first"


@pytest.mark.parametrize("size_kib", [100, 300, 500])
def test_a_catalog_that_finds_no_room_is_not_half_made(tmp_path: Path, size_kib: int):
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk here")
    disk = tmp_path / "tiny"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        document = written(tmp_path, disk / "state")
        try:
            holdfast.open(document).close()
        except CatalogError:
            assert not (disk / "state" / "catalog.sqlite").exists(), "a part of a catalog was left"
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        with holdfast.open(document) as hold:
            assert hold.put(b"x", name="a").id == 1
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_read_only_disk_is_told_as_such(tmp_path: Path, small_disk: Callable[..., Disk]):
    disk = small_disk(16, kind="tmpfs").folder
    document = written(tmp_path, disk / "state")
    holdfast.open(document).close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        with pytest.raises(CatalogError, match="mounted read-only"):
            holdfast.open(document)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
