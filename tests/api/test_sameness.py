"""Whoever goes on with an upload shows first that it is the same file."""

from __future__ import annotations

import hashlib
import itertools
import random

import httpx
import pytest
from tests.api.served import Served
from tests.api.test_resuming import TUS, announce, patch

MIB = 1024 * 1024


def ask(client: httpx.Client, upload: str, content: bytes, *cuts: int) -> httpx.Response:
    """Compare the blocks of `content` between the cuts."""
    blocks = [
        {
            "offset_bytes": start, "size_bytes": stop - start,
            "sha256": hashlib.sha256(content[start:stop]).hexdigest(),
        }
        for start, stop in itertools.pairwise(cuts)
    ]  # fmt: skip
    return client.post(f"{upload}/same", headers=TUS, json={"blocks": blocks})


def test_blocks_of_the_same_file_are_the_same_and_others_are_not(alice: httpx.Client):
    content = random.Random(3).randbytes(5 * MIB)
    upload = announce(alice, len(content))
    patch(alice, upload, 0, content[: 3 * MIB + 7])
    answer = ask(alice, upload, content, 0, MIB, 2 * MIB, 3 * MIB + 7)
    assert (answer.status_code, answer.json()) == (200, {"same": True, "differs_at_bytes": None})
    for place in (0, MIB, 2 * MIB + 5, 3 * MIB + 6):
        other = bytearray(content)
        other[place] ^= 1
        answer = ask(alice, upload, bytes(other), 0, MIB, 2 * MIB, 3 * MIB + 7)
        assert answer.json() == {"same": False, "differs_at_bytes": place // MIB * MIB if place < 3 * MIB else 2 * MIB}
    # looking changes nothing: it goes on where it was
    assert patch(alice, upload, 3 * MIB + 7, content[3 * MIB + 7 :]).status_code == 204


def test_only_what_has_arrived_is_compared(alice: httpx.Client):
    upload = announce(alice, 10)
    patch(alice, upload, 0, b"12345")
    answer = ask(alice, upload, b"123456", 0, 6)
    assert answer.status_code == 409
    assert answer.headers["upload-offset"] == "5"


def test_a_finished_upload_is_compared_with_its_dataset(alice: httpx.Client):
    upload = announce(alice, 10)
    number = patch(alice, upload, 0, b"0123456789").headers["holdfast-dataset"]
    assert ask(alice, upload, b"0123456789", 0, 5, 10).json()["same"] is True
    assert ask(alice, upload, b"0123456780", 0, 5, 10).json()["same"] is False
    alice.delete(f"/api/datasets/{number}")
    assert ask(alice, upload, b"0123456789", 0, 5, 10).status_code == 410, "it is to be sent again"


def test_nobody_learns_what_others_are_sending(served: Served, alice: httpx.Client, bob: httpx.Client):
    upload = announce(alice, 10)
    patch(alice, upload, 0, b"12345")
    assert ask(bob, upload, b"12345", 0, 5).status_code == 404


@pytest.mark.parametrize(
    "block",
    [
        {"offset_bytes": -1, "size_bytes": 1, "sha256": "0" * 64},
        {"offset_bytes": 0, "size_bytes": 2**40, "sha256": "0" * 64},
        {"offset_bytes": 0, "size_bytes": 1, "sha256": "xyz"},
    ],
)
def test_what_is_no_block_is_refused(alice: httpx.Client, block: dict[str, object]):
    upload = announce(alice, 10)
    answer = alice.post(f"{upload}/same", headers=TUS, json={"blocks": [block]})
    assert answer.status_code == 422
