"""A finished command's outputs: looked at, then taken over as datasets, each exactly once.

An output is a regular file in the working folder, or a link to one that stays in it; `NAME_files` beside it
are its extra files. All are looked at before the first is taken. A file is taken over by a rename within its
file system; a second name in the job's folder keeps it until the dataset is recorded, so a kill between the
two loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat as modes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.catalog.base import Dataset
from holdfast.catalog.jobs import Job
from holdfast.errors import HoldfastError, NoSpace, OperationError, Unavailable
from holdfast.hold.hold import Hold
from holdfast.jobs.folders import OUTPUTS, WORKING

ATTEMPTS = 4
FIRST_PAUSE_S = 0.5


class OutputRefused(OperationError):
    """What the command left under an output's name cannot become a dataset."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a command left under an output's name."""

    name: str
    path: Path  # where the bytes are: behind a link, if it is one
    extra_files: Path | None


def look(folder: Path, names: list[str]) -> list[Left]:
    """What lies under each of the names; `OutputRefused` with every reason if one cannot be stored."""
    working = folder / WORKING
    inside = os.path.realpath(working) + os.sep
    found: list[Left] = []
    reasons: list[str] = []
    for name in names:
        reason = _refusal(working / name, inside, name)
        if reason:
            reasons.append(reason)
            continue
        extra = working / f"{name}_files"
        if os.path.lexists(extra) and not (extra.is_dir() and not extra.is_symlink()):
            reasons.append(f"{name}_files is no folder, so it cannot hold extra files of {name}")
        has_extra = extra.is_dir() and not extra.is_symlink()
        found.append(Left(name, Path(os.path.realpath(working / name)), extra if has_extra else None))
    if reasons:
        raise OutputRefused("; ".join(reasons))
    return found


def take(hold: Hold, job: Job, left: Left, preferred: str | None = None) -> Dataset:
    """Make a dataset of it, in the job's pool. The working folder keeps a name of the file.

    `preferred` is the pool that the job's owner prefers. If the job's pool has filled up while the job ran,
    and the job had not demanded it, another pool will do.
    """
    assert job.folder is not None, "a job that ran has a folder"
    where = _where(job, preferred)
    pause_s = FIRST_PAUSE_S
    for attempt in range(ATTEMPTS):
        handed = _second_name(left.path, Path(job.folder) / OUTPUTS / left.name)
        try:
            return hold.adopt_file(
                handed,
                name=left.name,
                owner=job.owner,
                extra_files=left.extra_files,
                origin="job",
                job_id=job.id,
                **where,
            )
        except NoSpace:
            if where == {} or job.wanted_pool is not None:
                raise
            where = {}
        except HoldfastError as error:
            if not error.retryable or attempt == ATTEMPTS - 1:
                raise
            hold.clock.sleep(pause_s)
            pause_s *= 2
        finally:
            handed.unlink(missing_ok=True)
    raise Unavailable(f"output {left.name} could not be stored in {ATTEMPTS} attempts", operation="job")


def _where(job: Job, preferred: str | None) -> dict[str, Any]:
    """Into which pool, said so that placement records why."""
    assert job.object_store_id is not None, "a job that ran has a pool"
    if job.wanted_pool is not None:
        return {"pool": job.wanted_pool}
    if preferred == job.object_store_id:
        return {"preferred": preferred}
    return {"pool": job.object_store_id, "settled": f"chosen when job {job.id} began"}


def _refusal(path: Path, inside: str, name: str) -> str | None:
    """Why this cannot be an output, or None."""
    try:
        real = os.path.realpath(path, strict=True)
        mode = os.stat(real).st_mode
    except FileNotFoundError:
        if path.is_symlink():
            return f"output {name} is a link to nothing: {os.readlink(path)}"
        return f"the command did not make its output {name}"
    except OSError as error:
        return f"output {name} cannot be looked at: {error.strerror or error}"
    if not real.startswith(inside):
        return f"output {name} is a link that leaves the working folder ({real}); copy the file instead"
    if modes.S_ISDIR(mode):
        return f"output {name} is a folder; make an archive of it, or put it beside a file as NAME_files"
    if not modes.S_ISREG(mode):
        return f"output {name} is no regular file"
    return None


def _second_name(source: Path, target: Path) -> Path:
    """The file under a name that may be taken away. A copy if others have it too (an input, say)."""
    target.unlink(missing_ok=True)
    if os.stat(source).st_nlink == 1:
        with contextlib.suppress(OSError):  # a file system without links: copy
            os.link(source, target, follow_symlinks=False)
            return target
    shutil.copyfile(source, target)
    return target
