"""Accounts, and what proves that one is somebody: passwords, sessions, API tokens, one-time links.

    accounts = Accounts(db, clock, entropy)
    accounts.create("alice@example.org", is_admin=True)
    link = accounts.new_link("alice@example.org")

Promises: only hashes are stored (argon2id for passwords, SHA-256 for secrets that we drew ourselves); a link
works once; what belongs to an account that was switched off proves nothing; the last administrator stays
one. A password that is checked for an unknown e-mail address takes as long as for a known one.

Does not do: cookies, headers, pages.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, bindparam, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.credentials import Credential, CredentialLedger, Kind
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.passwords import hash_password, is_password
from holdfast.errors import AlreadyExists, Blocked, InvalidKey, NotFound
from holdfast.seams import Clock, Entropy

EMAIL_CHARS_MAX = 254
SECRET_BYTES = 32
LINK_LASTS_S = 24 * 3600
SESSION_LASTS_S = 14 * 86_400  # since it was last used
SESSION_LASTS_MAX_S = 90 * 86_400  # since it began
TOKEN_PREFIX = "hf_"  # noqa: S105 - lets scanners recognise a token that was published by mistake
USED_STEP_S = 3600  # how exactly the last use is remembered
_ENDED_BY_PASSWORD: tuple[Kind, ...] = ("session", "link")
_US = 1_000_000
_ACCOUNT = schema.account
_SEQUENCE = schema.sequence


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


@dataclass(frozen=True, slots=True)
class Proof:
    """An account that was proved, and by which credential. `renewed`: a session's end has just moved on."""

    account: Account
    credential: Credential
    renewed: bool = False


