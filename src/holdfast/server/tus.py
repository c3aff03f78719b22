"""Uploads that can be resumed: what the tus protocol (1.0.0) asks for, without its headers.

`Uploads` announces an upload, adds pieces to it, and turns it into a dataset when its last byte is there. Its
methods block and are called in threads. `take_piece` adds what comes out of a connection: a piece that is cut
off counts as far as it came. Two requests never add to one upload at the same time; one that has gone silent
(its client has lost the connection and comes back by another) gives way to the next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from blake3 import blake3

from holdfast.catalog.accounts import Account, Accounts
from holdfast.catalog.base import Filter
from holdfast.catalog.uploads import Upload, UploadLedger
from holdfast.catalog.writes import no_pool
from holdfast.errors import HoldfastError, NoSpace, NotFound, StoreError
from holdfast.hold.hold import Hold
from holdfast.keys import check_dataset_name
from holdfast.placement.policy import PoolView, Request
from holdfast.server import spool
from holdfast.server.inflow import Inflow
from holdfast.server.problem import HttpProblem, NotFoundHere
from holdfast.server.settings import ServerSettings

FOLDER = "uploads"
REAPED_AT_ONCE = 1000
PROMISES_TRIED_MAX = 32
SETTLE_EVERY_S = 10.0  # so much of a transfer may be lost in a power cut
SETTLES_S = 1.0  # how long a finished upload may take to be recorded after its file was renamed


class Digest(Protocol):
    """A hash of one piece."""

    def update(self, block: Any, /) -> object: ...

    def digest(self) -> bytes: ...


CHECKSUMS: Mapping[str, Callable[[], Digest]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "blake3": blake3,
}


@dataclass(frozen=True, slots=True)
class Announced:
    """What a client says of a piece: where it begins, and perhaps its checksum (algorithm, digest)."""

    offset_bytes: int
    checksum: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an upload is."""

    upload: Upload
    offset_bytes: int
    dataset_id: int | None


