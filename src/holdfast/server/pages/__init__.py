"""The pages: rendered on the server, usable without a script, livelier with one.

`router` has every route that people see; `render_error` is how an error looks to them. The routes are plain
functions that run in threads, since the hold is synchronous.
"""

from __future__ import annotations

from fastapi import APIRouter

from holdfast.server.pages import (
    account,
    activity,
    assets,
    dataset,
    datasets,
    draining,
    jobs,
    moving,
    operations,
    pools,
    signing_in,
    uploading,
    users,
)
from holdfast.server.pages.failing import render_error

__all__ = ["render_error", "router"]

router = APIRouter(include_in_schema=False)
PARTS = (
    signing_in, datasets, uploading, moving, dataset, pools, draining, jobs, operations, activity, account, users,
    assets,
)  # fmt: skip
for part in PARTS:
    router.include_router(part.router)
