"""user and token: what is printed once, and what it opens."""

from __future__ import annotations

import sqlite3

import pytest
from tests.cli.lab import Lab

import holdfast
from holdfast.cli.commands.accounts import accounts_of

ALICE = "alice@example.org"


def proved(lab: Lab, secret: str, kind: str) -> bool:
    with holdfast.open(lab.home / "holdfast.yml") as hold:
        return accounts_of(hold).prove(secret, kind) is not None


def password_opens(lab: Lab, password: str) -> bool:
    with holdfast.open(lab.home / "holdfast.yml") as hold:
        return accounts_of(hold).check_password(ALICE, password) is not None


def test_user_add_prints_a_link_that_signs_in_once(lab: Lab):
    shape = lab.json("user", "add", "Alice@Example.org", "--admin")
    assert (shape["email"], shape["is_admin"], shape["has_password"]) == (ALICE, True, False)
    address, _, secret = shape["link"].rpartition("/sign-in/")
    assert address == "http://127.0.0.1:8080"
    with holdfast.open(lab.home / "holdfast.yml") as hold:
        assert accounts_of(hold).redeem(secret).email == ALICE
        assert accounts_of(hold).redeem(secret) is None
    assert secret.encode() not in (lab.home / "state/catalog.sqlite").read_bytes()


def test_user_add_with_a_password(lab: Lab):
    answer = lab.program("user", "add", ALICE, "--password-stdin", "--json", stdin=b"correct horse battery\n")
    assert answer.code == 0
    assert "link" not in answer.json
    assert password_opens(lab, "correct horse battery")
    assert "correct horse" not in answer.out + answer.err


@pytest.mark.parametrize("stdin", [b"", b"\n", b"short\n"])
def test_user_add_refuses_bad_passwords(lab: Lab, stdin):
    lab.begin()
    answer = lab.program("user", "add", ALICE, "--password-stdin", stdin=stdin)
    assert answer.code == 2
    assert lab.json("user", "ls") == []


def test_user_add_twice_is_a_conflict(lab: Lab):
    lab.json("user", "add", ALICE)
    assert lab.call("user", "add", ALICE.upper()).code == 8
    assert lab.call("user", "add", "no address").code == 2


def test_user_ls(lab: Lab):
    lab.begin()
    assert "holdfast user add" in lab.call("user", "ls").out
    lab.json("user", "add", ALICE, "--admin")
    lab.json("user", "add", "bob@example.org")
    assert [shape["email"] for shape in lab.json("user", "ls")] == [ALICE, "bob@example.org"]
    assert "administrator" in lab.call("user", "ls").out.splitlines()[1]


def test_user_set(lab: Lab):
    lab.json("user", "add", ALICE, "--admin")
    lab.json("user", "add", "bob@example.org")
    assert lab.json("user", "set", "bob@example.org", "--admin", "--pool", "olddata")["preferred_pool"] == "olddata"
    assert lab.json("user", "set", ALICE, "--no-admin")["is_admin"] is False
    assert lab.json("user", "set", ALICE, "--no-active")["active"] is False
    assert lab.json("user", "set", ALICE, "--active")["active"] is True
    assert lab.json("user", "set", "bob@example.org", "--pool", "")["preferred_pool"] is None
    assert "/sign-in/" in lab.json("user", "set", ALICE, "--link")["link"]
    assert lab.program("user", "set", ALICE, "--password-stdin", stdin=b"another long one\n").code == 0
    assert password_opens(lab, "another long one")


def test_user_set_refuses(lab: Lab):
    lab.json("user", "add", ALICE, "--admin")
    assert lab.call("user", "set", ALICE).code == 2
    assert lab.call("user", "set", "nobody@example.org", "--admin").code == 3
    assert lab.call("user", "set", ALICE, "--pool", "nopool").code == 3
    answer = lab.call("user", "set", ALICE, "--no-active")
    assert answer.code == 8
    assert "last administrator" in answer.err


def test_token_new(lab: Lab):
    lab.json("user", "add", ALICE)
    token = lab.json("token", "new", ALICE, "--label", "backup")["token"]
    assert proved(lab, token, "token")
    plain = lab.call("token", "new", ALICE)
    assert plain.out.strip() != token
    assert proved(lab, plain.out.strip(), "token")
    expired = lab.json("token", "new", ALICE, "--expires", "0s")["token"]
    assert not proved(lab, expired, "token")
    with sqlite3.connect(lab.home / "state/catalog.sqlite") as database:
        kept = database.execute("SELECT hash, label FROM credential WHERE kind = 'token'").fetchall()
    assert len(kept) == 3
    assert all(token not in row for row in kept)


def test_token_new_for_nobody(lab: Lab):
    lab.begin()
    assert lab.call("token", "new", ALICE).code == 3
    lab.json("user", "add", ALICE)
    assert lab.call("token", "new", ALICE, "--expires", "soon").code == 2
