"""The laboratory as a fixture."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cli.lab import Lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    for name in list(os.environ):
        if name.startswith("HOLDFAST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path, capsys)
