"""Whether a client still has the bytes that have arrived of an upload: it shows that before it goes on.

A name, a size and a time do not make a file: two can have all three in common and other bytes, and one may have
been changed in between. So a client that has lost sight of its upload (the page was loaded again, the program
started anew) sends the SHA-256 of what it would have sent, block by block, and the server compares each with what
it holds. Nothing is changed by that, and no lock is taken: what has arrived stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from holdfast.errors import NotFound, Unavailable
from holdfast.hold.hold import Hold
from holdfast.server import spool
from holdfast.server.problem import HttpProblem
from holdfast.server.tus import Standing

BLOCKS_MAX = 64
BLOCK_BYTES_MAX = 4 * 1024 * 1024
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Block:
    """What a client says that some bytes of an upload are. `sha256` is in hexadecimal."""

    offset_bytes: int
    size_bytes: int
    sha256: str


def first_difference(hold: Hold, standing: Standing, blocks: Sequence[Block]) -> int | None:
    """Where the first block begins that is not what has arrived; None if all of them are.

    409 for a block behind what has arrived, 410 if the upload's bytes, or the dataset that it became, are gone.
    """
    for block in blocks:
        if block.offset_bytes + block.size_bytes > standing.offset_bytes:
            raise HttpProblem(
                409, f"{standing.offset_bytes} bytes have arrived; only those can be compared",
                headers={"Upload-Offset": str(standing.offset_bytes)},
            )  # fmt: skip
    if standing.dataset_id is None:
        with spool.open_arrived(standing.upload) as arrived:
            return _first_difference(arrived, blocks)
    try:
        dataset = hold.find(standing.dataset_id)
    except NotFound:
        raise _gone() from None
    if dataset.state != "ok" or dataset.size_bytes != standing.offset_bytes:
        raise _gone()
    with hold.open(dataset.id) as stored:
        return _first_difference(stored, blocks)


def _first_difference(stream: BinaryIO, blocks: Sequence[Block]) -> int | None:
    for block in blocks:
        stream.seek(block.offset_bytes)
        digest, left = hashlib.sha256(), block.size_bytes
        while left:
            bytes_read = stream.read(min(left, _READ_BYTES))
            if not bytes_read:
                raise Unavailable("the bytes of the upload became fewer while they were compared")
            digest.update(bytes_read)
            left -= len(bytes_read)
        if digest.hexdigest() != block.sha256.lower():
            return block.offset_bytes
    return None


def _gone() -> HttpProblem:
    return HttpProblem(410, "what this upload became is gone or was changed; start it again")
