"""One's own account: password, API tokens, preferred pool."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from holdfast.catalog.passwords import CHARS_MIN
from holdfast.errors import HoldfastError, InvalidKey
from holdfast.server.auth import sign_in
from holdfast.server.context import accounts_of, hold_of, in_thread, require_user, visit_of
from holdfast.server.pages import words
from holdfast.server.pages.forms import Form, Sent
from holdfast.server.pages.rendering import back_to, render_page

TOKENS_MAX = 100

router = APIRouter()


@router.get("/account")
def show_account(request: Request) -> Response:
    """The account."""
    return _page(request)


@router.post("/account/tokens")
def make_token(request: Request, form: Sent) -> Response:
    """A new token, shown in this answer and never again."""
    user, accounts = require_user(request), accounts_of(request)
    if len(accounts.credentials(user.email)) >= TOKENS_MAX:
        return _page(request, problem=f"There are {TOKENS_MAX} tokens already. Revoke one that is not needed any more.")
    return _page(request, fresh_token=accounts.new_token(user.email, label=form.text("label")))


@router.post("/account/tokens/{token}/revoke")
def revoke_token(request: Request, token: str) -> Response:
    """A token that works no more, from now on."""
    user = require_user(request)
    accounts_of(request).revoke(user.email, token)
    return back_to(request, "/account", "The token is revoked: it works no more.")


@router.post("/account/pool")
def prefer_pool(request: Request, form: Sent) -> Response:
    """Which pool one's new datasets ask for."""
    user, hold = require_user(request), hold_of(request)
    wanted = form.text("pool")
    if wanted:
        hold.poolset.configured(wanted)
    accounts_of(request).prefer_pool(user.email, wanted or None)
    text = f"New datasets of yours ask for {wanted}." if wanted else "Holdfast chooses the pool of your new datasets."
    return back_to(request, "/account", text)


@router.post("/account/password")
async def change_password(request: Request, form: Sent) -> Response:
    """Another password. All sessions end with it; this browser gets a new one."""
    user = require_user(request)
    problem = await in_thread(_set_password, request, form)
    if problem is not None:
        return await in_thread(_page, request, problem=problem)
    session = await sign_in(user.email, form.raw("new"), request)
    response = back_to(request, "/account", "Your password is changed.")
    session.attach(response)
    return response


def _set_password(request: Request, form: Form) -> str | None:
    """Set it; what is wrong, if something is."""
    user, accounts, attempts = require_user(request), accounts_of(request), visit_of(request).house.attempts
    if user.has_password:
        wait_s = attempts.begin(user.email, visit_of(request).client)
        if wait_s > 0:
            return f"Too many wrong passwords. Wait {round(wait_s)} s, then try again."
        if accounts.check_password(user.email, form.raw("old")) is None:
            return "The password that you have now is another one. Nothing was changed."
        attempts.succeeded(user.email, visit_of(request).client)
    try:
        accounts.set_password(user.email, form.raw("new"))
    except InvalidKey as error:
        return words.sentence(str(error))
    return None


def _page(request: Request, *, problem: str | None = None, fresh_token: str | None = None) -> Response:
    user, accounts, hold = require_user(request), accounts_of(request), hold_of(request)
    try:
        account = accounts.find(user.id)
    except HoldfastError:
        account = user
    values: dict[str, Any] = {
        "user": account,
        "problem": problem,
        "fresh_token": fresh_token,
        "tokens": accounts.credentials(user.email),
        "pools": [pool.facts for pool in hold.poolset],
        "shortest": CHARS_MIN,
    }
    return render_page(request, "account/show.html", values, 422 if problem else 200)
