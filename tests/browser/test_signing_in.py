"""Getting in and out: passwords, links that work once, where one wanted to go."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import ADMIN, USER, USER_PASSWORD, Laboratory


def test_a_wrong_password_is_said_and_the_address_kept(lab: Laboratory, new_page: NewPage):
    page = new_page(lab)
    page.goto("/datasets")
    page.get_by_label("E-mail address").fill(USER)
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    expect(page.get_by_label("E-mail address")).to_have_value(USER)
    expect(page.get_by_label("Password")).to_be_focused()


def test_one_comes_to_the_page_that_one_wanted(lab: Laboratory, new_page: NewPage):
    page = new_page(lab)
    page.goto("/pools?size=1+GiB")
    assert "/sign-in?next=" in page.url
    page.get_by_label("E-mail address").fill(USER)
    page.get_by_label("Password").fill(USER_PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/pools?size=1+GiB")


def test_nobody_is_sent_to_another_server(lab: Laboratory, new_page: NewPage):
    page = new_page(lab)
    page.goto("/sign-in?next=//evil.example/")
    page.get_by_label("E-mail address").fill(USER)
    page.get_by_label("Password").fill(USER_PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{lab.url}/datasets")


def test_signing_out_ends_the_session(page: Page, lab: Laboratory):
    cookies = page.context.cookies()
    page.get_by_label("Your account").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.context.add_cookies(cookies)  # the old cookie is worth nothing any more
    page.goto("/datasets")
    expect(page).to_have_url(re.compile("/sign-in"))


def test_an_administrator_adds_somebody_by_a_link_that_works_once(page: Page, lab: Laboratory, new_page: NewPage):
    page.goto("/users")
    page.get_by_label("E-mail address").fill("katherine@example.org")
    page.get_by_role("button", name="Add, and make a sign-in link").click()
    link = page.locator("#fresh").inner_text()
    assert link.startswith(f"{lab.url}/sign-in/")

    newcomer = new_page(lab)
    newcomer.goto(link)  # looking at it does not use it up
    newcomer.goto(link)
    newcomer.get_by_role("button", name="Continue").click()
    newcomer.wait_for_url("**/account")
    newcomer.get_by_label("New password").fill("trajectories by hand")
    newcomer.locator("section", has_text="Choose a password").get_by_role("button", name="Save").click()
    expect(newcomer.get_by_role("status").first).to_contain_text("Your password is changed.")

    late = new_page(lab)
    late.goto(link)
    late.get_by_role("button", name="Continue").click()
    expect(late.get_by_role("alert")).to_contain_text("used already")
    signed_in(late, "katherine@example.org", "trajectories by hand")
    hashed = lab.rows("SELECT password_hash FROM account WHERE email = 'katherine@example.org'")[0][0]
    assert hashed.startswith("$argon2id$")


def test_who_is_switched_off_is_out_at_once(page: Page, lab: Laboratory, new_page: NewPage):
    page.goto("/users")
    page.get_by_label("E-mail address").fill("mallory@example.org")
    page.get_by_role("button", name="Add, and make a sign-in link").click()
    link = page.locator("#fresh").inner_text()
    other = new_page(lab)
    other.goto(link)
    other.get_by_role("button", name="Continue").click()
    other.wait_for_url("**/account")
    page.get_by_role("row", name="mallory@example.org").get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("row", name="mallory@example.org")).to_contain_text("switched off")
    other.goto("/datasets")
    expect(other).to_have_url(re.compile("/sign-in"))


def test_the_last_administrator_stays_one(page: Page):
    page.goto("/users")
    page.get_by_role("row", name=ADMIN).get_by_role("button", name="Make ordinary").click()
    expect(page.get_by_role("alert")).to_contain_text("last administrator")


def test_a_token_is_shown_once_and_works(page: Page, lab: Laboratory):
    import httpx

    page.goto("/account")
    page.get_by_label("What the token is for").fill("backup script")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator("#fresh").inner_text()
    asked = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{lab.url}/api/pools", headers=asked).status_code == 200
    page.goto("/account")
    assert token not in page.content()
    page.get_by_role("button", name="Revoke backup script").click()
    expect(page.get_by_role("status").first).to_contain_text("works no more")
    assert httpx.get(f"{lab.url}/api/pools", headers=asked).status_code == 401


def test_administrators_pages_are_closed_to_others(lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(lab), USER, USER_PASSWORD)
    expect(page.get_by_role("navigation", name="Main").get_by_role("link", name="Users")).to_have_count(0)
    for path in ("/users", "/operations"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
        assert "Traceback" not in page.content()


def test_a_page_that_looks_after_itself_notices_that_the_session_ended(page: Page, lab: Laboratory):
    page.goto("/pools")
    page.context.clear_cookies()
    expect(page.get_by_text("You are signed out.")).to_be_visible(timeout=10_000)
    expect(page.locator("section.pool").first).to_be_visible()
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url("**/sign-in?next=%2Fpools")
