"""What repairs have set aside in a pool: listed, and given up when its time is over. `reap` asks for both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from holdfast.blobs import BlobStat
from holdfast.errors import StoreError
from holdfast.hold.hold import Hold
from holdfast.keys import QUARANTINE
from holdfast.operations.base import Batch, Parameters, Progress

SET_ASIDE_S = 30 * 86_400


def set_aside(hold: Hold, name: str, parameters: Parameters, now_us: int) -> Iterator[BlobStat]:
    """The blobs of that pool that were set aside longer ago than the grace."""
    given = parameters.get("grace_s")
    before_us = now_us - int(float(SET_ASIDE_S if given is None else given) * 1_000_000)
    for stat in hold.poolset.online(name).store().list(QUARANTINE):
        if _since_us(stat) <= before_us:
            yield stat


def giving_up(hold: Hold, name: str, parameters: Parameters, now_us: int) -> Batch:
    """Delete them. `now_us`: the time that was seen to pass."""

    def apply(progress: Progress) -> None:
        try:
            store = hold.poolset.writable(name).store()
            for stat in set_aside(hold, name, parameters, now_us):
                progress.check()
                store.delete(stat.key)
                progress.done(objects=1, size_bytes=stat.size_bytes)
                progress.count("set_aside_deleted")
        except StoreError as error:
            progress.failed(f"pool {name}", error, object_store_id=name)

    return Batch(f"set aside {name}", apply)


def _since_us(stat: BlobStat) -> int:
    """When it was set aside, by its name; by its own time where that says nothing."""
    try:
        begun = datetime.strptime(stat.key.name.partition("-")[0], "%Y%m%dT%H%M%S%z")
    except ValueError:
        return stat.modified_us
    return int(begun.timestamp()) * 1_000_000
