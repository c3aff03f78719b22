"""What a durable piece of our own work is: a plan that can be printed, and batches that can be done again.

`plan` is pure: it looks, and says what would happen. `batches` yields small pieces in a fixed order, each
with the cursor that stands behind it. The runner applies a batch, writes cursor and counts in one
transaction, then looks whether a pause or a cancel is wanted. After a kill the work goes on at the last
cursor that was written: a batch may therefore be applied twice, and must come to the same end.

Knows neither tables nor threads; `operations.runner` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.hold.hold import Hold

LOOKED_AT = 1000  # rows of a plan between two looks whether it is still wanted

Check = Callable[[], None]
"""Called now and then while a plan is made: raises `Cancelled` when nobody wants it any more."""

T = TypeVar("T")

Parameters = Mapping[str, Any]
"""What the user asked for, as JSON can carry it: part of the operation's row."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many datasets (or blobs) with so many bytes."""

    objects: int = 0
    size_bytes: int = 0

    def to_json(self) -> dict[str, int]:
        return {"objects": self.objects, "bytes": self.size_bytes}


@dataclass(frozen=True, slots=True)
class Blocker:
    """What the operation will not do, and why. `dataset` is None where it concerns no single one."""

    why: str
    dataset: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "why": self.why}


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operation would do. `by_source` and `by_target`: per object_store_id.

    `size_bytes` are those that are read or moved. A plan may be an estimate; the run counts. `before` and `after`: how
    full each pool is, where that is what the operation changes.
    """

    objects: int = 0
    size_bytes: int = 0
    by_source: Mapping[str, Amount] = field(default_factory=dict)
    by_target: Mapping[str, Amount] = field(default_factory=dict)
    blockers: tuple[Blocker, ...] = ()
    seconds_estimate: float | None = None
    before: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    after: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self, kind: str) -> dict[str, Any]:
        """The dry run's shape."""
        return {
            "kind": kind,
            "objects": self.objects,
            "bytes": self.size_bytes,
            "from": {pool: amount.to_json() for pool, amount in self.by_source.items()},
            "to": {pool: amount.to_json() for pool, amount in self.by_target.items()},
            "blockers": [blocker.to_json() for blocker in self.blockers],
            "seconds_estimate": self.seconds_estimate,
            **({"before": dict(self.before), "after": dict(self.after)} if self.before else {}),
        }


class Progress(Protocol):
    """What a batch tells while it is applied. Written together with the batch's cursor."""

    @property
    def operation_id(self) -> int:
        """The operation whose batch it is."""
        ...

    def done(self, *, objects: int = 0, size_bytes: int = 0) -> None:
        """So much more is done."""
        ...

    def failed(
        self,
        item: int | str,
        error: HoldfastError | str,
        why: str = "",
        *,
        object_store_id: str | None = None,
    ) -> None:
        """This dataset (its id) or key could not be dealt with; the operation goes on.

        `why` defaults to the error's message. Said again for the same item, the last one counts.
        """
        ...

    def count(self, name: str, number: int = 1) -> None:
        """Add to a number of the result: `progress.count("repaired")`."""
        ...

    def note(self, text: str) -> None:
        """Say what is going on now: one line, the last one is shown."""
        ...

    def check(self) -> None:
        """For long batches, between items: raises `Cancelled` when a pause or a cancel is wanted.

        Let it pass through: what the batch told so far is not kept, and the batch is applied again if the
        operation goes on.
        """
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of work: some seconds at most. `cursor`: hand it to `batches` to go on behind this piece.

    `apply` may be called again after a kill, and comes to the same end. One item's error is told to
    `progress.failed`; an exception out of `apply` fails the operation, which can be resumed.
    """

    cursor: str
    apply: Callable[[Progress], None]


class Operation(Protocol):
    """One kind of work: scrub, reconcile, reap. Has no state of its own; may be used from many threads."""

    @property
    def kind(self) -> str: ...

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        """What `batches` would do now. Changes nothing. `ConfigError` for parameters that make no sense."""
        ...

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        """The work in a fixed order, from the start or from behind `cursor`. Looks lazily, page by page."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """An operation whose plan may look at millions of datasets, and can be given up meanwhile."""

    def plan_while(self, hold: Hold, parameters: Parameters, check: Check) -> Plan:
        """The same as `plan`, as long as `check` lets it go on."""
        ...


def carry_on() -> None:
    """The `Check` of who waits for the plan, however long."""


def watched(rows: Iterable[T], check: Check) -> Iterator[T]:
    """The rows, with a look now and then whether to go on."""
    for number, row in enumerate(rows):
        if number % LOOKED_AT == 0:
            check()
        yield row
