"""Operations: start one, watch it, read what it found. For administrators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from holdfast.catalog.operations import OperationRow
from holdfast.errors import InvalidKey
from holdfast.operations.runner import Operations
from holdfast.server.context import hold_of, house_of, require_admin
from holdfast.server.pages import words
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.moved import more_of
from holdfast.server.pages.rendering import (
    back_to,
    query_of,
    render_fragment,
    render_page,
    tagged,
    wants_fragment,
)

ROWS = 20
FINDINGS_SHOWN = 200
FINDINGS_COUNTED = 100

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Kind:
    """An operation that can be started here."""

    name: str
    title: str
    verb: str
    does: str


KINDS = (
    Kind(
        "scrub",
        "Scrub",
        "Start a scrub",
        "Reads every stored byte again and compares it with its checksum. What is damaged is named, and repaired where "
        "another whole one is left.",
    ),
    Kind(
        "reconcile",
        "Reconcile",
        "Reconcile",
        "Compares what lies in the pools with what the catalog says: what is missing, what nobody knows.",
    ),
    Kind(
        "reap",
        "Reap",
        "Reap",
        "Takes away what was purged, what was deleted long ago, and what processes that died have left.",
    ),
)
_TITLES = {kind.name: kind.title for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Finding:
    """One dataset or key, and what is the matter with it."""

    item: str
    href: str | None
    error: str
    why: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An operation as a page shows it."""

    id: int
    title: str
    state: str
    going: bool
    percent: float
    permille: int
    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_total: int
    rate: str
    left: str
    note: str | None
    actor: str | None
    created_us: int
    actions: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, str], ...]
    failures: tuple[Finding, ...]
    failed: str


def operations_of(request: Request) -> Operations:
    """The operations of this server's hold."""
    parts = house_of(request).parts
    found: Operations = parts.get(Operations) or parts.setdefault(Operations, Operations(hold_of(request)))
    return found


@router.get("/operations")
def show_operations(request: Request, after: Annotated[int | None, Query(ge=1, le=2**62)] = None) -> Response:
    """What can be started, and what has run; for htmx, the list alone."""
    require_admin(request)
    operations = operations_of(request)
    found = operations.list(limit=ROWS + 1, after=after)
    page = found[:ROWS]
    values: dict[str, Any] = {
        "operations": [_shown(operations, row, FINDINGS_COUNTED) for row in page],
        "after": after,
        "older": "/operations" + query_of({"after": page[-1].id}) if len(found) > ROWS else None,
        "newer": _newer(operations, page[0].id if page else after) if after else None,
    }
    if wants_fragment(request):
        return render_fragment(request, "operations/_list.html", values)
    rendered, _ = tagged(request, "operations/_list.html", values)
    return render_page(request, "operations/list.html", {"kinds": KINDS, "list": rendered})


@router.post("/operations")
def start(request: Request, form: Sent) -> Response:
    """Start one, or show the same one that is under way."""
    user = require_admin(request)
    kind = form.text("kind")
    if kind not in _TITLES:
        raise InvalidKey(f"{kind!r} cannot be started here; there are: {', '.join(_TITLES)}")
    parameters: dict[str, Any] = {}
    if kind == "reconcile" and "adopt" in form:
        parameters["adopt"] = True
    if kind == "reap" and "now" in form:
        parameters["grace_s"] = 0
    row = operations_of(request).submit(kind, parameters, actor=user.email)
    return back_to(request, f"/operations/{row.id}")


@router.get("/operations/{operation}")
def show_operation(request: Request, operation: int) -> Response:
    """One operation; for htmx, what changes while it runs."""
    require_admin(request)
    operations = operations_of(request)
    row = operations.get(operation)
    values = {"op": _shown(operations, row, FINDINGS_SHOWN), "more": more_of(request, operations, row)}
    if wants_fragment(request):
        return render_fragment(request, "operations/_live.html", values)
    live, _ = tagged(request, "operations/_live.html", values)
    return render_page(request, "operations/show.html", {**values, "live": live})


@router.post("/operations/{operation}/{verb}")
def steer(request: Request, operation: int, verb: str) -> Response:
    """Pause it, go on, stop it for good, or begin it again for what is left."""
    user, operations = require_admin(request), operations_of(request)
    steps = {
        "pause": (operations.pause, "It pauses after the step that it is at."),
        "resume": (operations.resume, "It goes on."),
        "cancel": (operations.cancel, "It stops after the step that it is at."),
        "again": (operations.again, "It is begun again for what is left."),
    }
    if verb not in steps:
        raise InvalidKey(f"{verb!r} cannot be done with an operation; use one of its buttons")
    step, text = steps[verb]
    row = step(operation, actor=user.email)
    return back_to(request, f"/operations/{row.id}", text)


def _newer(operations: Operations, first: int | None) -> str:
    """The page before the one that begins with `first`."""
    before = operations.list(limit=ROWS + 1, after=first, oldest_first=True)
    # where no more than one page is newer, that is the first page
    return "/operations" + query_of({"after": before[ROWS].id if len(before) > ROWS else None})


def _shown(operations: Operations, row: OperationRow, findings: int) -> Shown:
    shape = operations.to_json(row, failures=findings)
    failures = tuple(_finding(one) for one in shape["failures"])
    rate, eta_s = shape["rate_bytes_s"], shape["eta_s"]
    percent = _percent(row, shape)
    going = row.state == "running"
    actions = {
        "running": (("pause", "Pause"), ("cancel", "Cancel")),
        "paused": (("resume", "Go on"), ("cancel", "Cancel")),
        "failed": (("resume", "Try again"),),
    }.get(row.state, ())
    return Shown(
        id=row.id,
        title=_TITLES.get(row.kind, row.kind.capitalize()),
        state=row.state,
        going=going,
        percent=percent,
        permille=round(10 * percent),
        objects_done=shape["objects_done"],
        objects_total=shape["objects_total"],
        bytes_done=shape["bytes_done"],
        bytes_total=shape["bytes_total"],
        rate=f"{words.size_words(rate)}/s" if going and rate else words.NOTHING,
        left=words.duration_words(eta_s) if going else words.NOTHING,
        note=shape["note"],
        actor=shape["actor"],
        created_us=row.created_us,
        actions=actions,
        results=tuple((name.replace("_", " ").capitalize(), _number(value)) for name, value in shape["result"].items()),
        failures=failures,
        failed=f"{len(failures)}{'+' if len(failures) == findings else ''}" if failures else "",
    )


def _percent(row: OperationRow, shape: dict[str, Any]) -> float:
    if row.state == "done":
        return 100.0
    for unit in ("bytes", "objects"):
        if shape[f"{unit}_total"]:
            return min(99.9, 100 * float(shape[f"{unit}_done"]) / float(shape[f"{unit}_total"]))
    return 0.0


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _finding(failure: dict[str, Any]) -> Finding:
    item = str(failure["dataset"])
    is_dataset = item.isascii() and item.isdigit()
    return Finding(
        item=f"Dataset {item}" if is_dataset else item,
        href=f"/datasets/{item}" if is_dataset else None,
        error=str(failure["error"]),
        why=str(failure["why"]),
    )
