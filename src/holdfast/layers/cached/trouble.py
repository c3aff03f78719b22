"""What goes wrong in the cache itself. None of it leaves the layer: reads go past the cache then.

`CacheTrouble` is about the cache's own disk or index, never about the pool behind it, whose errors are those of the
tree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from holdfast.errors import Corrupt
from holdfast.keys import Key


class CacheTrouble(Exception):
    """The folder cannot be used now: its disk is full or broken, its index does not answer."""


class NoRoom(CacheTrouble):
    """All is well, but what is held cannot go: it is being read, or pinned."""


class Stuck(CacheTrouble):
    """A process that is stopped, or hangs, holds this blob; others can be had."""


class Gone(Exception):
    """The entry was taken away between two looks. Look again."""


class Replaced(Exception):
    """The pool has another version by now."""


class Mismatch(Exception):
    """The bytes are not those that were announced. What was held of them is forgotten."""

    def __init__(self, key: Key, expected: str, actual: str) -> None:
        super().__init__(key)
        self.key, self.expected, self.actual = key, expected, actual

    def corrupt(self, pool: str) -> Corrupt:
        """As the caller is told."""
        return Corrupt(
            f"{self.key} in pool {pool} is damaged: {self.expected} was stored, {self.actual} was read, twice",
            expected=self.expected, actual=self.actual, store=pool, key=self.key, operation="open",
        )  # fmt: skip


@contextlib.contextmanager
def on_disk() -> Iterator[None]:
    """What the system says of the cache's own files becomes `CacheTrouble`. Never put a call to the pool in it."""
    try:
        yield
    except OSError as error:
        raise CacheTrouble(f"{error.strerror or error}") from error
