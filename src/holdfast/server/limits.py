"""Limits for the bodies of ordinary requests. Uploads have limits of their own and pass untouched."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.server.problem import HttpProblem

_TRANSFERS = re.compile(r"/api/datasets|/api/datasets/[^/]+/content|/api/uploads(/[^/]+)?")


class BodyLimit:
    """ASGI middleware: 413 for a body of more than `bytes_max`, also where nobody said how long it is."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _TRANSFERS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > self._bytes_max:
            raise self._too_large()
        taken_bytes = 0

        async def limited() -> Message:
            nonlocal taken_bytes
            message = await receive()
            if message["type"] == "http.request":
                taken_bytes += len(message.get("body", b""))
                if taken_bytes > self._bytes_max:
                    # the framework calls everything that breaks its reading a 400: the handler looks here
                    scope["holdfast.problem"] = self._too_large()
                    raise scope["holdfast.problem"]
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> HttpProblem:
        return HttpProblem(413, f"a request like this may have {self._bytes_max} bytes")
