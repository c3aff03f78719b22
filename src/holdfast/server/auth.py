"""Who asks: the guard in front of every route, and signing in and out.

Three ways to be somebody: a session cookie (HttpOnly, SameSite=Lax, Secure over https; the catalog has only
its hash), `Authorization: Bearer TOKEN`, `x-api-key: TOKEN`. A request that would change something and comes
with a cookie must come from our own pages: its `Origin` must be ours, and it must show the session's CSRF
token in the header `X-CSRF-Token` or the form field `csrf_token`. The guard sees to that for every route,
also for routes that forget to ask.

Sign-in attempts are counted per account and address; too many are answered with 429 and `Retry-After`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.catalog.accounts import Account, Proof
from holdfast.errors import Denied, Unauthenticated
from holdfast.server.context import SCOPE_KEY, House, Visit, in_thread, visit_of
from holdfast.server.problem import HttpProblem

CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"
FORM_BYTES_MAX = 256 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_FORM = "application/x-www-form-urlencoded"
_WRONG = "the e-mail address or the password is wrong"


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in that worked. `attach` puts its cookie into the answer."""

    account: Account
    secret: str
    secure: bool
    cookie_name: str
    lasts_s: int

    def attach(self, response: Response) -> None:
        """Give the browser its session."""
        response.set_cookie(
            self.cookie_name,
            self.secret,
            max_age=self.lasts_s,
            httponly=True,
            samesite="lax",
            secure=self.secure,
        )


async def sign_in(email: str, password: str, request: Request) -> Session:
    """A new session for the right password; `Unauthenticated` for a wrong one, 429 after too many."""
    visit = visit_of(request)
    house = visit.house

    def check() -> Account:
        wait_s = house.attempts.begin(email, visit.client)
        if wait_s > 0:
            raise HttpProblem(429, f"too many attempts; try again in {_in_words(wait_s)}", retry_after_s=wait_s)
        account = house.accounts.check_password(email, password)
        if account is None:
            raise Unauthenticated(_WRONG)
        house.attempts.succeeded(email, visit.client)
        return account

    return await _begin(await in_thread(check), visit)


async def redeem_link(secret: str, request: Request) -> Session:
    """A new session for a one-time link, which is used up; `Unauthenticated` if it is not good (any more).

    Call it for a POST: programs that look at mail follow links.
    """
    visit = visit_of(request)
    account = await in_thread(visit.house.accounts.redeem, secret)
    if account is None:
        raise Unauthenticated("this link was used already or is too old; ask your administrator for a new one")
    return await _begin(account, visit)


async def sign_out(request: Request, response: Response) -> None:
    """End this request's session, here and in the browser. Idempotent."""
    visit = visit_of(request)
    if visit.session_secret is not None:
        await in_thread(visit.house.accounts.end_session, visit.session_secret)
    response.delete_cookie(visit.house.settings.cookie_name, httponly=True, samesite="lax", secure=visit.secure)


def csrf_token(request: HTTPConnection) -> str:
    """What this session's forms must show; empty for a stranger."""
    visit = visit_of(request)
    return "" if visit.session_secret is None else csrf_token_of(visit.session_secret)


def csrf_token_of(session_secret: str) -> str:
    """The CSRF token of a session: made from the secret that only its cookie knows, so nothing is stored."""
    return hmac.digest(session_secret.encode(), b"holdfast csrf", hashlib.sha256).hex()


def confirm_csrf(request: HTTPConnection, token: str | None) -> None:
    """A route that reads the form itself shows the token that it found there; `Denied` if it is wrong.

    Needed only for multipart forms: the guard has read all others.
    """
    visit = visit_of(request)
    if visit.unconfirmed is None:
        return
    if not _is_token(visit, token):
        raise _forged()
    visit.proof, visit.unconfirmed = visit.unconfirmed, None


