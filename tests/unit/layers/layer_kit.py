"""What the tests of layers share: a clock that sleeps in no time, known randomness, a real folder to fail over."""

from __future__ import annotations

import threading
from pathlib import Path

from holdfast.drivers.disk import DiskDriver
from holdfast.testing.failing_driver import FailingDriver


class QuickClock:
    """Sleeping moves its hands. `slept` are the waits, in seconds, in their order."""

    def __init__(self) -> None:
        self.at_s = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def now_us(self) -> int:
        return 1_700_000_000_000_000 + int(self.at_s * 1e6)

    def monotonic_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self._lock:
            self.slept.append(seconds)
            self.at_s += seconds


class KnownEntropy:
    """Tokens are this one, repeated."""

    def __init__(self, digit: str = "f") -> None:
        self.digit = digit

    def token(self, size_bytes: int) -> str:
        return self.digit * size_bytes * 2

    def uuid(self) -> str:
        raise AssertionError("no layer needs one")


def failing(tmp_path: Path, *, every: int = 0, local_paths: bool = False) -> FailingDriver:
    """A driver called `pool` over a real folder."""
    root = tmp_path / "pool"
    root.mkdir(exist_ok=True)
    return FailingDriver(DiskDriver("pool", root, durable=False), every=every, local_paths=local_paths)
