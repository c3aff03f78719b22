"""Signing in and out, one-time links, the choice of colours."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from holdfast.errors import Unauthenticated
from holdfast.server.auth import redeem_link, sign_in, sign_out
from holdfast.server.context import accounts_of, current_user, in_thread
from holdfast.server.pages import words
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.rendering import THEME_COOKIE, THEMES, back_to, local_path, render_page
from holdfast.server.problem import HttpProblem

router = APIRouter()
_YEAR_S = 31_536_000


@router.get("/")
def front(request: Request) -> Response:
    """The front door leads to the datasets, or to the sign-in page."""
    return RedirectResponse("/datasets" if current_user(request) else "/sign-in", status_code=303)


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "") -> Response:  # noqa: A002 - the field's name
    """The form; without any account: how to make the first."""
    if current_user(request) is not None:
        return RedirectResponse(local_path(next), status_code=303)
    return _form(request, next_page=next)


@router.post("/sign-in")
async def do_sign_in(request: Request, form: Sent) -> Response:
    """Sign in, and go where the person wanted to go."""
    email, next_page = form.text("email"), form.text("next")
    try:
        session = await sign_in(email, form.raw("password"), request)
    except (Unauthenticated, HttpProblem) as error:
        status = error.status if isinstance(error, HttpProblem) else 401
        problem = words.sentence(str(error))
        response = await in_thread(_form, request, email=email, next_page=next_page, problem=problem, status=status)
        if error.retry_after_s:
            response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
        return response
    response = RedirectResponse(local_path(next_page), status_code=303)
    session.attach(response)
    return response


@router.get("/sign-in/{secret}")
def show_link(request: Request, secret: str) -> Response:  # noqa: ARG001 - the address has it
    """A one-time link: it is used up by the button, not by a program that looks at links in mail."""
    return render_page(request, "link.html", {})


@router.post("/sign-in/{secret}")
async def use_link(request: Request, secret: str) -> Response:
    """Sign in by a one-time link; who has no password yet is asked to choose one."""
    try:
        session = await redeem_link(secret, request)
    except Unauthenticated as error:
        return await in_thread(_form, request, problem=words.sentence(str(error)), status=401)
    if session.account.has_password:
        response = back_to(request, "/datasets", "Welcome back.")
    else:
        response = back_to(request, "/account", "Welcome. Choose a password now, so that you can come back.")
    session.attach(response)
    return response


@router.post("/sign-out")
async def do_sign_out(request: Request) -> Response:
    """End this session."""
    response = back_to(request, "/sign-in", "You are signed out.")
    await sign_out(request, response)
    return response


@router.post("/theme")
async def choose_theme(request: Request, form: Sent) -> Response:
    """Light, dark, or as the system says."""
    theme = form.text("theme")
    response = back_to(request, form.text("next"))
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=_YEAR_S, path="/", samesite="lax", httponly=True)
    else:
        response.delete_cookie(THEME_COOKIE, path="/")
    return response


def _form(
    request: Request, *, email: str = "", next_page: str = "", problem: str | None = None, status: int = 200
) -> Response:
    values = {
        "any_account": accounts_of(request).has_any(),
        "problem": problem,
        "email": email,
        "next": local_path(next_page, ""),
    }
    return render_page(request, "sign_in.html", values, status)
