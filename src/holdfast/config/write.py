"""Writes the commented `holdfast.yml` that `holdfast init` begins with."""

from __future__ import annotations

import json
import re
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_./-]*[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})

_POOLS = """\
# Where datasets lie. Each pool has an id that is recorded with every dataset: choose it once, keep it.
pools:
  newdata:
    type: disk
    files_dir: {newdata}
    order: 0                        # the lowest order comes first
    extra_dirs: {{job_work: {newdata_jobs}}}
    # name: New disk                # what users see
    # max_percent_full: 90          # no new datasets above this
    # capacity: 10 TiB              # where the disk is larger than what Holdfast may use
  olddata:
    type: disk
    files_dir: {olddata}
    order: 1
    extra_dirs: {{job_work: {olddata_jobs}}}

# How a pool is chosen for a new dataset:
#   hierarchical   the first one by order that has room
#   distributed    all of them, evenly by weight (weight: 2 gets twice as much, weight: 0 is only read)
# or a tree of both: {{hierarchical: [{{distributed: [a, b]}}, c]}}
placement: hierarchical
"""

_GALAXY = """\
# Where datasets lie, as Galaxy's own file says it (XML or YAML). Holdfast only reads that file.
object_store: {object_store}
"""

_DOCUMENT = """\
# Holdfast's configuration. `holdfast check` says whether it works,
# `holdfast config show --expanded` what it means with all defaults.
# Relative paths mean the folder of this file.

# Where Holdfast keeps what is its own: catalog, secret key, job directories, unfinished uploads.
state_dir: {state_dir}

# What is recorded where: sqlite (in state_dir), or a PostgreSQL database for several machines:
# catalog: postgresql://holdfast@db.example.org/holdfast
# catalog_password: env:HOLDFAST_CATALOG_PASSWORD
catalog: sqlite

{pools}
# Places to import from and export to, and what users tell about themselves, in Galaxy's own files:
# file_sources: file_sources_conf.yml
# user_preferences_extra: user_preferences_extra_conf.yml

# How long a deleted dataset can be restored.
deleted_expires_after: 30 days

server:
  host: 127.0.0.1                   # 0.0.0.0 to be reached from other machines
  port: 8080
  # public_url: https://data.example.org

jobs:
  max_running: 2
  keep_failed: 7 days               # how long a failed job keeps its folder
  keep_logs: 90 days                # how long what a job wrote is kept
"""


def starter_document(
    pools_dir: Path | str = "pools",
    *,
    object_store: Path | str | None = None,
    state_dir: Path | str = "holdfast-state",
) -> str:
    """The text of a first document.

    Two local pools `newdata` and `olddata` in `pools_dir`, or Galaxy's own file `object_store` instead.
    Paths are written as they are given: relative ones mean the folder that the document will lie in.
    """
    pools = Path(pools_dir)
    if object_store is not None:
        part = _GALAXY.format(object_store=_scalar(object_store))
    else:
        part = _POOLS.format(
            newdata=_scalar(pools / "newdata"),
            newdata_jobs=_scalar(pools / "newdata" / "job_work_dir"),
            olddata=_scalar(pools / "olddata"),
            olddata_jobs=_scalar(pools / "olddata" / "job_work_dir"),
        )
    return _DOCUMENT.format(state_dir=_scalar(state_dir), pools=part)


def _scalar(path: Path | str) -> str:
    """A path as a YAML text: plain where that is safe, quoted otherwise."""
    text = str(path)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
