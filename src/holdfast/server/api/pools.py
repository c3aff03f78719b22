"""`/api/pools` and `/api/explain`: what there is, how full it is, where something would go."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holdfast.server.api import shapes
from holdfast.server.api.paging import known_query_only
from holdfast.server.context import hold_of, require_admin, require_user

router = APIRouter(prefix="/api", tags=["pools"], dependencies=[Depends(known_query_only)])


@router.get("/pools", responses={200: {"model": list[shapes.Pool]}})
def list_pools(request: Request) -> Response:
    """All pools, in the order in which they are tried."""
    require_user(request)
    return JSONResponse([pool.to_json() for pool in hold_of(request).pools()])


@router.get("/pools/{object_store_id}", responses={200: {"model": shapes.Pool}})
def show_pool(request: Request, object_store_id: str) -> Response:
    """One pool."""
    require_user(request)
    return JSONResponse(hold_of(request).pool(object_store_id).to_json())


@router.patch("/pools/{object_store_id}", responses={200: {"model": shapes.Pool}})
def change_pool(request: Request, object_store_id: str, wanted: shapes.PoolChange) -> Response:
    """active, read-only, draining or offline. For administrators."""
    account = require_admin(request)
    return JSONResponse(hold_of(request).set_pool_state(object_store_id, wanted.state, actor=account.email).to_json())


@router.get("/explain", responses={200: {"model": list[shapes.Verdict]}})
def explain(
    request: Request,
    size_bytes: Annotated[int, Query(alias="size", ge=0, le=2**63 - 1, description="bytes")] = 0,
    pool: Annotated[str | None, Query(max_length=255)] = None,
    preferred: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Where a dataset of that size would go now: every pool, with its reason; the chosen one first."""
    account = require_user(request)
    choices = hold_of(request).explain_put(
        size_bytes, owner=account.email, pool=pool, preferred=preferred or account.preferred_pool
    )
    return JSONResponse(
        [
            {"object_store_id": choice.object_store_id, "chosen": at == 0 and choice.possible, "reason": choice.reason}
            for at, choice in enumerate(choices)
        ]
    )
