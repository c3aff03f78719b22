"""Templates into answers: the one Jinja environment, its filters, fragments sent only when they changed.

Promises: everything is escaped (autoescape is on for every template and cannot be turned off by a value),
nothing inline runs (the policy below forbids inline scripts and styles), and a fragment that looks as the
browser already has it is answered with 304 and no body.

Does not know what the pages show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from holdfast.server.auth import csrf_token
from holdfast.server.context import SCOPE_KEY, current_user, hold_of, visit_of
from holdfast.server.pages import words
from holdfast.server.pages.assets import asset_url

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
THEMES = ("light", "dark")
THEME_COOKIE = "holdfast_theme"
NOTICE_COOKIE = "holdfast_notice"
TAG_HEADER = "HX-PTag"
_NOTICE_CHARS = 200
_NOTICE_COOKIE_MAX = 3900


def render_page(request: Request, template: str, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """A whole page. Shows the notice that the last action left, once."""
    notice = take_notice(request)
    body = environment().get_template(template).render({**basics(request), "notice": notice, **values})
    response = HTMLResponse(body, status_code=status, headers=page_headers())
    if notice is not None:
        response.delete_cookie(NOTICE_COOKIE, path="/")
    return response


def render_fragment(
    request: Request, template: str, values: Mapping[str, Any], *, address: str | None = None
) -> Response:
    """A part of a page for htmx; 304 if the browser shows exactly this already (it sends back our tag).

    `address` is what the browser's address line shall show from now on.
    """
    body, tag = tagged(request, template, values)
    headers = page_headers() | {TAG_HEADER: tag} | ({"HX-Replace-Url": address} if address else {})
    if request.headers.get(TAG_HEADER) == tag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(body, headers=headers)


def tagged(request: Request, template: str, values: Mapping[str, Any]) -> tuple[Markup, str]:
    """A fragment, to be put into a page or sent alone, and the tag that names its looks."""
    body = environment().get_template(template).render({**basics(request), **values})
    tag = hashlib.blake2s(body.encode(), digest_size=12).hexdigest()
    return Markup(body), tag  # noqa: S704 - a template's output, escaped


def wants_fragment(request: Request) -> bool:
    """Whether htmx asks for a part of the page (and not the browser for the page)."""
    return request.headers.get("HX-Request") == "true"


def basics(request: Request) -> dict[str, Any]:
    """What every template may use. Also for a request that the guard stopped before it knew who asks."""
    visited = SCOPE_KEY in request.scope
    theme = request.cookies.get(THEME_COOKIE)
    return {
        "now_us": hold_of(request).clock.now_us() if visited else 0,
        "user": current_user(request) if visited else None,
        "csrf": csrf_token(request) if visited else "",
        "path": request.url.path,
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "theme": theme if theme in THEMES else None,
        "notice": None,
    }


def page_headers() -> dict[str, str]:
    """Headers of every page: nothing inline runs, nothing is kept by the browser after signing out."""
    return {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "Vary": "HX-Request, Cookie",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }


# -- after an action ------------------------------------------------------------------------------------


def back_to(request: Request, where: str, text: str = "", *, kind: str = "done", undo: str | None = None) -> Response:
    """Go on to a page of ours and say there, once, what was done. `undo`: a path to take it back by POST."""
    response = RedirectResponse(local_path(where), status_code=303, headers={"Cache-Control": "no-store"})
    if text:
        notice = json.dumps({"text": text[:_NOTICE_CHARS], "kind": kind, "undo": undo}, ensure_ascii=False)
        response.set_cookie(
            NOTICE_COOKIE,
            quote(notice, errors="replace"),
            max_age=60,
            path="/",
            httponly=True,
            samesite="lax",
            secure=visit_of(request).secure,
        )
    return response


def take_notice(request: Request) -> dict[str, Any] | None:
    """What the last action wanted said, if it can be read."""
    raw = request.cookies.get(NOTICE_COOKIE)
    if not raw or len(raw) > _NOTICE_COOKIE_MAX:
        return None
    try:
        found = json.loads(unquote(raw))
        text, kind, undo = str(found["text"]), str(found["kind"]), found.get("undo")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    undo = undo if isinstance(undo, str) and local_path(undo) == undo else None
    return {"text": text, "kind": kind if kind in {"done", "warning"} else "done", "undo": undo}


def local_path(where: str | None, otherwise: str = "/datasets") -> str:
    """`where` if it is a path of this server, else `otherwise`: nobody is sent elsewhere by a link."""
    if not where or not where.startswith("/") or where.startswith(("//", "/\\")):
        return otherwise
    return where if where.isprintable() and "\\" not in where else otherwise


# -- the environment ------------------------------------------------------------------------------------


@cache
def environment() -> Environment:
    """The templates of this package, compiled once."""
    env = Environment(
        loader=PackageLoader("holdfast.server", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(
        size=words.size_words,
        exact_bytes=words.exact_bytes,
        percent=words.percent_words,
        duration=words.duration_words,
        shown=words.printable,
        sizes=words.with_sizes,
        counted=words.counted,
        exact_time=words.exact_time,
        iso_time=words.iso_time,
        clock=words.clock_words,
        ago=_ago,
        day=_day,
        query=query_of,
    )
    env.globals["asset"] = asset_url
    return env


@pass_context
def _ago(context: Context, then_us: int | None) -> str:
    return words.ago_words(then_us, context["now_us"])


@pass_context
def _day(context: Context, then_us: int) -> str:
    return words.day_words(then_us, context["now_us"])


def query_of(values: Mapping[str, Any], **changed: Any) -> str:
    """`?a=1&b=2` of what is not empty, with some values changed; an empty text for nothing."""
    merged = {name: value for name, value in {**values, **changed}.items() if value not in {None, ""}}
    return f"?{urlencode(merged)}" if merged else ""
