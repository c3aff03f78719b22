"""Administrators' page of accounts: add somebody by a one-time link, make links, switch off and on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from holdfast.catalog.accounts import Accounts
from holdfast.errors import HoldfastError, InvalidKey
from holdfast.server.context import accounts_of, require_admin, settings_of, visit_of
from holdfast.server.pages import words
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.rendering import back_to, query_of, render_page

ROWS = 100

router = APIRouter()


@router.get("/users")
def show_users(request: Request, after: Annotated[int, Query(ge=0, le=2**62)] = 0) -> Response:
    """Who may sign in."""
    require_admin(request)
    return _page(request, after=after)


@router.post("/users")
def add_user(request: Request, form: Sent) -> Response:
    """A new account, and the link by which its owner gets in."""
    require_admin(request)
    accounts, email = accounts_of(request), form.text("email")
    try:
        account = accounts.create(email, is_admin="admin" in form)
    except HoldfastError as error:
        text = str(error).partition("; change it with")[0]
        return _page(request, problem=words.sentence(text), email=email)
    return _page(request, link_for=account.email)


@router.post("/users/{account_id}")
def change_user(request: Request, account_id: int, form: Sent) -> Response:
    """One of the buttons beside an account."""
    require_admin(request)
    accounts = accounts_of(request)
    email, verb = accounts.find(account_id).email, form.text("do")
    if verb == "link":
        return _page(request, link_for=email)
    changes = {
        "activate": (accounts.activate, f"{email} may sign in again."),
        "deactivate": (accounts.deactivate, f"{email} is switched off. What they own stays."),
        "admin": (accounts.grant_admin, f"{email} is an administrator now."),
        "ordinary": (accounts.revoke_admin, f"{email} is an ordinary user now."),
    }
    if verb not in changes:
        raise InvalidKey(f"{verb!r} cannot be done with an account; use one of its buttons")
    change, text = changes[verb]
    try:
        change(email)
    except HoldfastError as error:
        reason = str(error).partition(": holdfast")[0]
        return _page(request, problem=words.sentence(reason))
    return back_to(request, "/users", text)


def _page(
    request: Request,
    *,
    after: int = 0,
    problem: str | None = None,
    email: str = "",
    link_for: str | None = None,
) -> Response:
    accounts = accounts_of(request)
    found = accounts.accounts(limit=ROWS + 1, after=after)
    page = found[:ROWS]
    link = None if link_for is None else {"email": link_for, "url": _link(request, accounts.new_link(link_for))}
    values: dict[str, Any] = {
        "accounts": page,
        "first": "/users" if after else None,
        "next": "/users" + query_of({"after": page[-1].id}) if len(found) > ROWS else None,
        "previous": _previous(accounts, page[0].id if page else after + 1) if after else None,
        "problem": problem,
        "email": email,
        "link": link,
    }
    return render_page(request, "users/list.html", values, 422 if problem else 200)


def _previous(accounts: Accounts, first: int) -> str:
    """The page before the one that begins with the account `first`."""
    before = accounts.accounts_before(first, limit=ROWS + 1)
    # where no more than one page is before it, that is the first page
    return "/users" + query_of({"after": before[ROWS].id if len(before) > ROWS else None})


def _link(request: Request, secret: str) -> str:
    visit = visit_of(request)
    base = settings_of(request).public_url or f"{'https' if visit.secure else 'http'}://{visit.host}"
    return f"{base.rstrip('/')}/sign-in/{secret}"
