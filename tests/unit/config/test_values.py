"""What values may be, text by text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import values
from holdfast.config.problems import nearest
from holdfast.config.quantities import BadValue

TIB = 2**40

RIGHT = [
    (values.SIZE, "0", 0),
    (values.SIZE, "1_000", 1000),
    (values.SIZE, "200 GiB", 200 * 2**30),
    (values.SIZE, "200GiB", 200 * 2**30),
    (values.SIZE, "1 TB", 10**12),
    (values.SIZE, "1.5 TiB", TIB + TIB // 2),
    (values.SIZE, "5 kb", 5000),
    (values.SIZE, "5 KIB", 5120),
    (values.SIZE, "12 bytes", 12),
    (values.SIZE, "0.001 MB", 1000),
    (values.GIBIBYTES, "1000", 1000 * 2**30),
    (values.GIBIBYTES, "0.5", 2**29),
    (values.GIBIBYTES, "1e3", 1000 * 2**30),
    (values.GIBIBYTES, "-1", None),
    (values.GIBIBYTES, "0", None),
    (values.MEBIBYTES, "250", 250 * 2**20),
    (values.DURATION, "0", 0),
    (values.DURATION, "0s", 0),
    (values.DURATION, "7 days", 604_800),
    (values.DURATION, "1.5 h", 5400),
    (values.DURATION, "30 min", 1800),
    (values.DURATION, "2w", 1_209_600),
    (values.PERCENT, "90", 90),
    (values.PERCENT, "90 %", 90),
    (values.PERCENT, "0.5", 0.5),
    (values.PERCENT, "100.0", 100),
    (values.GALAXY_PERCENT, "0", None),
    (values.GALAXY_PERCENT, "0.0", None),
    (values.GALAXY_PERCENT, "90", 90),
    (values.WEIGHT, "0", 0),
    (values.WEIGHT, "1.5", 1.5),
    (values.WEIGHT, "2.0", 2),
    (values.FLAG, "Yes", True),
    (values.FLAG, " off ", False),
    (values.FLAG, "1", True),
    (values.ORDER, "-5", -5),
    (values.TEXT, "  a b ", "a b"),
    (values.TEXT, "  ", None),
    (values.TEXT_OR_EMPTY, "", ""),
    (values.PARAGRAPH, "a\n\n\tb\n", "a\n\n\tb"),
    (values.ID, "pool 1 (old)", "pool 1 (old)"),
    (values.ID, "données", "données"),
    (values.URL, "https://s3.example.org:9000/x", "https://s3.example.org:9000/x"),
    (values.URL, " ", None),
]

WRONG = [
    (values.SIZE, "1,5 GiB"),
    (values.SIZE, "-1"),
    (values.SIZE, "GiB"),
    (values.SIZE, "10 G"),
    (values.SIZE, "10 furlongs"),
    (values.SIZE, "9223372036854775808"),
    (values.SIZE, "1.0000000001 B"),
    (values.SIZE_WITH_UNIT, "10"),
    (values.GIBIBYTES, "10 GiB"),
    (values.GIBIBYTES, "1e30"),
    (values.DURATION, "1 month"),
    (values.DURATION, "5 m"),
    (values.DURATION, "-1 day"),
    (values.DURATION, "0.1 s"),
    (values.DURATION_WITH_UNIT, "7"),
    (values.PERCENT, "0"),
    (values.PERCENT, "-1"),
    (values.PERCENT, "100.1"),
    (values.PERCENT, "nan"),
    (values.WEIGHT, "-0.1"),
    (values.WEIGHT, "1e999"),
    (values.WEIGHT, "infinity"),
    (values.WEIGHT, "1:30"),
    (values.FLAG, ""),
    (values.FLAG, "2"),
    (values.ORDER, "010"),
    (values.ORDER, "1.0"),
    (values.ORDER, "0x1"),
    (values.PORT, "65536"),
    (values.TEXT, "a\nb"),
    (values.TEXT, "a\x00b"),
    (values.TEXT, "x" * 4097),
    (values.PARAGRAPH, "a\rb\x1b[31m"),
    (values.ID, ""),
    (values.ID, "user_objects://1"),
    (values.ID, "a/b"),
    (values.ID, " a"),
    (values.ID, "../a"),
    (values.ID, "-a"),
    (values.ID, "a\u2028b"),
    (values.ID, "x" * 256),
    (values.URL, "ftp://x"),
    (values.URL, "https://"),
    (values.URL, "https://[::1"),
    (values.URL, "https://x:99999"),
    (values.URL, "https://u:p@x"),
]


def _named(each):
    """The same name in every process that collects these tests."""
    return each.words if isinstance(each, values.Kind) else ascii(each)[:30]


@pytest.mark.parametrize(("kind", "text", "expected"), RIGHT, ids=_named)
def test_right(kind, text, expected):
    value = kind.read(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(("kind", "text"), WRONG, ids=_named)
def test_wrong(kind, text):
    with pytest.raises(BadValue) as caught:
        kind.read(text)
    assert caught.value.message
    assert len(caught.value.message) < 250


SCALAR_KINDS = [kind for kind in vars(values).values() if isinstance(kind, values.Kind) and kind.shape == "plain"]


@pytest.mark.parametrize("kind", SCALAR_KINDS, ids=lambda kind: kind.words)
def test_the_example_of_each_kind_is_one(kind):
    if kind.example != "…":
        kind.read(kind.example)


@given(st.sampled_from(SCALAR_KINDS), st.text(max_size=30))
def test_any_text_is_a_value_or_a_bad_one(kind, text):
    try:
        kind.read(text)
    except BadValue as bad:
        said = bad.message
    else:
        said = "fine"
    assert said


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("file_dir", "files_dir"),
        ("Weight", "weight"),
        ("maxpctful", "maxpctfull"),
        ("files-dir", "files_dir"),
        ("zebra", None),
    ],
)
def test_what_was_meant(word, meant):
    assert nearest(word, ["files_dir", "weight", "maxpctfull", "order"]) == meant
