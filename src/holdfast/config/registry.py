"""Which class is behind which type of pool: the explicit table, and the only place that names drivers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from holdfast.config.document import PoolConfig
from holdfast.stores.base import Driver


def _disk(pool: PoolConfig, apart: tuple[str, ...]) -> Driver:
    from holdfast.drivers.disk import DiskDriver

    assert pool.files_dir is not None, "a disk pool without a folder does not get through the reader"
    root = os.path.abspath(pool.files_dir)
    inside = frozenset(
        os.path.relpath(folder, root) for folder in apart if os.path.abspath(folder).startswith(root + os.sep)
    )
    return DiskDriver(pool.object_store_id, root, apart=inside, durable=pool.durability == "full")


CONSTRUCTORS: Mapping[str, Callable[[PoolConfig, tuple[str, ...]], Driver]] = {"disk": _disk}


def make_driver(pool: PoolConfig, apart: tuple[str, ...]) -> Driver | None:
    """The pool's driver, without touching its medium; None where there is none for its type yet.

    `apart` are folders that hold no datasets (working directories, other pools).
    """
    constructor = CONSTRUCTORS.get(pool.type)
    return None if constructor is None else constructor(pool, apart)
