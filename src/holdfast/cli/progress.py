"""How long work tells that it goes on: a bar on a terminal, plain lines, or nothing. Always on stderr.

`auto` is a bar where stderr is a terminal and nothing elsewhere; `plain` is a line now and then, for logs;
`none` is silence.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from holdfast.cli import render
from holdfast.seams import Clock, SystemClock

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Mode = Literal["auto", "plain", "none"]
Unit = Literal["bytes", "objects"]
LINE_EVERY_S = 2.0


class Progress(Protocol):
    """Work whose end is known, or is not (`total` None)."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """So much is done now, of so much."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def start(mode: Mode, title: str, total: int | None, unit: Unit = "bytes") -> Progress:
    """Progress in bytes or in objects, in the way that `mode` asks for."""
    if mode == "plain":
        return _Lines(title, total, unit, SystemClock())
    if mode == "auto" and sys.stderr.isatty():
        return _Bar(title, total, unit)
    return _Silence()


class _Silence(AbstractContextManager["_Silence"]):
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Lines:
    """A line at the start, every two seconds, and at the end."""

    def __init__(self, title: str, total: int | None, unit: Unit, clock: Clock) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._done = 0
        self._note = ""
        self._clock = clock
        self._began_s = self._said_s = clock.monotonic_s()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self._done, self._note = done, note
        self._total = total if total is not None else self._total
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s >= LINE_EVERY_S:
            self._said_s = now_s
            self._say(self._standing())

    def __enter__(self) -> Self:
        self._say(self._standing())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            took = self._clock.monotonic_s() - self._began_s
            self._say(f"{self._words(self._done)} done in {took:.1f} s{self._noted()}")
        else:
            self._say(f"stopped at {self._standing()}")

    def _standing(self) -> str:
        if self._total is None:
            return f"{self._words(self._done)}{self._noted()}"
        part = 100 if not self._total else int(100 * self._done / self._total)
        return f"{self._words(self._done)} of {self._words(self._total)} ({part}%){self._noted()}"

    def _words(self, number: int) -> str:
        return render.size(number) if self._unit == "bytes" else f"{number:,}"

    def _noted(self) -> str:
        return f", {self._note}" if self._note else ""

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._title}: {text}\n")
        sys.stderr.flush()


class _Bar:
    """A bar with rate and time left. It goes away when the work is done."""

    def __init__(self, title: str, total: int | None, unit: Unit) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=done, total=total or self._total, note=note)

    def __enter__(self) -> Self:
        from rich import progress as bars
        from rich.console import Console

        amount: tuple[bars.ProgressColumn, ...] = (bars.MofNCompleteColumn(),)
        if self._unit == "bytes":
            amount = (bars.DownloadColumn(binary_units=True), bars.TransferSpeedColumn())
        self._rich = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            *amount,
            bars.TimeRemainingColumn(compact=True),
            bars.TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._rich.start()
        self._task = self._rich.add_task(self._title, total=self._total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
