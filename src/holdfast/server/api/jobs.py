"""`/api/jobs`: commands run beside the data."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holdfast.catalog.accounts import Account
from holdfast.catalog.jobs import Job
from holdfast.errors import NotFound
from holdfast.jobs.jobs import READ_BYTES_MAX, Jobs, Stream
from holdfast.server.api import shapes
from holdfast.server.api.paging import LIMIT, After, Limit, known_query_only, page
from holdfast.server.api.visible import dataset_for, owner_filter
from holdfast.server.context import House, hold_of, house_of, require_user
from holdfast.server.problem import NotFoundHere

router = APIRouter(prefix="/api/jobs", tags=["jobs"], dependencies=[Depends(known_query_only)])


def jobs_of(house: House) -> Jobs:
    """The jobs of this server's hold."""
    jobs: Jobs = house.parts.get(Jobs) or house.parts.setdefault(Jobs, Jobs(house.hold))
    return jobs


def job_for(jobs: Jobs, account: Account, job_id: int) -> Job:
    """The job, if this account may see it; else 404, whatever the reason."""
    try:
        job = jobs.get(job_id)
    except NotFound:
        raise NotFoundHere(f"job {job_id}") from None
    if job.owner != account.email and not account.is_admin:
        raise NotFoundHere(f"job {job_id}")
    return job


@router.get("", responses={200: {"model": list[shapes.Job]}})
def list_jobs(
    request: Request,
    limit: Limit = LIMIT,
    after: After = None,
    state: Annotated[str | None, Query(max_length=20)] = None,
    owner: Annotated[str | None, Query(max_length=254, description="for administrators")] = None,
) -> Response:
    """Jobs, newest first."""
    account = require_user(request)
    jobs = jobs_of(house_of(request))
    found = jobs.list(owner=owner_filter(account, owner), state=state, limit=limit, after=after)
    return page(request, [_listed(jobs, job) for job in found], limit, found[-1].id if found else None)


@router.post("", status_code=201, responses={201: {"model": shapes.Job}})
def submit(request: Request, wanted: shapes.JobRequest) -> Response:
    """Queue a job."""
    account = require_user(request)
    hold = hold_of(request)
    jobs = jobs_of(house_of(request))
    inputs = [dataset_for(hold, account, str(ident)).id for ident in wanted.inputs]
    job = jobs.submit(
        wanted.command, inputs=inputs, outputs=wanted.outputs, owner=account.email, pool=wanted.pool,
        environment=wanted.environment,
    )  # fmt: skip
    return JSONResponse(jobs.to_json(job), status_code=201, headers={"Location": f"/api/jobs/{job.id}"})


@router.get("/{job_id}", responses={200: {"model": shapes.Job}})
def show(request: Request, job_id: int) -> Response:
    """One job, with the end of what it has written."""
    account = require_user(request)
    jobs = jobs_of(house_of(request))
    return JSONResponse(jobs.to_json(job_for(jobs, account, job_id)))


@router.get("/{job_id}/{stream}", response_class=Response)
def output(
    request: Request,
    job_id: int,
    stream: Stream,
    offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=READ_BYTES_MAX)] = READ_BYTES_MAX,
) -> Response:
    """What the job has written so far, from a byte offset on, a block at most."""
    account = require_user(request)
    jobs = jobs_of(house_of(request))
    block = jobs.output(job_for(jobs, account, job_id).id, stream, offset=offset, limit=limit)
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Holdfast-Next-Offset": str(offset + len(block)),
    }
    return Response(block, headers=headers, media_type="text/plain")


@router.post("/{job_id}/cancel", responses={200: {"model": shapes.Job}})
def cancel(request: Request, job_id: int) -> Response:
    """Stop it, with everything that it has begun."""
    account = require_user(request)
    jobs = jobs_of(house_of(request))
    job = job_for(jobs, account, job_id)
    return JSONResponse(jobs.to_json(jobs.cancel(job.id, actor=account.email)))


def _listed(jobs: Jobs, job: Job) -> dict[str, Any]:
    return jobs.to_json(job, tail_bytes=0)
