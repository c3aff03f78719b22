"""Reads YAML text into nodes, with exact lines, and refuses what a configuration has no need of.

Nothing is constructed and nothing recurses: the nodes are made from the parser's events on a stack of our
own. Refused, with the line: keys written twice, tags (`!include`, `!!python/object`), several documents in
one file, aliases that refer to themselves or explode, nesting deeper than `DEPTH_MAX`, more than
`NODES_MAX` values, characters that no text has. Merge keys (`<<`) work as in YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from holdfast.config.nodes import Entry, ListNode, MapNode, Node, Spot, TextNode
from holdfast.config.problems import ProblemLog

DEPTH_MAX = 64
NODES_MAX = 50_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MERGE = "\0merge"  # cannot be typed: NUL is refused
_DOUBLE = "\0double"


def read_yaml(text: str, file: str, problems: ProblemLog) -> Node | None:
    """The document in `text`, or None when `problems` has been told why there is none."""
    odd = _NOT_TEXT.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        problems.error(Spot(file, line), f"holds the character U+{ord(odd[0]):04X}, which no YAML file may hold")
        return None
    try:
        return _Composer(file, problems).compose(text)
    except _RefusedError as refused:
        problems.error(refused.spot, refused.message, refused.instead)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = Spot(file, mark.line + 1 if mark else 0)
        problems.error(spot, f"is not YAML: {_in_words(error)}", _cure(error))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problems.error(Spot(file, 0), f"is not YAML: {error}", "pools: … and placement: …")
    return None


class _RefusedError(Exception):
    def __init__(self, spot: Spot, message: str, instead: str | None = None) -> None:
        super().__init__(message)
        self.spot = spot
        self.message = message
        self.instead = instead


@dataclass(slots=True)
class _Frame:
    """A mapping or a list whose end has not been seen yet."""

    spot: Spot
    anchor: str | None
    mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    key: Entry | None = None
    size: int = 1


class _Composer:
    def __init__(self, file: str, problems: ProblemLog) -> None:
        self._file = file
        self._problems = problems
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._seen = 0
        self._root: Node | None = None

    def compose(self, text: str) -> Node | None:
        documents = 0
        for event in _events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    spot = self._spot(event)
                    raise _RefusedError(spot, "a second document starts here", "one document, without a second ---")
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._close()
        return self._root

    def _spot(self, event: yaml.Event, where: str = "") -> Spot:
        return Spot(self._file, event.start_mark.line + 1 if event.start_mark else 0, where)

    def _node(self, event: yaml.NodeEvent) -> None:
        spot = self._spot(event, self._where())
        if isinstance(event, yaml.AliasEvent):
            self._alias(event, spot)
            return
        tag = getattr(event, "tag", None)
        if tag and tag != "!" and tag not in _PLAIN_TAGS:
            raise _RefusedError(spot, f"has the tag {tag!r}: only plain YAML is read", "the value without a tag")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, spot)
            return
        if len(self._frames) >= DEPTH_MAX:
            raise _RefusedError(spot, f"is nested more than {DEPTH_MAX} levels deep")
        mapping = isinstance(event, yaml.MappingStartEvent)
        if self._awaits_key():
            raise _RefusedError(spot, "a key must be a plain text, not a list or a mapping")
        self._frames.append(_Frame(spot, event.anchor, mapping))

    def _scalar(self, event: yaml.ScalarEvent, spot: Spot) -> None:
        text: str | None = event.value
        odd = _NOT_TEXT.search(text) if text else None
        if odd:
            raise _RefusedError(spot, f"holds the character U+{ord(odd[0]):04X}, which is no text")
        plain = event.implicit[0]
        if self._awaits_key():
            self._start_entry(event.value, spot, merge=plain and event.value == "<<")
            return
        if plain and text in _NULL:
            text = None
        self._add(TextNode(text, spot, plain), 1, event.anchor)

    def _alias(self, event: yaml.AliasEvent, spot: Spot) -> None:
        name = event.anchor or ""
        if name not in self._anchors:
            if any(frame.anchor == name for frame in self._frames):
                raise _RefusedError(spot, f"the alias *{name} refers to itself")
            raise _RefusedError(spot, f"the alias *{name} has no anchor &{name} before it")
        node, size = self._anchors[name]
        if self._awaits_key():
            raise _RefusedError(spot, "a key must be a plain text, not an alias")
        self._add(node, size, None)

    def _start_entry(self, name: str, spot: Spot, *, merge: bool) -> None:
        frame = self._frames[-1]
        if merge:
            name = _MERGE
        elif name in frame.lines:
            message = f"is written twice; the first time in line {frame.lines[name]}"
            self._problems.error(spot.named(_join(frame.spot.where, name)), message, "it once")
            name = _DOUBLE
        else:
            frame.lines[name] = spot.line
        frame.key = Entry(name, spot.named(_join(frame.spot.where, name)), TextNode(None, spot))

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        self._seen += size
        if self._seen > NODES_MAX:
            raise _RefusedError(
                node.spot,
                f"the file (its aliases written out) holds more than {NODES_MAX} values",
                "fewer aliases (*name): what they stand for, written out",
            )
        if anchor:
            self._anchors[anchor] = (node, size)
        if not self._frames:
            self._root = node
            return
        frame = self._frames[-1]
        frame.size += size
        if not frame.mapping:
            frame.items.append(node)
        elif frame.key is not None:
            key, frame.key = frame.key, None
            if key.name == _MERGE:
                frame.merged.append(node)
            elif key.name != _DOUBLE:
                frame.entries.append(Entry(key.name, key.spot, node))

    def _close(self) -> None:
        frame = self._frames.pop()
        node: Node
        if frame.mapping:
            node = MapNode((*frame.entries, *self._from_merges(frame)), frame.spot)
        else:
            node = ListNode(tuple(frame.items), frame.spot)
        self._add(node, frame.size, frame.anchor)

    def _from_merges(self, frame: _Frame) -> Iterator[Entry]:
        have = set(frame.lines)
        for merged in frame.merged:
            for source in merged.items if isinstance(merged, ListNode) else (merged,):
                if not isinstance(source, MapNode):
                    raise _RefusedError(source.spot, "<< takes a mapping, or a list of them", "<<: *name")
                for entry in source.entries:
                    if entry.name not in have:
                        have.add(entry.name)
                        yield entry

    def _awaits_key(self) -> bool:
        return bool(self._frames) and self._frames[-1].mapping and self._frames[-1].key is None

    def _where(self) -> str:
        if not self._frames:
            return ""
        frame = self._frames[-1]
        if not frame.mapping:
            return f"{frame.spot.where}[{len(frame.items)}]"
        return frame.key.spot.where if frame.key else frame.spot.where


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _events(text: str) -> Iterator[yaml.Event]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from yaml.parse(text, Loader=loader)


def _in_words(error: yaml.MarkedYAMLError) -> str:
    return " ".join(part for part in (error.context, error.problem) if part) or str(error)


def _cure(error: yaml.MarkedYAMLError) -> str | None:
    problem = error.problem or ""
    if "\\t" in problem or "'\t'" in problem or "tab" in problem:
        return "spaces instead of tabs"
    if "mapping values are not allowed" in problem:
        return "the text in quotes if it holds ': ', or the key at the same indent as its neighbours"
    if "'`'" in problem or "'@'" in problem or "'%'" in problem:
        return "the text in quotes"
    if error.context and "flow" in error.context:
        return "the closing ] or } where a list or a mapping in brackets ends"
    return "each key on a line of its own as name: value, with the same indent as its neighbours'"
