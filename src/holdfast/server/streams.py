"""What up- and downloads share: threads of their own, and a client that may vanish.

Transfers do not take the threads that other requests need. A thread's work is never left behind: whoever
waits for it is cancelled only when it has ended.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

LINGER_S = 5.0
LINGER_BYTES = 256 * 1024 * 1024
STALLED_S = 300.0

P = ParamSpec("P")
R = TypeVar("R")


class ClientGone(Exception):
    """The connection was lost; nobody is there to be answered."""


class StreamThreads:
    """Threads for one kind of transfer, at most `at_once`. Made when first used; `close` ends them."""

    def __init__(self, at_once: int, name: str) -> None:
        self._at_once = at_once
        self._name = name
        self._executor: ThreadPoolExecutor | None = None
        self._busy = 0

    @property
    def all_busy(self) -> bool:
        """Whether the next call would have to wait for another one's end."""
        return self._busy >= self._at_once

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call and wait for it. It is never left half done: a cancelled caller waits too."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._at_once, thread_name_prefix=self._name)
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        self._busy += 1
        try:
            future = loop.run_in_executor(self._executor, lambda: context.run(call, *args, **kwargs))
            return await settled(future)
        finally:
            self._busy -= 1

    def close(self) -> None:
        """End the threads once they are idle. May be used again afterwards."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


async def settled(future: asyncio.Future[R]) -> R:
    """Wait for work that cannot be stopped; a cancellation comes through only when the work has ended."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:
                continue
            except Exception:  # noqa: BLE001 - the cancellation is what counts now
                break
        raise


class Lingering(Response):
    """An answer to a client that is still sending: it gets the time to notice.

    Closing at once would reset the connection, and with it the answer that says why. What still comes is
    dropped, for `LINGER_S` at most; then the connection is closed.
    """

    def __init__(self, answer: Response) -> None:
        self._answer = answer
        self.status_code = answer.status_code
        self.background = None
        self.body = answer.body
        self.raw_headers = [*answer.raw_headers, (b"connection", b"close")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await _drop_rest(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drop_rest(receive: Receive) -> None:
    dropped_bytes = 0
    try:
        async with asyncio.timeout(LINGER_S):
            while dropped_bytes < LINGER_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                dropped_bytes += len(message.get("body", b""))
    except TimeoutError:
        return


class Departure:
    """Notices that the client has gone while an answer is sent. Use as a context manager."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self.timed_out = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def unless(self, wanted: Awaitable[R], timeout_s: float) -> R | None:
        """What is waited for, or None after `timeout_s` (then `timed_out`); `ClientGone` if the client went."""
        assert self._task is not None, "use it as a context manager"
        waiting = asyncio.ensure_future(wanted)
        await asyncio.wait({waiting, self._task}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        self.timed_out = not waiting.done()
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        if self.happened:
            raise ClientGone
        return None

    @property
    def happened(self) -> bool:
        """Whether it has gone."""
        return self._task is not None and self._task.done()

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return


async def send_block(send: Send, block: bytes | bytearray | memoryview, departure: Departure) -> None:
    """Send a block of a body; `ClientGone` if nobody takes it."""
    if departure.happened:
        raise ClientGone
    message: Message = {"type": "http.response.body", "body": block, "more_body": True}
    try:
        async with asyncio.timeout(STALLED_S):
            await send(message)
    except (TimeoutError, OSError) as error:
        raise ClientGone from error
