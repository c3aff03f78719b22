"""`/api/datasets`: list, bring in, look, download, replace, remove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from holdfast.blobs import Reader
from holdfast.catalog.base import Dataset, DatasetState, Filter
from holdfast.hold.shapes import cached_json
from holdfast.server.api import shapes
from holdfast.server.api.paging import LIMIT, After, Limit, known_query_only, page
from holdfast.server.api.visible import dataset_for, owner_filter
from holdfast.server.auth import confirm_csrf
from holdfast.server.content import download, preview
from holdfast.server.context import hold_of, house_of, in_thread, require_user, visit_of
from holdfast.server.inflow import Inflow
from holdfast.server.intake import FORM_EXTRA_BYTES, Wanted, parse_labels, put_form, take_in
from holdfast.server.opening import as_opened, open_download, send_elsewhere
from holdfast.server.problem import HttpProblem
from holdfast.server.settings import ServerSettings

router = APIRouter(prefix="/api/datasets", tags=["datasets"], dependencies=[Depends(known_query_only)])

FORM = "multipart/form-data"
Text = Annotated[str | None, Query(max_length=1000)]
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FORM_BODY: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {
            "name": {"type": "string"},
            "pool": {"type": "string"},
            "labels": {"type": "string", "description": "k=v,k2=v2"},
            "file": {"type": "string", "format": "binary", "description": "after all other fields"},
        },
    }
}


@dataclass(frozen=True, slots=True)
class Search:
    """Which datasets to list."""

    pool: Text = None
    state: DatasetState | None = None
    name: Annotated[str | None, Query(max_length=255, description="part of the name")] = None
    owner: Annotated[str | None, Query(max_length=254, description="for administrators")] = None
    label: Annotated[list[str] | None, Query(description="k=v; may be given several times, all must match")] = None


@router.get("", responses={200: {"model": list[shapes.Dataset]}})
def list_datasets(
    request: Request, search: Annotated[Search, Depends()], limit: Limit = LIMIT, after: After = None
) -> Response:
    """Datasets, newest first. Deleted and purged ones only with `state`."""
    account = require_user(request)
    hold = hold_of(request)
    found = hold.datasets(
        Filter(
            pool=search.pool, owner=owner_filter(account, search.owner), state=search.state,
            name_has=search.name, labels=_labels(search.label or []), limit=limit, after=after,
        )
    )  # fmt: skip
    unavailable = hold.unavailable()
    return page(request, [hold.to_json(one, unavailable) for one in found], limit, found[-1].id if found else None)


@router.post(
    "",
    status_code=201,
    responses={201: {"model": shapes.Dataset}},
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/octet-stream": _BYTES, FORM: _FORM_BODY}}
    },
)
async def bring_in(
    request: Request,
    name: Annotated[str | None, Query(max_length=255, description="demanded for a raw body")] = None,
    pool: Text = None,
    labels: Annotated[str | None, Query(max_length=20_000, description="k=v,k2=v2")] = None,
) -> Response:
    """Store a dataset: the raw body with `?name=`, or a form whose fields stand before its file."""
    kind = request.headers.get("content-type", "")
    wanted = Wanted(name, pool, parse_labels(labels or ""))
    if kind.partition(";")[0].strip().lower() == FORM:
        dataset = await _take_form(request, kind, wanted)
    else:
        dataset = await _take_raw(request, wanted)
    if "text/html" in request.headers.get("accept", "").lower() and visit_of(request).session_secret is not None:
        return RedirectResponse(f"/datasets/{dataset.id}", status_code=303)
    return _created(request, dataset)


async def _take_raw(request: Request, wanted: Wanted) -> Dataset:
    account = require_user(request)
    hold = hold_of(request)
    name = wanted.name
    if not name:
        raise HttpProblem(422, "a raw body needs a name: POST /api/datasets?name=reads.fastq")

    def work(stream: Inflow) -> Dataset:
        return hold.put(
            stream.body(), name=name, pool=wanted.pool, preferred=None if wanted.pool else account.preferred_pool,
            owner=account.email, labels=wanted.labels,
        )  # fmt: skip

    return await take_in(request, work)


async def _take_form(request: Request, kind: str, wanted: Wanted) -> Dataset:
    visit = visit_of(request)
    if visit.unconfirmed is None:
        require_user(request)
    proof = visit.proof or visit.unconfirmed
    assert proof is not None, "nobody comes here unasked"
    account = proof.account
    hold = hold_of(request)

    def work(stream: Inflow) -> Dataset:
        return put_form(
            hold, stream, kind, owner=account.email, preferred=account.preferred_pool, defaults=wanted,
            on_csrf_token=lambda token: confirm_csrf(request, token),
        )  # fmt: skip

    return await take_in(request, work, extra_bytes=FORM_EXTRA_BYTES)


@router.get("/{dataset}", responses={200: {"model": shapes.Dataset}})
def show(request: Request, dataset: str) -> Response:
    """Everything known of a dataset, by id or uuid."""
    account = require_user(request)
    hold = hold_of(request)
    return JSONResponse(hold.to_json(dataset_for(hold, account, dataset)))


@router.patch("/{dataset}", responses={200: {"model": shapes.Dataset}})
def change(request: Request, dataset: str, wanted: shapes.DatasetChange) -> Response:
    """Another name, other labels."""
    account = require_user(request)
    hold = hold_of(request)
    found = dataset_for(hold, account, dataset)
    return JSONResponse(hold.to_json(hold.relabel(found.id, name=wanted.name, labels=wanted.labels)))


@router.delete("/{dataset}", responses={200: {"model": shapes.Dataset}})
def remove(
    request: Request,
    dataset: str,
    *,
    purge: Annotated[bool, Query(description="give its bytes up at once")] = False,
) -> Response:
    """Remove a dataset. Its bytes are kept until they expire, unless it is purged."""
    account = require_user(request)
    hold = hold_of(request)
    found = dataset_for(hold, account, dataset)
    return JSONResponse(hold.to_json(hold.remove(found.id, purge=purge, actor=account.email)))


@router.post("/{dataset}/restore", responses={200: {"model": shapes.Dataset}})
def restore(request: Request, dataset: str) -> Response:
    """Undo a removal, as long as the bytes are there."""
    account = require_user(request)
    hold = hold_of(request)
    found = dataset_for(hold, account, dataset)
    return JSONResponse(hold.to_json(hold.restore(found.id, actor=account.email)))


@router.get("/{dataset}/storage", responses={200: {"model": shapes.Storage}})
def storage(request: Request, dataset: str) -> Response:
    """Where it is, why it is there, and what of it a cache has. Asks no remote pool."""
    account = require_user(request)
    hold = hold_of(request)
    found = dataset_for(hold, account, dataset)
    whole = hold.to_json(found)
    kept = ("id", "object_store_id", "full_path", "replicas", "placement")
    extras = [
        {"path": extra.path, "size_bytes": extra.size_bytes, "checksum": extra.checksum}
        for extra in hold.catalog.datasets.extra_files(found.id)
    ]
    cached = hold.keeping.look(found)
    return JSONResponse(
        {
            **{key: whole[key] for key in kept},
            "extra_files": extras,
            "cached": None if cached is None else cached_json(cached),
        }
    )


_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "the bytes", "content": {"application/octet-stream": _BYTES}},
    302: {"description": "the pool itself sends the bytes, for whoever has this address"},
    206: {"description": "the ranges asked for"},
    304: {"description": "you have these bytes already"},
    416: {"description": "there are no such bytes", "model": shapes.Problem},
}


@router.get("/{dataset}/content", responses=_CONTENT, response_class=Response)
@router.head("/{dataset}/content", responses=_CONTENT, response_class=Response)
async def content(
    request: Request,
    dataset: str,
    *,
    preview_wanted: Annotated[
        bool, Query(alias="preview", description="the beginning of a text, to be shown in a browser")
    ] = False,
    extra_file: Annotated[str | None, Query(max_length=1024, description="one of its extra files")] = None,
) -> Response:
    """The bytes, whole or in ranges. `ETag` is their checksum."""
    account = require_user(request)
    house = house_of(request)

    def find() -> tuple[Dataset, Reader] | Response:
        found = dataset_for(house.hold, account, dataset)
        if extra_file is None and not preview_wanted:
            elsewhere = send_elsewhere(request, house.hold, house.settings, found)
            if elsewhere is not None:
                return elsewhere
        reader = open_download(request, house.hold, found, extra_file)
        return found if extra_file is not None else as_opened(house.hold, found, reader), reader

    opened = await in_thread(find)
    if isinstance(opened, Response):
        return opened
    found, reader = opened
    if preview_wanted:
        return await in_thread(preview, found, reader)
    return download(request, found, reader, house.blocks, x_accel=_x_accel(house.settings, found, extra_file))


@router.put(
    "/{dataset}/content",
    responses={200: {"model": shapes.Dataset}},
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": _BYTES}}},
)
async def replace(request: Request, dataset: str) -> Response:
    """New bytes for a dataset. Whoever reads sees the old or the new, whole. `If-Match` guards against others."""
    account = require_user(request)
    hold = hold_of(request)
    if request.headers.get("content-type", "").lower().startswith(FORM):
        raise HttpProblem(415, "send the new bytes as the raw body, not as a form")
    if "content-range" in request.headers:
        raise HttpProblem(400, "only whole contents can be replaced; send it without Content-Range")
    if_match = request.headers.get("if-match")

    def work(stream: Inflow) -> Dataset:
        found = dataset_for(hold, account, dataset)
        if if_match is not None and if_match.strip() != "*" and etag_of(found) not in if_match:
            raise HttpProblem(412, "the dataset has changed since you looked at it")
        return hold.replace(found.id, stream.body(), actor=account.email)

    return JSONResponse(hold.to_json(await take_in(request, work)))


def _labels(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """Labels to search for; 422 for what is none."""
    pairs: list[tuple[str, str]] = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise HttpProblem(422, f"a label is written k=v, for example ?label=project=apollo; {text[:60]!r} is none")
        pairs.append((key, value))
    return tuple(pairs)


def etag_of(dataset: Dataset) -> str:
    """The ETag of a dataset's recorded bytes."""
    return '"' + (dataset.checksum or "").replace(":", "-") + '"'


def _created(request: Request, dataset: Dataset) -> Response:
    return JSONResponse(
        hold_of(request).to_json(dataset), status_code=201, headers={"Location": f"/api/datasets/{dataset.id}"}
    )


def _x_accel(settings: ServerSettings, dataset: Dataset, extra_file: str | None) -> str | None:
    if settings.direct != "x-accel" or extra_file is not None:
        return None
    for replica in dataset.replicas:
        prefix = settings.x_accel_prefix.get(replica.object_store_id)
        if prefix is not None and replica.state == "present":
            return f"{prefix.rstrip('/')}/{replica.key}"
    return None
