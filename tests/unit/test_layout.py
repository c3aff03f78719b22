"""Galaxy's layout: the table was computed once with `galaxy.util.directory_hash_id` 26.1.2 and is pinned here."""

from __future__ import annotations

import importlib.util
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast import layout
from holdfast.errors import InvalidKey
from holdfast.keys import SEGMENT_BYTES_MAX, Key, is_key
from holdfast.layout import Parsed

FOLDERS = {
    0: "000", 1: "000", 9: "000", 10: "000", 99: "000", 100: "000", 999: "000",
    1000: "001", 1001: "001", 9999: "009", 10000: "010", 12345: "012", 99999: "099",
    100000: "000/100", 123456: "000/123", 999999: "000/999",
    1000000: "001/000", 9999999: "009/999", 12345678: "012/345",
    123456789: "000/123/456", 999999999: "000/999/999", 1000000000: "001/000/000",
    2**31: "002/147/483", 2**32: "004/294/967", 2**53: "009/007/199/254/740",
    2**63 - 1: "009/223/372/036/854/775",
    "135ee48a-4f51-470c-ae2f-ce8bd78799e6": "1/3/5",
    "00000000-0000-4000-8000-000000000000": "0/0/0",
    "ffffffff-ffff-ffff-ffff-ffffffffffff": "f/f/f",
    "abcdef01-2345-6789-abcd-ef0123456789": "a/b/c",
}  # fmt: skip
UUID = "135ee48a-4f51-470c-ae2f-ce8bd78799e6"
IDS = st.integers(1, layout.ID_MAX)
RELATIVE = st.lists(
    st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1, max_size=12),
    min_size=1,
    max_size=4,
).map("/".join)


@pytest.mark.parametrize(("ident", "folder"), FOLDERS.items())
def test_the_folder(ident: int | str, folder: str):
    assert layout.directory_hash(ident) == folder


@pytest.mark.skipif(
    importlib.util.find_spec("galaxy") is None or importlib.util.find_spec("galaxy.util") is None,
    reason="galaxy-util is not installed: make bench",
)
def test_the_folder_is_that_of_galaxy_itself():
    from galaxy.util import directory_hash_id

    dice = random.Random(0)
    idents: list[int | str] = [dice.randrange(10 ** dice.randrange(1, 19)) for _ in range(3000)]
    idents += [f"{dice.getrandbits(128):032x}" for _ in range(50)]
    dashed = [f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}" for one in map(str, idents[-50:])]
    for ident in [*idents, *dashed, *(one.upper() for one in dashed)]:
        assert layout.directory_hash(ident) == "/".join(directory_hash_id(ident)), ident


def test_keys():
    assert layout.primary_key("id", 123456, UUID) == "000/123/dataset_123456.dat"
    assert layout.primary_key("uuid", 123456, UUID) == f"1/3/5/dataset_{UUID}.dat"
    assert layout.extra_files_prefix("id", 24, UUID) == "000/dataset_24_files/"
    assert layout.extra_files_prefix("uuid", 24, UUID) == f"1/3/5/dataset_{UUID}_files/"
    assert layout.old_style_key(24) == "dataset_24.dat"
    for store_by in ("id", "uuid"):
        primary = layout.primary_key(store_by, 24, UUID)
        assert layout.extra_files_prefix_of(primary) == layout.extra_files_prefix(store_by, 24, UUID)
    assert layout.extra_files_prefix_of(layout.old_style_key(24)) == "dataset_24_files/"
    assert layout.extra_file_key("000/dataset_24_files/", "sub/x.txt") == "000/dataset_24_files/sub/x.txt"


@pytest.mark.parametrize("dataset_id", [0, -1, 2**63, -(2**63), 2**70])
def test_ids_that_no_dataset_can_have(dataset_id: int):
    with pytest.raises(InvalidKey, match="cannot be a dataset's id"):
        layout.check_id(dataset_id)


@pytest.mark.parametrize(
    "relative", ["", "/x", "x/", "a//b", ".", "..", "../x", "a/../b", "a/./b", "nul\0", "new\nline", ".holdfast-pool",
                 "a/.holdfast-x", "x" * 256, "x/" * 600 + "x", "\udcff", "\x7f"]
)  # fmt: skip
def test_names_of_extra_files_that_cannot_be_stored(relative: str):
    with pytest.raises(InvalidKey, match="cannot be the name of stored bytes: "):
        layout.extra_file_key("000/dataset_24_files/", relative)


