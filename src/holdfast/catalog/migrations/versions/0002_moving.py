"""Datasets that move, and the receipts for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add two tables; nothing moves yet."""
    op.create_table(
        "moving",
        sa.Column("dataset_id", WHOLE, nullable=False),
        sa.Column("object_store_id", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("size_bytes", WHOLE, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("touched_us", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["object_store_id"], ["pool.object_store_id"]),
        sa.PrimaryKeyConstraint("dataset_id", "object_store_id"),
    )
    op.create_index("moving_by_holder", "moving", ["holder"], unique=False)
    op.create_table(
        "receipt",
        sa.Column("operation_id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("dataset_id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("size_bytes", WHOLE, nullable=False),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.Column("proved", WHOLE, server_default="1", nullable=False),
        sa.Column("moved_us", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("operation_id", "dataset_id", "path"),
    )
