"""What a route knows of the request it answers: who asks, the hold, and how to call it without blocking.

    @router.get("/datasets")
    async def page(request: Request) -> Response:
        account = require_user(request)
        datasets = await in_thread(hold_of(request).datasets, Filter(owner=account.email))

The guard in `auth` has put a `Visit` into the request's scope before any route runs, so these functions
neither wait nor touch the database.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from anyio.to_thread import run_sync
from starlette.requests import HTTPConnection

from holdfast.catalog.accounts import Account, Accounts, Proof
from holdfast.catalog.attempts import AttemptLedger
from holdfast.errors import Denied, Unauthenticated
from holdfast.server.inflow import Inflow
from holdfast.server.settings import ServerSettings
from holdfast.server.streams import StreamThreads

if TYPE_CHECKING:
    from holdfast.hold.hold import Hold

SCOPE_KEY = "holdfast"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class House:
    """What all requests of one application share. `parts` holds what other modules keep for its lifetime.

    `blocks` are the threads that read blocks of downloads, `intakes` those that take uploads in, one for each
    upload under way.
    """

    hold: Hold
    accounts: Accounts
    attempts: AttemptLedger
    settings: ServerSettings
    blocks: StreamThreads
    intakes: StreamThreads
    parts: dict[type, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Visit:
    """One request: who asks and by what right. Made by the guard.

    `unconfirmed` is a session whose form has not shown its CSRF token yet; until then nobody is signed in.
    """

    house: House
    client: str
    secure: bool
    host: str
    proof: Proof | None = None
    unconfirmed: Proof | None = None
    session_secret: str | None = None
    refusal: str | None = None
    inflow: Inflow | None = None


def visit_of(request: HTTPConnection) -> Visit:
    """The visit that the guard made for this request."""
    found: Visit = request.scope[SCOPE_KEY]
    return found


def house_of(request: HTTPConnection) -> House:
    """What all requests of this application share."""
    return visit_of(request).house


def hold_of(request: HTTPConnection) -> Hold:
    """The hold that this server serves."""
    return visit_of(request).house.hold


def accounts_of(request: HTTPConnection) -> Accounts:
    """The accounts of this server."""
    return visit_of(request).house.accounts


def settings_of(request: HTTPConnection) -> ServerSettings:
    """The server's settings."""
    return visit_of(request).house.settings


def current_user(request: HTTPConnection) -> Account | None:
    """Who asks, or None for a stranger."""
    proof = visit_of(request).proof
    return None if proof is None else proof.account


def require_user(request: HTTPConnection) -> Account:
    """Who asks; `Unauthenticated` for a stranger."""
    visit = visit_of(request)
    if visit.proof is None:
        raise Unauthenticated(
            visit.refusal or "sign in, or send an API token (holdfast token new EMAIL): Authorization: Bearer TOKEN"
        )
    return visit.proof.account


def require_admin(request: HTTPConnection) -> Account:
    """Who asks, if an administrator; else `Unauthenticated` or `Denied`."""
    account = require_user(request)
    if not account.is_admin:
        raise Denied("only administrators may do this; ask one of yours")
    return account


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking call in one of the threads kept for that (`calls_at_once`), and wait for it."""
    return await run_sync(functools.partial(call, *args, **kwargs))
