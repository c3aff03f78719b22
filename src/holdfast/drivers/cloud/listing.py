"""What lies in a bucket: one blob's stat, and all of them in order. Used by the cloud driver alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from holdfast.blobs import BlobStat
from holdfast.drivers.cloud import azure
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import read_answer
from holdfast.drivers.cloud.requests import PAGE_MAX, Listed
from holdfast.errors import NotFound, Unsupported
from holdfast.keys import RESERVED_PREFIX, Key, is_listed, key_problem


def head(clients: Clients, key: Key, operation: str) -> BlobStat:
    """The server's word on one blob. Its `NotFound` is not proved."""
    here = clients.here()
    try:
        return stat_of(key, here.obstore.head(here.store, key))
    except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
        answer = read_answer(error)
        if answer.absent:
            raise NotFound(f"{key} is not there", store=clients.name, key=key, operation=operation) from None
        clients.fail(answer, key, operation)


def stat_of(key: Key, meta: Any) -> BlobStat:
    """What a store says of a blob, from obstore's words. Times in whole seconds: headers have no more."""
    modified_us = int(meta["last_modified"].timestamp()) * 1_000_000
    return BlobStat(key, meta["size"], unquoted(meta["e_tag"]), modified_us)


def list_keys(clients: Clients, prefix: str, after: str) -> Iterator[BlobStat]:
    """All blobs whose names are keys, in the order of their names' bytes."""
    for line in list_names(clients, prefix, after):
        if is_listed(line.name, prefix):
            yield BlobStat(Key(line.name), line.size_bytes, line.tag, line.modified_us)


def list_refused(clients: Clients) -> Iterator[tuple[str, str]]:
    """(name, why) of what `list_keys` passes over. Our own are not among them."""
    for line in list_names(clients, "", ""):
        why = key_problem(line.name)
        if why is None or any(part.startswith(RESERVED_PREFIX) for part in line.name.split("/")):
            continue
        if line.name.endswith("/"):
            why = "it marks a folder, and buckets have none; it holds no dataset"
        yield line.name, why


def list_names(clients: Clients, prefix: str, after: str) -> Iterator[Listed]:
    """Every name, one page in memory at a time. Each page is asked for by the last name of the one before."""
    settings, here = clients.settings, clients.here()
    if settings.service == "azure" and azure.can_sign(settings):
        pages = _azure_pages(clients, prefix)
    elif settings.service == "s3" and here.requests.signer() is not None:
        pages = _s3_pages(clients, prefix, after)
    else:
        pages = _obstore_pages(clients, prefix, after)
    last = after.encode()
    for page in pages:
        for line in page:
            name = line.name.encode()
            if name > last:
                last = name
                yield line
            elif name > after.encode():
                raise Unsupported(
                    f"{settings.place} does not list its names in the order of their bytes, so that some would be "
                    "passed over; it cannot be a pool",
                    store=clients.name, key=line.name, operation="list",
                )  # fmt: skip


def _s3_pages(clients: Clients, prefix: str, after: str) -> Iterator[list[Listed]]:
    more = True
    while more:
        with clients.asking(prefix, "list"):
            lines, more = clients.here().requests.page(prefix, after)
        yield lines
        if not lines:
            return
        after = lines[-1].name


def _azure_pages(clients: Clients, prefix: str) -> Iterator[list[Listed]]:
    """Azure cannot begin behind a name: what comes before is passed over by who asked."""
    http, marker, more = clients.here().http, "", True
    while more:
        with clients.asking(prefix, "list"):
            lines, marker = azure.page(http, clients.settings, prefix, marker, clients.clock.now_us())
        yield lines
        more = bool(marker)


def _obstore_pages(clients: Clients, prefix: str, after: str) -> Iterator[list[Listed]]:
    """obstore lists folders: the rest of the prefix is looked at here."""
    here = clients.here()
    parts = prefix.split("/")[:-1]
    folder = "/".join(itertools.takewhile(lambda part: key_problem(part) is None, parts))
    offset = after if after and key_problem(after) is None else None  # obstore takes nothing else for one
    with clients.asking(prefix, "list"):
        pages = iter(here.obstore.list(here.store, prefix=folder or None, offset=offset, chunk_size=PAGE_MAX))
    while True:
        with clients.asking(prefix, "list"):
            page = next(pages, None)
        if page is None:
            return
        yield [
            Listed(
                meta["path"], meta["size"], unquoted(meta["e_tag"]),
                int(meta["last_modified"].timestamp()) * 1_000_000,
            )
            for meta in page
            if meta["path"].startswith(prefix)
        ]  # fmt: skip


def unquoted(tag: str | None) -> str:
    """An ETag as a version."""
    return (tag or "").removeprefix("W/").strip('"')


def quoted(version: str) -> str:
    """A version as an ETag."""
    return f'"{version}"'
