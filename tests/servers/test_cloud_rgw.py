"""The cloud driver on Ceph's gateway: signatures are checked, a name is created once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.servers.replaced import FailsWhileReplaced

from holdfast.testing.cloud_contract import CloudContract, Place
from holdfast.testing.object_servers import ObjectServer


@pytest.mark.needs("rgw")
class TestOnCeph(FailsWhileReplaced, CloudContract):
    @pytest.fixture
    def place(self, rgw: ObjectServer, place_on: Callable[..., Place]) -> Place:
        return place_on(rgw, conditions=True)
