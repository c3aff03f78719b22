"""Gates: every effect of an actor waits until the scheduler lets it happen, one actor at a time.

An actor is a thread that stands for a process. It runs from one gate to the next; at each gate the scheduler decides
who goes on, and how: the effect happens, it fails, the process dies there, or it stays frozen for long. So a history is
a list of decisions, and a seed makes the same history again.

Gates are calls of stores, effects on files, and the catalog's write transactions. Within a transaction, and within what
holds a lock (a delete), nobody waits: it is one effect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from holdfast.blobs import DEFAULT_GET, DEFAULT_PUT, BlobStat, Body, GetOptions, PutOptions, Reader, Usage
from holdfast.catalog.catalog import Catalog
from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.keys import Key
from holdfast.seams import Files, SystemFiles
from holdfast.stores.base import Capabilities, Driver, Leftover

How = Literal["go", "fail", "die"]


class Died(BaseException):
    """The process died in front of this effect. No `except Exception` sees it."""


class Failed(Exception):
    """This effect is to fail."""


class Actor:
    """A thread that runs only when it is told to."""

    def __init__(self, name: str, number: int, work: Callable[[], None]) -> None:
        self.name, self.number, self._work = name, number, work
        self.at = "start"
        self.is_over = self.is_dead = False
        self.error: BaseException | None = None
        self.quiet = 0
        self._how: How = "go"
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return f"{self.name} {self.number}"

    def step(self, how: How = "go") -> None:
        """Let it run to its next gate, or to its end."""
        self._how = how
        self._go.release()
        if not self._back.acquire(timeout=60):
            raise AssertionError(f"{self.name} hangs after {self.at}")
        if self.is_over:
            self._thread.join()

    def wait(self, at: str) -> None:
        """At a gate, in the actor's own thread."""
        if self.is_dead:
            raise Died(at)
        if self.quiet:
            return
        self.at = at
        self._back.release()
        self._go.acquire()
        if self._how == "die":
            self.is_dead = True
            raise Died(at)
        if self._how == "fail":
            raise Failed(at)

    def _run(self) -> None:
        _HERE.actor = self
        self._go.acquire()
        try:
            if self._how != "die":
                self._work()
        except Died:
            pass
        except BaseException as error:  # noqa: BLE001 - the history shows it
            self.error = error
        finally:
            self.is_over = True
            self._back.release()


_HERE = threading.local()


def here() -> Actor | None:
    """Whose thread this is."""
    return getattr(_HERE, "actor", None)


def gate(at: str) -> None:
    """Wait here, if somebody plays this thread."""
    actor = here()
    if actor is not None:
        actor.wait(at)


@contextlib.contextmanager
def as_one() -> Iterator[None]:
    """Nobody waits inside."""
    actor = here()
    if actor is None:
        yield
        return
    actor.quiet += 1
    try:
        yield
    finally:
        actor.quiet -= 1


class GatedFiles:
    """The machine's files. With `apart`, as if every pool lay on a file system of its own."""

    def __init__(self, *, apart: bool, inner: Files | None = None) -> None:
        self._apart, self._inner = apart, inner or SystemFiles()

    def __getattr__(self, name: str) -> Any:
        effect = getattr(self._inner, name)
        if name == "start_writing_back":
            return effect

        def gated(*arguments: Any) -> Any:
            try:
                gate(f"files.{name}")
            except Failed:
                if name == "close":
                    effect(*arguments)
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from None
            except Died:
                if name == "close":
                    effect(*arguments)
                raise
            if name == "link" and self._apart:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return effect(*arguments)

        return gated


class GatedDriver(Driver):
    """`inner`, whose every call waits at a gate. `medium` is shared by all processes: what is not synced yet."""

    def __init__(self, inner: Driver, medium: Medium) -> None:
        self.inner, self.medium = inner, medium

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def _gate(self, operation: str) -> None:
        try:
            gate(f"store.{operation} {self.name}")
        except Failed:
            raise Unavailable("it does not answer", store=self.name, operation=operation) from None

    def stat(self, key: Key) -> BlobStat:
        self._gate("stat")
        return self.inner.stat(key)

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        self._gate("open")
        return self.inner.open(key, options)

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._gate("put")
        stat = self.inner.put(key, body, options)
        self.medium.arrived(key, durable=options.durable)
        return stat

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._gate("copy")
        return self.inner.copy(source, target, options)

    def delete(self, key: Key) -> None:
        self._gate("delete")
        with as_one():
            self.inner.delete(key)
        self.medium.unsynced.discard(key)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        self._gate("list")
        return iter(list(self.inner.list(prefix, after)))

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        return self.inner.sign_url(key, method, expires_s, filename=filename)

    def close(self) -> None:
        self.inner.close()

    def usage(self) -> Usage:
        return self.inner.usage()

    def probe(self) -> Sequence[str]:
        return self.inner.probe()

    def sync(self, keys: Sequence[Key]) -> None:
        self._gate("sync")
        self.inner.sync(keys)
        self.medium.unsynced.difference_update(keys)

    def leftovers(self) -> Iterator[Leftover]:
        self._gate("leftovers")
        return iter(list(self.inner.leftovers()))

    def discard(self, leftover: Leftover) -> bool:
        self._gate("discard")
        with as_one():
            return self.inner.discard(leftover)

    def refused(self) -> Iterator[tuple[str, str]]:
        return self.inner.refused()

    def occupied(self, key: Key) -> bool:
        return self.inner.occupied(key)

    def prepare(self) -> None:
        self.inner.prepare()

    def expect(self, identity: str) -> None:
        self.inner.expect(identity)

    def identity(self) -> str | None:
        return self.inner.identity()

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self.inner.mark(identity, replacing=replacing)


class Medium:
    """What a pool's medium has that a power cut would take, and whether it keeps what it is given."""

    def __init__(self, lose: Callable[[Key], None], spoil: Callable[[Key], None]) -> None:
        self.unsynced: set[Key] = set()
        self._lose, self._spoil = lose, spoil
        self.is_bad: Callable[[], bool] = lambda: False  # whether it spoils what it is given just now

    def arrived(self, key: Key, *, durable: bool) -> None:
        """A put has ended."""
        if durable:
            self.unsynced.discard(key)
            return
        self.unsynced.add(key)
        if self.is_bad():
            self._spoil(key)

    def cut(self, is_lost: Callable[[], bool]) -> None:
        """The power goes: of what was not synced, some is lost."""
        for key in sorted(self.unsynced):
            if is_lost():
                self._lose(key)
        self.unsynced.clear()


def gate_catalog(catalog: Catalog) -> None:
    """Every write transaction of this catalog is a gate."""
    write = catalog.db.write

    @contextlib.contextmanager
    def gated() -> Iterator[Any]:
        try:
            gate("catalog")
        except Failed:
            raise Unavailable("the catalog does not answer", operation="catalog") from None
        with as_one(), write() as cursor:
            yield cursor
        try:
            gate("catalog done")
        except Failed:
            raise OutcomeUnknown("the catalog's answer was lost", operation="catalog") from None

    catalog.db.write = gated  # type: ignore[method-assign]
