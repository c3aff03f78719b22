"""What programs that look after programs ask: `/healthz`, `/readyz`, `/metrics`, `/api/version`."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from holdfast import __version__
from holdfast.errors import HoldfastError
from holdfast.server.api.paging import known_query_only
from holdfast.server.context import hold_of, house_of, in_thread
from holdfast.server.metrics import Metrics
from holdfast.server.problem import HttpProblem

router = APIRouter(tags=["service"], dependencies=[Depends(known_query_only)])


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> Response:
    """The process answers. Asks nobody else."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Requests can be served: the catalog answers. 503 otherwise."""
    hold = hold_of(request)
    try:
        totals = await in_thread(hold.totals)
        hold.catalog.db.confirm_place()
    except HoldfastError as error:
        raise HttpProblem(503, f"the catalog does not answer: {error}", retry_after_s=5) from error
    return JSONResponse({"ready": totals is not None})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """For Prometheus: requests, transfers, pools. From counters; nothing is scanned."""
    metrics: Metrics = house_of(request).parts[Metrics]
    return Response(await in_thread(metrics.render), media_type="text/plain; version=0.0.4")


@router.get("/api/version")
async def version() -> Response:
    """Which Holdfast this is."""
    return JSONResponse({"name": "holdfast", "version": __version__})
