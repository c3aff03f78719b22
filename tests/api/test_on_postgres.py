"""The server over a catalog on PostgreSQL: the same face, and several servers at once."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest
from tests.api.served import ALICE, add_people, running
from tests.api.test_resuming import PIECE, announce, offset_of
from tests.api.test_who import sign_in

from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.hold.hold import Hold

pytestmark = pytest.mark.needs("postgres")


def hold_on(url: str, folder: Path, state: str) -> Hold:
    lines = [f"state_dir: {folder / state}", f"catalog: {url}", "placement: hierarchical", "pools:"]
    for at, name in enumerate(("newdata", "olddata")):
        (folder / name).mkdir(exist_ok=True)
        lines.append(f"  {name}: {{type: disk, files_dir: {folder / name}, order: {at}}}")
    document = folder / f"{state}.yml"
    document.write_text("\n".join(lines) + "\n")
    return open_hold(read_document(document, environ=dict(os.environ)))


def test_two_servers_are_one(postgres_url: str, tmp_path: Path):
    content = os.urandom(300_000)
    with (
        hold_on(postgres_url, tmp_path, "one") as first,
        hold_on(postgres_url, tmp_path, "two") as second,
        running(first, tmp_path) as one,
        running(second, tmp_path) as two,
    ):
        add_people(one)
        headers = {"x-api-key": one.token(ALICE)}
        with one.client() as here, two.client(headers=headers) as there:
            made = here.post("/api/datasets?name=a", content=content).json()
            assert there.get(f"/api/datasets/{made['id']}/content").content == content
            # an upload begun here goes on there, where the pools' disk is the same
            upload = announce(here, len(content))
            assert list((tmp_path / "newdata").glob(".holdfast-upload-*")), "the other server could not reach it"
            here.patch(upload, headers={**PIECE, "Upload-Offset": "0"}, content=content[:1000])
            assert offset_of(there, upload) == 1000
            answer = there.patch(upload, headers={**PIECE, "Upload-Offset": "1000"}, content=content[1000:])
            assert answer.status_code == 204, answer.text
            assert here.get(f"/api/datasets/{answer.headers['holdfast-dataset']}/content").content == content
            assert [pool["reserved_bytes"] for pool in here.get("/api/pools").json()] == [0, 0]
        with sign_in(one) as browser:
            session = dict(browser.cookies)
            assert httpx.get(two.url + "/api/whoami", cookies=session).json()["email"] == ALICE
