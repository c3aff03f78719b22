"""The list of datasets: search, filters, pages, and removing several at once with a way back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from holdfast.catalog.accounts import Account
from holdfast.catalog.base import DATASET_STATES, Dataset, DatasetState, Filter
from holdfast.errors import HoldfastError
from holdfast.hold.hold import Hold
from holdfast.server.api.visible import dataset_for
from holdfast.server.context import hold_of, require_user
from holdfast.server.pages import words
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.rendering import (
    back_to,
    local_path,
    query_of,
    render_fragment,
    render_page,
    tagged,
    wants_fragment,
)
from holdfast.server.pages.searching import Searched, tags_of, understood

ROWS = 50
TAGS_SHOWN = 3
AT_ONCE_MAX = 500
STATES = [
    ("ok", "OK"),
    ("new", "Being written"),
    ("error", "Error"),
    ("deleted", "Deleted"),
    ("purged", "Purged"),
]

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to, as in the address: every field is a text, empty for "any"."""

    q: str = ""
    pool: str = ""
    state: str = ""
    owner: str = ""
    after: str = ""

    @property
    def any(self) -> bool:
        """Whether anything is left out."""
        return bool(self.q or self.pool or self.state or self.owner)

    def given(self, **changed: str) -> dict[str, str]:
        """For an address line."""
        return {**asdict(self), **changed}


