"""The cloud driver on LocalStack: checksums and conditions as in Amazon's S3."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.servers.replaced import MixesWhatIsReplaced

from holdfast.testing.cloud_contract import CloudContract, Place
from holdfast.testing.object_servers import ObjectServer


@pytest.mark.needs("localstack")
class TestOnLocalStack(MixesWhatIsReplaced, CloudContract):
    list_letters = "ab-./0Z~"  # it compares quoted names with one that is not, where a listing starts

    @pytest.fixture
    def place(self, localstack: ObjectServer, place_on: Callable[..., Place]) -> Place:
        return place_on(localstack, conditions=True)
