"""Runs inside the guest of `PowerCutMachine`, for test_power_cut_uploads.py: `power_uploads.py SEED PIECES`.

Takes uploads in as the server does (`server.tus`, without the connection), in pieces whose blocks trickle in, so
that the power goes in the middle of one. After a boot it looks whether all that was acknowledged has arrived,
sends the rest of every upload from where it is said to be, and looks at each byte of what became of it. Lines are
JSON, as those of `power_hold`:

    {"checked": ..., "problems": [...], "uploads": {...}}    what was found after the boot
    {"begin": {...}} and {"done": {...}}                     around every announcement and every piece
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from tests.crash.power_hold import DOCUMENT, strangers, tell, tidy_up

import holdfast
from holdfast.catalog.accounts import Account, Accounts
from holdfast.errors import HoldfastError, NotFound
from holdfast.hold.hold import Hold
from holdfast.operations.reap import recover
from holdfast.seams import SystemClock
from holdfast.server.inflow import Inflow
from holdfast.server.settings import ServerSettings
from holdfast.server.tus import Announced, Standing, Uploads

OPEN_MAX = 3
ALICE = Account(1, "alice@example.org", False, True, True, None, 0)


def content(number: int) -> bytes:
    """The bytes of an upload. No block of them is empty, and no two uploads have the same."""
    chance = random.Random(number)
    return chance.randbytes(chance.randint(200_000, 1_200_000)).replace(b"\0", b"\1")


def main(seed: int, pieces: int) -> None:
    """Open, check, finish what was begun, work."""
    expected = json.loads(Path("../output/expected.json").read_text())
    for name in ("alpha", "beta"):
        Path(name).mkdir(exist_ok=True)
    Path("holdfast.yml").write_text(DOCUMENT)
    with holdfast.open("holdfast.yml") as hold:
        recover(hold)
        desk = Desk(hold)
        found, problems = desk.check(expected["uploads"])
        tidy_up(hold, problems)
        problems += strangers(hold)
        problems += desk.strangers()
        tell(checked=True, problems=problems, uploads=found)
        desk.work(random.Random(seed), expected["next_number"], pieces)


class Desk:
    """Uploads of one client, each known by its id and the number of its content."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._uploads = Uploads(hold, Accounts(hold.catalog.db, hold.clock, hold.entropy), ServerSettings())

    def check(self, uploads: dict[str, dict[str, int]]) -> tuple[dict[str, int], list[str]]:
        """upload -> its dataset, once the client has sent the rest of it; and what is not as it has to be."""
        found: dict[str, int] = {}
        problems: list[str] = []
        for upload_id, known in uploads.items():
            try:
                upload = self._uploads.find(upload_id, ALICE)
                standing = self._uploads.standing(upload)
                if standing.offset_bytes < known["acknowledged"]:
                    problems.append(f"upload {upload_id} has {standing.offset_bytes} bytes, acknowledged were {known}")
                done = self._send(upload_id, known["number"], standing.offset_bytes, None, 0)
                assert done.dataset_id is not None
                found[upload_id] = done.dataset_id
                with self._hold.open(done.dataset_id) as stream:
                    if stream.read() != content(known["number"]):
                        problems.append(f"upload {upload_id} became other bytes; it went on at {standing.offset_bytes}")
            except HoldfastError as error:
                problems.append(f"upload {upload_id}: {type(error).__name__}: {error}")
        return found, problems

    def strangers(self) -> list[str]:
        """Files of uploads that no row knows, and so nobody would ever take away."""
        found = []
        for path in Path().rglob(".holdfast-upload-*"):
            try:
                self._uploads.ledger.find(path.stem.removeprefix(".holdfast-upload-"))
            except NotFound:
                found.append(f"{path} belongs to no upload")
        return found

    def work(self, chance: random.Random, next_number: int, pieces: int) -> None:
        """Announce uploads and send pieces of them, in any order, until the power goes, or that many pieces."""
        open_now: dict[str, tuple[int, int]] = {}
        for _ in range(pieces):
            if len(open_now) < OPEN_MAX and (not open_now or chance.random() < 0.4):
                next_number += 1
                tell(begin={"number": next_number})
                upload = self._uploads.announce(
                    ALICE, name=f"upload {next_number}", size_bytes=len(content(next_number)), pool=None, labels={},
                    metadata="",
                )  # fmt: skip
                tell(done={"announced": upload.id, "number": next_number})
                open_now[upload.id] = (next_number, 0)
            upload_id = chance.choice([*open_now])
            number, offset = open_now.pop(upload_id)
            size = chance.choice((20_000, 150_000, 2_000_000))
            standing = self._send(upload_id, number, offset, size, chance.uniform(0.001, 0.01))
            tell(
                done={"piece": upload_id, "arrived": standing.offset_bytes, "dataset": standing.dataset_id},
            )
            if standing.dataset_id is None:
                open_now[upload_id] = (number, standing.offset_bytes)

    def _send(self, upload_id: str, number: int, offset: int, size: int | None, pause_s: float) -> Standing:
        """One piece, as it comes out of a connection."""
        upload = self._uploads.find(upload_id, ALICE)
        raw = content(number)[offset:][:size]
        stream = cast("Inflow", Trickle(raw, pause_s))
        return self._uploads.take_piece(upload, Announced(offset), stream, lambda: None)


class Trickle:
    """What `take_piece` needs of a connection: blocks, one after another, slowly."""

    def __init__(self, raw: bytes, pause_s: float) -> None:
        self._blocks = self._of(raw, pause_s)

    def read(self) -> bytes:
        return next(self._blocks, b"")

    @staticmethod
    def _of(raw: bytes, pause_s: float) -> Iterator[bytes]:
        clock = SystemClock()
        for at in range(0, len(raw), 30_000):
            clock.sleep(pause_s)
            yield raw[at : at + 30_000]



if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
