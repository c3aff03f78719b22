"""Receipts over HTTP: what was moved, signed, for administrators."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
from tests.api.served import Served

from holdfast.operations.receipt_key import ReceiptKey
from holdfast.operations.receipts import verified
from holdfast.operations.runner import Operations


def test_a_receipt_is_downloaded_and_genuine(served: Served, admin: httpx.Client, alice: httpx.Client):
    ids = [served.hold.put(b"x" * 1000, name=f"n{at}", pool="olddata").id for at in range(700)]
    operations = Operations(served.hold)
    row = operations.run(operations.submit("move", {"datasets": ids, "to": "newdata"}).id)
    answer = admin.get(f"/api/operations/{row.id}/receipt")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == f'attachment; filename="receipt-{row.id}.ndjson"'
    statement = verified(io.BytesIO(answer.content), {ReceiptKey.of(served.hold.state_dir).public})
    assert (statement["blobs"], statement["bytes"], statement["state"]) == (700, 700_000, "done")
    assert alice.get(f"/api/operations/{row.id}/receipt").status_code == 403


def test_what_has_no_receipt_is_not_found(served: Served, admin: httpx.Client):
    operations = Operations(served.hold)
    row = operations.submit("scrub", {})
    answer = admin.get(f"/api/operations/{row.id}/receipt")
    assert (answer.status_code, "moves nothing" in answer.json()["detail"]) == (404, True)
    assert admin.get("/api/operations/99/receipt").status_code == 404


def test_again_begins_what_is_left(served: Served, admin: httpx.Client, alice: httpx.Client):
    number = served.hold.put(b"x" * 10, name="n", pool="olddata").id
    body = Path(served.hold.full_path(served.hold.find(number)) or "")
    away = body.with_suffix(".away")
    body.rename(away)
    operations = Operations(served.hold)
    row = operations.run(operations.submit("move", {"datasets": [number], "to": "newdata"}).id)
    away.rename(body)
    operations.run(operations.submit("scrub", {}).id)
    assert alice.post(f"/api/operations/{row.id}/again").status_code == 403
    answer = admin.post(f"/api/operations/{row.id}/again")
    assert (answer.status_code, answer.json()["parameters"]["datasets"]) == (200, [number])
    assert operations.run(answer.json()["id"]).state == "done"
    assert served.hold.find(number).object_store_id == "newdata"
    assert admin.post(f"/api/operations/{answer.json()['id']}/again").status_code == 409