@given(IDS, st.uuids().map(str), st.sampled_from(["id", "uuid"]))
def test_what_a_key_says_about_itself(dataset_id: int, uuid: str, store_by: layout.StoreBy):
    key = layout.primary_key(store_by, dataset_id, uuid)
    assert Key.parse(key) == key
    own = (dataset_id, None) if store_by == "id" else (None, uuid)
    assert layout.parse(key) == Parsed("primary", *own)
    assert layout.parse(f"9/{key}") == Parsed("primary", *own, in_place=False)


@given(IDS, RELATIVE, st.sampled_from(["id", "uuid"]))
def test_what_an_extra_file_says_about_itself(dataset_id: int, relative: str, store_by: layout.StoreBy):
    assume(is_key(relative))
    prefix = layout.extra_files_prefix(store_by, dataset_id, UUID)
    own = (dataset_id, None) if store_by == "id" else (None, UUID)
    assert layout.parse(layout.extra_file_key(prefix, relative)) == Parsed("extra", *own, relative)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("000/dataset_24.dat", Parsed("primary", 24)),
        ("dataset_24.dat", Parsed("primary", 24)),
        ("001/dataset_24.dat", Parsed("primary", 24, in_place=False)),
        ("000/100/dataset_24.dat", Parsed("primary", 24, in_place=False)),
        (f"1/3/5/dataset_{UUID}.dat", Parsed("primary", None, UUID)),
        (f"dataset_{UUID}.dat", Parsed("primary", None, UUID, in_place=False)),
        (f"1/3/4/dataset_{UUID}.dat", Parsed("primary", None, UUID, in_place=False)),
        (f"1/3/5/dataset_{UUID.upper()}.dat", Parsed("other")),
        ("000/dataset_024.dat", Parsed("other")),
        ("000/dataset_0.dat", Parsed("other")),
        ("000/dataset_-1.dat", Parsed("other")),
        (f"x/dataset_{2**63}.dat", Parsed("other")),
        ("000/dataset_24.dat.bak", Parsed("other")),
        ("000/dataset_24", Parsed("other")),
        ("000/Dataset_24.dat", Parsed("other")),
        ("000/dataset_٢٤.dat", Parsed("other")),
        ("000/dataset_24_files/a/b", Parsed("extra", 24, None, "a/b")),
        ("dataset_24_files/a", Parsed("extra", 24, None, "a")),
        ("002/dataset_24_files/a", Parsed("extra", 24, None, "a", in_place=False)),
        ("000/dataset_24_files/dataset_5.dat", Parsed("extra", 24, None, "dataset_5.dat")),
        ("000/dataset_24_files/000/dataset_5.dat", Parsed("extra", 24, None, "000/dataset_5.dat")),
        ("000/dataset_24_files/dataset_5_files/x", Parsed("extra", 24, None, "dataset_5_files/x")),
        ("000/dataset_24_files/_metadata_files/x", Parsed("extra", 24, None, "_metadata_files/x")),
        ("000/dataset_24_files", Parsed("other")),
        ("_metadata_files/000/metadata_7.dat", Parsed("metadata")),
        (f"_metadata_files/1/3/5/metadata_{UUID}.dat", Parsed("metadata")),
        ("_metadata_files/000/dataset_7.dat", Parsed("other")),
        ("README", Parsed("other")),
        ("lost+found/#12", Parsed("other")),
    ],
)
def test_what_lies_under_a_key(key: str, expected: Parsed):
    assert layout.parse(key) == expected


@given(st.text(max_size=60))
def test_a_key_is_safe_or_refused(text: str):
    try:
        key = Key.parse(text)
    except InvalidKey:
        assert not is_key(text)
        return
    assert is_key(text)
    assert key == text
    segments = key.split("/")
    assert all(segment not in ("", ".", "..") for segment in segments)
    assert all(len(segment.encode()) <= SEGMENT_BYTES_MAX for segment in segments)
    assert not key.startswith("/")
    assert "\0" not in key
    assert "\n" not in key
    assert (key.parent + "/" + key.name).removeprefix("/") == key
