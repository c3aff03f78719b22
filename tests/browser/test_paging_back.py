"""Every list that has a next page has a way back: page by page, without a script, with the keyboard alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import ADMIN, USER, USER_PASSWORD, Laboratory, laboratory

NOW_US = 1_700_000_000_000_000
LISTS = {
    "/jobs": ("#list tbody tr", "Newer", "Older", 50),
    "/operations": ("#list tbody tr", "Newer", "Older", 20),
    "/activity": ("#list li", "Newer", "Older", 50),
    "/users": ("main tbody tr", "Previous", "Next", 100),
}


@pytest.fixture(scope="module")
def full_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """Three pages of everything, written into the catalog behind the server's back."""
    with laboratory(tmp_path_factory.mktemp("full")) as lab:
        with closing(sqlite3.connect(lab.folder / "state" / "catalog.sqlite", timeout=30)) as catalog, catalog:
            catalog.executemany(
                "INSERT INTO job (id, owner, state, command, created_us, finished_us) "
                "VALUES (?, ?, 'ok', '[\"true\"]', ?, ?)",
                [(at, ADMIN if at % 2 else USER, NOW_US, NOW_US) for at in range(1, 131)],
            )
            catalog.executemany(
                "INSERT INTO operation (id, kind, state, created_us, updated_us, finished_us) "
                "VALUES (?, 'scrub', 'done', ?, ?, ?)",
                [(at, NOW_US, NOW_US, NOW_US) for at in range(1001, 1051)],
            )
            catalog.executemany(
                "INSERT INTO event (at_us, kind, actor, text) VALUES (?, 'pool.state', ?, ?)",
                [(NOW_US + at, USER if at % 25 == 0 else ADMIN, f"event number {at}") for at in range(3000)],
            )
            catalog.executemany(
                "INSERT INTO account (id, email, is_admin, active, created_us) VALUES (?, ?, 0, 1, ?)",
                [(at, f"user{at}@example.org", NOW_US) for at in range(10, 260)],
            )
        yield lab


def shown(page: Page, rows: str) -> list[str]:
    return page.locator(rows).all_inner_texts()


def enter(page: Page, name: str) -> None:
    """Follow a link as somebody without a mouse does."""
    page.get_by_role("link", name=name, exact=True).focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")


@pytest.mark.parametrize("address", LISTS)
def test_there_and_back_without_a_script(full_lab: Laboratory, new_page: NewPage, address: str):
    rows, back, on, size = LISTS[address]
    page = signed_in(new_page(full_lab, java_script_enabled=False))
    page.goto(address)
    assert page.get_by_role("link", name=back, exact=True).count() == 0, "there is nothing before the first page"
    seen = [shown(page, rows)]
    for _ in range(2):
        enter(page, on)
        seen.append(shown(page, rows))
    assert len(seen[0]) == len(seen[1]) == size
    for wanted in (seen[1], seen[0]):
        enter(page, back)
        assert shown(page, rows) == wanted
    assert page.get_by_role("link", name=back, exact=True).count() == 0
    expect(page).to_have_url(f"{full_lab.url}{address}")


def test_ones_own_events_among_many_others(full_lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(full_lab, java_script_enabled=False), USER, USER_PASSWORD)
    page.goto("/activity")
    everything = [*shown(page, "#list li")]
    while page.get_by_role("link", name="Older").count():
        page.get_by_role("link", name="Older").click()
        everything += shown(page, "#list li")
    assert len(everything) == len(set(everything)) == 120
    back: list[str] = []
    while page.get_by_role("link", name="Newer").count():
        page.get_by_role("link", name="Newer").click()
        back += shown(page, "#list li")
    assert set(back) >= set(everything[:80]), "the way back skips none"
    expect(page).to_have_url(f"{full_lab.url}/activity")


@pytest.mark.parametrize("address", ["/jobs?after=1", "/operations?after=1", "/activity?before=1"])
def test_behind_the_last_page_is_a_way_back(full_lab: Laboratory, new_page: NewPage, address: str):
    page = signed_in(new_page(full_lab))
    page.goto(address)
    expect(page.locator("#list")).to_contain_text("nothing behind this page")
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("#list")).not_to_contain_text("nothing behind this page")
