"""The application: routes, and what stands in front of all of them.

    app = create_app(hold)          # an ASGI application; `serve` runs it

From outside to inside: security headers and numbers for every answer; errors as answers; limits for bodies; the
guard that says who asks; the routes. Nothing in between touches the blocks of a body, so transfers cost what
the server below costs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, cast

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast import __version__
from holdfast.catalog.accounts import Accounts
from holdfast.catalog.attempts import AttemptLedger
from holdfast.errors import HoldfastError
from holdfast.hold.hold import Hold
from holdfast.server.api import accounts, datasets, docs, events, jobs, operations, pools, service, uploads
from holdfast.server.api.events import feed_of
from holdfast.server.auth import Guard
from holdfast.server.context import House, visit_of
from holdfast.server.invalid import invalid_request
from holdfast.server.limits import BodyLimit
from holdfast.server.metrics import Metrics
from holdfast.server.problem import HttpProblem, RenderError, answer, is_serious, wants_page
from holdfast.server.settings import ServerSettings
from holdfast.server.streams import ClientGone, Lingering, StreamThreads

log = logging.getLogger("holdfast.server")

SENT_ANYWAY_BYTES = 256 * 1024  # so much of a body may be lost in the sockets' buffers without a reset
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
)
_ROUTERS = (datasets, uploads, pools, operations, jobs, events, accounts, service, docs)


class Service(Protocol):
    """Something that runs as long as the server: jobs and operations, reaping uploads."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def create_app(hold: Hold, *, settings: ServerSettings | None = None, services: Sequence[Service] = ()) -> HoldfastApp:
    """The ASGI application over a hold. It starts and stops the services, and leaves the hold open."""
    settings = settings or ServerSettings.of(hold.config)
    house = House(
        hold=hold,
        accounts=Accounts(hold.catalog.db, hold.clock, hold.entropy),
        attempts=AttemptLedger(hold.catalog.db, hold.clock),
        settings=settings,
        blocks=StreamThreads(settings.blocks_at_once, "holdfast-block"),
        intakes=StreamThreads(settings.uploads_at_once, "holdfast-intake"),
    )
    house.parts[Metrics] = Metrics(hold)
    return HoldfastApp(house, services)


