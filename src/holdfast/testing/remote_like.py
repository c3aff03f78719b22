"""A driver that behaves like an object store, for tests of what stands in front of one.

    remote = RemoteLike("pool", tmp_path / "bucket")
    remote.fail("open", Unavailable("503"), times=2)
    ...
    assert remote.bytes_read() == 1048576

No local paths, no folders (a blob may lie below a blob), versions like ETags, each `open` one request. The bucket is a
folder, so that forked and killed processes share it; every call is a line in its journal, which counts for all of them.
Faults are of this object alone. `remote_bucket.Bucket` is the backdoor.

Not fast: `list` reads the heads of all blobs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from blake3 import blake3

from holdfast.blobs import (
    BLOCK_BYTES,
    DEFAULT_GET,
    DEFAULT_PUT,
    BlobStat,
    Body,
    ByteRange,
    BytesBody,
    FileBody,
    GetOptions,
    PutOptions,
    Reader,
    Usage,
)
from holdfast.errors import (
    AlreadyExists,
    Corrupt,
    Denied,
    NotFound,
    PreconditionFailed,
    StoreError,
    Unavailable,
    Unsupported,
)
from holdfast.keys import Key, is_listed
from holdfast.seams import Clock, SystemClock
from holdfast.stores.base import Capabilities, Driver, Leftover
from holdfast.testing.remote_bucket import HEAD_BYTES, MARK, Bucket

_JOURNAL = ".journal"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, or (`moved`) the bytes of a body that were read from it. `start` and `stop` are the range."""

    operation: str
    key: str
    start: int = 0
    stop: int | None = None
    size_bytes: int = 0


@dataclass(slots=True)
class _Fault:
    operation: str
    left: int
    error: StoreError | None = None
    until: threading.Event | None = None
    stop_after: int | None = None
    wrong_at: int | None = None
    skip: int = 0
    reached: threading.Event = field(default_factory=threading.Event)

    def concerns(self, wanted: ByteRange | None) -> bool:
        """Whether a request for this range can show it."""
        if self.wrong_at is None or wanted is None:
            return True
        return wanted.start <= self.wrong_at and (wanted.stop is None or self.wrong_at < wanted.stop)


