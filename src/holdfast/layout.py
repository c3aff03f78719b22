"""From a dataset to the keys of its blobs, and back: Galaxy's layout, byte for byte.

    <hash>/dataset_<ident>.dat                              the primary blob
    <hash>/dataset_<ident>_files/<sub/folder/name>          extra files
    _metadata_files/<hash>/metadata_<own ident>.dat         Galaxy's metadata files (never written by us)
    dataset_<ident>.dat                                     old style, where a pool is told to look for it

`ident` is the id or the dashed uuid, as the pool's `store_by` says. The directory hash is that of
`galaxy.util.directory_hash_id`: ids are cut in threes and lose the last three digits, uuids give their
first three characters, one level each. Pure functions; no disk is touched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import InvalidKey
from holdfast.keys import Key

StoreBy = Literal["id", "uuid"]
ID_MIN = 1
ID_MAX = 2**63 - 1
METADATA_FOLDER = "_metadata_files"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PRIMARY = re.compile(rf"dataset_(?:([1-9][0-9]{{0,18}})|({_UUID.pattern}))\.dat")
_EXTRA = re.compile(rf"dataset_(?:([1-9][0-9]{{0,18}})|({_UUID.pattern}))_files")
_METADATA = re.compile(rf"metadata_(?:([1-9][0-9]{{0,18}})|({_UUID.pattern}))\.dat")


def check_id(dataset_id: int) -> int:
    """`dataset_id` if a dataset can have it, else `InvalidKey`."""
    if not ID_MIN <= dataset_id <= ID_MAX:
        raise InvalidKey(f"{dataset_id} cannot be a dataset's id: ids go from 1 to 2**63-1")
    return dataset_id


def directory_hash(ident: int | str) -> str:
    """The folder below which a dataset lies, without a trailing slash.

    Source: `galaxy.util.directory_hash_id` (a length that is a multiple of three gets three zeros).
    """
    text = str(ident)
    if len(text) < 4:
        return "000"
    if _UUID.match(text):
        return f"{text[0]}/{text[1]}/{text[2]}"
    padded = "0" * (3 - len(text) % 3) + text
    head = padded[:-3]
    return "/".join(head[at : at + 3] for at in range(0, len(head), 3))


def primary_key(store_by: StoreBy, dataset_id: int, uuid: str) -> Key:
    """The key of a dataset's primary blob."""
    ident = dataset_id if store_by == "id" else uuid
    return Key(f"{directory_hash(ident)}/dataset_{ident}.dat")


def extra_files_prefix(store_by: StoreBy, dataset_id: int, uuid: str) -> str:
    """What the keys of a dataset's extra files start with; ends in a slash."""
    ident = dataset_id if store_by == "id" else uuid
    return f"{directory_hash(ident)}/dataset_{ident}_files/"


def extra_files_prefix_of(primary: Key) -> str:
    """The same, from the key of the primary blob (also right for old-style keys)."""
    return primary.removesuffix(".dat") + "_files/"


def extra_file_key(prefix: str, relative: str) -> Key:
    """The key of one extra file; `relative` may have sub-folders. `InvalidKey` if it cannot be stored."""
    Key.parse(relative)
    return Key.parse(prefix + relative)


def old_style_key(dataset_id: int) -> Key:
    """Where very old servers put a dataset: at the top, without a folder."""
    return Key(f"dataset_{dataset_id}.dat")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a key says about itself. `relative` is the name within the extra files."""

    kind: Literal["primary", "extra", "metadata", "other"]
    dataset_id: int | None = None
    uuid: str | None = None
    relative: str | None = None
    in_place: bool = True  # lies in the folder that its ident demands (or is old style)


_OTHER = Parsed("other")


def parse(key: str) -> Parsed:
    """What lies under `key`, by Galaxy's layout."""
    folder, _, name = key.rpartition("/")
    if key.startswith(METADATA_FOLDER + "/"):
        found = _METADATA.fullmatch(name)
        return Parsed("metadata") if found else _OTHER
    segments = key.split("/")
    for at, segment in enumerate(segments[:-1]):
        found = _EXTRA.fullmatch(segment)
        if found:
            dataset_id, uuid = _ident(found)
            if dataset_id is None and uuid is None:
                return _OTHER
            expected = directory_hash(dataset_id if dataset_id is not None else str(uuid))
            in_place = "/".join(segments[:at]) in (expected, "")
            return Parsed("extra", dataset_id, uuid, "/".join(segments[at + 1 :]), in_place)
    found = _PRIMARY.fullmatch(name)
    if found:
        dataset_id, uuid = _ident(found)
        if dataset_id is None and uuid is None:
            return _OTHER
        expected = directory_hash(dataset_id if dataset_id is not None else str(uuid))
        in_place = folder == expected or (folder == "" and dataset_id is not None)
        return Parsed("primary", dataset_id, uuid, in_place=in_place)
    return _OTHER


def _ident(found: re.Match[str]) -> tuple[int | None, str | None]:
    if found[1] is not None:
        dataset_id = int(found[1])
        return (dataset_id, None) if dataset_id <= ID_MAX else (None, None)
    return None, found[2]
