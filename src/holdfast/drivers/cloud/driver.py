"""Blobs in a bucket: S3 and everything that speaks it, Azure Blob, Google. Keys are the objects' names.

    pools:
      tape: {type: boto3, bucket: {name: galaxy-data}, connection: {endpoint_url: "https://s3.example.org"}}

Promises: building it asks nobody; a bucket that does not answer is `Unavailable`, and so is one that does not carry
the pool's mark; "not there" is said only after the bucket showed its mark. A put is one request, or parts of which
nothing is visible before all have come, and is durable when the server has answered; a lost answer is looked into. A
reader sees the bytes of one version, whole, or an error. A version is the server's ETag: where that is made of the
bytes (S3), the same bytes put again have the same version.

Does not do: retries, caching, local paths, quotas. Those are layers.

This file is the contract's methods. `mark` knows the bucket, `reading` and `putting` move bytes, `listing` lists,
`requests` are those that obstore does not make, `errors` translates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from holdfast.blobs import (
    DEFAULT_GET,
    DEFAULT_PUT,
    BlobStat,
    Body,
    GetOptions,
    PutOptions,
    Reader,
    Usage,
)
from holdfast.drivers.cloud import azure
from holdfast.drivers.cloud.checking import Checking
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import read_answer
from holdfast.drivers.cloud.listing import head, list_keys, list_refused
from holdfast.drivers.cloud.mark import Mark
from holdfast.drivers.cloud.putting import Putting
from holdfast.drivers.cloud.reading import Reading
from holdfast.drivers.cloud.settings import COPY_BYTES_MAX, CloudSettings
from holdfast.drivers.cloud.signing import EXPIRES_S_MAX, disposition
from holdfast.errors import AlreadyExists, NotFound, StoreError, Unavailable, Unsupported
from holdfast.keys import Key
from holdfast.seams import Clock, Entropy, SystemClock, SystemEntropy
from holdfast.stores.base import Capabilities, Driver, Leftover

LEFTOVER_AGE_S = 86_400.0  # nobody can see whether an upload is still being written: a day is long enough
_ID = "?uploadId="


class CloudDriver(Driver):
    """Objects in one bucket."""

    def __init__(
        self, name: str, settings: CloudSettings, *, clock: Clock | None = None, entropy: Entropy | None = None
    ) -> None:
        self._name, self.settings = name, settings
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        self._clients = Clients(name, settings, self._clock)
        self._mark = Mark(self._clients)
        self._reading = Reading(self._clients, self._mark)
        self._putting = Putting(self._clients, self._mark)
        self._capabilities = Capabilities(
            atomic_if_absent=settings.sure_of_conditions,
            if_version=settings.sure_of_versions,
            server_side_copy=True,
            signed_urls=True,
            remote=True,
        )
        self._without_ranges = replace(self._capabilities, ranges=False)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities if self._clients.here().ranges else self._without_ranges

    # -- reading ------------------------------------------------------------------------------------------

    def stat(self, key: Key) -> BlobStat:
        self._mark.require("stat")
        try:
            return head(self._clients, key, "stat")
        except NotFound:
            raise self._mark.absent(key, "stat") from None

    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        if options.local:
            raise self._unsupported("a bucket has no local paths; give the pool a cache", key, "open")
        return self._reading.open(key, options)

    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        self._mark.require("list")
        yield from list_keys(self._clients, prefix, after)

    # -- writing ------------------------------------------------------------------------------------------

    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        return self._putting.put(key, body, options)

    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        if options.digest is not None or options.if_version is not None:
            raise self._unsupported("a bucket copies without looking at bytes or versions", target, "copy")
        self._mark.require("copy")
        try:
            found = head(self._clients, source, "copy")
        except NotFound:
            raise self._mark.absent(source, "copy") from None
        if found.size_bytes > COPY_BYTES_MAX:
            raise self._unsupported("more than 5 GiB are not copied in one request", source, "copy")
        if options.if_absent:
            self._refuse_taken(target)
        if options.on_staged is not None:
            options.on_staged(replace(found, key=target))
        here = self._clients.here()
        with self._clients.asking(target, "copy"):
            here.obstore.copy(here.store, source, target)
        made = head(self._clients, target, "copy")
        if made.size_bytes != found.size_bytes:
            raise Unavailable(
                f"the copy of {source} in pool {self._name} has {made.size_bytes} bytes instead of "
                f"{found.size_bytes}; copy it again",
                store=self._name, key=target, operation="copy",
            )  # fmt: skip
        return made

    def delete(self, key: Key) -> None:
        self._mark.require("delete")
        here = self._clients.here()
        try:
            here.obstore.delete(here.store, key)
        except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
            answer = read_answer(error)
            if not answer.absent:
                self._clients.fail(answer, key, "delete")
            self._mark.absent(key, "delete")

    def sync(self, keys: Sequence[Key]) -> None:
        """A put is durable when it is acknowledged."""
        if keys:
            self._mark.require("sync")

    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        if not 0 < expires_s <= EXPIRES_S_MAX:
            raise self._unsupported("an address is good for seven days at most", key, "sign_url")
        here = self._clients.here()
        signer = here.requests.signer() if self.settings.service == "s3" else None
        if signer is not None:
            query = {} if filename is None else {"response-content-disposition": disposition(filename)}
            return signer.signed_url(method, here.requests.url(key), query, expires_s)
        if self.settings.service == "azure" and azure.can_sign(self.settings):
            with self._clients.asking(key, "sign_url"):
                return azure.blob_url(
                    self.settings, key, method, self._clock.now_us(), expires_s, filename=filename
                )
        if filename is not None:
            raise self._unsupported("its addresses cannot carry a file's name", key, "sign_url")
        with self._clients.asking(key, "sign_url"):
            url: str = here.obstore.sign(here.store, method, key, timedelta(seconds=expires_s))
        return url

    def close(self) -> None:
        self._clients.forget()

    # -- the medium ---------------------------------------------------------------------------------------

    def usage(self) -> Usage:
        """A bucket has no end that anybody could ask for."""
        wrong = self._mark.wrong()
        if wrong is not None:
            raise wrong
        return Usage(None, None, None)

    def probe(self) -> Sequence[str]:
        self._mark.require("probe")
        self._checking().probe()
        return self.findings()

    def findings(self) -> Sequence[str]:
        """What the server was seen not to obey so far, each as a sentence; `probe` finds out all of it."""
        return self._checking().findings()

    def leftovers(self) -> Iterator[Leftover]:
        """Uploads that were begun and not finished (S3 only: the others forget them by themselves)."""
        self._mark.require("leftovers")
        if self.settings.service != "s3":
            return
        requests = self._clients.here().requests
        place: tuple[str, str] | None = ("", "")
        now_us = self._clock.now_us()
        while place is not None:
            with self._clients.asking("", "leftovers"):
                uploads, place = requests.uploads(*place)
            for one in uploads:
                age_s = max(0.0, (now_us - one.begun_us) / 1e6)
                with self._clients.asking(one.key, "leftovers"):
                    size_bytes = requests.upload_bytes(one.key, one.upload_id)
                yield Leftover(f"{one.key}{_ID}{one.upload_id}", size_bytes, age_s, age_s < LEFTOVER_AGE_S)

    def discard(self, leftover: Leftover) -> bool:
        self._mark.require("discard")
        if leftover.age_s < LEFTOVER_AGE_S:
            return False
        key, _, upload_id = leftover.name.rpartition(_ID)
        with self._clients.asking(key, "discard"):
            self._clients.here().requests.abort(key, upload_id)
        return True

    def refused(self) -> Iterator[tuple[str, str]]:
        self._mark.require("list")
        yield from list_refused(self._clients)

    def occupied(self, key: Key) -> bool:
        try:
            head(self._clients, key, "stat")
        except StoreError:
            return False
        return True

    def prepare(self) -> None:
        """Make the bucket or the container if the server does not know it (not on Google)."""
        here = self._clients.here()
        if self.settings.service == "azure" and azure.can_sign(self.settings):
            with self._clients.asking("", "prepare"):
                azure.make_container(here.http, self.settings, self._clock.now_us())
        if self.settings.service != "s3" or self._clients.credentials.web_identity:
            return
        with self._clients.asking("", "prepare"):
            if not here.requests.bucket_is_there():
                here.requests.make_bucket()

    def expect(self, identity: str) -> None:
        self._mark.expect(identity)

    def identity(self) -> str | None:
        return self._mark.identity()

    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        self._mark.mark(identity, replacing)

    # -- inside -------------------------------------------------------------------------------------------

    def _checking(self) -> Checking:
        return Checking(self._clients, self._mark, self._entropy)

    def _refuse_taken(self, key: Key) -> None:
        try:
            head(self._clients, key, "copy")
        except NotFound:
            return
        raise AlreadyExists(f"{key} exists already in pool {self._name}", store=self._name, key=key, operation="copy")

    def _unsupported(self, why: str, key: Key, operation: str) -> Unsupported:
        return Unsupported(f"pool {self._name}: {why}", store=self._name, key=key, operation=operation)
