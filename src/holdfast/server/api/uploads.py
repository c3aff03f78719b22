"""`/api/uploads`: uploads that can be resumed, by tus 1.0.0 (https://tus.io/protocols/resumable-upload).

Extensions: creation, creation-with-upload, termination, expiration, checksum. The answer that completes an
upload, and every `HEAD` after it, names the dataset in `Holdfast-Dataset`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holdfast.catalog.uploads import Upload
from holdfast.hold.shapes import when
from holdfast.server.api.paging import known_query_only
from holdfast.server.context import House, house_of, in_thread, require_user
from holdfast.server.inflow import Inflow
from holdfast.server.intake import parse_labels, take_in
from holdfast.server.problem import HttpProblem
from holdfast.server.sameness import BLOCK_BYTES_MAX, BLOCKS_MAX, Block, first_difference
from holdfast.server.streams import ClientGone
from holdfast.server.tus import CHECKSUMS, Announced, Standing, Uploads

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
OFFSET_TYPE = "application/offset+octet-stream"
METADATA_BYTES_MAX = 16 * 1024
SILENT_S = 3.0  # a request that has been silent for so long gives way to the next one
HANDOVER_S = 5.0
DATASET_HEADER = "Holdfast-Dataset"


async def speaks_tus(request: Request) -> None:
    """Every request but OPTIONS names the version that it speaks; 412 for another one."""
    said = request.headers.get("tus-resumable")
    if request.method in {"OPTIONS", "GET"} or said == VERSION:
        return
    raise HttpProblem(
        412, f"this server speaks tus {VERSION}; send the header Tus-Resumable: {VERSION}",
        headers={"Tus-Version": VERSION},
    )  # fmt: skip


router = APIRouter(
    prefix="/api/uploads", tags=["uploads"], dependencies=[Depends(speaks_tus), Depends(known_query_only)]
)
_PIECE: dict[str, Any] = {"requestBody": {"content": {OFFSET_TYPE: {"schema": {"type": "string", "format": "binary"}}}}}


class UploadDesk:
    """The uploads of one process, and which requests are adding to them now."""

    def __init__(self, house: House) -> None:
        self.uploads = Uploads(house.hold, house.accounts, house.settings)
        self._busy: dict[str, Inflow] = {}

    async def make_way(self, upload: Upload) -> None:
        """End a request that holds the upload but has gone silent: its client comes back by another way."""
        inflow = self._busy.get(upload.id)
        loop = asyncio.get_running_loop()
        if inflow is None or loop.time() - inflow.quiet_since_s < SILENT_S:
            return
        inflow.stop(ClientGone("the client went on by another connection"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDOVER_S):
                await inflow.ended.wait()

    async def take(self, request: Request, upload: Upload, announced: Announced) -> Standing:
        """Add this request's body to the upload."""
        await self.make_way(upload)
        mine: list[Inflow] = []
        loop = asyncio.get_running_loop()

        def work(stream: Inflow) -> Standing:
            def enter() -> None:
                self._busy[upload.id] = stream
                mine.append(stream)

            return self.uploads.take_piece(upload, announced, stream, lambda: loop.call_soon_threadsafe(enter))

        try:
            return await take_in(request, work, idle_s=house_of(request).settings.piece_idle_s)
        finally:
            if mine and self._busy.get(upload.id) is mine[0]:
                del self._busy[upload.id]


def desk_of(house: House) -> UploadDesk:
    """The process's one desk."""
    desk: UploadDesk = house.parts.get(UploadDesk) or house.parts.setdefault(UploadDesk, UploadDesk(house))
    return desk


@router.options("", status_code=204)
@router.options("/{upload_id}", status_code=204)
async def offer(request: Request) -> Response:
    """What this server can do."""
    headers = {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }
    most = house_of(request).settings.upload_bytes_max
    if most is not None:
        headers["Tus-Max-Size"] = str(most)
    return Response(status_code=204, headers=headers)


@router.get("")
async def list_unfinished(request: Request) -> Response:
    """One's own unfinished uploads, the latest first (not part of tus)."""
    account = require_user(request)
    uploads = desk_of(house_of(request)).uploads
    found = await in_thread(uploads.ledger.unfinished, account.email)
    return JSONResponse(
        [
            {
                "id": upload.id, "name": upload.name, "size_bytes": upload.size_bytes,
                "offset_bytes": upload.offset_bytes, "created": when(upload.created_us),
                "expires": when(uploads.expires_us(upload)), "location": f"/api/uploads/{upload.id}",
            }
            for upload in found
        ]
    )  # fmt: skip


@router.post("", status_code=201, openapi_extra=_PIECE, response_class=Response)
async def announce(request: Request) -> Response:
    """Announce an upload (`Upload-Length`, `Upload-Metadata: filename BASE64,pool BASE64,labels BASE64`)."""
    account = require_user(request)
    if "upload-defer-length" in request.headers:
        raise HttpProblem(400, "the length must be known: send Upload-Length")
    size_bytes = _whole_number(request, "upload-length")
    header = request.headers.get("upload-metadata", "")
    said = _metadata(header)
    desk = desk_of(house_of(request))
    upload = await in_thread(
        desk.uploads.announce, account, name=said.get("filename") or said.get("name") or "upload",
        size_bytes=size_bytes, pool=said.get("pool") or None, labels=parse_labels(said.get("labels", "")),
        metadata=header,
    )  # fmt: skip
    standing = Standing(upload, 0, None)
    has_body = request.headers.get("content-type", "").lower() == OFFSET_TYPE
    if has_body or size_bytes == 0:
        standing = await desk.take(request, upload, Announced(0, _checksum(request)))
    return _answer(desk, standing, 201, {"Location": f"/api/uploads/{upload.id}"})


