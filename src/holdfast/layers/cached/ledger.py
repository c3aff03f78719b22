"""The rest of the index: bytes held and reserved, sessions, doomed files, pins, counters. Statements only.

Room is reserved in a row before bytes come; the row belongs to a session, which is a process. What a session that died
had reserved is given back by whoever looks next (`place`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from holdfast.layers.cached.index import Index

TICKETS_MAX = 10_000


class Ticket(NamedTuple):
    """Room that was reserved for one file. `full_bytes`: all that was held and reserved then, with it."""

    id: int
    file: str
    size_bytes: int
    full_bytes: int = 0


class Limits(NamedTuple):
    """How much may be held and reserved at most (None: no bound), and how much more the disk can take."""

    bound_bytes: int | None
    free_bytes: int

    def allow(self, totals: Totals, size_bytes: int) -> bool:
        """Whether so many bytes more would fit below the bound, and onto the disk beside what others have reserved."""
        full = totals.held_bytes + totals.reserved_bytes + size_bytes
        if self.bound_bytes is not None and full > self.bound_bytes:
            return False
        return totals.reserved_bytes + size_bytes <= self.free_bytes


class Totals(NamedTuple):
    """Bytes in files, also in doomed ones and in what a kill left unrecorded; bytes reserved; how many entries."""

    held_bytes: int
    reserved_bytes: int
    entries: int


class Counts(NamedTuple):
    """What is counted since the index was made."""

    hits: int = 0
    misses: int = 0
    served_bytes: int = 0
    fetched_bytes: int = 0
    evictions: int = 0
    evicted_bytes: int = 0
    damaged: int = 0


_TOTALS = "SELECT held, (SELECT coalesce(sum(size), 0) FROM room), entries FROM total"


def totals_in(connection: sqlite3.Connection) -> Totals:
    """What is held and reserved, as a transaction sees it."""
    return Totals._make(connection.execute(_TOTALS).fetchone())


class Ledger:
    """The books of one folder."""

    def __init__(self, index: Index) -> None:
        self._index = index

    # -- room -------------------------------------------------------------------------------------------------------

    def totals(self) -> Totals:
        """What is held and reserved now."""
        return Totals._make(self._index.row(_TOTALS))

    def reserve(self, session: int, file: str, size_bytes: int, limits: Limits) -> Ticket | None:
        """A ticket for so many bytes, or None: the limits do not allow it."""
        with self._index.write() as writer:
            totals = totals_in(writer)
            if not limits.allow(totals, size_bytes):
                return None
            row = writer.execute(
                "INSERT INTO room (session, file, size) VALUES (?, ?, ?) RETURNING id", (session, file, size_bytes)
            ).fetchone()
        return Ticket(row[0], file, size_bytes, totals.held_bytes + totals.reserved_bytes + size_bytes)

    def release(self, ticket: Ticket) -> None:
        """What is left of the ticket is free again."""
        with self._index.write() as writer:
            writer.execute("DELETE FROM room WHERE id=? AND file=?", (ticket.id, ticket.file))

    def buried(self, files: Iterable[str]) -> int:
        """These doomed files are gone from the disk; the bytes that are free now."""
        freed = 0
        with self._index.write() as writer:
            for file in files:
                row = writer.execute("DELETE FROM doomed WHERE file=? RETURNING size", (file,)).fetchone()
                freed += row[0] if row else 0
            writer.execute("UPDATE total SET held=max(0, held-?)", (freed,))
        return freed

    def doomed(self, limit: int = TICKETS_MAX) -> list[str]:
        """Files of entries that were taken away while somebody had them open."""
        return [row[0] for row in self._index.rows("SELECT file FROM doomed LIMIT ?", (limit,))]

    # -- sessions ---------------------------------------------------------------------------------------------------

    def begin_session(self) -> int:
        """A number that no other process has or had."""
        with self._index.write() as writer:
            return int(writer.execute("INSERT INTO session DEFAULT VALUES RETURNING id").fetchone()[0])

    def sessions(self) -> list[int]:
        """All that have begun and not been ended."""
        return [row[0] for row in self._index.rows("SELECT id FROM session LIMIT ?", (TICKETS_MAX,))]

    def tickets_of(self, session: int) -> list[Ticket]:
        """What a session has reserved."""
        rows = self._index.rows("SELECT id, file, size FROM room WHERE session=? LIMIT ?", (session, TICKETS_MAX))
        return [Ticket(*row) for row in rows]

    def end_session(self, session: int, on_disk_bytes: dict[str, int]) -> None:
        """The session is over: its room is free. `on_disk_bytes` says how many bytes its files really take, so that
        what it had written and not recorded is counted until these entries go, or the blocks come again."""
        with self._index.write() as writer:
            writer.execute("DELETE FROM room WHERE session=?", (session,))
            writer.execute("DELETE FROM session WHERE id=?", (session,))
            for file, size_bytes in on_disk_bytes.items():
                row = writer.execute("SELECT id, held, waste FROM entry WHERE file=?", (file,)).fetchone()
                if row is None:
                    continue
                more = max(0, size_bytes - row[1]) - row[2]
                writer.execute("UPDATE entry SET waste=waste+? WHERE id=?", (more, row[0]))
                writer.execute("UPDATE total SET held=held+?", (more,))

    def is_known(self, file: str) -> bool:
        """Whether any entry, ticket or doomed file has this name."""
        sql = (
            "SELECT EXISTS (SELECT 1 FROM entry WHERE file=:file) OR EXISTS (SELECT 1 FROM room WHERE file=:file) "
            "OR EXISTS (SELECT 1 FROM doomed WHERE file=:file)"
        )
        return bool(self._index.row(sql.replace(":file", "?"), (file, file, file))[0])

    # -- boots ------------------------------------------------------------------------------------------------------

    def begin_boot(self, boot: str) -> bool:
        """Whether this is the first look at the index since the machine started: then entries that may not have reached
        the disk are forgotten, and their files are unknown."""
        if self._index.row("SELECT boot FROM total")[0] == boot:
            return False
        with self._index.write() as writer:
            if writer.execute("SELECT boot FROM total").fetchone()[0] == boot:
                return False
            lost = "SELECT id FROM entry WHERE NOT synced AND boot<>?"
            writer.execute(f"DELETE FROM chunk WHERE entry IN ({lost})", (boot,))  # noqa: S608
            writer.execute("DELETE FROM entry WHERE NOT synced AND boot<>?", (boot,))
            writer.execute("DELETE FROM room")
            writer.execute("DELETE FROM session")
            writer.execute("DELETE FROM doomed")
            writer.execute(
                "UPDATE total SET boot=?, held=(SELECT coalesce(sum(held+waste), 0) FROM entry), "
                "entries=(SELECT count(*) FROM entry)",
                (boot,),
            )
        return True

    # -- pins -------------------------------------------------------------------------------------------------------

    def pin(self, pool: str, key: str, holder: str) -> None:
        """Keep the blob for this holder."""
        with self._index.write() as writer:
            writer.execute("INSERT OR IGNORE INTO pin VALUES (?, ?, ?)", (pool, key, holder))

    def unpin(self, pool: str, holder: str) -> None:
        """Let go of all that this holder keeps in this pool."""
        with self._index.write() as writer:
            writer.execute("DELETE FROM pin WHERE pool=? AND holder=?", (pool, holder))

    def pins(self, pool: str, key: str) -> tuple[str, ...]:
        """Who keeps this blob."""
        sql = "SELECT holder FROM pin WHERE pool=? AND key=? ORDER BY holder LIMIT ?"
        return tuple(row[0] for row in self._index.rows(sql, (pool, key, TICKETS_MAX)))

    def holders(self, pool: str) -> list[str]:
        """Everybody who keeps anything of this pool."""
        sql = "SELECT DISTINCT holder FROM pin WHERE pool=? ORDER BY holder LIMIT ?"
        return [row[0] for row in self._index.rows(sql, (pool, TICKETS_MAX))]

    def pinned(self) -> int:
        """How many entries are pinned."""
        sql = "SELECT count(*) FROM entry AS e WHERE EXISTS (SELECT 1 FROM pin WHERE pool=e.pool AND key=e.key)"
        return int(self._index.row(sql)[0])

    # -- counters ---------------------------------------------------------------------------------------------------

    def count(self, more: Counts) -> None:
        """Add these."""
        with self._index.write() as writer:
            writer.execute(
                "UPDATE total SET hits=hits+?, misses=misses+?, served=served+?, fetched=fetched+?, "
                "evictions=evictions+?, evicted=evicted+?, damaged=damaged+?",
                more,
            )

    def counts(self) -> Counts:
        """All of them."""
        sql = "SELECT hits, misses, served, fetched, evictions, evicted, damaged FROM total"
        return Counts._make(self._index.row(sql))

    def often_bytes(self) -> int:
        """Bytes of entries that were used more than once."""
        return int(self._index.row("SELECT coalesce(sum(held), 0) FROM entry WHERE uses > 1")[0])
