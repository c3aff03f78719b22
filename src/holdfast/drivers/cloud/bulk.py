"""A connection for large request bodies, which go from memory to the socket without a copy. For the cloud driver alone.

httpx copies each byte of a body twice, which for a large upload costs more than all the rest. One connection for each
thread that sends; after trouble the next request makes another. Does not know proxies: `needs_proxy` says where one is
set, and then obstore sends.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from holdfast.drivers.cloud.errors import Answer, RequestFailed, why_refused
from holdfast.drivers.cloud.settings import CloudSettings

if TYPE_CHECKING:
    import httpx

_ANSWER_BYTES_MAX = 1024 * 1024
_LOST = Answer(trouble="lost", detail="the connection broke, or the answer was cut off")
_SILENT = Answer(trouble="lost", detail="it did not answer in time")


def needs_proxy(url: str) -> bool:
    """Whether the environment says that this address is reached through a proxy."""
    parts = urlsplit(url)
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


class BulkWay:
    """Connections to the host of `url`. Safe from many threads; each keeps its own."""

    def __init__(self, url: str, settings: CloudSettings) -> None:
        self._parts, self._settings = urlsplit(url), settings
        self._mine = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def put(self, target: bytes, headers: Mapping[str, str], blocks: Sequence[memoryview]) -> httpx.Response:
        """Send one request; its answer, or `RequestFailed` if there was none."""
        import httpx

        connection = self._connected()
        try:
            connection.putrequest("PUT", target.decode("ascii"), skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("content-length", str(sum(map(len, blocks))))
            connection.endheaders()
            is_sent = False
            with contextlib.suppress(ConnectionError):  # who refuses early may have said why
                for block in blocks:
                    connection.send(block)
                is_sent = True
            answer = connection.getresponse()
            content = answer.read(_ANSWER_BYTES_MAX)
        except TimeoutError:
            self._drop()
            raise RequestFailed(_SILENT) from None
        except (OSError, http.client.HTTPException):
            self._drop()
            raise RequestFailed(_LOST) from None
        if not is_sent or not answer.isclosed():
            self._drop()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=content)

    def close(self) -> None:
        """Close all of them, when nobody sends any more."""
        for connection in self._all:
            connection.close()

    # -- inside -------------------------------------------------------------------------------------------

    def _connected(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if connection is not None and connection.sock is not None:
            return connection
        connection = self._new()
        try:
            connection.connect()
        except OSError as error:
            detail = "it did not answer in time" if isinstance(error, TimeoutError) else why_refused(str(error))
            raise RequestFailed(Answer(trouble="refused", detail=detail)) from None
        assert isinstance(connection.sock, socket.socket)
        connection.sock.settimeout(self._settings.read_timeout_s)
        self._mine.connection = connection
        self._all.append(connection)
        return connection

    def _new(self) -> http.client.HTTPConnection:
        host, port, timeout_s = self._parts.hostname or "", self._parts.port, self._settings.connect_timeout_s
        if self._parts.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        import httpx

        context = httpx.create_ssl_context(verify=self._settings.validate_certs)
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)

    def _drop(self) -> None:
        connection = self._mine.connection
        self._mine.connection = None
        connection.close()
        self._all.remove(connection)
