"""How a download begins: which bytes are opened, or where else the client is sent.

What is remote is opened with care: a HEAD, and a condition that the client's copy fulfils, ask only for the size and
the version; a range opens at its start. Where the pool allows it and the server's `direct_download` says so, the client
is sent to the pool's own signed address.
"""

from __future__ import annotations

import io

from starlette.requests import Request
from starlette.responses import Response

from holdfast.blobs import DEFAULT_GET, ByteRange, GetOptions, Reader
from holdfast.catalog.base import Dataset
from holdfast.errors import Corrupt, Unsupported
from holdfast.hold.hold import Hold
from holdfast.server.filenames import safe_filename
from holdfast.server.ranges import Unsatisfiable, parse_ranges
from holdfast.server.settings import ServerSettings

SIGNED_FOR_S = 900  # a download must have begun by then; it may take as long as it likes
_COMPARED = ("if-match", "if-range", "if-unmodified-since")  # with our ETag, which the pool does not know


def open_download(request: Request, hold: Hold, dataset: Dataset, extra_file: str | None) -> Reader:
    """A reader for the answer to this request. Where no bytes will be sent, it has none."""
    if not hold.is_remote(dataset):
        return hold.reader(dataset.id, extra_file=extra_file)
    if request.method == "HEAD" or "if-none-match" in request.headers:
        stat = hold.stat(dataset.id, extra_file)
        if request.method == "HEAD" or _has_it(request, dataset):
            return Reader(io.BytesIO(), stat)
    return hold.reader(dataset.id, _options(request, dataset, extra_file), extra_file=extra_file)


def as_opened(hold: Hold, dataset: Dataset, reader: Reader) -> Dataset:
    """The dataset that these bytes are: the one that was found, or, replaced in between, the one that it is now.

    Another size than any that was recorded is damage that is seen without reading: `Corrupt`, before a byte is sent
    under a checksum that is not theirs.
    """
    size_bytes = reader.stat.size_bytes
    found = dataset if dataset.size_bytes == size_bytes else hold.find(dataset.id)
    if found.size_bytes == size_bytes:
        return found
    reader.close()
    raise Corrupt(
        f"dataset {dataset.id} in pool {found.object_store_id} is damaged: {found.size_bytes} bytes were stored, "
        f"{size_bytes} are there; a scrub looks at what else is",
        store=found.object_store_id or "", operation="open",
    )  # fmt: skip


def send_elsewhere(request: Request, hold: Hold, settings: ServerSettings, dataset: Dataset) -> Response | None:
    """A redirection to the pool's own address of these bytes, or None: they are sent from here."""
    if settings.direct_download == "never" or request.method != "GET" or not _may_go_direct(hold, dataset):
        return None
    if any(name in request.headers for name in _COMPARED):
        return None
    if settings.direct_download == "when-cold":
        near = hold.keeping.look(dataset)
        if near is not None and near.whole:
            return None
    try:
        filename = safe_filename(dataset.name, f"dataset_{dataset.id}")
        url = hold.sign_url(dataset.id, expires_s=SIGNED_FOR_S, filename=filename)
    except Unsupported:
        return None
    headers = {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(status_code=302, headers=headers)


def _may_go_direct(hold: Hold, dataset: Dataset) -> bool:
    present = [one.object_store_id for one in dataset.replicas if one.state == "present"]
    pools = [hold.poolset.get(name) for name in present]
    return bool(pools) and all(pool is not None and pool.facts.direct_download for pool in pools)


def _has_it(request: Request, dataset: Dataset) -> bool:
    etag = (dataset.checksum or "-").replace(":", "-")
    return f'"{etag}"' in request.headers.get("if-none-match", "")


def _options(request: Request, dataset: Dataset, extra_file: str | None) -> GetOptions:
    """One range is opened at its place. Several, and what cannot be parsed, are looked at later."""
    header = request.headers.get("range")
    if header is None or extra_file is not None or dataset.size_bytes is None:
        return DEFAULT_GET
    try:
        ranges = parse_ranges(header, dataset.size_bytes)
    except Unsatisfiable:
        return DEFAULT_GET
    if ranges is None or len(ranges) != 1:
        return DEFAULT_GET
    return GetOptions(range=ByteRange(ranges[0][0]))
