"""All files below a folder, in the order of their relative names' bytes, one folder in memory at a time."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from dataclasses import dataclass

DEPTH_MAX = 64


def walk_files(
    root: str, prefix: str, after: str, apart: frozenset[str]
) -> Iterator[tuple[str, os.stat_result]]:
    """(relative name, stat) of each regular file whose name starts with `prefix` and sorts after `after`.

    Folders in `apart` (relative names) are left out. Links to files and folders are followed if they stay
    below `root`, broken and leaving ones are passed over; a loop ends at `DEPTH_MAX`.
    """
    walk = _Walk(os.path.realpath(root), os.fsencode(prefix), os.fsencode(after), apart)
    yield from walk.folder(root, "", 0)


@dataclass(frozen=True)
class _Walk:
    """What stays the same on the way down."""

    real_root: str
    prefix: bytes
    after: bytes
    apart: frozenset[str]

    def folder(self, path: str, base: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
        if depth > DEPTH_MAX:
            return
        try:
            found = self._entries(path, base)
        except FileNotFoundError:
            if depth == 0:
                raise
            return  # the folder went away meanwhile
        for name, is_folder, inside in found:
            if is_folder:
                if self._may_hold(name):
                    yield from self.folder(inside, os.fsdecode(name), depth + 1)
            elif name > self.after and name.startswith(self.prefix):
                try:
                    stat = os.stat(inside)
                except FileNotFoundError:
                    continue
                if modes.S_ISREG(stat.st_mode):
                    yield os.fsdecode(name), stat

    def _entries(self, path: str, base: str) -> list[tuple[bytes, bool, str]]:
        """(relative name, is it a folder, path) of a folder's entries, as their names' bytes sort."""
        found: list[tuple[bytes, bool, str]] = []
        with os.scandir(path) as entries:
            for entry in entries:
                relative = base + entry.name
                if entry.is_symlink() and not _inside(self.real_root, entry.path):
                    continue
                is_folder = entry.is_dir()
                if is_folder and relative in self.apart:
                    continue
                found.append((os.fsencode(relative + "/" if is_folder else relative), is_folder, entry.path))
        found.sort()
        return found

    def _may_hold(self, folder: bytes) -> bool:
        """Whether a folder can hold names that are wanted."""
        wanted = folder.startswith(self.prefix) or self.prefix.startswith(folder)
        return wanted and (folder > self.after or self.after.startswith(folder))


def _inside(real_root: str, path: str) -> bool:
    return os.path.realpath(path).startswith(real_root + os.sep)
