"""A cache folder as it is configured, and what the machine says of the place where it lies."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import Unsupported

_NETWORK = {
    0x6969: "NFS", 0x517B: "SMB", 0xFE534D42: "SMB", 0xFF534D42: "CIFS", 0x5346414F: "AFS", 0x00C36400: "CephFS",
    0x0BD00BD0: "Lustre",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """Where a cache lies. `path` is made if it is missing. `weight`: its share of the blobs, beside
    other folders of the same cache. `bound_bytes`: what it may hold; None: as much as the disk has.
    `min_free_bytes`: what it leaves free there; None: 1 GiB or 5 % of the disk, whichever is less."""

    path: Path | str
    weight: float = 1.0
    bound_bytes: int | None = None
    min_free_bytes: int | None = None


def boot_id() -> str:
    """Which boot of the machine this is."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read(64).strip()
    except OSError:
        return "unknown"


def file_system_of(path: str) -> int:
    """The magic number of the file system; 0 if it cannot be asked."""
    buffer = ctypes.create_string_buffer(512)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def refuse_network(path: str) -> None:
    """`Unsupported` if locks and shared memory would not hold there."""
    kind = _NETWORK.get(file_system_of(path))
    if kind is not None:
        raise Unsupported(
            f"the cache folder {path} lies on {kind}; locks do not hold there: give the cache a folder on a local disk",
            operation="open",
        )
