"""A file is what its bytes say, not what it is called: two files never become one dataset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import Laboratory
from tests.browser.test_uploads import _slow_down, _wait_for_part, row, upload

MIB = 2**20
TIME_S = 1_700_000_000


def twin(folder: Path, name: str, content: bytes) -> Path:
    """A file with that content, whose time is every other twin's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    os.utime(path, (TIME_S, TIME_S))
    return path


def interrupted(page: Page, source: Path) -> None:
    """The upload of that file, broken off after a while by loading the page again."""
    _slow_down(page)
    page.on("dialog", lambda dialog: dialog.accept())
    upload(page, source)
    _wait_for_part(page, 0.4)
    page.reload()
    expect(page.locator(".up")).to_contain_text("interrupted")


def bodies(lab: Laboratory, name: str) -> set[bytes]:
    numbers = [found["id"] for found in lab.rows("SELECT id FROM dataset WHERE name = ?", name)]
    return {(lab.newdata / "000" / f"dataset_{number}.dat").read_bytes() for number in numbers}


def choose(page: Page, source: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=f"Choose the file: {source.name}").click()
    chooser.value.set_files([source])


@pytest.mark.parametrize(("place", "secure"), [(5 * MIB, True), (16 * MIB - 1, False)], ids=["https", "http"])
def test_another_file_of_that_name_size_and_time_begins_anew(
    lab: Laboratory, new_page: NewPage, tmp_path: Path, place: int, secure: bool
):
    page = new_page(lab)
    if not secure:
        page.add_init_script("Object.defineProperty(crypto, 'subtle', {value: undefined})")
    signed_in(page)
    name = f"twin-{place}-{secure}.bin"
    content = os.urandom(40 * MIB)
    other = bytearray(content)
    other[place] ^= 1
    first, second = twin(tmp_path / "r1", name, content), twin(tmp_path / "r2", name, bytes(other))
    interrupted(page, first)
    choose(page, second)
    expect(row(page, name)).to_have_count(1, timeout=30_000)
    assert bodies(lab, name) == {bytes(other)}, "the file that was chosen, whole, and nothing of another"
    # the one that was begun waits for its own file
    expect(page.locator(".up.halt")).to_contain_text("interrupted")
    sent: list[int] = []
    page.on("request", lambda one: sent.append(int(one.headers["upload-offset"])) if one.method == "PATCH" else None)
    choose(page, first)
    expect(row(page, name)).to_have_count(2, timeout=30_000)
    assert sent
    assert min(sent) >= 16 * MIB, "what had arrived of it is not sent again"
    assert bodies(lab, name) == {content, bytes(other)}
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_two_files_of_one_name_at_once_are_two_datasets(page: Page, lab: Laboratory, tmp_path: Path):
    contents = {os.urandom(3 * MIB), os.urandom(3 * MIB)}
    files = [twin(tmp_path / f"r{at}", "same.txt", content) for at, content in enumerate(contents)]
    upload(page, *files)
    expect(row(page, "same.txt")).to_have_count(2)
    assert bodies(lab, "same.txt") == contents


def test_bytes_that_somebody_else_added_are_noticed(page: Page, lab: Laboratory, tmp_path: Path):
    """Two pages go on with one upload, with files that differ only behind what had arrived."""
    content = os.urandom(40 * MIB)
    source = twin(tmp_path, "raced.bin", content)
    interrupted(page, source)
    location = lab.rows("SELECT id FROM upload WHERE name = 'raced.bin'")[0]["id"]
    page.route(
        "**/api/uploads/*", lambda route: route.abort() if route.request.method == "PATCH" else route.continue_()
    )
    choose(page, source)
    expect(page.locator(".up")).to_contain_text("again in")
    with lab.api() as api:
        headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
        arrived = int(api.head(f"/api/uploads/{location}", headers=headers).headers["upload-offset"])
        headers["Upload-Offset"] = str(arrived)
        assert api.patch(f"/api/uploads/{location}", headers=headers, content=b"else" * 1000).status_code == 204
    page.unroute("**/api/uploads/*")
    expect(row(page, "raced.bin")).to_have_count(1, timeout=40_000)
    assert bodies(lab, "raced.bin") == {content}


def test_the_hash_for_plain_http_is_sha_256(page: Page):
    """Of every length around a block's end, against the browser's own."""
    different = page.evaluate("""async () => {
      await new Promise((onload) => document.head.append(Object.assign(document.createElement("script"),
        {src: document.querySelector("[data-same]").dataset.same, onload})));
      const seen = [], own = crypto.subtle, wrong = [];
      for (const size of [1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 70001]) {
        const file = new File([Uint8Array.from({length: size}, (_, at) => at * 7 + size)], "x");
        for (const subtle of [own, undefined]) {
          Object.defineProperty(crypto, "subtle", {value: subtle, configurable: true});
          await holdfast.same(file, 0, size, async (blocks) => seen.push(blocks[0].sha256), () => {});
        }
        if (seen.at(-1) !== seen.at(-2)) wrong.push(size);
      }
      return wrong;
    }""")
    assert different == []
