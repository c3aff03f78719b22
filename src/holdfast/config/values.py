"""What the values of keys may be: text in, value out, or `BadValue` with what to write instead.

A `Kind` reads one text, in any spelling: YAML's own idea of numbers and booleans is not asked, so `010`,
`1:30` and `no` cannot turn into something else on the way. Sizes and times are read by `quantities`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from holdfast.config.nodes import shorten
from holdfast.config.quantities import (
    GIB,
    MIB,
    BadValue,
    galaxy_size,
    plain_number,
    read_duration,
    read_duration_with_unit,
    read_number,
    read_size,
    read_size_with_unit,
)

TEXT_CHARS_MAX = 4096
PARAGRAPH_CHARS_MAX = 65_536
WEIGHT_MAX = 1_000_000

Shape = Literal["plain", "path", "secret", "badges", "extra_dirs", "records", "texts", "table", "structure"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value. `words` is what the reference prints; `shape` says who reads it (see `fields`)."""

    words: str
    read: Callable[[str], object]
    shape: Shape = "plain"
    example: str = "…"


def _text(text: str, limit_chars: int, allowed_controls: str) -> str | None:
    stripped = text.strip()
    for char in stripped:
        if unicodedata.category(char) in ("Cc", "Cs") and char not in allowed_controls:
            raise BadValue(f"holds the character U+{ord(char):04X}, which would break logs and headers")
    if len(stripped) > limit_chars:
        raise BadValue(f"has {len(stripped)} characters; {limit_chars} are allowed")
    return stripped or None


def read_text(text: str) -> str | None:
    """One line. Nothing but blanks counts as not given."""
    return _text(text, TEXT_CHARS_MAX, "")


def read_paragraph(text: str) -> str | None:
    """Several lines (Markdown)."""
    return _text(text, PARAGRAPH_CHARS_MAX, "\n\t")


def read_text_or_empty(text: str) -> str:
    """One line that may be empty, and means something then."""
    return read_text(text) or ""


_YES = frozenset({"true", "yes", "on", "y", "t", "1"})
_NO = frozenset({"false", "no", "off", "n", "f", "0"})


def read_flag(text: str) -> bool:
    """true or false, in the words that Galaxy takes."""
    word = text.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise BadValue(f"{shorten(text)!r} is neither true nor false", "true")


_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,19})")


def whole(least: int, most: int, example: str = "1") -> Kind:
    """A whole number between two bounds, both allowed."""

    def read(text: str) -> int:
        word = text.strip().replace("_", "")
        if not _WHOLE.fullmatch(word):
            raise BadValue(f"{shorten(text)!r} is not a whole number", word.lstrip("0") if word.isdigit() else example)
        number = int(word)
        if not least <= number <= most:
            raise BadValue(f"{number} is not between {least} and {most}", example)
        return number

    return Kind(f"whole number, {least} to {most}", read, example=example)


def read_weight(text: str) -> int | float:
    """A share: any number from 0 on."""
    number = read_number(text, "1")
    if number < 0:
        raise BadValue(f"{shorten(text)} is negative", "0")
    if number > WEIGHT_MAX:
        raise BadValue(f"{shorten(text)} is more than {WEIGHT_MAX}", "1")
    return plain_number(number)


def read_percent(text: str) -> int | float:
    """More than 0, at most 100; a % sign may follow."""
    number = read_number(text.strip().removesuffix("%"), "90")
    if number == 0:
        raise BadValue("0 would never let anything in", "a limit above 0, or leave the key out for no limit")
    if not 0 < number <= 100:
        raise BadValue(f"{shorten(text)} is not between 0 and 100 percent", "90")
    return plain_number(number)


def read_galaxy_percent(text: str) -> int | float | None:
    """As Galaxy writes it: 0 means that there is no limit."""
    return None if read_number(text.strip().removesuffix("%"), "90") == 0 else read_percent(text)


