"""The commented document that `holdfast init` writes."""

from __future__ import annotations

import json
import re

_BARE = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*\.?[A-Za-z][A-Za-z0-9_./-]*")

_HEAD = """\
# holdfast.yml: which storage Holdfast spreads its datasets over, and what it keeps for itself.
# Relative paths start at this file's folder. After an edit: holdfast check

# The catalog, its secret key, jobs' folders and unfinished uploads lie here.
state_dir: {state_dir}

# sqlite lies in the state directory. Several machines need PostgreSQL: postgresql://holdfast@db/holdfast
catalog: sqlite

"""

_FROM = """\
# The pools and how datasets are spread over them: Galaxy's own file, read as it is.
object_store: {object_store}
"""

_POOLS = """\
# The pools: each a place that datasets can lie in. Its name stands in every dataset's object_store_id.
pools:
  main:
    type: disk
    files_dir: {files_dir}
    order: 0
  # more:
  #   type: disk
  #   files_dir: /data2
  #   order: 1
  #   max_percent_full: 90    # no new datasets above this

# hierarchical: the first pool by order that has room. distributed: evenly, by each pool's weight.
placement: hierarchical
"""

_TAIL = """
server:
  host: 127.0.0.1             # 0.0.0.0 to be reached from other machines; better: a proxy with HTTPS in front
  port: 8080
  # public_url: https://data.example.org

# How long a removed dataset can be brought back with: holdfast restore
# deleted_expires_after: 30 days

# jobs:
#   max_running: 2
#   keep_failed: 7 days       # how long a failed job keeps its folder
"""


def own_document(state_dir: str, files_dir: str) -> str:
    """A document with one pool on disk."""
    return _HEAD.format(state_dir=_quoted(state_dir)) + _POOLS.format(files_dir=_quoted(files_dir)) + _TAIL


def document_over(object_store: str, state_dir: str) -> str:
    """A document that takes its pools from a Galaxy file."""
    head = _HEAD.format(state_dir=_quoted(state_dir))
    return head + _FROM.format(object_store=_quoted(object_store)) + _TAIL


def _quoted(text: str) -> str:
    """`text` as YAML: bare where that is safe."""
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
