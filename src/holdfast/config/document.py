"""The canonical tree: what a document means, whichever way it is spelled.

Frozen values; equal documents compare equal whatever file and spelling they came from (`source`,
`spelling` and `notes` do not count). Paths are absolute texts. Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from holdfast.config.secrets import Secret
from holdfast.errors import Problem

Spelling = Literal["holdfast", "galaxy-xml", "galaxy-yaml"]
RouterKind = Literal["hierarchical", "distributed"]

REMOTE_TYPES = frozenset({"aws_s3", "generic_s3", "boto3", "azure_blob", "cloud"})
DRIVERS_READY = REMOTE_TYPES | {"disk"}
"""The types of pools that have a driver today. The others are read in full, and `check` says so."""

V = TypeVar("V")


class FrozenMapping(Mapping[str, V]):
    """A mapping that cannot be changed, keeps its order and can be hashed and pickled."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._items: dict[str, V] = dict(items or {})

    def __getitem__(self, name: str) -> V:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """Which quota counts what lies in a pool: `source` is the quota's label, None the default quota."""

    source: str | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class IntegrityConfig:
    """How old the oldest proof of a stored byte may become; None: no target."""

    verify_every_s: int | None = None


@dataclass(frozen=True, slots=True)
class Badge:
    """A property of a pool that users see, with the administrator's words."""

    type: str
    message: str | None = None


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """One pool.

    `max_percent_full` is the pool's own limit (see `walk_pools` for the one that holds). `options` are the
    driver's keys, nested as in our own spelling: `files_dir` of a disk, `auth`, `bucket`, `connection`,
    `cache`, … of the others. `extra_dirs` holds `job_work` and `temp` where they were given.
    """

    object_store_id: str
    type: str
    store_by: Literal["id", "uuid"] = "id"
    name: str | None = None
    description: str | None = None
    private: bool = False
    quota: QuotaConfig = QuotaConfig()
    device: str | None = None
    badges: tuple[Badge, ...] = ()
    allow_selection: bool = False
    max_percent_full: float | None = None
    capacity_bytes: int | None = None
    object_expires_after_days: int | None = None
    extra_dirs: Mapping[str, str] = field(default_factory=FrozenMapping)
    check_old_style: bool = False
    durability: Literal["full", "process"] = "full"
    integrity: IntegrityConfig = IntegrityConfig()
    options: Mapping[str, object] = field(default_factory=FrozenMapping)

    @property
    def driver_ready(self) -> bool:
        """Whether this version of Holdfast has a driver for the pool's type."""
        return self.type in DRIVERS_READY and self.options.get("provider") != "openstack"

    @property
    def files_dir(self) -> str | None:
        """The folder of a disk pool; None for every other type."""
        folder = self.options.get("files_dir")
        return folder if isinstance(folder, str) else None


@dataclass(frozen=True, slots=True)
class PoolNode:
    """A pool's place in the tree: `order` below a hierarchical router, `weight` below a distributed one."""

    pool: PoolConfig
    order: int | None = None
    weight: int | float = 1


@dataclass(frozen=True, slots=True)
class RouterNode:
    """A router: its children stand in the order in which they are tried and probed."""

    kind: RouterKind
    node_id: str
    children: tuple[TreeNode, ...]
    order: int | None = None
    weight: int | float = 1
    search_for_missing: bool = True
    max_percent_full: float | None = None


TreeNode = PoolNode | RouterNode


@dataclass(frozen=True, slots=True)
class PlacedPool:
    """A pool with what its place in the tree adds: the routers above it, and the limit that holds for it."""

    node: PoolNode
    routers: tuple[RouterNode, ...]
    max_percent_full: float | None

    @property
    def pool(self) -> PoolConfig:
        """The pool itself."""
        return self.node.pool


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The web server. `direct` says how the bytes of a download leave: by us, or by nginx (X-Accel-Redirect).
    `direct_download` says when a download from a pool that allows it is sent to the pool's own signed address.

    `x_accel_prefix` maps pool ids to nginx's internal locations; a pool without one is streamed.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    public_url: str | None = None
    direct: Literal["stream", "x-accel"] = "stream"
    x_accel_prefix: Mapping[str, str] = field(default_factory=FrozenMapping)
    direct_download: Literal["never", "when-cold", "always"] = "when-cold"
    trusted_proxies: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    max_upload_bytes: int | None = None
    upload_expires_after_s: int = 7 * 86_400
    session_expires_after_s: int = 14 * 86_400


@dataclass(frozen=True, slots=True)
class JobsConfig:
    """Jobs: how many run at once, how long a failed one keeps its folder and any one what it wrote, how it is stopped
    and logged."""

    max_running: int = 2
    keep_failed_s: int = 7 * 86_400
    keep_logs_s: int = 90 * 86_400
    stop_grace_s: int = 10
    max_log_bytes: int = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HoldfastConfig:
    """A whole document. `catalog_url` None is SQLite in the state directory; it never holds the password."""

    source: str = field(compare=False)
    spelling: Spelling = field(compare=False)
    state_dir: Path
    tree: TreeNode
    catalog_url: str | None = None
    catalog_password: Secret | None = None
    server: ServerConfig = ServerConfig()
    jobs: JobsConfig = JobsConfig()
    file_sources: str | None = None
    user_preferences_extra: str | None = None
    deleted_expires_after_s: int = 30 * 86_400
    reap_grace_s: int = 86_400
    notes: tuple[Problem, ...] = field(default=(), compare=False)

    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools in the order in which they are probed."""
        return tuple(placed.pool for placed in walk_pools(self.tree))

    def catalog_address(self, environ: Mapping[str, str] | None = None) -> str | None:
        """The catalog's URL with its password put in; None for SQLite. `ConfigError` if it cannot be had."""
        if self.catalog_url is None or self.catalog_password is None:
            return self.catalog_url
        parts = urlsplit(self.catalog_url)
        user, at, host = parts.netloc.rpartition("@")
        password = quote(self.catalog_password.reveal(environ), safe="")
        return urlunsplit(parts._replace(netloc=f"{user}:{password}{at or '@'}{host}"))


def walk_pools(tree: TreeNode) -> Iterator[PlacedPool]:
    """The pools of a tree in probe order. A pool's own limit goes before that of the nearest router."""
    yield from _walk(tree, (), None)


def _walk(node: TreeNode, routers: tuple[RouterNode, ...], limit: float | None) -> Iterator[PlacedPool]:
    if isinstance(node, PoolNode):
        own = node.pool.max_percent_full
        yield PlacedPool(node, routers, limit if own is None else own)
        return
    limit = limit if node.max_percent_full is None else node.max_percent_full
    for child in node.children:
        yield from _walk(child, (*routers, node), limit)
