"""The event log as people read it: by day, newest first, live on its first page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from holdfast.catalog.accounts import Account
from holdfast.catalog.base import Event
from holdfast.hold.hold import Hold
from holdfast.server.context import hold_of, require_user
from holdfast.server.pages import words
from holdfast.server.pages.rendering import query_of, render_fragment, render_page, tagged, wants_fragment

ROWS = 50
LOOKED_AT_MAX = 1000
_TOPICS = {
    "dataset.put": "Stored",
    "dataset.adopt": "Found",
    "dataset.ok": "Restored",
    "dataset.deleted": "Deleted",
    "dataset.purged": "Purged",
    "dataset.error": "Error",
    "dataset.replace": "Replaced",
    "replica.suspect": "Damaged",
    "replica.missing": "Missing",
    "pool.add": "Pool added",
    "pool.remove": "Pool removed",
    "pool.state": "Pool state",
    "pool.rename": "Pool renamed",
}

_ABOUT = re.compile(r"(job|operation) (\d{1,19})\b", re.ASCII)

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Line:
    """One event as the page shows it."""

    id: int
    at_us: int
    topic: str
    text: str
    name: str | None
    dataset_id: int | None
    href: str | None
    actor: str | None


@router.get("/activity")
def show_activity(request: Request, before: Annotated[int | None, Query(ge=1, le=2**62)] = None) -> Response:
    """What happened. Administrators see all of it, others what they did themselves."""
    user, hold = require_user(request), hold_of(request)
    events, last = _page(hold, user, before)
    now_us = hold.clock.now_us()
    lines = [_line(hold, event) for event in events]
    days = [(day, list(group)) for day, group in groupby(lines, lambda line: words.day_words(line.at_us, now_us))]
    older = None if last is None else "/activity" + query_of({"before": last})
    newer = None if before is None else _newer(hold, user, events[0].id if events else before - 1)
    values: dict[str, Any] = {"days": days, "live": before is None, "older": older, "newer": newer}
    if wants_fragment(request):
        return render_fragment(request, "activity/_list.html", values)
    rendered, _ = tagged(request, "activity/_list.html", values)
    return render_page(request, "activity/list.html", {"list": rendered})


def _page(hold: Hold, user: Account, before: int | None) -> tuple[list[Event], int | None]:
    """One page of events, and where the next begins (None: there is none)."""
    if user.is_admin:
        found = hold.events(ROWS + 1, before=before)
        return found[:ROWS], found[ROWS - 1].id if len(found) > ROWS else None
    own: list[Event] = []
    looked = hold.events(LOOKED_AT_MAX, before=before)
    for event in looked:
        if event.actor == user.email:
            own.append(event)
            if len(own) == ROWS:
                return own, event.id
    return own, looked[-1].id if len(looked) == LOOKED_AT_MAX else None


def _newer(hold: Hold, user: Account, first: int) -> str:
    """The page before the one that begins with the event `first`."""
    if user.is_admin:
        before = hold.events_since(first, ROWS + 1)
    else:
        looked = hold.events_since(first, LOOKED_AT_MAX)
        before = [event for event in looked if event.actor == user.email][: ROWS + 1]
        if len(before) <= ROWS and len(looked) == LOOKED_AT_MAX:
            return "/activity" + query_of({"before": looked[-1].id + 1})
    # where no more than one page is newer, that is the first page
    return "/activity" + query_of({"before": before[ROWS].id if len(before) > ROWS else None})


def _line(hold: Hold, event: Event) -> Line:
    name = None
    if event.dataset_id is not None:
        dataset = hold.catalog.datasets.find(event.dataset_id)
        name = None if dataset is None else dataset.name
    topic = _TOPICS.get(event.kind) or event.kind.replace(".", " ").replace("_", " ").capitalize()
    text = event.text.partition(":")[0] if event.kind == "job.queued" else event.text
    about = _ABOUT.match(text)
    href = None if about is None else f"/{about[1]}s/{about[2]}"
    return Line(event.id, event.at_us, topic, text, name, event.dataset_id, href, event.actor)
