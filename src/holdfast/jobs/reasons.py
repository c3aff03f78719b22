"""Why a job ended that Holdfast, not its command, brought to an end: written into its note, and read back from it.

A note that begins with the title of an error class (`errors.OUTCOMES`) says which class it was, so that whoever waits
for the job can end as any other command would that met the same.
"""

from __future__ import annotations

import errno

from holdfast.errors import OUTCOMES, Denied, HoldfastError, NoSpace, Outcome, StoreError, Unavailable, outcome

_BY_TITLE = {each.title: each for each in OUTCOMES.values()}
_SYSTEM: dict[int, type[StoreError]] = {
    errno.ENOSPC: NoSpace, errno.EDQUOT: NoSpace, errno.EACCES: Denied, errno.EPERM: Denied, errno.EROFS: Denied,
}  # fmt: skip


def words(error: Exception) -> str:
    """The note of a job that this ended."""
    if isinstance(error, HoldfastError):
        return f"{error.title}: {error}"
    kind = _SYSTEM.get(error.errno or 0, Unavailable) if isinstance(error, OSError) else HoldfastError
    return f"{outcome(kind('')).title}: {error}"


def outcome_of(note: str | None) -> Outcome | None:
    """How the error looks from outside that a note tells of; None if it tells of none."""
    return _BY_TITLE.get((note or "").partition(":")[0])
