"""What people type as values of options: sizes, lengths of time, ranges, labels, states. Each raises
`UsageError` with what to type instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from holdfast.cli.failure import UsageError

LABELS_MAX = 100
NAME_BYTES_MAX = 255
OWNER_CHARS_MAX = 254
ID_MAX = 2**63 - 1

_RANGE = re.compile(r"([0-9]{0,19})-([0-9]{0,19})")
_UNSAFE = re.compile(r"[^\w .,+=@()\[\]{}~^%#-]")


def size_bytes(text: str, option: str) -> int:
    """`4096`, `20KiB`, `1.5 GiB`: bytes."""
    from holdfast.config.quantities import BadValue, read_size

    try:
        return read_size(text)
    except BadValue as error:
        raise UsageError(_bad(option, error.message, error.instead)) from error


def duration_s(text: str, option: str) -> int:
    """`0s`, `90`, `7 days`: seconds."""
    from holdfast.config.quantities import BadValue, read_duration

    try:
        return read_duration(text)
    except BadValue as error:
        raise UsageError(_bad(option, error.message, error.instead)) from error


def rate_bytes_s(text: str, option: str) -> int:
    """`100MiB/s`: bytes a second."""
    from holdfast.config.quantities import BadValue, read_size

    try:
        rate = read_size(text.strip().removesuffix("/s"))
    except BadValue as error:
        raise UsageError(f"{option} {text}: that is no rate; write a size a second, like 100MiB/s") from error
    if rate == 0:
        raise UsageError(f"{option} 0 would never come to an end; give a rate like 100MiB/s")
    return rate


def labels(texts: Sequence[str]) -> dict[str, str]:
    """`k=v` each, every key once."""
    if len(texts) > LABELS_MAX:
        raise UsageError(f"a dataset may have {LABELS_MAX} labels; these are {len(texts)}")
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--label {text}: a label is a key and a value, for example --label run=7")
        if found.setdefault(key.strip(), value) != value:
            raise UsageError(f"--label {text}: {key.strip()} is {found[key.strip()]} already; a label has one value")
    return found


def owner(text: str | None) -> str | None:
    """Whose a dataset is, as accounts are written: trimmed, lower case. None for nobody in particular."""
    if text is None:
        return None
    name = unicodedata.normalize("NFC", text.strip()).lower()
    if not name or not name.isprintable() or any(char.isspace() for char in name) or len(name) > OWNER_CHARS_MAX:
        raise UsageError(f"--user {text[:OWNER_CHARS_MAX]!r}: an owner is an e-mail address like alice@example.org")
    return name


def byte_range(text: str, total_bytes: int) -> tuple[int, int]:
    """`A-B` (both included, as in HTTP), `A-`, or `-N` for the last N; as (start, stop), without stop."""
    found = _RANGE.fullmatch(text.strip())
    if not found or text.strip() == "-":
        raise UsageError(f"--range {text}: give the first and the last byte, for example --range 0-99")
    first, last = found[1], found[2]
    if not first:
        return max(total_bytes - int(last), 0), total_bytes
    start, stop = int(first), int(last) + 1 if last else total_bytes
    if last and stop <= start:
        raise UsageError(f"--range {text}: the last byte comes before the first")
    if start >= total_bytes:
        raise UsageError(f"--range {text}: the dataset has {total_bytes} bytes, from 0 to {total_bytes - 1}")
    return start, min(stop, total_bytes)


S = TypeVar("S", bound=str)


def state_word(text: str | None, states: Sequence[S], command: str) -> S | None:
    """`--state` behind a command that asks for a state: one of the words, never the state directory."""
    if text is None:
        return None
    if text in states:
        return states[states.index(text)]
    name = command.removeprefix("holdfast ")
    message = f"--state {text}: {command} knows {', '.join(states)}"
    if "/" in text or (text and Path(text).is_dir()):
        message += f"; the state directory stands before the command: holdfast --state {text} {name}"
    raise UsageError(message)


def state_dir(text: str) -> str:
    """`--state` where it is the state directory. Refuses the words that are states, unless there is such a folder."""
    from holdfast.catalog.base import DATASET_STATES, POOL_STATES
    from holdfast.catalog.jobs import JOB_STATES
    from holdfast.catalog.operations import OPERATION_STATES

    asked_by = {
        "ls": DATASET_STATES,
        "jobs": JOB_STATES,
        "ops": OPERATION_STATES,
        "pool set ID": POOL_STATES,
    }
    who = [command for command, states in asked_by.items() if text in states]
    if who and not Path(text).is_dir():
        lines = " or ".join(f"holdfast {command} --state {text}" for command in who)
        message = f"--state {text}: here it is the state directory, and there is none called {text}"
        raise UsageError(f"{message}; for the state write {lines}, for the directory --state ./{text}")
    return text


def local_name(name: str, dataset_id: int) -> str:
    """A dataset's name as the name of a local file: one segment, not hidden, not an option."""
    safe = _UNSAFE.sub("_", name).strip().lstrip(".-~")
    while len(safe.encode()) > NAME_BYTES_MAX:
        safe = safe[:-1]
    return safe if safe.strip("_ ") else f"dataset_{dataset_id}.dat"


def _bad(option: str, message: str, instead: str | None) -> str:
    return f"{option}: {message}; write {instead}" if instead else f"{option}: {message}"
