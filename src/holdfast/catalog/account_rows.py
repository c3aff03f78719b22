"""Accounts as rows: who there is, found and changed within somebody's transaction. `accounts` is what callers hold."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, bindparam, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database
from holdfast.errors import AlreadyExists, Blocked, InvalidKey, NotFound

EMAIL_CHARS_MAX = 254
_ACCOUNT = schema.account
_SEQUENCE = schema.sequence
_COLUMNS = (
    _ACCOUNT.c.id, _ACCOUNT.c.email, _ACCOUNT.c.is_admin, _ACCOUNT.c.active, _ACCOUNT.c.password_hash,
    _ACCOUNT.c.preferred_pool, _ACCOUNT.c.created_us, _ACCOUNT.c.preferences,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in. `email` is lower case and is what a dataset's `owner` holds."""

    id: int
    email: str
    is_admin: bool
    active: bool
    has_password: bool
    preferred_pool: str | None
    created_us: int
    preferences: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The account for JSON answers, times in microseconds."""
        return {
            "id": self.id, "email": self.email, "is_admin": self.is_admin, "active": self.active,
            "has_password": self.has_password, "preferred_pool": self.preferred_pool,
            "created_us": self.created_us,
        }  # fmt: skip


class AccountRows:
    """Rows of `account`. Everything happens within a transaction of the caller's."""

    def __init__(self, db: Database) -> None:
        self._compile(db)

    def add(
        self, cursor: Cursor, email: str, password_hash: str | None, *, is_admin: bool, preferred_pool: str | None,
        now_us: int,
    ) -> Account:  # fmt: skip
        """A new one. `AlreadyExists` if the address has one."""
        if self._by_email.one(cursor, {"which": email}) is not None:
            raise AlreadyExists(f"{email} has an account already; change it with: holdfast user set {email}")
        account_id: int = self._next_id.one(cursor, {"name": "account", "next": 2})[0] - 1
        self._insert.run(
            cursor,
            {
                "id": account_id, "email": email, "password_hash": password_hash, "is_admin": int(is_admin),
                "active": 1, "preferred_pool": preferred_pool, "created_us": now_us,
            },
        )  # fmt: skip
        return self.require(cursor, account_id)

    def page(self, cursor: Cursor, after: int, limit: int) -> list[Account]:
        """In the order of their ids, those after the id `after`."""
        return [_account(row) for row in self._page.all(cursor, {"after": after, "limit": limit})]

    def page_before(self, cursor: Cursor, before: int, limit: int) -> list[Account]:
        """Those before the id `before`, the last of them first."""
        return [_account(row) for row in self._page_before.all(cursor, {"before": before, "limit": limit})]

    def find(self, cursor: Cursor, account_id: int) -> Account | None:
        """By id."""
        row = self._by_id.one(cursor, {"which": account_id})
        return None if row is None else _account(row)

    def require(self, cursor: Cursor, account_id: int) -> Account:
        """By id; `NotFound`."""
        found = self.find(cursor, account_id)
        if found is None:
            raise NotFound(f"there is no account {account_id}")
        return found

    def require_email(self, cursor: Cursor, email: str) -> Account:
        """By e-mail address, in any case; `NotFound`."""
        row = self._by_email.one(cursor, {"which": check_email(email)})
        if row is None:
            raise NotFound(f"{email} has no account; make one with: holdfast user add {email}")
        return _account(row)

    def with_hash(self, cursor: Cursor, email: str) -> tuple[Account | None, str | None]:
        """The account of an address as it is kept, and the hash of its password."""
        row = self._by_email.one(cursor, {"which": email})
        return (None, None) if row is None else (_account(row), row[4])

    def set_password(self, cursor: Cursor, account_id: int, password_hash: str | None) -> None:
        """None: no password."""
        self._set_password.run(cursor, {"which": account_id, "new_hash": password_hash})

    def set_admin(self, cursor: Cursor, account: Account, value: int) -> Account:
        """1 or 0. `Blocked` for the last administrator."""
        return self._change(cursor, account, self._set_admin, {"new_admin": value}, leaves=not value)

    def set_active(self, cursor: Cursor, account: Account, value: int) -> Account:
        """1 or 0. `Blocked` for the last administrator."""
        return self._change(cursor, account, self._set_active, {"new_active": value}, leaves=not value)

    def set_pool(self, cursor: Cursor, account: Account, object_store_id: str | None) -> Account:
        """Which pool is preferred."""
        return self._change(cursor, account, self._set_pool, {"new_pool": object_store_id}, leaves=False)

    def _change(
        self, cursor: Cursor, account: Account, statement: Any, values: Mapping[str, Any], *, leaves: bool
    ) -> Account:
        if leaves and account.is_admin and account.active:
            admins = self._admins.all(cursor, {})
            if all(admin_id == account.id for (admin_id,) in admins):
                raise Blocked(
                    f"{account.email} is the last administrator; make somebody else one first: "
                    "holdfast user set EMAIL --admin"
                )
        statement.run(cursor, {"which": account.id, **values})
        return self.require(cursor, account.id)

    def _compile(self, db: Database) -> None:
        account = select(*_COLUMNS)
        which: BindParameter[Any] = bindparam("which")
        self._by_id = db.statement(account.where(_ACCOUNT.c.id == which))
        self._by_email = db.statement(account.where(_ACCOUNT.c.email == which))
        self._page = db.statement(
            account.where(_ACCOUNT.c.id > bindparam("after"))
            .order_by(_ACCOUNT.c.id)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        self._page_before = db.statement(
            account.where(_ACCOUNT.c.id < bindparam("before"))
            .order_by(_ACCOUNT.c.id.desc())
            .limit(bindparam("limit", type_=schema.Whole))
        )
        sequence = db.upsert(_SEQUENCE)
        self._next_id = db.statement(
            sequence.on_conflict_do_update(
                index_elements=[_SEQUENCE.c.name], set_={"next": _SEQUENCE.c.next + 1}
            ).returning(_SEQUENCE.c.next),
            columns=["name", "next"],
        )
        self._insert = db.statement(
            insert(_ACCOUNT),
            columns=["id", "email", "password_hash", "is_admin", "active", "preferred_pool", "created_us"],
        )
        change = update(_ACCOUNT).where(_ACCOUNT.c.id == which)
        self._set_password = db.statement(change.values(password_hash=bindparam("new_hash")))
        self._set_admin = db.statement(change.values(is_admin=bindparam("new_admin")))
        self._set_active = db.statement(change.values(active=bindparam("new_active")))
        self._set_pool = db.statement(change.values(preferred_pool=bindparam("new_pool")))
        # locked in one order, so that of two who leave at the same time the second sees that the first has left
        self._admins = db.statement(
            select(_ACCOUNT.c.id)
            .where(_ACCOUNT.c.is_admin == 1, _ACCOUNT.c.active == 1)
            .order_by(_ACCOUNT.c.id)
            .with_for_update()
        )


def check_email(email: str) -> str:
    """`email` as it is kept: trimmed, lower case; `InvalidKey` if it cannot be an address."""
    text = unicodedata.normalize("NFC", email.strip()).lower()
    name, at, host = text.rpartition("@")
    printable = text.isprintable() and not any(char.isspace() for char in text)
    if not (name and at and host and printable and len(text) <= EMAIL_CHARS_MAX):
        raise InvalidKey(f"{email[:EMAIL_CHARS_MAX]!r} is no e-mail address; write one like alice@example.org")
    return text


def _account(row: Any) -> Account:
    account_id, email, is_admin, active, password_hash, preferred_pool, created_us, preferences = row
    return Account(
        id=account_id,
        email=email,
        is_admin=bool(is_admin),
        active=bool(active),
        has_password=password_hash is not None,
        preferred_pool=preferred_pool,
        created_us=created_us,
        preferences=json.loads(preferences),
    )
