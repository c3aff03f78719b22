"""Numbers, times and names as people read them.

Pure functions. Units are binary (KiB, MiB), numbers keep three digits so that columns stay calm, times are
said in words with the exact moment beside them. Whatever a user typed comes back printable: nothing in here
escapes for HTML (the templates do), but control characters and broken code points are made visible.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

NBSP = "\u00a0"
NOTHING = "\u2013"
_BYTES = re.compile(r"\b(\d{4,19}) bytes\b", re.ASCII)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# What turns the direction of a text, or is not seen at all, can make one name look like another.
_UNSEEN = frozenset(
    map(chr, (0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF))
)
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86_400


def size_words(size_bytes: float | None) -> str:
    """`1.00 GiB`, `512 B`; an en dash for None."""
    if size_bytes is None:
        return NOTHING
    size = float(size_bytes)
    unit = 0
    while abs(size) >= 1023.5 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    if unit == 0:
        return f"{size:.0f}{NBSP}B"
    digits = 2 if abs(size) < 9.995 else 1 if abs(size) < 99.95 else 0
    return f"{size:.{digits}f}{NBSP}{_UNITS[unit]}"


def sentence(text: str) -> str:
    """The text as a sentence: it begins with a capital and ends with a mark."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text[-1:] in {"", ".", "!", "?"} else ".")


def with_sizes(text: str) -> str:
    """A sentence with `41943040 bytes` in it, with `40.0 MiB` instead."""
    return _BYTES.sub(lambda found: size_words(int(found[1])), text)


def exact_bytes(size_bytes: int | None) -> str:
    """`1,048,576 bytes`."""
    return "unknown" if size_bytes is None else counted(size_bytes, "byte")


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 dataset`, `1,204 datasets`."""
    return f"{count:,}{NBSP}{one if count == 1 else many or one + 's'}"


def percent_words(percent: float | None) -> str:
    """`61%`; `0.2%` and `99.7%` where a whole number would say nothing or everything."""
    if percent is None:
        return NOTHING
    if 0 < percent < 1 or 99 < percent < 100:
        return f"{percent:.1f}%"
    return f"{percent:.0f}%"


def ago_words(then_us: int | None, now_us: int) -> str:
    """How long ago: `just now`, `5 minutes ago`, `yesterday`, `12 November`, `3 May 2025`."""
    if then_us is None:
        return "never"
    past_s = (now_us - then_us) / 1e6
    if past_s < -_MINUTE_S:
        return "in the future"
    for limit_s, unit_s, name in ((_HOUR_S, _MINUTE_S, "minute"), (_DAY_S, _HOUR_S, "hour")):
        if past_s < unit_s:
            return "just now"
        if past_s < limit_s:
            return f"{counted(int(past_s // unit_s), name)} ago"
    days = _date(now_us).toordinal() - _date(then_us).toordinal()
    if days <= 1:
        return "yesterday"
    if days < 7:
        return f"{days}{NBSP}days ago"
    then = _moment(then_us)
    this_year = then.year == _moment(now_us).year
    return f"{then.day}{NBSP}{then:%B}" + ("" if this_year else f" {then.year}")


def exact_time(then_us: int | None) -> str:
    """`22 November 2026, 08:00:00 UTC`."""
    if then_us is None:
        return ""
    then = _moment(then_us)
    return f"{then.day} {then:%B %Y, %H:%M:%S} UTC"


def iso_time(then_us: int) -> str:
    """For a `datetime` attribute."""
    return f"{_moment(then_us):%Y-%m-%dT%H:%M:%SZ}"


def day_words(then_us: int, now_us: int) -> str:
    """A heading for a day of the log: `Today`, `Yesterday`, `Friday, 20 November`."""
    days = _date(now_us).toordinal() - _date(then_us).toordinal()
    if days in {0, 1}:
        return ("Today", "Yesterday")[days]
    then = _moment(then_us)
    this_year = then.year == _moment(now_us).year
    return f"{then:%A}, {then.day} {then:%B}" + ("" if this_year else f" {then.year}")


def clock_words(then_us: int) -> str:
    """`08:00` (UTC)."""
    return f"{_moment(then_us):%H:%M}"


def duration_words(duration_s: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 days`."""
    if duration_s is None or duration_s < 0:
        return NOTHING
    if duration_s < 10:
        return f"{duration_s:.1f}{NBSP}s"
    whole = round(duration_s)
    if whole < _MINUTE_S:
        return f"{whole}{NBSP}s"
    if whole < _HOUR_S:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    if whole < 2 * _DAY_S:
        return f"{whole // _HOUR_S}{NBSP}h {whole % _HOUR_S // 60}{NBSP}min"
    return f"{whole // _DAY_S}{NBSP}days"


def printable(text: str | None, blank: str = "(no name)") -> str:
    """The text with control characters as pictures, marks that nobody sees as `[U+202E]`, and broken code points
    replaced; never empty."""
    if not text or not text.strip():
        return blank
    return text if text.isprintable() else "".join(_picture(char) for char in text)


def visible(text: str) -> str:
    """The same for a line of output: blanks and tabs stay as they are."""
    return text if text.isprintable() else "".join(char if char == "\t" else _picture(char) for char in text)


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if char in _UNSEEN:
        return f"[U+{code:04X}]"
    if 0x80 <= code < 0xA0 or 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return char


def _moment(then_us: int) -> datetime:
    try:
        return datetime.fromtimestamp(then_us / 1e6, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _date(then_us: int) -> datetime:
    return _moment(then_us)
