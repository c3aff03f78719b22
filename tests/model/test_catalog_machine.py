"""Random histories of the catalog on SQLite."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contract.catalog_machine import CatalogMachine

from holdfast.catalog.catalog import SQLITE_FILE, Catalog


@pytest.mark.timeout(600)  # a history that fails is made shorter, for minutes
def test_random_histories(tmp_path: Path):
    numbers = itertools.count()
    (tmp_path / "template").mkdir()
    Catalog.open(None, tmp_path / "template").close()
    template = (tmp_path / "template" / SQLITE_FILE).read_bytes()

    def make_url() -> str:
        path = tmp_path / f"{next(numbers)}.sqlite"
        path.write_bytes(template)
        return f"sqlite:///{path}"

    machine = type("Machine", (CatalogMachine,), {"make_url": staticmethod(make_url)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
