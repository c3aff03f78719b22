"""Secrets: found when asked for, printed never; and the catalog's address, which may hold one."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import yaml

from holdfast.config.expand import render_document, to_document
from holdfast.config.nodes import Spot
from holdfast.config.secrets import FILE_BYTES_MAX, MASK, Secret
from holdfast.errors import ConfigError

PLAIN = "pools: {a: {type: disk, files_dir: /a}}\n"
BUCKET = "pools: {a: {type: boto3, bucket: {name: b}, auth: {secret_key: SECRET}}}\n"


def secret(text: str, folder: Path = Path("/etc/holdfast")) -> Secret:
    found = Secret.parse(text, folder, Spot("holdfast.yml", 3, "catalog_password"))
    assert found is not None
    return found


class TestReveal:
    def test_a_value_in_clear(self):
        assert secret(" hunter2 ").reveal({}) == "hunter2"
        assert secret("hunter2").reference is None

    def test_a_variable(self):
        assert secret("env:PASSWORD").reveal({"PASSWORD": "hunter2"}) == "hunter2"
        assert secret("env:PASSWORD").reference == "env:PASSWORD"

    def test_the_variables_of_the_process_are_the_default(self, monkeypatch):
        monkeypatch.setenv("HOLDFAST_TEST_PASSWORD", "hunter2")
        assert secret("env:HOLDFAST_TEST_PASSWORD").reveal() == "hunter2"

    @pytest.mark.parametrize("environ", [{}, {"PASSWORD": ""}])
    def test_a_variable_that_is_not_set(self, environ):
        with pytest.raises(ConfigError) as caught:
            secret("env:PASSWORD").reveal(environ)
        (problem,) = caught.value.problems
        assert (problem.file, problem.line, problem.where) == ("holdfast.yml", 3, "catalog_password")
        assert "PASSWORD is not set" in problem.message
        assert "export PASSWORD=" in problem.instead

    def test_a_file_relative_to_the_document(self, tmp_path):
        (tmp_path / "password").write_text("hunter2\n")
        found = secret("file:sub/../password", tmp_path)
        assert found.reveal({}) == "hunter2"
        assert found.reference == f"file:{tmp_path}/password"

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (None, "No such file"),
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"\xff\xff", "not UTF-8"),
            (b"x" * (FILE_BYTES_MAX + 1), "too long"),
        ],
    )
    def test_a_file_that_holds_no_secret(self, tmp_path, data, message):
        if data is not None:
            (tmp_path / "password").write_bytes(data)
        with pytest.raises(ConfigError, match=message):
            secret("file:password", tmp_path).reveal({})

    def test_nothing(self):
        assert Secret.parse("  ", Path("/"), Spot("", 0)) is None


class TestPrinting:
    def test_no_way_of_printing_shows_it(self):
        found = secret("hunter2")
        shown = [str(found), repr(found), f"{found}", f"{found:>40}", repr([found]), repr({"a": found})]
        assert all("hunter2" not in text and MASK in text for text in shown)

    def test_it_is_not_pickled_and_a_copy_is_itself(self):
        found = secret("hunter2")
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(found)
        assert copy.deepcopy(found) is found

    def test_equality(self):
        assert secret("a") == secret("a")
        assert hash(secret("a")) == hash(secret("a"))
        assert secret("a") != secret("b")
        assert secret("a") != "a"

    def test_references_are_shown_and_values_masked(self, desk):
        shown = to_document(desk.read(BUCKET.replace("SECRET", "env:KEY"), environ={"KEY": "hunter2"}))
        assert shown["pools"]["a"]["auth"]["secret_key"] == "env:KEY"
        clear = desk.read(BUCKET.replace("SECRET", "hunter2"))
        assert to_document(clear)["pools"]["a"]["auth"]["secret_key"] == MASK
        assert to_document(clear, secrets="shown")["pools"]["a"]["auth"]["secret_key"] == "hunter2"

    def test_a_masked_document_is_not_taken_for_the_real_one(self, desk):
        masked = render_document(to_document(desk.read(BUCKET.replace("SECRET", "hunter2"))))
        (problem,) = desk.problems(masked)
        assert "is a mask, not the secret" in problem.message
        assert problem.instead == "auth: {secret_key: env:NAME or file:PATH}"

    @pytest.mark.parametrize("wrong", ["[hunter2]", "{hunter2: hunter2}", '"hunter2\\x07"'])
    def test_a_problem_does_not_repeat_a_secret(self, desk, wrong):
        said = "".join(map(str, desk.problems(BUCKET.replace("SECRET", wrong))))
        assert "secret_key" in said
        assert "hunter2" not in said


class TestCatalog:
    def test_sqlite_is_the_default(self, desk):
        for text in ("", "catalog: sqlite\n", "catalog:\n"):
            config = desk.read(PLAIN + text)
            assert (config.catalog_url, config.catalog_password, config.catalog_address({})) == (None, None, None)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("postgresql://holdfast@db/holdfast", "postgresql://holdfast@db/holdfast"),
            ("postgres://db/holdfast", "postgresql://db/holdfast"),
            ("postgresql+psycopg://u@[::1]:5433/h?sslmode=require", "postgresql://u@[::1]:5433/h?sslmode=require"),
            ("postgresql:///holdfast?host=/run/postgresql", "postgresql:///holdfast?host=/run/postgresql"),
        ],
    )
    def test_postgresql(self, desk, url, expected):
        config = desk.read(f"{PLAIN}catalog: '{url}'\n")
        assert config.catalog_url == expected
        assert config.catalog_address({}) == expected
        again = desk.read(render_document(to_document(config)))
        assert again == config

    def test_a_password_from_the_environment(self, desk):
        text = f"{PLAIN}catalog: postgresql://holdfast@db:5432/holdfast\ncatalog_password: env:PG\n"
        config = desk.read(text, environ={"PG": "p@ss/w:rd"})
        assert config.catalog_address({"PG": "p@ss/w:rd"}) == "postgresql://holdfast:p%40ss%2Fw%3Ard@db:5432/holdfast"
        assert "p@ss" not in repr(config)
        with pytest.raises(ConfigError, match="PG is not set"):
            config.catalog_address({})

    def test_a_variable_that_is_not_set_is_said_at_once(self, desk):
        config = desk.read(f"{PLAIN}catalog: postgresql://u@db/h\ncatalog_password: env:PG\n")
        assert [(note.severity, note.line) for note in config.notes] == [("warning", 3)]

    def test_a_password_in_the_address_is_taken_out_of_it(self, desk):
        config = desk.read(f"{PLAIN}catalog: postgresql://u:p%40ss@db/h\n")
        assert config.catalog_url == "postgresql://u@db/h"
        assert config.catalog_password == Secret("p@ss")
        assert config.catalog_address({}) == "postgresql://u:p%40ss@db/h"
        assert "catalog_password: env:NAME" in (config.notes[0].instead or "")
        assert "p@ss" not in render_document(to_document(config)) + repr(config)

    def test_a_reference_in_the_address(self, desk):
        config = desk.read(f"{PLAIN}catalog: postgresql://u:env:PG@db/h\n")
        assert config.catalog_address({"PG": "x"}) == "postgresql://u:x@db/h"
        assert yaml.safe_load(render_document(to_document(config)))["catalog_password"] == "env:PG"

    def test_a_password_without_a_user(self, desk):
        config = desk.read(f"{PLAIN}catalog: postgresql://db/h\ncatalog_password: x\n")
        assert config.catalog_address({}) == "postgresql://:x@db/h"

    def test_a_password_for_sqlite_means_nothing(self, desk):
        config = desk.read(f"{PLAIN}catalog_password: env:PG\n", environ={"PG": "x"})
        assert config.catalog_password is None
        assert "no effect" in config.notes[0].message
