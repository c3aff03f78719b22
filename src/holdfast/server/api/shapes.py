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


class Storage(BaseModel):
    """Where a dataset is, and why."""

    id: int
    object_store_id: str | None
    full_path: str | None
    replicas: list[Replica]
    placement: list[Verdict]
    extra_files: list[dict[str, Any]]


class Pool(BaseModel):
    """A pool. Sizes are null where there is no such number."""

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
