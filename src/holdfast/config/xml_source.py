"""Reads XML text into plain elements, with exact lines, and refuses everything that XML can be tricked with.

Expat reads it, not libxml2: it says where a tag *starts* (libxml2 says where it ends), and it hands over a
document type before anything in it could be declared or expanded. Refused, with the line: `<!DOCTYPE` and
with it every entity, `xi:include` and any other namespace, processing instructions, nesting deeper than
`DEPTH_MAX`, more than `ELEMENTS_MAX` elements. Comments are left out, texts are stripped, as Galaxy does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from holdfast.config.nodes import Spot
from holdfast.config.problems import ProblemLog

DEPTH_MAX = 64
ELEMENTS_MAX = 20_000
_TAG_BYTES_MAX = 65_536  # in a longer tag every attribute is said to stand in the tag's own line

_ATTRIBUTE = re.compile(rb"""([^\s=<>"'/]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


@dataclass(slots=True)
class Attribute:
    """`name="text"`, in its own line."""

    name: str
    text: str
    line: int


@dataclass(slots=True)
class Element:
    """`<tag …>text<children/></tag>`; `line` is where the tag starts."""

    file: str
    tag: str
    line: int
    attributes: dict[str, Attribute]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def get(self, name: str) -> str | None:
        """The text of the attribute `name`, if it is there."""
        attribute = self.attributes.get(name)
        return attribute.text if attribute else None

    def named(self, tag: str) -> Iterator[Element]:
        """The children with this tag, in their order."""
        return (child for child in self.children if child.tag == tag)

    def spot(self, where: str = "", line: int | None = None) -> Spot:
        """Where this element stands; `where` is its name for people."""
        return Spot(self.file, line or self.line, where or f"<{self.tag}>")


def read_xml(text: str, file: str, problems: ProblemLog) -> Element | None:
    """The root element of `text`, or None when `problems` has been told why there is none."""
    builder = _Builder(file, text.encode())
    try:
        return builder.build()
    except _RefusedError as refused:
        problems.error(Spot(file, refused.line, refused.where), refused.message, refused.instead)
    except expat.ExpatError as error:
        message = expat.errors.messages.get(error.code, str(error))
        problems.error(Spot(file, error.lineno), f"is not XML: {message}", _CURES.get(message))
    return None


_CURES = {
    "undefined entity": "&amp; for & and &lt; for <: other names in &…; need a document type",
    "not well-formed (invalid token)": "&amp; for &, &lt; for <, and every attribute's value in quotes",
    "mismatched tag": "each tag closed by its own: <backend …>…</backend>",
    "unclosed token": "the end that is missing, for example > or -->",
    "XML or text declaration not at start of entity": "<?xml …?> as the very first characters of the file",
    "no element found": '<object_store type="…">…</object_store>',
}


class _RefusedError(Exception):
    def __init__(self, line: int, where: str, message: str, instead: str | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.where = where
        self.message = message
        self.instead = instead


class _Builder:
    def __init__(self, file: str, data: bytes) -> None:
        self._file = file
        self._data = data
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._root: Element | None = None
        self._count = 0
        # the encoding is given here, so that a declaration in the file cannot choose another one
        self._parser = expat.ParserCreate("UTF-8")
        self._parser.ordered_attributes = True
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._entity
        self._parser.ProcessingInstructionHandler = self._instruction
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def build(self) -> Element | None:
        self._parser.Parse(self._data, True)  # noqa: FBT003  (the C function takes no keywords)
        return self._root

    def _doctype(self, name: str, *_: object) -> None:
        message = "a document type is refused: with it come entities, which can read other files or fill the memory"
        raise _RefusedError(self._line(), f"<!DOCTYPE {name}>", message, "the file without its <!DOCTYPE …>")

    def _entity(self, name: str, *_: object) -> None:
        raise _RefusedError(self._line(), f"<!ENTITY {name}>", "entities are refused", "the text itself")

    def _instruction(self, target: str, _data: str) -> None:
        message = "processing instructions are refused: nothing here carries them out"
        raise _RefusedError(self._line(), f"<?{target} …?>", message, "the file without it")

    def _start(self, tag: str, pairs: list[str]) -> None:
        line = self._line()
        self._count += 1
        if self._count > ELEMENTS_MAX:
            raise _RefusedError(line, f"<{tag}>", f"the file holds more than {ELEMENTS_MAX} elements")
        if len(self._open) >= DEPTH_MAX:
            raise _RefusedError(line, f"<{tag}>", f"is nested more than {DEPTH_MAX} levels deep")
        attributes = self._attributes(pairs, line)
        for name in (tag, *attributes):
            if name.endswith(":include") or any("XInclude" in text for text in pairs[1::2]):
                message = "includes are refused: one file holds the whole object store"
                raise _RefusedError(line, f"<{tag}>", message, "the included text itself")
            if ":" in name or name == "xmlns":
                raise _RefusedError(line, f"<{tag}>", f"{name!r}: namespaces are refused", "names without a colon")
        element = Element(self._file, tag, line, attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)
        self._texts.append([])

    def _attributes(self, pairs: list[str], line: int) -> dict[str, Attribute]:
        attributes = {name: Attribute(name, text, line) for name, text in zip(pairs[::2], pairs[1::2], strict=True)}
        start = at = self._parser.CurrentByteIndex
        if not attributes or self._data.find(b"\n", start, self._data.find(b">", start)) < 0:
            return attributes
        for found in _ATTRIBUTE.finditer(self._data, start, start + _TAG_BYTES_MAX):
            attribute = attributes.get(found[1].decode(errors="replace"))
            if attribute is None:
                break
            line += self._data.count(b"\n", at, found.start())
            at = found.start()
            attribute.line = line
            if attribute.name == pairs[-2]:
                break
        return attributes

    def _end(self, _tag: str) -> None:
        self._open.pop().text = "".join(self._texts.pop()).strip()

    def _characters(self, text: str) -> None:
        self._texts[-1].append(text)

    def _line(self) -> int:
        return self._parser.CurrentLineNumber
