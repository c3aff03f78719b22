"""A very small S3 on loopback that does what a test tells it: it keeps objects, counts requests, and fails on command.

Not a server to hold the driver's contract on (those are real ones, in tests/servers); here it is certain which bytes go
out, and what was asked.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import parse_qs, unquote, urlsplit

DATE = "Sun, 22 Nov 2026 18:00:00 GMT"


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def line(self) -> str:
        """`PUT 000/x ?partNumber`, for counting."""
        query = " ?" + "&".join(sorted(self.query)) if self.query else ""
        return f"{self.method} {self.key or '/'}{query}"


LOST = b""  # an answer that is never sent: the connection is closed
Fault = Callable[[Asked], bytes | None]


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer as bytes. `Content_Length` may lie."""
    given = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def refusal(status: int, code: str, **headers: str) -> bytes:
    """An S3 error."""
    return answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode(), **headers)


class SmallS3:
    """One bucket, `b`. `before` may answer instead of it, `after` instead of its answer (when it was done)."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.asked: list[Asked] = []
        self.before: Fault = lambda asked: None
        self.after: Fault = lambda asked: None
        self.obeys_conditions = self.obeys_ranges = True
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def lines(self) -> list[str]:
        """What was asked, shortly."""
        return [asked.line for asked in self.asked]

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while head := stream.readline():
                    headers: dict[str, str] = {}
                    while (line := stream.readline().strip()) != b"":
                        name, _, value = line.decode().partition(":")
                        headers[name.lower()] = value.strip()
                    method, target, _ = head.decode().split(" ", 2)
                    parts = urlsplit(target)
                    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                    body = stream.read(int(headers.get("content-length", "0")))
                    asked = Asked(method, unquote(parts.path).removeprefix("/b").lstrip("/"), query, headers, body)
                    with self._lock:
                        self.asked.append(asked)
                        said = self.before(asked)
                        if said is None:
                            said = self._answer(asked)
                            instead = self.after(asked)
                            said = said if instead is None else instead
                    if said == LOST:
                        return
                    connection.sendall(said)
                    if b"close" in said.partition(b"\r\n\r\n")[0]:
                        return
            except OSError:
                return

    # -- what it can ----------------------------------------------------------------------------------------------

    def _answer(self, asked: Asked) -> bytes:
        if "uploads" in asked.query or "uploadId" in asked.query:
            return self._of_upload(asked)
        if asked.key == "":
            return self._list(asked) if asked.method == "GET" else answer(200)
        return getattr(self, f"_{asked.method.lower()}")(asked)

    def _put(self, asked: Asked) -> bytes:
        if self.obeys_conditions and asked.headers.get("if-none-match") == "*" and asked.key in self.objects:
            return refusal(412, "PreconditionFailed")
        self.objects[asked.key] = asked.body
        return answer(200, ETag=tag(asked.body))

    def _get(self, asked: Asked) -> bytes:
        content = self.objects.get(asked.key)
        if content is None:
            return refusal(404, "NoSuchKey")
        facts = {"ETag": tag(content), "Last-Modified": DATE}
        if asked.headers.get("if-match") not in (None, tag(content)):
            return refusal(412, "PreconditionFailed")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
        if wanted is None or not self.obeys_ranges:
            return answer(200, content, **facts)
        start = int(wanted[1])
        stop = min(len(content), int(wanted[2]) + 1 if wanted[2] else len(content))
        if start >= len(content):
            return refusal(416, "InvalidRange", Content_Range=f"bytes */{len(content)}")
        return answer(206, content[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(content)}", **facts)

    def _head(self, asked: Asked) -> bytes:
        content = self.objects.get(asked.key)
        if content is None:
            return answer(404)
        return answer(200, b"", Content_Length=str(len(content)), ETag=tag(content), Last_Modified=DATE)

    def _delete(self, asked: Asked) -> bytes:
        self.objects.pop(asked.key, None)
        return answer(204)

    def _list(self, asked: Asked) -> bytes:
        first, prefix = asked.query.get("start-after", ""), asked.query.get("prefix", "")
        names = sorted((name for name in self.objects if name > first and name.startswith(prefix)), key=str.encode)
        limit = int(asked.query.get("max-keys", "1000"))
        lines = "".join(
            f"<Contents><Key>{name}</Key><Size>{len(self.objects[name])}</Size><ETag>{tag(self.objects[name])}</ETag>"
            "<LastModified>2026-11-22T18:00:00.000Z</LastModified></Contents>"
            for name in names[:limit]
        )
        more = str(len(names) > limit).lower()
        return answer(200, f"<L><IsTruncated>{more}</IsTruncated>{lines}</L>".encode())

    def _of_upload(self, asked: Asked) -> bytes:
        name = asked.query.get("uploadId", f"u{len(self.uploads)}")
        if asked.method == "POST" and "uploads" in asked.query:
            self.uploads[name] = {}
            return answer(200, f"<R><Bucket>b</Bucket><Key>k</Key><UploadId>{name}</UploadId></R>".encode())
        if asked.method == "GET":
            lines = "".join(
                f"<Upload><Key>k</Key><UploadId>{one}</UploadId><Initiated>2026-11-22T18:00:00Z</Initiated></Upload>"
                for one in self.uploads
            )
            return answer(200, f"<L>{lines}</L>".encode())
        if asked.method != "DELETE" and name not in self.uploads:
            return refusal(404, "NoSuchUpload")
        if asked.method == "PUT":
            self.uploads[name][int(asked.query["partNumber"])] = asked.body
            return answer(200, ETag=tag(asked.body))
        parts = self.uploads.pop(name, {})
        if asked.method == "DELETE":
            return answer(204)
        self.objects[asked.key] = b"".join(parts[number] for number in sorted(parts))
        return answer(200, b'<R><ETag>"made-of-parts"</ETag></R>')


@lru_cache(maxsize=64)
def tag(content: bytes) -> str:
    """The ETag, as S3 makes it."""
    return f'"{hashlib.md5(content).hexdigest()}"'
