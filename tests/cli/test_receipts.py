"""op receipt, receipt verify, receipt key."""

from __future__ import annotations

import json
import os

from tests.cli.lab import Lab


def drained(lab: Lab) -> bytes:
    """A receipt of three datasets that were drained, in `r.ndjson`."""
    for name in ("a", "b", "c"):
        lab.put(f"{name}.txt", name * 1000, "--pool", "olddata")
    assert lab.call("drain", "olddata").code == 0
    said = lab.call("op", "receipt", "1", "-o", "r.ndjson")
    assert (said.code, said.out) == (0, f"r.ndjson: 3 blobs, {(lab.home / 'r.ndjson').stat().st_size:,} B\n"), said
    return (lab.home / "r.ndjson").read_bytes()


def test_a_receipt_is_written_and_verified(lab: Lab):
    body = drained(lab)
    assert [json.loads(line).get("dataset") for line in body.splitlines()] == [1, 2, 3, None]
    said = lab.call("receipt", "verify", "r.ndjson")
    assert said.code == 0
    assert said.out.startswith("genuine: drain 1 (done) moved 3 blobs of 3 datasets, 2.9 KiB; signed 20")
    shape = lab.json("receipt", "verify", "r.ndjson")
    assert (shape["genuine"], shape["blobs"], shape["bytes"], shape["state"]) == (True, 3, 3000, "done")
    assert lab.program("op", "receipt", "1").out.splitlines()[:3] == body.decode().splitlines()[:3]
    piped = lab.program("op", "receipt", "1", "--json")
    assert [one.get("dataset") for one in piped.json] == [1, 2, 3, None]


def test_what_was_tampered_with_ends_with_5(lab: Lab):
    lines = drained(lab).splitlines(keepends=True)
    swapped, changed = [lines[1], lines[0], *lines[2:]], [lines[0].replace(b"newdata", b"mydata"), *lines[1:]]
    for other in (lines[1:], lines[:-1], [*lines[:2], *lines[1:]], swapped, changed, []):
        (lab.home / "t.ndjson").write_bytes(b"".join(other))
        said = lab.call("receipt", "verify", "t.ndjson")
        assert (said.code, said.err) == (5, "")
        assert "not genuine" in said.out
        shape = lab.call("receipt", "verify", "t.ndjson", "--json")
        assert (shape.code, shape.json["genuine"]) == (5, False)
        assert shape.json["why"]


def test_somebody_else_verifies_with_the_public_key_alone(lab: Lab):
    body = drained(lab)
    key = lab.json("receipt", "key")["key"]
    assert lab.call("receipt", "key").out == key + "\n"
    away = lab.home / "elsewhere"
    away.mkdir()
    os.chdir(away)
    (away / "r.ndjson").write_bytes(body)
    assert lab.call("receipt", "verify", "r.ndjson", "--key", key).code == 0
    assert lab.call("receipt", "verify", "r.ndjson", "--key", "ed25519:" + "A" * 43 + "=").code == 5
    assert lab.call("receipt", "verify", "r.ndjson", "--key", "nonsense").code == 2
    (away / "holdfast.yml").write_text((lab.home / "holdfast.yml").read_text())
    unknown = lab.call("receipt", "verify", "r.ndjson")
    assert (unknown.code, "no key to go by" in unknown.err) == (3, True)
    assert not (away / "state").exists(), "verifying makes nothing"
    assert lab.call("pools").code == 0
    other = lab.json("receipt", "key")["key"]
    assert other != key
    assert lab.call("receipt", "verify", "r.ndjson").code == 5


def test_what_has_no_receipt(lab: Lab):
    lab.put("a.txt")
    assert lab.call("scrub").code == 0
    said = lab.call("op", "receipt", "1", "-o", "r.ndjson")
    assert (said.code, "moves nothing" in said.err) == (3, True)
    assert not (lab.home / "r.ndjson").exists()
    assert lab.call("op", "receipt", "7").code == 3
    assert lab.call("receipt", "verify", "nothing.ndjson", "--key", "ed25519:" + "A" * 43 + "=").code == 3
