"""Holds and peers to measure, made from the same plain facts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.hold.hold import Hold


def make_hold(folder: Path, pools: int, placement: str = "hierarchical") -> Hold:
    """A hold over so many disk pools below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"state_dir: {folder / 'state'}", f"placement: {placement}", "pools:"]
    for at in range(pools):
        (folder / f"pool{at}").mkdir(exist_ok=True)
        extra = f"order: {at}" if placement == "hierarchical" else "weight: 1"
        lines.append(f"  pool{at}: {{type: disk, files_dir: {folder / f'pool{at}'}, {extra}}}")
    document = folder / "holdfast.yml"
    document.write_text("\n".join(lines) + "\n")
    return open_hold(read_document(document, environ={}))


def make_peer(folder: Path, pools: int) -> Any:
    """The peer (galaxy-objectstore) over the same kind of pools, hierarchical."""
    from galaxy.objectstore import build_object_store_from_config

    folder.mkdir(parents=True, exist_ok=True)
    backends = []
    for at in range(pools):
        root = folder / f"peer{at}"
        root.mkdir(exist_ok=True)
        backends.append({"type": "disk", "files_dir": str(root), "extra_dirs": []})
    config = SimpleNamespace(
        object_store_check_old_style=False, enable_quotas=False, jobs_directory=str(folder / "jobs"),
        new_file_path=str(folder / "tmp"), file_path=str(folder / "files"), umask=0o22, gid=None,
        object_store_cache_path=str(folder / "cache"), object_store_cache_size=-1, object_store_store_by="id",
    )  # fmt: skip
    return build_object_store_from_config(config, config_dict={"type": "hierarchical", "backends": backends})