class Uploads:
    """All uploads of one hold, in one process."""

    def __init__(self, hold: Hold, accounts: Accounts, settings: ServerSettings) -> None:
        self._hold = hold
        self._accounts = accounts
        self._settings = settings
        self._hashes = spool.Hashes()
        self.ledger = UploadLedger(hold.catalog.db, hold.clock)

    def announce(
        self,
        account: Account,
        *,
        name: str,
        size_bytes: int,
        pool: str | None,
        labels: Mapping[str, str],
        metadata: str,
    ) -> Upload:
        """A new upload, with room for all of it. `NoSpace`, 413 or `QuotaExceeded` come before the first byte."""
        most = self._settings.upload_bytes_max
        if most is not None and size_bytes > most:
            raise HttpProblem(413, f"an upload may have {most} bytes here; this one has {size_bytes}")
        check_dataset_name(name)
        ranked = rooms(self._hold, size_bytes, account, pool)
        for attempt in range(PROMISES_TRIED_MAX):
            upload = Upload(
                id=self._hold.entropy.token(16), owner=account.email, name=name, size_bytes=size_bytes,
                offset_bytes=0, dataset_id=None, created_us=0, touched_us=0, folder="", pool=pool, labels=labels,
                metadata=metadata, machine=spool.believed_from(),
            )  # fmt: skip
            left, target, most_bytes = self._target(ranked, size_bytes)
            try:
                return self._begin(replace(upload, target=target), left, most_bytes)
            except NoSpace as error:
                if target is None or error.store != target or attempt == PROMISES_TRIED_MAX - 1:
                    raise  # else somebody else was promised it a moment ago: look again
        raise AssertionError

    def _begin(self, wanted: Upload, ranked: Sequence[str], most_bytes: int | None) -> Upload:
        """Write it down and make its file, in the first folder where that is possible."""
        failure: StoreError | None = None
        for folder in self._folders(ranked):
            upload = self.ledger.add(
                replace(wanted, folder=str(folder)),
                open_max=self._settings.uploads_per_owner_max,
                promised_max_bytes=most_bytes,
            )
            try:
                spool.create(upload)
            except StoreError as error:
                self.ledger.remove(upload.id)
                if isinstance(error, NoSpace):
                    raise
                failure = error  # nobody may write beside the blobs: gather elsewhere, copy in the end
                continue
            return upload
        raise failure or NoSpace("there is no folder for uploads", operation="upload")

    def find(self, upload_id: str, account: Account) -> Upload:
        """Somebody's own upload; for everybody else it does not exist."""
        try:
            upload = self.ledger.find(upload_id)
        except NotFound:
            raise NotFoundHere(f"upload {upload_id[:64]}") from None
        if upload.owner != account.email and not account.is_admin:
            raise NotFoundHere(f"upload {upload_id[:64]}")
        if upload.dataset_id is None and self.expires_us(upload) < self._hold.clock.now_us():
            raise HttpProblem(410, "this upload has expired; start it again")
        return upload

    def standing(self, upload: Upload) -> Standing:
        """How far it is. 410 if its bytes are gone."""
        if upload.dataset_id is not None:
            return Standing(upload, upload.size_bytes, upload.dataset_id)
        try:
            return Standing(upload, spool.arrived_bytes(upload), None)
        except HttpProblem as problem:
            return self._after_all(upload, problem)

    def take_piece(
        self, upload: Upload, announced: Announced, stream: Inflow, on_held: Callable[[], object]
    ) -> Standing:
        """Add what comes to an upload; when that was the last of it, store it. 409 for another offset than what
        has arrived, 460 for a wrong checksum (then nothing of the piece is kept). `on_held` is called when
        nobody else can add to it any more."""
        if upload.dataset_id is not None:
            _check_offset(announced.offset_bytes, upload.size_bytes)
            return Standing(upload, upload.size_bytes, upload.dataset_id)
        try:
            with spool.Piece(upload, self._hashes) as piece:
                on_held()
                _check_offset(announced.offset_bytes, piece.offset_bytes)
                if upload.machine != spool.believed_from():
                    piece.upload = self.ledger.goes_on(upload, spool.believed_from())
                try:
                    self._append(piece, announced, stream)
                finally:
                    self.ledger.progressed(upload.id, piece.settle())
                if piece.offset_bytes < upload.size_bytes:
                    return Standing(upload, piece.offset_bytes, None)
                return Standing(upload, upload.size_bytes, self._store(piece))
        except HttpProblem as problem:
            if problem.status != 410:
                raise
            standing = self._after_all(upload, problem)
            _check_offset(announced.offset_bytes, standing.offset_bytes)
            return standing

    def drop(self, upload: Upload) -> None:
        """Delete an upload and what has arrived of it. A dataset that it became stays."""
        if upload.dataset_id is None:
            try:
                with spool.Piece(upload, self._hashes) as piece:
                    piece.unlink()
            except HttpProblem as problem:
                if problem.status != 410:
                    raise
        elif os.path.isdir(upload.folder):
            spool.remove(upload)  # a crash may have left another name of the dataset's file
        self.ledger.remove(upload.id)

    def expires_us(self, upload: Upload) -> int:
        """When it goes away unless something is added to it."""
        return upload.touched_us + self._settings.upload_lasts_s * 1_000_000

    def reap(self) -> int:
        """Take away what has expired; how many."""
        before_us = self._hold.clock.now_us() - self._settings.upload_lasts_s * 1_000_000
        reaped = 0
        for upload in self.ledger.stale(before_us, REAPED_AT_ONCE):
            try:
                self.drop(upload)
            except HoldfastError:
                continue  # somebody is at work on it, or its disk is away: next time
            reaped += 1
        return reaped

    # -- inside -------------------------------------------------------------------------------------------

    def _append(self, piece: spool.Piece, announced: Announced, stream: Inflow) -> None:
        begin = piece.offset_bytes
        left = piece.upload.size_bytes - begin
        if announced.checksum is None:
            piece.append(stream, most_bytes=left, watch=self._settling(piece))
            return
        algorithm, expected = announced.checksum
        digest = CHECKSUMS[algorithm]()
        right = False
        try:
            piece.append(stream, most_bytes=left, watch=digest.update)
            right = digest.digest() == expected
        finally:
            if not right:
                piece.cut(begin)  # what cannot be checked does not count
        if not right:
            raise HttpProblem(460, f"the {algorithm} of the piece is not the one announced; send the piece again")

    def _settling(self, piece: spool.Piece) -> Callable[[memoryview], None]:
        """For each block of a long piece: now and then make durable what has come, and write down how much."""
        clock = self._hold.clock
        settled_s = clock.monotonic_s()

        def look(_: memoryview) -> None:
            nonlocal settled_s
            if clock.monotonic_s() - settled_s >= SETTLE_EVERY_S:
                self.ledger.progressed(piece.upload.id, piece.settle())
                settled_s = clock.monotonic_s()

        return look

    def _store(self, piece: spool.Piece) -> int:
        """The dataset that it has become; the one that it had become before a crash."""
        upload = self.ledger.find(piece.upload.id)
        made = self._made(upload, piece)
        if made is None:
            checksum = piece.checksum()
            upload = self.ledger.whole(upload, checksum)
            made = self._hold.adopt_file(
                piece.second_name(), name=upload.name, owner=upload.owner, pool=upload.pool,
                preferred=self._preferred(upload.owner), labels=upload.labels, checksum=checksum,
            ).id  # fmt: skip
        self.ledger.finished(upload.id, made)
        piece.unlink()
        return made

    def _made(self, upload: Upload, piece: spool.Piece | None = None) -> int | None:
        """The dataset that it became, though nobody could write that down. Where its file is there still, a dataset
        in the same file system is it only if it has that file."""
        if upload.dataset_id is not None or upload.checksum is None:
            return upload.dataset_id
        for dataset in self._hold.datasets(Filter(owner=upload.owner, limit=500)):
            if dataset.checksum != upload.checksum or dataset.created_us < upload.created_us:
                continue
            path = self._hold.full_path(dataset)
            if piece is None or piece.is_file(path) or not piece.is_beside(path):
                return dataset.id
        return None

    def _preferred(self, email: str) -> str | None:
        try:
            return self._accounts.find_email(email).preferred_pool
        except HoldfastError:
            return None

    def _after_all(self, upload: Upload, problem: HttpProblem) -> Standing:
        """The file is not there: perhaps it has become a dataset meanwhile, or just before a crash."""
        upload = self.ledger.find(upload.id)
        if upload.dataset_id is None and upload.checksum is not None:
            self._hold.clock.sleep(SETTLES_S)
            upload = self.ledger.find(upload.id)
        made = self._made(upload)
        if made is not None and upload.dataset_id is None:
            self.ledger.finished(upload.id, made)
        if made is None:
            for pool in self._hold.poolset:
                if pool.driver is not None and getattr(pool.driver, "root", None) == upload.folder:
                    pool.driver.usage()  # `Unavailable` if the disk, and not the file, is away
            raise problem
        return Standing(upload, upload.size_bytes, made)

    def _target(self, ranked: Sequence[str], size_bytes: int) -> tuple[Sequence[str], str | None, int | None]:
        """(the pools from the first that has room beside what unfinished uploads were promised, that one, what may be
        promised in it). Where the file system is the limit, the file that is allocated there keeps the room: then
        nothing is promised. `NoSpace` if no pool has room."""
        failure: NoSpace | None = None
        for at, name in enumerate(ranked):
            facts = self._hold.poolset.configured(name).facts
            if facts.capacity_bytes is None:
                return ranked[at:], None, None
            info = self._hold.catalog.pools.find(name)
            limit_bytes = PoolView(
                name, capacity_bytes=facts.capacity_bytes, max_percent_full=facts.max_percent_full
            ).limit_bytes()
            most_bytes = (limit_bytes or 0) - info.used_bytes - info.reserved_bytes
            promised = self.ledger.promised_bytes(name)
            if promised + size_bytes <= most_bytes:
                return ranked[at:], name, most_bytes
            failure = failure or NoSpace(
                f"pool {name} has no room for {size_bytes} bytes: of {max(0, most_bytes)} that are left, {promised} "
                "are promised to uploads that are not finished",
                store=name, operation="upload",
            )  # fmt: skip
        assert failure is not None, "one pool at least may take it"
        raise failure

    def _folders(self, ranked: Sequence[str]) -> Iterator[Path]:
        """Where the bytes may gather: beside where they will probably stay, else in the next pool that may be, at
        last in the state directory.

        The state directory is one machine's own; a pool is there for all the servers of a PostgreSQL catalog.
        """
        own = self._hold.state_dir / FOLDER
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        for object_store_id in ranked:
            pool = self._hold.poolset.get(object_store_id)
            root = getattr(pool.driver, "root", None) if pool is not None else None
            if root is None or (self._hold.catalog.db.is_sqlite and os.stat(own).st_dev == _device(root)):
                break
            yield Path(root)
        yield own


def rooms(hold: Hold, size_bytes: int, account: Account, pool: str | None) -> list[str]:
    """The pools that may take it, the one that would be chosen now first; `NoSpace` or `Unavailable` if there is
    none, before anything came."""
    choices = hold.explain_put(
        size_bytes, owner=account.email, pool=pool, preferred=None if pool else account.preferred_pool
    )
    if pool is not None:
        hold.poolset.configured(pool)
    if not choices or not choices[0].possible:
        raise no_pool(Request(size_bytes, account.email, pool), choices)
    return [choice.object_store_id for choice in choices if choice.possible]


def _check_offset(announced: int, arrived: int) -> None:
    if announced != arrived:
        raise HttpProblem(
            409, f"{arrived} bytes have arrived, but the piece begins at {announced}; go on at {arrived}",
            headers={"Upload-Offset": str(arrived)},
        )  # fmt: skip


def _device(root: str) -> int:
    try:
        return os.stat(root).st_dev
    except OSError:
        return -1
