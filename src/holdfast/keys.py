"""Names of blobs.

A `Key` is the validated, relative name of a blob in a store, for example `000/dataset_24.dat`. Whoever holds
one may join it to a pool's folder or a bucket without looking at it again: it cannot leave the store. Local
file names that come from people (extra files) become keys only here.
"""

from __future__ import annotations

import unicodedata

from holdfast.errors import InvalidKey

KEY_BYTES_MAX = 1024  # S3's limit
SEGMENT_BYTES_MAX = 255  # NAME_MAX of the usual file systems
NAME_CHARS_MAX = 255
RESERVED_PREFIX = ".holdfast"  # our marker, temporary files and manifests in a pool
QUARANTINE = ".holdfast/quarantine/"  # what lies there was set aside: no listing has it, but one of just that prefix


class Key(str):
    """A relative, slash-separated name that is safe to store. Make one with `Key.parse`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Key:
        """`text` as a key; raises `InvalidKey` saying what is wrong with it."""
        problem = key_problem(text)
        if problem:
            raise InvalidKey(f"{text!r} cannot be the name of stored bytes: {problem}", key=text)
        return cls(text)

    @property
    def parent(self) -> str:
        """All but the last segment; empty for a key at the top."""
        return self.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The last segment."""
        return self.rpartition("/")[2]


def is_key(text: str) -> bool:
    """Whether `Key.parse` takes it."""
    return key_problem(text) is None


def is_listed(name: str, prefix: str) -> bool:
    """Whether a store's list of the names that start with `prefix` has this one: keys, and what is set aside if it was
    asked for."""
    if prefix.startswith(QUARANTINE):
        return name.startswith(prefix) and is_key(name.removeprefix(QUARANTINE))
    return is_key(name)


def check_dataset_name(name: str) -> str:
    """`name` as a dataset's display name, or `InvalidKey` with the reason.

    A display name never becomes a path, so slashes and dots are fine; characters that break logs, headers
    and terminals are not.
    """
    if not name or not name.strip():
        raise InvalidKey("a dataset needs a name: give it at least one visible character")
    if len(name) > NAME_CHARS_MAX:
        raise InvalidKey(f"a dataset's name may have {NAME_CHARS_MAX} characters; this one has {len(name)}")
    for char in name:
        if unicodedata.category(char) in ("Cc", "Cs"):
            raise InvalidKey(
                f"{name!r} cannot be a dataset's name: it holds the control character {char!r}; leave it out"
            )
    return name


def key_problem(text: str) -> str | None:
    """Why `text` cannot be the name of stored bytes; None if it can."""
    if not text:
        return "it is empty"
    if text.startswith("/"):
        return "it starts with a slash; leave the slash out"
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if len(encoded) > KEY_BYTES_MAX:
        return f"it is longer than {KEY_BYTES_MAX} bytes"
    segments = text.split("/")
    for segment in segments:
        if segment in ("", ".", ".."):
            return f"it has the segment {segment!r}"
        if len(segment.encode()) > SEGMENT_BYTES_MAX:
            return f"its part {segment[:20]!r}... is longer than {SEGMENT_BYTES_MAX} bytes"
        if segment.startswith(RESERVED_PREFIX):
            return f"names that start with {RESERVED_PREFIX!r} are kept for Holdfast itself"
    if not text.isprintable():
        for char in text:
            if unicodedata.category(char) in ("Cc", "Cs"):
                return f"it holds the control character {char!r}"
    return None
