"""Pools: how full they are and why, what an administrator may change, and where the next dataset would go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from holdfast.catalog.accounts import Account
from holdfast.catalog.base import POOL_STATES
from holdfast.config.quantities import BadValue, plain_number, read_size
from holdfast.errors import InvalidKey
from holdfast.hold.facts import PoolInfo
from holdfast.hold.hold import Hold
from holdfast.placement.policy import Branch, Leaf, Node
from holdfast.server.context import hold_of, require_admin, require_user
from holdfast.server.pages import words
from holdfast.server.pages.caches import Folder, folders_of, health_detail
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.integrity import LOOKED_BACK, Said, integrity_of, scrubs_of
from holdfast.server.pages.operations import operations_of
from holdfast.server.pages.rendering import (
    back_to,
    query_of,
    render_fragment,
    render_page,
    tagged,
    wants_fragment,
)
from holdfast.stores.caching import Health

STATES = [
    ("active", "Active"),
    ("read-only", "Read-only"),
    ("draining", "Draining"),
    ("offline", "Offline"),
]
_MEANINGS = {
    "active": "takes new datasets",
    "read-only": "is read, and takes nothing new",
    "draining": "is read, takes nothing new, and is to be emptied",
    "offline": "is neither read nor written",
}
_NARROWEST = 0.35  # percent of the bar: what is there at all can be seen

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a pool's bar, in percent of its width."""

    kind: str
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Card:
    """A pool as the page shows it. `state` is what matters most now; `own_state` is what was set."""

    object_store_id: str
    title: str
    kind: str
    place: str
    private: bool
    state: str
    own_state: str
    description: str | None
    trouble: str | None
    parts: tuple[Part, ...]
    limit_at: float | None
    limit_bytes: int | None
    max_percent_full: float | None
    used_bytes: int
    others_bytes: int
    reserved_bytes: int
    free_bytes: int | None
    capacity_bytes: int | None
    summary: str
    datasets: int
    location: str | None
    badges: tuple[str, ...]
    configured: bool
    health: Health | None
    health_detail: str
    caches: tuple[Folder, ...] | None
    integrity: Said | None = None


@router.get("/pools")
def show_pools(request: Request, asked: Annotated[str, Query(alias="size", max_length=40)] = "") -> Response:
    """All pools; for htmx, the cards alone."""
    user, hold = require_user(request), hold_of(request)
    places = _places(hold.poolset.tree)
    infos = hold.pools()
    scrubs = scrubs_of(operations_of(request).list(limit=LOOKED_BACK))
    cards = [
        replace(card_of(info, places.get(info.object_store_id, ""), infos), integrity=integrity_of(info, scrubs))
        for info in infos
    ]
    may_move = sum(info.configured for info in infos) > 1
    values: dict[str, Any] = {"pools": cards, "pool_states": STATES, "may_move": may_move}
    if wants_fragment(request):
        return render_fragment(request, "pools/_cards.html", values)
    rendered, _ = tagged(request, "pools/_cards.html", values)
    values |= {"cards": rendered, "rule": _rule(hold.poolset.tree), **_next(hold, user, asked)}
    return render_page(request, "pools/list.html", values)


@router.get("/pools/next")
def show_next(request: Request, asked: Annotated[str, Query(alias="size", max_length=40)] = "") -> Response:
    """Where a dataset of that size would go now."""
    user, hold = require_user(request), hold_of(request)
    if not wants_fragment(request):
        return back_to(request, "/pools" + query_of({"size": asked}))
    return render_fragment(request, "pools/_next.html", _next(hold, user, asked))


