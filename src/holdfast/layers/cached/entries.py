"""Entries of the index: which blobs, which blocks of them. Statements only; no file is touched here.

An entry is a blob in one version. Its blocks are bits, in rows of 1024 blocks; an entry that is whole has no such rows.
A block whose bit is not set is not there, whatever lies in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from holdfast.blobs import BLOCK_BYTES, BlobStat
from holdfast.keys import Key
from holdfast.layers.cached.index import Index
from holdfast.layers.cached.ledger import Limits, Ticket, totals_in
from holdfast.layers.cached.trouble import Gone, NoRoom

CHUNK_BLOCKS = 1024

_COLUMNS = (
    "id, pool, key, version, file, size, modified_us, held, whole, digest, verified, used_us, uses, boot, synced, "
    "mtime_ns"
)
_VERSIONS = f"SELECT {_COLUMNS} FROM entry WHERE pool=? AND key=? ORDER BY id DESC LIMIT 64"  # noqa: S608
_BY_ID = f"SELECT {_COLUMNS} FROM entry WHERE id=?"  # noqa: S608
_PAGE = (
    f"SELECT {_COLUMNS} FROM entry AS e WHERE pool=? AND key>? AND id="  # noqa: S608
    "(SELECT max(id) FROM entry WHERE pool=e.pool AND key=e.key) ORDER BY key LIMIT ?"
)
_UNSYNCED = f"SELECT {_COLUMNS} FROM entry WHERE whole AND NOT synced LIMIT ?"  # noqa: S608
_ADD = (
    "INSERT INTO entry (pool, key, version, file, size, modified_us, held, whole, digest, verified, used_us, boot, "  # noqa: S608
    f"mtime_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING {_COLUMNS}"
)
_NOT_PINNED = "NOT EXISTS (SELECT 1 FROM pin WHERE pin.pool=e.pool AND pin.key=e.key)"
_OLDEST = (
    f"SELECT {_COLUMNS} FROM entry AS e WHERE (uses > 1)=? AND (used_us, id) > (?, ?) AND {_NOT_PINNED} "  # noqa: S608
    "ORDER BY used_us, id LIMIT ?"
)


class Entry(NamedTuple):
    """A blob in one version, as the index had it when it was asked.

    `digest` is what lies in the file, hashed (`blake3:<hex>`); `verified`: it was compared with what somebody
    announced. `boot` is the boot of the machine in which the bytes were written or last hashed. `mtime_ns` is that of
    the whole file.
    """

    id: int
    pool: str
    key: str
    version: str
    file: str
    size_bytes: int
    modified_us: int
    held_bytes: int
    whole: bool
    digest: str | None
    verified: bool
    used_us: int
    uses: int
    boot: str
    synced: bool
    mtime_ns: int | None

    @property
    def blocks(self) -> int:
        """How many blocks the whole blob has."""
        return -(-self.size_bytes // BLOCK_BYTES)

    @property
    def stat(self) -> BlobStat:
        """What the pool said of it."""
        checksum = self.digest if self.verified else None
        return BlobStat(Key(self.key), self.size_bytes, self.version, self.modified_us, checksum)


class NewEntry(NamedTuple):
    """What is known of an entry when its first bytes are in its file. `ticket` is the room that was reserved for them,
    if it was."""

    stat: BlobStat
    file: str
    ticket: Ticket | None = None
    digest: str | None = None
    verified: bool = False
    mtime_ns: int | None = None


class Added(NamedTuple):
    """A new entry, and how much is held and reserved with it."""

    entry: Entry | None
    full_bytes: int


class Entries:
    """The entries of one folder."""

    def __init__(self, index: Index) -> None:
        self._index = index

    # -- looking ----------------------------------------------------------------------------------------------------

    def versions(self, pool: str, key: str) -> list[Entry]:
        """What there is of a blob, the newest entry first."""
        return [Entry._make(row) for row in self._index.rows(_VERSIONS, (pool, key))]

    def again(self, entry: Entry) -> Entry | None:
        """The entry as it is now; None if it is gone."""
        row = self._index.row(_BY_ID, (entry.id,))
        return None if row is None or row[4] != entry.file else Entry._make(row)

    def page(self, pool: str, after: str, limit: int) -> list[Entry]:
        """The newest entry of each blob, in the order of their keys."""
        return [Entry._make(row) for row in self._index.rows(_PAGE, (pool, after, limit))]

    def oldest(self, often: bool, after: tuple[int, int], limit: int) -> list[Entry]:  # noqa: FBT001 - a column
        """Not pinned, used once or `often`, the longest unused first; `after` is (used_us, id) of the last one seen."""
        rows = self._index.rows(_OLDEST, (int(often), *after, limit))
        return [Entry._make(row) for row in rows]

    def bits(self, entry: Entry) -> bytearray:
        """One byte per block of the blob, 1 where it is there."""
        if entry.whole:
            return bytearray(b"\x01") * entry.blocks
        found = bytearray(entry.blocks)
        for number, bits in self._index.rows("SELECT number, bits FROM chunk WHERE entry=?", (entry.id,)):
            _spread(found, number * CHUNK_BLOCKS, bits)
        return found

    def missing(self, entry: Entry, first: int, stop: int) -> list[tuple[int, int]]:
        """The runs (first, stop) of blocks between these that are not there. `Gone` if the entry is."""
        now = self.again(entry)
        if now is None:
            raise Gone
        if now.whole:
            return []
        found = bytearray(stop)
        numbers = (entry.id, first // CHUNK_BLOCKS, (stop - 1) // CHUNK_BLOCKS)
        sql = "SELECT number, bits FROM chunk WHERE entry=? AND number BETWEEN ? AND ?"
        for number, bits in self._index.rows(sql, numbers):
            _spread(found, number * CHUNK_BLOCKS, bits)
        return list(runs(found, first, stop, 0))

    # -- changing ---------------------------------------------------------------------------------------------------

    def add(
        self, pool: str, new: NewEntry, blocks: tuple[int, int], limits: Limits | None, *, boot: str, now_us: int
    ) -> Added:
        """A new entry with the first of its blocks. `NoRoom` if the limits do not allow them; with a ticket they need
        none. No entry comes back if there is one of this version already."""
        stat = new.stat
        size = bytes_of(stat.size_bytes, *blocks)
        whole = size == stat.size_bytes

        def add(writer: sqlite3.Connection) -> Added:
            totals = totals_in(writer)
            if limits is not None and not limits.allow(totals, size):
                raise NoRoom(f"no room for {size} bytes: what the cache holds is being read or pinned")
            row = writer.execute(
                _ADD,
                (pool, stat.key, stat.version, new.file, stat.size_bytes, stat.modified_us, size, whole, new.digest,
                 new.verified, now_us, boot, new.mtime_ns if whole else None),
            ).fetchone()  # fmt: skip
            full = totals.held_bytes + totals.reserved_bytes + size
            if row is None:
                return Added(None, full - size)
            if not whole:
                _set_bits(writer, row[0], *blocks)
            writer.execute("UPDATE total SET entries=entries+1, held=held+?", (size,))
            if new.ticket is not None:
                writer.execute("DELETE FROM room WHERE id=? AND file=?", (new.ticket.id, new.ticket.file))
            return Added(Entry._make(row), full)

        return self._index.write_together(add)

    def record(self, entry: Entry, blocks: tuple[int, int], ticket: Ticket, *, boot: str, mtime_ns: int) -> bool:
        """These blocks are in the file now; so much less of the ticket is left. Whether the entry is whole with them.
        `Gone` if it was taken away: then nothing is recorded."""
        first, stop = blocks
        size = bytes_of(entry.size_bytes, first, stop)
        with self._index.write() as writer:
            if size >= ticket.size_bytes:
                writer.execute("DELETE FROM room WHERE id=? AND file=?", (ticket.id, ticket.file))
            else:
                writer.execute(
                    "UPDATE room SET size=max(0, size-?) WHERE id=? AND file=?", (size, ticket.id, ticket.file)
                )
            row = writer.execute("SELECT waste FROM entry WHERE id=? AND file=?", (entry.id, entry.file)).fetchone()
            if row is None:
                raise Gone
            once_wasted = min(row[0], size)
            (whole,) = writer.execute(
                "UPDATE entry SET held=held+?, waste=waste-?, boot=?, synced=0, whole=(held+?=size), "
                "mtime_ns=CASE WHEN held+?=size THEN ? END WHERE id=? RETURNING whole",
                (size, once_wasted, boot, size, size, mtime_ns, entry.id),
            ).fetchone()
            if whole:
                writer.execute("DELETE FROM chunk WHERE entry=?", (entry.id,))
            else:
                _set_bits(writer, entry.id, first, stop)
            writer.execute("UPDATE total SET held=held+?", (size - once_wasted,))
        return bool(whole)

    def hashed(self, entry: Entry, digest: str, boot: str, *, verified: bool) -> None:
        """All of the file was read in this boot, and this is its digest."""
        with self._index.write() as writer:
            writer.execute(
                "UPDATE entry SET digest=?, verified=max(verified, ?), boot=? WHERE id=? AND whole",
                (digest, verified, boot, entry.id),
            )

    def unsynced(self, limit: int) -> list[Entry]:
        """Whole ones that may not survive a power cut."""
        return [Entry._make(row) for row in self._index.rows(_UNSYNCED, (limit,))]

    def synced(self, entries: Iterable[Entry]) -> None:
        """These do now."""
        with self._index.write() as writer:
            writer.executemany(
                "UPDATE entry SET synced=1 WHERE id=? AND file=? AND whole", [(one.id, one.file) for one in entries]
            )

    def used(self, notes: Iterable[tuple[int, int, int]]) -> None:
        """(uses more, used_us, id) of entries."""
        with self._index.write() as writer:
            writer.executemany("UPDATE entry SET uses=uses+?, used_us=max(used_us, ?) WHERE id=?", notes)

    def doom(self, entries: Sequence[Entry]) -> list[str]:
        """Forget these entries, whose files are locked for us alone. The files are still counted, until
        `ledger.buried`; their names."""
        files = []
        with self._index.write() as writer:
            for entry in entries:
                row = writer.execute(
                    "DELETE FROM entry WHERE id=? AND file=? RETURNING file, held+waste", (entry.id, entry.file)
                ).fetchone()
                if row is None:
                    continue
                files.append(row[0])
                writer.execute("INSERT OR REPLACE INTO doomed VALUES (?, ?)", row)
                writer.execute("DELETE FROM chunk WHERE entry=?", (entry.id,))
                writer.execute("UPDATE total SET entries=entries-1")
        return files

    def disown(self, entries: Sequence[Entry]) -> None:
        """Forget whose these are: nobody is served them any more, and they are the first to go. Who has one open
        goes on with it."""
        with self._index.write() as writer:
            writer.executemany(
                "UPDATE entry SET pool='', key=file, uses=1, used_us=0 WHERE id=? AND file=?",
                [(entry.id, entry.file) for entry in entries],
            )


def bytes_of(size_bytes: int, first: int, stop: int) -> int:
    """How many bytes of a blob lie in these blocks."""
    return max(0, min(stop * BLOCK_BYTES, size_bytes) - first * BLOCK_BYTES)


def runs(bits: Sequence[int], first: int, stop: int, value: int) -> Iterator[tuple[int, int]]:
    """The runs (first, stop) of blocks with this value."""
    at = first
    while at < stop:
        if bool(bits[at]) != bool(value):
            at += 1
            continue
        begin = at
        while at < stop and bool(bits[at]) == bool(value):
            at += 1
        yield begin, at


def _set_bits(writer: sqlite3.Connection, entry: int, first: int, stop: int) -> None:
    for number in range(first // CHUNK_BLOCKS, -(-stop // CHUNK_BLOCKS)):
        row = writer.execute("SELECT bits FROM chunk WHERE entry=? AND number=?", (entry, number)).fetchone()
        bits = int.from_bytes(row[0], "little") if row else 0
        base = number * CHUNK_BLOCKS
        low, high = max(first - base, 0), min(stop - base, CHUNK_BLOCKS)
        bits |= (1 << high) - (1 << low)
        values = (entry, number, bits.to_bytes(CHUNK_BLOCKS // 8, "little"))
        writer.execute("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?)", values)


def _spread(found: bytearray, base: int, packed: bytes) -> None:
    """Bits into bytes, from block `base` on."""
    bits = int.from_bytes(packed, "little")
    count = min(CHUNK_BLOCKS, len(found) - base)
    if count <= 0:
        return
    if bits == (1 << CHUNK_BLOCKS) - 1:
        found[base : base + count] = b"\x01" * count
        return
    for at in range(count):
        if bits >> at & 1:
            found[base + at] = 1
