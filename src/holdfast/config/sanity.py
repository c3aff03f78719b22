"""Sanity across a whole document: folders and buckets that would be counted, overwritten or moved twice.

Everything is judged by its text: nothing is looked up on a disk here, so a folder that is not there yet, or
two names of one folder (`config.twin_folders`), are for `holdfast check` to find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.config.definitions import Definition, walk_definitions
from holdfast.config.document import FrozenMapping
from holdfast.config.nodes import Spot
from holdfast.config.problems import ProblemLog
from holdfast.config.tree import takes_new
from holdfast.layout import METADATA_FOLDER

# what the first folder below a pool can be called: 000 … 999 for ids, 0 … f for uuids
_HASH_FOLDER = re.compile(rf"[0-9]{{3}}|[0-9a-f]|{re.escape(METADATA_FOLDER)}|\.holdfast.*")


POOLS_MAX = 1000


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    words: str
    spot: Spot


def check_sanity(root: Definition, state_dir: str, state_spot: Spot, problems: ProblemLog) -> None:
    """Reports what cannot work although each key by itself is right."""
    pools = [each for each in walk_definitions(root) if not each.is_router]
    if len(pools) > POOLS_MAX:
        problems.error(root.spot, f"has {len(pools)} pools; {POOLS_MAX} are allowed")
        return
    files_dirs = [
        _Folder(folder, f"pool {pool.object_store_id!r}", pool.key_spot("files_dir"))
        for pool in pools
        if isinstance(folder := pool.fields.get("files_dir"), str)
    ]
    _compare_pools(files_dirs, problems)
    others = [folder for pool in pools for folder in _other_folders(pool)]
    others.append(_Folder(state_dir, "the state directory", state_spot))
    for other in others:
        for pool_folder in files_dirs:
            _keep_out(other, pool_folder, problems)
    _compare_buckets(pools, problems)
    _check_limits(pools, problems)
    if pools and not takes_new(root):
        message = "no new dataset can go anywhere: every way to a pool has the weight 0"
        problems.error(root.spot, message, 'weight="1"' if root.spelling == "galaxy-xml" else "weight: 1")


def _compare_pools(folders: list[_Folder], problems: ProblemLog) -> None:
    for index, later in enumerate(folders):
        for earlier in folders[:index]:
            if later.path == earlier.path:
                message = f"{later.path} is the folder of {earlier.words} already, in line {earlier.spot.line}"
                problems.error(later.spot, message, "a folder of its own for each pool")
                continue
            inner, outer = (later, earlier) if _lies_in(later.path, earlier.path) else (earlier, later)
            if not _lies_in(inner.path, outer.path):
                continue
            message = f"{inner.path} lies inside {outer.path}, the folder of {outer.words}"
            if _in_hash_space(inner.path, outer.path):
                problems.error(inner.spot, f"{message}, where that pool's datasets lie", "a folder outside of it")
            else:
                problems.warn(inner.spot, f"{message}: what is free in one is free in both", "a folder outside of it")


def _other_folders(pool: Definition) -> Iterator[_Folder]:
    extra_dirs = pool.fields.get("extra_dirs")
    if isinstance(extra_dirs, FrozenMapping):
        spot = pool.key_spot("extra_dirs")
        for type_name, path in extra_dirs.items():
            yield _Folder(path, f"the {type_name} folder", spot)
    cache = pool.fields.get("cache.path")
    if isinstance(cache, str):
        yield _Folder(cache, "the cache", pool.key_spot("cache.path"))


def _keep_out(other: _Folder, pool_folder: _Folder, problems: ProblemLog) -> None:
    if other.path == pool_folder.path:
        message = f"{other.path} is {other.words} and the folder of {pool_folder.words} at once"
    elif _lies_in(other.path, pool_folder.path) and _in_hash_space(other.path, pool_folder.path):
        message = f"{other.words} {other.path} lies among the datasets of {pool_folder.words}"
    else:
        return
    problems.error(other.spot, message, f"{pool_folder.path}/job_work_dir, or a folder elsewhere")


def _lies_in(inner: str, outer: str) -> bool:
    return inner.startswith(f"{outer}/")


def _in_hash_space(inner: str, outer: str) -> bool:
    return bool(_HASH_FOLDER.fullmatch(inner[len(outer) + 1 :].split("/", 1)[0]))


_BUCKET_KEYS = (
    "bucket.name",
    "container.name",
    "space.name",
    "space.galaxy_root_dir",
    "logical.path",
    "zone.name",
    "auth.account_name",
    "auth.account_url",
    "provider",
    "auth.storage_account",
    "connection.endpoint_url",
    "connection.host",
    "connection.onezone_domain",
    "auth.url",
    "upload_rse_name",
    "scope",
    "host",
)


def _compare_buckets(pools: list[Definition], problems: ProblemLog) -> None:
    seen: dict[object, Definition] = {}
    for pool in pools:
        if pool.type_name == "disk":
            continue
        place = (pool.type_name, *(pool.fields.get(name) for name in _BUCKET_KEYS))
        if not any(place[1:]):
            continue
        first = seen.setdefault(place, pool)
        if first is not pool:
            message = f"stores in the same place as {first.object_store_id!r}, in line {first.spot.line}"
            name = next((name for name in ("bucket.name", "container.name") if name in pool.said), "id")
            problems.error(pool.key_spot(name), message, "a bucket of its own for each pool")


def _check_limits(pools: list[Definition], problems: ProblemLog) -> None:
    for pool in pools:
        said = pool.said.get("max_percent_full")
        if said and pool.type_name != "disk" and "capacity_bytes" not in pool.fields:
            message = "has no effect: this medium does not say how full it is, unless you say how much it holds"
            example = 'capacity="10 TiB"' if pool.spelling == "galaxy-xml" else "capacity: 10 TiB"
            problems.warn(said.spot, message, example)
