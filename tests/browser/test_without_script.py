"""A browser that runs no script: slower, and everything works."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import Laboratory


def scriptless(lab: Laboratory, new_page: NewPage) -> Page:
    return signed_in(new_page(lab, java_script_enabled=False))


def test_upload_look_delete_undo(lab: Laboratory, new_page: NewPage, tmp_path: Path):
    source = tmp_path / "plain form.txt"
    source.write_bytes(b"by a plain form\n" * 1000)
    page = scriptless(lab, new_page)
    page.get_by_label("Files to upload").set_input_files(source)
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("plain form.txt is stored.")
    number = lab.dataset("plain form.txt")["id"]
    expect(page.locator("#full-path")).to_have_text(f"{lab.newdata}/000/dataset_{number}.dat")
    assert (lab.newdata / "000" / f"dataset_{number}.dat").read_bytes() == source.read_bytes()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("plain form.txt")
    page.get_by_text("Rename").first.click()
    page.get_by_label("New name").fill("renamed plainly.txt")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("renamed plainly.txt")


def test_search(lab: Laboratory, new_page: NewPage):
    lab.put("found-plainly.txt", b"x")
    lab.put("lost-plainly.txt", b"x")
    page = scriptless(lab, new_page)
    page.get_by_label("Search by name").fill("found-pl")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#list")).to_contain_text("found-plainly.txt")
    expect(page.locator("#list")).not_to_contain_text("lost-plainly.txt")


def test_a_job(lab: Laboratory, new_page: NewPage):
    number = lab.put("numbers.txt", b"2\n1\n")
    page = scriptless(lab, new_page)
    page.goto(f"/jobs?input={number}")
    page.get_by_label("Command line").fill("sort {input1} {input2}")
    page.get_by_role("button", name="Another input").click()
    expect(page.get_by_label("Command line")).to_have_value("sort {input1} {input2}")
    page.get_by_label("Dataset for input2").fill(f"{number} numbers.txt")
    page.get_by_role("button", name="Run", exact=True).click()
    for _ in range(60):
        if re.search(r"\bok\b", page.locator("#job [role=status]").inner_text()):
            break
        page.wait_for_timeout(250)
        page.reload()
    expect(page.locator("#stdout")).to_have_text(re.compile(r"1\s+1\s+2\s+2"))


def test_pools_next_and_colours(lab: Laboratory, new_page: NewPage):
    page = scriptless(lab, new_page)
    page.goto("/pools")
    page.get_by_label("for a dataset of").fill("900 PiB")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No pool would take it.")).to_be_visible()
    page.get_by_label("Colours").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page).to_have_url(re.compile("size=900"))
