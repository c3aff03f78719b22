"""Ranges and conditions, against the words of RFC 9110."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.ranges import (
    RANGES_MAX,
    Unsatisfiable,
    Version,
    parse_ranges,
    precondition_status,
    range_applies,
)

VERSION = Version('"blake3-ab"', 1_700_000_000_500_000)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-", [(500, 100_000)]),
        ("bytes=-500", [(99_500, 100_000)]),
        ("bytes=-999999", [(0, 100_000)]),
        ("bytes=99999-99999999", [(99_999, 100_000)]),
        ("bytes = 0-0", [(0, 1)]),
        ("Bytes=0-0", [(0, 1)]),
        ("bytes=0-0,-1", [(0, 1), (99_999, 100_000)]),
        ("bytes=50000-50001, 0-1", [(0, 2), (50_000, 50_002)]),
        ("bytes=0-9,5-20,21-30", [(0, 31)]),
        ("bytes=0-0,200000-", [(0, 1)]),
        ("bytes=, 0-0 ,", [(0, 1)]),
    ],
)
def test_what_is_asked_for(header: str, expected: list[tuple[int, int]]):
    assert parse_ranges(header, 100_000) == expected


MANY = "bytes=" + ",".join(f"{n * 9000}-{n * 9000}" for n in range(RANGES_MAX + 1))


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "lines=0-1", "bytes=0-1-2", "bytes=0x1-2", "bytes=1",
     "bytes=0-1,zz", "bytes=+0-1", "bytes=٣-٤", MANY,
     "bytes=0-" + "9" * 5000],
)  # fmt: skip
def test_what_makes_no_sense_is_ignored(header: str):
    assert parse_ranges(header, 10_000_000) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=-0", 5), ("bytes=0-", 0), ("bytes=7-8,9-", 5)]
)
def test_what_is_outside_is_said_to_be(header: str, size: int):
    with pytest.raises(Unsatisfiable):
        parse_ranges(header, size)


@given(
    st.integers(1, 5000),
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(0, 6000)), st.one_of(st.none(), st.integers(0, 6000))),
        min_size=1,
        max_size=8,
    ),
)
def test_ranges_are_sorted_apart_and_cover_just_what_was_asked(size: int, specs: list[tuple[int | None, int | None]]):
    header = "bytes=" + ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in specs)
    try:
        found = parse_ranges(header, size)
    except Unsatisfiable:
        found = []
    if found is None:
        assert any((a is None and b is None) or (a is not None and b is not None and b < a) for a, b in specs)
        return
    wanted: set[int] = set()
    for a, b in specs:
        if a is None:
            wanted |= set(range(max(0, size - int(b or 0)), size))
        else:
            wanted |= set(range(a, size if b is None else min(size, b + 1)))
    covered = {byte for start, stop in found for byte in range(start, stop)}
    assert wanted <= covered
    assert all(0 <= start < stop <= size for start, stop in found)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


OLD, NEW = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, None),
        ("GET", {"if-none-match": '"blake3-ab"'}, 304),
        ("HEAD", {"if-none-match": 'W/"blake3-ab"'}, 304),
        ("GET", {"if-none-match": '"x", "blake3-ab"'}, 304),
        ("GET", {"if-none-match": "*"}, 304),
        ("GET", {"if-none-match": '"x"'}, None),
        ("PUT", {"if-none-match": "*"}, 412),
        ("GET", {"if-modified-since": NEW}, 304),
        ("GET", {"if-modified-since": OLD}, None),
        ("GET", {"if-modified-since": "yesterday"}, None),
        ("GET", {"if-modified-since": NEW, "if-none-match": '"x"'}, None),
        ("GET", {"if-match": '"blake3-ab"'}, None),
        ("GET", {"if-match": 'W/"blake3-ab"'}, 412),
        ("GET", {"if-match": '"x"'}, 412),
        ("GET", {"if-match": '"x"', "if-none-match": '"blake3-ab"'}, 412),
        ("GET", {"if-unmodified-since": OLD}, 412),
        ("GET", {"if-unmodified-since": NEW}, None),
        ("GET", {"if-unmodified-since": OLD, "if-match": '"blake3-ab"'}, None),
    ],
)
def test_conditions(method: str, headers: dict[str, str], status: int | None):
    assert VERSION.last_modified == NEW
    assert precondition_status(method, headers, VERSION) == status


def test_if_range_lets_only_the_same_bytes_through():
    assert range_applies(None, VERSION)
    assert range_applies('"blake3-ab"', VERSION)
    assert not range_applies('W/"blake3-ab"', VERSION)
    assert not range_applies('"other"', VERSION)
    assert not range_applies(NEW, VERSION)
