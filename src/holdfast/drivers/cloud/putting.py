"""Writing one blob so that it is there whole or not at all. Used by the cloud driver alone.

What fits into one request is read, hashed and sent as one; anything larger goes in parts, several at a time, hashed as
it is read, and given up if any of them fails: a bucket shows nothing of an upload before it is complete.

`on_staged` is called when every byte was read and hashed, before the request that makes them visible. Some of the bytes
may still be on their way then: if they do not arrive, nothing becomes visible.

An answer that was lost is not guessed at: what lies there is looked at, and its bytes are read if need be.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from typing import Any, NoReturn

from blake3 import blake3

from holdfast.blobs import BlobStat, Body, FileBody, PutOptions
from holdfast.drivers.cloud.bulk import needs_proxy
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import Answer, RequestFailed, read_answer
from holdfast.drivers.cloud.handoff import Handoff
from holdfast.drivers.cloud.listing import head, quoted, unquoted
from holdfast.drivers.cloud.mark import Mark
from holdfast.drivers.cloud.source import Source
from holdfast.drivers.cloud.uploading import Uploading
from holdfast.errors import (
    AlreadyExists,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StoreError,
    Unavailable,
    Unsupported,
)
from holdfast.keys import Key

_COMPARE_BYTES = 4 * 1024 * 1024
_MD5_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: enough to recognise it."""

    size_bytes: int
    checksum: str
    md5: str | None


