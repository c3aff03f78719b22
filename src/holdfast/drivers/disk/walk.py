"""All files below a folder, in the order of their relative names' bytes, one folder in memory at a time."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator

DEPTH_MAX = 64


def walk_files(
    root: str, prefix: str, after: str, apart: frozenset[str]
) -> Iterator[tuple[str, os.stat_result]]:
    """(relative name, stat) of each regular file whose name starts with `prefix` and sorts after `after`.

    Folders in `apart` (relative names) are left out. Links to files and folders are followed if they stay
    below `root`, broken and leaving ones are passed over; a loop ends at `DEPTH_MAX`.
    """
    yield from _walk(os.path.realpath(root), root, "", os.fsencode(prefix), os.fsencode(after), apart, 0)


def _walk(
    real_root: str, folder: str, base: str, prefix: bytes, after: bytes, apart: frozenset[str], depth: int
) -> Iterator[tuple[str, os.stat_result]]:
    if depth > DEPTH_MAX:
        return
    found: list[tuple[bytes, bool, str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                relative = base + entry.name
                if entry.is_symlink() and not _inside(real_root, entry.path):
                    continue
                is_folder = entry.is_dir()
                if is_folder and relative in apart:
                    continue
                found.append((os.fsencode(relative + "/" if is_folder else relative), is_folder, entry.path))
    except FileNotFoundError:
        if depth == 0:
            raise
        return  # the folder went away meanwhile
    found.sort()
    for name, is_folder, path in found:
        if is_folder:
            inside = name.startswith(prefix) or prefix.startswith(name)
            if inside and (name > after or after.startswith(name)):
                yield from _walk(real_root, path, os.fsdecode(name), prefix, after, apart, depth + 1)
        elif name > after and name.startswith(prefix):
            try:
                stat = os.stat(path)
            except FileNotFoundError:
                continue
            if modes.S_ISREG(stat.st_mode):
                yield os.fsdecode(name), stat


def _inside(real_root: str, path: str) -> bool:
    return os.path.realpath(path).startswith(real_root + os.sep)
