"""Labels as they are searched: one row each, written in the transaction of the dataset's own row.

What a dataset says of itself (`dataset.labels`) is what is shown; these rows are how it is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import bindparam, delete, insert

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database

_LABEL = schema.label


class LabelLedger:
    """Rows of `label`."""

    def __init__(self, db: Database) -> None:
        self._insert = db.statement(insert(_LABEL), columns=["dataset_id", "key", "value"])
        self._delete = db.statement(delete(_LABEL).where(_LABEL.c.dataset_id == bindparam("which")))

    def add_many(self, cursor: Cursor, those: Iterable[tuple[int, Mapping[str, str]]]) -> None:
        """(dataset id, labels) of datasets that have none yet."""
        rows: list[dict[str, object]] = [
            {"dataset_id": dataset_id, "key": key, "value": value}
            for dataset_id, labels in those
            for key, value in labels.items()
        ]
        if rows:
            self._insert.run_many(cursor, rows)

    def replace(self, cursor: Cursor, dataset_id: int, labels: Mapping[str, str]) -> None:
        """These instead of those that it has."""
        self._delete.run(cursor, {"which": dataset_id})
        self.add_many(cursor, [(dataset_id, labels)])
