"""A dataset's name as the file name of a download: safe in a header and on the disk it lands on (RFC 6266)."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

BYTES_MAX = 200  # leaves room for what browsers add ("(1)", ".part")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSAFE = frozenset('/\\:*?"<>|')
_ATTR_CHARS = "!#$&+-.^_`|~"


def safe_filename(name: str, otherwise: str) -> str:
    """`name` without what could lead out of a folder, end a header or turn the writing direction."""
    kept = "".join("_" if _is_unsafe(char) else char for char in unicodedata.normalize("NFC", name))
    kept = kept.strip().rstrip(".").strip()
    if not kept.strip("._ "):
        return otherwise
    while len(kept.encode()) > BYTES_MAX:
        stem, dot, ending = kept.rpartition(".")
        kept = f"{stem[:-1]}{dot}{ending}" if dot and stem and len(ending) <= 20 else kept[:-1]
    return kept


def content_disposition(name: str, otherwise: str, *, kind: str = "attachment") -> str:
    """The header's value: an ASCII fallback for old programs, and the name itself in UTF-8."""
    safe = safe_filename(name, otherwise)
    fallback = "".join(char if char.isascii() and char not in "%;" else "_" for char in safe)
    if fallback == safe:
        return f'{kind}; filename="{safe}"'
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{quote(safe, safe=_ATTR_CHARS)}"


def _is_unsafe(char: str) -> bool:
    return char in _UNSAFE or char in _BIDI or unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp", "Co", "Cn"}
