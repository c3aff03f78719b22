"""The one place where what a server, the network or obstore says becomes an error of ours.

obstore tells all of it in one text: the status, the server's answer, the kind of trouble on the way. That text is read
here and never handed on: an answer to a wrong signature repeats what was signed, tokens included. What a message
says are the status, the server's own short code, and what to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.errors import (
    AlreadyExists,
    Denied,
    InvalidKey,
    NoSpace,
    NotFound,
    PreconditionFailed,
    StoreError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

_STATUS = re.compile(r"status code: (\d{3})|\bstatus: (\d{3})")
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9_.-]{1,80})\s*</Code>")
_KIND = re.compile(r"HttpError \{\s*kind: ([A-Za-z]+)")
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"})
_NOT_KNOWN = frozenset(
    {
        "AuthenticationFailed", "AuthFailure", "ExpiredToken", "InvalidAccessKeyId", "InvalidAuthenticationInfo",
        "InvalidSecurity", "InvalidToken", "NoAuthenticationInformation", "SignatureDoesNotMatch",
        "TokenRefreshRequired", "UnrecognizedClientException",
    }
)  # fmt: skip
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioStorageFull"})
_CHANGED = frozenset(
    {
        "BadDigest", "IncompleteBody", "InvalidDigest", "Md5Mismatch", "Crc64Mismatch", "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)  # fmt: skip
_BUSY = frozenset({"OperationAborted", "ConditionalRequestConflict", "RequestTimeout", "ServerBusy", "SlowDown"})
_WRONG_REGION = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status and the server's code, or what went wrong on the way.

    `trouble`: refused (nobody was reached), lost (it was sent, and nothing came back), ranges (a part was asked for
    and something else came), keys (no credentials), name, region, or nothing. `found`: it is there already.
    `retry_after_s`: how long it wants us to wait, where that is known.
    """

    status: int | None = None
    code: str = ""
    trouble: str = ""
    detail: str = ""
    found: bool = False
    retry_after_s: float | None = None

    @property
    def no_bucket(self) -> bool:
        """The answer is about the bucket, not about the blob."""
        return self.code in _NO_BUCKET

    @property
    def absent(self) -> bool:
        """Nothing is there, if the bucket is the right one."""
        return self.status == 404 and not self.no_bucket

    @property
    def may_have_landed(self) -> bool:
        """Whether a write that was answered so may have happened all the same."""
        return self.trouble == "lost" or self.status in (500, 502, 504)

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a moment later."""
        if self.status is None:
            return self.trouble in ("lost", "refused")
        busy = self.status in (408, 429) or self.status >= 500
        return (busy and self.status not in (501, 507)) or self.code in _CHANGED | _BUSY

    @property
    def throttled(self) -> bool:
        """Whether the server asks for patience."""
        return self.status in (429, 503)


class RequestFailed(Exception):
    """A request that we made ourselves got this answer. Becomes an error of ours in `clients`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code or answer.trouble or str(answer.status))
        self.answer = answer


def read_answer(error: BaseException) -> Answer:
    """What obstore's error says, or the answer to a request of our own."""
    if isinstance(error, RequestFailed):
        return error.answer
    text = str(error)
    code = _CODE.search(text)
    word = code[1] if code else ""
    found = type(error).__name__ == "AlreadyExistsError"
    status = _STATUS.search(text)
    if "169.254.169.254" in text or "no credentials were found" in text or "MissingCredentials" in text:
        return Answer(trouble="keys")
    if status is not None:
        return Answer(status=int(status[1] or status[2]), code=word, found=found)
    if found:
        return Answer(status=409, code=word, found=True)
    for word_in_it, answer in _TOLD_BY_OBSTORE.items():
        if word_in_it in text:
            return answer
    if type(error).__name__ == "InvalidPathError":
        return Answer(trouble="name")
    if isinstance(error, FileNotFoundError):
        return Answer(status=404, code=word)
    return _on_the_way(text)


_TOLD_BY_OBSTORE = {
    "StartTooLarge": Answer(status=416),  # Azure's side of it, which obstore finds out itself
    "NotPartial": Answer(trouble="ranges"),
    "UnexpectedRange": Answer(trouble="lost", detail="it sent another range than was asked for"),
    "BareRedirect": Answer(trouble="region"),
}


def _on_the_way(text: str) -> Answer:
    """There was no answer, or only a part of one."""
    kind = _KIND.search(text)
    if kind is not None and kind[1] == "Connect":
        return Answer(trouble="refused", detail=why_refused(text))
    if kind is not None and kind[1] == "Timeout":
        connecting = "Connect," in text
        return Answer(trouble="refused" if connecting else "lost", detail="it did not answer in time")
    return Answer(trouble="lost", detail="the connection broke, or the answer was cut off")