class Putting:
    """Puts into one bucket."""

    def __init__(self, clients: Clients, mark: Mark) -> None:
        self._clients, self._mark = clients, mark

    def put(self, key: Key, body: Body, options: PutOptions) -> BlobStat:
        """Store all of `body` under `key`, or nothing."""
        settings = self._clients.settings
        if options.if_version is not None and not settings.sure_of_versions:
            raise Unsupported(
                f"pool {self._clients.name} cannot replace one version only: nobody knows whether its server does",
                store=self._clients.name, key=key, operation="put",
            )  # fmt: skip
        self._mark.require("put")
        if options.if_absent and not self._mark.conditions_obeyed():
            self._refuse_taken(key)
        source = Source(body, options.digest, options.on_progress)
        try:
            stored = self._send(key, body, source, options)
        except StoreError as error:
            if isinstance(error, Corrupt) and not error.store:
                error.store, error.key = self._clients.name, key
            raise
        finally:
            source.close()
        if isinstance(body, FileBody) and body.consume:
            with contextlib.suppress(OSError):  # it was given away; `reap` finds it
                os.unlink(body.path)
        return stored

    # -- inside -------------------------------------------------------------------------------------------

    def _send(self, key: Key, body: Body, source: Source, options: PutOptions) -> BlobStat:
        limit = self._clients.settings.single_put_bytes_max
        if body.size_bytes is None or body.size_bytes <= limit:
            content = source.read(limit + 1)
            if len(content) <= limit:
                return self._single(key, content, source.finish(), options)
            return self._parts(key, content, source, None, options)
        return self._parts(key, b"", source, body.size_bytes, options)

    def _single(self, key: Key, content: bytes, checksum: str, options: PutOptions) -> BlobStat:
        """One request."""
        here = self._clients.here()
        is_compared = self._clients.settings.service == "s3" and here.md5_tags
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() if is_compared else None
        sent = Sent(len(content), checksum, md5)
        self._tell_staged(key, sent, options)
        mode: Any = None
        if options.if_version is not None:
            mode = {"e_tag": quoted(options.if_version)}
        elif options.if_absent and here.conditions is not False:
            mode = "create"
        try:
            result = here.obstore.put(
                here.store, key, content, mode=mode, use_multipart=False, attributes=self._attributes()
            )
        except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
            answer = read_answer(error)
            if answer.status == 501 and options.if_absent and here.conditions is None:
                here.conditions = False
                self._refuse_taken(key)
                result = self._plainly(key, content)
            elif answer.may_have_landed:
                return self._look(key, sent, options, answer)
            else:
                self._fail(answer, key, options)
        tag = unquoted(result["e_tag"])
        self._compare(key, tag, sent, options)
        return self._stat(key, sent, tag)

    def _plainly(self, key: Key, content: bytes) -> Any:
        here = self._clients.here()
        with self._clients.asking(key, "put"):
            return here.obstore.put(
                here.store, key, content, use_multipart=False, attributes=self._attributes()
            )

    def _parts(self, key: Key, begin: bytes, source: Source, size_bytes: int | None, options: PutOptions) -> BlobStat:
        """Many requests, of which the last makes it visible."""
        settings = self._clients.settings
        if options.if_absent:
            self._refuse_taken(key)
        try:
            upload = self._upload(key, settings.part_bytes_for(size_bytes))
        except RequestFailed as failed:
            self._fail(failed.answer, key, options)
        sent = None
        try:
            if all(upload.give(block) for block in source.blocks(begin)):
                sent = Sent(source.size_bytes, source.finish(), None)
                self._last_look(key, sent, options)
        except BaseException:
            upload.break_off()
            raise
        try:
            upload.finish()
        except Exception as error:  # noqa: BLE001 - see `_single`
            answer = read_answer(error)
            gone = answer.code == "NoSuchUpload"  # obstore gave it up, and it was complete: the answer to that was lost
            if (answer.may_have_landed or gone) and sent is not None:
                return self._look(key, sent, options, answer)
            self._fail(answer, key, options)
        assert sent is not None, "an upload that is complete took all blocks"
        found = self._found(key, sent)
        if found.size_bytes != sent.size_bytes:
            raise self._damaged(key, f"{sent.size_bytes} bytes were sent, {found.size_bytes} are there", options)
        return self._stat(key, sent, found.version)

    def _upload(self, key: Key, part_bytes: int) -> Uploading | Handoff[Any]:
        """Ours where we can sign what is to be sent; else obstore's, of which nothing is left when a part fails."""
        here, settings = self._clients.here(), self._clients.settings
        parts_at_once = settings.parts_at_once_for(part_bytes)
        ours = settings.service == "s3" and settings.checksum is None
        if ours and here.requests.signer() is not None and not needs_proxy(here.requests.url(key)):
            headers = {"x-amz-storage-class": settings.storage_class} if settings.storage_class else {}
            return Uploading(self._clients, key, part_bytes=part_bytes, parts_at_once=parts_at_once, headers=headers)
        return Handoff(
            lambda blocks: here.obstore.put(
                here.store, key, blocks,
                use_multipart=True, chunk_size=part_bytes, max_concurrency=parts_at_once,
                attributes=self._attributes(),
            )
        )  # fmt: skip

    def _last_look(self, key: Key, sent: Sent, options: PutOptions) -> None:
        """All was read, and nothing is visible: what must still be true, as near to the end as can be."""
        self._tell_staged(key, sent, options)
        if options.if_absent:
            self._refuse_taken(key)
        if options.if_version is not None:
            self._require_version(key, options.if_version)

    def _found(self, key: Key, sent: Sent) -> BlobStat:
        """What lies there after an upload that was said to be complete."""
        try:
            return head(self._clients, key, "put")
        except StoreError as error:
            raise OutcomeUnknown(
                f"{key} was sent to pool {self._clients.name}, and cannot be looked at: {error}",
                store=self._clients.name, key=key, operation="put",
            ) from error  # fmt: skip

    def _attributes(self) -> dict[str, str] | None:
        name = self._clients.settings.storage_class
        return {"Storage-Class": name} if name else None

    def _stat(self, key: Key, sent: Sent, version: str) -> BlobStat:
        now_us = self._clients.clock.now_us() // 1_000_000 * 1_000_000
        return BlobStat(key, sent.size_bytes, version, now_us, sent.checksum)

    def _tell_staged(self, key: Key, sent: Sent, options: PutOptions) -> None:
        if options.on_staged is not None:
            options.on_staged(self._stat(key, sent, sent.md5 or ""))

    # -- conditions ---------------------------------------------------------------------------------------

    def _refuse_taken(self, key: Key) -> None:
        try:
            head(self._clients, key, "put")
        except NotFound:
            return
        raise self._taken(key)

    def _require_version(self, key: Key, version: str) -> None:
        try:
            current = head(self._clients, key, "put").version
        except NotFound:
            current = ""
        if current != version:
            raise self._other_version(key)

    def _fail(self, answer: Answer, key: Key, options: PutOptions) -> NoReturn:
        """The server said no."""
        if answer.found or (answer.status == 412 and options.if_absent):
            raise self._taken(key) from None
        if options.if_version is not None and (answer.status == 412 or answer.absent):
            raise self._other_version(key) from None
        if answer.absent:  # a put that finds nothing: the bucket itself is meant
            self._mark.absent(key, "put")
        self._clients.fail(answer, key, "put")

    def _taken(self, key: Key) -> AlreadyExists:
        name = self._clients.name
        return AlreadyExists(f"{key} exists already in pool {name}", store=name, key=key, operation="put")

    def _other_version(self, key: Key) -> PreconditionFailed:
        name = self._clients.name
        return PreconditionFailed(
            f"{key} in pool {name} has changed since it was looked at", store=name, key=key, operation="put"
        )

    # -- answers ------------------------------------------------------------------------------------------

    def _compare(self, key: Key, tag: str, sent: Sent, options: PutOptions) -> None:
        """The server's own checksum, where its ETag is one."""
        here = self._clients.here()
        looks_like_md5 = len(tag) == _MD5_DIGITS and set(tag) <= set("0123456789abcdef")
        if sent.md5 is None or not here.md5_tags or not looks_like_md5 or tag == sent.md5:
            return
        if self._checksum_of(key, tag) != sent.checksum:
            raise self._damaged(key, f"its ETag is {tag}, the MD5 of what was sent {sent.md5}", options)
        here.md5_tags = False  # the bytes are right: this bucket's ETags are something else (encryption)

    def _damaged(self, key: Key, why: str, options: PutOptions) -> Unavailable:
        """What the server stored is not what was sent. It can be sent again: what is new is taken away before."""
        here = self._clients.here()
        if options.if_absent:
            with self._clients.asking(key, "put"):
                here.obstore.delete(here.store, key)
        name = self._clients.name
        return Unavailable(
            f"{key} was damaged on its way to pool {name}: {why}; put it again", store=name, key=key, operation="put"
        )

    def _look(self, key: Key, sent: Sent, options: PutOptions, answer: Answer) -> BlobStat:
        """The answer to a write was lost, or was none: find out what became of it."""
        name = self._clients.name
        found: BlobStat | None = None
        try:
            found = head(self._clients, key, "put")
            same = found.size_bytes == sent.size_bytes and (
                found.version == sent.md5 or self._checksum_of(key, found.version) == sent.checksum
            )
        except NotFound:
            same = False
        except StoreError as error:
            raise OutcomeUnknown(
                f"{key} was sent to pool {name}; the answer was lost, and so was that to a look: {error}",
                store=name, key=key, operation="put",
            ) from None  # fmt: skip
        if same and found is not None:
            return self._stat(key, sent, found.version)
        reason = self._clients.error(answer, key, "put")
        raise Unavailable(
            f"{reason}; it is not stored", store=name, key=key, operation="put", retry_after_s=reason.retry_after_s
        )

    def _checksum_of(self, key: Key, version: str) -> str | None:
        """The bytes that lie there, read and hashed; None if they are gone or others by now."""
        here, digest = self._clients.here(), blake3()
        try:
            found = here.obstore.get(here.store, key, options={"if_match": quoted(version)})
            for block in found.stream(min_chunk_size=_COMPARE_BYTES):
                digest.update(block)
        except Exception as error:  # noqa: BLE001 - see `_single`
            answer = read_answer(error)
            if answer.absent or answer.status == 412:
                return None
            self._clients.fail(answer, key, "put")
        return f"blake3:{digest.hexdigest()}"
