"""Room in one cache folder: reserved before bytes come, made by evicting.

What is held and reserved never exceeds the bound. Above 95 % of it entries are evicted down to 85 %, by one evictor on
the whole machine; the same when the disk has less free than it is to keep. Evicted is what nobody has open (its file
can be locked alone) and nobody has pinned: what was used once before what was used again, the longest unused first; so
reading through much data once does not push out what is used every day. What was used again may be four fifths of all;
beyond that its own oldest go first.
"""

from __future__ import annotations

import os

from holdfast.layers.cached.ledger import Limits, Ticket
from holdfast.layers.cached.locks import WHOLE, alone_in
from holdfast.layers.cached.place import Place
from holdfast.layers.cached.tally import Tally
from holdfast.layers.cached.trouble import NoRoom, on_disk

HIGH_WATER = 0.95
LOW_WATER = 0.85
OFTEN_PART_MAX = 0.8
PAGE = 64
AMPLE_BYTES = 256 * 1024 * 1024  # more than all small pieces that are written and not recorded yet
PLENTY_BYTES = 4 * AMPLE_BYTES  # so much that nobody looks again for a moment
CREDIT_BYTES = 16 * 1024 * 1024  # that a process writes before it looks again
CREDIT_S = 0.25


class Room:
    """Reserves and evicts. Safe from many threads and processes."""

    def __init__(self, place: Place, tally: Tally) -> None:
        self._place, self._tally = place, tally
        self._credit_bytes, self._looked_s = 0, 0.0

    def can_hold(self, size_bytes: int) -> bool:
        """Whether a blob of this size is not larger than the folder's bound."""
        bound = self._place.folder.bound_bytes
        return bound is None or size_bytes <= bound

    def reserve(self, file: str, size_bytes: int) -> Ticket:
        """Room for so many bytes of this file; `NoRoom` if it cannot be made."""
        if not self.can_hold(size_bytes):
            raise NoRoom(f"{size_bytes} bytes are more than the cache may hold ({self._place.folder.bound_bytes})")
        ticket = self._try(file, size_bytes)
        if ticket is None:
            self.make(size_bytes)
            ticket = self._try(file, size_bytes)
        if ticket is None:
            raise NoRoom(f"no room for {size_bytes} bytes: {self._why(size_bytes)}")
        return ticket

    def is_ample(self, size_bytes: int) -> bool:
        """Whether there is so much room that these few MiB need not be reserved before they are written. Where there
        is plenty nobody looks each time: whether they may be recorded is asked again when they are."""
        now_s = self._place.clock.monotonic_s()
        if size_bytes <= self._credit_bytes and now_s - self._looked_s < CREDIT_S:
            self._credit_bytes -= size_bytes
            return True
        limits, totals = self.limits(), self._place.ledger.totals()
        self._credit_bytes, self._looked_s = (CREDIT_BYTES if limits.allow(totals, PLENTY_BYTES) else 0), now_s
        return limits.allow(totals, AMPLE_BYTES)

    def limits(self) -> Limits:
        """What may be held, and what the disk can take."""
        return Limits(self._place.folder.bound_bytes, self._place.spare_bytes())

    def is_above_high_water(self, full_bytes: int) -> bool:
        """Whether it is time to evict."""
        bound = self._place.folder.bound_bytes
        return bound is not None and full_bytes > bound * HIGH_WATER

    def make(self, size_bytes: int) -> None:
        """Try to make room for so many bytes."""
        self._place.end_dead_sessions()
        self.evict(size_bytes)

    def evict(self, need_bytes: int = 0) -> int:
        """Bring the folder down to its low-water mark, with room for `need_bytes` more; the bytes freed. One at a time:
        whoever waited finds that it was done."""
        place = self._place
        self._tally.write(place.entries, place.ledger)
        with on_disk():
            fd = place.alone_to_evict()
        try:
            with alone_in(fd, WHOLE, 1, place.clock):
                excess = self._excess(need_bytes)
                freed = place.bury_doomed() if excess > 0 else 0
                return freed + self._evict(excess - freed) if excess > freed else freed
        finally:
            os.close(fd)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _try(self, file: str, size_bytes: int) -> Ticket | None:
        return self._place.ledger.reserve(self._place.session, file, size_bytes, self.limits())

    def _why(self, size_bytes: int) -> str:
        """Why there is no room, after all was evicted that could be."""
        totals = self._place.ledger.totals()
        spare_bytes = self._place.spare_bytes() - totals.reserved_bytes
        if spare_bytes + totals.held_bytes < size_bytes:
            return f"its disk has {max(0, spare_bytes)} bytes to spare"
        return "what the cache holds is being read or pinned"

    def _excess(self, need_bytes: int) -> int:
        """How many bytes have to go: down to the low-water mark, and never less room than needed."""
        place = self._place
        totals = place.ledger.totals()
        full = totals.held_bytes + totals.reserved_bytes
        excess = totals.reserved_bytes + need_bytes - place.spare_bytes()
        bound = place.folder.bound_bytes
        if bound is not None and full + need_bytes > bound * HIGH_WATER:
            excess = max(excess, full + min(need_bytes, int(bound * (1 - LOW_WATER))) - int(bound * LOW_WATER))
            excess = max(excess, full + need_bytes - bound)
        return excess

    def _evict(self, excess_bytes: int) -> int:
        """Take away entries until so many bytes are free, or nothing more can go."""
        ledger = self._place.ledger
        too_often = ledger.often_bytes() - int(ledger.totals().held_bytes * OFTEN_PART_MAX)
        freed = 0
        for often, wanted_bytes in ((True, min(too_often, excess_bytes)), (False, excess_bytes), (True, excess_bytes)):
            after = (-1, -1)
            while freed < wanted_bytes:
                page = self._place.entries.oldest(often, after, PAGE)
                if not page:
                    break
                after = (page[-1].used_us, page[-1].id)
                taken = self._place.take_away(page, wanted_bytes - freed)
                self._tally.count(evictions=taken.entries, evicted_bytes=taken.freed_bytes)
                freed += taken.freed_bytes
        return freed
