"""The pictures in the documentation, taken from a running server: `python -m tests.browser.pictures docs/images`.

With a second argument the laboratory's folders lie there, and their paths are what the pictures show. Names are
invented; sizes and times are written into the catalog while no server runs, since nobody wants to wait for them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright
from tests.browser.conftest import ARGUMENTS, signed_in
from tests.browser.laboratory import ADMIN, USER, Laboratory
from tests.plugins.needs import find_program

WIDTH = 1120
GIB, MIB = 2**30, 2**20
HOUR_S = 3600
DATASETS = [  # name, bytes, hours ago, pool, owner
    ("genome annotation 2024.gff3.gz", 61 * MIB, 2900, "olddata", USER),
    ("hg38.chr21.fa", 46_709_983, 700, "olddata", ADMIN),
    ("sample sheet.csv", 2_311, 74, "newdata", ADMIN),
    ("reads_R1.fastq.gz", 4_812_332_991, 51, "newdata", ADMIN),
    ("reads_R2.fastq.gz", 4_790_112_001, 51, "newdata", ADMIN),
    ("alignment.sorted.bam", 17_204_118_207, 27, "newdata", ADMIN),
    ("תוצאות.xlsx", 88_211, 9, "newdata", USER),
    ("variants.filtered.vcf", 1_902_331, 3, "newdata", ADMIN),
    ("coverage per gene.tsv", 640_112, 0.4, "newdata", USER),
]


def main(target: str, folder: str | None = None) -> None:
    """Take them."""
    with contextlib.ExitStack() as stack:
        lab = Laboratory(Path(folder or stack.enter_context(tempfile.TemporaryDirectory())))
        lab.start()
        stack.callback(lab.stop)
        for name, _, _, pool, owner in DATASETS:
            with lab.api(owner) as api:
                api.post("/api/datasets", params={"name": name, "pool": pool}, content=b"chr21\t9411239\n" * 9)
        lab.stop()
        _dress_up(lab)
        lab.start()
        playwright = stack.enter_context(sync_playwright())
        program = find_program("chromium", "chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        page = signed_in(browser.new_page(base_url=lab.url, viewport={"width": WIDTH, "height": 700}))
        page.wait_for_timeout(300)
        page.screenshot(path=f"{target}/datasets.png", full_page=True)
        page.goto("/pools?size=5+GiB")
        page.screenshot(path=f"{target}/pools.png", full_page=True)
        browser.close()


def _dress_up(lab: Laboratory) -> None:
    now_us = int(time.time() * 1e6)
    with contextlib.closing(sqlite3.connect(lab.folder / "state" / "catalog.sqlite")) as catalog, catalog:
        for name, size_bytes, hours, _, _ in DATASETS:
            values = (size_bytes, size_bytes, now_us - int(hours * HOUR_S * 1e6), name)
            catalog.execute("UPDATE dataset SET size_bytes = ?, total_bytes = ?, created_us = ? WHERE name = ?", values)
        for pool, reserved_bytes in (("newdata", 9 * GIB), ("olddata", 0)):
            used_bytes = sum(size for _, size, _, where, _ in DATASETS if where == pool)
            catalog.execute(
                "UPDATE pool SET used_bytes = ?, reserved_bytes = ? WHERE object_store_id = ?",
                (used_bytes, reserved_bytes, pool),
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
