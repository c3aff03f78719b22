"""Receipts: what an operation has moved, blob by blob, signed, and how somebody finds out whether one is genuine.

    for line in lines_of(hold, row): stream.write(line)
    with open("receipt.ndjson", "rb") as stream:
        statement = verified(stream, {key.public})            # `Corrupt` says what is wrong with it

The format is in docs/design/0016-receipts.md. Both directions go through it once, in bounded memory. What was moved is
written down by the catalog (`catalog.receipts`); the key is `operations.receipt_key`'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Container, Iterator
from typing import Any, BinaryIO

from holdfast.catalog.operations import OperationRow
from holdfast.errors import ConfigError, Corrupt, NotFound
from holdfast.hold.hold import Hold
from holdfast.hold.shapes import when
from holdfast.operations.receipt_key import ReceiptKey, is_signed, raw_of

MEDIA_TYPE = "application/x-ndjson"
VERSION = 1
KINDS = ("move", "drain", "rebalance")
LINE_BYTES_MAX = 64 * 1024
_SIGNATURE = ',"signature":"'


def lines_of(hold: Hold, row: OperationRow) -> Iterator[bytes]:
    """The receipt of an operation, line by line; `row` as it was before. `NotFound` at once for one that moves nothing.

    The statement comes last: a receipt that was cut off has none.
    """
    if row.kind not in KINDS:
        raise NotFound(
            f"a {row.kind} moves nothing, so operation {row.id} has no receipt; these have: {', '.join(KINDS)}",
            operation="receipt",
        )
    return _lines(hold, row, ReceiptKey.of(hold.state_dir, entropy=hold.entropy))


def file_name(operation_id: int) -> str:
    """What a receipt is called when it is saved."""
    return f"receipt-{operation_id}.ndjson"


def verified(stream: BinaryIO, keys: Container[str]) -> dict[str, Any]:
    """The statement of a receipt that is exactly as one of these keys has signed it. `Corrupt` otherwise, with what is
    wrong."""
    digest, lines, last = hashlib.sha256(), 0, b""
    while line := stream.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise _corrupt(f"line {lines + 1} has more than {LINE_BYTES_MAX} bytes")
        if last:
            digest.update(last)
            lines += 1
        last = line
    statement = _statement(last)
    if statement["key"] not in keys:
        raise _corrupt(f"it is signed with another key: {statement['key'][:80]}")
    _check_signature(last, statement)
    if statement["blobs"] != lines:
        raise _corrupt(
            f"it has {lines} lines before its last, which speaks of {statement['blobs']}: lines were added or removed",
            expected=str(statement["blobs"]), actual=str(lines),
        )  # fmt: skip
    if statement["sha256"] != digest.hexdigest():
        raise _corrupt(
            "a line was changed, or lines were moved", expected=statement["sha256"], actual=digest.hexdigest()
        )
    return {name: value for name, value in statement.items() if name != "signature"}


def _lines(hold: Hold, row: OperationRow, key: ReceiptKey) -> Iterator[bytes]:
    digest = hashlib.sha256()
    blobs = datasets = size_bytes = 0
    newest: int | None = None
    for one in hold.catalog.receipts.of(row.id):
        line = _written({
            "dataset": one.dataset_id, "path": one.path, "source": one.source, "target": one.target,
            "size_bytes": one.size_bytes, "checksum": one.checksum, "proved": one.proved, "moved": when(one.moved_us),
        })  # fmt: skip
        digest.update(line)
        blobs += 1
        size_bytes += one.size_bytes
        datasets += one.dataset_id != newest
        newest = one.dataset_id
        yield line
    statement = {
        "receipt": VERSION, "operation": row.id, "kind": row.kind, "state": row.state, "blobs": blobs,
        "datasets": datasets, "bytes": size_bytes, "sha256": digest.hexdigest(),
        "issued": when(hold.clock.now_us()), "key": key.public,
    }  # fmt: skip
    signature = key.sign(_written(statement).removesuffix(b"\n"))
    yield _written({**statement, "signature": base64.b64encode(signature).decode("ascii")})


def _statement(line: bytes) -> dict[str, Any]:
    """The last line, if it is a statement and written as all are."""
    found: Any = None
    try:
        found = json.loads(line)
        is_statement = isinstance(found, dict) and _written(found) == line and list(found)[-1:] == ["signature"]
    except (ValueError, RecursionError):
        is_statement = False
    if not is_statement:
        raise _corrupt("its last line is no signed statement: it was cut off, or changed")
    if found.get("receipt") != VERSION:
        raise _corrupt(f"it is a receipt of version {found.get('receipt')!r}; this program knows version {VERSION}")
    types = {"key": str, "blobs": int, "sha256": str, "signature": str}
    if not all(type(found.get(name)) is kind for name, kind in types.items()):
        raise _corrupt("its last line is no signed statement: something is missing in it")
    statement: dict[str, Any] = found
    return statement


def _check_signature(line: bytes, statement: dict[str, Any]) -> None:
    message = line.rsplit(_SIGNATURE.encode("ascii"), 1)[0] + b"}"
    try:
        raw_of(statement["key"])
        signature = base64.b64decode(statement["signature"], validate=True)
    except (ConfigError, binascii.Error, ValueError) as error:
        raise _corrupt("its last line is no signed statement: key or signature are none") from error
    if not is_signed(message, signature, statement["key"]):
        raise _corrupt("its signature does not belong to its last line: that was changed")


def _written(value: dict[str, Any]) -> bytes:
    """As every line is written."""
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _corrupt(why: str, *, expected: str = "", actual: str = "") -> Corrupt:
    return Corrupt(f"the receipt is not genuine: {why}", expected=expected, actual=actual, operation="receipt")
