"""The cloud driver on OpenStack Swift: to create only what is absent is not one step, and nobody says that it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.servers.replaced import FailsWhileReplaced

from holdfast.testing.cloud_contract import CloudContract, Place
from holdfast.testing.object_servers import ObjectServer


@pytest.mark.needs("swift")
class TestOnSwift(FailsWhileReplaced, CloudContract):
    @pytest.fixture
    def place(self, swift: ObjectServer, place_on: Callable[..., Place]) -> Place:
        return place_on(swift)
