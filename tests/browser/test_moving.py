"""Moving from the pages: a plan that is read first, one button that begins it, its end said loudly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import DOCUMENT, USER, USER_PASSWORD, Laboratory, laboratory
from tests.browser.test_pools import card

from holdfast.operations.receipt_key import ReceiptKey
from holdfast.operations.receipts import verified


def lying(pool: Path) -> list[str]:
    """The datasets' files in a pool's folder."""
    return sorted(path.name for path in pool.rglob("dataset_*.dat"))


def test_a_pool_is_drained_from_its_card(own_lab: Laboratory, new_page: NewPage):
    for at in range(3):
        own_lab.put(f"{at}.txt", b"x" * 1000, pool="olddata")
    page = signed_in(new_page(own_lab))
    page.goto("/pools")
    card(page, "olddata").get_by_role("link", name="Drain olddata").click()
    plan = page.locator("#plan")
    expect(plan).to_contain_text(re.compile(r"Datasets\s*3"))
    expect(plan).to_contain_text("An estimate")
    goes, comes = (plan.locator("tr", has=page.get_by_role("cell", name=name)) for name in ("olddata", "newdata"))
    expect(goes).to_contain_text("3\u00a0datasets, 2.93\u00a0KiB, goes")
    expect(comes).to_contain_text("3\u00a0datasets, 2.93\u00a0KiB, comes")
    assert own_lab.rows("SELECT state FROM pool WHERE object_store_id = 'olddata'")[0]["state"] == "active"
    page.get_by_label("Where to").select_option("newdata")
    page.get_by_label("Not faster than").fill("50 MiB/s")
    page.get_by_role("button", name="Show the plan again").click()
    expect(page.get_by_label("Not faster than")).to_have_value("50 MiB/s")
    page.get_by_role("button", name="Begin the drain").click()
    page.wait_for_url("**/operations/*")
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    asked = own_lab.rows("SELECT parameters FROM operation WHERE kind = 'drain'")[0]["parameters"]
    assert '"to": "newdata"' in asked.replace('":"', '": "')
    assert str(50 * 2**20) in asked
    assert len(lying(own_lab.newdata)) == 3


def test_the_end_of_a_drain_is_said_loudly_and_its_receipt_is_genuine(own_lab: Laboratory, new_page: NewPage):
    own_lab.put("whole.txt", b"x" * 1000, pool="olddata")
    bad = own_lab.put("damaged.txt", b"y" * 1000, pool="olddata")
    body = own_lab.olddata / "000" / f"dataset_{bad}.dat"
    body.write_bytes(b"z" * 1000)
    with own_lab.api() as api:
        asked = {"kind": "drain", "parameters": {"pool": "olddata", "to": "newdata"}}
        drain = api.post("/api/operations", json=asked).json()["id"]
    page = signed_in(new_page(own_lab))
    page.goto(f"/operations/{drain}")
    expect(page.get_by_role("alert")).to_contain_text("Not safe to unplug", timeout=30_000)
    expect(page.locator("#operation")).to_contain_text("olddata → newdata")
    expect(page.locator("tr", has_text=f"Dataset {bad}")).to_contain_text(re.compile("olddata|damaged|blake3"))
    body.write_bytes(b"y" * 1000)
    with own_lab.api() as api:
        scrub = api.post("/api/operations", json={"kind": "scrub"}).json()["id"]
    page.goto(f"/operations/{scrub}")
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    page.goto(f"/operations/{drain}")
    page.get_by_role("button", name="Try again what is left").click()
    expect(page.locator(".notice.done")).to_have_count(2, timeout=30_000)  # it was begun; and how it ended
    expect(page.get_by_role("alert")).to_contain_text("Safe to unplug")
    with page.expect_download() as download:
        page.get_by_role("link", name="Receipt").click()
    key = ReceiptKey.of(own_lab.folder / "state").public
    with open(download.value.path(), "rb") as stream:
        statement = verified(stream, {key})
    assert (statement["blobs"], statement["bytes"]) == (1, 1000), "this drain moved the one that was left"
    assert len(lying(own_lab.newdata)) == 2


def test_a_move_is_tried_again_for_what_is_left(own_lab: Laboratory, new_page: NewPage):
    ids = [own_lab.put(f"{at}.txt", b"x" * 1000, pool="olddata") for at in range(3)]
    away = own_lab.olddata / "000" / f"dataset_{ids[1]}.dat"
    away.rename(own_lab.folder / "away")
    with own_lab.api() as api:
        asked = {"kind": "move", "parameters": {"datasets": ids, "to": "newdata"}}
        move = api.post("/api/operations", json=asked).json()["id"]
    page = signed_in(new_page(own_lab))
    page.goto(f"/operations/{move}")
    again = page.get_by_role("button", name="Try these again")
    expect(again).to_have_count(1, timeout=30_000)
    (own_lab.folder / "away").rename(away)
    with own_lab.api() as api:
        scrub = api.post("/api/operations", json={"kind": "scrub"}).json()["id"]
    page.goto(f"/operations/{scrub}")
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    page.goto(f"/operations/{move}")
    again.click()
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    expect(page.locator("#operation [role=status]")).to_contain_text("1\u00a0dataset to newdata")
    expect(page.locator("#operation")).to_contain_text("Nothing was left over")
    assert len(lying(own_lab.newdata)) == 3


def test_what_was_typed_wrongly_is_said_and_nothing_begins(lab: Laboratory, page: Page):
    begun = len(lab.rows("SELECT * FROM operation"))
    for rate in ("fast", "0"):
        answer = page.goto(f"/pools/drain?pool=olddata&rate={rate}")
        assert answer is not None
        assert answer.status == 422
        expect(page.get_by_role("alert")).to_contain_text("is no rate")
        expect(page.get_by_role("button", name="Begin the drain")).to_have_count(0)
    page.goto("/pools/drain?pool=nothing")
    expect(page.locator("main")).to_contain_text("nothing")
    assert len(lab.rows("SELECT * FROM operation")) == begun


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """Pools that are small, so that a few datasets can be seen in their bars."""
    document = DOCUMENT.replace("type: disk,", "type: disk, capacity: 10 MB,")
    with laboratory(tmp_path_factory.mktemp("small"), document) as running:
        yield running


def test_a_rebalance_shows_the_pools_before_and_after(small_lab: Laboratory, new_page: NewPage):
    own_lab = small_lab
    for at in range(20):
        own_lab.put(f"{at}.bin", b"x" * 200_000, pool="olddata")
    page = signed_in(new_page(own_lab))
    page.goto("/pools")
    page.get_by_role("link", name="Rebalance").click()
    expect(page.locator("#plan")).to_contain_text("An estimate")
    rows = page.locator("#plan tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.locator(".bar")).to_have_count(4)
    expect(rows.filter(has_text="olddata")).to_contain_text("goes")
    expect(rows.filter(has_text="newdata")).to_contain_text("comes")
    before = {name: len(lying(pool)) for name, pool in (("old", own_lab.olddata), ("new", own_lab.newdata))}
    assert before == {"old": 20, "new": 0}
    page.get_by_role("button", name="Begin the rebalance").click()
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    assert len(lying(own_lab.newdata)) == 10
    page.goto("/pools/rebalance")
    expect(page.locator("#plan")).to_contain_text("The pools are even")
    expect(page.get_by_role("button", name="Begin")).to_have_count(0)


def test_one_dataset_is_moved_from_its_page(small_lab: Laboratory, new_page: NewPage):
    number = small_lab.put("one.txt", b"one dataset", pool="olddata")
    page = signed_in(new_page(small_lab))
    page.goto(f"/datasets/{number}")
    page.get_by_role("link", name="Move to").click()
    expect(page.get_by_label("olddata")).to_be_disabled()
    expect(page.locator("li", has_text="olddata")).to_contain_text("Cannot take it: it is there already")
    expect(page.locator("li", has_text="New data")).to_contain_text(re.compile(r"[\d.]+\s\w+ free, \d+% full"))
    page.get_by_label("New data").check()
    page.get_by_role("button", name="Move it").click()
    page.wait_for_url("**/operations/*")
    expect(page.locator("#operation [role=status]")).to_contain_text("done", timeout=20_000)
    expect(page.locator("#operation")).to_contain_text("olddata → newdata")
    page.goto(f"/datasets/{number}")
    path = page.locator("#full-path").inner_text()
    assert path.startswith(str(small_lab.newdata))
    assert Path(path).read_bytes() == b"one dataset"


def test_a_pool_that_has_no_room_cannot_be_chosen(small_lab: Laboratory, new_page: NewPage):
    number = small_lab.put("big.bin", b"x" * 4_000_000, pool="olddata")
    filler = small_lab.put("filler.bin", b"x" * 5_000_000, pool="newdata")
    more = small_lab.put("more.bin", b"x" * 1_500_000, pool="newdata")
    page = signed_in(new_page(small_lab))
    page.goto(f"/datasets/{number}/move")
    expect(page.get_by_label("New data")).to_be_disabled()
    expect(page.locator("li", has_text="New data")).to_contain_text("do not fit")
    with small_lab.api() as api:
        for one in (filler, more, number):
            assert api.delete(f"/api/datasets/{one}", params={"purge": "true"}).status_code == 200


def test_it_works_without_a_script(small_lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(small_lab, java_script_enabled=False))
    page.goto("/pools/drain?pool=olddata")
    page.get_by_role("button", name="Begin the drain").click()
    page.wait_for_url("**/operations/*")


def test_only_administrators_see_and_do_it(lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(lab), USER, USER_PASSWORD)
    page.goto("/pools")
    expect(page.get_by_role("link", name=re.compile("Drain|Rebalance"))).to_have_count(0)
    number = lab.put("of-grace.txt", b"x")
    for path in ("/pools/drain?pool=olddata", "/pools/rebalance", f"/datasets/{number}/move"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == (404 if "datasets" in path else 403), "another's dataset does not exist"
