"""All files below a folder, in the order of their relative names' bytes, one folder in memory at a time."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator

from holdfast.keys import RESERVED_PREFIX, key_problem

DEPTH_MAX = 64
EXTRA_FILES = "_files"  # a folder's name ends so if it holds a dataset's extra files


def walk_files(
    root: str, prefix: str, after: str, apart: frozenset[str]
) -> Iterator[tuple[str, os.stat_result]]:
    """(relative name, stat) of each regular file whose name starts with `prefix` and sorts after `after`.

    Folders in `apart` (relative names) are left out. Links to files and folders are followed if they stay
    below `root`; broken and leaving ones, and those that lead back to a folder above them, are passed over, and so
    are those from one of a dataset's folders of extra files to another: each of its files has one name.
    """
    walk = _Walk(os.path.realpath(root), os.fsencode(prefix), os.fsencode(after), apart)
    return walk.below(root, "", ())


def walk_refused(root: str, apart: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(relative name, why) of each entry that `walk_files` passes over, or that is no possible name of a blob.

    Names that are no text are told with escapes. One folder in memory at a time.
    """
    real_root = os.path.realpath(root)
    todo = [("", root)]
    while todo:
        base, folder = todo.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        for entry in entries:
            relative = base + entry.name
            if relative in apart or entry.name.startswith(RESERVED_PREFIX):
                continue
            why = _why_refused(entry, relative, real_root)
            if why is not None:
                yield os.fsencode(relative).decode("utf-8", "backslashreplace"), why
            elif entry.is_dir(follow_symlinks=False):
                todo.append((relative + "/", entry.path))


def _why_refused(entry: os.DirEntry[str], relative: str, real_root: str) -> str | None:
    if entry.is_symlink():
        try:
            target = os.path.realpath(entry.path, strict=True)
        except OSError:
            return "it is a link that leads to nothing"
        if not target.startswith(real_root + os.sep):
            return "it is a link that leads out of the pool; links may not leave it"
        if entry.is_dir() and leads_beside(entry.path, relative):
            return "it is a link to a folder beside it, whose files are known by their own names"
    elif not entry.is_dir() and not entry.is_file():
        return "it is neither a file nor a folder"
    return key_problem(relative)


def leads_beside(path: str, relative: str) -> bool:
    """Whether a link among a dataset's extra files leads to one of the folders that these are in."""
    segments = relative.split("/")
    for depth, segment in enumerate(segments[:-1], 1):
        if segment.endswith(EXTRA_FILES):
            top = os.path.realpath(path[: len(path) - len("/".join(segments[depth:])) - 1])
            return (os.path.realpath(path) + os.sep).startswith(top + os.sep)
    return False


class _Walk:
    """What stays the same in one walk."""

    def __init__(self, real_root: str, prefix: bytes, after: bytes, apart: frozenset[str]) -> None:
        self._real_root, self._prefix, self._after, self._apart = real_root, prefix, after, apart

    def below(
        self, folder: str, base: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[str, os.stat_result]]:
        """The files below one folder. `above` are the device and inode numbers of those that it is in."""
        if len(above) > DEPTH_MAX:
            return
        try:
            here = os.stat(folder)
            found = sorted(self._entries(folder, base))
        except FileNotFoundError:
            if not above:
                raise
            return  # the folder went away meanwhile
        if (here.st_dev, here.st_ino) in above:
            return
        inside = (*above, (here.st_dev, here.st_ino))
        for name, is_folder, path in found:
            if is_folder:
                wanted = name.startswith(self._prefix) or self._prefix.startswith(name)
                if wanted and (name > self._after or self._after.startswith(name)):
                    yield from self.below(path, os.fsdecode(name), inside)
            elif name > self._after and name.startswith(self._prefix):
                try:
                    stat = os.stat(path)
                except FileNotFoundError:
                    continue
                if modes.S_ISREG(stat.st_mode):
                    yield os.fsdecode(name), stat

    def _entries(self, folder: str, base: str) -> Iterator[tuple[bytes, bool, str]]:
        """(relative name, whether it is a folder, path); a folder's name ends in a slash, as it sorts."""
        with os.scandir(folder) as entries:
            for entry in entries:
                relative = base + entry.name
                if entry.is_symlink() and not self._stays(entry.path):
                    continue
                is_folder = entry.is_dir()
                if is_folder and entry.is_symlink() and leads_beside(entry.path, relative):
                    continue
                if not (is_folder and relative in self._apart):
                    yield os.fsencode(relative + "/" if is_folder else relative), is_folder, entry.path

    def _stays(self, path: str) -> bool:
        """Whether a link leads to something, inside."""
        try:
            return os.path.realpath(path, strict=True).startswith(self._real_root + os.sep)
        except OSError:
            return False
