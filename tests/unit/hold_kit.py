"""What tests of the hold share: a hold over small pools, and an audit by the backdoor.

`audit` counts the catalog anew (`recount`) and compares it with the folders: each dataset that is there has its
bytes, by their own checksum; nothing lies about that nobody recorded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from blake3 import blake3
from tests.contract.catalog_kit import recount, rows_of

from holdfast.catalog.catalog import Catalog
from holdfast.drivers.disk import MARK_NAME, DiskDriver
from holdfast.hold import Hold, Pool, PoolFacts
from holdfast.placement.policy import Branch, Leaf, Node
from holdfast.seams import Clock, Files

TWO: Mapping[str, Mapping[str, Any]] = {"a": {}, "b": {}}


def make_hold(
    folder: Path,
    pools: Mapping[str, Mapping[str, Any]] = TWO,
    *,
    kind: str = "hierarchical",
    tree: Node | None = None,
    url: str | None = None,
    files: Files | None = None,
    clock: Clock | None = None,
) -> Hold:
    """A hold over disks below `folder`; each pool's facts by name, `weight` and `folder` among them."""
    (folder / "state").mkdir(exist_ok=True)
    opened = []
    for name, facts in pools.items():
        root = folder / facts.get("folder", name)
        root.mkdir(exist_ok=True)
        own = {key: value for key, value in facts.items() if key not in ("weight", "folder")}
        driver = DiskDriver(name, root, files=files)
        opened.append(Pool(PoolFacts(name, "disk", location=str(root), **own), driver))
    leaves = tuple(Leaf(name, Fraction(facts.get("weight", 1))) for name, facts in pools.items())
    branch = Branch("root", kind, leaves)  # type: ignore[arg-type]
    catalog = Catalog.open(url, folder / "state", clock=clock)
    return Hold(catalog=catalog, pools=opened, tree=tree or branch, state_dir=folder / "state", clock=clock)


def root_of(hold: Hold, pool: str) -> Path:
    found = hold.poolset.get(pool)
    assert found is not None
    driver = found.driver
    assert isinstance(driver, DiskDriver)
    return Path(driver.root)


def lying(hold: Hold) -> dict[str, set[str]]:
    """Every file in each pool, by its key."""
    found: dict[str, set[str]] = {}
    for name in hold.poolset.order:
        root = root_of(hold, name)
        found[name] = {
            os.path.relpath(os.path.join(folder, file), root) for folder, _, files in os.walk(root) for file in files
        } - {MARK_NAME}
    return found


def lay(hold: Hold, pool: str, key: str, content: bytes) -> Path:
    """Put bytes into a pool as somebody else would."""
    path = root_of(hold, pool) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def audit(hold: Hold, *, strangers: set[str] = frozenset()) -> None:
    """See the module. `strangers` are keys of files that are known to be nobody's."""
    recount(hold.catalog.db.url)
    expected: dict[str, set[str]] = {name: set() for name in hold.poolset.order}
    replicas = rows_of(
        hold.catalog.db.url,
        "SELECT dataset_id, replica.object_store_id, replica.state, key, checksum, dataset.size_bytes "
        "FROM replica JOIN dataset ON dataset.id = dataset_id",
    )
    extras: dict[int, list[tuple[str, int, str | None]]] = {}
    for dataset_id, path, size, checksum in rows_of(
        hold.catalog.db.url, "SELECT dataset_id, path, size_bytes, checksum FROM extra_file"
    ):
        extras.setdefault(dataset_id, []).append((path, size, checksum))
    for dataset_id, pool, state, key, checksum, size in replicas:
        if state == "gone" or pool not in expected:
            continue
        blobs = [(key, size, checksum)]
        blobs += [(key.removesuffix(".dat") + "_files/" + path, *rest) for path, *rest in extras.get(dataset_id, [])]
        for name, blob_size, blob_checksum in blobs:
            path = root_of(hold, pool) / name
            if state in ("retiring", "writing", "missing") and not path.exists():
                continue
            expected[pool].add(name)
            if state != "present":
                continue
            content = path.read_bytes()
            assert len(content) == blob_size, (dataset_id, name)
            if blob_checksum is not None:
                assert f"blake3:{blake3(content).hexdigest()}" == blob_checksum, (dataset_id, name)
    assert {name: found - strangers for name, found in lying(hold).items()} == expected
