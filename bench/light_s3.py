"""A bucket in memory that costs almost nothing, so that a timing shows the client and not the server.

    python -m bench.light_s3        prints its address and serves until it is stopped

Only what the clients of `objects` ask for: put, get (with a range), head, delete, a list, If-None-Match: *, If-Match.
Signatures are not looked at. Whether a client is right is shown on real servers, by `tests/servers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_BLOBS: dict[str, tuple[bytes, bytes, bytes]] = {}  # path -> bytes, ETag, time


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """One request."""
    if scope["type"] != "http":
        return
    path, method = unquote(scope["raw_path"].decode().partition("?")[0]), scope["method"]
    headers = dict(scope["headers"])
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"".join(parts)
    if path.count("/") == 1 or path.endswith("/"):
        await _bucket(path, scope["query_string"].decode(), method, send)
    elif method == "PUT":
        if headers.get(b"if-none-match") == b"*" and path in _BLOBS:
            await _answer(send, 412, [])
            return
        if b"aws-chunked" in headers.get(b"content-encoding", b"") or b"STREAMING" in headers.get(
            b"x-amz-content-sha256", b""
        ):
            body = _unchunked(body)
        etag = b'"' + hashlib.md5(body, usedforsecurity=False).hexdigest().encode() + b'"'
        _BLOBS[path] = (body, etag, formatdate(usegmt=True).encode())
        await _answer(send, 200, [(b"etag", etag)])
    elif path not in _BLOBS:
        code = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
        await _answer(send, 204 if method == "DELETE" else 404, [], b"" if method == "HEAD" else code)
    elif method == "DELETE":
        del _BLOBS[path]
        await _answer(send, 204, [])
    else:
        await _give(path, method, headers, send)


async def _give(path: str, method: str, headers: dict[bytes, bytes], send: Send) -> None:
    content, etag, modified = _BLOBS[path]
    common = [(b"etag", etag), (b"last-modified", modified), (b"accept-ranges", b"bytes")]
    if b"if-match" in headers and headers[b"if-match"] != etag:
        await _answer(send, 412, [])
        return
    status, start, stop = 200, 0, len(content)
    wanted = headers.get(b"range", b"").partition(b"=")[2].decode()
    if wanted:
        first, _, last = wanted.partition("-")
        start, stop = int(first), min(len(content), int(last) + 1 if last else len(content))
        if start >= len(content):
            await _answer(send, 416, [(b"content-range", b"bytes */%d" % len(content))])
            return
        status = 206
        common.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, len(content))))
    if method == "HEAD":
        await _answer(send, status, [*common, (b"content-length", b"%d" % (stop - start))], None)
        return
    await _answer(send, status, common, content[start:stop])


async def _bucket(path: str, query: str, method: str, send: Send) -> None:
    if method in ("PUT", "HEAD"):
        await _answer(send, 200, [], None if method == "HEAD" else b"")
        return
    prefix = parse_qs(query).get("prefix", [""])[0]
    bucket = path.rstrip("/") + "/"
    names = sorted(name.removeprefix(bucket) for name in _BLOBS if name.startswith(bucket + prefix))
    entries = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;x&quot;</ETag><Size>{len(_BLOBS[bucket + name][0])}</Size></Contents>"
        for name in names[:1000]
    )
    page = f'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>'
    await _answer(send, 200, [(b"content-type", b"application/xml")], page.encode())


def _unchunked(body: bytes) -> bytes:
    """The bytes of a body in signed or trailing chunks."""
    parts, at = [], 0
    while True:
        line, at = body[at : body.index(b"\r\n", at)], body.index(b"\r\n", at) + 2
        size = int(line.partition(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[at : at + size])
        at += size + 2


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes | None = b"") -> None:
    if body is not None and status != 204:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body or b""})


def main() -> None:
    """Serve on a free port until standard input ends."""
    import socket
    import threading

    import uvicorn

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))

    def until_told() -> None:
        import sys

        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=until_told, daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
