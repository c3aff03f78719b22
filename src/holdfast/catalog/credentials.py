"""Sessions, API tokens and one-time links: rows that prove an account. Only hashes are kept.

Each method works in its caller's transaction; `accounts` decides what a credential is good for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import BindParameter, bindparam, delete, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database

Kind = Literal["session", "token", "link"]

LABEL_CHARS_MAX = 200
HELD_MAX = 200
ID_CHARS = 16
_CREDENTIAL = schema.credential


@dataclass(frozen=True, slots=True)
class Credential:
    """A session, token or link, without its secret. `id` is the beginning of its hash."""

    id: str
    kind: Kind
    label: str
    created_us: int
    used_us: int | None
    expires_us: int | None


class CredentialLedger:
    """Rows of `credential`."""

    def __init__(self, db: Database) -> None:
        which: BindParameter[str] = bindparam("which")
        kind: BindParameter[str] = bindparam("kind")
        columns = (_CREDENTIAL.c.label, _CREDENTIAL.c.created_us, _CREDENTIAL.c.used_us, _CREDENTIAL.c.expires_us)
        mine = (_CREDENTIAL.c.account_id == bindparam("account"), _CREDENTIAL.c.kind == kind)
        self._insert = db.statement(
            insert(_CREDENTIAL), columns=["hash", "account_id", "kind", "label", "created_us", "expires_us"]
        )
        self._find = db.statement(
            select(_CREDENTIAL.c.account_id, *columns).where(_CREDENTIAL.c.hash == which, _CREDENTIAL.c.kind == kind)
        )
        self._use = db.statement(
            update(_CREDENTIAL)
            .where(_CREDENTIAL.c.hash == which)
            .values(used_us=bindparam("now"), expires_us=bindparam("until"))
        )
        self._forget = db.statement(delete(_CREDENTIAL).where(_CREDENTIAL.c.hash == which, _CREDENTIAL.c.kind == kind))
        self._forget_all = db.statement(delete(_CREDENTIAL).where(*mine))
        self._held = db.statement(
            select(_CREDENTIAL.c.hash, *columns).where(*mine).order_by(_CREDENTIAL.c.created_us.desc()).limit(HELD_MAX)
        )
        self._reap = db.statement(delete(_CREDENTIAL).where(_CREDENTIAL.c.expires_us <= bindparam("now")))

    def add(
        self, cursor: Cursor, secret: str, account_id: int, kind: Kind, *, label: str, now_us: int, until_us: int | None
    ) -> None:
        """Let this secret prove that account, until then."""
        self._insert.run(
            cursor,
            {
                "hash": hash_secret(secret), "account_id": account_id, "kind": kind,
                "label": label[:LABEL_CHARS_MAX], "created_us": now_us, "expires_us": until_us,
            },
        )  # fmt: skip

    def find(self, cursor: Cursor, secret: str, kind: Kind, now_us: int) -> tuple[int, Credential] | None:
        """(account id, credential) of a secret that has not expired."""
        hashed = hash_secret(secret)
        row = self._find.one(cursor, {"which": hashed, "kind": kind})
        if row is None:
            return None
        found = Credential(hashed[:ID_CHARS], kind, *row[1:])
        if found.expires_us is not None and found.expires_us <= now_us:
            return None
        return row[0], found

    def use(self, cursor: Cursor, secret: str, now_us: int, until_us: int | None) -> None:
        """It was used now, and lasts until then."""
        self._use.run(cursor, {"which": hash_secret(secret), "now": now_us, "until": until_us})

    def forget(self, cursor: Cursor, secret: str, kind: Kind) -> bool:
        """End it; False if it was not there, or somebody else has just ended it."""
        return self._forget.run(cursor, {"which": hash_secret(secret), "kind": kind}) == 1

    def forget_all(self, cursor: Cursor, account_id: int, kind: Kind) -> None:
        """End all of this kind that an account holds."""
        self._forget_all.run(cursor, {"account": account_id, "kind": kind})

    def forget_id(self, cursor: Cursor, account_id: int, kind: Kind, credential_id: str) -> bool:
        """End one that an account holds; False if it holds none with that id."""
        for hashed, *_ in self._held.all(cursor, {"account": account_id, "kind": kind}):
            if hashed[:ID_CHARS] == credential_id:
                return self._forget.run(cursor, {"which": hashed, "kind": kind}) == 1
        return False

    def held(self, cursor: Cursor, account_id: int, kind: Kind) -> list[Credential]:
        """What an account holds of this kind, newest first, `HELD_MAX` at most."""
        rows = self._held.all(cursor, {"account": account_id, "kind": kind})
        return [Credential(row[0][:ID_CHARS], kind, *row[1:]) for row in rows]

    def reap(self, cursor: Cursor, now_us: int) -> int:
        """Take away what has expired; how many."""
        return self._reap.run(cursor, {"now": now_us})


def hash_secret(secret: str) -> str:
    """What is stored of a secret that we drew: it has 256 random bits, so one plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
