"""Where a job's files are.

    <job_work of its output pool>/<directory hash>/<id>/    Galaxy's layout; gone some time after the end
        working/                                            the command begins and leaves its outputs here
        tmp/                                                its TMPDIR
        outputs/                                            outputs on their way into the pool
    <state>/job_logs/<directory hash>/<id>/                 kept for months: stdout, stderr, how it began and ended

A pool without a `job_work` folder has its jobs work in `<state>/jobs`.
"""

from __future__ import annotations

import os
import shutil
import stat as modes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.errors import Denied, HoldfastError, NoSpace, Unavailable
from holdfast.layout import directory_hash

WORKING, TEMPORARY, OUTPUTS = "working", "tmp", "outputs"
LOGS = "job_logs"
NAMES_MAX = 100
_FULL = (28, 122)  # ENOSPC, EDQUOT
_REFUSED = (1, 13, 30)  # EPERM, EACCES, EROFS


def logs_folder(state_dir: Path, job_id: int) -> Path:
    """Where the job's output and its begin and end are kept."""
    return state_dir / LOGS / directory_hash(job_id) / str(job_id)


def make_logs_folder(state_dir: Path, job_id: int) -> Path:
    """The same, made if it is not there."""
    folder = logs_folder(state_dir, job_id)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _trouble(error, folder) from error
    return folder


def make_work_folder(job_work: Path, job_id: int) -> Path:
    """A new folder for the job to work in. One that is there already is not ours: ours gets another name."""
    parent = job_work / directory_hash(job_id)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(NAMES_MAX):
            folder = parent / (str(job_id) if number == 0 else f"{job_id}_{number}")
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            for name in (WORKING, TEMPORARY, OUTPUTS):
                (folder / name).mkdir(mode=0o700)
            return folder
    except OSError as error:
        raise _trouble(error, job_work) from error
    raise Unavailable(f"{parent} holds {NAMES_MAX} folders of other jobs called {job_id}", operation="job")


def remove_work_folder(folder: Path) -> bool:
    """Take the folder away with all that is in it, following no link; False if something is left.

    It does not come back with a power cut: nobody would know it any more.
    """
    shutil.rmtree(folder, onerror=_open_up)
    if os.path.lexists(folder):
        return False
    try:
        fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        os.fsync(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _open_up(remove: Callable[..., Any], path: str, _info: Any) -> None:
    """A job may leave folders that cannot be entered."""
    try:
        parent = os.path.dirname(path)
        for closed in (parent, path):
            found = os.lstat(closed)
            if modes.S_ISDIR(found.st_mode):
                os.chmod(closed, found.st_mode | 0o700)
        if remove is os.unlink or remove is os.rmdir:
            remove(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return  # told by what is left


def _trouble(error: OSError, folder: Path) -> HoldfastError:
    words = f"the job's folder {folder} could not be made: {error.strerror or error}"
    if error.errno in _FULL:
        return NoSpace(words, operation="job")
    if error.errno in _REFUSED:
        return Denied(words, operation="job")
    return Unavailable(words, operation="job")
