"""The golden pairs of tests/formats/config: every spelling of a configuration means the same tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from holdfast.config.expand import render_document, to_document
from holdfast.config.read import read_document
from holdfast.errors import Problem

CASES = Path(__file__).resolve().parents[2] / "formats" / "config"
STATE = Path("/var/lib/holdfast")
WRITE = os.environ.get("HOLDFAST_WRITE_GOLDEN") == "1"
SPELLINGS = sorted(
    path.relative_to(CASES).as_posix()
    for path in CASES.glob("*/*.*")
    if path.suffix in (".xml", ".yml") and path.name != "expanded.yml"
)


def read(name: str):
    path = CASES / name
    return read_document(Path(path.name), environ={}, state=STATE, cwd=path.parent)


def shown(problem: Problem, folder: Path) -> str:
    return f"{problem.severity}: {problem}".replace(str(folder), "FOLDER")


def compare(path: Path, text: str):
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    if WRITE and text != expected:
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was written: look at it, and run without HOLDFAST_WRITE_GOLDEN")
    assert text == expected


def test_there_are_golden_pairs():
    assert len({name.split("/")[0] for name in SPELLINGS}) >= 8
    for case in ("tutorial-hierarchical", "tutorial-distributed", "tutorial-s3"):
        assert f"{case}/object_store_conf.xml" in SPELLINGS


@pytest.mark.parametrize("name", SPELLINGS)
def test_it_means_what_is_expanded(name: str):
    folder = (CASES / name).parent
    text = render_document(to_document(read(name), secrets="shown")).replace(str(folder), "FOLDER")
    compare(folder / "expanded.yml", text)


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_is_said_about_it(name: str):
    path = CASES / name
    notes = "".join(f"{shown(note, path.parent)}\n" for note in read(name).notes)
    compare(path.with_name(f"{path.name}.notes.txt"), notes)


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_is_expanded_reads_as_the_same(name: str, tmp_path: Path):
    config = read(name)
    copy = tmp_path / "again.yml"
    copy.write_text(render_document(to_document(config, secrets="shown")), encoding="utf-8")
    again = read_document(copy, environ={}, cwd=tmp_path)
    assert again == config
    assert render_document(to_document(again, secrets="shown")) == copy.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SPELLINGS)
def test_no_secret_is_shown_unless_asked_for(name: str):
    config = read(name)
    for text in (render_document(to_document(config)), repr(config), str(config)):
        assert "my-super-extra-top-secret-key" not in text
        for secret in secrets_of(to_document(config, secrets="shown")):
            if not secret.startswith(("env:", "file:")):
                assert f": {secret}\n" not in text


def secrets_of(node: object, name: str = ""):
    """The values under names that mean a secret, from the document in clear."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from secrets_of(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from secrets_of(value)
    elif name in {"access_key", "secret_key", "password", "account_key", "access_token", "token"}:
        yield str(node)


def test_the_expanded_document_is_plain_yaml():
    for path in CASES.glob("*/expanded.yml"):
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) >= {"pools", "server", "jobs", "catalog"}
