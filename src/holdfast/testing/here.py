"""What the machine at hand lacks, said so that one knows what to install."""

from __future__ import annotations

import shutil
from pathlib import Path


class CannotRunHere(Exception):
    """This machine cannot do that. The message says what is missing and how to get it."""


def program(name: str, *, package: str, more_folders: tuple[Path, ...] = ()) -> Path:
    """Where the program lies; `CannotRunHere` with the Debian package that has it.

    Looks on the PATH, in the system's folders for administrators, then in `more_folders`.
    """
    folders = (Path("/usr/sbin"), Path("/sbin"), *more_folders)
    found = shutil.which(name) or shutil.which(name, path=":".join(map(str, folders)))
    if found is None:
        raise CannotRunHere(f"there is no program {name!r} here: apt-get install {package}")
    return Path(found)
