"""What every test of the tree shares."""

import pytest

pytest.register_assert_rewrite(  # a failed assertion in a suite says what was compared, as in a test file
    "holdfast.testing.cloud_contract",
    "holdfast.testing.store_contract",
    "holdfast.testing.store_reading",
    "holdfast.testing.store_writing",
    "tests.contract.catalog_kit",
    "tests.contract.catalog_machine",
    "tests.contract.catalog_suite",
    "tests.contract.moves_suite",
    "tests.unit.hold_kit",
)

pytest_plugins = ["holdfast.testing.fixtures", "tests.plugins.needs"]
