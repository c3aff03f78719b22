"""op receipt, receipt verify, receipt key: what an operation has moved, and whether a receipt of it is genuine."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from holdfast.cli import render
from holdfast.cli.commands.operations import operations_of
from holdfast.cli.commands.ops import OperationArgument
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command
from holdfast.errors import Corrupt, NotFound, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIO = "-"


@command(example="holdfast op receipt 3 -o drained.ndjson")
def op_receipt(
    call: Invocation,
    operation: OperationArgument,
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to; else standard output.")
    ] = STDIO,
) -> None:
    """Write what an operation has moved, blob by blob, signed.

    One JSON object a line; the last one is signed with this instance's key (holdfast receipt verify). A file at
    FILE is replaced at once and whole, or left as it was.
    """
    from holdfast.operations.receipts import lines_of

    with call.hold() as hold:
        lines = lines_of(hold, operations_of(hold).get(operation))
        if output == STDIO:
            _print(lines, as_array=call.as_json)
            return
        size_bytes, blobs = _write(lines, Path(output))
    answer = {"file": output, "blobs": blobs, "size_bytes": size_bytes}
    call.answer(answer, f"{render.clean(output)}: {render.count(blobs, 'blob')}, {render.size(size_bytes)}")


@command(example="holdfast receipt verify drained.ndjson\nholdfast receipt verify drained.ndjson --key ed25519:...")
def receipt_verify(
    call: Invocation,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The receipt; - is standard input.")],
    *,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="The public key that has to have signed it, instead of our own."),
    ] = None,
) -> int:
    """Say whether a receipt is as this instance signed it.

    Ends with 5 if a line was changed, added, removed or moved, or somebody else signed it. With --key no catalog
    and no configuration are needed.
    """
    from holdfast.operations.receipts import verified

    trusted = _trusted(call, key)
    try:
        if file == STDIO:
            statement = verified(sys.stdin.buffer, {trusted})
        else:
            with open(file, "rb") as stream:
                statement = verified(stream, {trusted})
    except Corrupt as error:
        call.answer({"genuine": False, "why": str(error)}, render.clean(str(error)))
        return outcome(error).exit_code
    call.answer({"genuine": True, **statement}, *_said(statement))
    return 0


@command(example="holdfast receipt key")
def receipt_key(call: Invocation) -> None:
    """Print the public key with which receipts are verified.

    Give it to whoever is to verify your receipts: holdfast receipt verify FILE --key KEY.
    """
    from holdfast.operations.receipt_key import ReceiptKey

    with call.hold() as hold:
        found = ReceiptKey.of(hold.state_dir, entropy=hold.entropy).public
    call.answer({"key": found}, found)


def _trusted(call: Invocation, key: str | None) -> str:
    """The public key to go by, as text."""
    from holdfast.operations.receipt_key import ReceiptKey, raw_of

    if key is not None:
        raw_of(key)
        return key
    state_dir = call.read_config().state_dir
    own = ReceiptKey.find(state_dir)
    if own is None:
        raise NotFound(
            f"no receipt was made in {state_dir} yet, so there is no key to go by; name one with --key",
            operation="receipt",
        )
    return own.public


def _said(statement: dict[str, Any]) -> list[render.Block]:
    said = (
        f"genuine: {statement['kind']} {statement['operation']} ({statement['state']}) moved "
        f"{render.count(statement['blobs'], 'blob')} of {render.count(statement['datasets'], 'dataset')}, "
        f"{render.size(statement['bytes'])}; signed {statement['issued']}"
    )
    return [render.clean(said)]


def _print(lines: Iterator[bytes], *, as_array: bool) -> None:
    """To standard output: as it is, or as one JSON array."""
    sys.stdout.flush()
    target: BinaryIO = sys.stdout.buffer
    before = b"[\n" if as_array else b""
    for line in lines:
        target.write(before + line.removesuffix(b"\n") if as_array else line)
        before = b",\n"
    target.write(b"\n]\n" if as_array else b"")
    target.flush()


def _write(lines: Iterator[bytes], target: Path) -> tuple[int, int]:
    """Bytes and blobs. Whole under its name, or not at all."""
    if target.is_dir():
        raise UsageError(f"-o {target} is a folder; name a file")
    fd, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    size_bytes = count = 0
    try:
        with os.fdopen(fd, "wb") as stream:
            for line in lines:
                size_bytes += stream.write(line)
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).replace(target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    return size_bytes, count - 1
