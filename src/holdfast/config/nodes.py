"""What a configuration file says, before anybody judges it: values that know where they were written.

Every spelling is first read into these three nodes (`yaml_source`, `galaxy_xml`), so that whatever is wrong
later on can be reported with its file, its line and its place. Text stays as it was typed: `007` is a name
as well as a number until a key of the table says what it wants.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file: `line` counts from 1, `where` is the element or key in the file's own words."""

    file: str
    line: int
    where: str = ""

    def named(self, where: str) -> Spot:
        """The same place under another name."""
        return Spot(self.file, self.line, where)


@dataclass(frozen=True, slots=True)
class TextNode:
    """One value as it was typed. None: the key stands there with nothing behind it. `is_plain`: without quotation
    marks, where a spelling has such a difference."""

    text: str | None
    spot: Spot
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, with its own place."""

    name: str
    spot: Spot
    value: Node


@dataclass(frozen=True, slots=True)
class MapNode:
    """Keys with values, in the file's order. No key stands there twice."""

    entries: tuple[Entry, ...]
    spot: Spot

    def entry(self, name: str) -> Entry | None:
        """The entry under `name`, if there is one."""
        return next((entry for entry in self.entries if entry.name == name), None)


@dataclass(frozen=True, slots=True)
class ListNode:
    """Values in the file's order."""

    items: tuple[Node, ...]
    spot: Spot


Node = TextNode | MapNode | ListNode


def describe(node: Node) -> str:
    """What stands there, in words for a message."""
    if isinstance(node, MapNode):
        return "keys with values"
    if isinstance(node, ListNode):
        return "a list"
    return "nothing" if node.text is None else f"the text {shorten(node.text)!r}"


def shorten(text: str, limit_chars: int = 60) -> str:
    """`text`, cut where a message would become unreadable."""
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"
