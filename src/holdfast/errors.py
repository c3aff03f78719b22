"""Everything that can go wrong, as one tree.

    HoldfastError
    ├─ ConfigError(problems)          all problems of a document at once
    ├─ StoreError(store, key, operation, retryable, retry_after_s)
    │  ├─ NotFound                    absence was *proved*
    │  ├─ AlreadyExists  PreconditionFailed  InvalidKey
    │  ├─ Corrupt(expected, actual)
    │  ├─ Denied  Unauthenticated  Unsupported
    │  ├─ NoSpace  QuotaExceeded
    │  ├─ Unavailable                 we do not know; never "it is not there"
    │  ├─ OutcomeUnknown              a write may have landed: read back, do not repeat blindly
    │  └─ ForkedStore
    ├─ CatalogError
    │  ├─ CatalogFull
    │  ├─ Conflict                    somebody else changed it first, or holds it now
    │  └─ SchemaMismatch
    └─ OperationError
       ├─ Cancelled
       ├─ Blocked
       └─ Malformed                   it makes no sense as it is written

A message says what happened and, where one can know, what to do instead. `OUTCOMES` maps each class to
its HTTP status, its exit code and its page in the documentation: the one table for server, command line
and docs. Nothing here imports anything of Holdfast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class HoldfastError(Exception):
    """Root of all errors that Holdfast raises on purpose."""

    retryable: bool = False
    retry_after_s: float | None = None

    @property
    def title(self) -> str:
        """A few words for a heading: what kind of trouble this is."""
        return outcome(self).title


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in a configuration document.

    `where` names the element or key, `instead` says what to write. Warnings and notes do not stop anything.
    """

    file: str
    line: int | None
    where: str
    message: str
    instead: str | None = None
    severity: Literal["error", "warning", "note"] = "error"

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        where = f" {self.where}:" if self.where else ""
        instead = f"; write: {self.instead}" if self.instead else ""
        return f"{place}:{where} {self.message}{instead}"


class ConfigError(HoldfastError):
    """The configuration cannot be used. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = (Problem(file="configuration", line=None, where="", message=problems),)
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoreError(HoldfastError):
    """A store could not do what was asked.

    `store` is the pool's object_store_id, `key` the blob's key, `operation` the verb. `retryable` says
    whether asking again, unchanged, may succeed.
    """

    def __init__(
        self,
        message: str,
        *,
        store: str = "",
        key: str = "",
        operation: str = "",
        retryable: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.store = store
        self.key = key
        self.operation = operation
        if retryable is not None:
            self.retryable = retryable
        self.retry_after_s = retry_after_s


class NotFound(StoreError):
    """It is not there: every place that could have it answered so."""


class AlreadyExists(StoreError):
    """A blob lies under this key already."""


class PreconditionFailed(StoreError):
    """The blob is not the version that the caller asked for."""


class InvalidKey(StoreError):
    """The name cannot be stored. The message says why."""


class Corrupt(StoreError):
    """The bytes are not those that were stored."""

    def __init__(
        self,
        message: str,
        *,
        expected: str = "",
        actual: str = "",
        store: str = "",
        key: str = "",
        operation: str = "",
    ) -> None:
        super().__init__(message, store=store, key=key, operation=operation)
        self.expected = expected
        self.actual = actual


class Denied(StoreError):
    """The medium, or a rule, refuses it."""


class Unauthenticated(StoreError):
    """Nobody is signed in, or the credentials are not accepted."""


class Unsupported(StoreError):
    """This store cannot do that at all."""


class NoSpace(StoreError):
    """No pool has room for it."""


class QuotaExceeded(StoreError):
    """The owner's quota does not allow it."""


class Unavailable(StoreError):
    """The place cannot be reached now. Says nothing about what is in it."""

    retryable = True


class OutcomeUnknown(StoreError):
    """A write was sent and its answer was lost. Read back before doing it again."""


class ForkedStore(StoreError):
    """This object belongs to the process that made it, and cannot be used after a fork."""


class CatalogError(HoldfastError):
    """The catalog could not do what was asked."""


class CatalogFull(CatalogError):
    """The disk of the catalog is full; nothing was changed."""


class Conflict(CatalogError):
    """Somebody else changed it first, or is at work on it now."""

    retryable = True


class SchemaMismatch(CatalogError):
    """The catalog's schema is not the one that this version of Holdfast speaks."""


class OperationError(HoldfastError):
    """An operation or a job did not come to its end."""


class Cancelled(OperationError):
    """Somebody asked it to stop."""


class Blocked(OperationError):
    """It cannot go on until somebody changes something. The message says what."""


class Malformed(OperationError):
    """What was asked for makes no sense as it is written. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an error class looks from outside."""

    title: str
    http_status: int
    exit_code: int
    page: str


OUTCOMES: dict[type[HoldfastError], Outcome] = {
    HoldfastError: Outcome("Something went wrong", 500, 1, "errors#bug"),
    ConfigError: Outcome("The configuration cannot be used", 500, 2, "errors#configuration"),
    StoreError: Outcome("The storage could not do it", 500, 1, "errors#storage"),
    NotFound: Outcome("Not found", 404, 3, "errors#not-found"),
    AlreadyExists: Outcome("It exists already", 409, 8, "errors#already-exists"),
    PreconditionFailed: Outcome("It has changed in between", 412, 8, "errors#precondition-failed"),
    InvalidKey: Outcome("This name cannot be used", 422, 2, "errors#invalid-key"),
    Corrupt: Outcome("The stored bytes are damaged", 500, 5, "errors#corrupt"),
    Denied: Outcome("Not allowed", 403, 7, "errors#denied"),
    Unauthenticated: Outcome("Please sign in", 401, 7, "errors#unauthenticated"),
    Unsupported: Outcome("This storage cannot do that", 422, 2, "errors#unsupported"),
    NoSpace: Outcome("No space", 507, 4, "errors#no-space"),
    QuotaExceeded: Outcome("The quota is used up", 507, 4, "errors#quota-exceeded"),
    Unavailable: Outcome("Unavailable for the moment", 503, 6, "errors#unavailable"),
    OutcomeUnknown: Outcome("It is not known whether the write arrived", 503, 6, "errors#outcome-unknown"),
    ForkedStore: Outcome("Used after a fork", 500, 1, "errors#forked-store"),
    CatalogError: Outcome("The catalog could not do it", 503, 6, "errors#catalog"),
    CatalogFull: Outcome("The catalog's disk is full", 507, 4, "errors#catalog-full"),
    Conflict: Outcome("Somebody else is at work on it", 409, 8, "errors#conflict"),
    SchemaMismatch: Outcome("The catalog has another version", 503, 2, "errors#schema-mismatch"),
    OperationError: Outcome("It did not finish", 500, 1, "errors#operation"),
    Cancelled: Outcome("It was cancelled", 409, 8, "errors#cancelled"),
    Blocked: Outcome("It cannot go on", 409, 8, "errors#blocked"),
    Malformed: Outcome("It cannot be done as it is written", 422, 2, "errors#malformed"),
}


def outcome(error: BaseException) -> Outcome:
    """The outcome of the error's own class, or of the nearest class above it."""
    for cls in type(error).__mro__:
        found = OUTCOMES.get(cls)
        if found is not None:
            return found
    return OUTCOMES[HoldfastError]
