"""`/api/operations`: Holdfast's own long work, for administrators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from holdfast.operations import receipts
from holdfast.operations.runner import Operations
from holdfast.server.api import shapes
from holdfast.server.api.paging import LIMIT, After, Limit, known_query_only, page
from holdfast.server.context import House, house_of, require_admin

BLOCK_BYTES = 64 * 1024

router = APIRouter(prefix="/api/operations", tags=["operations"], dependencies=[Depends(known_query_only)])


def operations_of(house: House) -> Operations:
    """The operations of this server's hold."""
    found: Operations = house.parts.get(Operations) or house.parts.setdefault(Operations, Operations(house.hold))
    return found


@router.get("", responses={200: {"model": list[shapes.Operation]}})
def list_operations(
    request: Request,
    limit: Limit = LIMIT,
    after: After = None,
    state: Annotated[str | None, Query(max_length=20)] = None,
) -> Response:
    """Operations, newest first."""
    require_admin(request)
    operations = operations_of(house_of(request))
    found = operations.list(state=state, limit=limit, after=after)
    shown = [operations.to_json(one, failures=0) for one in found]
    return page(request, shown, limit, found[-1].id if found else None)


@router.post("", status_code=201, responses={201: {"model": shapes.Operation}})
def begin(request: Request, wanted: shapes.OperationRequest) -> Response:
    """Begin an operation; with `dry_run`, say what it would do (200) and change nothing."""
    account = require_admin(request)
    operations = operations_of(house_of(request))
    if wanted.dry_run:
        return JSONResponse(operations.plan(wanted.kind, wanted.parameters))
    row = operations.submit(wanted.kind, wanted.parameters, actor=account.email)
    return JSONResponse(operations.to_json(row), status_code=201, headers={"Location": f"/api/operations/{row.id}"})


@router.get("/{operation_id}", responses={200: {"model": shapes.Operation}})
def show(request: Request, operation_id: int) -> Response:
    """One operation, with what it could not deal with."""
    require_admin(request)
    operations = operations_of(house_of(request))
    return JSONResponse(operations.to_json(operations.get(operation_id)))


@router.get(
    "/{operation_id}/receipt",
    response_class=Response,
    responses={200: {"content": {receipts.MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": "The receipt"}},
)
def receipt(request: Request, operation_id: int) -> Response:
    """What it has moved, one blob a line; the last line is signed, and missing if the receipt was cut off."""
    require_admin(request)
    house = house_of(request)
    lines = receipts.lines_of(house.hold, operations_of(house).get(operation_id))
    headers = {
        "Content-Disposition": f'attachment; filename="{receipts.file_name(operation_id)}"',
        "Cache-Control": "no-store",
    }  # fmt: skip
    return StreamingResponse(_blocks(lines), media_type=receipts.MEDIA_TYPE, headers=headers)


@router.post("/{operation_id}/{wish}", responses={200: {"model": shapes.Operation}})
def steer(request: Request, operation_id: int, wish: Literal["pause", "resume", "cancel", "again"]) -> Response:
    """Pause it, let it go on, end it; or begin it again for what is left, then the answer is the new one."""
    account = require_admin(request)
    operations = operations_of(house_of(request))
    act = {
        "pause": operations.pause, "resume": operations.resume, "cancel": operations.cancel, "again": operations.again,
    }[wish]  # fmt: skip
    return JSONResponse(operations.to_json(act(operation_id, actor=account.email)))


def _blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Some hundred lines at a time: each block costs a turn of a thread."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)
