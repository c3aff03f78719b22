"""A pool like a bucket, in memory: for simulations, where a thousand histories must not take long."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from blake3 import blake3

from holdfast.blobs import DEFAULT_GET, DEFAULT_PUT, BlobStat, Body, ByteRange, GetOptions, PutOptions, Reader, Usage
from holdfast.errors import AlreadyExists, Corrupt, NotFound, PreconditionFailed, Unsupported
from holdfast.keys import Key
from holdfast.stores.base import Capabilities, Driver, Leftover

_VERSIONS = itertools.count(1)


class Bucket:
    """What lies there."""

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[bytes, str]] = {}
        self.mark: str | None = None

    def put(self, key: str, content: bytes) -> str:
        """Put bytes there; their version."""
        version = f"v{next(_VERSIONS)}"
        self.blobs[key] = content, version
        return version


class InMemory(Driver):
    """A process's way to a bucket."""

    def __init__(self, name: str, bucket: Bucket) -> None:
        self._name, self.bucket = name, bucket

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(atomic_if_absent=True, if_version=True, server_side_copy=True, remote=True)

    def _found(self, key: Key) -> tuple[bytes, BlobStat]:
        found = self.bucket.blobs.get(key)
        if found is None:
            raise NotFound(f"{key} is not in pool {self._name}", store=self._name, key=key, operation="open")
        return found[0], BlobStat(key, len(found[0]), found[1], 0)

    def stat(self, key: Key) -> BlobStat:
        return self._found(key)[1]

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        if options.local:
            raise Unsupported(f"pool {self._name} has no local files", store=self._name, key=key, operation="open")
        content, stat = self._found(key)
        if options.version not in (None, stat.version):
            raise PreconditionFailed(f"{key} is another version", store=self._name, key=key, operation="open")
        wanted = options.range or ByteRange(0)
        stream: Any = io.BytesIO(content[: wanted.within(len(content))[1]])
        stream.seek(wanted.start)
        return Reader(_Raw(stream), stat)  # type: ignore[arg-type]

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        try:
            with body.open() as stream:
                content = stream.read()
        except FileNotFoundError as error:
            raise NotFound(f"what is to be stored cannot be read: {error}", operation="put") from error
        checksum = f"blake3:{blake3(content).hexdigest()}"
        if options.digest not in (None, checksum):
            raise Corrupt(
                f"the bytes for {key} are not those announced", expected=options.digest or "", actual=checksum,
                store=self._name, key=key, operation="put",
            )  # fmt: skip
        if options.on_progress is not None:
            options.on_progress(len(content))
        self._refuse_taken(key, options)
        if options.on_staged is not None:
            options.on_staged(BlobStat(key, len(content), "", 0, checksum))
        self._refuse_taken(key, options)
        return BlobStat(key, len(content), self.bucket.put(key, content), 0, checksum)

    def _refuse_taken(self, key: Key, options: PutOptions) -> None:
        if options.if_absent and key in self.bucket.blobs:
            raise AlreadyExists(f"{key} exists already", store=self._name, key=key, operation="put")

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        content, _ = self._found(source)
        self._refuse_taken(target, options)
        return BlobStat(target, len(content), self.bucket.put(target, content), 0)

    def delete(self, key: Key) -> None:
        self.bucket.blobs.pop(key, None)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        names = [name for name in sorted(self.bucket.blobs) if name.startswith(prefix) and name > after]
        return iter([self.stat(Key(name)) for name in names])

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        raise Unsupported("no", store=self._name, key=key, operation="sign_url")

    def close(self) -> None:
        return

    def usage(self) -> Usage:
        return Usage(None, None, f"bucket {self._name}")

    def probe(self) -> Sequence[str]:
        return ()

    def sync(self, keys: Sequence[Key]) -> None:
        return

    def leftovers(self) -> Iterator[Leftover]:
        return iter(())

    def discard(self, leftover: Leftover) -> bool:
        return True

    def refused(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def occupied(self, key: Key) -> bool:
        return key in self.bucket.blobs

    def prepare(self) -> None:
        return

    def expect(self, identity: str) -> None:
        return

    def identity(self) -> str | None:
        return self.bucket.mark

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self.bucket.mark = identity


class _Raw(io.RawIOBase):
    """Bytes as a raw stream."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._stream.readinto(buffer)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()
