"""Labels: added, changed and removed on the dataset's page; shown in lists; searched by the box and by a click."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import Laboratory


def kept(lab: Laboratory, number: int) -> dict[str, str]:
    """What the catalog's own file says, both as it is shown and as it is searched."""
    [said] = lab.rows("SELECT labels FROM dataset WHERE id = ?", number)
    found = dict(tuple(row) for row in lab.rows("SELECT key, value FROM label WHERE dataset_id = ?", number))
    labels: dict[str, str] = json.loads(said["labels"])
    assert labels == found
    return labels


@pytest.mark.parametrize("with_script", [True, False])
def test_add_change_and_remove(lab: Laboratory, new_page: NewPage, with_script: bool):
    number = lab.put("labelled.txt", b"x")
    page = signed_in(new_page(lab, java_script_enabled=with_script))
    page.goto(f"/datasets/{number}")
    page.get_by_text("Add labels").click()
    page.get_by_label("Key of label 1").fill("project")
    page.get_by_label("Value of label 1").fill("apollo 11")
    page.get_by_label("Key of label 2").fill("run")
    page.get_by_label("Value of label 2").fill("7")
    page.get_by_role("button", name="Save labels").click()
    expect(page.get_by_role("main")).to_contain_text("project: apollo 11")
    assert kept(lab, number) == {"project": "apollo 11", "run": "7"}
    page.get_by_text("Change labels").click()
    page.get_by_label("Value of label 2").fill("8")
    page.get_by_label("Value of label 2").press("Enter")
    expect(page.get_by_role("main")).to_contain_text("run: 8")
    assert kept(lab, number) == {"project": "apollo 11", "run": "8"}, "Enter saves, and removes nothing"
    page.get_by_text("Change labels").click()
    page.get_by_role("button", name="Remove the label project").click()
    expect(page.get_by_role("main")).not_to_contain_text("project: apollo 11")
    assert kept(lab, number) == {"run": "8"}


def test_a_mistake_is_said_and_what_was_typed_stays(page: Page, lab: Laboratory):
    number = lab.put("labelled.txt", b"x", labels="run=7")
    page.goto(f"/datasets/{number}")
    page.get_by_text("Change labels").click()
    page.get_by_label("Key of label 2").fill("run")
    page.get_by_label("Value of label 2").fill("8")
    page.get_by_role("button", name="Save labels").click()
    expect(page.get_by_role("alert")).to_contain_text("there twice")
    expect(page.get_by_label("Value of label 2")).to_have_value("8")
    assert kept(lab, number) == {"run": "7"}


def test_found_by_a_click_and_by_the_box(page: Page, lab: Laboratory):
    wanted = lab.put("one-of-them.txt", b"x", labels="colour=dark blue,shelf=4")
    other = lab.put("other-of-them.txt", b"x", labels="colour=dark green,shelf=4")
    page.goto("/datasets")
    page.locator(f"#d{wanted}").get_by_role("link", name="colour: dark blue").click()
    expect(page.locator(f"#d{wanted}")).to_be_visible()
    expect(page.locator(f"#d{other}")).to_have_count(0)
    expect(page.get_by_label("Search by name or label")).to_have_value('label:"colour=dark blue"')
    page.get_by_label("Search by name or label").fill("label:shelf=4 other-of")
    expect(page.locator(f"#d{other}")).to_be_visible()
    expect(page.locator(f"#d{wanted}")).to_have_count(0)
    page.get_by_label("Search by name or label").fill("label:shelf")
    expect(page.locator("#list")).to_contain_text("for example label:project=apollo")
    page.get_by_label("Search by name or label").fill("label:shelf=5")
    expect(page.locator("#list")).to_contain_text("a label is found exactly as it was written")


def test_what_a_label_holds_is_text(page: Page, lab: Laboratory):
    number = lab.put("hostile.txt", b"x")
    with lab.api() as api:
        hostile = {'"><script>alert(1)</script>': "</td{{ 7*7 }}"}
        assert api.patch(f"/api/datasets/{number}", json={"labels": hostile}).status_code == 200
    page.goto("/datasets")
    expect(page.locator(f"#d{number} .tag")).to_contain_text("<script>alert(1)</script>: </td{{ 7*7 }}")
    page.locator(f"#d{number} .tag").click()
    expect(page.locator("#list tbody tr")).to_have_count(1)
    page.goto(f"/datasets/{number}")
    page.get_by_text("Change labels").click()
    expect(page.get_by_label("Value of label 1")).to_have_value("</td{{ 7*7 }}")
