"""Operations from the page: started, followed, their findings read."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import Laboratory


def test_a_scrub_finds_what_is_damaged(own_lab: Laboratory, new_page: NewPage):
    own_lab.put("whole.txt", b"x" * 1000)
    number = own_lab.put("damaged.txt", b"y" * 1000)
    body = own_lab.newdata / "000" / f"dataset_{number}.dat"
    body.write_bytes(b"y" * 999 + b"z")
    page = signed_in(new_page(own_lab))
    page.goto("/operations")
    page.get_by_role("button", name="Start a scrub").click()
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    findings = page.locator("section", has=page.get_by_role("heading", name="Findings"))
    expect(findings).to_contain_text("Corrupt")
    cut_off = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.innerText)"
    assert findings.locator("td").evaluate_all(cut_off) == [], "what was found can be read to its end"
    findings.get_by_role("link", name=f"Dataset {number}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("damaged.txt")
    expect(page.locator("main")).to_contain_text("suspect")
    expect(page.locator(".notice.error")).to_have_count(1)
    expect(page.locator(".notice.error")).to_contain_text("bring the file back from a backup")


def test_files_that_nobody_knows_are_adopted(own_lab: Laboratory, new_page: NewPage):
    (own_lab.olddata / "000").mkdir(exist_ok=True)
    (own_lab.olddata / "000" / "dataset_41.dat").write_bytes(b"from before Holdfast")
    page = signed_in(new_page(own_lab))
    page.goto("/operations")
    page.get_by_label("Record unknown files as datasets").check()
    page.get_by_role("button", name="Reconcile").click()
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    expect(page.locator("section", has=page.get_by_role("heading", name="Result"))).to_contain_text("Adopted")
    page.goto("/datasets/41")
    expect(page.locator("#full-path")).to_have_text(f"{own_lab.olddata}/000/dataset_41.dat")
    expect(page.get_by_role("main")).to_contain_text("before Holdfast knew of it")
    expect(page.locator("pre")).to_contain_text("from before Holdfast")


def test_reap_leaves_alone_what_may_be_wanted_back(own_lab: Laboratory, new_page: NewPage):
    number = own_lab.put("old.txt", b"x")
    with own_lab.api() as api:
        assert api.delete(f"/api/datasets/{number}").status_code == 200
    page: Page = signed_in(new_page(own_lab))
    page.goto("/operations")
    page.get_by_label("At once, without the time of grace").check()
    page.get_by_role("button", name="Reap").click()
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    assert (own_lab.newdata / "000" / f"dataset_{number}.dat").exists(), "deleted a moment ago, not purged"
    page.goto("/operations")
    expect(page.locator("#list")).to_contain_text("Reap 1")
