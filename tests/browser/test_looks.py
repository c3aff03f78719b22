"""Pictures of every page, light and dark, narrow and wide, for people to look at: screens/ (not kept by git)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import USER, USER_PASSWORD, Laboratory

SCREENS = Path(__file__).parent / "screens"
FILES = [
    ("hg38.chr21.fa", 2_311_004, {}), ("samples November.csv", 2_311, {"labels": "project=apollo,run=42"}),
    ("reads_R1.fastq.gz", 4_812_332, {}), ("reads_R2.fastq.gz", 4_790_112, {}), ("variants.filtered.vcf", 88_211, {}),
    ("alignment_sorted_and_deduplicated_of_patient_cohort_2026-11-21_lane_4_final.bam", 9_130_020, {}),
    ("counts.tsv", 902_331, {"pool": "olddata"}), ("תוצאות.txt", 12, {}), ("notes.txt", 0, {}),
]  # fmt: skip
PAGES = {
    "datasets": "/datasets", "nothing-found": "/datasets?q=nothing", "dataset": "/datasets/{dataset}",
    "deleted": "/datasets/{deleted}", "purge": "/datasets/{deleted}/purge", "pools": "/pools?size=1+GiB",
    "jobs": "/jobs", "job": "/jobs/{job}", "operations": "/operations",
    "operation": "/operations/{operation}", "activity": "/activity",
    "account": "/account", "users": "/users", "not-found": "/datasets/999999",
}  # fmt: skip


@pytest.fixture(scope="module")
def busy_lab(tmp_path_factory: pytest.TempPathFactory):
    from tests.browser.laboratory import laboratory

    with laboratory(tmp_path_factory.mktemp("busy")) as lab:
        yield lab


@pytest.fixture(scope="module")
def things(busy_lab: Laboratory) -> dict[str, int]:
    text = b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\nchr21\t9411239\t.\tG\tA\t50\nchr21\t9411245\t.\tC\tA\t48\n"
    made = {
        name: busy_lab.put(
            name, (text + os.urandom(size))[:size] if "vcf" not in name else (text * 900)[:size], **fields
        )
        for name, size, fields in FILES
    }
    with busy_lab.api() as api:
        api.delete(f"/api/datasets/{made['notes.txt']}")
        wanted = {
            "command": [
                "sh",
                "-c",
                'sort "${1}" | uniq -c | sort -rn > "${2}"; echo done; echo "3 lines left out" >&2',
                "sh",
                "{input1}",
                "{output:counted.txt}",
            ],
            "inputs": [made["variants.filtered.vcf"]],
            "outputs": ["counted.txt"],
        }
        job = api.post("/api/jobs", json=wanted).json()["id"]
        api.post("/api/jobs", json={"command": ["false"]})
        operation = api.post("/api/operations", json={"kind": "scrub"}).json()["id"]
        for _ in range(100):
            if (
                api.get(f"/api/jobs/{job}").json()["state"] == "ok"
                and api.get("/api/jobs", params={"state": "queued"}).json() == []
            ):
                break
            import time

            time.sleep(0.1)
    return {"dataset": made["variants.filtered.vcf"], "deleted": made["notes.txt"], "job": job, "operation": operation}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_pictures(busy_lab: Laboratory, new_page: NewPage, things: dict[str, int], scheme: str, width: int):
    SCREENS.mkdir(exist_ok=True)
    (SCREENS / ".gitignore").write_text("*\n")
    page = new_page(busy_lab, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto("/sign-in")
    page.screenshot(path=SCREENS / f"sign-in-{scheme}-{width}.png")
    signed_in(page)
    for name, path in PAGES.items():
        page.goto(path.format(**things))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png", full_page=True)
    newcomer = signed_in(
        new_page(busy_lab, color_scheme=scheme, viewport={"width": width, "height": 800}), USER, USER_PASSWORD
    )
    newcomer.screenshot(path=SCREENS / f"first-{scheme}-{width}.png")
