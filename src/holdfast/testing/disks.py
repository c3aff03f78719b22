"""Small real disks that tests may fill, make read-only, take away and bring back.

A `Disk` is an ext4 image on a loop device, or a tmpfs, mounted for as long as a block lasts. It needs root
and the right to mount; `small_disk` raises `CannotRunHere` with the reason where that is missing. Leaves no
mount and no loop device behind, also when files on it are still open.

Not a power cut: `holdfast.testing.power` does that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from holdfast.testing.here import CannotRunHere, program

Kind = Literal["ext4", "tmpfs"]

_FILLER = ".filler"
_BLOCK_BYTES = 4096
_MOUNT_LIMIT_S = 30


class Disk:
    """A mounted disk. `folder` is where it is. Made by `small_disk`; for one thread at a time."""

    def __init__(self, kind: Kind, folder: Path, held: Path) -> None:
        self.kind: Kind = kind
        self.folder = folder
        self._held = held  # the file system itself; `folder` is a second view of it, so that it can vanish

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Write a filler file until nothing fits any more, then give `leave_bytes` back (whole blocks)."""
        fd = os.open(self._held / _FILLER, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            for size_bytes in (256 * _BLOCK_BYTES, _BLOCK_BYTES):
                _write_until_full(fd, size_bytes)
            os.fsync(fd)
            kept = os.fstat(fd).st_size // _BLOCK_BYTES - -(-leave_bytes // _BLOCK_BYTES)
            os.ftruncate(fd, max(kept, 0) * _BLOCK_BYTES)
            os.fsync(fd)
        finally:
            os.close(fd)

    def relieve(self) -> None:
        """Remove the filler file; no error if there is none."""
        (self._held / _FILLER).unlink(missing_ok=True)

    def take_every_inode(self) -> None:
        """Make empty files until no name fits any more, though there are bytes left."""
        crowd = self._held / (_FILLER + "-names")
        crowd.mkdir(exist_ok=True)
        for number in range(os.statvfs(self._held).f_files + 1):
            try:
                (crowd / str(number)).touch(exist_ok=False)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    return
                raise
        raise AssertionError(f"{self._held} took more names than it says that it has room for")

    def become_read_only(self) -> None:
        """As an administrator's `mount -o remount,ro`: `OSError` (EBUSY) while a file is open for writing."""
        _mount("-o", "remount,bind,ro", str(self.folder))

    def become_writable(self) -> None:
        """Undo `become_read_only`."""
        _mount("-o", "remount,bind,rw", str(self.folder))

    def abort(self) -> None:
        """As ext4 after an I/O error on its journal: every write fails from now on, through open files too.

        Only ext4 can; there is no way back but a new disk.
        """
        if self.kind != "ext4":
            raise ValueError(f"a {self.kind} cannot abort; ask for small_disk(kind='ext4')")
        _mount("-o", "remount,abort", str(self._held))

    def vanish(self) -> None:
        """As a pulled cable: the folder is there and empty. Open files go on working."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True, timeout=_MOUNT_LIMIT_S)

    def come_back(self) -> None:
        """Undo `vanish`, with everything that was on the disk."""
        _mount("--bind", str(self._held), str(self.folder))


@contextlib.contextmanager
def small_disk(size_mib: int = 16, *, kind: Kind = "ext4", inodes: int | None = None) -> Iterator[Disk]:
    """A disk of that size for as long as the block lasts; `inodes` bounds how many names fit.

    An ext4 takes 8 MiB at least, and holds a little less than its size. `CannotRunHere` where one cannot
    mount.
    """
    if os.geteuid() != 0:
        raise CannotRunHere("only root may mount a disk here: run these tests as root")
    with tempfile.TemporaryDirectory(prefix="holdfast-disk-") as room:
        folder, held, image = Path(room, "disk"), Path(room, "held"), Path(room, "image")
        folder.mkdir()
        held.mkdir()
        _mount_new(kind, held, image, size_mib, inodes)
        try:
            disk = Disk(kind, folder, held)
            disk.come_back()
            yield disk
        finally:
            for mounted in (folder, held):
                if mounted.is_mount():
                    subprocess.run(["umount", "--lazy", str(mounted)], check=True, timeout=_MOUNT_LIMIT_S)


def _mount_new(kind: Kind, held: Path, image: Path, size_mib: int, inodes: int | None) -> None:
    try:
        if kind == "tmpfs":
            limit = f",nr_inodes={inodes}" if inodes is not None else ""
            _mount("-t", "tmpfs", "-o", f"size={size_mib}m,mode=0755{limit}", "tmpfs", str(held))
            return
        with image.open("wb") as file:
            file.truncate(size_mib * 1024 * 1024)
        make_ext4(image, inodes=inodes)
        _mount("-o", "loop", str(image), str(held))
        (held / "lost+found").rmdir()
    except OSError as error:
        raise CannotRunHere(f"this machine does not mount a {kind}: {error}") from error


def make_ext4(image: Path, *, inodes: int | None = None) -> None:
    """Format an image file as ext4, without blocks that only root may use."""
    maker = program("mkfs.ext4", package="e2fsprogs")
    count = ["-N", str(inodes)] if inodes is not None else []
    made = subprocess.run(
        [str(maker), "-q", "-F", "-m", "0", *count, str(image)],
        check=False,
        capture_output=True,
        timeout=_MOUNT_LIMIT_S,
    )
    if made.returncode != 0:
        raise OSError(errno.EINVAL, made.stderr.decode(errors="replace").strip(), str(image))


def _mount(*arguments: str) -> None:
    done = subprocess.run(
        [str(program("mount", package="mount")), *arguments],
        check=False,
        capture_output=True,
        timeout=_MOUNT_LIMIT_S,
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise OSError(errno.EBUSY if "busy" in said else errno.EPERM, said)


def _write_until_full(fd: int, size_bytes: int) -> None:
    block = bytes(size_bytes)
    while True:
        try:
            os.write(fd, block)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return
            raise
