"""The list and a dataset's page: find, look, rename, remove and take it back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import USER, USER_PASSWORD, Laboratory

HOSTILE = [
    "<script>alert(1)</script>.txt",
    '"><img src=x onerror=alert(2)>',
    "'; DROP TABLE dataset; --",
    "{{ 7 * 7 }}{% raw %}",
    "re\u202egnp.exe",
    "שלום עולם.txt",
    "a" * 200 + ".bam",
    "  blanks   inside  ",
    "emoji \U0001f9ec\u200d\U0001f52c combining e\u0301",
    "back\\slash and / slash",
    "%2e%2e%2f & ?q=1 #frag",
]


def row(page: Page, name: str):
    return page.locator("#list").get_by_role("row").filter(has_text=name)


def test_search_finds_parts_of_names_while_one_types(page: Page, lab: Laboratory):
    lab.put("Needle-One.fastq", b"1")
    lab.put("haystack.bam", b"2")
    page.reload()
    page.get_by_label("Search by name").press_sequentially("NEEDLE", delay=30)
    expect(row(page, "Needle-One.fastq")).to_be_visible()
    expect(row(page, "haystack.bam")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"\?q=NEEDLE$"))
    page.reload()
    expect(page.get_by_label("Search by name")).to_have_value("NEEDLE")
    expect(row(page, "haystack.bam")).to_have_count(0)
    page.wait_for_timeout(4000)  # the list that looks after itself keeps to what was asked
    expect(row(page, "haystack.bam")).to_have_count(0)
    page.get_by_label("Search by name").fill("no such thing at all")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Show all datasets").click()
    expect(row(page, "haystack.bam")).to_be_visible()


def test_filters_by_pool_state_and_owner(page: Page, lab: Laboratory):
    lab.put("on-the-new-disk", b"1")
    lab.put("on-the-old-disk", b"2", pool="olddata")
    page.get_by_label("Pool", exact=True).select_option("olddata")
    expect(row(page, "on-the-old-disk")).to_be_visible()
    expect(row(page, "on-the-new-disk")).to_have_count(0)
    page.get_by_label("Pool", exact=True).select_option("")
    page.get_by_label("Owner").fill("nobody@example.org")
    page.get_by_label("Owner").press("Enter")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()


def test_what_others_bring_in_appears_by_itself(page: Page, lab: Laboratory):
    before = page.locator("#summary").inner_text()
    lab.put("from-elsewhere.txt", b"hello")
    expect(row(page, "from-elsewhere.txt")).to_be_visible(timeout=8000)
    assert page.locator("#summary").inner_text() != before


def test_a_list_is_paged(own_lab: Laboratory, new_page: NewPage):
    for number in range(53):
        own_lab.put(f"page-{number:02}.txt", b"")
    page = signed_in(new_page(own_lab))
    expect(page.locator("#list tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#list tbody tr")).to_have_count(3)
    expect(row(page, "page-00.txt")).to_be_visible()
    page.get_by_role("link", name="Newest").click()
    expect(row(page, "page-52.txt")).to_be_visible()


def test_everything_that_is_known_of_a_dataset(page: Page, lab: Laboratory):
    number = lab.put("notes.txt", "first line\nzweite Zeile: größer\n".encode(), labels="project=apollo,run=42")
    page.goto(f"/datasets/{number}")
    known = lab.dataset("notes.txt")
    main = page.get_by_role("main")
    for key in ("uuid", "checksum", "owner"):
        expect(main).to_contain_text(known[key])
    for text in ("project: apollo", "run: 42", f"{known['size_bytes']}\u00a0bytes"):
        expect(main).to_contain_text(text)
    expect(page.locator("#full-path")).to_have_text(f"{lab.newdata}/000/dataset_{number}.dat")
    expect(page.locator("pre")).to_contain_text("zweite Zeile: größer")
    why = page.locator("section", has=page.get_by_role("heading", name="Why it is here"))
    expect(why.get_by_role("listitem").first).to_contain_text("newdata (chosen)")
    expect(why.get_by_role("listitem").nth(1)).to_contain_text("olddata")
    expect(page.locator("section", has=page.get_by_role("heading", name="Replicas"))).to_contain_text(
        f"000/dataset_{number}.dat"
    )
    expect(main.locator("time").first).to_have_attribute("title", re.compile(r"20\d\d.*UTC"))
    by_uuid = page.goto(f"/datasets/{known['uuid']}")
    assert by_uuid is not None
    assert by_uuid.status == 200


def test_the_full_path_is_copied(lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(lab, permissions=["clipboard-read", "clipboard-write"]))
    number = lab.put("copy-me.txt", b"1")
    page.goto(f"/datasets/{number}")
    page.get_by_role("button", name="Copy the full path").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{lab.newdata}/000/dataset_{number}.dat"


def test_a_download_has_its_name_and_its_bytes(page: Page, lab: Laboratory, tmp_path: Path):
    number = lab.put("größe & 1.bin", b"\0\1\2" * 1000)
    page.goto(f"/datasets/{number}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "größe & 1.bin"
    download.value.save_as(tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"\0\1\2" * 1000


def test_delete_and_undo(page: Page, lab: Laboratory):
    number = lab.put("by-mistake.txt", b"precious")
    page.goto(f"/datasets/{number}")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status").first).to_contain_text("Deleted by-mistake.txt.")
    assert lab.dataset("by-mistake.txt")["state"] == "deleted"
    expect(row(page, "by-mistake.txt")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="by-mistake.txt")).to_be_visible()
    assert lab.dataset("by-mistake.txt")["state"] == "ok"
    page.reload()
    expect(page.get_by_text("by-mistake.txt is back.")).to_have_count(0)


def test_several_are_deleted_at_once_and_come_back(page: Page, lab: Laboratory):
    names = [f"surplus-{number}.txt" for number in range(3)]
    for name in names:
        lab.put(name, b"x")
    page.goto("/datasets?q=surplus-")
    expect(page.get_by_role("button", name="Delete")).to_be_hidden()
    for name in names[:2]:
        page.get_by_label(f"Select {name}").check()
    page.wait_for_timeout(3500)  # a list that was loaded again keeps what is selected
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status").first).to_contain_text("Deleted 2\u00a0datasets")
    expect(page).to_have_url(re.compile("q=surplus-"))
    assert [lab.dataset(name)["state"] for name in names] == ["deleted", "deleted", "ok"]
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status").first).to_contain_text("2\u00a0datasets are back")
    assert [lab.dataset(name)["state"] for name in names] == ["ok", "ok", "ok"]


def test_purge_asks_first_and_then_the_bytes_are_gone(page: Page, lab: Laboratory):
    number = lab.put("for-good.txt", b"x" * 100)
    body = lab.newdata / "000" / f"dataset_{number}.dat"
    page.goto(f"/datasets/{number}")
    page.get_by_role("button", name="Delete").click()
    page.goto(f"/datasets/{number}")
    expect(page.get_by_text("The bytes are still there")).to_be_visible()
    page.get_by_role("link", name="Purge…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Purge this dataset?")
    assert body.exists()
    page.get_by_role("button", name="Purge for good").click()
    expect(page.get_by_role("status").first).to_contain_text("is purged")
    assert not body.exists()
    expect(page.get_by_role("link", name="Download")).to_have_count(0)


def test_rename(page: Page, lab: Laboratory):
    number = lab.put("old-name.txt", b"x")
    page.goto(f"/datasets/{number}")
    page.get_by_text("Rename").click()
    page.get_by_label("New name").fill("new name.txt")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("new name.txt")
    assert lab.rows("SELECT name FROM dataset WHERE id = ?", number)[0][0] == "new name.txt"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are_and_do_nothing(page: Page, lab: Laboratory, name: str):
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    number = lab.put("plain", b"x")
    with lab.api() as api:
        answer = api.patch(
            f"/api/datasets/{number}", json={"name": name, "labels": {"<b>": "</td><script>alert(3)</script>"}}
        )
        assert answer.status_code == 200, answer.text
    for path in ("/datasets", f"/datasets/{number}", "/activity", "/jobs"):
        page.goto(path)
        assert page.evaluate("document.querySelectorAll('script:not([src]), main img').length") == 0
    page.goto(f"/datasets/{number}")
    seen = name.replace("\u202e", "[U+202E]")  # what turns the rest round is shown, not obeyed
    expect(page.get_by_role("heading", level=1)).to_have_text(re.sub(r"\s+", " ", seen).strip())
    assert page.locator("h1 bdi").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not asked
    with lab.api() as api:
        api.delete(f"/api/datasets/{number}", params={"purge": "true"})


def test_damage_is_said_on_the_page(page: Page, lab: Laboratory):
    number = lab.put("damaged.txt", b"x" * 5000)
    (lab.newdata / "000" / f"dataset_{number}.dat").unlink()
    page.goto(f"/datasets/{number}")
    expect(page.locator(".notice.error")).to_contain_text("cannot be read")
    expect(page.get_by_role("link", name="Download")).to_have_count(0)
    assert "Traceback" not in page.content()


def test_others_see_only_their_own(lab: Laboratory, new_page: NewPage):
    number = lab.put("secret-of-ada.txt", b"x")
    page = signed_in(new_page(lab), USER, USER_PASSWORD)
    expect(row(page, "secret-of-ada.txt")).to_have_count(0)
    answer = page.goto(f"/datasets/{number}")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    page.goto("/datasets?owner=ada@example.org&q=secret")
    expect(row(page, "secret-of-ada.txt")).to_have_count(0)
    page.goto("/activity")
    expect(page.get_by_role("main")).not_to_contain_text("secret-of-ada.txt")


@pytest.mark.parametrize(
    "path",
    [
        "/datasets/999999",
        "/datasets/0",
        "/datasets/-1",
        "/datasets/9223372036854775808",
        "/datasets/x",
        "/jobs/77",
        "/pools/nowhere",
        "/nothing",
    ],
)
def test_what_is_not_there_is_said_with_a_way_on(page: Page, path: str):
    answer = page.goto(path)
    assert answer is not None
    assert answer.status in {404, 422}
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".big .button.primary")).to_be_visible()
    text = page.locator("main").inner_text()
    assert "Traceback" not in text
    assert "Error(" not in text