def why_refused(text: str) -> str:
    """Why nobody was reached, from what the network's error says."""
    if "dns error" in text or "[Errno -" in text:
        return "its name is not known; look at the host, and at the machine's name server"
    if "ConnectionRefused" in text or "[Errno 111]" in text:
        return "it refused the connection; does the server run, and is the port right?"
    if "certificate" in text.lower() or "tls" in text.lower():
        return "its certificate was not accepted; is it https, and does the certificate name this host?"
    return "no connection could be made"


def translate(
    answer: Answer, *, place: str, store: str, key: str, operation: str, retry_after_s: float | None = None
) -> StoreError:
    """The error of ours. A `NotFound` is the server's word only: who raises it has proved the bucket first."""
    cls, reason, retryable = _meaning(answer, place)
    said = " ".join(str(word) for word in (answer.status, answer.code) if word)
    message = f"{operation} {key} in pool {store}".replace("  ", " ") + f": {reason}" + (f" ({said})" if said else "")
    return cls(
        message, store=store, key=key, operation=operation, retryable=retryable,
        retry_after_s=retry_after_s if retryable is not False else None,
    )  # fmt: skip


def _meaning(answer: Answer, place: str) -> tuple[type[StoreError], str, bool | None]:
    """(class, words, retryable or the class's own)."""
    if answer.status is None:
        return _of_trouble(answer, place)
    if answer.found:
        return AlreadyExists, f"it exists already in {place}", None
    found = _of_code(answer, place)
    if found is not None:
        return found
    status = answer.status
    table: dict[int, tuple[type[StoreError], str, bool | None]] = {
        401: (Unauthenticated, f"{place} does not accept the keys; look at the pool's auth", None),
        403: (Denied, f"{place} does not allow it with these keys; look at its policy, and at the keys", None),
        404: (NotFound, f"it is not in {place}", None),
        409: (Unavailable, f"{place} is at work on it for somebody else; try again", None),
        412: (PreconditionFailed, "it has changed since it was looked at", None),
        413: (Unsupported, f"it is larger than {place} takes", None),
        416: (PreconditionFailed, "it is shorter than the range that was asked for; open it again", None),
        429: (Unavailable, f"{place} asks for fewer requests; try again later", None),
        501: (Unsupported, f"{place} cannot do that", None),
        503: (Unavailable, f"{place} is overloaded or being looked after; try again later", None),
        507: (NoSpace, f"{place} is full", None),
    }
    if status in table:
        return table[status]
    if status >= 500 or status == 408:
        return Unavailable, f"{place} failed to do it; try again", None
    return Unavailable, f"{place} refused it; look at the pool's address, region and keys", False


def _of_code(answer: Answer, place: str) -> tuple[type[StoreError], str, bool | None] | None:
    """What the server's own word tells better than the status."""
    code = answer.code
    if answer.no_bucket:
        return Unavailable, f"there is no {place}; make it, or correct its name", None
    if code in _NOT_KNOWN:
        return Unauthenticated, f"{place} does not accept the keys; look at the pool's auth", None
    if code in _SKEWED:
        return Unauthenticated, f"{place} says that this machine's clock is wrong; set it", None
    if code in _FULL:
        return NoSpace, f"{place} is full, or its quota is used up", None
    if code in _CHANGED:
        return Unavailable, f"the bytes that reached {place} were not those that were sent; try again", None
    if code in _BUSY:
        return Unavailable, f"{place} asks for patience; try again later", None
    if code in _WRONG_REGION:
        return Unavailable, f"{place} is in another region; set connection.region", False
    if code == "KeyTooLongError":
        return InvalidKey, f"its name is too long for {place}", None
    if code == "EntityTooLarge":
        return Unsupported, f"it is larger than {place} takes", None
    if code in ("InvalidObjectState", "BlobArchived"):
        return Unavailable, f"it is archived in {place}; have it restored there", False
    return None


def _of_trouble(answer: Answer, place: str) -> tuple[type[StoreError], str, bool | None]:
    trouble = answer.trouble
    if trouble == "ranges":
        return Unsupported, f"{place} answered with something else than the range that was asked for", None
    if trouble == "keys":
        words = "no keys for it were found: not in the document, the environment, a file, or the machine's role"
        return Unauthenticated, f"{words}; set auth.access_key and auth.secret_key", None
    if trouble == "region":
        return Unavailable, f"{place} is in another region; set connection.region", False
    if trouble == "name":
        return InvalidKey, f"it cannot be a name in {place}", None
    what = "cannot be reached" if trouble == "refused" else "gave no answer"
    return Unavailable, f"{place} {what}: {answer.detail}", None