class Guard:
    """ASGI middleware that gives each request its `Visit`, and stops what is forged."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = _visit(self._house, scope, headers)
        scope[SCOPE_KEY] = visit
        self._check_host(visit)
        if headers.get("authorization", "")[:7].lower() == "bearer ":
            await self._admit_token(visit, headers["authorization"][7:].strip())
        elif "x-api-key" in headers:
            await self._admit_token(visit, headers["x-api-key"].strip())
        else:
            receive = await self._admit_session(visit, scope, headers, receive)
        if visit.proof is not None and visit.proof.renewed and visit.session_secret is not None:
            send = _renewing(visit, send)
        await self._app(scope, receive, send)

    def _check_host(self, visit: Visit) -> None:
        allowed = self._house.settings.allowed_hosts
        if allowed and visit.host.lower() not in allowed and _name_of(visit.host) not in allowed:
            raise HttpProblem(421, f"this server does not answer for {visit.host!r}")

    async def _admit_token(self, visit: Visit, secret: str) -> None:
        visit.proof = await in_thread(self._house.accounts.prove, secret, "token")
        if visit.proof is None:
            visit.refusal = "this API token is not accepted: it is unknown, was revoked or has expired"

    async def _admit_session(self, visit: Visit, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        unsafe = scope["method"] not in SAFE_METHODS
        if unsafe:
            _check_origin(visit, headers)
        secret = cookie_parser(headers.get("cookie", "")).get(self._house.settings.cookie_name)
        if not secret:
            return receive
        proof = await in_thread(
            self._house.accounts.prove, secret, "session", lasts_s=self._house.settings.session_lasts_s
        )
        if proof is None:
            visit.refusal = "your session has ended; sign in again"
            return receive
        visit.session_secret = secret
        if not unsafe:
            visit.proof = proof
            return receive
        return await self._admit_form(visit, proof, headers, receive)

    async def _admit_form(self, visit: Visit, proof: Proof, headers: Headers, receive: Receive) -> Receive:
        token = headers.get(CSRF_HEADER)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if token is None and kind == "multipart/form-data":
            visit.unconfirmed = proof
            visit.refusal = f"the form must have its {CSRF_FIELD} before its file"
            return receive
        if token is None and kind == _FORM:
            body = await _read_form(receive)
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=1000)
            token = fields.get(CSRF_FIELD, [None])[0]
            receive = _replaying(body, receive)
        if not _is_token(visit, token):
            raise _forged()
        visit.proof = proof
        return receive


# -- inside -----------------------------------------------------------------------------------------------


async def _begin(account: Account, visit: Visit) -> Session:
    settings = visit.house.settings
    if visit.session_secret is not None:  # a session never changes hands
        await in_thread(visit.house.accounts.end_session, visit.session_secret)
    secret = await in_thread(
        visit.house.accounts.new_session,
        account.email,
        label=visit.client,
        expires_s=settings.session_lasts_s,
    )
    return Session(account, secret, visit.secure, settings.cookie_name, settings.session_lasts_s)


def _visit(house: House, scope: Scope, headers: Headers) -> Visit:
    settings = house.settings
    peer = scope["client"][0] if scope.get("client") else "local"
    scheme = scope.get("scheme", "http")
    client, host = peer, headers.get("host", "")
    if peer in settings.trusted_proxies:
        client = _forwarded(headers.get("x-forwarded-for", ""), settings.trusted_proxies) or peer
        scheme = headers.get("x-forwarded-proto", scheme).partition(",")[0].strip().lower()
        host = headers.get("x-forwarded-host", host).partition(",")[0].strip()
    secure = (settings.public_scheme or scheme) == "https"
    return Visit(house=house, client=client, secure=secure, host=host)


def _forwarded(chain: str, trusted: frozenset[str]) -> str | None:
    """The nearest address that is not one of our own proxies: what lies before it may be invented."""
    for address in reversed([part.strip() for part in chain.split(",") if part.strip()]):
        if address not in trusted:
            return address
    return None


def _check_origin(visit: Visit, headers: Headers) -> None:
    origin = headers.get("origin")
    if origin is None:
        if headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none"):
            return
        raise _forged()
    found = urlsplit(origin).netloc.lower()
    ours = {visit.host.lower(), visit.house.settings.public_netloc}
    if not found or found not in ours:
        raise Denied(
            f"this request comes from {origin}, but the server is {visit.host}; if they are the same, "
            "a proxy hides it: set `public_url` in the document's `server` section"
        )


def _is_token(visit: Visit, token: str | None) -> bool:
    if token is None or visit.session_secret is None:
        return False
    return hmac.compare_digest(token.encode("utf-8", "replace"), csrf_token_of(visit.session_secret).encode())


def _forged() -> Denied:
    return Denied("the form is too old or comes from somewhere else; load the page again, then send it again")


async def _read_form(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HttpProblem(400, "the connection was lost before the form was complete")
        body += message.get("body", b"")
        if len(body) > FORM_BYTES_MAX:
            raise HttpProblem(413, f"a form may have {FORM_BYTES_MAX} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read once more, then goes on."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _renewing(visit: Visit, send: Send) -> Send:
    """A `send` that gives the browser its cookie again, because the session lasts longer now."""
    settings = visit.house.settings
    holder = Response()
    holder.set_cookie(
        settings.cookie_name, visit.session_secret or "", max_age=settings.session_lasts_s, httponly=True,
        samesite="lax", secure=visit.secure,
    )  # fmt: skip
    cookie = holder.raw_headers[-1]

    async def renewing(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            if not any(name == b"set-cookie" for name, _ in headers):
                message = {**message, "headers": [*headers, cookie]}
        await send(message)

    return renewing


def _name_of(host: str) -> str:
    """The host without its port."""
    return urlsplit(f"//{host}").hostname or ""


def _in_words(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 120 else f"{round(whole / 60)} minutes"
