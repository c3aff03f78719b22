"""What the fault proxy can do to a request, when it does so, and what it remembers of one. Values, no sockets."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CutRequest:
    """Both connections end after so many bytes of the request's body were passed on."""

    at_byte: int


@dataclass(frozen=True, slots=True)
class CutResponse:
    """Both connections end after so many bytes of the answer's body: in order, or with a reset."""

    at_byte: int
    how: Literal["close", "reset"] = "close"


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers, and the server is not asked. `code` as S3 has it in the XML."""

    status: int
    code: str
    retry_after_s: int | None = None


INTERNAL_ERROR = Answer(500, "InternalError")
NO_SUCH_BUCKET = Answer(404, "NoSuchBucket")
ACCESS_DENIED = Answer(403, "AccessDenied")


def slow_down(retry_after_s: int | None = None) -> Answer:
    """503, as S3 says it when it is asked too much."""
    return Answer(503, "SlowDown", retry_after_s)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Only the first bytes of the answer's body come, and its length says that this is all. The status stays."""

    to_bytes: int


@dataclass(frozen=True, slots=True)
class WrongRequestByte:
    """One byte of the request's body is another. Signatures between the parts of a body count among its bytes."""

    at_byte: int


@dataclass(frozen=True, slots=True)
class WrongResponseByte:
    """One byte of the answer's body is another."""

    at_byte: int


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing moves for so long: after so many bytes of the answer's body, or (None) before the request goes on."""

    stall_s: float
    at_byte: int | None = None


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The server did it and says so; the client's connection ends without a word."""


Fault = CutRequest | CutResponse | Answer | Truncate | WrongRequestByte | WrongResponseByte | Stall | LoseAnswer


@dataclass(slots=True)
class Exchange:
    """A request and what became of it. `target` is its path with its query, as sent. `status` is what the server said,
    or the proxy in its place; None if nobody did. The bytes are those of the bodies that were passed on."""

    method: str
    target: str
    status: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    fault: Fault | None = None

    def matches(self, method: str, target: str) -> bool:
        """Whether it is one of these (patterns of `fnmatch`)."""
        return fnmatch.fnmatchcase(self.method, method) and fnmatch.fnmatchcase(self.target, target)


class Script:
    """A fault and when it strikes. `struck` counts how often it did."""

    def __init__(self, fault: Fault, method: str, target: str, nth: int, times: int | None) -> None:
        self.fault = fault
        self.struck = 0
        self._method, self._target, self._times = method, target, times
        self._before = nth - 1

    def strikes(self, exchange: Exchange) -> bool:
        """Whether it is this request's turn; it is counted."""
        if not exchange.matches(self._method, self._target):
            return False
        if self._before > 0:
            self._before -= 1
            return False
        if self._times is not None and self.struck >= self._times:
            return False
        self.struck += 1
        return True
