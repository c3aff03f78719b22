"""user add, user ls, user set, token new."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render, words
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.catalog.accounts import Account, Accounts
    from holdfast.hold.hold import Hold

LINE_CHARS_MAX = 4096
ACCOUNTS_PAGE = 500

EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's e-mail address.")]
PasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input (its first line).")
]


@command(
    example="holdfast user add alice@example.org --admin\n"
    "pass show bob | holdfast user add bob@example.org --password-stdin"
)
def user_add(
    call: Invocation,
    email: EmailArgument,
    admin: Annotated[bool, typer.Option("--admin", help="An administrator.")] = False,
    password_stdin: PasswordOption = False,
) -> None:
    """Add an account.

    Without a password it prints a link that signs in once, within a day.
    """
    password = _read_password() if password_stdin else None
    with call.hold_or_begin() as hold:
        accounts = accounts_of(hold)
        account = accounts.create(email, password=password, is_admin=admin)
        link = None if password is not None else sign_in_link(hold, accounts, account.email)
        _answer(call, account, link, "added")


@command(example="holdfast user ls")
def user_ls(call: Invocation) -> None:
    """List accounts."""
    with call.hold() as hold:
        accounts = accounts_of(hold)
        found: list[Account] = []
        while page := accounts.accounts(limit=ACCOUNTS_PAGE, after=found[-1].id if found else None):
            found += page
        now_us = hold.clock.now_us()
    rows = [
        (
            str(account.id),
            render.clean(account.email),
            _standing(account),
            "yes" if account.has_password else "no",
            render.clean(account.preferred_pool or ""),
            render.ago(account.created_us, now_us),
        )
        for account in found
    ]
    titles = ("EMAIL", "STANDING", "PASSWORD", "POOL", "CREATED")
    columns = (
        render.Column("ID", "right"),
        *(render.Column(title, wide=title == "EMAIL") for title in titles),
    )
    table = render.Table(columns, rows, "No accounts yet. Add the first: holdfast user add EMAIL --admin")
    call.answer([_account_json(account) for account in found], table)


@command(example="holdfast user set alice@example.org --no-active\nholdfast user set bob@example.org --link")
def user_set(
    call: Invocation,
    email: EmailArgument,
    *,
    admin: Annotated[bool | None, typer.Option("--admin/--no-admin", help="An administrator, or not.")] = None,
    active: Annotated[bool | None, typer.Option("--active/--no-active", help="Let in, or locked out.")] = None,
    password_stdin: PasswordOption = False,
    link: Annotated[bool, typer.Option("--link", help="Print a new link that signs in once.")] = False,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="ID", help="Preferred pool of new datasets; '' for none.")
    ] = None,
) -> None:
    """Change an account.

    A new password ends the account's sessions. Who is locked out keeps what is theirs.
    """
    if admin is None and active is None and pool is None and not (password_stdin or link):
        raise UsageError("say what to change: --admin, --active, --password-stdin, --link, --pool (or --no-...)")
    password = _read_password() if password_stdin else None
    with call.hold() as hold:
        accounts = accounts_of(hold)
        account = accounts.find_email(email)
        if pool is not None:
            account = accounts.prefer_pool(email, hold.pool(pool).object_store_id if pool else None)
        if admin is not None:
            account = accounts.grant_admin(email) if admin else accounts.revoke_admin(email)
        if active is not None:
            account = accounts.activate(email) if active else accounts.deactivate(email)
        if password is not None:
            account = accounts.set_password(email, password)
        _answer(call, account, sign_in_link(hold, accounts, account.email) if link else None, "changed")


@command(example='holdfast token new alice@example.org --label "backup script" --expires "90 days"')
def token_new(
    call: Invocation,
    email: EmailArgument,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What it is for.")] = "",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="How long it works. Else until it is revoked."),
    ] = None,
) -> None:
    """Make a token for the API and print it once.

    Send it as `Authorization: Bearer TOKEN`. It is not kept in clear and cannot be printed again.
    """
    expires_s = None if expires is None else words.duration_s(expires, "--expires")
    with call.hold() as hold:
        token = accounts_of(hold).new_token(email, label=label, expires_s=expires_s)
    call.answer({"token": token, "email": email, "label": label}, token)


def accounts_of(hold: Hold) -> Accounts:
    """The accounts in the hold's catalog."""
    from holdfast.catalog.accounts import Accounts

    return Accounts(hold.catalog.db, hold.clock, hold.entropy)


def sign_in_link(hold: Hold, accounts: Accounts, email: str, base_url: str | None = None) -> str:
    """A new address that signs in once. Without `base_url`, at the address that the document says."""
    if base_url is None:
        server = hold.config.server
        base_url = server.public_url or f"http://{server.host}:{server.port}"
    return f"{base_url.rstrip('/')}/sign-in/{accounts.new_link(email)}"


def _answer(call: Invocation, account: Account, link: str | None, verb: str) -> None:
    lines = [f"{render.clean(account.email)}: {verb} ({_standing(account)})"]
    if link is not None:
        lines.append(f"Signs in once, within a day: {link}")
    call.answer(_account_json(account) | ({"link": link} if link is not None else {}), *lines)


def _account_json(account: Account) -> dict[str, Any]:
    from holdfast.hold.shapes import when

    shape = account.to_json()
    shape["created"] = when(shape.pop("created_us"))
    return shape


def _standing(account: Account) -> str:
    role = "administrator" if account.is_admin else "user"
    return role if account.active else f"{role}, locked out"


def _read_password() -> str:
    if sys.stdin.isatty():
        import getpass

        password = getpass.getpass("Password: ")
    else:
        password = sys.stdin.readline(LINE_CHARS_MAX).rstrip("\r\n")
    if not password:
        raise UsageError("--password-stdin: standard input holds no password")
    return password
