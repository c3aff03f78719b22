"""A `multipart/form-data` body, taken apart while it arrives (RFC 7578).

    parser = MultipartParser(boundary, on_field, on_file_begin, on_file_data, on_file_end)
    parser.feed(block); ...; parser.finish()

Blocks may be cut anywhere. Bytes of a file are passed on as views of the block that came, without a copy; at
most a boundary's length of bytes is kept between two blocks. Fields, headers and the number of parts are
limited. What breaks the format raises `BrokenForm`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote

FIELD_BYTES_MAX = 64 * 1024
HEADER_BYTES_MAX = 16 * 1024
PARTS_MAX = 100
BOUNDARY_CHARS_MAX = 70

_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([a-zA-Z*]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s;]*))')


class BrokenForm(ValueError):
    """The body is not what its content type says. The message says where."""


def boundary_of(content_type: str) -> bytes:
    """The boundary that a `Content-Type` names; `BrokenForm` without one."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BrokenForm("a multipart form needs a boundary in its Content-Type")
    return (found[1] or found[2]).encode("latin-1", "replace")


class MultipartParser:
    """One body. Not safe from several threads at once; callbacks are called in the order of the body."""

    def __init__(
        self,
        boundary: bytes,
        *,
        on_field: Callable[[str, str], None],
        on_file_begin: Callable[[str, str], None],
        on_file_data: Callable[[memoryview], None],
        on_file_end: Callable[[], None],
    ) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._on_field = on_field
        self._on_file_begin = on_file_begin
        self._on_file_data = on_file_data
        self._on_file_end = on_file_end
        self._state: Literal["data", "tail", "headers", "end"] = "data"
        self._kept = b"\r\n"  # the first delimiter has no line break before it
        self._part: Literal["preamble", "field", "file"] = "preamble"
        self._name = ""
        self._field = bytearray()
        self._parts = 0

    def feed(self, block: bytes | bytearray | memoryview) -> None:
        """The next bytes of the body."""
        whole = memoryview(self._kept + bytes(block) if self._kept else block)
        self._kept = b""
        at = 0
        while at < len(whole):
            if self._state == "data":
                at = self._take_data(whole, at)
            elif self._state == "tail":
                at = self._take_tail(whole, at)
            elif self._state == "headers":
                at = self._take_headers(whole, at)
            else:
                return  # whatever follows the last boundary does not count
            if at < 0:
                return

    def finish(self) -> None:
        """The body has ended; `BrokenForm` if its last boundary did not come."""
        if self._state != "end":
            raise BrokenForm("the form ended before its last boundary; a part of it is missing")

    # -- inside: each takes what it can from `at`, keeps the rest and returns -1 if more must come --------

    def _take_data(self, whole: memoryview, at: int) -> int:
        found = _find(whole, self._delimiter, at)
        if found >= 0:
            self._give(whole[at:found])
            if self._part == "field":
                self._on_field(self._name, self._field.decode("utf-8", "replace"))
            elif self._part == "file":
                self._on_file_end()
            self._state = "tail"
            return found + len(self._delimiter)
        # the delimiter may have begun in the last bytes
        sure = max(at, len(whole) - len(self._delimiter) + 1)
        start = _find(whole, b"\r", sure)
        if start < 0:
            start = len(whole)
        self._give(whole[at:start])
        self._kept = bytes(whole[start:])
        return -1

    def _give(self, data: memoryview) -> None:
        if self._part == "file":
            if len(data):
                self._on_file_data(data)
        elif self._part == "field":
            self._field += data
            if len(self._field) > FIELD_BYTES_MAX:
                raise BrokenForm(f"the field {self._name!r} has more than {FIELD_BYTES_MAX} bytes")
        elif len(data) > FIELD_BYTES_MAX:
            raise BrokenForm("the form does not begin with its boundary")

    def _take_tail(self, whole: memoryview, at: int) -> int:
        """What follows a delimiter: `--` for the last one, else blanks and a line break."""
        tail = bytes(whole[at : at + HEADER_BYTES_MAX])
        if tail.startswith(b"--"):
            self._state = "end"
            return len(whole)
        end = tail.find(b"\r\n")
        if end < 0:
            if len(tail) > 100:
                raise BrokenForm("a boundary is followed by something that is no line break")
            self._kept = tail
            return -1
        if tail[:end].strip(b" \t"):
            raise BrokenForm("a boundary is followed by something that is no line break")
        self._state = "headers"
        # a part without headers has only the empty line
        return at + end

    def _take_headers(self, whole: memoryview, at: int) -> int:
        head = bytes(whole[at : at + HEADER_BYTES_MAX])
        end = head.find(b"\r\n\r\n")
        if end < 0:
            if len(head) >= HEADER_BYTES_MAX:
                raise BrokenForm(f"the headers of a part have more than {HEADER_BYTES_MAX} bytes")
            self._kept = head
            return -1
        self._begin_part(head[:end])
        self._state = "data"
        return at + end + 4

    def _begin_part(self, head: bytes) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise BrokenForm(f"a form may have {PARTS_MAX} parts")
        for line in head.split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.strip().lower() == b"content-disposition":
                parameters = _parameters(value.decode("utf-8", "replace"))
                break
        else:
            raise BrokenForm("a part of the form has no Content-Disposition")
        self._name = parameters.get("name", "")
        filename = parameters.get("filename")
        if filename is None:
            self._part = "field"
            self._field = bytearray()
        else:
            self._part = "file"
            self._on_file_begin(self._name, _last_segment(filename))


def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        key = name.lower()
        if key == "filename*":
            charset, _, text = plain.partition("'")
            text = text.partition("'")[2]
            if charset.lower() == "utf-8":
                found["filename"] = unquote(text, errors="replace")
        elif key not in found:
            # browsers write %22, %0D and %0A; a backslash is only an escape before a quote or a backslash
            text = re.sub(r'\\(["\\])', r"\1", quoted) if quoted else plain
            for code, char in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
                text = text.replace(code, char)
            found[key] = text
    return found


def _last_segment(filename: str) -> str:
    """A file's name without the folders that some programs send along."""
    return filename.replace("\\", "/").rpartition("/")[2]


def _find(whole: memoryview, wanted: bytes, at: int) -> int:
    source = whole.obj
    if isinstance(source, bytes | bytearray) and len(source) == len(whole):
        return source.find(wanted, at)
    return bytes(whole).find(wanted, at)
