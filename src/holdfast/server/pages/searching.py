"""What the search box understands: words of a name, and `label:key=value`, quoted where it has blanks.

`label:run=7`, `label:"project=apollo 11"`; the rest is looked for in the name. A label is found as it is written, a
name in any part and in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.catalog.datasets import LABELS_ASKED_MAX
from holdfast.server.pages.rendering import query_of

_WORD = re.compile(r'(?:^|(?<=\s))label:(?:"((?:[^"\\]|\\.)*)"|(\S*))(?=\s|$)')
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = re.compile(r'[^\s"\\]+')


@dataclass(frozen=True, slots=True)
class Searched:
    """`problem`: what to write instead, where it cannot be understood; then nothing is found."""

    name: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    problem: str | None = None


def understood(text: str) -> Searched:
    """What somebody typed into the box."""
    pairs: list[tuple[str, str]] = []
    for quoted, plain in _WORD.findall(text):
        key, equals, value = (_ESCAPED.sub(r"\1", quoted) or plain).partition("=")
        if not equals or not key:
            return Searched(problem="A label is searched by its key and its value, for example label:project=apollo.")
        pairs.append((key, value))
    if len(pairs) > LABELS_ASKED_MAX:
        return Searched(problem=f"{LABELS_ASKED_MAX} labels at most can be searched at once.")
    name = " ".join(_WORD.sub(" ", text).split()) if pairs else text
    return Searched(name or None, tuple(pairs))


def label_word(key: str, value: str) -> str:
    """What to type for that label."""
    pair = f"{key}={value}"
    if not _PLAIN.fullmatch(pair):
        pair = '"' + pair.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"label:{pair}"


@dataclass(frozen=True, slots=True)
class Tag:
    """A label as a page shows it, and where all that have it are listed."""

    key: str
    value: str
    href: str


def tags_of(labels: Mapping[str, str]) -> list[Tag]:
    """In the order of their keys."""
    return [
        Tag(key, value, "/datasets" + query_of({"q": label_word(key, value)})) for key, value in sorted(labels.items())
    ]
