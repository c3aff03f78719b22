"""The first schema. Written out: it stays what it was, whatever `catalog.schema` becomes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BYTEWISE = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
NUMBERED = ("dataset", "job", "operation", "account")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "account",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("is_admin", WHOLE, server_default="0", nullable=False),
        sa.Column("active", WHOLE, server_default="1", nullable=False),
        sa.Column("preferred_pool", sa.Text(), nullable=True),
        sa.Column("preferences", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )
    op.create_table(
        "attempt",
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("failures", WHOLE, nullable=False),
        sa.Column("blocked_until_us", WHOLE, nullable=False),
        sa.Column("changed_us", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("bucket"),
    )
    op.create_index("attempt_by_age", "attempt", ["changed_us"], unique=False)
    op.create_table(
        "dataset",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("size_bytes", WHOLE, server_default="0", nullable=False),
        sa.Column("total_bytes", WHOLE, server_default="0", nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("object_store_id", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("job_id", WHOLE, nullable=True),
        sa.Column("labels", sa.Text(), server_default="{}", nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("hidden", WHOLE, server_default="0", nullable=False),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.Column("updated_us", WHOLE, nullable=False),
        sa.Column("deleted_us", WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"),
    )
    op.create_index(
        "dataset_by_job",
        "dataset",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("job_id IS NOT NULL"),
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )
    op.create_index("dataset_by_name", "dataset", ["name_key", "id"], unique=False)
    op.create_index("dataset_by_owner", "dataset", ["owner", "hidden", "id"], unique=False)
    op.create_index("dataset_by_pool", "dataset", ["object_store_id", "hidden", "id"], unique=False)
    op.create_index("dataset_by_recency", "dataset", ["hidden", "id"], unique=False)
    op.create_index("dataset_by_state", "dataset", ["state", "id"], unique=False)
    op.create_table(
        "event",
        sa.Column("id", WHOLE, autoincrement=True, nullable=False),
        sa.Column("at_us", WHOLE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("dataset_id", WHOLE, nullable=True),
        sa.Column("object_store_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("event_by_dataset", "event", ["dataset_id", "id"], unique=False)
    op.create_table(
        "holder",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("pid", WHOLE, nullable=False),
        sa.Column("born", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("seen_us", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "job",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), server_default="[]", nullable=False),
        sa.Column("outputs", sa.Text(), server_default="[]", nullable=False),
        sa.Column("wanted_pool", sa.Text(), nullable=True),
        sa.Column("object_store_id", sa.Text(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("pid", WHOLE, nullable=True),
        sa.Column("born", sa.Text(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("exit_code", WHOLE, nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("environment", sa.Text(), server_default="{}", nullable=False),
        sa.Column("cancel_wanted", WHOLE, server_default="0", nullable=False),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.Column("started_us", WHOLE, nullable=True),
        sa.Column("finished_us", WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("job_by_owner", "job", ["owner", "id"], unique=False)
    op.create_index("job_by_state", "job", ["state", "id"], unique=False)
    op.create_table(
        "operation",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), server_default="{}", nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("objects_total", WHOLE, server_default="0", nullable=False),
        sa.Column("objects_done", WHOLE, server_default="0", nullable=False),
        sa.Column("bytes_total", WHOLE, server_default="0", nullable=False),
        sa.Column("bytes_done", WHOLE, server_default="0", nullable=False),
        sa.Column("result", sa.Text(), server_default="{}", nullable=False),
        sa.Column("wanted", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.Column("updated_us", WHOLE, nullable=False),
        sa.Column("finished_us", WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("operation_by_state", "operation", ["state", "id"], unique=False)
    op.create_table(
        "owner_usage",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("quota_source", sa.Text(), nullable=False),
        sa.Column("used_bytes", WHOLE, server_default="0", nullable=False),
        sa.Column("datasets", WHOLE, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("owner", "quota_source"),
    )
    op.create_table(
        "pool",
        sa.Column("object_store_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("configured", WHOLE, server_default="1", nullable=False),
        sa.Column("datasets", WHOLE, server_default="0", nullable=False),
        sa.Column("used_bytes", WHOLE, server_default="0", nullable=False),
        sa.Column("reserved_bytes", WHOLE, server_default="0", nullable=False),
        sa.Column("surveyed", WHOLE, server_default="0", nullable=False),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("object_store_id"),
    )
    op.create_table(
        "round_count",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("child", sa.Text(), nullable=False),
        sa.Column("count", WHOLE, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("node_id", "signature", "child"),
    )
    op.create_table(
        "sequence",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "setting",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "state_count",
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("count", WHOLE, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("state"),
    )
    op.create_table(
        "upload",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", WHOLE, nullable=True),
        sa.Column("offset_bytes", WHOLE, server_default="0", nullable=False),
        sa.Column("parameters", sa.Text(), server_default="{}", nullable=False),
        sa.Column("dataset_id", WHOLE, nullable=True),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.Column("touched_us", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("upload_by_touch", "upload", ["touched_us"], unique=False)
    op.create_table(
        "credential",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("account_id", WHOLE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.Column("used_us", WHOLE, nullable=True),
        sa.Column("expires_us", WHOLE, nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("credential_by_account", "credential", ["account_id", "kind"], unique=False)
    op.create_table(
        "decision",
        sa.Column("dataset_id", WHOLE, nullable=False),
        sa.Column("decided_us", WHOLE, nullable=False),
        sa.Column("choices", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], ),
        sa.PrimaryKeyConstraint("dataset_id"),
    )
    op.create_table(
        "extra_file",
        sa.Column("dataset_id", WHOLE, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", WHOLE, nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], ),
        sa.PrimaryKeyConstraint("dataset_id", "path"),
    )
    op.create_table(
        "lease",
        sa.Column("dataset_id", WHOLE, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until_us", WHOLE, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], ),
        sa.PrimaryKeyConstraint("dataset_id", "holder"),
    )
    op.create_index("lease_by_holder", "lease", ["holder"], unique=False)
    op.create_table(
        "operation_failure",
        sa.Column("operation_id", WHOLE, nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("object_store_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["operation_id"], ["operation.id"], ),
        sa.PrimaryKeyConstraint("operation_id", "item"),
    )
    op.create_table(
        "replica",
        sa.Column("dataset_id", WHOLE, nullable=False),
        sa.Column("object_store_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("key", BYTEWISE, nullable=False),
        sa.Column("size_bytes", WHOLE, server_default="0", nullable=False),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("verified_us", WHOLE, nullable=True),
        sa.Column("next_checksum", sa.Text(), nullable=True),
        sa.Column("next_size_bytes", WHOLE, nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_us", WHOLE, nullable=False),
        sa.Column("changed_us", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], ),
        sa.ForeignKeyConstraint(["object_store_id"], ["pool.object_store_id"], ),
        sa.PrimaryKeyConstraint("dataset_id", "object_store_id"),
        sa.UniqueConstraint("object_store_id", "key", name="replica_key"),
    )
    op.create_index("replica_by_age", "replica", ["object_store_id", "state", "verified_us"], unique=False)
    op.create_index("replica_by_pool", "replica", ["object_store_id", "state", "dataset_id"], unique=False)
    op.create_index("replica_by_state", "replica", ["state", "changed_us"], unique=False)
    op.create_table(
        "reservation",
        sa.Column("dataset_id", WHOLE, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("object_store_id", sa.Text(), nullable=False),
        sa.Column("size_bytes", WHOLE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rounds", sa.Text(), server_default="[]", nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("touched_us", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], ),
        sa.PrimaryKeyConstraint("dataset_id"),
    )
    op.create_index("reservation_by_holder", "reservation", ["holder"], unique=False)
    sequence = sa.table("sequence", sa.column("name"), sa.column("next"))
    op.bulk_insert(sequence, [{"name": name, "next": 1} for name in NUMBERED])
