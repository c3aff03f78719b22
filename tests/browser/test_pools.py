"""The pools page: its numbers are those of the disk and of the catalog; its states are obeyed."""

from __future__ import annotations

import os
import re
import shutil

from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import USER, USER_PASSWORD, Laboratory

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}


def card(page: Page, name: str):
    return page.locator("section.pool").filter(has=page.get_by_role("heading", name=name, exact=True))


def number(page: Page, name: str, label: str) -> float:
    """What the legend says, in bytes."""
    text = card(page, name).locator(".key > div").filter(has_text=label).locator("dd").inner_text()
    found = re.match(r"([\d.]+)\s(\w+)", text)
    assert found, text
    return float(found[1]) * UNITS[found[2]]


def test_numbers_are_those_of_the_disk_and_the_catalog(page: Page, lab: Laboratory):
    lab.put("five-mebibytes.bin", os.urandom(5 * 2**20))
    page.goto("/pools")
    used = lab.rows("SELECT used_bytes, datasets FROM pool WHERE object_store_id = 'newdata'")[0]
    disk = os.statvfs(lab.newdata)
    capacity, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    assert number(page, "New data", "Used by Holdfast") == pytest_approx(used["used_bytes"])
    assert abs(number(page, "New data", "Free") - free) < capacity * 0.02
    others = capacity - free - used["used_bytes"]
    assert abs(number(page, "New data", "Used by others") - others) < capacity * 0.02
    link = card(page, "New data").get_by_role("link", name=re.compile(r"datasets?$"))
    expect(link).to_have_text(f"{used['datasets']:,}\u00a0dataset" + ("" if used["datasets"] == 1 else "s"))
    expect(card(page, "olddata").locator(".key")).to_contain_text("at 97%")
    bar = card(page, "olddata").locator(".bar")
    assert bar.locator(".mark").get_attribute("x") == "97%"
    assert bar.locator(".others").get_attribute("width") is not None
    link.click()
    expect(page.get_by_label("Pool", exact=True)).to_have_value("newdata")


def pytest_approx(size_bytes: int):
    """As the page rounds it: three digits."""
    import pytest

    return pytest.approx(size_bytes, rel=0.006, abs=1)


def test_a_bar_is_said_in_words_too(page: Page):
    page.goto("/pools")
    label = card(page, "olddata").get_by_role("img").get_attribute("aria-label")
    assert label
    for word in ("used by Holdfast", "by others", "reserved", "free of", "limit at 97%"):
        assert word in label


def test_what_comes_next_and_why(page: Page):
    page.goto("/pools")
    comes = page.locator("section", has=page.get_by_role("heading", name="What comes next"))
    expect(comes).to_contain_text("The next dataset goes to newdata.")
    page.get_by_label("for a dataset of").fill("900 PiB")
    page.get_by_role("button", name="Show").click()
    expect(comes).to_contain_text("No pool would take it.")
    page.get_by_label("for a dataset of").fill("much")
    page.get_by_role("button", name="Show").click()
    expect(comes.get_by_role("alert")).to_contain_text("not a size")


def test_an_administrator_takes_a_pool_out_and_back(page: Page, lab: Laboratory, new_page: NewPage):
    page.goto("/pools")
    card(page, "New data").get_by_label("State").select_option("read-only")
    page.wait_for_timeout(4500)  # the page that looks after itself leaves a choice alone that is being made
    expect(card(page, "New data").get_by_label("State")).to_have_value("read-only")
    card(page, "New data").get_by_role("button", name="Set").click()
    expect(page.get_by_role("status").first).to_contain_text("takes nothing new")
    assert lab.rows("SELECT state FROM pool WHERE object_store_id = 'newdata'")[0][0] == "read-only"
    comes = page.locator("section", has=page.get_by_role("heading", name="What comes next"))
    expect(comes).to_contain_text("The next dataset goes to olddata.")
    number = lab.put("goes-elsewhere.txt", b"x")
    assert (lab.olddata / "000" / f"dataset_{number}.dat").exists()
    page.goto("/pools")
    card(page, "New data").get_by_label("State").select_option("active")
    card(page, "New data").get_by_role("button", name="Set").click()
    expect(page.get_by_role("status").first).to_contain_text("takes new datasets")
    page.get_by_role("button", name="Undo").click()
    expect(card(page, "New data").locator("header .state")).to_have_text("read-only")
    with lab.api() as api:
        assert api.patch("/api/pools/newdata", json={"state": "active"}).status_code == 200
    expect(card(page, "New data").locator("header .state")).to_have_text("active", timeout=8000)

    other = signed_in(new_page(lab), USER, USER_PASSWORD)
    other.goto("/pools")
    expect(other.get_by_label("State")).to_have_count(0)


def test_a_pool_that_vanishes_and_one_that_is_taken_out_of_the_file(own_lab: Laboratory, new_page: NewPage):
    number = own_lab.put("far-away.txt", b"x", pool="olddata")
    page = signed_in(new_page(own_lab))
    own_lab.olddata.rename(own_lab.folder / "unplugged")
    page.goto("/pools")
    expect(card(page, "olddata").locator("header .state")).to_have_text("unavailable")
    expect(card(page, "olddata").locator(".notice")).to_contain_text("stays listed and comes back with it")
    page.goto(f"/datasets/{number}")
    expect(page.locator(".notice.error")).to_contain_text(re.compile("cannot be read now.*olddata"))
    assert not own_lab.olddata.exists(), "nobody makes an empty folder of it"

    own_lab.stop()
    lines = own_lab.document.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "olddata" not in line and "/data/" not in line]
    own_lab.document.write_text("\n".join(kept) + "\n", encoding="utf-8")
    own_lab.start()
    page.goto("/pools")
    expect(card(page, "olddata").locator("header .state")).to_have_text("not configured")
    expect(card(page, "olddata").locator(".notice")).to_contain_text("no longer in the configuration")
    page.goto("/datasets")
    expect(page.locator("#list").get_by_role("row").filter(has_text="far-away.txt")).to_contain_text("olddata")
    shutil.move(own_lab.folder / "unplugged", own_lab.olddata)
