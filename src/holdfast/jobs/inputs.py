"""A job's inputs are handed out as paths to be read. Whether the command wrote to one is seen here.

Nothing keeps a command that runs as the server's user from writing to a file of a pool. What it damaged is told with
the job's end, and read at once, so that the dataset is known to be damaged before the next reader comes. It is seen by
the file's size and time, by the process that began the job: of a job that was taken up by another one, a scrub tells.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from holdfast.errors import Corrupt, HoldfastError
from holdfast.hold.hold import Hold


@dataclass(frozen=True, slots=True)
class Input:
    """One input as it was when the job began."""

    number: int
    dataset_id: int
    path: str
    inode: int
    size_bytes: int
    modified_ns: int


def look(dataset_ids: Sequence[int], paths: Sequence[str]) -> tuple[Input, ...]:
    """The inputs as they are now; those that cannot be looked at are left out."""
    found = []
    for number, (dataset_id, path) in enumerate(zip(dataset_ids, paths, strict=True), 1):
        with suppress(OSError):
            stat = os.stat(path)
            found.append(Input(number, dataset_id, path, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def written_to(hold: Hold, before: Sequence[Input]) -> list[str]:
    """A sentence for each input whose file was written to since. One that was replaced is another file, and is fine.

    Reads those that were: if they are damaged now the catalog knows it then.
    """
    told = []
    for one, now in zip(before, _as_they_are(before), strict=True):
        if now is None or now.inode != one.inode:
            continue
        if (now.size_bytes, now.modified_ns) == (one.size_bytes, one.modified_ns):
            continue
        told.append(f"the command wrote to input{one.number} (dataset {one.dataset_id}), {_what_is_left(hold, one)}")
    return told


def _as_they_are(before: Sequence[Input]) -> list[Input | None]:
    return [next(iter(look([one.dataset_id], [one.path])), None) for one in before]


def _what_is_left(hold: Hold, one: Input) -> str:
    """Of the input's content, for people. Whoever finds it damaged here has marked it in the catalog."""
    try:
        if hold.find(one.dataset_id).checksum is None:
            return "of which no checksum is known that would tell whether it changed"
        hold.export(one.dataset_id, os.devnull)
    except Corrupt:
        return "which is damaged now"
    except HoldfastError as error:
        return f"which could not be looked at: {error}"
    return "which has its old content"
