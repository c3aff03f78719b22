"""Remote pools on the pages: how they answer, what their caches hold, which parts of a dataset are near."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import Laboratory, laboratory
from tests.browser.test_accessible import violations
from tests.browser.test_looks import SCREENS
from tests.browser.test_pools import card
from tests.remote_kit import DOCUMENT

BLOCK = 2**20
SIZE = 20 * BLOCK


@pytest.fixture(scope="module")
def cloudy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A server over a disk and a bucket."""
    with laboratory(tmp_path_factory.mktemp("cloudy"), DOCUMENT) as lab:
        yield lab


@pytest.fixture
def cloudy_page(cloudy: Laboratory, new_page: NewPage) -> Page:
    return signed_in(new_page(cloudy))


def put_far(lab: Laboratory, name: str, size_bytes: int = SIZE) -> int:
    """A dataset in the bucket, of which nothing is cached any more."""
    number = lab.put(name, b"ACGT" * (size_bytes // 4), pool="cloud")
    run(lab, "cache", "drop", str(number))
    return number


def run(lab: Laboratory, *arguments: str) -> None:
    """The command line, in this process, over the server's document."""
    from tests.remote_kit import clouds_are_folders

    from holdfast.cli.main import main

    with clouds_are_folders(lab.folder):
        assert main(["--config", str(lab.document), *arguments]) == 0


def read_part(lab: Laboratory, number: int, start: int, count: int) -> httpx.Response:
    with lab.api() as api:
        headers = {"Range": f"bytes={start}-{start + count - 1}"}
        return api.get(f"/api/datasets/{number}/content", headers=headers)


def near(page: Page):
    return page.locator("section").filter(has=page.get_by_role("heading", name="Cached", exact=True))


def test_which_part_is_cached(cloudy: Laboratory, cloudy_page: Page):
    page, number = cloudy_page, put_far(cloudy, "far.bam")
    page.goto(f"/datasets/{number}")
    expect(near(page)).to_contain_text("Nothing of it.")
    expect(near(page).get_by_role("img")).to_have_count(0)
    assert read_part(cloudy, number, 5 * BLOCK, 10).status_code == 206
    assert read_part(cloudy, number, 15 * BLOCK, 10).status_code == 206
    page.reload()
    with cloudy.api() as api:
        parts = api.get(f"/api/datasets/{number}/storage").json()["cached"]["parts"]
    expect(near(page)).to_contain_text(f"of 20.0\u00a0MiB, in {len(parts)}\u00a0ranges")
    drawn = [
        (float(one.get_attribute("x").rstrip("%")), float(one.get_attribute("width").rstrip("%")))
        for one in near(page).locator("rect.used").all()
    ]
    wanted = [(100 * start / SIZE, 100 * (stop - start) / SIZE) for start, stop in parts]
    assert drawn == [pytest.approx(one, abs=0.1) for one in wanted]
    label = near(page).get_by_role("img").get_attribute("aria-label")
    assert label is not None
    assert "5.00\u00a0MiB to 6.00\u00a0MiB" in label
    run(cloudy, "cache", "warm", str(number))
    page.reload()
    expect(near(page)).to_contain_text("All of it, verified.")
    expect(near(page).get_by_role("img")).to_have_attribute("aria-label", "all of it is cached")


def test_where_a_dataset_without_a_local_file_lies(cloudy: Laboratory, cloudy_page: Page):
    number = put_far(cloudy, "far.txt", 8)
    cloudy_page.goto(f"/datasets/{number}")
    path = cloudy_page.locator(".path")
    expect(path).to_contain_text("Full Path")
    expect(path).to_contain_text("It has no local file. It lies in bucket datasets, under the key")
    expect(path.locator("code")).to_have_text(f"000/dataset_{number}.dat")
    expect(path.get_by_role("button", name="Copy the key")).to_be_visible()
    local = cloudy.put("near.txt", b"x", pool="newdata")
    cloudy_page.goto(f"/datasets/{local}")
    expect(path.locator("code")).to_have_text(str(cloudy.newdata / "000" / f"dataset_{local}.dat"))
    expect(near(cloudy_page)).to_have_count(0)


def test_the_pools_page_shows_the_cache(cloudy: Laboratory, cloudy_page: Page):
    page, number = cloudy_page, put_far(cloudy, "read often.bam")
    run(cloudy, "cache", "warm", str(number))
    for _ in range(3):
        read_part(cloudy, number, 0, 10)
    page.goto("/pools")
    with cloudy.api() as api:
        [folder] = api.get("/api/pools/cloud").json()["cache"]
    far = card(page, "cloud")
    expect(far.locator(".facts")).to_contain_text(str(cloudy.folder / "cache"))
    expect(far.locator(".facts")).to_contain_text(re.compile(r"of 64\.0\sMiB held; [\d.]+% of reads found it there"))
    shown = float(far.locator("rect.used").get_attribute("width").rstrip("%"))
    assert shown == pytest.approx(100 * folder["held_bytes"] / folder["bound_bytes"], abs=0.1)
    expect(far.locator(".facts .state")).to_have_text("ok")
    expect(card(page, "newdata")).not_to_contain_text("of reads found it there")


def test_a_bucket_that_does_not_answer(cloudy: Laboratory, cloudy_page: Page):
    page, number = cloudy_page, put_far(cloudy, "away.bam", 8)
    mark = cloudy.folder / "bucket-cloud" / ".mark"
    identity = mark.read_text()
    mark.unlink()  # another bucket has its name now
    assert read_part(cloudy, number, 0, 1).status_code == 503
    mark.write_text(identity)
    page.goto("/pools")
    far = card(page, "cloud")
    expect(far.locator(".facts .state")).to_have_text("failing")
    expect(far.locator(".facts")).to_contain_text(re.compile(r"failures?.*the last: pool cloud is another bucket"))
    expect(far.locator("header .state")).to_have_text("active")
    mark.unlink()
    for _ in range(6):
        assert read_part(cloudy, number, 0, 1).status_code == 503
    mark.write_text(identity)
    page.goto("/pools")
    expect(far.locator(".facts .state")).to_have_text("paused")
    expect(far.locator(".facts")).to_contain_text(re.compile(r"asked again in \d+\ss"))
    expect(far.locator("header .state")).to_have_text("unavailable")
    expect(far.locator(".notice")).to_contain_text("has not answered since")
    expect(card(page, "newdata").locator("header .state")).to_have_text("active")
    page.screenshot(path=SCREENS / "paused-light-1280.png", full_page=True)
    page.wait_for_timeout(5500)
    assert read_part(cloudy, number, 0, 1).status_code == 206, "it comes back by itself"
    expect(far.locator(".facts .state")).to_have_text("ok", timeout=8000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_looks(cloudy: Laboratory, new_page: NewPage, scheme: str, width: int):
    number = put_far(cloudy, f"looked at {scheme} {width}.bam")
    for start in (0, 3, 4, 11):
        read_part(cloudy, number, start * BLOCK, 10)
    page = signed_in(new_page(cloudy, color_scheme=scheme, viewport={"width": width, "height": 800}))
    found: list[str] = []
    for name, path in (("far-dataset", f"/datasets/{number}"), ("far-pools", "/pools")):
        page.goto(path)
        page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found += violations(page)
    assert not found, "\n".join(found)
