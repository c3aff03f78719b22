"""What the catalog does for moves, on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.moves_suite import MovesContract

from holdfast.catalog.catalog import SQLITE_FILE


class TestMovesOnSqlite(MovesContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / SQLITE_FILE}"
