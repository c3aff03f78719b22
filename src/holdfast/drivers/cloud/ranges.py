"""One range of one blob: asked for, counted, and of the version that is wanted. Used by the cloud driver alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.blobs import BlobStat
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import Answer, read_answer
from holdfast.drivers.cloud.listing import quoted, stat_of
from holdfast.errors import NotFound, PreconditionFailed, Unavailable
from holdfast.keys import Key


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes, and where they stand in the blob."""

    start: int
    content: Any  # bytes, or obstore's own buffer

    @property
    def stop(self) -> int:
        return self.start + len(self.content)


class NoSuchRange(Exception):
    """The range begins behind the end."""


class RangeIgnored(Exception):
    """The server answered with something else than the range."""


def fetch(clients: Clients, key: Key, start: int, stop: int, version: str | None) -> tuple[BlobStat, Any]:
    """One range: the stat that came with it, and all of its bytes (fewer only where the blob ends)."""
    here = clients.here()
    options: dict[str, Any] = {"range": (start, stop)}
    if version:
        options["if_match"] = quoted(version)
    try:
        found = here.obstore.get(here.store, key, options=options)
        stat = stat_of(key, found.meta)
        content = found.bytes()
    except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
        raise why(clients, read_answer(error), key, version) from None
    if version is not None and stat.version != version:
        raise replaced(clients, key)
    expected = min(stop, stat.size_bytes) - start
    if found.range[0] != start or len(content) != expected:
        raise cut_off(clients, key, expected, len(content))
    return stat, content


def why(clients: Clients, answer: Answer, key: Key, version: str | None) -> Exception:
    """The error that this answer to a read means. `version`: the one that was asked for, if any was."""
    if answer.trouble == "ranges":
        return RangeIgnored() if version is None else cut_off(clients, key, 0, 0)
    if answer.status == 416 and version is None:
        return NoSuchRange()
    if answer.absent:
        if version is not None:
            return replaced(clients, key)
        return NotFound(f"{key} is not there", store=clients.name, key=key, operation="open")
    if answer.status in (412, 416) and version is not None:
        return replaced(clients, key)
    return clients.error(answer, key, "open")


def cut_off(clients: Clients, key: Key, expected: int, came: int) -> Unavailable:
    """Other bytes came than were announced. It can be read again."""
    return Unavailable(
        f"{key} in pool {clients.name} was cut off: {expected} bytes were announced, {came} came; read it again",
        store=clients.name, key=key, operation="open",
    )  # fmt: skip


def replaced(clients: Clients, key: Key) -> PreconditionFailed:
    """Somebody replaced or deleted it while it was read."""
    return PreconditionFailed(
        f"{key} in pool {clients.name} was replaced or deleted while it was read; open it again",
        store=clients.name, key=key, operation="open",
    )  # fmt: skip
