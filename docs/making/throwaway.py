"""A hold with an empty pool, and one that is never asked, in a folder that goes away: enough to ask the server what it
has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.hold.hold import Hold

_DOCUMENT = """\
state_dir: state
pools:
  newdata: {type: disk, files_dir: newdata}
  cloud: {type: boto3, auth: {access_key: a, secret_key: b}, bucket: {name: datasets}}
placement: hierarchical
"""


@contextmanager
def throwaway_hold() -> Iterator[Hold]:
    """It ends with the block."""
    import holdfast

    with TemporaryDirectory(prefix="holdfast-docs-") as folder:
        document = Path(folder) / "holdfast.yml"
        document.write_text(_DOCUMENT, encoding="utf-8")
        with holdfast.open(document) as hold:
            yield hold
