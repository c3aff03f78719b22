"""The body of a request as a blocking stream for one thread.

    dataset = await Inflow(request.receive, threads).run(lambda body: hold.put(body, name=name))

Nothing is read from the connection before the thread asks for the first byte: what was refused until then (no
room, no right) is answered without a body having been sent. Blocks are handed on as they came, without a
copy; when the thread is more than `AHEAD_BYTES` behind, the connection is not read until it has caught up.
A client that goes silent for `idle_s` is given up; `stop` gives it up at once.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

from starlette.types import Receive

from holdfast.blobs import BLOCK_BYTES, StreamBody
from holdfast.server.problem import HttpProblem
from holdfast.server.streams import ClientGone, StreamThreads, settled

AHEAD_BYTES = 4 * BLOCK_BYTES

R = TypeVar("R")


class Inflow:
    """One request's body.

    From the loop one may look at `arrived_bytes`, `is_complete` (the whole body was taken from the connection)
    and `quiet_since_s` (the loop's time when something came last).
    """

    def __init__(
        self,
        receive: Receive,
        threads: StreamThreads,
        *,
        size_bytes: int | None,
        idle_s: float,
        bytes_max: int | None = None,
    ) -> None:
        self._receive = receive
        self._threads = threads
        self._idle_s = idle_s
        self._bytes_max = bytes_max
        self._blocks: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._rest: memoryview = memoryview(b"")
        self._ended: Exception | None = None
        self._asked = False
        self._taken_bytes = 0
        self._waiting = False
        self._pump: asyncio.Task[None] | None = None
        self.size_bytes = size_bytes
        self.arrived_bytes = 0
        self.is_complete = False
        self.ended = asyncio.Event()
        self.quiet_since_s = self._loop.time()

    # -- in the loop --------------------------------------------------------------------------------------

    async def run(self, work: Callable[[Inflow], R]) -> R:
        """Run `work(self)` in a thread while the body arrives; its result. The body may not have been read.

        Returns or raises only when the thread has ended.
        """
        working = asyncio.ensure_future(self._threads.run(work, self))
        self._pump = asyncio.create_task(self._fill())
        try:
            await asyncio.wait({working, self._pump}, return_when=asyncio.FIRST_COMPLETED)
            return await asyncio.shield(working)
        finally:
            self.stop(ClientGone("the transfer was stopped"))
            self._pump.cancel()
            await asyncio.wait({self._pump})
            if not working.done():
                await _until_done(working)
            self.ended.set()

    def stop(self, error: Exception) -> None:
        """Let the thread's next read raise `error`, and take nothing more from the connection."""
        if self._pump is not None:
            self._pump.cancel()
        self._blocks.put(error)

    async def _fill(self) -> None:
        try:
            await self._wanted.wait()
            async with asyncio.timeout(self._idle_s) as patience:
                await self._take_all(patience)
        except TimeoutError:
            self._blocks.put(
                HttpProblem(
                    408, f"no bytes came for {self._idle_s:.0f} s; send the rest again, or all of it",
                    headers={"Connection": "close"},
                )
            )  # fmt: skip
        except (ClientGone, HttpProblem) as error:
            self._blocks.put(error)

    async def _take_all(self, patience: asyncio.Timeout) -> None:
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone("the connection was lost before the body was complete")
            block: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            self.quiet_since_s = self._loop.time()
            if block:
                self.arrived_bytes += len(block)
                if self._bytes_max is not None and self.arrived_bytes > self._bytes_max:
                    raise HttpProblem(413, f"a body may have {self._bytes_max} bytes here")
                self._blocks.put(block)
                if self.arrived_bytes - self._taken_bytes > AHEAD_BYTES:
                    patience.reschedule(None)
                    await self._let_catch_up()
            patience.reschedule(self._loop.time() + self._idle_s)
        self.is_complete = True
        self._blocks.put(b"")

    async def _let_catch_up(self) -> None:
        self._room.clear()
        self._waiting = True
        if self.arrived_bytes - self._taken_bytes > AHEAD_BYTES // 2:
            await self._room.wait()
        self._waiting = False

    # -- in the thread ------------------------------------------------------------------------------------

    def read(self, size_bytes: int = -1, /) -> bytes | memoryview:
        """The next bytes, at most `size_bytes`; empty at the end. Raises what ended the body early."""
        if self._ended is not None:
            raise self._ended
        if not len(self._rest):
            self._rest = memoryview(self._next())
        if size_bytes < 0 or size_bytes >= len(self._rest):
            block, self._rest = self._rest, memoryview(b"")
        else:
            block, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        return block

    def _next(self) -> bytes:
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._wanted.set)
        block = self._blocks.get()
        if isinstance(block, Exception):
            self._ended = block
            raise block
        if not block:
            self._blocks.put(block)  # the end stays the end
        self._taken_bytes += len(block)
        if self._waiting and self.arrived_bytes - self._taken_bytes <= AHEAD_BYTES // 2:
            self._waiting = False
            self._loop.call_soon_threadsafe(self._room.set)
        return block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def body(self) -> StreamBody:
        """The stream as what `hold.put` takes."""
        return StreamBody(cast("BinaryIO", self), self.size_bytes)


async def _until_done(working: asyncio.Future[R]) -> None:
    try:
        await settled(working)
    except BaseException:  # noqa: BLE001 - the error that is under way counts
        return
