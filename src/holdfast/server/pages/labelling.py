"""The form that changes a dataset's labels: a row for each, and empty ones to add more.

Each row carries the label as the page showed it, so that only what was changed here is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.errors import InvalidKey
from holdfast.server.pages.forms import Form

EMPTY_ROWS = 2


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A row as it was filled in. `was` is the key that it showed, empty for a new one."""

    was: str = ""
    was_value: str = ""
    key: str = ""
    value: str = ""


def rows_for(labels: Mapping[str, str]) -> list[LabelRow]:
    """The form of a dataset that has these."""
    return [LabelRow(key, value, key, value) for key, value in sorted(labels.items())] + [LabelRow()] * EMPTY_ROWS


def label_rows_of(form: Form) -> list[LabelRow]:
    """The rows that were sent."""
    columns = (form.raws("was"), form.raws("was_value"), form.texts("key"), form.texts("value"))
    return [LabelRow(*cells) for cells in zip(*columns, strict=False)]


def relabelled(labels: Mapping[str, str], rows: Sequence[LabelRow], removed: int | None = None) -> dict[str, str]:
    """The labels after what the rows say; `removed` is the row whose button was used. `InvalidKey` for two of one key,
    and a value without a key."""
    found = dict(labels)
    written: set[str] = set()
    for at, row in enumerate(rows):
        key = "" if at == removed else row.key
        if not key and row.value and at != removed and not row.was:
            raise InvalidKey(f"the value {row.value[:40]!r} has no key; write what it is, for example project")
        if key in written:
            raise InvalidKey(f"the label {key[:40]!r} is there twice; a dataset has one value for each key")
        if key:
            written.add(key)
        if (key, row.value) == (row.was, row.was_value):
            continue
        if row.was and row.was != key and row.was not in written:
            found.pop(row.was, None)
        if key:
            found[key] = row.value
    return found
