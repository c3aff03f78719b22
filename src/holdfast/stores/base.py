"""The `Store` contract: eight methods, no default bodies, and a value that says what the store can do.

All methods may be called from many threads at once. Building a store starts no thread, opens no socket and
touches no native runtime; that happens at first use, per process. Absence is an answer (`NotFound`), not a
guess: a store that cannot be reached raises `Unavailable`. Convenience lives in functions above the
contract, never in default bodies here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from holdfast.keys import Key


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the contract's minimum. Each flag has a contract test.

    `local_paths`: `open` answers `GetOptions(local=True)`. `atomic_if_absent`: two racing puts with
    `if_absent` never both win. `server_side_copy`, `signed_urls`: `copy` and `sign_url` do not raise
    `Unsupported`. `batch_sync`: puts with `durable=False` become durable together by `Driver.sync`. `remote`:
    each call is a round trip, so that whoever has many to make makes several at once, and none that can be spared.
    `ranges`: to read a part costs a part; False once the server was seen to answer one with the whole.
    """

    local_paths: bool = False
    atomic_if_absent: bool = False
    if_version: bool = False
    server_side_copy: bool = False
    signed_urls: bool = False
    batch_sync: bool = False
    remote: bool = False
    ranges: bool = True


class Store(ABC):
    """Blobs under keys."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call this store: the pool's object_store_id, wrapped in the layers' names."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store, as wrapped, can do."""

    @abstractmethod
    def stat(self, key: Key) -> BlobStat:
        """What lies under `key`. `NotFound` only if it is known to be absent."""

    @abstractmethod
    def open(self, key: Key, options: GetOptions = DEFAULT_GET) -> Reader:
        """The blob as a stream, old or new but whole, with the stat of just these bytes.

        With `local`, the reader has a `local_path` that stays valid until it is closed, or `Unsupported`.
        """

    @abstractmethod
    def put(self, key: Key, body: Body, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        """Store all of `body` under `key`, or nothing.

        On return the bytes *and the name* survive a power cut (unless `durable=False`), and the stat has
        the checksum of what was written. On error the old bytes are there still. `OutcomeUnknown` if the
        answer was lost.
        """

    @abstractmethod
    def copy(self, source: Key, target: Key, options: PutOptions = DEFAULT_PUT) -> BlobStat:
        """Copy inside this store without moving bytes through us, or `Unsupported`."""

    @abstractmethod
    def delete(self, key: Key) -> None:
        """Remove the blob. Idempotent: no error if it was not there."""

    @abstractmethod
    def list(self, prefix: str = "", after: str = "") -> Iterator[BlobStat]:
        """All blobs whose keys start with `prefix` and sort after `after`, in the order of their keys'
        UTF-8 bytes. May be resumed from any key. Blobs that come or go meanwhile may or may not be seen. What is set
        aside (`keys.QUARANTINE`) is listed only if `prefix` begins so."""

    @abstractmethod
    def sign_url(
        self, key: Key, method: Literal["GET", "PUT"], expires_s: int, *, filename: str | None = None
    ) -> str:
        """An URL by which anybody can read or write this blob until it expires, or `Unsupported`.

        `filename`: the name under which a browser saves what it reads; `Unsupported` if the store cannot say it."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the store holds open. Idempotent; a closed store may be used again."""


class Driver(Store):
    """A leaf store: it talks to one medium, and knows how full that is and whether it answers."""

    @abstractmethod
    def usage(self) -> Usage:
        """How large and how free the medium is. `Unavailable` if it cannot be asked; what is remote answers from what
        it knows, without a round trip."""

    @abstractmethod
    def probe(self) -> Sequence[str]:
        """Prove that the pool works: write, read back and delete a small blob of its own. Raises why not.

        What it does not do as it should, though one can live with it, comes back in words."""

    @abstractmethod
    def sync(self, keys: Sequence[Key]) -> None:
        """Make all puts with `durable=False` under these keys durable, bytes and names. Shares the cost."""

    @abstractmethod
    def leftovers(self) -> Iterator[Leftover]:
        """Unfinished pieces that interrupted work left behind."""

    @abstractmethod
    def discard(self, leftover: Leftover) -> bool:
        """Take a leftover away; False if it turned out to be somebody's work in progress."""

    @abstractmethod
    def refused(self) -> Iterator[tuple[str, str]]:
        """(name, why) of what lies in the medium and `list` passes over: links that leave, names that cannot be
        keys. In no order; our own marks and temporary files are not among them."""

    @abstractmethod
    def occupied(self, key: Key) -> bool:
        """Whether anything at all has this name, also a folder. False where that cannot be found out."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what a new pool needs, if only the last step is missing (its own folder, its bucket)."""

    @abstractmethod
    def expect(self, identity: str) -> None:
        """From now on the medium is trusted only while it carries this mark. Does no I/O."""

    @abstractmethod
    def identity(self) -> str | None:
        """The mark that this medium carries, by which it is recognised; None if it carries none yet.

        `Unavailable` if the medium cannot be reached."""

    @abstractmethod
    def mark(self, identity: str, *, replacing: str | None = None) -> None:
        """Put the mark on the medium; `AlreadyExists` if it carries another than `replacing`. One of many who try
        to be the first wins.

        Once marked, the driver answers `Unavailable` while it is absent."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """An unfinished piece in a pool: where it lies, how large it is, how long ago it was touched."""

    name: str
    size_bytes: int
    age_s: float
    in_use: bool
