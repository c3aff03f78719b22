"""What one process has used and counted, kept in memory and written to the index now and then.

A use costs no transaction: it is noted here, and goes to the index every two seconds at the next occasion, or when
there are many. A kill forgets what was not written.
"""

from __future__ import annotations

import threading
from collections import defaultdict

from holdfast.layers.cached.entries import Entries, Entry
from holdfast.layers.cached.ledger import Counts, Ledger
from holdfast.seams import Clock

NOTES_MAX = 1000
WRITE_EVERY_S = 2.0


class Tally:
    """The notes about one folder. Safe from many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._uses: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self._counts: dict[str, int] = defaultdict(int)
        self._written_s = clock.monotonic_s()

    def use(self, entry: Entry, hits: int, served_bytes: int) -> None:
        """Somebody opened what was there."""
        now_us = self._clock.now_us()
        with self._lock:
            note = self._uses[entry.id]
            note[0] += 1
            note[1] = now_us
            self._counts["hits"] += hits
            self._counts["served_bytes"] += served_bytes

    def count(self, **more: int) -> None:
        """Add to the counters that `ledger.Counts` names."""
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number

    def is_due(self) -> bool:
        """Whether it is time to write."""
        if not self._uses and not self._counts:
            return False
        return len(self._uses) >= NOTES_MAX or self._clock.monotonic_s() - self._written_s >= WRITE_EVERY_S

    def write(self, entries: Entries, ledger: Ledger) -> None:
        """Write all notes to the index; `CacheTrouble` if it does not answer, and then they are lost."""
        with self._lock:
            uses, self._uses = self._uses, defaultdict(lambda: [0, 0])
            counts, self._counts = self._counts, defaultdict(int)
            self._written_s = self._clock.monotonic_s()
        if uses:
            entries.used((count, used_us, number) for number, (count, used_us) in uses.items())
        if counts:
            ledger.count(Counts(**counts))
