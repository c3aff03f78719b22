"""Forms cut anywhere, and forms that are broken."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.multipart import (
    FIELD_BYTES_MAX,
    HEADER_BYTES_MAX,
    PARTS_MAX,
    BrokenForm,
    MultipartParser,
    boundary_of,
)

BOUNDARY = b"----WebKitFormBoundary7MA4YWxk"


@dataclass
class Seen:
    """What a parser said."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[list] = field(default_factory=list)
    ended: int = 0

    def parser(self, boundary: bytes = BOUNDARY) -> MultipartParser:
        return MultipartParser(
            boundary,
            on_field=lambda name, value: self.fields.append((name, value)),
            on_file_begin=lambda name, filename: self.files.append([name, filename, b""]),
            on_file_data=self._data,
            on_file_end=self._end,
        )

    def _data(self, data: memoryview) -> None:
        self.files[-1][2] += bytes(data)

    def _end(self) -> None:
        self.ended += 1


def part(name: str, content: bytes, filename: str | None = None, more: str = "") -> bytes:
    said = f'; filename="{filename}"' if filename is not None else ""
    head = f'Content-Disposition: form-data; name="{name}"{said}\r\n{more}'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + b"\r\n" + content + b"\r\n"


END = b"--" + BOUNDARY + b"--\r\n"

# contents that look as much like a boundary as contents can
tricky = st.lists(
    st.sampled_from(
        [
            b"\r",
            b"\n",
            b"\r\n",
            b"-",
            b"--",
            b"\r\n--",
            BOUNDARY[:5],
            b"\r\n--" + BOUNDARY[:-1],
            b"x",
            b"\0",
            b"ab" * 30,
        ]
    )
).map(b"".join)


@given(tricky, tricky, st.lists(st.integers(1, 200), min_size=1, max_size=60))
def test_a_form_cut_anywhere_is_the_same_form(first: bytes, second: bytes, cuts: list[int]):
    body = (
        part("name", b"v\xc3\xa4lue") + part("file", first, "a.txt") + part("empty", b"") + part("b", second, "b") + END
    )
    seen = Seen()
    parser = seen.parser()
    at = turn = 0
    while at < len(body):
        size = cuts[turn % len(cuts)]
        parser.feed(body[at : at + size])
        at, turn = at + size, turn + 1
    parser.finish()
    assert seen.fields == [("name", "välue"), ("empty", "")]
    assert [one[2] for one in seen.files] == [first, second]
    assert seen.ended == 2


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("a.txt", "a.txt"),
        ("a%22b.txt", 'a"b.txt'),
        ("C:\\fakepath\\x.bam", "x.bam"),
        ("../../etc/passwd", "passwd"),
        ("ü.txt", "ü.txt"),
        ("", ""),
        ("a;b=c.txt", "a;b=c.txt"),
        ("a%0D%0Ab", "a\r\nb"),
        ('a\\"b', 'a"b'),
    ],
)
def test_file_names(sent: str, meant: str):
    seen = Seen()
    seen.parser().feed(part("file", b"x", sent) + END)
    assert seen.files[0][1] == meant


def test_a_file_name_in_utf8_by_rfc_5987():
    seen = Seen()
    head = (
        b"--"
        + BOUNDARY
        + b"\r\nContent-Disposition: form-data; name=f; filename=\"_\"; filename*=UTF-8''%e2%82%ac.txt\r\n\r\nx\r\n"
    )
    seen.parser().feed(head + END)
    assert seen.files[0][:2] == ["f", "€.txt"]


def test_what_stands_before_and_behind_does_not_count():
    seen = Seen()
    parser = seen.parser()
    parser.feed(b"This is a form.\r\n" + part("a", b"1") + END + b"epilogue --" + BOUNDARY)
    parser.finish()
    assert seen.fields == [("a", "1")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        part("a", b"1"),
        part("a", b"1") + END[:-4],
        b"--" + BOUNDARY + b"junk\r\n\r\n",
        b"--" + BOUNDARY + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
        part("a", b"1" * (FIELD_BYTES_MAX + 1)) + END,
        part("a", b"1", more="X: " + "y" * HEADER_BYTES_MAX + "\r\n") + END,
        b"".join(part("a", b"") for _ in range(PARTS_MAX + 1)) + END,
        b"x" * (FIELD_BYTES_MAX * 3),
    ],
)
def test_broken_forms_are_said_to_be_broken(body: bytes):
    parser = Seen().parser()

    def feed() -> None:
        for at in range(0, len(body), 5000):
            parser.feed(body[at : at + 5000])
        parser.finish()

    with pytest.raises(BrokenForm):
        feed()


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b;c"', b"a b;c"),
        ("multipart/form-data; BOUNDARY=x-1", b"x-1"),
    ],
)
def test_boundaries(header: str, boundary: bytes):
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "header", ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""']
)
def test_no_boundary(header: str):
    with pytest.raises(BrokenForm):
        boundary_of(header)
