"""The catalog holds password hashes: nobody else on the machine reads it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast


@pytest.fixture
def document(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    written = tmp_path / "holdfast.yml"
    written.write_text(f"state_dir: {tmp_path}/state\npools:\n  data: {{type: disk, files_dir: {tmp_path}/data}}\n")
    before = os.umask(0o022)
    yield written
    os.umask(before)


def modes(document: Path) -> dict[str, str]:
    state = document.parent / "state"
    return {path.name: f"{path.stat().st_mode & 0o777:o}" for path in (state, *state.glob("catalog.sqlite*"))}


def test_a_new_one_is_its_owners_alone(document: Path, caplog: pytest.LogCaptureFixture):
    with holdfast.open(document) as hold:
        hold.put(b"x", name="first")
        assert modes(document) == {
            "state": "700", "catalog.sqlite": "600", "catalog.sqlite-wal": "600", "catalog.sqlite-shm": "600",
        }  # fmt: skip
    assert caplog.text == ""


def test_one_that_others_may_read_is_closed_with_a_warning(document: Path, caplog: pytest.LogCaptureFixture):
    (document.parent / "state").mkdir(mode=0o755)
    with holdfast.open(document) as hold:
        hold.put(b"x", name="first")
    state = document.parent / "state"
    state.chmod(0o755)
    (state / "catalog.sqlite").chmod(0o644)
    with caplog.at_level(logging.WARNING), holdfast.open(document) as hold:
        assert hold.find(1).name == "first"
    assert (modes(document)["state"], modes(document)["catalog.sqlite"]) == ("700", "600")
    assert f"{state} could be read by others (mode 755); it is 700 now" in caplog.text
    assert "catalog.sqlite could be read by others (mode 644); it is 600 now" in caplog.text
    assert len(caplog.records) == 2, "its log, made afterwards, has the same rights"


def test_a_group_that_works_with_it_keeps_its_rights(document: Path):
    with holdfast.open(document) as hold:
        hold.put(b"x", name="first")
    state = document.parent / "state"
    state.chmod(0o2775)
    (state / "catalog.sqlite").chmod(0o664)
    with holdfast.open(document):
        pass
    assert (modes(document)["state"], modes(document)["catalog.sqlite"]) == ("770", "660")
    assert state.stat().st_mode & 0o2000, "what is made in it still belongs to the group"
