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

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from holdfast.catalog.account_rows import Account, AccountRows, check_email
from holdfast.catalog.credentials import Credential, CredentialLedger, Kind
from holdfast.catalog.database import Cursor, Database
from holdfast.catalog.passwords import hash_password, is_password
from holdfast.errors import InvalidKey, NotFound
from holdfast.seams import Clock, Entropy

__all__ = ["Account", "Accounts", "Proof"]

V = TypeVar("V")
SECRET_BYTES = 32
LINK_LASTS_S = 24 * 3600
SESSION_LASTS_S = 14 * 86_400  # since it was last used
SESSION_LASTS_MAX_S = 90 * 86_400  # since it began
TOKEN_PREFIX = "hf_"  # noqa: S105 - lets scanners recognise a token that was published by mistake
USED_STEP_S = 3600  # how exactly the last use is remembered
_ENDED_BY_PASSWORD: tuple[Kind, ...] = ("session", "link")
_US = 1_000_000


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
        self._rows = AccountRows(db)

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
            return self._rows.add(
                cursor, email, hashed, is_admin=is_admin, preferred_pool=preferred_pool, now_us=self._clock.now_us()
            )

    def find(self, account_id: int) -> Account:
        """By id; `NotFound`."""
        with self._db.read() as cursor:
            return self._rows.require(cursor, account_id)

    def find_email(self, email: str) -> Account:
        """By e-mail address, in any case; `NotFound`."""
        with self._db.read() as cursor:
            return self._rows.require_email(cursor, email)

    def accounts(self, *, limit: int = 50, after: int | None = None) -> list[Account]:
        """Accounts in the order of their ids, those after the id `after`."""
        with self._db.read() as cursor:
            return self._rows.page(cursor, after or 0, limit)

    def accounts_before(self, account_id: int, *, limit: int = 50) -> list[Account]:
        """Accounts with smaller ids, the last of them first."""
        with self._db.read() as cursor:
            return self._rows.page_before(cursor, account_id, limit)

    def has_any(self) -> bool:
        """Whether there is an account at all; without one, nobody can sign in."""
        return bool(self.accounts(limit=1))

    def set_password(self, email: str, password: str | None) -> Account:
        """Set the password (None: only links and tokens). Ends the account's sessions and links."""
        hashed = None if password is None else hash_password(password)
        with self._db.write() as cursor:
            account = self._rows.require_email(cursor, email)
            self._rows.set_password(cursor, account.id, hashed)
            for kind in _ENDED_BY_PASSWORD:
                self._credentials.forget_all(cursor, account.id, kind)
            return self._rows.require(cursor, account.id)

    def grant_admin(self, email: str) -> Account:
        """Make somebody an administrator."""
        return self._change(email, self._rows.set_admin, 1)

    def revoke_admin(self, email: str) -> Account:
        """Make somebody an ordinary user; `Blocked` for the last administrator."""
        return self._change(email, self._rows.set_admin, 0)

    def activate(self, email: str) -> Account:
        """Let somebody in again."""
        return self._change(email, self._rows.set_active, 1)

    def deactivate(self, email: str) -> Account:
        """Lock somebody out at once, keeping what they own; `Blocked` for the last administrator."""
        return self._change(email, self._rows.set_active, 0)

    def prefer_pool(self, email: str, object_store_id: str | None) -> Account:
        """Which pool somebody's new datasets ask for; None for the tree's own choice."""
        return self._change(email, self._rows.set_pool, object_store_id)

    # -- what proves it -----------------------------------------------------------------------------------

    def check_password(self, email: str, password: str) -> Account | None:
        """The account, if it is active and this is its password. Takes the same time whatever is wrong."""
        try:
            wanted = check_email(email)
        except InvalidKey:
            wanted = ""
        with self._db.read() as cursor:
            account, hashed = self._rows.with_hash(cursor, wanted)
        right = is_password(hashed, password)
        return account if right and account is not None and account.active else None

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
            account = None if found is None else self._rows.find(cursor, found[0])
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
            account = self._rows.find(cursor, found[0])
        return account if account is not None and account.active else None

    def end_session(self, secret: str) -> None:
        """Sign out. Idempotent."""
        with self._db.write() as cursor:
            self._credentials.forget(cursor, secret, "session")

    def credentials(self, email: str, kind: Kind = "token") -> list[Credential]:
        """What somebody holds of this kind, newest first (at most 200)."""
        with self._db.read() as cursor:
            return self._credentials.held(cursor, self._rows.require_email(cursor, email).id, kind)

    def revoke(self, email: str, credential_id: str, kind: Kind = "token") -> None:
        """End one token or session of somebody's; `NotFound`."""
        with self._db.write() as cursor:
            account = self._rows.require_email(cursor, email)
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
            account = self._rows.require_email(cursor, email)
            if kind == "link":
                self._credentials.forget_all(cursor, account.id, kind)
            self._credentials.add(cursor, secret, account.id, kind, label=label, now_us=now_us, until_us=until_us)
        return secret

    def _change(self, email: str, change: Callable[[Cursor, Account, V], Account], value: V) -> Account:
        with self._db.write() as cursor:
            return change(cursor, self._rows.require_email(cursor, email), value)
