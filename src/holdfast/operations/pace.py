"""A byte rate that a piece of work keeps to."""

from __future__ import annotations

from holdfast.seams import Clock


class Pace:
    """Waits after each block so that the average stays at `bytes_per_s`; None means as fast as it goes."""

    def __init__(self, clock: Clock, bytes_per_s: float | None) -> None:
        self._clock, self._rate = clock, bytes_per_s
        self._due_s = clock.monotonic_s()

    def passed(self, size_bytes: int) -> None:
        """So many bytes went by."""
        if not self._rate:
            return
        now_s = self._clock.monotonic_s()
        self._due_s = max(self._due_s, now_s - 1.0) + size_bytes / self._rate
        if self._due_s > now_s:
            self._clock.sleep(self._due_s - now_s)
