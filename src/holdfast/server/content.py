"""Downloads: a dataset's bytes as an answer.

Ranges (one, a suffix, several), conditions, ETag, a safe file name, `application/octet-stream` for whatever
it is. The bytes leave as blocks of 1 MiB (what lies in the page cache is read without a thread, the rest in
one), or nginx sends them (`direct: x-accel`). The reader, and with it the lease, stays open until the answer
has ended or the client has gone. Memory does not depend on the size.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from holdfast.blobs import BLOCK_BYTES, Reader
from holdfast.catalog.base import Dataset
from holdfast.server.filenames import content_disposition
from holdfast.server.problem import HttpProblem, problem_response
from holdfast.server.ranges import (
    Unsatisfiable,
    Version,
    parse_ranges,
    precondition_status,
    range_applies,
)
from holdfast.server.streams import ClientGone, Departure, StreamThreads, send_block

OCTETS = "application/octet-stream"
PREVIEW_BYTES = 64 * 1024
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_CANNOT = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the answer: a few bytes of our own, then bytes of the blob."""

    head: bytes
    start: int
    stop: int


def version_of(dataset: Dataset, reader: Reader) -> Version:
    """What conditions are compared with: the checksum, as long as these are the bytes that it was made from."""
    stat = reader.stat
    recorded = any(replica.version == stat.version for replica in dataset.replicas if replica.state == "present")
    if dataset.checksum and recorded:
        etag = '"' + dataset.checksum.replace(":", "-") + '"'
    else:
        etag = '"v-' + "".join(char if char.isalnum() else "-" for char in stat.version) + '"'
    return Version(etag, stat.modified_us)


def download(
    request: Request, dataset: Dataset, reader: Reader, threads: StreamThreads, *, x_accel: str | None = None
) -> Response:
    """The answer to a GET or HEAD for a dataset's bytes. It closes the reader, whatever happens.

    `x_accel` is nginx's internal location of the bytes, where nginx is to send them.
    """
    version = version_of(dataset, reader)
    headers = {
        "ETag": version.etag,
        "Last-Modified": version.last_modified,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition(dataset.name, f"dataset_{dataset.id}"),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    try:
        status = precondition_status(request.method, request.headers, version)
        if status == 304:
            return _closing(Response(status_code=304, headers=headers), reader)
        if status == 412:
            return _closing(problem_response(412, "the dataset has changed since you looked at it"), reader)
        if x_accel is not None:
            headers["X-Accel-Redirect"] = quote(x_accel)
            return _closing(Response(status_code=200, headers=headers, media_type=OCTETS), reader)
        ranges = _ranges(request.headers, version, reader.stat.size_bytes)
    except Unsatisfiable:
        size = reader.stat.size_bytes
        answer = problem_response(
            416, f"the dataset has {size} bytes", headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
        )
        return _closing(answer, reader)
    except BaseException:
        reader.close()
        raise
    return _streamed(reader, threads, ranges, headers)


def preview(dataset: Dataset, reader: Reader) -> Response:
    """The first bytes of a text, to be looked at in a browser that may run nothing in it; 415 for other data."""
    with reader:
        head = reader.read(PREVIEW_BYTES)
        size = reader.stat.size_bytes
    text = head.decode("utf-8", "ignore") if b"\0" not in head else ""
    if len(head) - len(text.encode()) > 3:  # more than a character cut off at the end
        text = ""
    if head and not text:
        raise HttpProblem(415, "this is no text; download it to look at it")
    headers = {
        "Content-Disposition": content_disposition(dataset.name, f"dataset_{dataset.id}", kind="inline"),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-cache",
        "Holdfast-Preview-Of": str(size),
    }
    return Response(text, headers=headers, media_type="text/plain")


class Stream(Response):
    """Pieces of an open blob as an answer. Closes the reader at its end, also if nobody ever took it."""

    def __init__(
        self,
        reader: Reader,
        threads: StreamThreads,
        parts: list[Part],
        *,
        tail: bytes = b"",
        status: int = 200,
        headers: dict[str, str],
    ) -> None:
        self._reader = reader
        self._threads = threads
        self._parts = parts
        self._tail = tail
        length = sum(len(part.head) + part.stop - part.start for part in parts) + len(tail)
        self.status_code = status
        self.background = None
        self.body = b""
        self.init_headers({**headers, "Content-Length": str(length)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async with Departure(receive) as departure:
                    await self._send_parts(send, departure)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._threads.run(self._reader.close)

    async def _send_parts(self, send: Send, departure: Departure) -> None:
        blocks = _Blocks(self._reader, self._threads)
        for part in self._parts:
            if part.head:
                await send_block(send, part.head, departure)
            at = part.start
            while at < part.stop:
                block = await blocks.read(at, min(BLOCK_BYTES, part.stop - at))
                if not len(block):
                    # it was cut while it was read: the length is promised, so the connection must break
                    raise ClientGone
                at += len(block)
                await send_block(send, block, departure)
        if self._tail:
            await send_block(send, self._tail, departure)


class _Blocks:
    """Blocks of a reader at any place. From the page cache at once; otherwise in a thread."""

    def __init__(self, reader: Reader, threads: StreamThreads) -> None:
        self._reader = reader
        self._threads = threads
        try:
            self._fd = reader.fileno()
        except (OSError, io.UnsupportedOperation, AttributeError):
            self._fd = -1
        self._at_once = bool(_NOWAIT) and self._fd >= 0
        self._position = -1

    async def read(self, at: int, size_bytes: int) -> bytes | memoryview:
        if self._at_once:
            block = bytearray(size_bytes)
            try:
                count = os.preadv(self._fd, [block], at, _NOWAIT)
                return memoryview(block)[:count]
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._at_once = error.errno == errno.EAGAIN
        if self._fd >= 0:
            return await self._threads.run(os.pread, self._fd, size_bytes, at)
        return await self._threads.run(self._read_stream, at, size_bytes)

    def _read_stream(self, at: int, size_bytes: int) -> bytes:
        if self._position != at:
            self._reader.seek(at)
        block = self._reader.read(size_bytes)
        self._position = at + len(block)
        return block


# -- inside -----------------------------------------------------------------------------------------------


def _ranges(headers: Mapping[str, str], version: Version, size_bytes: int) -> list[tuple[int, int]] | None:
    header = headers.get("range")
    if header is None or not range_applies(headers.get("if-range"), version):
        return None
    return parse_ranges(header, size_bytes)


def _streamed(
    reader: Reader, threads: StreamThreads, ranges: list[tuple[int, int]] | None, headers: dict[str, str]
) -> Stream:
    size = reader.stat.size_bytes
    headers["Content-Type"] = OCTETS
    if ranges is None:
        return Stream(reader, threads, [Part(b"", 0, size)], headers=headers)
    if len(ranges) == 1:
        start, stop = ranges[0]
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Stream(reader, threads, [Part(b"", start, stop)], status=206, headers=headers)
    boundary = secrets.token_hex(16)
    headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    parts = [
        Part(
            f"\r\n--{boundary}\r\nContent-Type: {OCTETS}\r\n"
            f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n\r\n".encode(),
            start,
            stop,
        )
        for start, stop in ranges
    ]
    tail = f"\r\n--{boundary}--\r\n".encode()
    return Stream(reader, threads, parts, tail=tail, status=206, headers=headers)


def _closing(response: Response, reader: Reader) -> Response:
    reader.close()
    return response
