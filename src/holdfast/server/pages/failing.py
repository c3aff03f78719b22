"""How an error looks to people: what happened, what to do, where to go on. Never an exception's inside."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from holdfast.errors import Unavailable, outcome
from holdfast.server.pages import words
from holdfast.server.pages.rendering import page_headers, render_page, wants_fragment

_ADVICE = {
    400: "Go back, load the page again, and send it once more.",
    403: "If you think that you should be allowed to do this, ask an administrator.",
    404: "It may have been purged, it may be somebody else's, or the address is not complete.",
    405: "This address only answers to a form. Go back and press its button.",
    409: "Wait a moment, look at it again, and decide then.",
    413: "Send less at a time; large files are uploaded on the datasets page, in pieces.",
    429: "Wait as long as it says, then try again.",
    500: "Nothing that was stored is lost. Try again. If it happens again, tell your administrator when: "
    "the server's log has the details.",
    507: "Delete and purge what is no longer needed, or ask an administrator to make room.",
}
_NO_SUCH_ADDRESS = "Look at the address once more: it may be incomplete, or of another version of Holdfast."
_AWAY = "Nothing is lost. It usually comes back by itself: try again in a moment."
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


def render_error(request: Request, status: int, title: str, detail: str) -> Response:
    """A page for an error. Who is not signed in is asked to, and comes back to where they wanted to go."""
    if status == 401:
        return _ask_to_sign_in(request)
    values = {
        "status": status,
        "title": title,
        "detail": words.sentence(detail),
        # of what else is answered with 503 (a damaged catalog, one of another version) its own words say what to do
        "advice": _advice(request, status, title),
        "again": status in _AGAIN and request.method in {"GET", "HEAD"},
        "way_on": _way_on(request),
    }
    return render_page(request, "error.html", values, status)


def _advice(request: Request, status: int, title: str) -> str | None:
    if title == outcome(Unavailable("")).title:
        return _AWAY
    if status == 404 and request.scope.get("route") is None:
        return _NO_SUCH_ADDRESS
    return _ADVICE.get(status)


def _ask_to_sign_in(request: Request) -> Response:
    if wants_fragment(request):
        return Response(status_code=401, headers=page_headers())
    path = request.url.path
    next_page = "" if request.method not in {"GET", "HEAD"} or path == "/" else path
    if next_page and request.url.query:
        next_page += f"?{request.url.query}"
    where = "/sign-in" + (f"?next={quote(next_page, safe='')}" if next_page else "")
    return RedirectResponse(where, status_code=303, headers={"Cache-Control": "no-store"})


def _way_on(request: Request) -> tuple[str, str]:
    first = request.url.path.strip("/").partition("/")[0]
    rooms = {
        "pools": "All pools", "jobs": "All jobs", "operations": "All operations", "activity": "Activity",
        "account": "Your account", "users": "All users", "sign-in": "Sign in",
    }  # fmt: skip
    if first in rooms and request.url.path.strip("/") != first:
        return f"/{first}", rooms[first]
    return "/datasets", "All datasets"
