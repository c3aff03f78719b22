"""Drain and rebalance, begun from the pools page: what would happen first, then one button that begins it.

The plan is made by `previewing` in a thread of its own; until it is there the page asks again. For administrators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from holdfast.config.quantities import BadValue, read_size
from holdfast.errors import InvalidKey
from holdfast.hold.facts import PoolInfo
from holdfast.server.api.operations import operations_of
from holdfast.server.context import hold_of, house_of, require_admin
from holdfast.server.pages import words
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.previewing import Preview, previews_of
from holdfast.server.pages.rendering import back_to, query_of, render_fragment, render_page, tagged, wants_fragment

UNDER_WAY_LOOKED_AT = 100
WAYS = (("", "As the document says"), ("weights", "By the weights of the placement"), ("percent", "All equally full"))

router = APIRouter()

Text = Annotated[str, Query(max_length=255)]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a bar, in percent of its width."""

    kind: str
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Level:
    """How full a pool is: as a bar, and in words. No pieces where its size is not known."""

    pieces: tuple[Piece, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """What a plan does with one pool."""

    name: str
    amount: str
    before: Level
    after: Level


@router.get("/pools/drain")
def show_drain(request: Request, pool: Text = "", to: Text = "", rate: Text = "") -> Response:
    """What draining a pool would do; for htmx, the plan alone."""
    require_admin(request)
    hold = hold_of(request)
    info = hold.pool(pool)
    asked = {"pool": pool, "to": to, "rate": rate}
    values = {
        "info": info,
        "targets": [one for one in hold.pools() if one.configured and one.object_store_id != pool],
        "to": to,
    }
    return _page(request, "drain", asked, values)


@router.post("/pools/drain")
def begin_drain(request: Request, form: Sent) -> Response:
    """Begin it, and show it."""
    return _begin(request, "drain", {name: form.text(name) for name in ("pool", "to", "rate")})


@router.get("/pools/rebalance")
def show_rebalance(request: Request, by: Text = "", rate: Text = "") -> Response:
    """What a rebalance would do; for htmx, the plan alone."""
    require_admin(request)
    return _page(request, "rebalance", {"by": by, "rate": rate}, {"by": by, "ways": WAYS})


@router.post("/pools/rebalance")
def begin_rebalance(request: Request, form: Sent) -> Response:
    """Begin it, and show it."""
    return _begin(request, "rebalance", {name: form.text(name) for name in ("by", "rate")})


def _page(request: Request, kind: str, asked: Mapping[str, str], values: Mapping[str, Any]) -> Response:
    parameters, problem = _parameters(asked)
    preview = Preview(problem=problem) if problem else previews_of(request).ask(kind, parameters)
    infos = {info.object_store_id: info for info in hold_of(request).pools()}
    shown: dict[str, Any] = {
        "kind": kind,
        "asked": asked,
        "address": f"/pools/{kind}{query_of(asked)}",
        "preview": preview,
        "rows": rows_of(preview.plan, infos) if preview.plan else [],
        "rate": asked["rate"],
        "under_way": _under_way(request, kind, asked.get("pool")),
        **values,
    }
    if wants_fragment(request):
        return render_fragment(request, "pools/_plan.html", shown)
    rendered, _ = tagged(request, "pools/_plan.html", shown)
    return render_page(request, f"pools/{kind}.html", {**shown, "planned": rendered}, 422 if problem else 200)


def _begin(request: Request, kind: str, asked: Mapping[str, str]) -> Response:
    user, previews = require_admin(request), previews_of(request)
    parameters, problem = _parameters(asked)
    if problem:
        raise InvalidKey(problem)
    expected = previews.known(kind, parameters)
    row = operations_of(house_of(request)).submit(kind, parameters, actor=user.email, expected=expected)
    previews.forget()
    return back_to(request, f"/operations/{row.id}")


def _parameters(asked: Mapping[str, str]) -> tuple[dict[str, Any], str | None]:
    """As the operation has them, and what is wrong with what was typed."""
    parameters: dict[str, Any] = {name: asked[name] for name in ("pool", "to", "by") if asked.get(name)}
    rate = asked.get("rate", "").strip()
    if rate:
        try:
            parameters["limit_rate_bytes_s"] = read_size(rate.removesuffix("/s"))
        except BadValue:
            parameters["limit_rate_bytes_s"] = 0
        if not parameters["limit_rate_bytes_s"]:
            return parameters, f"“{rate}” is no rate; write a size a second, like 100 MiB/s, or nothing."
    return parameters, None


def _under_way(request: Request, kind: str, pool: str | None) -> list[int]:
    """Operations of this kind that are not over yet."""
    operations = operations_of(house_of(request))
    return [
        row.id
        for state in ("running", "paused")
        for row in operations.list(state=state, limit=UNDER_WAY_LOOKED_AT)
        if row.kind == kind and row.parameters.get("pool") == pool
    ]


def rows_of(plan: Mapping[str, Any], infos: Mapping[str, PoolInfo]) -> list[Row]:
    """Each pool that gives or takes, with how full it is before and after."""
    changes: dict[str, int] = {}
    amounts: dict[str, list[str]] = {}
    for direction, sign, word in (("from", -1, "goes"), ("to", 1, "comes")):
        for name, amount in plan[direction].items():
            changes[name] = changes.get(name, 0) + sign * int(amount["bytes"])
            if amount["objects"]:
                counted = words.counted(amount["objects"], "dataset")
                amounts.setdefault(name, []).append(f"{counted}, {words.size_words(amount['bytes'])}, {word}")
    names = list(dict.fromkeys([*plan.get("before", {}), *changes]))
    scale = max((infos[name].used_bytes + abs(changes.get(name, 0)) for name in names if name in infos), default=0)
    return [
        Row(
            name,
            "; ".join(amounts.get(name, ())) or "stays",
            level_of(infos[name], 0, scale),
            level_of(infos[name], changes.get(name, 0), scale),
        )
        for name in names
        if name in infos
    ]


def level_of(info: PoolInfo, change_bytes: int, scale_bytes: int) -> Level:
    """How full a pool is when so much more is in it. Where its size is not known, compared with the fullest one."""
    used = max(0, info.used_bytes + change_bytes)
    capacity, free = info.capacity_bytes, info.free_bytes
    if not capacity or free is None:
        width = 100 * used / scale_bytes if scale_bytes else 0.0
        return Level(_pieces([("used", width)]), words.size_words(used))
    others = max(0, capacity - free - info.used_bytes)
    full = 100 * (used + others) / capacity
    said = f"{words.size_words(used)}, {words.percent_words(full)} full"
    return Level(_pieces([("used", 100 * used / capacity), ("others", 100 * others / capacity)]), said)


def _pieces(widths: Sequence[tuple[str, float]]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    at = 0.0
    for kind, percent in widths:
        width = min(100 - at, max(0.35, percent)) if percent > 0 else 0
        if width > 0:
            pieces.append(Piece(kind, round(at, 2), round(width, 2)))
            at += width
    return tuple(pieces)
