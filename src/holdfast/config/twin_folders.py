"""Two pools in one folder under two names: through a symbolic link, a bind mount, or `..` behind a link.

The document is judged by its text (`config.sanity`), where such names differ. Here the disk is asked, so
this is for `holdfast check`, and only for pools that have just answered: a mount that hangs would hang it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from holdfast.config.document import PoolConfig


def twin_folders(pools: Iterable[PoolConfig], answering: Collection[str]) -> dict[str, str]:
    """For each pool whose folder is another's, or lies where another's datasets lie: what is wrong with it.

    Of two pools the later one is named. Folders that cannot be looked at are left out.
    """
    wrong: dict[str, str] = {}
    seen: dict[tuple[int, int], PoolConfig] = {}
    for pool in pools:
        if pool.files_dir is None or pool.object_store_id not in answering:
            continue
        try:
            found = os.stat(pool.files_dir)
        except OSError:
            continue
        earlier = seen.setdefault((found.st_dev, found.st_ino), pool)
        if earlier is not pool:
            wrong[pool.object_store_id] = (
                f"its files_dir {pool.files_dir} is the folder of pool {earlier.object_store_id} under another name "
                f"({earlier.files_dir}): what lies there would be counted, checked and removed twice; "
                "give each pool a folder of its own"
            )
    return wrong