class HoldfastApp:
    """What create_app makes. `api` is the FastAPI application inside; `stop_soon` ends endless answers."""

    def __init__(self, house: House, services: Sequence[Service]) -> None:
        self.house = house
        self._services = [*services]
        self._render: RenderError | None = None
        self.api = self._make_api()
        self._inside: ASGIApp = Guard(BodyLimit(self.api, house.settings.json_bytes_max), house)
        self._metrics: Metrics = house.parts[Metrics]

    def add_service(self, service: Service) -> None:
        """Something more that is to run as long as the server."""
        self._services.append(service)

    def stop_soon(self) -> None:
        """The server is about to stop: end the answers that have no end of their own."""
        feed_of(self.house).close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        _obey_override(scope)
        outgoing = _Outgoing(send, self.house.hold.clock.monotonic_s)
        try:
            await self._inside(scope, receive, outgoing)
        except ClientGone:
            outgoing.status = 499
        except Exception as error:
            # what the routes' own handlers did not see: an error of the guard, or one that nobody expected
            _log(scope["method"], scope["path"], error)
            if outgoing.complete:
                return  # it was answered already, on its way to here
            if outgoing.started:
                raise
            response = self._answer(Request(scope, receive), error)
            await response(scope, receive, outgoing)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.observe(scope["method"], route, outgoing.status, outgoing.seconds())

    # -- inside -------------------------------------------------------------------------------------------

    def _make_api(self) -> FastAPI:
        api = FastAPI(
            title="Holdfast",
            version=__version__,
            description="Datasets over all the storage a group has, as one place. Errors are problem+json.",
            openapi_url="/api/openapi.json",
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
            redirect_slashes=False,
        )
        for module in _ROUTERS:
            api.include_router(module.router)
        if importlib.util.find_spec("holdfast.server.pages") is not None:
            from holdfast.server import pages

            api.include_router(pages.router)
            self._render = pages.render_error
        api.add_exception_handler(HoldfastError, self._handle)
        api.add_exception_handler(HTTPException, self._handle_framework)
        api.add_exception_handler(RequestValidationError, self._handle_invalid)
        api.add_exception_handler(Exception, self._handle_unforeseen)
        return api

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        settings = self.house.settings
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.calls_at_once
        started: list[Service] = []
        try:
            for one in self._services:
                await anyio.to_thread.run_sync(one.start)
                started.append(one)
            yield
        finally:
            for one in reversed(started):
                await anyio.to_thread.run_sync(one.stop)
            self.house.blocks.close()
            self.house.intakes.close()

    async def _handle(self, request: Request, error: Exception) -> Response:
        _log(request.method, request.url.path, error)
        return self._answer(request, error)

    async def _handle_unforeseen(self, request: Request, error: Exception) -> Response:
        return self._answer(request, error)  # it is raised on when the answer is sent: `__call__` logs it

    async def _handle_framework(self, request: Request, error: Exception) -> Response:
        found = cast("HTTPException", error)
        kept = request.scope.get("holdfast.problem")  # what broke the reading of the body, if that is what failed
        if isinstance(kept, HttpProblem):
            return self._answer(request, kept)
        detail = _WORDS.get(found.status_code) or str(found.detail)
        if found.status_code == 405:
            detail = f"{request.method} is not possible here"
        problem = HttpProblem(found.status_code, detail, headers=dict(found.headers or {}))
        return self._answer(request, problem)

    async def _handle_invalid(self, request: Request, error: Exception) -> Response:
        found = cast("RequestValidationError", error)
        for_a_person = self._render is not None and wants_page(request)
        return self._answer(request, invalid_request(found, for_a_person=for_a_person))

    def _answer(self, request: Request, error: BaseException) -> Response:
        response = answer(request, error, self._render)
        return Lingering(response) if _is_still_sending(request) else response


class _Outgoing:
    """An answer on its way out: gets the headers that every answer has, and is looked at for the numbers."""

    def __init__(self, send: Send, now_s: Callable[[], float]) -> None:
        self._send = send
        self._now_s = now_s
        self._began_s = now_s()
        self.status = 0
        self.started = False
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            given = {name for name, _ in message.get("headers", ())}
            more = [(name, value) for name, value in _HEADERS if name not in given]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.complete = True

    def seconds(self) -> float:
        """Since the request's head."""
        return self._now_s() - self._began_s


def _log(method: str, path: str, error: Exception) -> None:
    """What an administrator should know of. An error of ours says in words what happened; only one that nobody
    expected, or that hides another, needs the way it came."""
    if not is_serious(error):
        return
    where = path.encode("unicode_escape").decode("ascii")  # an address may have line breaks in it, a log line not
    if isinstance(error, HoldfastError) and error.__cause__ is None:
        log.error("%s %s failed: %s", method, where, str(error).replace("\n", " "))
    else:
        log.error("%s %s failed", method, where, exc_info=error)


def _obey_override(scope: Scope) -> None:
    """Programs that can only GET and POST say what they mean in a header; tus wants that to count."""
    if scope["method"] == "POST" and scope["path"].startswith(uploads.router.prefix):
        meant = Headers(scope=scope).get("x-http-method-override", "").upper()
        if meant in {"PATCH", "DELETE"}:
            scope["method"] = meant


_WORDS = {404: "there is nothing at this address", 400: "the body cannot be read"}


def _is_still_sending(request: Request) -> bool:
    """Whether the client has probably not sent its whole body, and does not wait for leave to do so."""
    if request.method not in {"POST", "PUT", "PATCH"}:
        return False
    inflow = visit_of(request).inflow if "holdfast" in request.scope else None
    if inflow is not None and inflow.is_complete:
        return False
    length: Any = request.headers.get("content-length")
    if length is None:
        return "transfer-encoding" in request.headers
    return not length.isdigit() or int(length) > SENT_ANYWAY_BYTES
