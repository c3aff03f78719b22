"""Remote pools for tests of the faces: a bucket in a folder, with a guard and a cache before it.

`clouds_are_folders` makes a document's `aws_s3` pools such pools, so that commands, the server and its pages are tested
with what they show and without an object store; the stores themselves are tested in `tests/servers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from holdfast.config import build
from holdfast.config.document import HoldfastConfig, walk_pools
from holdfast.drivers.disk import DiskDriver
from holdfast.hold.facts import Pool
from holdfast.hold.hold import Hold
from holdfast.layers.cached import CachedDriver, CacheFolder
from holdfast.layers.tripped import TrippedDriver
from holdfast.testing.remote_like import RemoteLike

BOUND_BYTES = 64 * 2**20
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
def clouds_are_folders(folder: Path, *, bound_bytes: int = BOUND_BYTES) -> Iterator[dict[str, RemoteLike]]:
    """For as long as the block lasts, pools of the type aws_s3 are folders below `folder`. The remotes by pool."""
    remotes: dict[str, RemoteLike] = {}

    def pools(config: HoldfastConfig) -> list[Pool]:
        made = []
        for placed in walk_pools(config.tree):
            facts, name = build.facts_of(placed), placed.pool.object_store_id
            if placed.pool.type == "aws_s3":
                remotes[name] = RemoteLike(name, folder / f"bucket-{name}")
                guard = TrippedDriver(remotes[name])
                cached = CachedDriver(guard, [CacheFolder(folder / "cache", 1, bound_bytes)])
                made.append(Pool(facts, cached, cache=cached, guard=guard))
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
