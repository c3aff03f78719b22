"""A browser, a server, and somebody who is signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tests.browser.laboratory import ADMIN, ADMIN_PASSWORD, Laboratory, laboratory
from tests.plugins.needs import find_program

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 15_000

NewPage = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.needs("chromium"))


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """One server for all tests that do not stop it: each uses names of its own."""
    with laboratory(tmp_path_factory.mktemp("laboratory")) as running:
        yield running


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Laboratory]:
    """A server for one test alone."""
    with laboratory(tmp_path / "laboratory") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = find_program("chromium", "chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[NewPage]:
    """`new_page(lab, ...)`: a page of a browser that is new. What it complains of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(lab: Laboratory, **options: object) -> Page:
        context = chromium.new_context(base_url=lab.url, **{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda said: complaints.append(f"{page.url}: {said.text}") if _is_bad(said) else None)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not complaints, "the browser complains:\n" + "\n".join(complaints)


@pytest.fixture
def page(lab: Laboratory, new_page: NewPage) -> Page:
    """The administrator's datasets page."""
    return signed_in(new_page(lab))


def signed_in(page: Page, email: str = ADMIN, password: str = ADMIN_PASSWORD) -> Page:
    page.goto("/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/datasets")
    return page


def _is_bad(said: object) -> bool:
    """Errors of scripts and of the content policy; not the network errors that tests cause."""
    expected = ("Failed to load resource", "Failed to fetch")
    return said.type == "error" and not any(text in said.text for text in expected)
