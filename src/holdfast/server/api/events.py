"""`/api/events`: what happens, as it happens (server-sent events), and the log so far.

One task for each process looks for new events, only while somebody listens; it asks once for all listeners.
A listener that reads too slowly is let go: it comes back with `Last-Event-ID` and misses nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from holdfast.catalog.accounts import Account
from holdfast.catalog.base import Event
from holdfast.hold.hold import Hold
from holdfast.hold.shapes import event_json
from holdfast.server.api import shapes
from holdfast.server.api.paging import LIMIT, After, Limit, known_query_only, page
from holdfast.server.context import House, house_of, in_thread, require_user
from holdfast.server.problem import HttpProblem
from holdfast.server.streams import ClientGone, Departure, send_block

LOOK_S = 0.5
HEARTBEAT_S = 15.0
BATCH = 200
WAITING_MAX = 1000  # events that a listener may be behind
LISTENERS_MAX = 500
REPLAYED_MAX = 10_000
RETRY_MS = 2000

router = APIRouter(prefix="/api", tags=["events"], dependencies=[Depends(known_query_only)])


class Feed:
    """The events of one process's hold, for all who listen."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._listeners: dict[asyncio.Queue[Event | None], Account] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def listen(self, account: Account) -> asyncio.Queue[Event | None]:
        """A queue that gets every new event from now on; None is its end. 503 if too many listen."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise HttpProblem(503, "too many listen to the events already", retry_after_s=30)
        queue: asyncio.Queue[Event | None] = asyncio.Queue(WAITING_MAX)
        if self._closed:
            queue.put_nowait(None)
            return queue
        self._listeners[queue] = account
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return queue

    def leave(self, queue: asyncio.Queue[Event | None]) -> None:
        """No more. Idempotent."""
        self._listeners.pop(queue, None)

    def close(self) -> None:
        """Send everybody home: the server stops."""
        self._closed = True
        for queue in list(self._listeners):
            self._dismiss(queue)

    async def _run(self) -> None:
        newest = await in_thread(self._hold.events, 1)
        last = newest[0].id if newest else 0
        while self._listeners:
            await asyncio.sleep(LOOK_S)
            try:
                events = await in_thread(self._hold.events_since, last, BATCH)
            except Exception:  # noqa: BLE001 - the catalog is away: listeners come back when it is
                for queue in list(self._listeners):
                    self._dismiss(queue)
                return
            for event in events:
                last = event.id
                for queue in list(self._listeners):
                    try:
                        queue.put_nowait(event)
                    except asyncio.QueueFull:
                        self._dismiss(queue)

    def _dismiss(self, queue: asyncio.Queue[Event | None]) -> None:
        self.leave(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)


def feed_of(house: House) -> Feed:
    """The process's one feed."""
    feed: Feed = house.parts.get(Feed) or house.parts.setdefault(Feed, Feed(house.hold))
    return feed


@router.get("/events", response_class=Response)
async def events(
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="as Last-Event-ID")] = None,
) -> Response:
    """New events as they happen (`text/event-stream`). `Last-Event-ID` gives first what was missed."""
    account = require_user(request)
    header = request.headers.get("last-event-id", "")
    if header.isascii() and header.isdigit() and len(header) < 19:
        after = int(header)
    return EventStream(house_of(request), account, after)


@router.get("/events/log", responses={200: {"model": list[shapes.Event]}})
def log(
    request: Request,
    limit: Limit = LIMIT,
    after: After = None,
    dataset: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """The log so far, newest first; `after` an id: those before it."""
    account = require_user(request)
    house = house_of(request)
    found = house.hold.events(limit, before=after, dataset_id=dataset)
    owners: dict[int, str | None] = {}
    seen = [event_json(event) for event in found if visible(house.hold, account, event, owners)]
    answer = page(request, seen, limit, found[-1].id if found else None)
    if len(found) == limit and len(seen) < limit:
        answer.headers["Link"] = page(request, [{}] * limit, limit, found[-1].id).headers["Link"]
    return answer


def visible(hold: Hold, account: Account, event: Event, owners: dict[int, str | None]) -> bool:
    """Whether an event concerns this account: its own datasets, what it did itself, the pools' states.

    `owners` remembers whose datasets are, for many events in a row.
    """
    if account.is_admin or (event.actor is not None and event.actor == account.email):
        return True
    if event.dataset_id is not None:
        if event.dataset_id not in owners:
            found = hold.catalog.datasets.find(event.dataset_id)
            owners[event.dataset_id] = None if found is None else found.owner
        return owners[event.dataset_id] == account.email
    return event.kind == "pool.state"


class EventStream(Response):
    """Server-sent events to one listener."""

    def __init__(self, house: House, account: Account, after: int | None) -> None:
        self._house = house
        self._account = account
        self._after = after
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers(
            {
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        feed = feed_of(self._house)
        queue = feed.listen(self._account)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with Departure(receive) as departure:
                try:
                    await self._tell(send, departure, queue)
                except ClientGone:
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            feed.leave(queue)

    async def _tell(self, send: Send, departure: Departure, queue: asyncio.Queue[Event | None]) -> None:
        await send_block(send, f"retry: {RETRY_MS}\n\n".encode(), departure)
        owners: dict[int, str | None] = {}
        last = self._after
        replayed = 0
        while last is not None and replayed < REPLAYED_MAX:
            missed = await in_thread(self._house.hold.events_since, last, BATCH)
            replayed += len(missed)
            if not missed:
                break
            last = missed[-1].id
            await self._send(send, departure, missed, owners)
        while True:
            found = await departure.unless(queue.get(), HEARTBEAT_S)
            if found is not None:
                if last is None or found.id > last:
                    last = found.id
                    await self._send(send, departure, [found], owners)
            elif not departure.timed_out:
                return
            else:
                await send_block(send, b": still here\n\n", departure)

    async def _send(self, send: Send, departure: Departure, found: list[Event], owners: dict[int, str | None]) -> None:
        if len(owners) > WAITING_MAX:
            owners.clear()
        account = self._account
        hold = self._house.hold
        told = await in_thread(lambda: [event for event in found if visible(hold, account, event, owners)])
        block = "".join(_frame(event_json(event)) for event in told)
        if block:
            await send_block(send, block.encode(), departure)


def _frame(event: dict[str, Any]) -> str:
    # JSON on one line: a text of several lines cannot end the frame
    return f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event, ensure_ascii=True)}\n\n"
