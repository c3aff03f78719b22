"""Labels that can be searched: one row for each label of each dataset, filled from what the datasets say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table, and fill it."""
    op.create_table(
        "label",
        sa.Column("dataset_id", WHOLE, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("dataset_id", "key"),
    )
    if op.get_bind().dialect.name == "sqlite":
        pairs = "SELECT dataset.id, pair.key, pair.value FROM dataset, json_each(dataset.labels) AS pair"
    else:
        pairs = "SELECT dataset.id, pair.key, pair.value FROM dataset, json_each_text(dataset.labels::json) AS pair"
    op.execute(f"INSERT INTO label (dataset_id, key, value) {pairs} WHERE dataset.labels <> '{{}}'")
    op.create_index("label_by_value", "label", ["key", "value", "dataset_id"], unique=False)
