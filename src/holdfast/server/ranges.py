"""Ranges and conditions of HTTP (RFC 9110, sections 13 and 14), as pure functions.

A `Range` that cannot be parsed is ignored, one that lies outside is answered with 416, several are sorted and
joined where they overlap or touch; more than `RANGES_MAX` of them are answered with the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime

RANGES_MAX = 32
GAP_BYTES = 4096  # two ranges with less between them are sent as one: a part's header is not free
_SPEC = re.compile(r"[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*")
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


class Unsatisfiable(Exception):
    """None of the ranges has a byte in it."""


@dataclass(frozen=True, slots=True)
class Version:
    """What conditions are compared with. `modified_us`: microseconds since 1970; HTTP knows only seconds."""

    etag: str
    modified_us: int

    @property
    def modified_s(self) -> int:
        """Whole seconds, as `Last-Modified` says them."""
        return self.modified_us // 1_000_000

    @property
    def last_modified(self) -> str:
        """The time as a header."""
        return formatdate(self.modified_s, usegmt=True)


def parse_ranges(header: str, size_bytes: int) -> list[tuple[int, int]] | None:
    """The ranges asked for as (start, stop) in order; None if the whole is to be sent. `Unsatisfiable`."""
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    ranges: list[tuple[int, int]] = []
    asked = 0
    for spec in specs.split(","):
        if not spec.strip():
            continue
        asked += 1
        found = _SPEC.fullmatch(spec)
        if found is None or found[1] == found[2] == "" or asked > RANGES_MAX or len(spec) > 50:
            return None
        if found[1] == "":
            start, stop = max(0, size_bytes - int(found[2])), size_bytes
        else:
            start = int(found[1])
            stop = size_bytes if found[2] == "" else min(size_bytes, int(found[2]) + 1)
            if found[2] != "" and int(found[2]) < start:
                return None
        if start < stop:
            ranges.append((start, stop))
    if not asked:
        return None
    if not ranges:
        raise Unsatisfiable
    return _joined(ranges)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    ranges = sorted(ranges)
    if len(ranges) == 1:
        return ranges
    joined = [ranges[0]]
    for start, stop in ranges[1:]:
        if start <= joined[-1][1] + GAP_BYTES:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def precondition_status(method: str, headers: Mapping[str, str], version: Version) -> int | None:
    """412 or 304 where a condition says so, else None. In the order that RFC 9110, 13.2.2 demands."""
    if_match = headers.get("if-match")
    if if_match is not None:
        if not _matches(if_match, version.etag, weakly=False):
            return 412
    elif (since := _seconds(headers.get("if-unmodified-since"))) is not None and version.modified_s > since:
        return 412
    if_none_match = headers.get("if-none-match")
    if if_none_match is not None:
        if _matches(if_none_match, version.etag, weakly=True):
            return 304 if method in {"GET", "HEAD"} else 412
    elif method in {"GET", "HEAD"}:
        since = _seconds(headers.get("if-modified-since"))
        if since is not None and version.modified_s <= since:
            return 304
    return None


def range_applies(if_range: str | None, version: Version) -> bool:
    """Whether `If-Range` (or its absence) lets the `Range` count: only if the bytes are still the same."""
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == version.etag and not version.etag.startswith("W/")
    # a time of whole seconds proves nothing about bytes that changed within that second
    return False


def _matches(header: str, etag: str, *, weakly: bool) -> bool:
    if header.strip() == "*":
        return True
    for tag in _TAG.findall(header):
        if weakly and tag.removeprefix("W/") == etag.removeprefix("W/"):
            return True
        if not weakly and tag == etag and not tag.startswith("W/"):
            return True
    return False


def _seconds(header: str | None) -> int | None:
    if header is None:
        return None
    try:
        return int(parsedate_to_datetime(header).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
