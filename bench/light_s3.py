"""A bucket in memory that costs almost nothing, so that a timing shows the client and not the server.

    python -m bench.light_s3        prints its address and serves until it is stopped

Only what the clients of `objects` ask for: put, get (with a range), head, delete, a list, If-None-Match: *, If-Match.
Signatures are not looked at. Whether a client is right is shown on real servers, by `tests/servers`. It speaks just so
much HTTP as these clients do: what it takes of a core that it shares with them is the MD5 of what is put, and little
else.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from email.utils import formatdate
from urllib.parse import parse_qs, unquote

_BLOBS: dict[str, tuple[bytes, str, str]] = {}  # path -> bytes, ETag, time
_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 404: "Not Found", 412: "Precondition Failed",
            416: "Range Not Satisfiable"}  # fmt: skip
_HEAD_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self) -> None:
        self._come = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None  # of the request whose body is coming
        self._body_bytes = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._come += data
        while self._is_complete():
            assert self._head is not None
            body = bytes(memoryview(self._come)[: self._body_bytes])
            del self._come[: self._body_bytes]
            (method, target, headers), self._head = self._head, None
            status, more, content = _answer(method, target, headers, body)
            self._send(method, status, more, content)

    def _is_complete(self) -> bool:
        """Whether a request has come whole."""
        if self._head is None:
            end = self._come.find(_HEAD_END)
            if end < 0:
                return False
            lines = self._come[:end].decode("latin-1").split("\r\n")
            del self._come[: end + len(_HEAD_END)]
            method, target, _ = lines[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            self._head, self._body_bytes = (method, target, headers), int(headers.get("content-length", 0))
            if headers.get("expect", "").lower() == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return len(self._come) >= self._body_bytes

    def _send(self, method: str, status: int, more: dict[str, str], content: bytes) -> None:
        more.setdefault("content-length", str(len(content)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n{lines}\r\n".encode("latin-1")
        self._transport.write(head if method == "HEAD" else head + content)


def _answer(method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, content."""
    raw, _, query = target.partition("?")
    path = unquote(raw)
    if path.count("/") == 1 or path.endswith("/"):
        return (200, {}, b"") if method in ("PUT", "HEAD") else _listing(path, query)
    if method == "PUT":
        if headers.get("if-none-match") == "*" and path in _BLOBS:
            return 412, {}, b""
        if "aws-chunked" in headers.get("content-encoding", "") or "STREAMING" in headers.get(
            "x-amz-content-sha256", ""
        ):
            body = _unchunked(body)
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        _BLOBS[path] = (body, etag, formatdate(usegmt=True))
        return 200, {"etag": etag}, b""
    if path not in _BLOBS:
        code = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
        return (204, {}, b"") if method == "DELETE" else (404, {}, code)
    if method == "DELETE":
        del _BLOBS[path]
        return 204, {}, b""
    return _content(path, headers)


def _content(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    content, etag, modified = _BLOBS[path]
    if headers.get("if-match", etag) != etag:
        return 412, {}, b""
    common = {"etag": etag, "last-modified": modified, "accept-ranges": "bytes"}
    wanted = headers.get("range", "").partition("=")[2]
    if not wanted:
        return 200, {**common, "content-length": str(len(content))}, content
    first, _, last = wanted.partition("-")
    start, stop = int(first), min(len(content), int(last) + 1 if last else len(content))
    if start >= len(content):
        return 416, {"content-range": f"bytes */{len(content)}"}, b""
    found = {**common, "content-range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return 206, found, content if stop - start == len(content) else content[start:stop]


def _listing(path: str, query: str) -> tuple[int, dict[str, str], bytes]:
    prefix = parse_qs(query).get("prefix", [""])[0]
    bucket = path.rstrip("/") + "/"
    names = sorted(name.removeprefix(bucket) for name in _BLOBS if name.startswith(bucket + prefix))
    entries = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;x&quot;</ETag><Size>{len(_BLOBS[bucket + name][0])}</Size></Contents>"
        for name in names[:1000]
    )
    page = f'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>'
    return 200, {"content-type": "application/xml"}, page.encode()


def _unchunked(body: bytes) -> bytes:
    """The bytes of a body in signed or trailing chunks."""
    parts: list[bytes] = []
    at = 0
    while True:
        line, at = body[at : body.index(b"\r\n", at)], body.index(b"\r\n", at) + 2
        size = int(line.partition(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[at : at + size])
        at += size + 2


async def serve() -> None:
    """Serve on a free port until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
