"""Secrets of a document: references to them, or a value that never prints.

`env:NAME` and `file:PATH` are references: they are looked up when somebody asks with `reveal`, so that a
document can be shown, compared and read again without them. A secret typed into the document itself is kept
under a mask. A `Secret` cannot be formatted, pickled or logged into its value by accident.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from holdfast.config.nodes import Spot
from holdfast.config.quantities import BadValue
from holdfast.errors import ConfigError, Problem

MASK = "********"
FILE_BYTES_MAX = 65_536


class Secret:
    """A secret, or where it is to be found. Equal when typed alike."""

    __slots__ = ("_spot", "_typed")

    def __init__(self, typed: str, spot: Spot | None = None) -> None:
        self._typed = typed
        self._spot = spot or Spot("", 0)

    @classmethod
    def parse(cls, text: str, folder: Path, spot: Spot) -> Secret | None:
        """What stands in a document; relative files are relative to `folder`. None where nothing stands."""
        word = text.strip()
        if not word:
            return None
        if word == MASK:
            raise BadValue("is a mask, not the secret: this document was printed for people", "env:NAME or file:PATH")
        scheme, colon, rest = word.partition(":")
        if colon and scheme == "env":
            if not rest or "=" in rest or "\0" in rest:
                raise BadValue(f"{rest!r} cannot be the name of an environment variable", "env:HOLDFAST_SECRET")
        elif colon and scheme == "file":
            if not rest or "\0" in rest:
                raise BadValue("names no file", "file:/etc/holdfast/secret")
            word = f"file:{os.path.normpath(folder / rest)}"
        return cls(word, spot)

    @property
    def reference(self) -> str | None:
        """`env:NAME` or `file:/absolute/path`; None when the value itself was typed into the document."""
        return self._typed if self._typed.startswith(("env:", "file:")) else None

    def reveal(self, environ: Mapping[str, str] | None = None) -> str:
        """The secret itself. `ConfigError` when its variable is not set or its file cannot be read."""
        scheme, _, rest = self._typed.partition(":")
        if scheme == "env":
            found = (os.environ if environ is None else environ).get(rest)
            if not found:
                self._missing(f"the environment variable {rest} is not set", f"export {rest}=… before starting")
            return found
        if scheme == "file":
            return self._from_file(Path(rest))
        return self._typed

    def as_typed(self) -> str:
        """What a document holds: the reference, or the secret in clear. For writing documents only."""
        return self._typed

    def _from_file(self, path: Path) -> str:
        try:
            with path.open("rb") as stream:
                text = stream.read(FILE_BYTES_MAX + 1).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self._missing(f"the secret's file {path} cannot be read: {reason}", "file:PATH of a readable file")
        if not text or len(text) > FILE_BYTES_MAX:
            self._missing(f"the secret's file {path} is {'too long' if text else 'empty'}", "the secret into it")
        return text

    def _missing(self, message: str, instead: str) -> NoReturn:
        spot = self._spot
        raise ConfigError([Problem(spot.file or "configuration", spot.line or None, spot.where, message, instead)])

    def __repr__(self) -> str:
        return f"Secret({self.reference or MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._typed == other._typed

    def __hash__(self) -> int:
        return hash((Secret, self._typed))

    def __deepcopy__(self, _memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: hand on the document's path, and read it there")
