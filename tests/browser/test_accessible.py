"""What machines can tell of accessibility: axe's rules on every page, in both colours, wide and narrow.

axe-core 4.14.1 lies beside this file as its authors made it (Mozilla Public License 2.0); it is used here and
not shipped.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import Laboratory

PATHS = [
    "/datasets", "/datasets?q=nothing+is+called+so", "/datasets/{dataset}", "/datasets/{dataset}/purge", "/pools",
    "/jobs", "/jobs/{job}", "/operations", "/operations/{operation}", "/activity", "/account", "/users",
    "/datasets/999999",
    "/datasets/{dataset}/move", "/pools/drain?pool=olddata", "/pools/rebalance", "/operations/{moved}",
]  # fmt: skip
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@cache
def axe() -> str:
    return (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    page.evaluate(axe())
    found = page.evaluate("(tags) => axe.run(document, {runOnly: tags})", TAGS)
    return [
        f"{page.url} {one['id']} ({one['impact']}): {one['help']}\n    "
        + "\n    ".join(
            node["html"][:150] + " " + node["failureSummary"].replace("\n", " ")[:200] for node in one["nodes"][:3]
        )
        for one in found["violations"]
    ]


@pytest.fixture(scope="module")
def things(lab: Laboratory) -> dict[str, int]:
    """Something to look at on each page."""
    dataset = lab.put("looked at.txt", b"some text\n" * 10, labels="project=apollo")
    lab.put("another one.bam", b"\0" * 10_000, pool="olddata")
    with lab.api() as api:
        job = api.post("/api/jobs", json={"command": ["cat", "{input1}"], "inputs": [dataset]}).json()["id"]
        operation = api.post("/api/operations", json={"kind": "scrub"}).json()["id"]
        asked = {"kind": "move", "parameters": {"datasets": [dataset], "to": "newdata"}}
        moved = api.post("/api/operations", json=asked).json()["id"]
    return {"dataset": dataset, "job": job, "operation": operation, "moved": moved}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(lab: Laboratory, new_page: NewPage, things: dict[str, int], scheme: str, width: int):
    page = new_page(lab, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto("/sign-in")
    found = violations(page)
    signed_in(page)
    for path in PATHS:
        page.goto(path.format(**things))
        found += violations(page)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_screen(lab: Laboratory, new_page: NewPage, things: dict[str, int], width: int):
    page = signed_in(new_page(lab, viewport={"width": width, "height": 700}))
    for path in PATHS:
        page.goto(path.format(**things))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


def test_each_page_says_what_it_is(lab: Laboratory, new_page: NewPage, things: dict[str, int]):
    page = signed_in(new_page(lab))
    titles = set()
    for path in PATHS:
        page.goto(path.format(**things))
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.get_by_role("main")).to_have_count(1)
        assert page.title().endswith(" · Holdfast")
        titles.add(page.title())
    assert len(titles) >= len(PATHS) - 1


def test_text_can_be_twice_as_large(lab: Laboratory, new_page: NewPage, things: dict[str, int]):
    page = signed_in(new_page(lab, viewport={"width": 1280, "height": 800}))
    for path in ("/datasets", "/pools", "/jobs"):
        page.goto(path)
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280, path


def test_motion_is_reduced_for_who_wants_that(lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(lab, reduced_motion="reduce"))
    page.goto("/pools")
    assert page.evaluate("getComputedStyle(document.querySelector('.bar rect')).transitionDuration") == "0s"