def _filters(
    q: Annotated[str, Query(max_length=255)] = "",
    pool: Annotated[str, Query(max_length=255)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    owner: Annotated[str, Query(max_length=255)] = "",
    after: Annotated[str, Query(max_length=20)] = "",
) -> Filters:
    return Filters(q.strip(), pool, state if state in DATASET_STATES else "", owner.strip().lower(), after)


Asked = Annotated[Filters, Depends(_filters)]


@router.get("/datasets")
def show_list(request: Request, filters: Asked) -> Response:
    """The list, whole or, for htmx, its rows alone."""
    user, hold = require_user(request), hold_of(request)
    values = _list_values(hold, user, filters) | {"part": wants_fragment(request)}
    if wants_fragment(request):
        asked_by_form = request.headers.get("HX-Source", "").startswith("form")
        address = "/datasets" + query_of(filters.given(after="")) if asked_by_form else None
        return render_fragment(request, "datasets/_list.html", values, address=address)
    rows, _ = tagged(request, "datasets/_list.html", values)
    pools = [pool.facts for pool in hold.poolset]
    bare = not values["filtered"] and not values["datasets"] and not values["hidden"]
    values |= {
        "list": rows,
        "pools": pools + _forgotten(hold),
        "targets": [facts for facts in pools if facts.allow_selection or user.is_admin] if len(pools) > 1 else [],
        "states": STATES,
        "bare": bare,
    }
    return render_page(request, "datasets/list.html", values)


@router.post("/datasets/delete")
def delete_several(request: Request, form: Sent) -> Response:
    """Mark datasets deleted. The notice that follows has a button that takes it back."""
    user, hold = require_user(request), hold_of(request)
    done: list[Dataset] = []
    failed = ""
    for dataset_id in form.numbers("id")[:AT_ONCE_MAX]:
        try:
            done.append(hold.remove(dataset_for(hold, user, str(dataset_id)).id, actor=user.email))
        except HoldfastError as error:
            failed = str(error)
    where = local_path(form.text("next"))
    undo = "/datasets/restore" + query_of({"id": ",".join(str(dataset.id) for dataset in done)})
    if not done:
        return back_to(request, where, failed or "Nothing was selected.", kind="warning")
    what = words.printable(done[0].name) if len(done) == 1 else words.counted(len(done), "dataset")
    text = f"Deleted {what}." + (f" Not all could be deleted: {failed}." if failed else "")
    return back_to(
        request,
        where,
        text,
        kind="warning" if failed else "done",
        undo=undo if len(undo) < 900 else None,
    )


@router.post("/datasets/restore")
def restore_several(request: Request, id: Annotated[str, Query(max_length=8000)] = "") -> Response:  # noqa: A002
    """Take a deletion back."""
    user, hold = require_user(request), hold_of(request)
    wanted = [int(text) for text in id.split(",") if text.isascii() and text.isdigit() and len(text) < 20]
    restored = [
        hold.restore(dataset_for(hold, user, str(dataset_id)).id, actor=user.email)
        for dataset_id in wanted[:AT_ONCE_MAX]
    ]
    if not restored:
        return back_to(request, "/datasets", "There was nothing to restore.", kind="warning")
    if len(restored) == 1:
        where, text = f"/datasets/{restored[0].id}", f"{words.printable(restored[0].name)} is back."
    else:
        where, text = "/datasets", f"{words.counted(len(restored), 'dataset')} are back."
    return back_to(request, where, text)


def _list_values(hold: Hold, user: Account, filters: Filters) -> dict[str, Any]:
    after = int(filters.after) if filters.after.isascii() and filters.after.isdigit() else None
    state: DatasetState | None = next((one for one in DATASET_STATES if one == filters.state), None)
    searched = understood(filters.q)
    found = hold.datasets(_wanted(user, filters, searched, state, after)) if searched.problem is None else []
    page = found[:ROWS]
    filtered = filters.any or bool(filters.after)
    return {
        "hidden": not filtered and not page and _has_hidden(hold, user),
        "summary": _summary(hold, user, filters, len(page), more=len(found) > ROWS),
        "newer": _newer(hold, user, filters, state, page[0].id if page else after),
        "tags": {dataset.id: tags_of(dataset.labels) for dataset in page},
        "tags_shown": TAGS_SHOWN,
        "search_problem": searched.problem,
        "datasets": page,
        "filters": filters,
        "filtered": filtered,
        "older": "/datasets" + query_of(filters.given(after=str(page[-1].id))) if len(found) > ROWS else None,
        "newest": "/datasets" + query_of(filters.given(after="")) if filters.after else None,
        "away": hold.unavailable(),
        "address": "/datasets" + query_of(filters.given()),
    }


def _wanted(
    user: Account, filters: Filters, searched: Searched, state: DatasetState | None, after: int | None
) -> Filter:
    return Filter(
        pool=filters.pool or None,
        owner=(filters.owner or None) if user.is_admin else user.email,
        state=state,
        name_has=searched.name,
        labels=searched.labels,
        limit=ROWS + 1,
        after=after,
    )


def _newer(hold: Hold, user: Account, filters: Filters, state: DatasetState | None, first: int | None) -> str | None:
    """The page before this one; None on the first page."""
    if not filters.after or first is None:
        return None
    searched = understood(filters.q)
    if searched.problem is not None:
        return None
    before = hold.datasets(replace(_wanted(user, filters, searched, state, first), oldest_first=True))
    # where no more than one page is newer, that is the first page
    after = str(before[ROWS].id) if len(before) > ROWS else ""
    return "/datasets" + query_of(filters.given(after=after))


def _has_hidden(hold: Hold, user: Account) -> bool:
    """Whether something was stored once, though the list of what is not deleted is empty."""
    owner = None if user.is_admin else user.email
    hidden: tuple[DatasetState, ...] = ("deleted", "purged")
    return any(hold.datasets(Filter(owner=owner, state=state, limit=1)) for state in hidden)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A pool that is no longer in the configuration, as a choice in the filter."""

    object_store_id: str
    name: str


def _forgotten(hold: Hold) -> list[Any]:
    rows = hold.catalog.pools.all()
    return [
        Forgotten(row.object_store_id, f"{row.object_store_id} (no longer configured)")
        for row in rows
        if row.datasets and hold.poolset.get(row.object_store_id) is None
    ]


def _summary(hold: Hold, user: Account, filters: Filters, shown: int, *, more: bool) -> str:
    """How much there is in all; of a list that is narrowed, first how much of it that is."""
    if user.is_admin:
        count, used = hold.totals().datasets, sum(row.used_bytes for row in hold.catalog.pools.all())
    else:
        with hold.catalog.db.read() as cursor:
            sources = hold.catalog.counters.usage(cursor, user.email).values()
        used, count = sum(size for size, _ in sources), sum(many for _, many in sources)
    if not filters.any and not filters.after and not more:
        count = shown  # exactly: what an owner's counters count may be deleted
    if filters.any and not filters.after:
        found = f"more than {shown}" if more else f"{shown:,}"
        if filters.state in {"deleted", "purged"}:
            return f"{found} {filters.state}"
        return f"{found} of {words.counted(count, 'dataset')}"
    if not count:
        return "Everything your group keeps, in one place." if user.is_admin else "Everything you keep, in one place."
    return f"{words.counted(count, 'dataset')}, {words.size_words(used)}"
