"""How answers look on a terminal and in a pipe: tables, key/value pairs, sizes, times, safe text.

Everything that people typed goes through `clean` before it reaches a terminal: control characters and marks
that change the direction of writing are shown as escapes. On a terminal, headings are bold and names are cut
to its width; elsewhere nothing is cut and nothing is bold.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TextIO

Align = Literal["left", "right"]

_JOINERS = "\u200c\u200d"  # they belong to the spelling of some languages, and to emoji
_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_GAP = "  "
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
WIDE_MIN = 12
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column. A `wide` one is cut when a terminal is too narrow."""

    title: str
    align: Align = "left"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings. `empty` says what to do next when there are no rows."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Fields:
    """Names with values, one a line, values aligned."""

    pairs: Sequence[tuple[str, str]]


Block = str | Table | Fields


def clean(text: str) -> str:
    """`text` on one line, with everything escaped that a terminal would obey instead of show."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) for char in text)


def _escaped(char: str) -> str:
    if char in _JOINERS or unicodedata.category(char) not in _NOT_SHOWN:
        return char
    return char.encode("unicode_escape").decode("ascii")


def size(size_bytes: int | None) -> str:
    """Bytes in binary units: `20.0 KiB`. Whole bytes stay whole."""
    if size_bytes is None:
        return "unknown"
    number = float(size_bytes)
    for unit in _UNITS:
        if abs(number) < 1023.95 or unit == _UNITS[-1]:
            return f"{size_bytes} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def percent(value: float | None) -> str:
    """`61%`, or nothing where there is no such number."""
    return "" if value is None else f"{value if value >= 100 else min(value, 99):.0f}%"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 dataset`, `2 datasets`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def ago(then_us: int | None, now_us: int) -> str:
    """A time in words, as seen from now: `3 minutes ago`."""
    if then_us is None:
        return "never"
    seconds = (now_us - then_us) / 1_000_000
    if seconds < -5:
        return f"in {span(-seconds)}"
    return "just now" if seconds < 5 else f"{span(seconds)} ago"


def span(seconds: float) -> str:
    """A length of time in words, in its largest unit: `3 minutes`."""
    for unit, length in (("year", 31_556_952), ("month", 2_629_746), ("week", 604_800), ("day", 86_400)):
        if seconds >= 2 * length or (unit == "day" and seconds >= length):
            return count(int(seconds // length), unit)
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return count(int(seconds // length), unit)
    return count(max(int(seconds), 0), "second")


def microseconds(text: str | None) -> int | None:
    """What a time in a JSON answer means, in microseconds since 1970. None for none."""
    if not text:
        return None
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


def write_json(value: Any, stream: TextIO) -> None:
    """One JSON value. Plain ASCII: nothing in it can move a cursor."""
    stream.write(json.dumps(value, indent=2, default=str) + "\n")


def write(blocks: Iterable[Block], stream: TextIO) -> None:
    """Print the blocks; on a terminal with bold headings, and names cut to its width."""
    is_terminal = stream.isatty()
    columns = shutil.get_terminal_size().columns if is_terminal else None
    is_bold = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    stream.writelines(_text(block, columns, is_bold=is_bold) for block in blocks)


def _text(block: Block, columns: int | None, *, is_bold: bool) -> str:
    if isinstance(block, str):
        return block + "\n"
    if isinstance(block, Fields):
        longest = max((width(name) for name, _ in block.pairs), default=0)
        return "".join(f"{_pad(name, longest)}  {value}".rstrip() + "\n" for name, value in block.pairs)
    if not block.rows:
        return f"{block.empty}\n" if block.empty else ""
    titles = [column.title for column in block.columns]
    widths = [max(width(cell) for cell in cells) for cells in zip(titles, *block.rows, strict=True)]
    if columns is not None:
        widths = _fitted(widths, block.columns, columns)
    head, *lines = (_line(row, widths, block.columns) for row in (titles, *block.rows))
    if is_bold:
        head = f"{_BOLD}{head}{_PLAIN}"
    return "".join(f"{line}\n" for line in (head, *lines))


def _fitted(widths: list[int], columns: Sequence[Column], most: int) -> list[int]:
    """The widths, those of wide columns made smaller where the line would not fit."""
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - most
    fitted = list(widths)
    for at, column in enumerate(columns):
        if column.wide and over > 0:
            less = min(over, max(fitted[at] - WIDE_MIN, 0))
            fitted[at] -= less
            over -= less
    return fitted


def _line(row: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    cells = zip(row, widths, columns, strict=True)
    return _GAP.join(_pad(_cut(cell, most), most, column.align) for cell, most, column in cells).rstrip()


def _cut(text: str, most: int) -> str:
    if width(text) <= most:
        return text
    kept = ""
    for char in text:
        if width(kept) + width(char) > most - 1:
            break
        kept += char
    return kept + "…"


def width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    total = 0
    for char in text:
        if unicodedata.combining(char) or char in _JOINERS:
            continue
        total += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return total


def _pad(text: str, to_width: int, align: Align = "left") -> str:
    gap = " " * (to_width - width(text))
    return gap + text if align == "right" else text + gap
