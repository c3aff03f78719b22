"""The first schema."""

from __future__ import annotations

from alembic import op

from holdfast.catalog import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    # Until the first release these are today's tables; from then on they are written out here.
    bind = op.get_bind()
    schema.metadata.create_all(bind, checkfirst=False)
    names = ("dataset", "job", "operation", "account")
    op.execute(schema.sequence.insert().values([{"name": name, "next": 1} for name in names]))
