"""Receipts: true, signed, and no longer good when anything in them was changed."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.unit.hold_kit import make_hold

from holdfast.catalog.operations import OperationRow
from holdfast.catalog.receipts import Receipt
from holdfast.errors import ConfigError, Corrupt, Denied, NotFound
from holdfast.hold import Hold
from holdfast.operations.receipt_key import KEY_FILE, ReceiptKey
from holdfast.operations.receipts import LINE_BYTES_MAX, lines_of, verified
from holdfast.operations.runner import Operations


@pytest.fixture
def hold(tmp_path: Path):
    with make_hold(tmp_path) as hold:
        yield hold


def moved(hold: Hold, folder: Path, count: int = 5) -> OperationRow:
    """Datasets that were moved, the first with extra files."""
    (folder / "extra").mkdir()
    (folder / "extra" / "index.bai").write_bytes(b"index")
    ids = [hold.put(b"first", name="first", extra_files=folder / "extra").id]
    ids += [hold.put(b"x" * n, name=f"{n}").id for n in range(1, count)]
    operations = Operations(hold)
    return operations.run(operations.submit("move", {"datasets": ids, "to": "b"}).id)


def key_of(hold: Hold) -> set[str]:
    return {ReceiptKey.of(hold.state_dir).public}


def test_a_receipt_says_what_lies_there(hold: Hold, tmp_path: Path):
    row = moved(hold, tmp_path)
    *lines, last = map(json.loads, lines_of(hold, row))
    assert [(one["dataset"], one["path"]) for one in lines] == [
        (1, ""), (1, "index.bai"), (2, ""), (3, ""), (4, ""), (5, ""),
    ]  # fmt: skip
    assert {(one["source"], one["target"]) for one in lines} == {("a", "b")}
    for one in lines:
        if not one["path"]:
            assert one["checksum"] == hold.find(one["dataset"]).checksum
    statement = verified(io.BytesIO(b"".join(lines_of(hold, row))), key_of(hold))
    assert (statement["blobs"], statement["datasets"], statement["bytes"]) == (6, 5, 10 + sum(range(5)))
    assert (last["kind"], last["state"], last["operation"]) == ("move", "done", row.id)


def test_anybody_can_check_it_with_what_the_design_says(hold: Hold, tmp_path: Path):
    body = b"".join(lines_of(hold, moved(hold, tmp_path)))
    before, last = body.rsplit(b"\n", 2)[:2]
    statement = json.loads(last)
    assert hashlib.sha256(before + b"\n").hexdigest() == statement["sha256"]
    signed, signature = last.split(b',"signature":"')
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(statement["key"].removeprefix("ed25519:")))
    public.verify(base64.b64decode(signature.removesuffix(b'"}')), signed + b"}")


def test_every_changed_byte_is_found(hold: Hold, tmp_path: Path):
    body, keys = b"".join(lines_of(hold, moved(hold, tmp_path, 2))), key_of(hold)
    verified(io.BytesIO(body), keys)
    for at in range(len(body)):
        changed = bytearray(body)
        changed[at] ^= 1
        with pytest.raises(Corrupt):
            verified(io.BytesIO(bytes(changed)), keys)


def test_lines_added_removed_or_moved_are_found(hold: Hold, tmp_path: Path):
    lines, keys = list(lines_of(hold, moved(hold, tmp_path))), key_of(hold)
    kinds = [lines[:at] + lines[at + 1 :] for at in range(len(lines))]
    kinds += [[*lines[:at], lines[0], *lines[at:]] for at in range(len(lines) + 1)]
    kinds += [lines[:at] for at in range(len(lines))]
    kinds += [list(order) for order in itertools.islice(itertools.permutations(lines), 1, 200)]
    kinds += [[*lines, lines[-1]], [*lines, b"\n"], [b"\n", *lines], [lines[-1]]]
    for other in kinds:
        with pytest.raises(Corrupt):
            verified(io.BytesIO(b"".join(other)), keys)


def test_the_statement_cannot_be_written_in_another_way(hold: Hold, tmp_path: Path):
    *lines, last = lines_of(hold, moved(hold, tmp_path))
    keys = key_of(hold)
    for other in (
        json.dumps(json.loads(last)).encode() + b"\n",
        last.replace(b'"blobs":', b'"blobs":6,"blobs":'),
        last.rstrip(b"\n"), b"[]\n", b"{}\n", b"null\n", b"\xff\n", b"[" * 60_000, b'{"receipt":1,"signature":""}\n',
    ):  # fmt: skip
        with pytest.raises(Corrupt):
            verified(io.BytesIO(b"".join(lines) + other), keys)


def test_a_stranger_s_signature_is_no_good(hold: Hold, tmp_path: Path):
    row = moved(hold, tmp_path)
    body = b"".join(lines_of(hold, row))
    (tmp_path / "other").mkdir()
    other = ReceiptKey.of(tmp_path / "other")
    with pytest.raises(Corrupt, match="another key"):
        verified(io.BytesIO(body), {other.public})
    mine = key_of(hold).pop()
    with pytest.raises(Corrupt, match="signature"):  # his name under our signature
        verified(io.BytesIO(body.replace(mine.encode(), other.public.encode())), {other.public})


def test_what_moves_nothing_has_no_receipt_and_what_moved_nothing_an_empty_one(hold: Hold, tmp_path: Path):
    operations = Operations(hold)
    scrub = operations.run(operations.submit("scrub", {}).id)
    with pytest.raises(NotFound, match="scrub"):
        lines_of(hold, scrub)
    drain = operations.run(operations.submit("drain", {"pool": "b"}).id)
    statement = verified(io.BytesIO(b"".join(lines_of(hold, drain))), key_of(hold))
    assert (statement["blobs"], statement["bytes"]) == (0, 0)
    early = b"".join(lines_of(hold, replace(drain, state="running")))
    assert verified(io.BytesIO(early), key_of(hold))["state"] == "running"


def test_a_large_receipt_takes_bounded_memory(hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    row = moved(hold, tmp_path, 2)
    many = (Receipt(n, "", "a", "b", n, "blake3:" + "0" * 64, True, 1_795_334_400_000_000) for n in range(1, 12_001))
    monkeypatch.setattr(hold.catalog.receipts, "of", lambda _: many)
    tracemalloc.start()
    with open(tmp_path / "receipt", "wb") as stream:
        stream.writelines(lines_of(hold, row))
    with open(tmp_path / "receipt", "rb") as stream:
        assert verified(stream, key_of(hold))["datasets"] == 12_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "receipt").stat().st_size > 2_000_000
    assert peak < 700_000
    with pytest.raises(Corrupt, match="more than"):
        verified(io.BytesIO(b"x" * 10 * LINE_BYTES_MAX), key_of(hold))


MAKE = """
import sys
from pathlib import Path
from holdfast.operations.receipt_key import ReceiptKey
sys.stdin.read(1)
print(ReceiptKey.of(Path(sys.argv[1])).public)
"""


def test_processes_that_come_at_once_agree_on_one_key(tmp_path: Path):
    crowd = [
        subprocess.Popen([sys.executable, "-c", MAKE, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    for one in crowd:
        one.stdin.write(b"x")
        one.stdin.flush()
    found = {one.communicate(timeout=60)[0] for one in crowd}
    assert all(one.returncode == 0 for one in crowd)
    assert found == {ReceiptKey.of(tmp_path).public.encode() + b"\n"}
    assert os.listdir(tmp_path) == [KEY_FILE]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path):
    ReceiptKey.of(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(Denied, match="chmod 600"):
        ReceiptKey.of(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o600)
    (tmp_path / KEY_FILE).write_bytes(b"no key")
    with pytest.raises(ConfigError, match="no key"):
        ReceiptKey.of(tmp_path)
    assert (tmp_path / KEY_FILE).read_bytes() == b"no key"