def choice(*words: str) -> Kind:
    """One of these words, typed exactly like that."""

    def read(text: str) -> str:
        word = text.strip()
        if word in words:
            return word
        instead = word.lower() if word.lower() in words else words[0]
        raise BadValue(f"{shorten(text)!r} is not one of {', '.join(words)}", instead)

    return Kind(" or ".join(words), read, example=words[0])


_ID_REFUSED = re.compile(r"[/\\\x00-\x1f\x7f]|://|^[-.]")
ID_CHARS_MAX = 255


def read_id(text: str) -> str:
    """A pool's id: it stands in addresses, in commands and in Galaxy's database."""
    clean = re.sub(r"[^\w.]+", "-", text[:ID_CHARS_MAX]).strip("-.") or "newdata"
    if not text.strip():
        raise BadValue("is empty", clean)
    if len(text) > ID_CHARS_MAX:
        raise BadValue(f"has {len(text)} characters; {ID_CHARS_MAX} are allowed", clean[:20])
    if text != text.strip():
        raise BadValue(f"{shorten(text)!r} begins or ends with a blank", text.strip())
    if _ID_REFUSED.search(text) or any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text):
        message = f"{shorten(text)!r} cannot be an id: no slashes, no control characters, no dash or dot in front"
        raise BadValue(message, clean)
    return text


def read_url(text: str) -> str | None:
    """An http or https address without credentials in it."""
    word = text.strip()
    if not word:
        return None
    try:
        parts = urlsplit(word)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise BadValue(f"{shorten(word)!r} is not an address", "https://s3.example.org") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise BadValue(f"{shorten(word)!r} is not an http or https address", "https://s3.example.org")
    if parts.username is not None or parts.password is not None:
        raise BadValue("holds a user or a password", "the address alone; credentials have keys of their own")
    return read_text(word)


def _unread(text: str) -> object:
    return text


TEXT = Kind("text", read_text)
TEXT_OR_EMPTY = Kind("text", read_text_or_empty)
PARAGRAPH = Kind("text of several lines", read_paragraph)
FLAG = Kind("true or false", read_flag, example="true")
WEIGHT = Kind("number from 0 on", read_weight, example="1")
PERCENT = Kind("percent, above 0 up to 100", read_percent, example="90")
GALAXY_PERCENT = Kind("percent; 0 is no limit", read_galaxy_percent, example="90")
SIZE = Kind('bytes, or "200 GiB", "1 TB"', read_size, example="200 GiB")
SIZE_WITH_UNIT = Kind('"200 GiB", "1 TB"', read_size_with_unit, example="200 GiB")
GIBIBYTES = Kind("GiB; 0 or -1 is no bound", galaxy_size(GIB), example="100")
MEBIBYTES = Kind("MiB", galaxy_size(MIB), example="250")
DURATION = Kind('seconds, or "7 days", "12 h"', read_duration, example="7 days")
DURATION_WITH_UNIT = Kind('"7 days", "12 h"', read_duration_with_unit, example="7 days")
ORDER = whole(-1_000_000, 1_000_000, "0")
COUNT = whole(0, 2**31 - 1)
POSITIVE = whole(1, 2**31 - 1)
PORT = whole(1, 65_535, "443")
ID = Kind("text without slashes", read_id, example="newdata")
URL = Kind("http or https address", read_url, example="https://s3.example.org")
PATH = Kind("path", _unread, "path", "/data2")
SECRET = Kind("secret, env:NAME or file:PATH", _unread, "secret", "env:NAME")
BADGES = Kind("list of {type, message}", _unread, "badges")
EXTRA_DIRS = Kind("job_work and temp, with a path each", _unread, "extra_dirs")
RECORDS = Kind("list of keys with values", _unread, "records")
TEXTS = Kind("list of texts", _unread, "texts")
TABLE = Kind("text for each name", _unread, "table")
STRUCTURE = Kind("see there", _unread, "structure")
