"""The engine: sees to it that durable work is run. What is to be run, and how far it is, the catalog knows.

A kind of work (`Work`) knows its queue: a table from which `claim` takes the next item by compare-and-set,
and `run` that brings a claimed item to its end. The engine asks for items, runs at most `at_once` of each
kind side by side, and goes on after a crash:

* at least once: an item that was claimed is run until `run` returns, by this process or, after its death, by
  another; so `run` is idempotent and may be called again at any point;
* in the order in which `claim` gives the items;
* an item that raises is tried again, with growing pauses, `ATTEMPTS` times; then `give_up` records it.

`InlineEngine` needs nothing but threads. `DbosEngine` (in `engine_dbos`) also keeps its own durable record of
what runs and takes over from dead executors. Both fulfil one suite, `holdfast.testing.engines`.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from holdfast.errors import HoldfastError
from holdfast.seams import Clock, SystemClock

LOOK_S = 0.1
ATTEMPTS = 12
FIRST_PAUSE_S = 0.5
PAUSE_S_MAX = 60.0
STOP_S = 20.0
_LOG = logging.getLogger("holdfast.engine")


class Work(Protocol):
    """One kind of durable work. All methods may be called from many threads."""

    @property
    def kind(self) -> str:
        """A word for it."""
        ...

    @property
    def at_once(self) -> int:
        """How many items this process runs side by side."""
        ...

    def claim(self) -> int | None:
        """Take the next item for this process: one that waits, or whose process died. None if there is none,
        or no room for it. Called some ten times a second, so looking is cheap."""
        ...

    def run(self, item_id: int, stop: threading.Event) -> None:
        """Bring an item to its end. At once if it is over, or somebody else who lives has it.

        With `stop` set, leave it soon so that another process can take it up; with `stop` set from the start, which
        happens to what was being claimed while the engine was stopped, begin nothing and give it back.
        """
        ...

    def give_up(self, item_id: int, error: BaseException) -> None:
        """`run` has raised too often: record that."""
        ...


@dataclass(slots=True)
class Lane:
    """One kind of work, and what of it runs here."""

    work: Work
    running: set[int] = field(default_factory=set)

    @property
    def has_room(self) -> bool:
        return len(self.running) < self.work.at_once


class Engine(ABC):
    """Runs registered work until it is stopped. Register first, then `start`; one `start` per engine."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lanes: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._stop = threading.Event()
        self._idle = threading.Condition(self._lock)
        self._dispatcher: threading.Thread | None = None

    def register(self, work: Work) -> None:
        """Make a kind of work known. Before `start`."""
        assert self._dispatcher is None, "register before start"
        self._lanes[work.kind] = Lane(work)

    def start(self) -> None:
        """Begin to run what is there, and what comes."""
        assert self._dispatcher is None, "an engine is started once"
        self._open()
        self._dispatcher = threading.Thread(target=self._dispatch, name="engine", daemon=True)
        self._dispatcher.start()

    def wake(self) -> None:
        """There is something new: look at once. Never needed, only quicker."""
        self._bell.set()

    def running(self) -> Mapping[str, frozenset[int]]:
        """What runs here now, by kind."""
        with self._lock:
            return {kind: frozenset(lane.running) for kind, lane in self._lanes.items()}

    def stop(self, timeout_s: float = STOP_S) -> bool:
        """Begin nothing more, tell what runs to leave, wait for it; whether all has left. Idempotent."""
        self._stop.set()
        self._bell.set()
        if self._dispatcher is not None:
            self._dispatcher.join(timeout_s)
        until_s = self._clock.monotonic_s() + timeout_s
        with self._idle:
            while any(lane.running for lane in self._lanes.values()):
                left_s = until_s - self._clock.monotonic_s()
                if left_s <= 0 or not self._idle.wait(left_s):
                    break
            all_left = not any(lane.running for lane in self._lanes.values())
        self._close()
        return all_left

    # -- for the kinds of engine --------------------------------------------------------------------------

    @abstractmethod
    def _open(self) -> None:
        """Get ready: before anything is run."""

    @abstractmethod
    def _begin(self, kind: str, item_id: int) -> None:
        """Have `perform` called for the item, soon, on a thread of its own."""

    @abstractmethod
    def _tend(self) -> None:
        """Now and then, from the dispatcher's thread."""

    @abstractmethod
    def _close(self) -> None:
        """Give everything back: nothing runs any more, or it will not leave."""

    def admit(self, kind: str, item_id: int) -> bool:
        """Count the item as running here; False if it is counted already, or its kind is not known."""
        with self._lock:
            lane = self._lanes.get(kind)
            if lane is None or item_id in lane.running:
                return False
            lane.running.add(item_id)
            return True

    def perform(self, kind: str, item_id: int) -> None:
        """Run an item that was admitted, trying again if it raises. Does not raise."""
        work = self._lanes[kind].work
        pause_s = FIRST_PAUSE_S
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return work.run(item_id, self._stop)
                except Exception as error:  # noqa: BLE001 - whatever it is, the item must not be forgotten
                    trace = None if isinstance(error, HoldfastError) else error
                    _LOG.warning("%s %d, attempt %d: %s", kind, item_id, attempt, error, exc_info=trace)
                    if attempt == ATTEMPTS:
                        return self._give_up(work, item_id, error)
                if self._stop.wait(pause_s):
                    return None
                pause_s = min(pause_s * 2, PAUSE_S_MAX)
        finally:
            with self._idle:
                self._lanes[kind].running.discard(item_id)
                self._idle.notify_all()
            self._bell.set()

    # -- inside -------------------------------------------------------------------------------------------

    def _give_up(self, work: Work, item_id: int, error: Exception) -> None:
        try:
            work.give_up(item_id, error)
        except Exception:  # noqa: BLE001 - it runs on as claimed, until this process ends
            _LOG.exception("%s %d could not even be given up", work.kind, item_id)

    def _dispatch(self) -> None:
        while not self._stop.is_set():
            self._bell.clear()
            try:
                for lane in self._lanes.values():
                    self._fill(lane)
                self._tend()
            except Exception as error:  # noqa: BLE001 - the catalog may be away for a while; the engine stays
                _LOG.warning("the engine could not look for work: %s", error)
                self._stop.wait(FIRST_PAUSE_S)
            self._bell.wait(LOOK_S)

    def _fill(self, lane: Lane) -> None:
        while lane.has_room and not self._stop.is_set():
            item_id = lane.work.claim()
            if item_id is None:
                return
            if self.admit(lane.work.kind, item_id):
                self._begin(lane.work.kind, item_id)


class InlineEngine(Engine):
    """Threads of this process, and nothing else."""

    def _open(self) -> None:
        return

    def _tend(self) -> None:
        return

    def _close(self) -> None:
        return

    def _begin(self, kind: str, item_id: int) -> None:
        threading.Thread(
            target=self.perform, args=(kind, item_id), name=f"{kind}-{item_id}", daemon=True
        ).start()