class RemoteLike(Driver):
    """A pool in a `Bucket` below `root`. `latency_s` is waited for in every call.

    With `guards_version` an open of another version than the one asked for is refused, as by `If-Match`; without, the
    bytes that are there come, with their own version."""

    def __init__(
        self,
        name: str,
        root: Path,
        *,
        latency_s: float = 0.0,
        guards_version: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._name = name
        self.bucket = Bucket(root)
        self.latency_s = latency_s
        self._guards_version = guards_version
        self._clock = clock or SystemClock()
        self._faults: list[_Fault] = []
        self._identity: str | None = None

    # -- what was asked ---------------------------------------------------------------------------------------------

    def calls(self, operation: str | None = None) -> Sequence[Call]:
        """All requests of all processes so far, in order; only those of one kind if it is named."""
        found = [call for call in self._journal() if call.operation != "moved"]
        return [call for call in found if operation in (None, call.operation)]

    def bytes_read(self) -> int:
        """Bytes that left the bucket."""
        return sum(call.size_bytes for call in self._journal() if call.operation == "moved")

    def bytes_put(self) -> int:
        """Bytes that came into it."""
        return sum(call.size_bytes for call in self._journal() if call.operation == "put")

    def forget_calls(self) -> None:
        """Count from nothing again."""
        (self.bucket.root / _JOURNAL).unlink(missing_ok=True)

    # -- what goes wrong --------------------------------------------------------------------------------------------

    def fail(self, operation: str, error: StoreError, *, times: int = 1, skip: int = 0) -> None:
        """The next calls of this kind raise `error`, after `skip` more that work."""
        self._faults.append(_Fault(operation, times, error=error, skip=skip))

    def stall(self, operation: str, until: threading.Event, *, times: int = 1, skip: int = 0) -> threading.Event:
        """The next calls of this kind wait for the event. Returns one that is set as soon as one waits."""
        fault = _Fault(operation, times, until=until, skip=skip)
        self._faults.append(fault)
        return fault.reached

    def truncate(self, after_bytes: int, *, times: int = 1, skip: int = 0) -> None:
        """The streams of the next opens end so early, without an error."""
        self._faults.append(_Fault("open", times, stop_after=after_bytes, skip=skip))

    def corrupt(self, at_byte: int, *, times: int = 1, skip: int = 0) -> None:
        """The streams of the next opens have this byte (counted in the blob) wrong."""
        self._faults.append(_Fault("open", times, wrong_at=at_byte, skip=skip))

    # -- the contract -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            atomic_if_absent=True, if_version=True, server_side_copy=True, signed_urls=True, remote=True
        )

    def stat(self, key: Key) -> BlobStat:
        self._begin("stat", key)
        stat, stream = self._find(key, "stat")
        stream.close()
        return stat

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        wanted = options.range or ByteRange(0)
        faults = self._begin("open", key, wanted)
        if options.local:
            raise Unsupported(f"pool {self._name} has no local files", store=self._name, key=key, operation="open")
        stat, stream = self._find(key, "open")
        if self._guards_version and options.version not in (None, stat.version):
            stream.close()
            raise PreconditionFailed(
                f"{key} in pool {self._name} is another version", store=self._name, key=key, operation="open"
            )
        return Reader(_Download(self, stream, stat, wanted, faults), stat)  # type: ignore[arg-type]

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._begin("put", key, note=False)
        content = _content_of(body, options)
        self._note(Call("put", key, size_bytes=len(content)))
        checksum = f"blake3:{blake3(content).hexdigest()}"
        if options.digest not in (None, checksum):
            raise Corrupt(
                f"the bytes for {key} are not those announced", expected=options.digest or "", actual=checksum,
                store=self._name, key=key, operation="put",
            )  # fmt: skip
        with self.bucket.alone():
            self._check_conditions(key, options)
            if options.on_staged is not None:
                options.on_staged(BlobStat(key, len(content), "", self._clock.now_us(), checksum))
            stat = self.bucket.replace(key, content)
        if isinstance(body, FileBody) and body.consume:
            body.path.unlink()
        return BlobStat(key, stat.size_bytes, stat.version, stat.modified_us, checksum)

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        self._begin("copy", source)
        _, stream = self._find(source, "copy")
        with stream:
            content = stream.read()
        with self.bucket.alone():
            self._check_conditions(target, options)
            return self.bucket.replace(target, content)

    def delete(self, key: Key) -> None:
        self._begin("delete", key)
        self.bucket.remove(key)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        self._begin("list", prefix)
        found = sorted(self.bucket.stats(), key=lambda stat: stat.key.encode())
        yield from (
            stat
            for stat in found
            if stat.key.startswith(prefix) and stat.key.encode() > after.encode() and is_listed(stat.key, prefix)
        )

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        return f"https://{self._name}.example.org/{key}?{method}&{expires_s}&{filename or ''}"

    def close(self) -> None:
        return

    def usage(self) -> Usage:
        self._require("usage")
        return Usage(None, None, f"bucket {self._name}")

    def probe(self) -> Sequence[str]:
        self._begin("probe")
        return ()

    def sync(self, keys: Sequence[Key]) -> None:
        self._begin("sync")

    def leftovers(self) -> Iterator[Leftover]:
        self._begin("leftovers")
        return iter(())

    def discard(self, leftover: Leftover) -> bool:
        self._begin("discard")
        return True

    def refused(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def occupied(self, key: Key) -> bool:
        found = self.bucket.look(key)
        if found is not None:
            found[1].close()
        return found is not None

    def prepare(self) -> None:
        self._begin("prepare")

    def expect(self, identity: str) -> None:
        self._identity = identity

    def identity(self) -> str | None:
        try:
            return (self.bucket.root / MARK).read_text() or None
        except FileNotFoundError:
            return None

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        with self.bucket.alone():
            carried = self.identity()
            if carried not in (None, replacing, identity):
                raise AlreadyExists(
                    f"pool {self._name} carries the mark {carried} already",
                    store=self._name, key=MARK, operation="mark",
                )  # fmt: skip
            (self.bucket.root / MARK).write_text(identity)
        self._identity = identity

    # -- inside -----------------------------------------------------------------------------------------------------

    def _begin(self, operation: str, key: str = "", wanted: ByteRange | None = None, *, note: bool = True) -> Any:
        """One request: counted, slow, and perhaps failing. The faults of the stream that it opens."""
        if note:
            self._note(Call(operation, key, wanted.start if wanted else 0, wanted.stop if wanted else None))
        if self.latency_s:
            self._clock.sleep(self.latency_s)
        active = []
        for fault in self._faults:
            if fault.operation != operation or fault.left <= 0 or not fault.concerns(wanted):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.left -= 1
            active.append(fault)
        for fault in active:
            if fault.until is not None:
                fault.reached.set()
                fault.until.wait()
            if fault.error is not None:
                raise fault.error
        self._require(operation)
        return active

    def _require(self, operation: str) -> None:
        if self._identity is not None and self.identity() != self._identity:
            raise Unavailable(f"pool {self._name} is another bucket", store=self._name, operation=operation)

    def _find(self, key: Key, operation: str) -> tuple[BlobStat, BinaryIO]:
        found = self.bucket.look(key)
        if found is None:
            raise NotFound(f"{key} is not in pool {self._name}", store=self._name, key=key, operation=operation)
        return found

    def _check_conditions(self, key: Key, options: PutOptions) -> None:
        found = self.bucket.look(key)
        if found is not None:
            found[1].close()
        if options.if_absent and found is not None:
            raise AlreadyExists(f"{key} exists already", store=self._name, key=key, operation="put")
        if options.if_version is not None and (found is None or found[0].version != options.if_version):
            raise PreconditionFailed(f"{key} has changed", store=self._name, key=key, operation="put")

    def _journal(self) -> Sequence[Call]:
        try:
            lines = (self.bucket.root / _JOURNAL).read_text().splitlines()
        except FileNotFoundError:
            return []
        return [Call(*json.loads(line)) for line in lines]

    def _note(self, call: Call) -> None:
        line = json.dumps([call.operation, call.key, call.start, call.stop, call.size_bytes]) + "\n"
        fd = os.open(self.bucket.root / _JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)

    def moved(self, key: str, size_bytes: int) -> None:
        """A stream of ours gave out so many bytes."""
        self._note(Call("moved", key, size_bytes=size_bytes))


class _Download(io.RawIOBase):
    """The bytes of one request. Going elsewhere than on is another request."""

    def __init__(
        self, remote: RemoteLike, file: BinaryIO, stat: BlobStat, wanted: ByteRange, faults: Sequence[_Fault]
    ) -> None:
        super().__init__()
        self._remote, self._file, self._stat = remote, file, stat
        self._at, self._stop = wanted.within(stat.size_bytes)
        self._streaming_at = self._at
        ends = [fault.stop_after for fault in faults if fault.stop_after is not None]
        self._cut = min([self._stop, *(self._at + end for end in ends)])
        self._wrong = {fault.wrong_at for fault in faults if fault.wrong_at is not None}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._stat.size_bytes}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)[: max(0, self._cut - self._at)]
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not view:
            return 0
        if self._at != self._streaming_at:
            self._remote.moved(self._stat.key, 0)
        count = os.preadv(self._file.fileno(), [view], HEAD_BYTES + self._at)
        for wrong in self._wrong:
            if self._at <= wrong < self._at + count:
                view[wrong - self._at] ^= 0xFF
        self._at += count
        self._streaming_at = self._at
        self._remote.moved(self._stat.key, count)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _content_of(body: Body, options: PutOptions) -> bytes:
    """All of the body, checked as a driver has to."""
    if isinstance(body, BytesBody):
        _tell(options, len(body.content))
        return body.content
    parts: list[bytes] = []
    total = 0
    try:
        with contextlib.ExitStack() as opened:
            stream = body.open()
            if not body.once or isinstance(body, FileBody):  # what was handed over stays open
                opened.callback(stream.close)
            before = os.fstat(stream.fileno()) if isinstance(body, FileBody) else None
            while part := _some(stream):
                total += len(part)
                if body.size_bytes is not None and total > body.size_bytes:
                    raise PreconditionFailed(
                        f"{body.size_bytes} bytes were announced, but more came", operation="put"
                    )
                _tell(options, total)
                parts.append(part)
            after = os.fstat(stream.fileno()) if before is not None else None
    except OSError as error:
        cls = NotFound if isinstance(error, FileNotFoundError) else Denied
        raise cls(f"what is to be stored cannot be read: {error}", operation="put") from error
    if before is not None and after is not None and _facts(before) != (total, after.st_mtime_ns):
        raise PreconditionFailed("the file changed while it was read", operation="put")
    if body.size_bytes not in (None, total):
        raise PreconditionFailed(f"{body.size_bytes} bytes were announced, but {total} came", operation="put")
    return b"".join(parts)


def _facts(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _some(stream: BinaryIO) -> bytes:
    return stream.read(BLOCK_BYTES)


def _tell(options: PutOptions, done_bytes: int) -> None:
    if options.on_progress is not None:
        options.on_progress(done_bytes)
