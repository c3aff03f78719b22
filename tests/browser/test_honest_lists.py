"""What the pages say of lists, of names, and of what is not there (yet, or any more)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import USER, USER_PASSWORD, Laboratory
from tests.browser.test_jobs import run


@pytest.mark.parametrize("email", ["ada@example.org", USER])
def test_the_only_dataset_is_deleted_and_restored_from_the_list(own_lab: Laboratory, new_page: NewPage, email: str):
    with own_lab.api(email) as api:
        number = api.post("/api/datasets", params={"name": "only.txt"}, content=b"the only one").json()["id"]
        api.delete(f"/api/datasets/{number}")
    page = new_page(own_lab)
    signed_in(page, USER, USER_PASSWORD) if email == USER else signed_in(page)
    expect(page.get_by_text("Nothing is stored yet")).to_have_count(0)
    expect(page.locator("#summary")).not_to_contain_text("1\u00a0dataset")
    page.get_by_role("link", name="Show what is deleted").click()
    expect(page.get_by_label("State", exact=True)).to_have_value("deleted")
    page.get_by_role("link", name="only.txt").click()
    page.get_by_role("button", name="Restore").click()
    page.goto("/datasets")
    expect(page.locator("#list")).to_contain_text("only.txt")
    expect(page.locator("#summary")).to_have_text("1\u00a0dataset, 12\u00a0B")


def test_a_filtered_list_says_how_much_of_all_it_is_and_one_pages_both_ways(own_lab: Laboratory, new_page: NewPage):
    with own_lab.api() as api:
        for number in range(130):
            name = f"hit-{number}" if number % 13 == 0 else f"other-{number}"
            assert api.post("/api/datasets", params={"name": name}, content=b"x").status_code == 201
    page = signed_in(new_page(own_lab))
    page.get_by_label("Search by name").fill("hit-")
    expect(page.locator("#summary")).to_have_text("10 of 130\u00a0datasets")
    page.get_by_label("Search by name").fill("-")
    expect(page.locator("#summary")).to_have_text("more than 50 of 130\u00a0datasets")
    page.goto("/datasets")
    first = page.locator("#list tbody tr").first
    seen = [first.get_attribute("id")]
    for _ in range(2):
        page.get_by_role("link", name="Older").click()
        expect(first).not_to_have_id(seen[-1])
        seen.append(first.get_attribute("id"))
    for wanted in reversed(seen[:2]):
        page.get_by_role("link", name="Newer").click()
        expect(first).to_have_id(wanted)
    expect(page.get_by_role("link", name="Newer")).to_have_count(0)


def test_a_name_that_turns_round_is_seen_as_it_is(page: Page, lab: Laboratory):
    number = lab.put("rtl\u202egpj.exe", b"x")
    page.reload()
    expect(page.locator(f"#d{number} .name")).to_have_text("rtl[U+202E]gpj.exe")
    page.goto(f"/datasets/{number}")
    expect(page.get_by_role("heading", level=1)).to_have_text("rtl[U+202E]gpj.exe")
    expect(page).to_have_title(re.compile(r"^rtl\[U\+202E\]gpj\.exe"))
    assert "\u202e" not in page.locator("body").inner_text()
    page.goto("/datasets")
    page.route("**/api/uploads", lambda route: route.abort())
    page.evaluate("""() => {
      const carried = new DataTransfer();
      carried.items.add(new File(["x"], "up\\u202egpj.exe"));
      document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true}));
    }""")
    expect(page.locator(".up .n")).to_have_text("up[U+202E]gpj.exe")


def test_a_dataset_that_is_being_written(page: Page, lab: Laboratory):
    more, begun = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield b"x" * 2**20
        begun.set()
        more.wait(30)
        yield b"the end"

    def send() -> None:
        with lab.api() as api:
            api.post("/api/datasets", params={"name": "slow.txt"}, content=body())

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert begun.wait(10)
        for _ in range(40):
            if lab.rows("SELECT id FROM dataset WHERE name = 'slow.txt'"):
                break
            page.wait_for_timeout(250)
        page.goto(f"/datasets/{lab.dataset('slow.txt')['id']}")
        expect(page.get_by_text("it is known when the last byte is written")).to_be_visible()
        expect(page.get_by_text("found in its pool")).to_have_count(0)
        expect(page.locator("#full-path")).to_have_count(0)
    finally:
        more.set()
        sender.join()
    page.reload()
    assert Path(page.locator("#full-path").inner_text()).stat().st_size == 2**20 + 7


def test_a_failed_job_says_what_it_made_and_how_long_that_stays(page: Page, lab: Laboratory):
    page.goto("/jobs")
    run(page, "echo made > {output:made.txt}; true {output:forgotten.txt}")
    expect(page.locator("#job [role=status]")).to_contain_text("failed", timeout=20_000)
    made = page.locator("#job li", has_text="made.txt").first
    expect(made).to_contain_text("made, but not stored: the job failed")
    assert Path(made.locator("code").inner_text()).read_text() == "made\n"
    expect(page.locator("#job li", has_text="forgotten.txt").first).to_contain_text("not made")
    expect(page.get_by_text(re.compile(r"Its folder is kept for 7\sdays after its end, until"))).to_be_visible()


def test_a_damaged_catalog_is_not_said_to_come_back_by_itself(own_lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(own_lab))
    own_lab.put("before.txt", b"x")
    catalog = own_lab.folder / "state" / "catalog.sqlite"
    own_lab.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(catalog, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (catalog.stat().st_size - 4096))
    answer = page.goto("/datasets")
    assert answer is not None
    assert answer.status in {500, 503}
    expect(page.get_by_text("comes back by itself")).to_have_count(0)


def test_a_folders_files_become_datasets(page: Page, lab: Laboratory):
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    page.evaluate("""() => {
      const file = (name) => ({isFile: true, name, file: (then) => then(new File([name], name))});
      const folder = (name, ...inside) => ({isFile: false, isDirectory: true, name, createReader: () => {
        const rest = [inside, []];
        return {readEntries: (then) => then(rest.shift())};
      }});
      const top = folder("run", file("in-folder-1.txt"), folder("deep", file("in-folder-2.txt")), folder("none"));
      const carried = {types: ["Files"], items: [{kind: "file", webkitGetAsEntry: () => top, getAsFile: () => null}]};
      const event = new Event("drop", {bubbles: true, cancelable: true});
      Object.defineProperty(event, "dataTransfer", {value: carried});
      document.body.dispatchEvent(event);
    }""")
    for name in ("in-folder-1.txt", "in-folder-2.txt"):
        expect(page.locator("#list").get_by_role("row").filter(has_text=name)).to_contain_text("ok")
        body = lab.newdata / "000" / f"dataset_{lab.dataset(name)['id']}.dat"
        assert body.read_text() == name


def test_the_words_fit_what_one_has_in_hand(lab: Laboratory, new_page: NewPage):
    lab.put("something.txt", b"x")
    mouse = signed_in(new_page(lab))
    expect(mouse.get_by_text("Drop files or folders anywhere")).to_be_visible()
    touch = signed_in(new_page(lab, has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740}))
    expect(touch.get_by_text("Drop files or folders anywhere")).to_be_hidden()
    expect(touch.get_by_text("Several at once")).to_be_visible()
    plain = signed_in(new_page(lab, java_script_enabled=False))
    expect(plain.get_by_text("Several at once")).to_be_hidden()
    expect(plain.get_by_text("One file at a time.")).to_be_visible()


def test_a_narrow_list_of_users_says_who_is_active(lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(lab, viewport={"width": 360, "height": 740}))
    page.goto("/users")
    expect(page.locator(".list .state", has_text="active").first).to_be_visible()


def test_a_server_that_is_down_fills_no_console(own_lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(own_lab))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    own_lab.kill()
    expect(page.get_by_text("The connection to Holdfast is lost.")).to_be_visible(timeout=15_000)
    page.wait_for_timeout(4000)
    assert not [text for text in said if "htmx" in text or "TypeError" in text], said
    own_lab.start()
    expect(page.get_by_text("The connection to Holdfast is lost.")).to_have_count(0, timeout=15_000)
