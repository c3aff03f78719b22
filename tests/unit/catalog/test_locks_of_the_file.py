"""The catalog's file belongs to its processes together: one that looks and goes takes nothing away from another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast.catalog.base import Filter

LOOK = """\
import sqlite3, sys
catalog = sqlite3.connect(sys.argv[1])
print(catalog.execute("SELECT count(*) FROM dataset").fetchone()[0])
catalog.close()
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    written = tmp_path / "holdfast.yml"
    written.write_text(f"state_dir: {tmp_path}/state\npools:\n  data: {{type: disk, files_dir: {tmp_path}/data}}\n")
    return written


def seen_by_another_process(document: Path) -> int:
    catalog = document.parent / "state" / "catalog.sqlite"
    return int(subprocess.run([sys.executable, "-c", LOOK, str(catalog)], capture_output=True, check=True).stdout)


def test_whoever_looks_and_goes_does_not_take_the_log_away(document: Path):
    log = document.parent / "state" / "catalog.sqlite-wal"
    with holdfast.open(document) as hold:
        hold.put(b"x", name="first")
        with hold.catalog.db.read(), hold.catalog.db.read():
            pass  # this process has a second connection now
        for count in range(2, 5):
            assert seen_by_another_process(document) == count - 1
            assert log.exists()
            hold.put(b"x", name=f"number {count}")
            assert len(hold.datasets(Filter())) == count
        with holdfast.open(document) as twin:  # a second catalog over the same file in the same process
            assert len(twin.datasets(Filter())) == 4
        assert seen_by_another_process(document) == 4
        assert log.exists()
