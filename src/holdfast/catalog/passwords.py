"""Passwords as argon2id hashes, with the parameters that OWASP recommends (19 MiB, 2 passes).

A wrong password and an unknown account take the same time. At most `AT_ONCE` are checked at a time: each
needs its memory.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from holdfast.errors import InvalidKey

if TYPE_CHECKING:
    from argon2 import PasswordHasher

CHARS_MIN = 8
CHARS_MAX = 1024
MEMORY_KIB = 19 * 1024
PASSES = 2
AT_ONCE = 4

_turn = threading.BoundedSemaphore(AT_ONCE)


def hash_password(password: str) -> str:
    """What is stored of `password`; `InvalidKey` if it is too short or too long."""
    if not CHARS_MIN <= len(password) <= CHARS_MAX:
        raise InvalidKey(f"a password has {CHARS_MIN} to {CHARS_MAX} characters, not {len(password)}")
    with _turn:
        return _hasher().hash(password.encode("utf-8", "surrogatepass"))


def is_password(hashed: str | None, password: str) -> bool:
    """Whether `password` belongs to this hash. Without a hash: False, after as long a time."""
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > CHARS_MAX:
        password = ""
    with _turn:
        try:
            _hasher().verify(hashed or _nobody(), password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False
    return hashed is not None


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)


@cache
def _nobody() -> str:
    return _hasher().hash(b"the password of nobody")
