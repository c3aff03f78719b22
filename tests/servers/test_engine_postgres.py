"""The engine on PostgreSQL: the suite of the engines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.jobs.test_engines import executor_lives

from holdfast.operations import engine_dbos
from holdfast.operations.engine import Engine
from holdfast.operations.engine_dbos import DbosEngine
from holdfast.testing.engines import EngineContract

pytestmark = pytest.mark.needs("postgres")


class TestDbosEngineOnPostgres(EngineContract):
    factory = "tests.servers.test_engine_postgres:dbos_on_postgres"

    @pytest.fixture(autouse=True)
    def address(self, postgres_url: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("HOLDFAST_TEST_ENGINE", postgres_url)
        monkeypatch.setattr(engine_dbos, "LISTEN_S", 0.05)

    def make_engine(self, folder: Path, executor_id: str) -> Engine:
        return dbos_on_postgres(folder, executor_id)


def dbos_on_postgres(_folder: Path, executor_id: str) -> Engine:
    return DbosEngine(os.environ["HOLDFAST_TEST_ENGINE"], executor_id, executor_lives)
