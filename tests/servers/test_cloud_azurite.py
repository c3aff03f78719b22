"""The cloud driver on Azurite: Azure's blobs, in blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.blobs import BytesBody
from holdfast.keys import Key
from holdfast.stores.base import Store
from holdfast.testing.cloud_contract import CloudContract, Place
from holdfast.testing.object_servers import ObjectServer
from holdfast.testing.store_kit import Backdoor, listed, read
from holdfast.testing.store_reading import ODD_NAMES


@pytest.mark.needs("azurite")
class TestOnAzurite(CloudContract):
    tags_are_md5 = False

    @pytest.fixture
    def place(self, azurite: ObjectServer, place_on: Callable[..., Place]) -> Place:
        return place_on(azurite, conditions=True)

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if name != "back\\slash"])
    def test_odd_names_are_names(self, store: Store, backdoor: Backdoor, name: str) -> None:
        super().test_odd_names_are_names(store, backdoor, name)

    def test_a_backslash_is_listed_as_a_slash(self, store: Store) -> None:
        key = Key("contract/back\\slash")
        store.put(key, BytesBody(b"x"))
        assert read(store, key) == b"x"
        assert listed(store, "contract/") == ["contract/back/slash"]