class Accounts:
    """Rows of `account`, and what proves them. Safe from many threads and processes."""

    def __init__(self, db: Database, clock: Clock, entropy: Entropy) -> None:
        self._db = db
        self._clock = clock
        self._entropy = entropy
        self._credentials = CredentialLedger(db)
        self._compile()

    # -- accounts -----------------------------------------------------------------------------------------

    def create(
        self,
        email: str,
        *,
        password: str | None = None,
        is_admin: bool = False,
        preferred_pool: str | None = None,
    ) -> Account:
        """A new account. `AlreadyExists` if the address has one, `InvalidKey` if it is no address."""
        email = check_email(email)
        hashed = None if password is None else hash_password(password)
        with self._db.write() as cursor:
            if self._by_email.one(cursor, {"which": email}) is not None:
                raise AlreadyExists(f"{email} has an account already; change it with: holdfast user set {email}")
            account_id: int = self._next_id.one(cursor, {"name": "account", "next": 2})[0] - 1
            self._insert.run(
                cursor,
                {
                    "id": account_id, "email": email, "password_hash": hashed, "is_admin": int(is_admin),
                    "active": 1, "preferred_pool": preferred_pool, "created_us": self._clock.now_us(),
                },
            )  # fmt: skip
            return self._require(cursor, account_id)

    def find(self, account_id: int) -> Account:
        """By id; `NotFound`."""
        with self._db.read() as cursor:
            return self._require(cursor, account_id)

    def find_email(self, email: str) -> Account:
        """By e-mail address, in any case; `NotFound`."""
        with self._db.read() as cursor:
            return self._require_email(cursor, email)

    def accounts(self, *, limit: int = 50, after: int | None = None) -> list[Account]:
        """Accounts in the order of their ids, those after the id `after`."""
        with self._db.read() as cursor:
            return [_account(row) for row in self._page.all(cursor, {"after": after or 0, "limit": limit})]

    def has_any(self) -> bool:
        """Whether there is an account at all; without one, nobody can sign in."""
        return bool(self.accounts(limit=1))

    def set_password(self, email: str, password: str | None) -> Account:
        """Set the password (None: only links and tokens). Ends the account's sessions and links."""
        hashed = None if password is None else hash_password(password)
        with self._db.write() as cursor:
            account = self._require_email(cursor, email)
            self._set_password.run(cursor, {"which": account.id, "new_hash": hashed})
            for kind in _ENDED_BY_PASSWORD:
                self._credentials.forget_all(cursor, account.id, kind)
            return self._require(cursor, account.id)

    def grant_admin(self, email: str) -> Account:
        """Make somebody an administrator."""
        return self._change(email, self._set_admin, {"new_admin": 1})

    def revoke_admin(self, email: str) -> Account:
        """Make somebody an ordinary user; `Blocked` for the last administrator."""
        return self._change(email, self._set_admin, {"new_admin": 0}, unless_last=True)

    def activate(self, email: str) -> Account:
        """Let somebody in again."""
        return self._change(email, self._set_active, {"new_active": 1})

    def deactivate(self, email: str) -> Account:
        """Lock somebody out at once, keeping what they own; `Blocked` for the last administrator."""
        return self._change(email, self._set_active, {"new_active": 0}, unless_last=True)

    def prefer_pool(self, email: str, object_store_id: str | None) -> Account:
        """Which pool somebody's new datasets ask for; None for the tree's own choice."""
        return self._change(email, self._set_pool, {"new_pool": object_store_id})

    # -- what proves it -----------------------------------------------------------------------------------

    def check_password(self, email: str, password: str) -> Account | None:
        """The account, if it is active and this is its password. Takes the same time whatever is wrong."""
        try:
            wanted = check_email(email)
        except InvalidKey:
            wanted = ""
        with self._db.read() as cursor:
            row = self._by_email.one(cursor, {"which": wanted})
        hashed = None if row is None else row[4]
        right = is_password(hashed, password)
        if not right or row is None:
            return None
        account = _account(row)
        return account if account.active else None

    def new_token(self, email: str, *, label: str = "", expires_s: int | None = None) -> str:
        """A new API token. Its text is only here, never again."""
        return self._issue(email, "token", label, expires_s)

    def new_link(self, email: str, *, expires_s: int = LINK_LASTS_S) -> str:
        """The secret of a link that signs in once: `<server>/sign-in/<secret>`. Earlier links end."""
        return self._issue(email, "link", "", expires_s)

    def new_session(self, email: str, *, label: str = "", expires_s: int = SESSION_LASTS_S) -> str:
        """A new session's secret, for its cookie. `expires_s` counts from its last use."""
        return self._issue(email, "session", label, expires_s)

    def prove(self, secret: str, kind: Kind, *, lasts_s: int = SESSION_LASTS_S) -> Proof | None:
        """Whose secret this is, if it is good. A session that is used lasts longer, within its bound."""
        now_us = self._clock.now_us()
        with self._db.read() as cursor:
            found = self._credentials.find(cursor, secret, kind, now_us)
            account = None if found is None else self._find(cursor, found[0])
        if found is None or account is None or not account.active:
            return None
        credential = found[1]
        until_us, renewed = credential.expires_us, False
        if kind == "session" and until_us is not None:
            bound_us = credential.created_us + SESSION_LASTS_MAX_S * _US
            wanted_us = min(now_us + lasts_s * _US, bound_us)
            renewed = wanted_us - until_us > lasts_s * _US // 20
            until_us = wanted_us if renewed else until_us
        is_stale = credential.used_us is None or now_us - credential.used_us > USED_STEP_S * _US
        if renewed or (is_stale and kind != "link"):
            with self._db.write() as cursor:
                self._credentials.use(cursor, secret, now_us, until_us)
        return Proof(account, credential, renewed)

    def redeem(self, secret: str) -> Account | None:
        """Whose one-time link this was, if it was good. It is good no more, whoever else holds it."""
        with self._db.write() as cursor:
            found = self._credentials.find(cursor, secret, "link", self._clock.now_us())
            if found is None or not self._credentials.forget(cursor, secret, "link"):
                return None
            account = self._find(cursor, found[0])
        return account if account is not None and account.active else None

    def end_session(self, secret: str) -> None:
        """Sign out. Idempotent."""
        with self._db.write() as cursor:
            self._credentials.forget(cursor, secret, "session")

    def credentials(self, email: str, kind: Kind = "token") -> list[Credential]:
        """What somebody holds of this kind, newest first (at most 200)."""
        with self._db.read() as cursor:
            return self._credentials.held(cursor, self._require_email(cursor, email).id, kind)

    def revoke(self, email: str, credential_id: str, kind: Kind = "token") -> None:
        """End one token or session of somebody's; `NotFound`."""
        with self._db.write() as cursor:
            account = self._require_email(cursor, email)
            if not self._credentials.forget_id(cursor, account.id, kind, credential_id):
                raise NotFound(f"{email} has no {kind} {credential_id[:40]}")

    def reap(self) -> int:
        """Take away what has expired; the number of rows."""
        with self._db.write() as cursor:
            return self._credentials.reap(cursor, self._clock.now_us())

    # -- inside -------------------------------------------------------------------------------------------

    def _issue(self, email: str, kind: Kind, label: str, expires_s: int | None) -> str:
        secret = (TOKEN_PREFIX if kind == "token" else "") + self._entropy.token(SECRET_BYTES)
        now_us = self._clock.now_us()
        until_us = None if expires_s is None else now_us + expires_s * _US
        with self._db.write() as cursor:
            account = self._require_email(cursor, email)
            if kind == "link":
                self._credentials.forget_all(cursor, account.id, kind)
            self._credentials.add(cursor, secret, account.id, kind, label=label, now_us=now_us, until_us=until_us)
        return secret

    def _change(self, email: str, statement: Any, values: Mapping[str, Any], *, unless_last: bool = False) -> Account:
        with self._db.write() as cursor:
            account = self._require_email(cursor, email)
            if unless_last and account.is_admin and account.active:
                admins = self._admins.all(cursor, {})
                if all(admin_id == account.id for (admin_id,) in admins):
                    raise Blocked(
                        f"{account.email} is the last administrator; make somebody else one first: "
                        "holdfast user set EMAIL --admin"
                    )
            statement.run(cursor, {"which": account.id, **values})
            return self._require(cursor, account.id)

    def _find(self, cursor: Cursor, account_id: int) -> Account | None:
        row = self._by_id.one(cursor, {"which": account_id})
        return None if row is None else _account(row)

    def _require(self, cursor: Cursor, account_id: int) -> Account:
        found = self._find(cursor, account_id)
        if found is None:
            raise NotFound(f"there is no account {account_id}")
        return found

    def _require_email(self, cursor: Cursor, email: str) -> Account:
        row = self._by_email.one(cursor, {"which": check_email(email)})
        if row is None:
            raise NotFound(f"{email} has no account; make one with: holdfast user add {email}")
        return _account(row)

    def _compile(self) -> None:
        db = self._db
        account = select(*_COLUMNS)
        which: BindParameter[Any] = bindparam("which")
        self._by_id = db.statement(account.where(_ACCOUNT.c.id == which))
        self._by_email = db.statement(account.where(_ACCOUNT.c.email == which))
        self._page = db.statement(
            account.where(_ACCOUNT.c.id > bindparam("after"))
            .order_by(_ACCOUNT.c.id)
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


_COLUMNS = (
    _ACCOUNT.c.id, _ACCOUNT.c.email, _ACCOUNT.c.is_admin, _ACCOUNT.c.active, _ACCOUNT.c.password_hash,
    _ACCOUNT.c.preferred_pool, _ACCOUNT.c.created_us, _ACCOUNT.c.preferences,
)  # fmt: skip


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
