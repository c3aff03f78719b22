"""Failed sign-ins, counted, so that guessing a password is slow whichever worker is asked.

Three counts for each attempt: this address for this account, this address for any, this account from
anywhere. An attempt is counted before the password is looked at, and taken back when it was right; so many
guesses at the same moment are counted too. A count is forgotten `FORGET_S` after its last failure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import BindParameter, bindparam, delete

from holdfast.catalog import schema
from holdfast.catalog.database import Database
from holdfast.seams import Clock

FORGET_S = 15 * 60
_ATTEMPT = schema.attempt
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Patience:
    """From `free` failures on, each further one makes the next wait twice as long, at most `longest_s`."""

    free: int
    longest_s: int

    def wait_s(self, failures: int) -> int:
        """How long to wait after so many failures."""
        over = failures - self.free
        return 0 if over < 0 else min(self.longest_s, 2 ** min(over, 20))


PAIR = Patience(5, 15 * 60)
ADDRESS = Patience(30, 15 * 60)
ACCOUNT = Patience(100, 30)  # short: nobody can be locked out for long by somebody else's guessing


class AttemptLedger:
    """Rows of `attempt`. Safe from many threads and processes."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        which: BindParameter[str] = bindparam("which")
        upsert = db.upsert(_ATTEMPT)
        # the row, made if need be, and locked: whoever guesses at the same moment waits for this count
        self._hold = db.statement(
            upsert.on_conflict_do_update(
                index_elements=[_ATTEMPT.c.bucket], set_={"changed_us": _ATTEMPT.c.changed_us}
            ).returning(_ATTEMPT.c.failures, _ATTEMPT.c.blocked_until_us),
            columns=["bucket", "failures", "blocked_until_us", "changed_us"],
        )
        self._count = db.statement(
            upsert.on_conflict_do_update(
                index_elements=[_ATTEMPT.c.bucket],
                set_={
                    "failures": upsert.excluded.failures,
                    "blocked_until_us": upsert.excluded.blocked_until_us,
                    "changed_us": upsert.excluded.changed_us,
                },
            ),
            columns=["bucket", "failures", "blocked_until_us", "changed_us"],
        )
        self._forget = db.statement(delete(_ATTEMPT).where(_ATTEMPT.c.bucket == which))
        self._reap = db.statement(delete(_ATTEMPT).where(_ATTEMPT.c.changed_us < bindparam("before")))

    def begin(self, email: str, address: str) -> float:
        """Count an attempt; 0.0 if it may go on, else how many seconds to wait (and nothing was counted)."""
        with self._db.write() as cursor:
            now_us = self._clock.now_us()
            self._reap.run(cursor, {"before": now_us - FORGET_S * _US})
            counts = []
            for bucket, patience in _buckets(email, address):
                failures, blocked_until_us = self._hold.one(cursor, _row(bucket, 0, 0, now_us))
                if blocked_until_us > now_us:
                    wait_us: int = blocked_until_us - now_us
                    return wait_us / _US
                wait_s = patience.wait_s(failures + 1)
                until_us = now_us + wait_s * _US if wait_s else 0
                counts.append(_row(bucket, failures + 1, until_us, now_us))
            for count in counts:
                self._count.run(cursor, count)
        return 0.0

    def succeeded(self, email: str, address: str) -> None:
        """The attempt was right: this address and this account start afresh."""
        now_us = self._clock.now_us()
        with self._db.write() as cursor:
            for bucket, patience in _buckets(email, address):
                if patience is not ADDRESS:
                    self._forget.run(cursor, {"which": bucket})
                    continue
                failures, _ = self._hold.one(cursor, _row(bucket, 0, 0, now_us))
                self._count.run(cursor, _row(bucket, max(0, failures - 1), 0, now_us))


def _row(bucket: str, failures: int, blocked_until_us: int, changed_us: int) -> dict[str, object]:
    return {
        "bucket": bucket, "failures": failures, "blocked_until_us": blocked_until_us, "changed_us": changed_us,
    }  # fmt: skip


def _buckets(email: str, address: str) -> list[tuple[str, Patience]]:
    who = email.strip().lower()
    return [
        (_name("pair", who, address), PAIR),
        (_name("address", address), ADDRESS),
        (_name("account", who), ACCOUNT),
    ]


def _name(*parts: str) -> str:
    # hashed: what people type by mistake into the first field is often their password
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
