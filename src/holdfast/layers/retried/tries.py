"""How often something was tried, and how long to wait before it is tried again."""

from __future__ import annotations

from holdfast.errors import NotFound, OutcomeUnknown, StoreError
from holdfast.seams import Clock, Entropy

FIRST_WAIT_S = 0.1  # the longest that the first wait can be; doubles with each failure
LONGEST_WAIT_S = 10.0


class Tries:
    """Counts the failures of one thing that is tried, and waits between them."""

    def __init__(self, name: str, attempts: int, deadline_s: float, clock: Clock, entropy: Entropy) -> None:
        self.failures = 0
        self._name, self._attempts, self._deadline_s = name, attempts, deadline_s
        self._clock, self._entropy = clock, entropy
        self._began_s = 0.0

    def failed(self, error: StoreError) -> None:
        """Wait until it may be tried again, or raise `error`."""
        if not error.retryable or isinstance(error, NotFound | OutcomeUnknown) or error.store != self._name:
            raise error
        now_s = self._clock.monotonic_s()
        if not self.failures:
            self._began_s = now_s
        self.failures += 1
        wait_s = self._wait_s(error)
        if self.failures >= self._attempts or now_s + wait_s - self._began_s > self._deadline_s:
            if self.failures > 1:
                error.args = (f"{error} (tried {self.failures} times in {now_s - self._began_s:.1f} s)",)
            raise error
        self._clock.sleep(wait_s)

    def _wait_s(self, error: StoreError) -> float:
        if error.retry_after_s is not None:
            return max(0.0, error.retry_after_s)
        longest_s: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self.failures - 1, 16))
        return longest_s * int(self._entropy.token(4), 16) / 0xFFFFFFFF
