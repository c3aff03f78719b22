"""Names as file names: nothing that a name holds ends a header, leaves a folder or turns the writing direction."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.filenames import BYTES_MAX, content_disposition, safe_filename

HOSTILE = [
    "../../etc/passwd", "a/b\\c", "a\r\nSet-Cookie: x=y", 'a"; filename="evil.exe', "a\0b", "..", ".", " . ", "",
    "photo\u202egnp.exe", "x" * 1000 + ".fastq.gz", "\u2028line", "con:aux|*?", "a;b=c", "100%", "%2e%2e%2f",
    "😀" * 200,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str):
    check(name)


@given(st.text(max_size=400))
def test_any_name(name: str):
    check(name)


def check(name: str) -> None:
    safe = safe_filename(name, "dataset_7")
    assert safe
    assert safe not in {".", ".."}
    assert not re.search(r'[/\\\x00-\x1f"\u202a-\u202e\u2066-\u2069]', safe)
    assert len(safe.encode()) <= BYTES_MAX
    header = content_disposition(name, "dataset_7")
    header.encode("ascii")
    assert re.fullmatch(
        r"attachment; filename=\"[^\"\\\r\n]*\"(; filename\*=UTF-8''[A-Za-z0-9!#$&+\-.^_`|~%]+)?", header
    )
    encoded = re.search(r"UTF-8''(.*)$", header)
    said = unquote(encoded[1]) if encoded else re.search(r'filename="(.*)"', header)[1]
    assert said == safe


def test_ordinary_names_stay_as_they_are():
    assert content_disposition("reads_1.fastq.gz", "x") == 'attachment; filename="reads_1.fastq.gz"'
    assert content_disposition("Läsungen.txt", "x").endswith("filename*=UTF-8''L%C3%A4sungen.txt")
    assert safe_filename("a" * 300 + ".fastq.gz", "x").endswith(".gz")
