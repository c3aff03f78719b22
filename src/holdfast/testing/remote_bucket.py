"""The medium behind `remote_like`: a folder that is a bucket, and so the way past the driver.

A file per blob with a head (its key, its version, its time) before its bytes; replaced by renaming, so that a download
that has begun goes on with the old bytes. Forked and killed processes share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from holdfast.blobs import BlobStat
from holdfast.keys import Key
from holdfast.seams import SystemClock

HEAD_BYTES = 4096
MARK = ".mark"
LOCK = ".lock"


class Bucket:
    """The medium: a file per blob with a head (its key, version and time) before its bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        found = self.look(key)
        if found is None:
            return None
        with found[1] as stream:
            return stream.read()

    def write(self, key: str, content: bytes) -> None:
        """Put bytes there, as somebody else would."""
        with self.alone():
            self.replace(key, content)

    def names(self) -> set[str]:
        """All keys, and the mark."""
        return {stat.key for stat in self.stats()} | ({MARK} if (self.root / MARK).exists() else set())

    def look(self, key: str) -> tuple[BlobStat, BinaryIO] | None:
        """The stat, and the bytes as an open file that stands at the first of them."""
        try:
            stream = self._path(key).open("rb", buffering=0)
        except FileNotFoundError:
            return None
        head = json.loads(stream.read(HEAD_BYTES).decode())
        size = os.fstat(stream.fileno()).st_size - HEAD_BYTES
        return BlobStat(Key(head["key"]), size, head["version"], head["modified_us"]), stream

    def stats(self) -> Iterator[BlobStat]:
        """All blobs, in no order."""
        for path in self.root.glob("*.blob"):
            with contextlib.suppress(FileNotFoundError):
                with path.open("rb") as stream:
                    head = json.loads(stream.read(HEAD_BYTES).decode())
                    size = os.fstat(stream.fileno()).st_size - HEAD_BYTES
                yield BlobStat(Key(head["key"]), size, head["version"], head["modified_us"])

    def replace(self, key: str, content: bytes) -> BlobStat:
        """Whatever lies under `key`, now it is this."""
        now_us = SystemClock().now_us()
        version = os.urandom(8).hex()
        head = json.dumps({"key": key, "version": version, "modified_us": now_us}).encode().ljust(HEAD_BYTES)
        temporary = self.root / f"{version}.coming"
        with temporary.open("wb") as stream:
            stream.write(head)
            stream.write(content)
        temporary.replace(self._path(key))
        return BlobStat(Key(key), len(content), version, now_us)

    def remove(self, key: str) -> None:
        """Take it away, if it is there."""
        self._path(key).unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other writer meanwhile."""
        with open(self.root / LOCK, "wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _path(self, key: str) -> Path:
        return self.root / f"{hashlib.sha256(key.encode()).hexdigest()}.blob"
