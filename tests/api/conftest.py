"""A server with three people, for every test of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.api.served import ADMIN, ALICE, BOB, Served, add_people, make_hold, running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server over two empty pools, with an administrator, alice and bob."""
    with make_hold(tmp_path) as hold, running(hold, tmp_path) as found:
        add_people(found)
        yield found


@pytest.fixture
def alice(served: Served) -> Iterator[httpx.Client]:
    with served.client(ALICE) as client:
        yield client


@pytest.fixture
def bob(served: Served) -> Iterator[httpx.Client]:
    with served.client(BOB) as client:
        yield client


@pytest.fixture
def admin(served: Served) -> Iterator[httpx.Client]:
    with served.client(ADMIN) as client:
        yield client


@pytest.fixture
def stranger(served: Served) -> Iterator[httpx.Client]:
    with served.client(None) as client:
        yield client
