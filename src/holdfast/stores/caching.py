"""What a pool with a cache, or with a guard of its health, can be asked beyond the store's contract.

Values and protocols only. `layers.cached` and `layers.tripped` fulfil them; who composes a pool hands them to the
hold beside the driver, so that nobody has to look through layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from holdfast.blobs import DEFAULT_GET, GetOptions
from holdfast.keys import Key


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """One cache folder, for all pools that share it. Counters are since the index was made.

    `bound_bytes` None: bounded by the free disk space only. `hits` and `misses` count blocks that readers asked for;
    `served_bytes` went to readers, `fetched_bytes` came from the pools.
    """

    folder: str
    bound_bytes: int | None
    held_bytes: int
    free_bytes: int
    entries: int
    pinned: int
    hits: int
    misses: int
    served_bytes: int
    fetched_bytes: int
    evictions: int
    evicted_bytes: int
    damaged: int

    @property
    def hit_ratio(self) -> float | None:
        """Hits among all that was asked for; None before anything was."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


@dataclass(frozen=True, slots=True)
class CachedBlob:
    """What the cache has of one blob.

    `parts` are the byte ranges that are there, joined, in order. `pins` are the holders that keep it beyond their
    process; `in_use` says that a reader has it open now. Times in microseconds since 1970, UTC.
    """

    pool: str
    key: Key
    version: str
    size_bytes: int
    held_bytes: int
    whole: bool
    verified: bool
    used_us: int
    uses: int
    parts: tuple[tuple[int, int], ...]
    pins: tuple[str, ...]
    in_use: bool


class Cache(Protocol):
    """A pool's cache. Safe from many threads; what one process does, all of the machine see."""

    def cache_usage(self) -> Sequence[CacheUsage]:
        """Each folder that this pool's blobs may lie in."""
        ...

    def contents(self, *, after: str = "", limit: int = 1000) -> Sequence[CachedBlob]:
        """One page of what is held of this pool, in the order of the keys' bytes."""
        ...

    def look(self, key: Key) -> CachedBlob | None:
        """What is held of one blob (of its newest version); None if nothing is."""
        ...

    def warm(
        self, key: Key, options: GetOptions = DEFAULT_GET, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Fetch what is missing of the blob; the bytes fetched. `NoSpace` if it cannot be held as a whole."""
        ...

    def drop(self, key: Key) -> int:
        """Forget what is held of a blob; the bytes freed. What is open or pinned stays."""
        ...

    def pin(self, key: Key, holder: str) -> None:
        """Keep this blob, as soon as any of it is there, until `unpin`. Idempotent."""
        ...

    def unpin(self, holder: str) -> None:
        """Let go of all that this holder pinned."""
        ...

    def holders(self) -> Sequence[str]:
        """Everybody who has pinned anything of this pool."""
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """How a pool answered lately, as far as this process knows.

    ok: the last answer was one. failing: the last `failures` were none. paused: it is not asked for another
    `retry_in_s` seconds. `error` is the last failure, in words.
    """

    state: Literal["ok", "failing", "paused"]
    failures: int = 0
    error: str = ""
    retry_in_s: float | None = None


class Guard(Protocol):
    """What knows a pool's health."""

    def health(self) -> Health: ...
