"""The JSON of the API as pydantic models: what the OpenAPI document shows, and what requests are checked by.

Answers are built by the modules below the server and sent as they are; a test checks them against these.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PoolState = Literal["active", "read-only", "draining", "offline"]


class Strict(BaseModel):
    """A request's body: what is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Every error has this shape (`application/problem+json`)."""

    type: str
    title: str
    status: int
    detail: str
    retry_after_s: float | None = None


class Replica(BaseModel):
    """A dataset's bytes in one pool."""

    object_store_id: str
    state: Literal["writing", "present", "suspect", "missing", "retiring", "gone"]
    key: str
    size_bytes: int
    verified: str | None
    note: str | None = None


class Verdict(BaseModel):
    """One pool's part in the decision where a dataset went, or would go."""

    object_store_id: str
    chosen: bool
    reason: str


class Dataset(BaseModel):
    """A dataset. `full_path` is null where its pool has no local file; `available` is false while none of its
    replicas can be read."""

    id: int
    uuid: str
    name: str
    owner: str | None
    state: Literal["new", "ok", "error", "deleted", "purged"]
    size_bytes: int
    total_bytes: int
    checksum: str | None
    created: str | None
    updated: str | None = None
    deleted: str | None = None
    object_store_id: str | None
    full_path: str | None
    available: bool = True
    unavailable_because: str | None = None
    origin: str | None = None
    job_id: int | None = None
    note: str | None = None
    replicas: list[Replica]
    placement: list[Verdict]
    labels: dict[str, str]


class Cached(BaseModel):
    """What a cache near the server has of a dataset's bytes. `parts` are the ranges that are there, each as [first
    byte, byte after the last], at most 1000 of `parts_total`; `verified`: all are there and agree with the checksum.
    """

    object_store_id: str
    key: str
    version: str
    size_bytes: int
    held_bytes: int
    whole: bool
    verified: bool
    used: str | None
    uses: int
    in_use: bool
    pins: list[str]
    parts: list[list[int]]
    parts_total: int


class Storage(BaseModel):
    """Where a dataset is, why, and what of it a cache has; `cached` is null where none has any of it."""

    id: int
    object_store_id: str | None
    full_path: str | None
    replicas: list[Replica]
    placement: list[Verdict]
    extra_files: list[dict[str, Any]]
    cached: Cached | None


class Health(BaseModel):
    """How a remote pool answered lately, as far as the process knows that was asked. `failing`: the last `failures`
    requests got no answer; `paused`: it is left alone for another `retry_in_s`. `error` is the last failure.
    """

    state: Literal["ok", "failing", "paused"]
    failures: int
    error: str | None
    retry_in_s: float | None


class CacheFolder(BaseModel):
    """A cache folder, for all pools that share it. `bound_bytes` is null where only the disk bounds it; counters are
    since its index was made; `hit_ratio` is null before anything was asked for.
    """

    folder: str
    bound_bytes: int | None
    held_bytes: int
    free_bytes: int
    entries: int
    pinned: int
    hits: int
    misses: int
    hit_ratio: float | None
    served_bytes: int
    fetched_bytes: int
    evictions: int
    evicted_bytes: int
    damaged: int


class Integrity(BaseModel):
    """How long ago a pool's bytes were verified: the oldest of these times, and what is older than the target."""

    oldest_verified: str | None
    oldest_unverified_s: float | None
    target_s: int | None
    target_met: bool | None
    overdue: int
    overdue_bytes: int
    never_verified: int
    damaged: int
    missing: int
    at_least: bool


class Pool(BaseModel):
    """A pool. Sizes are null where there is no such number; `health` and `cache` where it has none: local pools."""

    model_config = ConfigDict(extra="allow")

    object_store_id: str
    type: str
    name: str | None
    description: str | None = None
    state: PoolState
    order: int | None
    weight: float | None
    datasets: int
    used_bytes: int
    reserved_bytes: int
    capacity_bytes: int | None
    free_bytes: int | None
    percent_full: float | None
    max_percent_full: float | None
    private: bool
    reachable: bool
    health: Health | None = None
    cache: list[CacheFolder] | None = None
    integrity: Integrity | None = None


class PoolChange(Strict):
    """What may be changed of a pool while the server runs."""

    state: PoolState


class Failure(BaseModel):
    """What an operation could not deal with."""

    dataset: int | str | None
    error: str
    why: str


class Operation(BaseModel):
    """A long piece of Holdfast's own work."""

    model_config = ConfigDict(extra="allow")

    id: int
    kind: str
    state: Literal["running", "paused", "done", "failed", "cancelled"]
    objects_total: int
    objects_done: int
    bytes_total: int
    bytes_done: int
    rate_bytes_s: float | None
    eta_s: float | None
    failures: list[Failure]


class OperationRequest(Strict):
    """An operation to be started. `parameters` are those of its kind, as the command line has them."""

    kind: str = Field(max_length=40)
    parameters: dict[str, Any] = Field(default_factory=dict)
    dry_run: bool = False


class JobRequest(Strict):
    """A job: a command with input datasets and named outputs.

    `{input1}`, `{output:NAME}` in the command become paths.
    """

    command: list[str] = Field(min_length=1, max_length=10_000)
    inputs: list[int | str] = Field(default_factory=list, max_length=10_000)
    outputs: list[str] = Field(default_factory=list, max_length=1000)
    pool: str | None = Field(default=None, max_length=255)
    environment: dict[str, str] = Field(default_factory=dict)


class Job(BaseModel):
    """A job and what became of it."""

    model_config = ConfigDict(extra="allow")

    id: int
    state: Literal["queued", "running", "ok", "failed", "cancelled", "lost"]
    command: list[str]


class Account(BaseModel):
    """An account."""

    model_config = ConfigDict(extra="allow")

    id: int
    email: str
    is_admin: bool
    active: bool
    preferred_pool: str | None


class AccountRequest(Strict):
    """A new account. Without a password the answer has a link that signs in once."""

    email: str = Field(max_length=254)
    password: str | None = Field(default=None, max_length=1024)
    is_admin: bool = False
    preferred_pool: str | None = Field(default=None, max_length=255)


class AccountChange(Strict):
    """What is given is changed. `preferred_pool` null means the tree's own choice."""

    password: str | None = Field(default=None, max_length=1024)
    is_admin: bool | None = None
    active: bool | None = None
    preferred_pool: str | None = Field(default=None, max_length=255)


class TokenRequest(Strict):
    """A new API token."""

    label: str = Field(default="", max_length=200)
    expires_s: int | None = Field(default=None, ge=1, le=10 * 366 * 86_400)


class DatasetChange(Strict):
    """What is given is changed."""

    name: str | None = Field(default=None, max_length=255)
    labels: dict[str, str] | None = None


class Event(BaseModel):
    """A line of the event log."""

    id: int
    at: str | None
    kind: str
    dataset_id: int | None
    object_store_id: str | None
    actor: str | None
    text: str
