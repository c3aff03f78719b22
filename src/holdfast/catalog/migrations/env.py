"""Alembic looks for this file; `holdfast.catalog.migrate` runs the steps without it."""
