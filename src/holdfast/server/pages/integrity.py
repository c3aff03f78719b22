"""What a pool's card says of its integrity: a quiet line while the target is met, a loud one when it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast.catalog.operations import OperationRow
from holdfast.hold.facts import PoolInfo
from holdfast.server.pages import words

LOOKED_BACK = 50  # operations among which the last scrub is looked for
_COUNTS = ("verified", "first_checksum", "damaged", "missing", "repaired")


@dataclass(frozen=True, slots=True)
class Said:
    """`line` is always there; `alarm` and `found` only where somebody has to do something. `scrub_*` tell of the last
    scrub of this pool, if it was a short while ago."""

    line: str
    alarm: str = ""
    found: str = ""
    scrub_id: int | None = None
    scrub_us: int | None = None
    scrub_of: str = ""
    scrub_words: str = ""


def integrity_of(info: PoolInfo, scrubs: Sequence[OperationRow]) -> Said | None:
    """What there is to say; None of a pool without datasets."""
    known = info.integrity
    if known is None or (known.oldest_s is None and not (known.damaged or known.missing)):
        return None
    last = next((row for row in scrubs if row.parameters.get("pool") in (None, info.object_store_id)), None)
    said = Said(_line(info), _alarm(info), _found(info))
    if last is None:
        return said
    of = " of all pools" if last.parameters.get("pool") is None else ""
    return replace(said, scrub_id=last.id, scrub_us=last.finished_us, scrub_of=of, scrub_words=_counts(last))


def scrubs_of(rows: Sequence[OperationRow]) -> list[OperationRow]:
    """The scrubs that came to their end, of these operations."""
    return [row for row in rows if row.kind == "scrub" and row.state == "done"]


def _line(info: PoolInfo) -> str:
    known = info.integrity
    assert known is not None
    if known.oldest_s is None:
        return "Nothing here is whole"
    never = f", {words.counted(known.never, 'dataset')} never yet" if known.never else ""
    target = "" if known.target_s is None else f" (target: {_span(known.target_s)})"
    what = "All that is whole" if known.damaged or known.missing else "All of it"
    return f"{what} within the last {_span(known.oldest_s)}{never}{target}"


def _alarm(info: PoolInfo) -> str:
    known = info.integrity
    if known is None or known.is_met is not False or known.target_s is None or known.oldest_s is None:
        return ""
    at_least = "at least " if known.at_least else ""
    return (
        f"Not verified in time: {at_least}{words.counted(known.overdue, 'dataset')} "
        f"({words.size_words(known.overdue_bytes)}) last read more than {_span(known.target_s)} ago, the oldest "
        f"{_span(known.oldest_s)} ago. A scrub reads what is oldest first."
    )


def _found(info: PoolInfo) -> str:
    known = info.integrity
    if known is None:
        return ""
    parts = [
        f"{words.counted(count, 'dataset')} {word}"
        for count, word in ((known.damaged, "damaged"), (known.missing, "missing"))
        if count
    ]
    return f"{' and '.join(parts)} here, and not repaired." if parts else ""


def _span(seconds: float) -> str:
    """`3 minutes`, `12 days`."""
    for unit_s, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit_s:
            return words.counted(int(seconds // unit_s), name)
    return "minute"


def _counts(row: OperationRow) -> str:
    found = row.result.get("counts", {})
    said = [f"{found[name]:,} {name.replace('_', ' ')}" for name in _COUNTS if found.get(name)]
    return ", ".join(said) or "nothing was due"
