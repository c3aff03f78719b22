"""Move one dataset to another pool: which pools could take it, with their room, and why the others cannot.

For administrators. The move itself is an operation, which has a page of its own; it looks at everything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from holdfast.catalog.base import Dataset
from holdfast.errors import HoldfastError
from holdfast.hold.facts import PoolInfo
from holdfast.server.api.operations import operations_of
from holdfast.server.api.visible import dataset_for
from holdfast.server.context import hold_of, house_of, require_admin, require_user
from holdfast.server.pages import words
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.rendering import back_to, render_page

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Destination:
    """A pool that could be chosen; `why_not` where it cannot take the dataset now."""

    object_store_id: str
    title: str
    room: str
    why_not: str | None


@router.get("/datasets/{dataset}/move")
def ask_where_to(request: Request, dataset: int) -> Response:
    """The pools to choose from."""
    return _page(request, _movable(request, dataset))


@router.post("/datasets/{dataset}/move")
def move(request: Request, dataset: int, form: Sent) -> Response:
    """Begin to move it, and show how it goes."""
    found, hold = _movable(request, dataset), hold_of(request)
    target = form.text("to")
    if not target:
        return _page(request, found, problem="Choose a pool.")
    try:
        hold.poolset.configured(target)
    except HoldfastError as error:
        return _page(request, found, problem=words.sentence(str(error)))
    parameters = {"datasets": [found.id], "to": target}
    row = operations_of(house_of(request)).submit("move", parameters, actor=require_admin(request).email)
    return back_to(request, f"/operations/{row.id}")


def _movable(request: Request, dataset: int) -> Dataset:
    """The dataset, for an administrator; somebody else's does not exist for others."""
    found = dataset_for(hold_of(request), require_user(request), str(dataset))
    require_admin(request)
    return found


def _page(request: Request, dataset: Dataset, *, problem: str | None = None) -> Response:
    infos = [info for info in hold_of(request).pools() if info.configured]
    destinations = [_destination(info, dataset) for info in infos]
    values: dict[str, Any] = {
        "dataset": dataset,
        "destinations": destinations,
        "possible": any(one.why_not is None for one in destinations),
        "problem": problem,
        "stays_because": _stays_because(dataset),
    }
    return render_page(request, "datasets/move.html", values, 422 if problem else 200)


def _stays_because(dataset: Dataset) -> str | None:
    """Why it can go nowhere at all."""
    if dataset.state in ("new", "purged"):
        return "It is being written; it can move when that is done." if dataset.state == "new" else "It was purged."
    if not any(one.state == "present" for one in dataset.replicas):
        return "It has no whole replica that could be copied. A scrub says more, and repairs what it can."
    return None


def _destination(info: PoolInfo, dataset: Dataset) -> Destination:
    room = "room not known" if info.free_bytes is None else f"{words.size_words(info.free_bytes)} free"
    if info.percent_full is not None:
        room += f", {words.percent_words(info.percent_full)} full"
    title = info.name or info.object_store_id
    return Destination(info.object_store_id, title, room, _why_not(info, dataset))


def _why_not(info: PoolInfo, dataset: Dataset) -> str | None:
    size = dataset.total_bytes
    if any(one.object_store_id == info.object_store_id and one.state == "present" for one in dataset.replicas):
        return "it is there already"
    if not info.reachable:
        return info.unreachable_because or "it does not answer"
    if info.state != "active":
        return f"it is {info.state}"
    if info.unwritable_because:
        return info.unwritable_because
    if info.free_bytes is not None and info.free_bytes < size:
        return f"{words.size_words(size)} do not fit"
    if info.max_percent_full is not None and info.capacity_bytes and info.percent_full is not None:
        after = info.percent_full + 100 * size / info.capacity_bytes
        if after > info.max_percent_full:
            return f"it would be fuller than its limit of {words.percent_words(info.max_percent_full)}"
    return None
