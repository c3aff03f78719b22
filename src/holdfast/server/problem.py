"""Errors as answers: `application/problem+json` for programs, a rendered page for people.

One shape: `type, title, status, detail`, and `retry_after_s` (with a `Retry-After` header) where waiting
helps. The status of our own errors comes from `errors.outcome`; what only HTTP knows is an `HttpProblem`.
What nobody expected becomes a 500 without a word of its inside; the log has the rest.
"""

from __future__ import annotations

import http
import math
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holdfast.errors import HoldfastError, NoSpace, QuotaExceeded, Unavailable, outcome

TYPE = "urn:holdfast:error:"  # followed by the error's heading on the page `errors` of the documentation
RenderError = Callable[[Request, int, str, str], Response]

_TITLES = {
    400: "The request cannot be understood",
    401: "Please sign in",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    408: "It took too long",
    409: "Somebody else is at work on it",
    410: "It is gone",
    411: "The length is missing",
    412: "It has changed in between",
    413: "Too large",
    415: "This kind of content is not accepted",
    416: "There are no such bytes",
    421: "Not this server",
    422: "The request cannot be carried out",
    423: "Somebody else is at work on it",
    429: "Too many attempts",
    431: "Too many headers",
    460: "The bytes are not those announced",
    500: "Something went wrong",
    501: "Not possible here",
    503: "Unavailable for the moment",
    507: "No space",
}


class HttpProblem(HoldfastError):
    """What is wrong with a request as a request; the status says what."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.retry_after_s = retry_after_s


class NotFoundHere(HttpProblem):
    """What another user owns, and what does not exist, look the same."""

    def __init__(self, what: str) -> None:
        super().__init__(404, f"there is no {what}")


def status_of(error: BaseException) -> int:
    """The HTTP status that this error is answered with."""
    return error.status if isinstance(error, HttpProblem) else outcome(error).http_status


def is_serious(error: BaseException) -> bool:
    """Whether an administrator should read about it in the log: a fault of ours or of the storage."""
    return status_of(error) >= 500 and not isinstance(error, NoSpace | QuotaExceeded | Unavailable | HttpProblem)


def title_of(error: BaseException) -> str:
    """A few words: what kind of trouble this is."""
    if isinstance(error, HttpProblem):
        return title_of_status(error.status)
    return outcome(error).title


def title_of_status(status: int) -> str:
    """A few words for a status that is answered without an error of ours."""
    known = _TITLES.get(status)
    if known is not None:
        return known
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem_response(
    status: int,
    detail: str,
    *,
    title: str | None = None,
    page: str | None = None,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer in its one shape."""
    body: dict[str, Any] = {
        "type": TYPE + page.partition("#")[2] if page else "about:blank",
        "title": title or title_of_status(status),
        "status": status,
        "detail": detail,
    }
    sent = dict(headers or {})
    if retry_after_s is not None:
        body["retry_after_s"] = round(retry_after_s, 3)
        sent["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == 401:
        sent.setdefault("WWW-Authenticate", 'Bearer realm="holdfast"')
    return JSONResponse(body, status, sent, media_type="application/problem+json")


def answer(request: Request, error: BaseException, render: RenderError | None = None) -> Response:
    """`error` as an answer to this request: a page if a person asks and pages are there, else JSON."""
    status = status_of(error)
    title = title_of(error)
    known = isinstance(error, HoldfastError)
    detail = str(error) if known else "Something unexpected happened on the server; its log says more."
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is None and isinstance(error, Unavailable):
        retry_after_s = 5.0
    headers = error.headers if isinstance(error, HttpProblem) else {}
    page = None if isinstance(error, HttpProblem) or not known else outcome(error).page
    if render is not None and wants_page(request):
        response = render(request, status, title, detail)
        response.headers.update(headers)
        if retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        return response
    return problem_response(status, detail, title=title, page=page, retry_after_s=retry_after_s, headers=headers)


def wants_page(request: Request) -> bool:
    """Whether a person with a browser asks: outside /api, with `text/html` among what is accepted."""
    path = request.url.path
    if path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
        return False
    return "text/html" in request.headers.get("accept", "")
