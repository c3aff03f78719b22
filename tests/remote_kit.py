"""Remote pools for tests of the faces: a bucket in a folder, with a guard and a cache before it.

`clouds_are_folders` makes a document's `aws_s3` pools such pools, so that commands, the server and its pages are tested
with what they show and without an object store; the stores themselves are tested in `tests/servers`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from holdfast.blobs import DEFAULT_GET, GetOptions
from holdfast.config import build
from holdfast.config.document import HoldfastConfig, walk_pools
from holdfast.drivers.disk import DiskDriver
from holdfast.errors import NoSpace
from holdfast.hold.facts import Pool
from holdfast.hold.hold import Hold
from holdfast.keys import Key
from holdfast.layers.tripped import TrippedDriver
from holdfast.stores.base import Driver
from holdfast.stores.caching import CachedBlob, CacheUsage
from holdfast.testing.remote_like import RemoteLike

BOUND_BYTES = 64 * 2**20
BLOCK_BYTES = 2**20
DOCUMENT = """\
state_dir: {folder}/state
pools:
  newdata: {{type: disk, files_dir: {folder}/data2, order: 0}}
  cloud: {{type: aws_s3, order: 1, auth: {{access_key: a, secret_key: b}}, bucket: {{name: datasets}}}}
placement: hierarchical
"""


def write_document(folder: Path) -> Path:
    """A disk pool `newdata` and a remote pool `cloud`."""
    (folder / "data2").mkdir(parents=True, exist_ok=True)
    document = folder / "holdfast.yml"
    document.write_text(DOCUMENT.format(folder=folder), encoding="utf-8")
    return document


@contextmanager
def clouds_are_folders(folder: Path) -> Iterator[dict[str, RemoteLike]]:
    """For as long as the block lasts, pools of the type aws_s3 are folders below `folder`. The remotes by pool."""
    remotes: dict[str, RemoteLike] = {}
    caches: dict[str, ScriptedCache] = {}

    def pools(config: HoldfastConfig) -> list[Pool]:
        made = []
        for placed in walk_pools(config.tree):
            facts, name = build.facts_of(placed), placed.pool.object_store_id
            if placed.pool.type == "aws_s3":
                remotes[name] = RemoteLike(name, folder / f"bucket-{name}")
                guard = TrippedDriver(remotes[name])
                cache = caches.setdefault(name, ScriptedCache(guard, folder / "cache"))
                made.append(Pool(facts, guard, cache=cache, guard=guard))
            else:
                made.append(Pool(facts, DiskDriver(name, placed.pool.files_dir)))
        return made

    with mock.patch.object(build, "_pools", pools):
        yield remotes


def remote_of(hold: Hold) -> RemoteLike:
    """The medium behind the pool `cloud`."""
    pool = hold.poolset.get("cloud")
    assert pool is not None
    driver: Any = pool.driver
    while not isinstance(driver, RemoteLike):
        driver = driver._inner
    return driver


class ScriptedCache:
    """A cache that holds what a test says, and what it was told to warm. In memory."""

    def __init__(self, driver: Driver, folder: Path) -> None:
        self._driver, self._folder = driver, folder
        self.blobs: dict[str, CachedBlob] = {}
        self.pinned: dict[str, set[str]] = {}
        self.fetched_bytes = 0
        self.hits = 3
        self.misses = 1

    def cache_usage(self) -> Sequence[CacheUsage]:
        held = sum(blob.held_bytes for blob in self.blobs.values())
        return [
            CacheUsage(
                str(self._folder), BOUND_BYTES, held, 10**12, len(self.blobs), len(self.pinned), self.hits, self.misses,
                held, self.fetched_bytes, 2, 12345, 0,
            )
        ]  # fmt: skip

    def contents(self, *, after: str = "", limit: int = 1000) -> Sequence[CachedBlob]:
        keys = sorted((key for key in self.blobs if key.encode() > after.encode()), key=str.encode)
        return [self._with_pins(self.blobs[key]) for key in keys[:limit]]

    def look(self, key: Key) -> CachedBlob | None:
        return self._with_pins(self.blobs[key]) if key in self.blobs else None

    def warm(
        self, key: Key, options: GetOptions = DEFAULT_GET, on_progress: Callable[[int], None] | None = None
    ) -> int:
        with self._driver.open(key, options) as reader:
            stat = reader.stat
            if stat.size_bytes > BOUND_BYTES:
                raise NoSpace(f"{key} is larger than the cache", store=self._driver.name, key=key, operation="warm")
            count = len(reader.read())
        before = self.blobs[key].held_bytes if key in self.blobs else 0
        if on_progress is not None:
            on_progress(count)
        self.blobs[key] = CachedBlob(
            self._driver.name, key, stat.version, count, count, True, True, 1_700_000_000_000_000, 1,
            ((0, count),) if count else (), (), False,
        )  # fmt: skip
        self.fetched_bytes += count - before
        return count - before

    def drop(self, key: Key) -> int:
        found = self.look(key)
        if found is None or found.in_use or found.pins:
            return 0
        del self.blobs[key]
        return found.held_bytes

    def pin(self, key: Key, holder: str) -> None:
        self.pinned.setdefault(key, set()).add(holder)

    def unpin(self, holder: str) -> None:
        for holders in self.pinned.values():
            holders.discard(holder)

    def holders(self) -> Sequence[str]:
        return sorted(set().union(*self.pinned.values()))

    def _with_pins(self, blob: CachedBlob) -> CachedBlob:
        return dataclasses.replace(blob, pins=tuple(sorted(self.pinned.get(blob.key, ()))))
