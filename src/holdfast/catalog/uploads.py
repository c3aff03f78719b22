"""Uploads that come in pieces: what is announced, whose it is, where its bytes gather, what became of it.

How many bytes have arrived is the file's own size, as long as the machine that wrote them has not been started
anew; `offset_bytes` is how many are sure to survive a power cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database
from holdfast.errors import NoSpace, NotFound, QuotaExceeded
from holdfast.seams import Clock

_UPLOAD = schema.upload
TARGET_AT = 6  # in the list of parameters


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload. `folder` is where its bytes gather, `metadata` the header it was announced with.

    `machine` is where, and since which of its boots, bytes were added last. `checksum` is set when all bytes are
    there, before they become a dataset, and `dataset_id` afterwards. `target` is the pool in which room was promised to
    it, where no file system keeps that room. Times are microseconds since 1970.
    """

    id: str
    owner: str
    name: str
    size_bytes: int
    offset_bytes: int
    dataset_id: int | None
    created_us: int
    touched_us: int
    folder: str
    pool: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: str = ""
    checksum: str | None = None
    machine: str = ""
    target: str | None = None


class UploadLedger:
    """Rows of `upload`. Safe from many threads and processes."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        columns = (
            _UPLOAD.c.id, _UPLOAD.c.owner, _UPLOAD.c.name, _UPLOAD.c.size_bytes, _UPLOAD.c.offset_bytes,
            _UPLOAD.c.dataset_id, _UPLOAD.c.created_us, _UPLOAD.c.touched_us, _UPLOAD.c.parameters,
        )  # fmt: skip
        self._insert = db.statement(
            insert(_UPLOAD),
            columns=["id", "owner", "name", "size_bytes", "parameters", "created_us", "touched_us"],
        )
        self._find = db.statement(select(*columns).where(_UPLOAD.c.id == bindparam("which")))
        self._count = db.statement(
            select(func.count())
            .select_from(_UPLOAD)
            .where(_UPLOAD.c.owner == bindparam("whose"), _UPLOAD.c.dataset_id.is_(None))
        )
        self._open = db.statement(
            select(*columns)
            .where(_UPLOAD.c.owner == bindparam("whose"), _UPLOAD.c.dataset_id.is_(None))
            .order_by(_UPLOAD.c.touched_us.desc())
            .limit(bindparam("limit", type_=schema.Whole))
        )
        self._unfinished = db.statement(
            select(_UPLOAD.c.size_bytes, _UPLOAD.c.parameters).where(_UPLOAD.c.dataset_id.is_(None))
        )
        self._stale = db.statement(
            select(*columns)
            .where(_UPLOAD.c.touched_us < bindparam("before"))
            .order_by(_UPLOAD.c.touched_us)
            .limit(bindparam("limit", type_=schema.Whole))
        )
        which = _UPLOAD.c.id == bindparam("which")
        self._progress = db.statement(
            update(_UPLOAD).where(which).values(offset_bytes=bindparam("new_offset"), touched_us=bindparam("now"))
        )
        self._finish = db.statement(
            update(_UPLOAD)
            .where(which)
            .values(dataset_id=bindparam("new_dataset"), offset_bytes=_UPLOAD.c.size_bytes, touched_us=bindparam("now"))
        )
        self._describe = db.statement(update(_UPLOAD).where(which).values(parameters=bindparam("new_parameters")))
        self._delete = db.statement(delete(_UPLOAD).where(which))

    def add(self, upload: Upload, *, open_max: int, promised_max_bytes: int | None = None) -> Upload:
        """Write down an upload before its first byte; `QuotaExceeded` if its owner has too many open ones, `NoSpace`
        if the unfinished ones of its target would be promised more than `promised_max_bytes` together."""
        now_us = self._clock.now_us()
        with self._db.write() as cursor:
            if self._count.one(cursor, {"whose": upload.owner})[0] >= open_max:
                raise QuotaExceeded(
                    f"{upload.owner} has {open_max} unfinished uploads; finish or delete some of them first"
                )
            if promised_max_bytes is not None and upload.target is not None:
                promised = self._promised_in(cursor, upload.target)
                if promised + upload.size_bytes > promised_max_bytes:
                    raise NoSpace(
                        f"pool {upload.target} has no room for {upload.size_bytes} bytes: {promised} are promised to "
                        "uploads that are not finished",
                        store=upload.target, operation="upload",
                    )  # fmt: skip
            self._insert.run(
                cursor,
                {
                    "id": upload.id, "owner": upload.owner, "name": upload.name, "size_bytes": upload.size_bytes,
                    "parameters": _parameters(upload), "created_us": now_us,
                    "touched_us": now_us,
                },
            )  # fmt: skip
        return self.find(upload.id)

    def find(self, upload_id: str) -> Upload:
        """By id; `NotFound`."""
        with self._db.read() as cursor:
            row = self._find.one(cursor, {"which": upload_id})
        if row is None:
            raise NotFound(f"there is no upload {upload_id[:64]!r}: it was finished long ago, deleted or expired")
        return _upload(row)

    def promised_bytes(self, target: str) -> int:
        """What unfinished uploads were promised in that pool."""
        with self._db.read() as cursor:
            return self._promised_in(cursor, target)

    def _promised_in(self, cursor: Cursor, target: str) -> int:
        rows = self._unfinished.all(cursor, {})
        return sum(size for size, parameters in rows if json.loads(parameters)[TARGET_AT:] == [target])

    def unfinished(self, owner: str, limit: int = 50) -> list[Upload]:
        """What somebody has not finished yet, the latest first."""
        with self._db.read() as cursor:
            return [_upload(row) for row in self._open.all(cursor, {"whose": owner, "limit": limit})]

    def stale(self, before_us: int, limit: int = 100) -> list[Upload]:
        """Uploads, finished or not, that nobody has touched since then; the oldest first."""
        with self._db.read() as cursor:
            return [_upload(row) for row in self._stale.all(cursor, {"before": before_us, "limit": limit})]

    def progressed(self, upload_id: str, offset_bytes: int) -> None:
        """So many bytes would survive a power cut now. Keeps the upload from expiring."""
        with self._db.write() as cursor:
            self._progress.run(cursor, {"which": upload_id, "new_offset": offset_bytes, "now": self._clock.now_us()})

    def goes_on(self, upload: Upload, machine: str) -> Upload:
        """From now on bytes are added on that machine."""
        return self._described(replace(upload, machine=machine))

    def whole(self, upload: Upload, checksum: str) -> Upload:
        """All bytes are there: whoever comes after a crash can tell whether they became a dataset."""
        return self._described(replace(upload, checksum=checksum))

    def _described(self, upload: Upload) -> Upload:
        with self._db.write() as cursor:
            self._describe.run(cursor, {"which": upload.id, "new_parameters": _parameters(upload)})
        return upload

    def finished(self, upload_id: str, dataset_id: int) -> None:
        """It has become a dataset."""
        with self._db.write() as cursor:
            self._finish.run(cursor, {"which": upload_id, "new_dataset": dataset_id, "now": self._clock.now_us()})

    def remove(self, upload_id: str) -> None:
        """Forget it. Idempotent. Its file must be gone before."""
        with self._db.write() as cursor:
            self._delete.run(cursor, {"which": upload_id})


def _parameters(upload: Upload) -> str:
    return json.dumps(
        [upload.folder, upload.pool, dict(upload.labels), upload.metadata, upload.checksum, upload.machine,
         upload.target],
        ensure_ascii=False,
    )  # fmt: skip


def _upload(row: Any) -> Upload:
    return Upload(*row[:8], *json.loads(row[8]))
