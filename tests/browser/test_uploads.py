"""Bringing files in: by the button, by dropping, in pieces, over lost connections."""

from __future__ import annotations

import base64
import fcntl
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import USER, USER_PASSWORD, Laboratory

DROP = """([names, size]) => {
  const carried = new DataTransfer();
  for (const name of names) carried.items.add(new File(["x".repeat(size)], name, {type: "text/plain"}));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""


def upload(page: Page, *files: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload files").click()
    chooser.value.set_files(list(files))


def row(page: Page, name: str):
    return page.locator("#list").get_by_role("row").filter(has_text=name)


def a_file(folder: Path, name: str, size_bytes: int) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size_bytes))
    return path


def test_a_file_ends_up_in_the_pool_that_comes_first(page: Page, lab: Laboratory, tmp_path: Path):
    source = a_file(tmp_path, "button.bin", 3 * 2**20 + 17)
    upload(page, source)
    expect(row(page, "button.bin")).to_contain_text("newdata")
    expect(row(page, "button.bin")).to_contain_text("ok")
    expect(row(page, "button.bin")).to_contain_text("3.00\u00a0MiB")
    expect(page.locator("#uploads-here")).to_be_hidden()
    row(page, "button.bin").get_by_role("link").click()
    full_path = page.locator("#full-path").inner_text()
    number = lab.dataset("button.bin")["id"]
    assert full_path == f"{lab.newdata}/000/dataset_{number}.dat"
    assert Path(full_path).read_bytes() == source.read_bytes()
    expect(page.get_by_text(f"blake3:{_blake3(source)}")).to_be_visible()


def test_one_chooses_the_pool(page: Page, lab: Laboratory, tmp_path: Path):
    page.get_by_label("Pool for uploads").select_option("olddata")
    upload(page, a_file(tmp_path, "old-place.bin", 100))
    expect(row(page, "old-place.bin")).to_contain_text("olddata")
    assert list(lab.olddata.glob(f"000/dataset_{lab.dataset('old-place.bin')['id']}.dat"))


def test_files_are_dropped(page: Page, lab: Laboratory):
    names = [f"dropped-{number}.txt" for number in range(5)]
    page.evaluate(DROP, [names, 1000])
    for name in names:
        expect(row(page, name)).to_contain_text("1000\u00a0B")
    assert page.locator("body.over").count() == 0
    for name in names:
        body = lab.newdata / "000" / f"dataset_{lab.dataset(name)['id']}.dat"
        assert body.read_bytes() == b"x" * 1000


def test_an_empty_file_is_a_file(page: Page, lab: Laboratory, tmp_path: Path):
    upload(page, a_file(tmp_path, "empty.txt", 0))
    expect(row(page, "empty.txt")).to_contain_text("ok")
    assert lab.dataset("empty.txt")["size_bytes"] == 0


def test_the_first_file_of_all(own_lab: Laboratory, new_page: NewPage, tmp_path: Path):
    page = signed_in(new_page(own_lab))
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_be_visible()
    upload(page, a_file(tmp_path, "first.bin", 5000), a_file(tmp_path, "second.bin", 40 * 2**20))
    expect(row(page, "first.bin")).to_be_visible()
    expect(row(page, "second.bin")).to_be_visible()
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_have_count(0)
    expect(page.locator("#summary")).to_contain_text("2\u00a0datasets")


def test_a_lost_connection_is_taken_up_again(page: Page, lab: Laboratory, tmp_path: Path):
    source = a_file(tmp_path, "cut.bin", 40 * 2**20)
    seen: list[int] = []

    def cut(route: Route) -> None:
        seen.append(int(route.request.headers["upload-offset"]))
        if len(seen) in {2, 3}:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/api/uploads/*", lambda route: cut(route) if route.request.method == "PATCH" else route.continue_())
    upload(page, source)
    expect(page.locator(".up")).to_contain_text(re.compile("again in"))
    expect(row(page, "cut.bin")).to_be_visible(timeout=30_000)
    assert seen[:3] == [0, 16 * 2**20, 16 * 2**20], "what had arrived is not sent again"
    body = lab.newdata / "000" / f"dataset_{lab.dataset('cut.bin')['id']}.dat"
    assert body.read_bytes() == source.read_bytes()


def test_a_server_that_dies_in_the_middle(own_lab: Laboratory, new_page: NewPage, tmp_path: Path):
    source = a_file(tmp_path, "survivor.bin", 80 * 2**20)
    page = signed_in(new_page(own_lab))
    _slow_down(page)
    upload(page, source)
    _wait_for_part(page, 0.25)
    own_lab.kill()
    expect(page.locator(".up")).to_contain_text(re.compile("again in"))
    own_lab.start()
    expect(row(page, "survivor.bin")).to_be_visible(timeout=60_000)
    body = own_lab.newdata / "000" / f"dataset_{own_lab.dataset('survivor.bin')['id']}.dat"
    assert body.read_bytes() == source.read_bytes()
    assert len(own_lab.rows("SELECT id FROM dataset")) == 1


def test_a_page_that_is_loaded_again_goes_on_where_it_was(page: Page, lab: Laboratory, tmp_path: Path):
    source = a_file(tmp_path, "reloaded.bin", 48 * 2**20)
    _slow_down(page)
    page.on("dialog", lambda dialog: dialog.accept())
    upload(page, source)
    _wait_for_part(page, 0.4)
    page.reload()
    expect(page.locator(".up")).to_contain_text("interrupted")
    expect(page.locator(".up")).to_contain_text("Choose the same file again")
    offsets: list[int] = []
    page.on(
        "request",
        lambda asked: offsets.append(int(asked.headers["upload-offset"])) if asked.method == "PATCH" else None,
    )
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose the file: reloaded.bin").click()
    chooser.value.set_files([source])
    expect(row(page, "reloaded.bin")).to_be_visible(timeout=30_000)
    assert offsets
    assert min(offsets) >= 16 * 2**20, "what had arrived is not sent again"
    body = lab.newdata / "000" / f"dataset_{lab.dataset('reloaded.bin')['id']}.dat"
    assert body.read_bytes() == source.read_bytes()
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_pause_and_go_on_and_cancel(page: Page, lab: Laboratory, tmp_path: Path):
    _slow_down(page)
    upload(page, a_file(tmp_path, "paused.bin", 48 * 2**20), a_file(tmp_path, "unwanted.bin", 48 * 2**20))
    _wait_for_part(page, 0.1)
    page.get_by_role("button", name="Pause: paused.bin").click()
    expect(page.locator(".up", has_text="paused.bin")).to_contain_text("paused")
    page.get_by_role("button", name="Cancel: unwanted.bin").click()
    expect(page.locator(".up", has_text="unwanted.bin")).to_have_count(0)
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Go on: paused.bin").click()
    expect(row(page, "paused.bin")).to_be_visible(timeout=30_000)
    assert not lab.rows("SELECT id FROM dataset WHERE name = 'unwanted.bin'")
    for _ in range(40):  # the server may have to end the piece first
        if not lab.rows("SELECT id FROM upload WHERE name = 'unwanted.bin'"):
            return
        page.wait_for_timeout(250)
    raise AssertionError("what was given up still has its room")


def test_uploads_go_on_while_one_looks_at_other_pages(page: Page, lab: Laboratory, tmp_path: Path):
    _slow_down(page)
    upload(page, a_file(tmp_path, "meanwhile.bin", 64 * 2**20))
    expect(page.locator(".up")).to_be_visible()
    page.get_by_role("link", name="Pools", exact=True).click()
    expect(page.get_by_role("heading", name="Pools", level=1)).to_be_visible()
    expect(page.get_by_role("link", name="Pools", exact=True)).to_have_attribute("aria-current", "page")
    expect(page.locator("#tray")).to_contain_text("meanwhile.bin")
    page.go_back()
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()
    expect(page.locator("#uploads-here")).to_contain_text("meanwhile.bin")
    expect(row(page, "meanwhile.bin")).to_be_visible(timeout=30_000)


def test_signed_out_and_in_again_in_another_tab(page: Page, lab: Laboratory, tmp_path: Path):
    source = a_file(tmp_path, "persistent.bin", 48 * 2**20)
    _slow_down(page)
    upload(page, source)
    _wait_for_part(page, 0.1)
    other = page.context.new_page()
    other.goto("/pools")
    other.get_by_label("Your account").click()
    other.get_by_role("button", name="Sign out").click()
    expect(page.locator(".up.bad")).to_contain_text("signed out", timeout=20_000)
    expect(page.locator("#out")).to_be_visible()
    signed_in(other)
    page.get_by_role("button", name="Go on: persistent.bin").click()
    expect(row(page, "persistent.bin")).to_be_visible(timeout=30_000)
    expect(page.locator("#out")).to_have_count(0)
    body = lab.newdata / "000" / f"dataset_{lab.dataset('persistent.bin')['id']}.dat"
    assert body.read_bytes() == source.read_bytes()
    # forms of the page that was open all the time work again too
    page.get_by_label("Select persistent.bin").check()
    page.locator(".bulk").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status").first).to_contain_text("Deleted persistent.bin.")


def test_nothing_goes_on_under_another_account(page: Page, lab: Laboratory, tmp_path: Path):
    _slow_down(page)
    upload(page, a_file(tmp_path, "mine-alone.bin", 48 * 2**20))
    _wait_for_part(page, 0.1)
    other = page.context.new_page()
    other.goto("/pools")
    other.get_by_label("Your account").click()
    other.get_by_role("button", name="Sign out").click()
    expect(page.locator(".up.bad")).to_contain_text("signed out", timeout=20_000)
    signed_in(other, USER, USER_PASSWORD)
    page.get_by_role("button", name="Go on: mine-alone.bin").click()
    expect(page.locator(".up.bad")).to_contain_text("Somebody else is signed in here now")
    assert not lab.rows("SELECT id FROM dataset WHERE name = 'mine-alone.bin'")


def test_a_second_tab_shows_what_the_first_one_sends_and_lets_it_be(page: Page, lab: Laboratory, tmp_path: Path):
    _slow_down(page)
    upload(page, a_file(tmp_path, "two-tabs.bin", 80 * 2**20))
    _wait_for_part(page, 0.1)
    other = page.context.new_page()
    other.goto("/datasets")
    shown = other.locator(".up", has_text="two-tabs.bin")
    expect(shown).to_contain_text("in another tab")
    expect(shown.get_by_role("button")).to_have_count(0)
    expect(shown).not_to_contain_text("interrupted")
    expect(row(page, "two-tabs.bin")).to_be_visible(timeout=30_000)
    expect(shown).to_have_count(0)
    expect(row(other, "two-tabs.bin")).to_be_visible()


def test_what_a_closed_tab_sent_is_interrupted(page: Page, lab: Laboratory, tmp_path: Path):
    _slow_down(page)
    upload(page, a_file(tmp_path, "closed-tab.bin", 80 * 2**20))
    _wait_for_part(page, 0.1)
    other = page.context.new_page()
    other.goto("/datasets")
    shown = other.locator(".up", has_text="closed-tab.bin")
    expect(shown).to_contain_text("in another tab")
    page.close()
    expect(shown).to_contain_text("interrupted", timeout=15_000)
    other.get_by_role("button", name="Cancel: closed-tab.bin").click()
    for _ in range(40):
        if not lab.rows("SELECT id FROM upload WHERE name = 'closed-tab.bin'"):
            return
        other.wait_for_timeout(250)
    raise AssertionError("what was cancelled still has its room")


def test_what_another_program_adds_to_is_not_cancelled(page: Page, lab: Laboratory, tmp_path: Path):
    _slow_down(page)
    page.on("dialog", lambda dialog: dialog.accept())
    upload(page, a_file(tmp_path, "held.bin", 48 * 2**20))
    _wait_for_part(page, 0.1)
    page.reload()
    expect(page.locator(".up")).to_contain_text("interrupted")
    page.wait_for_timeout(1000)
    [spool] = (lab.folder / "state" / "uploads").glob(
        "*" + lab.rows("SELECT id FROM upload WHERE name = 'held.bin'")[0]["id"] + "*"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method) if request.method == "DELETE" else None)
    with open(spool, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        page.get_by_role("button", name="Cancel: held.bin").click()
        expect(page.locator(".up")).to_contain_text("Not cancelled: another page or program is adding to it now.")
        page.wait_for_timeout(3000)
        assert asked == ["DELETE"], "it is not asked again behind one's back"
    page.get_by_role("button", name="Cancel: held.bin").click()
    expect(page.locator(".up")).to_have_count(0)


def test_pools_that_are_away_are_said_and_it_goes_on_when_they_are_back(
    own_lab: Laboratory, new_page: NewPage, tmp_path: Path
):
    page = signed_in(new_page(own_lab))
    for pool in (own_lab.newdata, own_lab.olddata):
        pool.rename(pool.with_suffix(".away"))
    upload(page, a_file(tmp_path, "patient.bin", 3 * 2**20))
    expect(page.locator(".up")).to_contain_text("again in")
    expect(page.locator(".up .why")).to_contain_text(re.compile("mounted|not there|no pool", re.IGNORECASE))
    for pool in (own_lab.newdata, own_lab.olddata):
        pool.with_suffix(".away").rename(pool)
    expect(row(page, "patient.bin")).to_be_visible(timeout=30_000)
    expect(page.locator(".up")).to_have_count(0)


@pytest.mark.parametrize(("status", "asked"), [(403, 1), (422, 1), (507, 1), (500, 4)])
def test_what_repeating_cannot_mend_is_not_repeated_for_ever(page: Page, tmp_path: Path, status: int, asked: int):
    seen: list[str] = []

    def refuse(route: Route) -> None:
        seen.append(route.request.method)
        body = f'{{"status": {status}, "detail": "the reason of {status}"}}'
        route.fulfill(status=status, body=body, content_type="application/problem+json")

    page.route("**/api/uploads", refuse)
    upload(page, a_file(tmp_path, f"refused-{status}.bin", 2**20 + 1))
    expect(page.locator(".up .why")).to_contain_text(f"reason of {status}")
    expect(page.locator(".up.bad")).to_contain_text("not uploaded", timeout=20_000)
    page.wait_for_timeout(1500)
    assert seen == ["POST"] * asked
    expect(page.get_by_role("button", name=f"Go on: refused-{status}.bin")).to_be_visible()


def test_who_listens_hears_how_many_were_refused(page: Page, lab: Laboratory, tmp_path: Path):
    def refuse_one(route: Route) -> None:
        named = base64.b64decode(route.request.headers["upload-metadata"].split()[1]).decode()
        if named == "heard-2.bin":
            route.fulfill(status=507, body='{"detail": "it is full"}', content_type="application/problem+json")
        else:
            route.continue_()

    page.route("**/api/uploads", refuse_one)
    upload(page, *(a_file(tmp_path, f"heard-{number}.bin", 2000) for number in range(6)))
    expect(page.locator("#live")).to_contain_text("5 of 6 uploads are stored, 1 is not")
    expect(page.locator(".up.bad .why")).to_have_text("It is full")


def test_another_page_begins_at_its_top_while_an_upload_runs(page: Page, lab: Laboratory, tmp_path: Path):
    for number in range(30):
        lab.put(f"long-list-{number}.txt", b"x")
    page.reload()
    _slow_down(page)
    upload(page, a_file(tmp_path, "scrolled.bin", 48 * 2**20))
    expect(page.locator(".up")).to_be_visible()
    page.evaluate("scrollTo(0, 500)")
    page.get_by_role("link", name="Pools", exact=True).click()
    title = page.get_by_role("heading", name="Pools", level=1)
    expect(title).to_be_visible()
    assert page.evaluate("scrollY") == 0
    header, shown = page.locator(".top").bounding_box(), title.bounding_box()
    assert header
    assert shown
    assert shown["y"] >= header["y"] + header["height"]


def test_no_room_is_said_in_words(page: Page, lab: Laboratory):
    page.evaluate("""() => {
      const huge = new File(["x"], "huge.bin");
      Object.defineProperty(huge, "size", {value: 2 ** 52});
      const carried = {types: ["Files"], items: [{kind: "file", getAsFile: () => huge}]};
      const event = new Event("drop", {bubbles: true, cancelable: true});
      Object.defineProperty(event, "dataTransfer", {value: carried});
      document.body.dispatchEvent(event);
    }""")
    failed = page.locator(".up.bad")
    expect(failed).to_contain_text("not uploaded")
    expect(failed.locator(".why")).to_contain_text(re.compile("full|room|space|4096 TiB|4.0 PiB", re.IGNORECASE))
    expect(failed.locator(".why")).to_contain_text("No pool can take 4.0\N{NO-BREAK SPACE}PiB")
    page.get_by_role("button", name="Cancel: huge.bin").click()
    expect(failed).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
def test_numbers_that_change_move_nothing(lab: Laboratory, new_page: NewPage, tmp_path: Path, width: int):
    page = signed_in(new_page(lab, viewport={"width": width, "height": 860}))
    lab.put("something.txt", b"to have a list")
    page.reload()
    _slow_down(page)
    upload(page, a_file(tmp_path, f"steady-{width}.bin", 48 * 2**20))
    expect(page.locator(".up")).to_be_visible()
    places = set()
    while page.locator(".up progress").count():
        places.add(
            page.evaluate("""() => JSON.stringify([...document.querySelectorAll(".up, .up > *:not([hidden]), #list")]
              .map((node) => { const box = node.getBoundingClientRect(); return [box.x, box.y, box.width]; }))""")
        )
        page.wait_for_timeout(60)
    while_sending = [place for place in places if place.count("[") > 3]
    assert len(while_sending) == 1, "\n".join(while_sending)


def _wait_for_part(page: Page, part: float) -> None:
    """Until so much of the first upload has been sent."""
    progress = page.locator(".up progress").first
    while progress.evaluate("(bar) => bar.value") < part:
        page.wait_for_timeout(50)


def _slow_down(page: Page) -> None:
    """12 MiB a second, as a wireless network."""
    network = page.context.new_cdp_session(page)
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 5, "downloadThroughput": -1, "uploadThroughput": 12 * 2**20},
    )


def _blake3(path: Path) -> str:
    from blake3 import blake3

    return blake3(path.read_bytes()).hexdigest()


def test_a_hundred_files_leave_a_clean_list(own_lab: Laboratory, new_page: NewPage):
    own_lab.put("before.txt", b"x")
    page = signed_in(new_page(own_lab))
    page.evaluate(DROP, [[f"many-{number:03}.txt" for number in range(100)], 1000])
    expect(page.locator("#summary")).to_contain_text("101\u00a0datasets", timeout=60_000)
    expect(page.locator(".up")).to_have_count(0, timeout=15_000)
    expect(page.locator("#uploads-here")).to_be_hidden()
    expect(page.locator("#list tbody tr")).to_have_count(50)
    assert len({row[0] for row in own_lab.rows("SELECT name FROM dataset")}) == 101
