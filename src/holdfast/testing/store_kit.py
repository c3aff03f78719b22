"""What the tests of stores share: a way past the store, streams that misbehave, races.

Used by `store_contract` and by tests of one's own driver.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from blake3 import blake3

from holdfast.blobs import BytesBody, PutOptions
from holdfast.errors import InvalidKey, NotFound, StoreError
from holdfast.keys import Key
from holdfast.stores.base import Driver, Store

RACERS = 16
KEY = Key("contract/blob.dat")


class Backdoor(Protocol):
    """Looks at the medium past the store."""

    def read(self, key: str) -> bytes | None:
        """The bytes that lie under `key`, or None."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Put bytes there, as somebody else would."""
        ...

    def names(self) -> set[str]:
        """Everything that lies there, also unfinished pieces."""
        ...


def every_method(driver: Driver, key: Key = KEY) -> dict[str, Callable[[], object]]:
    """A call of each method that touches the medium, for tests of a medium that is gone."""
    target = Key("contract/target")
    return {
        "stat": lambda: driver.stat(key),
        "stat of what is not there": lambda: driver.stat(target),
        "open": lambda: driver.open(key),
        "open what is not there": lambda: driver.open(target),
        "put": lambda: driver.put(target, BytesBody(b"y")),
        "put over": lambda: driver.put(key, BytesBody(b"y")),
        "put if_absent": lambda: driver.put(key, BytesBody(b"y"), PutOptions(if_absent=True)),
        "copy": lambda: driver.copy(key, target),
        "delete": lambda: driver.delete(key),
        "delete what is not there": lambda: driver.delete(target),
        "list": lambda: list(driver.list()),
        "list a folder": lambda: list(driver.list("contract/")),
        "usage": driver.usage,
        "probe": driver.probe,
        "sync": lambda: driver.sync([key]),
        "sync many": lambda: driver.sync([key] * 20),
        "leftovers": lambda: list(driver.leftovers()),
    }


def read(store: Store, key: Key) -> bytes:
    """All bytes of a blob."""
    with store.open(key) as reader:
        return rest_of(reader)


def listed(store: Store, prefix: str = "") -> list[Key]:
    """The keys that are listed."""
    return [stat.key for stat in store.list(prefix)]


def checksum_of(content: bytes) -> str:
    """The checksum as stats have it."""
    return f"blake3:{blake3(content).hexdigest()}"


def content_of(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that differ from those of another seed."""
    block = hashlib.sha512(str(seed).encode()).digest() * 64
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


def rest_of(reader: Any) -> bytes:
    """What a reader has left."""
    parts = []
    while part := reader.read(65536):
        parts.append(part)
    return b"".join(parts)


def is_there(store: Store, key: Key) -> bool:
    """Whether a blob lies there."""
    try:
        store.stat(key)
    except NotFound:
        return False
    return True


def raiser(error: BaseException) -> Callable[[object], None]:
    """Something that raises this error whatever it is told."""
    def raise_it(_: object) -> None:
        raise error

    return raise_it


def race(store: Store, key: Key, options: PutOptions, refusal: type[StoreError]) -> list[bytes]:
    """What those had put who were not refused."""
    barrier = threading.Barrier(RACERS)

    def attempt(number: int) -> bytes | None:
        content = content_of(10_000, number)
        barrier.wait()
        try:
            store.put(key, BytesBody(content), options)
        except refusal:
            return None
        return content

    with ThreadPoolExecutor(RACERS) as pool:
        return [content for content in pool.map(attempt, range(RACERS)) if content is not None]


def compatible(base: str, names: set[str]) -> list[Key]:
    """Those of the names that are keys, and of which none lies below another."""
    keys: list[Key] = []
    for name in sorted(names, key=lambda one: (len(one), one)):
        with contextlib.suppress(InvalidKey):
            key = Key.parse(base + name)
            if not any(key.startswith(other + "/") or other.startswith(key + "/") for other in keys):
                keys.append(key)
    return keys


class Dribble(io.RawIOBase):
    """A stream that gives little at a time and does not say how much is left."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._left, self._turn = memoryview(content), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._turn += 1
        part = self._left[: min(len(buffer), 1 + 7919 * self._turn % 50_000)]
        memoryview(buffer)[: len(part)] = part
        self._left = self._left[len(part) :]
        return len(part)


class Breaking(io.RawIOBase):
    """A stream that breaks after its first bytes."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error: Exception | None = error
        self._started = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._started and self._error is not None:
            raise self._error
        self._started = True
        memoryview(buffer)[:10] = b"0123456789"
        return 10