@router.post("/pools/state")
def set_state(
    request: Request,
    form: Sent,
    pool: Annotated[str, Query(max_length=255)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Set a pool's state. The notice that follows has a button that sets it back."""
    user, hold = require_admin(request), hold_of(request)
    name, wanted = form.text("pool") or pool, form.text("state") or state
    known = next((one for one in POOL_STATES if one == wanted), None)
    if known is None:
        raise InvalidKey(f"{wanted!r} is no state of a pool; use one of: {', '.join(POOL_STATES)}")
    before = hold.pool(name).state
    if before == known:
        return back_to(request, "/pools", f"{words.printable(name)} is {known} already.")
    hold.set_pool_state(name, known, actor=user.email)
    undo = "/pools/state" + query_of({"pool": name, "state": before})
    return back_to(request, "/pools", f"{words.printable(name)} is {known} now: it {_MEANINGS[known]}.", undo=undo)


def card_of(info: PoolInfo, place: str, infos: Sequence[PoolInfo] = ()) -> Card:
    """A pool's numbers as a bar and a legend that say the same."""
    capacity, free = info.capacity_bytes, info.free_bytes
    if capacity is not None and free is not None:
        free = max(0, min(free, capacity - info.used_bytes - info.reserved_bytes))
    known = info.used_bytes + info.reserved_bytes
    others = 0 if capacity is None or free is None else max(0, capacity - free - known)
    limit = info.max_percent_full
    return Card(
        object_store_id=info.object_store_id,
        title=info.name or info.object_store_id,
        kind=info.type,
        place=place,
        private=info.private,
        state="not configured" if not info.configured else info.state if info.reachable else "unavailable",
        own_state=info.state,
        description=info.description,
        trouble=_trouble(info),
        parts=_parts(info, capacity, free, others),
        limit_at=None if limit is None else plain_number(round(min(100.0, max(0.0, float(limit))), 2)),
        limit_bytes=None if limit is None or capacity is None else int(capacity * limit / 100),
        max_percent_full=limit,
        used_bytes=info.used_bytes,
        others_bytes=others,
        reserved_bytes=info.reserved_bytes,
        free_bytes=free,
        capacity_bytes=capacity,
        summary=_summary(info, capacity, free, others),
        datasets=info.datasets,
        location=info.location,
        badges=tuple(message or kind.replace("_", " ") for kind, message in info.badges),
        configured=info.configured,
        health=info.health,
        health_detail="" if info.health is None else health_detail(info.health),
        caches=folders_of(info, infos),
    )


def _parts(info: PoolInfo, capacity: int | None, free: int | None, others: int) -> tuple[Part, ...]:
    if not capacity or free is None:
        return ()
    parts: list[Part] = []
    at = 0.0
    for kind, size in (("used", info.used_bytes), ("others", others), ("kept", info.reserved_bytes)):
        if size > 0:
            width = min(100 - at, max(_NARROWEST, 100 * size / capacity))
            parts.append(Part(kind, round(at, 2), round(width, 2)))
            at += width
    return tuple(parts) or (Part("used", 0, 0),)


def _summary(info: PoolInfo, capacity: int | None, free: int | None, others: int) -> str:
    if capacity is None or free is None:
        return ""
    limit = "" if info.max_percent_full is None else f", limit at {words.percent_words(info.max_percent_full)}"
    return (
        f"{words.size_words(info.used_bytes)} used by Holdfast, {words.size_words(others)} by others, "
        f"{words.size_words(info.reserved_bytes)} reserved, {words.size_words(free)} free "
        f"of {words.size_words(capacity)}{limit}"
    )


def _trouble(info: PoolInfo) -> str | None:
    if info.configured and info.reachable:
        return words.sentence(f"it takes nothing now: {info.unwritable_because}") if info.unwritable_because else None
    why = info.unreachable_because or "it does not answer"
    why = words.sentence(why)
    if not info.datasets:
        return why
    stay = "stays listed and comes" if info.datasets == 1 else "stay listed and come"
    return f"{why} Its {words.counted(info.datasets, 'dataset')} {stay} back with it."


def _next(hold: Hold, user: Account, asked: str) -> dict[str, Any]:
    size_bytes, problem = 0, None
    if asked.strip():
        try:
            size_bytes = read_size(asked)
        except BadValue as error:
            problem = error.message + (f"; write for example: {error.instead}" if error.instead else "")
    choices: list[dict[str, Any]] = []
    if problem is None and hold.poolset.order:
        ranked = hold.explain_put(size_bytes, owner=user.email, preferred=user.preferred_pool)
        for at, choice in enumerate(ranked):
            choices.append(
                {
                    "object_store_id": choice.object_store_id,
                    "chosen": at == 0 and choice.possible,
                    "possible": choice.possible,
                    "reason": choice.reason,
                }
            )
    return {"choices": choices, "asked": asked.strip(), "size_problem": problem}


def _rule(tree: Node) -> str:
    if isinstance(tree, Leaf):
        return "All datasets go to this one pool."
    if any(isinstance(child, Branch) for child in tree.children):
        return "The configuration nests its rules; what comes next says how they work out now."
    if tree.kind == "hierarchical":
        return "In order: the first pool that is active and has room takes the next dataset."
    return "Evenly, by weight: each active pool with room gets its share of the new datasets."


def _places(tree: Node) -> dict[str, str]:
    """Each pool's place in the tree, in words: `order 0`, `weight 2`."""
    found: dict[str, str] = {}

    def visit(node: Node, place: str) -> None:
        if isinstance(node, Leaf):
            found[node.object_store_id] = place
            return
        for at, child in enumerate(node.children):
            own = f"order {at}" if node.kind == "hierarchical" else f"weight {float(child.weight):g}"
            visit(child, f"{place}, {own}" if place else own)

    visit(tree, "")
    return found
