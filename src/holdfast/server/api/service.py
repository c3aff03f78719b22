"""What programs that look after programs ask: `/healthz`, `/readyz`, `/metrics`, `/api/version`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from holdfast import __version__
from holdfast.errors import HoldfastError
from holdfast.hold.hold import Hold
from holdfast.server.api.paging import known_query_only
from holdfast.server.context import hold_of, house_of, in_thread
from holdfast.server.metrics import Metrics
from holdfast.server.problem import HttpProblem

POOLS_S = 2.0  # how long pools may take to answer before they are said not to

_LOCK = threading.Lock()
_ROUNDS: WeakKeyDictionary[Hold, _Round] = WeakKeyDictionary()

router = APIRouter(tags=["service"], dependencies=[Depends(known_query_only)])


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> Response:
    """The process answers. Asks nobody else."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Requests can be served: the catalog answers. 503 otherwise. `pools` says how each pool is, as far as it is known
    without waiting for it: pools that are away are told of, but make the server no less ready, because it answers for
    all that others hold, and says of the rest that it is unavailable."""
    hold = hold_of(request)
    try:
        totals = await in_thread(hold.totals)
        hold.catalog.db.confirm_place()
    except HoldfastError as error:
        raise HttpProblem(503, f"the catalog does not answer: {error}", retry_after_s=5) from error
    return JSONResponse({"ready": totals is not None, "pools": await in_thread(_pools, hold)})


def _pools(hold: Hold) -> dict[str, str]:
    """pool -> available, unavailable or unknown; why is for those who have signed in. One round of questions at a time:
    a pool that hangs holds nobody up."""
    with _LOCK:
        asking = _ROUNDS.get(hold)
        if asking is None or not asking.is_alive():
            asking = _ROUNDS[hold] = _Round(hold)
            asking.start()
    asking.join(POOLS_S)
    if asking.away is None:
        return dict.fromkeys(hold.poolset.order, "unknown")
    return {name: "unavailable" if name in asking.away else "available" for name in hold.poolset.order}


class _Round(threading.Thread):
    """Asks each pool whether it is there."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(name="readyz", daemon=True)
        self.away: dict[str, str] | None = None
        self._ask: Callable[[], dict[str, str]] | None = hold.unavailable

    def run(self) -> None:
        ask, self._ask = self._ask, None  # the hold is not kept by what it is the key of
        if ask is not None:
            with suppress(HoldfastError):
                self.away = ask()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """For Prometheus: requests, transfers, pools. From counters; nothing is scanned."""
    metrics: Metrics = house_of(request).parts[Metrics]
    return Response(await in_thread(metrics.render), media_type="text/plain; version=0.0.4")


@router.get("/api/version")
async def version() -> Response:
    """Which Holdfast this is."""
    return JSONResponse({"name": "holdfast", "version": __version__})
