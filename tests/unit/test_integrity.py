"""How old the oldest verification is, per pool, and whether the target is met: in the hold, on the command line, in
the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.hold_kit import make_hold
from tests.unit.told import run

from holdfast.catalog.database import Statement
from holdfast.cli.main import main
from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.operations.runner import Operations
from holdfast.server.pages.integrity import Said, integrity_of, scrubs_of

DAY_S = 86_400
DOCUMENT = """\
placement: hierarchical
state_dir: state
integrity: {verify_every: 90 days}
pools:
  a: {type: disk, files_dir: a, integrity: {verify_every: 7 days}}
  b: {type: disk, files_dir: b}
"""


def set_column(hold, column: str, dataset_id: int, days_ago: float | None) -> None:
    at = "NULL" if days_ago is None else str(hold.clock.now_us() - int(days_ago * DAY_S * 1_000_000))
    with hold.catalog.db.write() as cursor:
        cursor.execute(f"UPDATE replica SET {column} = {at} WHERE dataset_id = {dataset_id}")


@pytest.fixture
def hold(tmp_path: Path):
    (tmp_path / "holdfast.yml").write_text(DOCUMENT)
    with open_hold(read_document(tmp_path / "holdfast.yml", environ={})) as made:
        yield made


def test_the_oldest_verification_against_the_target(hold):
    assert hold.pool("a").integrity.oldest_s is None
    assert hold.pool("a").integrity.is_met
    for n in range(3):
        hold.put(b"x" * (n + 1), name=str(n), pool="a")
    hold.put(b"b", name="b", pool="b")
    set_column(hold, "verified_us", 1, 6)
    now = hold.pool("a").integrity
    assert (round(now.oldest_s / DAY_S, 3), now.target_s, now.is_met, now.overdue) == (6, 7 * DAY_S, True, 0)
    set_column(hold, "verified_us", 1, 8)
    set_column(hold, "verified_us", 2, 20)
    now = hold.pool("a").integrity
    assert (round(now.oldest_s / DAY_S, 3), now.is_met, now.overdue, now.overdue_bytes) == (20, False, 2, 3)
    other = hold.pool("b").integrity
    assert (other.target_s, other.is_met, other.overdue) == (90 * DAY_S, True, 0)
    run(hold, "scrub", older_than_s=7 * DAY_S)
    now = hold.pool("a").integrity
    assert (now.is_met, now.overdue) == (True, 0)
    assert now.oldest_s < 3600


def test_what_was_never_verified_counts_from_when_it_was_recorded(hold):
    for n in range(2):
        hold.put(b"bytes", name=str(n), pool="a")
    set_column(hold, "verified_us", 1, None)
    set_column(hold, "verified_us", 2, None)
    set_column(hold, "created_us", 1, 3)
    now = hold.pool("a").integrity
    assert (round(now.oldest_s / DAY_S, 3), now.never, now.is_met) == (3, 2, True)
    set_column(hold, "created_us", 1, 10)
    now = hold.pool("a").integrity
    assert (round(now.oldest_s / DAY_S, 3), now.never, now.is_met) == (10, 2, False)
    assert (now.overdue, now.overdue_bytes) == (1, 5)


def test_damaged_and_missing_ones_are_counted_apart(hold, tmp_path: Path):
    for n in range(3):
        hold.put(b"bytes", name=str(n), pool="a")
    (tmp_path / "a/000/dataset_1.dat").write_bytes(b"BYTES")
    (tmp_path / "a/000/dataset_2.dat").unlink()
    run(hold, "scrub")
    shape = hold.pool("a").to_json()["integrity"]
    assert (shape["damaged"], shape["missing"], shape["target_met"], shape["at_least"]) == (1, 1, True, False)
    assert shape["oldest_verified"].endswith("Z")


def test_it_costs_one_query_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with make_hold(tmp_path, {name: {} for name in "abcd"}) as hold:
        asked: list[str] = []
        one = Statement.one

        def count(self, cursor, parameters):
            asked.append(self.text)
            return one(self, cursor, parameters)

        monkeypatch.setattr(Statement, "one", count)
        hold.pools()
        assert len([text for text in asked if "overdue" in text]) == 4


def test_the_command_line_says_it(hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    hold.put(b"x" * 2048, name="x", pool="a")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return " ".join(capsys.readouterr().out.split())

    table = call("pools")
    assert "VERIFIED" in table
    assert "(target: 7 days)" in table
    set_column(hold, "verified_us", 1, 21)
    assert "Verified 21 days ago, LATE: 2.0 KiB older than 7 days" in call("pool", "show", "a")
    shapes = json.loads(call("pools", "--json"))
    assert [shape["integrity"]["target_met"] for shape in shapes] == [False, True]


def test_the_pools_page_is_quiet_or_loud(hold, tmp_path: Path):
    def said(pool: str) -> Said | None:
        return integrity_of(hold.pool(pool), scrubs_of(Operations(hold).list()))

    assert said("a") is None
    for n in range(2):
        hold.put(b"x" * 2048, name=str(n), pool="a")
    quiet = said("a")
    assert (quiet.alarm, quiet.found, quiet.scrub_id) == ("", "", None)
    assert "(target: 7\N{NO-BREAK SPACE}days)" in quiet.line
    (tmp_path / "a/000/dataset_2.dat").write_bytes(b"other")
    operations = Operations(hold)
    operations.run(operations.submit("scrub", {"pool": "b"}).id)
    scrub = operations.run(operations.submit("scrub", {"pool": "a"}).id)
    set_column(hold, "verified_us", 1, 12)
    loud = said("a")
    assert "Not verified in time: 1\N{NO-BREAK SPACE}dataset" in loud.alarm
    assert "the oldest 12\N{NO-BREAK SPACE}days ago" in loud.alarm
    assert loud.found == "1\N{NO-BREAK SPACE}dataset damaged here, and not repaired."
    assert (loud.scrub_id, loud.scrub_words) == (scrub.id, "1 verified, 1 damaged")
