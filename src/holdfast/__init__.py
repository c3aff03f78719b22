"""Holdfast keeps a research group's datasets over all the storage it has, as one place.

Begin with `holdfast.open("holdfast.yml")`: it gives a `Hold`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.hold.hold import Hold

__version__ = "0.1.0"

__all__ = ["__version__", "open"]


def open(config: str | Path | None = None, *, state: str | Path | None = None) -> Hold:  # noqa: A001 - it opens
    """The `Hold` that a document describes.

    `config` is a `holdfast.yml`, or Galaxy's own `object_store_conf.xml` / `.yml`; without it the document is
    `$HOLDFAST_CONFIG`, else `./holdfast.yml`. `state` is the state directory (`$HOLDFAST_STATE`, the document's
    `state_dir`, `./holdfast-state`). Raises `ConfigError` with everything that is wrong with the document.
    """
    import os

    from holdfast.config.build import open_hold
    from holdfast.config.read import find_document, read_document

    path = find_document(Path(config) if config is not None else None, os.environ, Path.cwd())
    return open_hold(read_document(path, environ=os.environ, state=Path(state) if state is not None else None))
