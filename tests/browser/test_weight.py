"""Budgets: what a page weighs, and what a list costs."""

from __future__ import annotations

import gzip
from importlib.resources import files

import httpx
import pytest
from playwright.sync_api import Page
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import Laboratory

OWN = ["holdfast.css", "holdfast.js", "uploads.js"]
OWN_SENT_MAX = 17 * 1024
SELDOM_SENT_MAX = 2 * 1024
OWN_EVERYWHERE_MAX = 31 * 1024


def body(name: str) -> bytes:
    return (files("holdfast.server") / "static" / name).read_bytes()


def test_own_styles_and_scripts_are_small():
    assert sum(len(gzip.compress(body(name), 9)) for name in OWN) <= OWN_SENT_MAX, "as they are sent, all of them"
    assert len(gzip.compress(body("same.js"), 9)) <= SELDOM_SENT_MAX, (
        "only where an upload that was interrupted goes on"
    )
    assert len(body("holdfast.css")) + len(body("holdfast.js")) <= OWN_EVERYWHERE_MAX, "what every page loads, unpacked"


def test_what_was_loaded_once_is_not_asked_for_again(lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(lab))
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(answer.url) if not answer.from_service_worker else None)
    page.goto("/pools")
    page.goto("/jobs")
    sizes = page.evaluate("""performance.getEntriesByType("resource")
        .filter((one) => one.name.includes("/static/")).map((one) => one.transferSize)""")
    assert sizes
    assert all(size == 0 for size in sizes), sizes
    assert not [url for url in asked if not url.startswith(lab.url)], "nothing comes from elsewhere"


def test_nothing_that_is_shown_already_is_sent_again(page: Page, lab: Laboratory):
    statuses: list[int] = []
    lab.put("calm.txt", b"x")
    page.goto("/pools")
    page.on(
        "response", lambda answer: statuses.append(answer.status) if answer.request.headers.get("hx-request") else None
    )
    page.goto("/datasets?q=calm.txt")
    page.wait_for_timeout(10_000)
    assert statuses.count(304) >= 1, statuses
    assert statuses.count(200) <= 2, statuses


@pytest.mark.parametrize("path", ["/datasets", "/pools", "/static/x/htmx.min.js"])
def test_headers(lab: Laboratory, new_page: NewPage, path: str):
    page = signed_in(new_page(lab))
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    answer = httpx.get(f"{lab.url}{path}", cookies=cookies)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    session = next(one for one in page.context.cookies() if one["name"] == "holdfast_session")
    assert session["httpOnly"]
    assert session["sameSite"] == "Lax"


def test_a_form_without_its_token_does_nothing(page: Page, lab: Laboratory):
    number = lab.put("wanted.txt", b"x")
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    for headers in ({}, {"Origin": "http://evil.example"}):
        answer = httpx.post(
            f"{lab.url}/datasets/{number}/delete", cookies=cookies, headers={"Accept": "text/html", **headers}
        )
        assert answer.status_code == 403
    assert lab.dataset("wanted.txt")["state"] == "ok"
