"""The static files: read once, compressed once, named by their content.

An address holds a hash of the file, so a browser may keep it for a year and never shows an old one after
an upgrade. Only the files listed here are served: a request cannot name a path.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import Response

TYPES = {
    "holdfast.css": "text/css; charset=utf-8",
    "holdfast.js": "text/javascript; charset=utf-8",
    "same.js": "text/javascript; charset=utf-8",
    "uploads.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "logo.svg": "image/svg+xml",
}
_YEAR_S = 31_536_000

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and compressed."""

    body: bytes
    compressed: bytes
    digest: str


@cache
def find_asset(name: str) -> Asset:
    """The file of this name. `KeyError` for one that is not listed."""
    if name not in TYPES:
        raise KeyError(name)
    body = (files("holdfast.server") / "static" / name).read_bytes()
    return Asset(body, gzip.compress(body, 9, mtime=0), hashlib.blake2s(body, digest_size=6).hexdigest())


def asset_url(name: str) -> str:
    """The address of a static file as it is now."""
    return f"/static/{find_asset(name).digest}/{name}"


@router.get("/static/{digest}/{name}")
def send_asset(digest: str, name: str, request: Request) -> Response:
    """One static file. An address of an older version gets today's file, but may not be kept."""
    try:
        asset = find_asset(name)
    except KeyError:
        return Response("There is no such file.\n", status_code=404, media_type="text/plain")
    fresh = digest == asset.digest
    headers = {
        "Cache-Control": f"public, max-age={_YEAR_S}, immutable" if fresh else "no-store",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=TYPES[name])
    return Response(asset.body, headers=headers, media_type=TYPES[name])


@router.get("/favicon.ico")
def send_icon(request: Request) -> Response:
    """For browsers that ask without being told."""
    return send_asset(find_asset("logo.svg").digest, "logo.svg", request)
