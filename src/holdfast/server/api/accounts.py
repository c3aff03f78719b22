"""`/api/whoami`, `/api/tokens` for everybody; `/api/users` for administrators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holdfast.catalog.accounts import Account, Accounts
from holdfast.catalog.credentials import Credential
from holdfast.hold.shapes import when
from holdfast.server.api import shapes
from holdfast.server.api.paging import LIMIT, After, Limit, known_query_only, page
from holdfast.server.context import accounts_of, hold_of, require_admin, require_user

router = APIRouter(prefix="/api", tags=["accounts"], dependencies=[Depends(known_query_only)])

SIGN_IN_PATH = "/sign-in/"


@router.get("/whoami", responses={200: {"model": shapes.Account}})
def whoami(request: Request) -> Response:
    """The account that asks."""
    return JSONResponse(_shown(require_user(request)))


@router.get("/tokens", responses={200: {"model": list[dict[str, Any]]}})
def list_tokens(request: Request) -> Response:
    """One's own API tokens, without their secrets."""
    account = require_user(request)
    return JSONResponse([_token(token) for token in accounts_of(request).credentials(account.email)])


@router.post("/tokens", status_code=201)
def make_token(request: Request, wanted: shapes.TokenRequest) -> Response:
    """A new API token. Its secret is in this answer, and never again."""
    account = require_user(request)
    token = accounts_of(request).new_token(account.email, label=wanted.label, expires_s=wanted.expires_s)
    return JSONResponse({"token": token, "label": wanted.label}, status_code=201)


@router.delete("/tokens/{token_id}", status_code=204)
def end_token(request: Request, token_id: str) -> Response:
    """Revoke one of one's own tokens."""
    account = require_user(request)
    accounts_of(request).revoke(account.email, token_id)
    return Response(status_code=204)


@router.get("/users", responses={200: {"model": list[shapes.Account]}})
def list_accounts(request: Request, limit: Limit = LIMIT, after: After = None) -> Response:
    """All accounts. For administrators."""
    require_admin(request)
    found = accounts_of(request).accounts(limit=limit, after=after)
    return page(request, [_shown(one) for one in found], limit, found[-1].id if found else None)


@router.post("/users", status_code=201, responses={201: {"model": shapes.Account}})
def make_account(request: Request, wanted: shapes.AccountRequest) -> Response:
    """A new account; without a password, with a link that signs in once. For administrators."""
    require_admin(request)
    accounts = accounts_of(request)
    if wanted.preferred_pool is not None:
        hold_of(request).pool(wanted.preferred_pool)
    account = accounts.create(
        wanted.email, password=wanted.password, is_admin=wanted.is_admin, preferred_pool=wanted.preferred_pool
    )
    shown = _shown(account)
    if wanted.password is None:
        shown["sign_in_path"] = SIGN_IN_PATH + accounts.new_link(account.email)
    return JSONResponse(shown, status_code=201, headers={"Location": f"/api/users/{account.id}"})


@router.get("/users/{user_id}", responses={200: {"model": shapes.Account}})
def show_account(request: Request, user_id: int) -> Response:
    """One account. For administrators."""
    require_admin(request)
    return JSONResponse(_shown(accounts_of(request).find(user_id)))


@router.patch("/users/{user_id}", responses={200: {"model": shapes.Account}})
def change_account(request: Request, user_id: int, wanted: shapes.AccountChange) -> Response:
    """Change an account. For administrators."""
    require_admin(request)
    accounts = accounts_of(request)
    account = accounts.find(user_id)
    given = wanted.model_fields_set
    if wanted.preferred_pool is not None:
        hold_of(request).pool(wanted.preferred_pool)
    if "preferred_pool" in given:
        accounts.prefer_pool(account.email, wanted.preferred_pool)
    if wanted.password is not None:
        accounts.set_password(account.email, wanted.password)
    _switch(accounts, account, wanted)
    return JSONResponse(_shown(accounts.find(user_id)))


@router.post("/users/{user_id}/link", status_code=201)
def make_link(request: Request, user_id: int) -> Response:
    """A link by which this account signs in once. For administrators."""
    require_admin(request)
    accounts = accounts_of(request)
    account = accounts.find(user_id)
    return JSONResponse({"sign_in_path": SIGN_IN_PATH + accounts.new_link(account.email)}, status_code=201)


def _switch(accounts: Accounts, account: Account, wanted: shapes.AccountChange) -> None:
    if wanted.is_admin is not None:
        (accounts.grant_admin if wanted.is_admin else accounts.revoke_admin)(account.email)
    if wanted.active is not None:
        (accounts.activate if wanted.active else accounts.deactivate)(account.email)


def _shown(account: Account) -> dict[str, Any]:
    shown = account.to_json()
    shown["created"] = when(shown.pop("created_us"))
    return shown


def _token(token: Credential) -> dict[str, Any]:
    return {
        "id": token.id, "label": token.label, "created": when(token.created_us), "used": when(token.used_us),
        "expires": when(token.expires_us),
    }  # fmt: skip
