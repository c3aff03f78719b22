"""Deleting: one blob, what leads to it, and the folders that it leaves empty. Used by the disk driver alone.

A file behind a link to a folder has another name too, and may be another dataset's: then the link goes, and the
file stays.
"""

from __future__ import annotations

import os
import stat as modes

from holdfast.drivers.disk.medium import ABSENT, Medium
from holdfast.drivers.disk.walk import EXTRA_FILES
from holdfast.errors import Conflict
from holdfast.keys import Key
from holdfast.seams import hold_alone


class Removing:
    """Takes blobs out of one pool's folder. Safe from many threads."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium

    def delete(self, key: Key, *, durable: bool) -> None:
        """Delete a blob; `Conflict` while it is read. With the last extra file its folders go too."""
        path = self._medium.path(key)
        self._medium.require("delete")
        try:
            fd = self._medium.open_file(path, key, "delete")
        except OSError as error:
            if error.errno in ABSENT:
                self._medium.require("delete")
                return
            self._medium.fail(error, key, "delete")
        try:
            if not modes.S_ISREG(os.fstat(fd).st_mode):
                return
            if hold_alone(fd) is False:
                where = f"{key} in pool {self._medium.name}"
                raise Conflict(f"{where} is being read; it can be deleted when the reader is done")
            gone = self._link_above(key) or path
            self._medium.files.unlink(gone)
            if durable:
                self._medium.files.sync_folder(os.path.dirname(gone))
        except FileNotFoundError:
            self._medium.require("delete")
        except OSError as error:
            self._medium.fail(error, key, "delete")
        finally:
            os.close(fd)
        self._remove_empty_folders(key)

    def _link_above(self, key: Key) -> str | None:
        """The link through which one comes to an extra file, if there is one. What is behind it has a name of its
        own, perhaps as another dataset's: to give this name up, the link goes and not the file."""
        if EXTRA_FILES + "/" not in key:
            return None
        at = key.find("/", key.index(EXTRA_FILES + "/"))
        while at != -1:
            path = self._medium.path(key[:at])
            if os.path.islink(path):
                return path
            at = key.find("/", at + 1)
        return None

    def _remove_empty_folders(self, key: Key) -> None:
        """After the last extra file, the folders that held them go too. Never a hash folder."""
        folder = key.parent
        while EXTRA_FILES in folder and folder.rpartition("/")[2]:
            path = self._medium.path(folder)
            try:
                self._remove_loops(path)
                self._medium.files.remove_folder(path)
            except FileNotFoundError:  # it was behind a link that is gone
                pass
            except OSError:
                return
            if folder.endswith(EXTRA_FILES):
                return
            folder = folder.rpartition("/")[0]

    def _remove_loops(self, path: str) -> None:
        """Take away the links in a folder, if there is nothing else and all lead to where it is itself."""
        with os.scandir(path) as entries:
            left = list(entries)
        inside = os.path.realpath(path) + os.sep
        if all(one.is_symlink() and (os.path.realpath(one.path) + os.sep).startswith(inside) for one in left):
            for one in left:
                self._medium.files.unlink(one.path)
