"""What is said when a request is wrong or its data are: plain words in the answer, one line in the log."""

from __future__ import annotations

import logging

import httpx
import pytest
from tests.api.served import ALICE, Served

HTML = {"Accept": "text/html"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/jobs/x", "There is no job x."),
        ("/jobs/99999999999999999999", "There is no job 99999999999999999999."),
        ("/operations/1.5", "There is no operation 1.5."),
    ],
)
def test_a_page_whose_address_is_none_is_not_there(admin: httpx.Client, path: str, said: str):
    page = admin.get(path, headers=HTML)
    assert page.status_code == 404
    assert said in page.text
    assert "Input should" not in page.text


def test_an_address_that_is_none_is_not_said_to_have_been_purged(alice: httpx.Client):
    nowhere = alice.get("/explain", headers=HTML)
    assert (nowhere.status_code, "purged" in nowhere.text, "Look at the address" in nowhere.text) == (404, False, True)
    nobodys = alice.get("/datasets/77", headers=HTML)
    assert (nobodys.status_code, "purged" in nobodys.text) == (404, True)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/api/datasets?limit=0", "limit is less than 1"),
        ("/api/datasets?limit=501", "limit is more than 500"),
        ("/api/datasets?limit=x&after=y", "limit is no whole number; after is no whole number"),
        ("/api/datasets?limit=1.5", "limit is no whole number"),
        ("/api/datasets?state=x", "state is none of 'new', 'ok', 'error', 'deleted' or 'purged'"),
        ("/api/datasets/1?purge=perhaps", "there is no query key 'purge' here; there are: none"),
    ],
)
def test_a_query_that_is_wrong_is_told_in_plain_words(alice: httpx.Client, path: str, detail: str):
    answer = alice.get(path)
    if "purge" in path:
        answer = alice.delete(path)
        detail = "purge is neither true nor false"
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "state is missing"),
        ({"state": "x"}, "state is none of 'active', 'read-only', 'draining' or 'offline'"),
        ({"state": "active", "weight": 2}, "weight is not known here"),
        ([], "body is no JSON object"),
    ],
)
def test_a_body_that_is_wrong_is_told_in_plain_words(admin: httpx.Client, body: object, detail: str):
    answer = admin.patch("/api/pools/newdata", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


def test_what_a_form_is_told_does_not_speak_of_the_command_line(alice: httpx.Client):
    answer = alice.post("/api/jobs", json={"command": ["cat", "{input1}", "{output:x}"]})
    assert answer.status_code == 422
    assert "--" not in answer.json()["detail"]


def test_damage_is_one_line_in_the_log(served: Served, alice: httpx.Client, caplog: pytest.LogCaptureFixture):
    dataset = served.hold.put(b"hello", name="a", owner=ALICE)
    path = served.hold.full_path(dataset)
    assert path is not None
    with open(path, "wb") as stream:
        stream.write(b"hello, longer")
    with caplog.at_level(logging.ERROR, logger="holdfast.server"):
        answer = alice.get(f"/api/datasets/{dataset.id}/content")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:holdfast:error:corrupt")
    [record] = [one for one in caplog.records if one.name == "holdfast.server"]
    assert record.exc_info is None
    said = f"content failed: dataset {dataset.id} in pool newdata is damaged: 5 bytes were stored, 13 are there"
    assert said in record.getMessage()
    assert "\n" not in record.getMessage()


def test_bytes_of_another_size_are_not_sent(served: Served, alice: httpx.Client):
    """Under a checksum that is not theirs, and a length that nobody was promised."""
    dataset = served.hold.put(b"hello", name="a", owner=ALICE)
    path = served.hold.full_path(dataset)
    assert path is not None
    for content in (b"hello, longer", b"hell", b""):
        with open(path, "wb") as stream:
            stream.write(content)
        for headers in ({}, {"Range": "bytes=0-1"}):
            assert alice.get(f"/api/datasets/{dataset.id}/content", headers=headers).status_code == 500
    with open(path, "wb") as stream:
        stream.write(b"hello")
    assert alice.get(f"/api/datasets/{dataset.id}/content").content == b"hello"
    alice.put(f"/api/datasets/{dataset.id}/content", content=b"another one")
    assert alice.get(f"/api/datasets/{dataset.id}/content").content == b"another one"
