"""Numbers with units: sizes in whole bytes, times in whole seconds.

`200 GiB` is 1024-based, `1 TB` 1000-based; a letter alone (`200 G`) could mean either and is refused with
both in words. Text in, number out, or `BadValue` with what to write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal

from holdfast.config.nodes import shorten

BYTES_MAX = 2**63 - 1
KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_NUMBER = re.compile(r"[+-]?([0-9]{1,19})(\.[0-9]{0,19})?([eE][+-]?[0-9]{1,3})?")


class BadValue(Exception):
    """This text is not such a value. `instead` is a text that would be, if one can be guessed."""

    def __init__(self, message: str, instead: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.instead = instead


def read_number(text: str, example: str) -> float:
    """A finite number; `example` is what a wrong one is answered with."""
    word = text.strip()
    if not _NUMBER.fullmatch(word):
        raise BadValue(f"{shorten(text)!r} is not a number", example)
    number = float(word)
    if not math.isfinite(number):
        raise BadValue(f"{shorten(text)!r} is too large", example)
    return number


def plain_number(number: float) -> int | float:
    """A number without a fraction as an int: 90 instead of 90.0."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")
_SIZE_UNITS = {"b": 1, "byte": 1, "bytes": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _SIZE_UNITS[f"{_letter}b"] = 1000**_power
    _SIZE_UNITS[f"{_letter}ib"] = 1024**_power


def _size(text: str, *, bare: bool) -> int:
    found = _SIZE.fullmatch(text.strip().replace("_", ""))
    if not found:
        raise BadValue(f"{shorten(text)!r} is not a size", "200 GiB")
    number, unit = found[1], found[2]
    if not unit and not bare:
        raise BadValue(f"{shorten(text)} has no unit", f"{number} GiB (or {number} B, if bytes are meant)")
    if unit and unit.lower() not in _SIZE_UNITS:
        if unit.upper() in ("K", "M", "G", "T", "P", "E"):
            letter = unit.upper()
            message = f"{shorten(text)!r}: {unit} can mean {letter}iB (1024) or {letter}B (1000)"
            raise BadValue(message, f"{number} {letter}iB")
        raise BadValue(f"{shorten(text)!r}: no unit is called {unit!r}", f"{number} GiB")
    size_bytes = Decimal(number) * _SIZE_UNITS[unit.lower() or "b"]
    if size_bytes != int(size_bytes):
        raise BadValue(f"{shorten(text)!r} is not a whole number of bytes", str(round(size_bytes)))
    if size_bytes > BYTES_MAX:
        raise BadValue(f"{shorten(text)!r} is more than any store can hold", "200 GiB")
    return int(size_bytes)


def read_size(text: str) -> int:
    """Bytes, or a number with a unit: `200 GiB` (1024), `1 TB` (1000)."""
    return _size(text, bare=True)


def read_size_with_unit(text: str) -> int:
    """A number with a unit."""
    return _size(text, bare=False)


def galaxy_size(unit_bytes: int) -> Callable[[str], int | None]:
    """A plain number of units of `unit_bytes`; 0 and less mean "not bounded"."""

    def read(text: str) -> int | None:
        number = read_number(text, "100")
        if number * unit_bytes > BYTES_MAX:
            raise BadValue(f"{shorten(text)!r} is more than any store can hold", "100")
        return int(Decimal(text.strip()) * unit_bytes) if number > 0 else None

    return read


_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)")
_DURATION_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}


def _duration(text: str, *, bare: bool) -> int:
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise BadValue(f"{shorten(text)!r} is not a length of time", "7 days")
    number, unit = found[1], found[2].lower()
    if not unit and not bare:
        raise BadValue(f"{shorten(text)} has no unit", f"{number} days (or h, min, s)")
    if unit and unit not in _DURATION_UNITS:
        raise BadValue(f"{shorten(text)!r}: no unit is called {found[2]!r}", f"{number} days (or weeks, h, min, s)")
    seconds = Decimal(number) * _DURATION_UNITS[unit or "s"]
    if seconds != int(seconds):
        raise BadValue(f"{shorten(text)!r} is not a whole number of seconds", f"{round(seconds)} s")
    return int(seconds)


def read_duration(text: str) -> int:
    """Seconds, or a number with a unit: `7 days`, `12 h`, `30 min`."""
    return _duration(text, bare=True)


def read_duration_with_unit(text: str) -> int:
    """A number with a unit."""
    return _duration(text, bare=False)
