"""Without a mouse: everything can be reached, seen to be reached, and done."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage
from tests.browser.laboratory import ADMIN, ADMIN_PASSWORD, Laboratory

FOCUSED = """() => {
  const node = document.activeElement, box = node.getBoundingClientRect(), style = getComputedStyle(node);
  return {name: (node.getAttribute("aria-label") || node.innerText || node.name || node.id || node.tagName).trim(),
          seen: box.width > 0 && box.height > 0 && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
          body: node === document.body};
}"""


def tab_to(page: Page, name: str, *, most: int = 60) -> None:
    """Press Tab until what is called so has the focus; everything on the way must show that it has it."""
    page.wait_for_load_state()
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["body"]:
            continue
        assert focused["seen"], f"{page.url}: nothing shows that {focused['name']!r} has the focus"
        if re.search(name, focused["name"]):
            return
    raise AssertionError(f"{page.url}: Tab does not come to {name!r}")


def test_a_day_without_a_mouse(lab: Laboratory, new_page: NewPage, tmp_path: Path):
    (tmp_path / "keys.txt").write_text("b\na\n")
    page = new_page(lab)
    page.goto("/")
    page.keyboard.type(ADMIN)  # the first field has the focus already
    page.keyboard.press("Tab")
    page.keyboard.type(ADMIN_PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/datasets")
    expect(page.get_by_role("button", name="Upload files")).to_be_visible()

    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["name"] == "Skip to content"
    page.keyboard.press("Enter")
    with page.expect_file_chooser() as chooser:
        tab_to(page, "Upload files")
        page.keyboard.press("Enter")
    chooser.value.set_files([tmp_path / "keys.txt"])
    row = page.locator("#list").get_by_role("row").filter(has_text="keys.txt")
    expect(row).to_be_visible()
    tab_to(page, "^keys.txt$")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("keys.txt")

    tab_to(page, "Use in a job")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Run a command")).to_be_visible()
    page.get_by_label("Command line").focus()
    page.keyboard.type("sort {input1}")
    tab_to(page, "^Run$")
    page.keyboard.press("Enter")
    expect(page.locator("#stdout")).to_have_text(re.compile(r"a\s+b"), timeout=20_000)

    page.goto("/datasets?q=keys.txt")
    tab_to(page, "Select keys.txt")
    page.keyboard.press("Space")
    tab_to(page, "^Delete$")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Deleted keys.txt.")
    tab_to(page, "^Undo$")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("keys.txt is back.")

    tab_to(page, "Your account")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    assert page.evaluate(FOCUSED)["name"] == "Your account"
    page.keyboard.press("Enter")
    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in")


def test_the_focus_survives_a_list_that_changes(page: Page, lab: Laboratory):
    lab.put("stay-here.txt", b"x")
    page.goto("/datasets?q=stay-here")
    page.get_by_role("link", name="stay-here.txt").focus()
    lab.put("stay-here-too.txt", b"x")
    expect(page.get_by_role("link", name="stay-here-too.txt")).to_be_visible(timeout=8000)
    assert page.evaluate(FOCUSED)["name"] == "stay-here.txt"
