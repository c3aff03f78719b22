"""Numbers, times and names as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.pages import words

NOW_US = 1_795_334_400_000_000  # Sunday, 22 November 2026, 08:00:00 UTC
SECOND_US = 1_000_000
DAY_S = 86_400


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (None, words.NOTHING), (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"),
        (10 * 2**20, "10.0 MiB"), (999 * 2**20, "999 MiB"), (1023 * 2**20 + 900_000, "1.00 GiB"), (2**40, "1.00 TiB"),
        (2**63 - 1, "8.00 EiB"),
    ],
)  # fmt: skip
def test_sizes(size_bytes: int | None, said: str):
    assert words.size_words(size_bytes) == said.replace(" ", words.NBSP)


@given(st.integers(0, 2**63 - 1))
def test_a_size_never_needs_more_room_than_its_column(size_bytes: int):
    assert len(words.size_words(size_bytes)) <= 8


@pytest.mark.parametrize(
    ("past_s", "said"),
    [
        (0, "just now"), (59, "just now"), (60, "1 minute ago"), (3599, "59 minutes ago"), (3600, "1 hour ago"),
        (23 * 3600, "23 hours ago"), (DAY_S + 1, "yesterday"), (3 * DAY_S, "3 days ago"), (10 * DAY_S, "12 November"),
        (400 * DAY_S, "18 October 2025"), (-3600, "in the future"), (-10, "just now"),
    ],
)  # fmt: skip
def test_how_long_ago(past_s: int, said: str):
    assert words.ago_words(NOW_US - past_s * SECOND_US, NOW_US).replace(words.NBSP, " ") == said


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_no_time_is_too_strange(then_us: int, now_us: int):
    for text in (words.ago_words(then_us, now_us), words.exact_time(then_us), words.iso_time(then_us)):
        assert text.replace(words.NBSP, " ").isprintable()
        assert text


@given(st.text(st.characters()))
def test_every_name_can_be_sent_and_seen(name: str):
    said = words.printable(name)
    said.encode()
    assert said.strip()
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in said)


def test_names_without_tricks_are_left_alone():
    for name in ("reads.fastq", "größe", "שלום", "a b", "e\u0301"):
        assert words.printable(name) == name
    assert words.printable("a\nb\x7f\ud800") == "a\u240ab\u2421\ufffd"
    assert words.printable(" \t ") == "(no name)"


@pytest.mark.parametrize(
    ("duration_s", "said"),
    [
        (None, words.NOTHING),
        (0.04, "0.0 s"),
        (3.14, "3.1 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (345_600, "4 days"),
    ],
)
def test_durations(duration_s: float | None, said: str):
    assert words.duration_words(duration_s).replace(words.NBSP, " ") == said


def test_bytes_in_sentences():
    assert words.with_sizes("stored 41943040 bytes in newdata") == "stored 40.0\u00a0MiB in newdata"
    assert words.with_sizes("stored 12 bytes") == "stored 12 bytes"


def test_sentences():
    assert words.sentence("there is no dataset 7") == "There is no dataset 7."
    assert words.sentence("is it mounted?") == "Is it mounted?"
    assert words.sentence("") == ""
