"""An upload in parts to S3, several at a time, each of which is repeated alone. Used by the cloud driver alone.

obstore gives up all of an upload when one part of it fails: then hundreds of gigabytes would be sent again for one
answer of 503. So the parts are sent by us. A part that fails in a way that may pass is sent again, up to four times,
after as long as the server asked for (`Retry-After`), else after a growing pause; a longer wait than ten seconds is
left to the layer that repeats whole puts. What cannot be completed is aborted.

Memory: the parts on their way, and the one that is being filled.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from holdfast.drivers.cloud.bulk import BulkWay
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import RequestFailed

ATTEMPTS = 4
FIRST_PAUSE_S = 0.2
PAUSE_S_MAX = 10.0
_SPREAD = 8

T = TypeVar("T")


class Uploading:
    """Give it blocks until it says False, then `finish` or `break_off`."""

    def __init__(
        self, clients: Clients, key: str, *, part_bytes: int, parts_at_once: int, headers: Mapping[str, str]
    ) -> None:
        self._clients, self._key, self._part_bytes, self._at_once = clients, key, part_bytes, parts_at_once
        self._requests = clients.here().requests
        self._id = self._requests.begin_upload(key, headers)
        self._way = BulkWay(self._requests.url(key), clients.settings)
        self._threads = ThreadPoolExecutor(parts_at_once, thread_name_prefix="holdfast-put")
        self._filling: list[memoryview] = []
        self._filled_bytes = 0
        self._coming: deque[Future[None]] = deque()
        self._tags: dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._failure: BaseException | None = None
        self._given_up = False

    def give(self, block: bytes) -> bool:
        """Take a block, when there is room; False if the upload has failed."""
        view = memoryview(block)
        while view and self._failure is None:
            piece = view[: self._part_bytes - self._filled_bytes]
            self._filling.append(piece)
            self._filled_bytes += len(piece)
            view = view[len(piece) :]
            if self._filled_bytes == self._part_bytes:
                self._send()
        return self._failure is None

    def finish(self) -> None:
        """That was the last: all of it is there, or `RequestFailed` and nothing is."""
        try:
            if self._filled_bytes and self._failure is None:
                self._send()
            while self._coming:
                self._settle()
            if self._failure is not None:
                raise self._failure
            tags = [(number, self._tags[number]) for number in sorted(self._tags)]
            self._repeated(0, lambda: self._requests.complete(self._key, self._id, tags))
        except BaseException:
            self.break_off()
            raise
        self._threads.shutdown()
        self._way.close()

    def break_off(self) -> None:
        """What was sent is not to be used."""
        self._given_up = True
        for coming in self._coming:
            coming.cancel()
        self._threads.shutdown(wait=True)
        self._way.close()
        with contextlib.suppress(RequestFailed):  # it is a leftover then
            self._requests.abort(self._key, self._id)

    # -- inside -------------------------------------------------------------------------------------------

    def _send(self) -> None:
        while len(self._coming) >= self._at_once:
            self._settle()
        blocks, self._filling, self._filled_bytes = self._filling, [], 0
        number = next(self._numbers)

        def send() -> None:
            self._tags[number] = self._repeated(
                number, lambda: self._requests.put_part(self._way, self._key, self._id, number, blocks)
            )

        if self._failure is None:
            self._coming.append(self._threads.submit(send))

    def _settle(self) -> None:
        """Wait for the oldest part."""
        failure = self._coming.popleft().exception()
        self._failure = self._failure or failure
        self._given_up = self._given_up or failure is not None

    def _repeated(self, number: int, act: Callable[[], T]) -> T:
        for pause_s in _pauses(number):
            try:
                return act()
            except RequestFailed as failed:
                asked_s = failed.answer.retry_after_s
                wait_s = pause_s if asked_s is None else asked_s
                if self._given_up or not failed.answer.may_pass or wait_s > PAUSE_S_MAX:
                    raise
            self._clients.clock.sleep(wait_s)
        return act()


def _pauses(number: int) -> Iterator[float]:
    """Before each repetition; parts that failed together do not come back together."""
    for attempt in range(ATTEMPTS - 1):
        yield FIRST_PAUSE_S * 2**attempt * (0.5 + number % _SPREAD / _SPREAD)