@router.head("/{upload_id}", response_class=Response)
async def ask(request: Request, upload_id: str) -> Response:
    """How many bytes have arrived (`Upload-Offset`)."""
    account = require_user(request)
    desk = desk_of(house_of(request))
    standing = await in_thread(lambda: desk.uploads.standing(desk.uploads.find(upload_id, account)))
    headers = {"Upload-Length": str(standing.upload.size_bytes)}
    if standing.upload.metadata:
        headers["Upload-Metadata"] = standing.upload.metadata
    return _answer(desk, standing, 200, headers)


@router.get("/{upload_id}", response_class=Response)
async def look(request: Request, upload_id: str) -> Response:
    """The same headers, for who wants to read why if there is an error (not part of tus)."""
    return await ask(request, upload_id)


@router.patch("/{upload_id}", status_code=204, openapi_extra=_PIECE, response_class=Response)
async def add(request: Request, upload_id: str) -> Response:
    """Add a piece at `Upload-Offset`. What arrives of it counts, also if the connection is lost."""
    account = require_user(request)
    if request.headers.get("content-type", "").lower() != OFFSET_TYPE:
        raise HttpProblem(415, f"a piece is sent as {OFFSET_TYPE}")
    announced = Announced(_whole_number(request, "upload-offset"), _checksum(request))
    desk = desk_of(house_of(request))
    upload = await in_thread(desk.uploads.find, upload_id, account)
    return _answer(desk, await desk.take(request, upload, announced), 204, {})


@router.delete("/{upload_id}", status_code=204, response_class=Response)
async def end(request: Request, upload_id: str) -> Response:
    """Give an upload up, with what has arrived of it. A dataset that it became stays."""
    account = require_user(request)
    desk = desk_of(house_of(request))
    upload = await in_thread(desk.uploads.find, upload_id, account)
    await desk.make_way(upload)
    await in_thread(desk.uploads.drop, upload)
    return Response(status_code=204, headers={"Tus-Resumable": VERSION})


class SameBlock(BaseModel):
    """What the client holds of an upload's bytes."""

    model_config = ConfigDict(extra="forbid")

    offset_bytes: int = Field(ge=0, le=2**63 - 1)
    size_bytes: int = Field(ge=1, le=BLOCK_BYTES_MAX)
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")


class SameBlocks(BaseModel):
    """Blocks to compare."""

    model_config = ConfigDict(extra="forbid")

    blocks: list[SameBlock] = Field(max_length=BLOCKS_MAX)


class Sameness(BaseModel):
    """Whether all blocks are what has arrived; else where the first one begins that is not."""

    same: bool
    differs_at_bytes: int | None


@router.post("/{upload_id}/same", responses={200: {"model": Sameness}})
async def compare(request: Request, upload_id: str, said: SameBlocks) -> Response:
    """Whether the client has the bytes that have arrived, block by block (not part of tus): ask before you go on
    with a file that only has the upload's name and size."""
    account = require_user(request)
    house = house_of(request)
    uploads = desk_of(house).uploads
    blocks = [Block(one.offset_bytes, one.size_bytes, one.sha256) for one in said.blocks]
    differs_at = await in_thread(
        lambda: first_difference(house.hold, uploads.standing(uploads.find(upload_id, account)), blocks)
    )
    return JSONResponse(
        {"same": differs_at is None, "differs_at_bytes": differs_at}, headers={"Tus-Resumable": VERSION}
    )


# -- inside -----------------------------------------------------------------------------------------------


def _answer(desk: UploadDesk, standing: Standing, status: int, headers: Mapping[str, str]) -> Response:
    sent = {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(standing.offset_bytes),
        "Cache-Control": "no-store",
        **headers,
    }
    if standing.dataset_id is not None:
        sent[DATASET_HEADER] = str(standing.dataset_id)
    else:
        expires_us = desk.uploads.expires_us(standing.upload)
        sent["Upload-Expires"] = formatdate(expires_us / 1_000_000, usegmt=True)
    return Response(status_code=status, headers=sent)


def _whole_number(request: Request, name: str) -> int:
    text = request.headers.get(name)
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > 2**63 - 1:
        raise HttpProblem(400, f"the header {name.title()} must be a number of bytes")
    return int(text)


def _metadata(header: str) -> dict[str, str]:
    """`key base64,key base64` as texts."""
    if len(header) > METADATA_BYTES_MAX:
        raise HttpProblem(431, f"Upload-Metadata may have {METADATA_BYTES_MAX} bytes")
    found: dict[str, str] = {}
    for pair in header.split(","):
        key, _, value = pair.strip().partition(" ")
        if not key:
            continue
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise HttpProblem(400, f"Upload-Metadata: the value of {key[:60]!r} is not UTF-8 in base64") from None
    return found


def _checksum(request: Request) -> tuple[str, bytes] | None:
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, value = header.partition(" ")
    if algorithm not in CHECKSUMS:
        raise HttpProblem(400, f"the checksum's algorithm must be one of: {', '.join(CHECKSUMS)}")
    try:
        return algorithm, base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise HttpProblem(400, "the checksum is not base64") from None
