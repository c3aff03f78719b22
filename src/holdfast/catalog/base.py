"""What the catalog answers with: frozen values. No database in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.keys import Key

DatasetState = Literal["new", "ok", "error", "deleted", "purged"]
ReplicaState = Literal["writing", "present", "suspect", "missing", "retiring", "gone"]
PoolState = Literal["active", "read-only", "draining", "offline"]
POOL_STATES: tuple[PoolState, ...] = ("active", "read-only", "draining", "offline")
DATASET_STATES: tuple[DatasetState, ...] = ("new", "ok", "error", "deleted", "purged")


@dataclass(frozen=True, slots=True)
class Replica:
    """"This dataset is in this pool", with a state. `verified_us`: when its bytes were last proved."""

    object_store_id: str
    state: ReplicaState
    key: Key
    size_bytes: int
    version: str | None = None
    verified_us: int | None = None
    note: str | None = None

    @property
    def is_outdated(self) -> bool:
        """Whether its bytes are those from before a replace: it is to be deleted, and never read or kept."""
        return self.state == "retiring" and self.version is None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One pool's part in the decision where a dataset went."""

    object_store_id: str
    chosen: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as the catalog knows it. Times are microseconds since 1970, UTC."""

    id: int
    uuid: str
    name: str
    owner: str | None
    state: DatasetState
    size_bytes: int
    total_bytes: int
    checksum: str | None
    object_store_id: str | None
    created_us: int
    updated_us: int
    origin: str = "put"
    job_id: int | None = None
    note: str | None = None
    deleted_us: int | None = None
    labels_json: str = "{}"
    replicas: tuple[Replica, ...] = ()
    choices_json: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.labels_json)
        return found

    @property
    def placement(self) -> tuple[Verdict, ...]:
        """Why it is where it is: every pool that was looked at, with its reason, as recorded then."""
        if not self.choices_json:
            return ()
        return tuple(Verdict(*entry) for entry in json.loads(self.choices_json))


@dataclass(frozen=True, slots=True)
class ExtraFile:
    """One extra file of a dataset; `path` is relative to its folder."""

    path: str
    size_bytes: int
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool's counters and state, as kept in the catalog."""

    object_store_id: str
    type: str
    location: str | None
    identity: str | None
    state: PoolState
    configured: bool
    datasets: int
    used_bytes: int
    reserved_bytes: int
    surveyed: bool = False  # the catalog knows what lies in it


@dataclass(frozen=True, slots=True)
class NewDataset:
    """What is known of a dataset before its first byte."""

    name: str
    size_bytes: int
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    origin: str = "put"
    job_id: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A write that may begin: the room is reserved. `token` proves that the reservation is still ours."""

    dataset_id: int
    uuid: str
    object_store_id: str
    key: Key
    token: str
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A write that came to its end: what is to be recorded."""

    prepared: Prepared
    size_bytes: int
    checksum: str
    version: str
    extra_files: tuple[ExtraFile, ...] = ()

    @property
    def total_bytes(self) -> int:
        return self.size_bytes + sum(extra.size_bytes for extra in self.extra_files)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the event log."""

    id: int
    at_us: int
    kind: str
    dataset_id: int | None
    object_store_id: str | None
    actor: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which datasets to list. None means any; deleted and purged ones only if `state` asks for them."""

    pool: str | None = None
    owner: str | None = None
    state: DatasetState | None = None
    name_has: str | None = None
    labels: tuple[tuple[str, str], ...] = ()  # (key, value): it has all of these
    limit: int = 50
    after: int | None = None  # an id; the page begins behind it
    oldest_first: bool = False


Row = tuple[Any, ...]
